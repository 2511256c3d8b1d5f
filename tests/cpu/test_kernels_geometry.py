"""Kernels of points, samples, normals and perceptual distance against their formulas, in float64 with loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from splatdsl.compiler.kernels import depth, geometry
from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime import lpips

B, H, W = 2, 5, 6


def rand(*shape: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed + sum(shape))
    return torch.rand(*shape, generator=g, dtype=torch.float64)


def rotation(a: float, b: float) -> Tensor:
    """About x by a, then about y by b."""
    x = torch.tensor([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    y = torch.tensor([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    return (y @ x).double()


def cameras() -> tuple[Tensor, Tensor]:
    """Two different ones, the second with skew."""
    intrinsics = torch.tensor(
        [[[7.0, 0, 3.1], [0, 6.5, 2.4], [0, 0, 1]], [[9.0, 0.3, 2.9], [0, 8.0, 2.6], [0, 0, 1]]]
    ).double()
    views = torch.eye(4, dtype=torch.float64).repeat(B, 1, 1)
    views[0, :3, :3], views[1, :3, :3] = rotation(0.1, -0.2), rotation(-0.3, 0.15)
    views[:, :3, 3] = torch.tensor([[0.1, -0.2, 2.0], [-0.1, 0.05, 1.5]])
    return intrinsics, views


CAMERA = cameras()
POINTS = rand(9, 3) - 0.5


def compiled(f: Callable[..., object]) -> Callable[..., object]:
    torch._dynamo.reset()
    return torch.compile(f, backend="aot_eager", fullgraph=True)


# Projection


def seen(point: Tensor, n: int) -> tuple[Tensor, Tensor]:
    intrinsics, views = CAMERA
    local = views[n] @ torch.cat([point, torch.ones(1).double()])
    at = intrinsics[n] @ local[:3]
    return at[:2] / at[2], local[2:3]


@pytest.mark.parametrize("each", [False, True])
def test_project(each: bool) -> None:
    points = rand(B, 9, 3) - 0.5 if each else POINTS
    pixels, distance = geometry.project(points, CAMERA)
    for n in range(B):
        for i in range(9):
            at, z = seen(points[n, i] if each else points[i], n)
            torch.testing.assert_close(pixels[n, i], at)
            torch.testing.assert_close(distance[n, i], z)
    leaf = points.clone().requires_grad_()
    intrinsics, views = (c.clone().requires_grad_() for c in CAMERA)
    assert torch.autograd.gradcheck(lambda x, k, v: geometry.project(x, (k, v)), (leaf, intrinsics, views))
    torch.testing.assert_close(compiled(geometry.project)(points, CAMERA), (pixels, distance))


def test_project_of_what_has_pixels() -> None:
    points = rand(B, H, W, 3)
    pixels, distance = geometry.project(points, CAMERA)
    flat = geometry.project(points.flatten(1, 2), CAMERA)
    torch.testing.assert_close(pixels, flat[0].unflatten(1, (H, W)))
    torch.testing.assert_close(distance, flat[1].unflatten(1, (H, W)))


def test_project_of_what_is_not_in_front() -> None:
    intrinsics, views = CAMERA[0][:1], torch.eye(4, dtype=torch.float64)[None]
    points = torch.tensor([[0.1, 0.2, -1.0], [0.1, 0.2, 0.0], [0.0, 0.0, 0.0], [0.1, 0.2, 1.0]]).double()
    points.requires_grad_()
    pixels, distance = geometry.project(points, (intrinsics, views))
    assert pixels[0, :3].tolist() == [[-1.0, -1.0]] * 3
    assert distance[0, :, 0].tolist() == [-1.0, 0.0, 0.0, 1.0]
    assert geometry.inside_at(torch.zeros(1, H, W, 1), pixels)[0, :, 0].tolist() == [0.0, 0.0, 0.0, 1.0]
    (gradient,) = torch.autograd.grad(pixels.sum(), points)
    assert gradient.isfinite().all()
    assert not gradient[:3].any()
    assert gradient[3].any()


# Samples


def bilinear(x: Tensor, px: float, py: float) -> Tensor:
    """Of one image `[H, W, k]`; 0 outside."""
    if not (0 <= px <= x.shape[1] and 0 <= py <= x.shape[0]):
        return torch.zeros(x.shape[2], dtype=x.dtype)
    result = torch.zeros(x.shape[2], dtype=x.dtype)
    for row in range(-1, x.shape[0] + 1):
        for column in range(-1, x.shape[1] + 1):
            share = max(1 - abs(py - 0.5 - row), 0) * max(1 - abs(px - 0.5 - column), 0)
            if share:
                result = result + share * x[min(max(row, 0), x.shape[0] - 1), min(max(column, 0), x.shape[1] - 1)]
    return result


EDGES = torch.tensor(
    [[0.0, 0.0], [W, H], [0.5, 0.5], [W - 0.5, H - 0.5], [2.5, 3.5], [-0.01, 2], [3, H + 0.01], [1e9, -1e9]]
).double()


@pytest.mark.parametrize("components", [1, 3])
def test_sample_at(components: int) -> None:
    x = rand(B, H, W, components)
    points = torch.stack([torch.cat([EDGES, rand(6, 2, seed=s) * 8 - 1]) for s in (1, 2)])
    found = geometry.sample_at(x, points)
    inside = geometry.inside_at(x, points)
    for n in range(B):
        for i, (px, py) in enumerate(points[n].tolist()):
            torch.testing.assert_close(found[n, i], bilinear(x[n], px, py))
            assert float(inside[n, i]) == (0 <= px <= W and 0 <= py <= H)
    assert 0 < inside.mean() < 1
    torch.testing.assert_close(compiled(geometry.sample_at)(x, points), found)
    torch.testing.assert_close(compiled(geometry.inside_at)(x, points), inside)
    one = geometry.sample_at(x[:1], points[0])
    torch.testing.assert_close(one, found[0])
    torch.testing.assert_close(geometry.inside_at(x[:1], points[0]), inside[0])
    nested = points.unflatten(1, (7, 2))
    torch.testing.assert_close(geometry.sample_at(x, nested), found.unflatten(1, (7, 2)))
    torch.testing.assert_close(geometry.inside_at(x, nested), inside.unflatten(1, (7, 2)))


def test_the_gradient_of_a_sample() -> None:
    x = rand(B, H, W, 2).requires_grad_()
    points = (rand(B, 7, 2) * 8 - 1).requires_grad_()
    assert torch.autograd.gradcheck(geometry.sample_at, (x, points))


def test_no_sample_is_spoilt_by_what_it_does_not_use() -> None:
    x = rand(1, H, W, 1)
    x[0, 2, 3], x[0, 0, 0] = torch.nan, torch.inf
    x.requires_grad_()
    points = torch.tensor([[2.5, 2.5], [3.5, 1.5], [torch.nan, 2.0], [-5.0, 0.5]]).double().requires_grad_()
    found = geometry.sample_at(x, points)
    assert found[:, 0].tolist() == [x[0, 2, 2].item(), x[0, 1, 3].item(), 0.0, 0.0]
    assert geometry.inside_at(x, points)[:, 0].tolist() == [1.0, 1.0, 0.0, 0.0]
    gradients = torch.autograd.grad(found.sum(), (x, points))
    assert gradients[0].isfinite().all()
    assert gradients[1][2:].eq(0).all()
    assert geometry.sample_at(x, torch.tensor([[3.0, 2.5]]).double()).isnan().all(), "what it uses shows"


def test_samples_of_a_rendered_plane_find_the_depth_of_points_on_it() -> None:
    """Both conventions of pixels together: a point projected into the image of its own plane."""
    intrinsics, view = CAMERA[0][:1], torch.eye(4, dtype=torch.float64)[None]
    rows = (torch.arange(H).double()[:, None] + 0.5 - intrinsics[0, 1, 2]) / intrinsics[0, 1, 1]
    inverse = (1 - 0.3 * rows).expand(H, W)[None, ..., None] / 2  # the plane z = 2 + 0.3 y
    points = torch.tensor([[0.0, 0.2, 2.06], [-0.3, 0.1, 2.03], [0.4, -0.4, 1.88]]).double()
    pixels, distance = geometry.project(points, (intrinsics, view))
    assert geometry.inside_at(inverse, pixels).all()
    torch.testing.assert_close(1 / geometry.sample_at(inverse, pixels), distance)


# Rows of other gaussians


def test_gather() -> None:
    x = rand(5, 3).requires_grad_()
    index = torch.tensor([[0, 4], [1, 1], [2, 0], [4, 3], [0, 0]])
    found = geometry.gather(x, index)
    assert found.tolist() == [[x[i].tolist() for i in row] for row in index.tolist()]
    assert torch.autograd.gradcheck(lambda v: geometry.gather(v, index), (x,))
    assert geometry.gather(x[:, :1], index).shape == (5, 2, 1)


def test_one_graph_serves_every_number_of_gaussians() -> None:
    def several(x: Tensor, quats: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        normals = geometry.gaussian_normals(quats, x)
        return geometry.gather(x, index), normals, *geometry.project(x, CAMERA)

    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    torch._dynamo.reset()
    run = torch.compile(several, backend=counter, fullgraph=True)
    for n in (7, 0, 1, 12):
        x, quats = rand(n, 3).requires_grad_(), rand(n, 4).requires_grad_()
        index = torch.randint(max(n, 1), (n, 4), generator=torch.Generator().manual_seed(n))
        for v in (x, quats, index):
            torch._dynamo.decorators.mark_unbacked(v, 0)
        found, expected = run(x, quats, index), several(x, quats, index)
        torch.testing.assert_close(found, expected)
        assert found[0].shape == (n, 4, 3)
        gradients = torch.autograd.grad(sum(v.sum() for v in found), (x, quats))
        assert all(g.isfinite().all() for g in gradients)
    assert counter.frame_count == 1


def test_gaussian_normals() -> None:
    quats, scales = (rand(8, 4) - 0.5).requires_grad_(), rand(8, 3).requires_grad_()
    found = geometry.gaussian_normals(quats, scales)
    for q, s, n in zip(quats.detach(), scales.detach(), found):
        w, x, y, z = (q / q.norm()).tolist()
        columns = [
            [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
            [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
            [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
        ]
        torch.testing.assert_close(n, torch.tensor(columns[int(s.argmin())]).double())
    assert torch.autograd.gradcheck(lambda q: geometry.gaussian_normals(q, scales.detach()), (quats,))
    (none,) = torch.autograd.grad(found.sum(), scales, allow_unused=True)
    assert none is None
    equal = geometry.gaussian_normals(torch.tensor([[1.0, 0, 0, 0]]), torch.ones(1, 3))
    assert equal.tolist() == [[1.0, 0.0, 0.0]], "the first of equal axes"


# Normals of a depth


def back_projected(d: Tensor, n: int, x: int, y: int) -> Tensor:
    intrinsics = CAMERA[0][n]
    return d[n, y, x, 0] * (intrinsics.inverse() @ torch.tensor([x + 0.5, y + 0.5, 1.0]).double())


def surface(d: Tensor, valid: Tensor | None, frame: str) -> Tensor:
    """Pixel by pixel; the points are those that the inverse of the intrinsics gives."""
    there = d.isfinite() & (d > 0)
    if valid is not None:
        there = there & (valid > 0.5)
    rows = [[[torch.zeros(3).double() for _ in range(d.shape[2])] for _ in range(d.shape[1])] for _ in range(len(d))]
    for n in range(len(d)):
        for y in range(1, d.shape[1] - 1):
            for x in range(1, d.shape[2] - 1):
                around = [(x, y), (x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)]
                if not all(there[n, v, u, 0] for u, v in around):
                    continue
                here, left, right, up, down = (back_projected(d, n, u, v) for u, v in around)
                normal = torch.linalg.cross(right - left, down - up)
                normal = normal / normal.norm()
                normal = normal if torch.dot(normal, here) <= 0 else -normal
                rows[n][y][x] = CAMERA[1][n][:3, :3].T @ normal if frame == "world" else normal
    return torch.stack([torch.stack([torch.stack(row) for row in image]) for image in rows])


def a_depth() -> Tensor:
    d = 1 + rand(B, 6, 7, 1)
    d[0, 1, 1], d[0, 4, 5], d[1, 0, 3], d[1, 3, 6] = 0.0, torch.nan, torch.inf, -1.0
    return d


VALID = torch.where(rand(B, 6, 7, 1, seed=3) < 0.1, 0.3, 0.8).double()


@pytest.mark.parametrize("frame", ["camera", "world"])
@pytest.mark.parametrize("valid", [None, VALID], ids=["everywhere", "valid"])
def test_depth_normals(frame: str, valid: Tensor | None) -> None:
    d = a_depth()

    def kernel(x: Tensor) -> Tensor:
        return depth.depth_normals(x, valid=valid, frame=frame, camera=CAMERA)

    found = kernel(d)
    assert found.any()
    torch.testing.assert_close(found, surface(d, valid, frame))
    torch.testing.assert_close(compiled(kernel)(d), found)
    leaf = d.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((found.detach() + 1).mul(kernel(leaf)).sum(), leaf)
    assert gradient.isfinite().all()
    assert gradient.any()
    whole = (1 + rand(B, 4, 4, 1)).requires_grad_()
    part = None if valid is None else valid[:, :4, :4]
    assert torch.autograd.gradcheck(lambda x: depth.depth_normals(x, valid=part, frame=frame, camera=CAMERA), (whole,))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_normals_of_a_plane_in_any_unit(scale: float) -> None:
    """A wall across the view, in float32: its normal looks back at the camera."""
    camera = CAMERA[0][:1].float(), torch.eye(4)[None]
    found = depth.depth_normals(torch.full((1, H, W, 1), scale), camera=camera)
    expected = torch.zeros(1, H, W, 3)
    expected[:, 1:-1, 1:-1, 2] = -1
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (5, 2)])
def test_images_without_an_inside_have_no_normals(size: tuple[int, int]) -> None:
    d = rand(B, *size, 1).requires_grad_()
    found = depth.depth_normals(d, camera=CAMERA)
    assert found.shape == (B, *size, 3)
    assert not found.any()
    (gradient,) = torch.autograd.grad(found.sum(), d)
    assert not gradient.any()


# Perceptual distance


class Layers(nn.Module):
    """Two small layers of features, the second at half the size, as the networks of LPIPS have them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        one = self.first(x).relu()
        return [one, self.second(one).relu()]


def a_network() -> SimpleNamespace:
    layers = Layers()
    lins = [nn.Conv2d(c, 1, 1, bias=False) for c in (4, 5)]
    return SimpleNamespace(net=layers, scaling_layer=lambda x: (x + 0.1) / 0.45, lins=lins)


def test_the_map_of_perceptual_distance() -> None:
    network = a_network()
    a, b = rand(B, 8, 6, 3), rand(B, 8, 6, 3, seed=5)
    found = lpips.distance_map(network, a, b)
    assert found.dtype == a.dtype
    expected = torch.zeros(B, 8, 6, 1)
    features = [network.net((2 * x.float().permute(0, 3, 1, 2) - 1 + 0.1) / 0.45) for x in (a, b)]
    for linear, x, y in zip(network.lins, *features):
        x, y = (v / (v.square().sum(1, keepdim=True).sqrt() + 1e-10) for v in (x, y))
        layer = (linear.weight[:, :, 0, 0] * (x - y).square().permute(0, 2, 3, 1)).sum(-1)[:, None]
        wide = nn.Upsample((8, 6), mode="bilinear", align_corners=False)(layer)
        expected = expected + wide.permute(0, 2, 3, 1)
    torch.testing.assert_close(found, expected.double())
    assert not lpips.distance_map(network, a, a).any()


def test_the_gradient_of_perceptual_distance_where_there_are_no_features() -> None:
    """A dark image on which no unit of the network is active: length 0 of the features."""
    network = a_network()
    with torch.no_grad():
        network.net.first.bias.fill_(-100)
    a = torch.zeros(1, 8, 6, 3, requires_grad=True)
    lpips.distance_map(network, a, torch.rand(1, 8, 6, 3)).sum().backward()
    assert a.grad.isfinite().all()


def test_perceptual_distance_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lpips", None)
    with pytest.raises(LossError) as error:
        lpips.perceptual("alex", "cpu")
    (found,) = error.value.diagnostics
    assert found.code == "DAT001"
    assert "splatdsl[lpips]" in found.help[0]


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_perceptual_distance_without_weights(net: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lpips", exc_type=(ImportError, RuntimeError))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(LossError) as error:
        lpips.perceptual(net, "cpu")
    (found,) = error.value.diagnostics
    assert "weights" in found.message
    assert str(tmp_path) in found.help[-1]
