"""The reference renderer against a second renderer, written from the formulas and sharing no code with it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from splatdsl.runtime.renderers.reference import ReferenceRenderer

ALL_BUFFERS = frozenset({"rendered", "alpha", "depth", "depth.accumulated"})
NAMES = ("means", "quats", "scales", "opacities", "sh0", "shN")


def make_scene(n: int, seed: int, degree: int = 2, size: float = 0.12, dtype: torch.dtype = torch.float64):
    """Raw parameters of gaussians in front of a camera at the origin that looks along z."""
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    scene = {
        "means": torch.stack([2.4 * uniform(n) - 1.2, 1.8 * uniform(n) - 0.9, 1.5 + 2.0 * uniform(n)], dim=-1),
        "quats": 2.0 * uniform(n, 4) - 1.0,
        "scales": math.log(size) + 0.8 * (2.0 * uniform(n, 3) - 1.0),
        "opacities": 4.0 * uniform(n) - 2.0,
        "sh0": 2.0 * uniform(n, 1, 3) - 1.0,
        "shN": 0.4 * (2.0 * uniform(n, (degree + 1) ** 2 - 1, 3) - 1.0),
    }
    return {name: tensor.to(dtype).requires_grad_() for name, tensor in scene.items()}


def make_views(b: int, width: int, height: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Poses that look at the scene from slightly different places, and one focal length with an off-centre point."""
    poses = torch.eye(4, dtype=dtype).repeat(b, 1, 1)
    for i in range(b):
        angle = 0.11 * i + 0.05
        poses[i, 0, 0] = poses[i, 2, 2] = math.cos(angle)
        poses[i, 0, 2], poses[i, 2, 0] = math.sin(angle), -math.sin(angle)
        poses[i, :3, 3] = torch.tensor([0.1 - 0.2 * i, 0.05, -0.1 * i], dtype=dtype)
    K = torch.tensor([[0.9 * width, 0, 0.52 * width], [0, 0.95 * width, 0.47 * height], [0, 0, 1]], dtype=dtype)
    return poses, K.repeat(b, 1, 1)


# --- the second renderer -------------------------------------------------------------------------------------------


def rotation(q: Tensor) -> Tensor:
    w, x, y, z = q / q.norm()
    return torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]),
            torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]),
            torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]),
        ]
    )


def harmonics(d: Tensor, degree: int) -> Tensor:
    """Real spherical harmonics with the signs of the 3DGS code, up to degree 3."""
    x, y, z = d / d.norm()
    bands = [torch.full_like(x, 0.28209479177387814)]
    if degree > 0:
        c1 = 0.4886025119029199
        bands += [-c1 * y, c1 * z, -c1 * x]
    if degree > 1:
        c2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
        bands += [c2[0] * x * y, c2[1] * y * z, c2[2] * (2 * z * z - x * x - y * y), c2[3] * x * z]
        bands += [c2[4] * (x * x - y * y)]
    if degree > 2:
        c3 = (-0.5900435899266435, 2.890611442640554, -0.4570457994644658, 0.3731763325901154)
        c3 += (-0.4570457994644658, 1.445305721320277, -0.5900435899266435)
        bands += [c3[0] * y * (3 * x * x - y * y), c3[1] * x * y * z, c3[2] * y * (4 * z * z - x * x - y * y)]
        bands += [c3[3] * z * (2 * z * z - 3 * x * x - 3 * y * y), c3[4] * x * (4 * z * z - x * x - y * y)]
        bands += [c3[5] * z * (x * x - y * y), c3[6] * x * (x * x - 3 * y * y)]
    return torch.stack(bands)


def brute_force(scene, pose, K, width, height, degree, background=None, shifts=None):
    """One view: every gaussian on every pixel, one after the other, with autograd through all of it.

    ``shifts`` `[N, 2]` are added to the projected centres, so that their gradient is that of the centres.
    """
    view = torch.linalg.inv(pose)
    fx, fy, cx, cy = (float(K[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    px = torch.arange(width, dtype=pose.dtype) + 0.5
    py = torch.arange(height, dtype=pose.dtype)[:, None] + 0.5
    drawn = []
    for i in range(scene["means"].shape[0]):
        t = view[:3, :3] @ scene["means"][i] + view[:3, 3]
        if not 0.01 < t[2] < 1e10:
            continue
        root = rotation(scene["quats"][i]) @ torch.diag(torch.exp(scene["scales"][i]))
        sigma = view[:3, :3] @ root @ root.T @ view[:3, :3].T
        # the Jacobian is taken at a point that stays within 1.3 times the field of view
        tx = t[2] * (t[0] / t[2]).clamp(-(cx / fx + 0.15 * width / fx), (width - cx) / fx + 0.15 * width / fx)
        ty = t[2] * (t[1] / t[2]).clamp(-(cy / fy + 0.15 * height / fy), (height - cy) / fy + 0.15 * height / fy)
        zero = torch.zeros_like(tx)
        J = torch.stack(
            [torch.stack([fx / t[2], zero, -fx * tx / t[2] ** 2]), torch.stack([zero, fy / t[2], -fy * ty / t[2] ** 2])]
        )
        cov = J @ sigma @ J.T + 0.3 * torch.eye(2, dtype=pose.dtype)
        centre = torch.stack([fx * t[0] / t[2] + cx, fy * t[1] / t[2] + cy])
        centre = centre if shifts is None else centre + shifts[i]
        coefficients = torch.cat([scene["sh0"][i], scene["shN"][i]])[: (degree + 1) ** 2]
        color = (harmonics(scene["means"][i] - pose[:3, 3], degree) @ coefficients + 0.5).clamp(min=0)
        drawn.append((t[2].item(), t[2], centre, torch.linalg.inv(cov), torch.sigmoid(scene["opacities"][i]), color))
    drawn.sort(key=lambda entry: entry[0])

    image = torch.zeros(height, width, 3, dtype=pose.dtype)
    depth = torch.zeros(height, width, dtype=pose.dtype)
    passed = torch.ones(height, width, dtype=pose.dtype)
    open_ = torch.ones(height, width, dtype=torch.bool)
    for _, z, centre, inverse, opacity, color in drawn:
        dx, dy = px - centre[0], py - centre[1]
        power = 0.5 * (inverse[0, 0] * dx * dx + inverse[1, 1] * dy * dy) + inverse[0, 1] * dx * dy
        alpha = (opacity * torch.exp(-power)).clamp(max=0.999)
        counts = open_ & (alpha >= 1 / 255)
        ends = counts & (passed * (1 - alpha) <= 1e-4)
        open_ = open_ & ~ends
        alpha = torch.where(counts & ~ends, alpha, torch.zeros_like(alpha))
        image = image + (passed * alpha)[..., None] * color
        depth = depth + passed * alpha * z
        passed = passed * (1 - alpha)
    covered = 1 - passed
    if background is not None:
        image = image + passed[..., None] * background
    return image, covered, depth, depth / covered.clamp(min=1e-10)


def compare(scene, poses, Ks, width, height, degree, backgrounds=None, tile_size=8, image_tol=1e-9, grad_tol=1e-7):
    """Images, alpha, both depths and the gradients of every parameter of a random function of them."""
    renderer = ReferenceRenderer(tile_size=tile_size)
    image, payload = renderer.render(
        scene, poses, Ks, width, height, sh_degree=degree, backgrounds=backgrounds, buffers=ALL_BUFFERS
    )
    got = [image, payload.alphas[..., 0], payload.depths_accumulated[..., 0], payload.depths_expected[..., 0]]
    views = [
        brute_force(scene, poses[i], Ks[i], width, height, degree, None if backgrounds is None else backgrounds[i])
        for i in range(poses.shape[0])
    ]
    want = [torch.stack(buffer) for buffer in zip(*views)]
    g = torch.Generator().manual_seed(7)
    loss_got, loss_want = 0, 0
    for name, a, b in zip(("image", "alpha", "accumulated depth", "expected depth"), got, want):
        assert a.shape == b.shape, name
        assert (a - b).abs().max().item() <= image_tol, name
        weight = torch.randn(b.shape, generator=g, dtype=torch.float64)
        loss_got = loss_got + (a * weight).sum()
        loss_want = loss_want + (b * weight).sum()
    grads = torch.autograd.grad(loss_got, [scene[name] for name in NAMES], allow_unused=True)
    wanted = torch.autograd.grad(loss_want, [scene[name] for name in NAMES], allow_unused=True)
    for name, a, b in zip(NAMES, grads, wanted):
        if b is None:
            assert a is None or not a.any(), name
            continue
        assert (a - b).abs().max().item() <= grad_tol * max(b.abs().max().item(), 1e-12), name
    return payload


# --- agreement -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_agrees_with_brute_force(degree):
    scene = make_scene(60, seed=degree, degree=3)
    poses, Ks = make_views(1, 37, 27)
    payload = compare(scene, poses, Ks, 37, 27, degree)
    assert 0.3 < payload.alphas.mean() < 0.95, "the scene should neither be empty nor saturated"


@pytest.mark.parametrize("tile_size", [1, 4, 8, 16, 64])
def test_any_tile_size_and_two_views_with_backgrounds(tile_size):
    scene = make_scene(40, seed=11)
    poses, Ks = make_views(2, 33, 18)
    backgrounds = torch.tensor([[0.2, 0.9, 0.4], [1.0, 0.0, 0.3]], dtype=torch.float64)
    compare(scene, poses, Ks, 33, 18, 2, backgrounds, tile_size=tile_size)


def test_opaque_scene_stops_at_the_transmittance_limit():
    scene = make_scene(150, seed=3, size=0.3)
    with torch.no_grad():
        scene["opacities"] += 6.0
    poses, Ks = make_views(1, 24, 20)
    payload = compare(scene, poses, Ks, 24, 20, 2)
    assert payload.alphas.max() < 1.0 - 1e-4, "a pixel ends before its transmittance falls to 1e-4"
    assert payload.alphas.mean() > 0.99


def test_clamped_alpha_passes_no_gradient_to_the_shape():
    scene = make_scene(3, seed=5, size=0.5)
    with torch.no_grad():
        scene["opacities"].fill_(12.0)  # sigmoid above 0.999: the middle of each gaussian is clamped
    poses, Ks = make_views(1, 20, 16)
    compare(scene, poses, Ks, 20, 16, 2)


def test_gaussians_around_and_behind_the_camera():
    scene = make_scene(50, seed=9, size=0.2)
    with torch.no_grad():
        scene["means"][::3, 2] -= 3.0  # behind, at and just before the camera
        scene["means"][1, 2], scene["means"][4, 2] = 0.0, 0.02
        scene["means"][7, 0] = 40.0  # far beside the image
    poses, Ks = make_views(2, 26, 22)
    payload = compare(scene, poses, Ks, 26, 22, 1)
    assert not payload.radii[:, 7].any()
    gone = (payload.radii == 0).all(-1)
    assert gone.any()
    assert not gone.all()


def test_one_gaussian_that_covers_everything():
    scene = make_scene(5, seed=2)
    with torch.no_grad():
        scene["means"][0] = torch.tensor([0.0, 0.0, 2.0])
        scene["scales"][0] = 3.0
    poses, Ks = make_views(1, 21, 19)
    payload = compare(scene, poses, Ks, 21, 19, 2)
    assert payload.alphas.min() > 0.1


@pytest.mark.parametrize("name", ["means", "scales", "quats"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 60.0])
def test_one_broken_gaussian_leaves_the_others_alone(name, value):
    scene = make_scene(30, seed=14, dtype=torch.float32)
    whole = {k: torch.cat([t.detach()[:7], t.detach()[8:]]).requires_grad_() for k, t in scene.items()}
    with torch.no_grad():
        scene[name][7] = value  # exp(60) squared overflows float32
        if name == "quats" and value == 60.0:
            scene["opacities"][7] = -50.0  # a fine rotation: make this one transparent instead
    poses, Ks = make_views(1, 24, 18, dtype=torch.float32)
    images = []
    for parameters in (scene, whole):
        image, _ = ReferenceRenderer().render(parameters, poses, Ks, 24, 18)
        image.square().mean().backward()
        images.append(image)
    assert torch.allclose(*images, atol=1e-6)
    for key in NAMES:
        others = torch.cat([scene[key].grad[:7], scene[key].grad[8:]])
        assert torch.allclose(others, whole[key].grad, rtol=1e-4, atol=1e-8), key
        assert not scene[key].grad[7].any(), key


def test_single_precision_stays_close_to_double():
    double = make_scene(80, seed=21)
    single = {name: tensor.detach().float().requires_grad_() for name, tensor in double.items()}
    poses, Ks = make_views(1, 40, 30)
    results = []
    for scene, dtype in ((double, torch.float64), (single, torch.float32)):
        image, payload = ReferenceRenderer().render(scene, poses.to(dtype), Ks.to(dtype), 40, 30, buffers=ALL_BUFFERS)
        assert image.dtype == dtype
        loss = image.square().mean() + payload.alphas.mean() + payload.depths.mean()
        results.append((image, payload, torch.autograd.grad(loss, [scene[name] for name in NAMES])))
    (a, pa, ga), (b, pb, gb) = results
    assert (a - b).abs().max() < 1e-5
    assert (pa.alphas - pb.alphas).abs().max() < 1e-5
    assert torch.equal(pa.radii, pb.radii)
    for name, x, y in zip(NAMES, ga, gb):
        assert (x - y).abs().max() < 1e-4 * x.abs().max(), name


def test_gradcheck_of_every_parameter_and_the_pose():
    scene = make_scene(6, seed=4, degree=1, size=0.3)
    poses, Ks = make_views(1, 11, 9)
    poses.requires_grad_()

    def images(pose: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        image, payload = ReferenceRenderer().render(
            dict(zip(NAMES, tensors)), pose, Ks, 11, 9, buffers=ALL_BUFFERS, sh_degree=1
        )
        return image, payload.alphas, payload.depths_accumulated

    assert torch.autograd.gradcheck(images, (poses, *scene.values()), eps=1e-6, atol=1e-5, rtol=1e-3, fast_mode=True)


# --- buffers -------------------------------------------------------------------------------------------------------


def test_means2d_receive_the_gradient_that_densification_reads():
    scene = make_scene(30, seed=6)
    poses, Ks = make_views(2, 30, 20)
    image, payload = ReferenceRenderer().render(scene, poses, Ks, 30, 20)
    assert payload.means2d.shape == (2, 30, 2)
    payload.means2d.retain_grad()
    weight = torch.randn(image.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (image * weight).sum().backward()
    grad = payload.means2d.grad
    assert grad.shape == (2, 30, 2)
    drawn = (payload.radii > 0).all(-1)
    assert not grad[~drawn].any()
    assert (grad[drawn].norm(dim=-1) > 0).float().mean() > 0.8
    for view in range(2):
        shifts = torch.zeros(30, 2, dtype=torch.float64, requires_grad=True)
        wanted = brute_force(scene, poses[view], Ks[view], 30, 20, 2, shifts=shifts)[0]
        (wanted * weight[view]).sum().backward()
        assert (grad[view] - shifts.grad).abs().max() < 1e-7 * shifts.grad.abs().max()


def test_radii_bound_what_is_drawn():
    scene = make_scene(1, seed=8, size=0.1)
    with torch.no_grad():
        scene["means"][0] = torch.tensor([0.0, 0.0, 2.0])
    poses, Ks = make_views(1, 60, 50)
    _, payload = ReferenceRenderer().render(scene, poses, Ks, 60, 50)
    rows, columns = torch.nonzero(payload.alphas[0, ..., 0] > 0, as_tuple=True)
    x, y = payload.means2d[0, 0].tolist()
    radius_x, radius_y = payload.radii[0, 0].tolist()
    reach_x = (columns + 0.5 - x).abs().max().item()
    reach_y = (rows + 0.5 - y).abs().max().item()
    assert reach_x <= radius_x <= reach_x + 2, "the box holds all drawn pixels and is tight"
    assert reach_y <= radius_y <= reach_y + 2


def test_depths_are_computed_only_when_asked_for():
    scene = make_scene(10, seed=1)
    poses, Ks = make_views(1, 16, 12)
    _, plain = ReferenceRenderer().render(scene, poses, Ks, 16, 12)
    assert plain.depths is None
    assert plain.depths_accumulated is None
    for request in ({"buffers": frozenset({"depth"})}, {"render_mode": "RGB+D"}, {"render_mode": "RGB+ED"}):
        image, payload = ReferenceRenderer().render(scene, poses, Ks, 16, 12, **request)
        assert image.shape == (1, 12, 16, 3)
        assert payload.depths.shape == payload.depths_accumulated.shape == (1, 12, 16, 1)
        assert torch.allclose(image, plain.renders, rtol=0, atol=1e-12)
        assert torch.allclose(payload.depths * payload.alphas, payload.depths_accumulated)


def test_no_gaussians_give_the_background():
    scene = make_scene(4, seed=0)
    empty = {name: tensor.detach()[:0].requires_grad_() for name, tensor in scene.items()}
    poses, Ks = make_views(2, 13, 7)
    backgrounds = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], dtype=torch.float64)
    image, payload = ReferenceRenderer().render(
        empty, poses, Ks, 13, 7, backgrounds=backgrounds, buffers=frozenset({"depth"})
    )
    assert torch.equal(image, backgrounds[:, None, None].expand(2, 7, 13, 3))
    assert not payload.alphas.any()
    assert not payload.depths.any()
    assert payload.radii.shape == payload.means2d.shape == (2, 0, 2)
    image.sum().backward()
    assert empty["means"].grad is None or empty["means"].grad.shape == (0, 3)


def test_all_gaussians_out_of_sight_give_zero_gradients():
    scene = make_scene(5, seed=0)
    with torch.no_grad():
        scene["means"][:, 2] = -4.0
    poses, Ks = make_views(1, 13, 7)
    image, payload = ReferenceRenderer().render(scene, poses, Ks, 13, 7)
    image.sum().backward()
    assert not image.any()
    assert not payload.radii.any()
    assert all(scene[name].grad is None or not scene[name].grad.any() for name in NAMES)


def test_the_number_of_gaussians_may_change_between_calls():
    renderer = ReferenceRenderer()
    poses, Ks = make_views(1, 16, 12)
    for n in (20, 3, 50):
        image, payload = renderer.render(make_scene(n, seed=n), poses, Ks, 16, 12)
        alone, _ = ReferenceRenderer().render(make_scene(n, seed=n), poses, Ks, 16, 12)
        assert payload.radii.shape == (1, n, 2)
        assert torch.equal(image, alone)


def test_renders_without_gradients():
    scene = make_scene(10, seed=1)
    poses, Ks = make_views(1, 16, 12)
    with torch.no_grad():
        image, payload = ReferenceRenderer().render(scene, poses, Ks, 16, 12)
    assert not image.requires_grad
    assert not payload.means2d.requires_grad


# --- repeatability --------------------------------------------------------------------------------------


def test_two_runs_give_the_same_bits():
    runs = []
    for _ in range(2):
        scene = make_scene(1500, seed=13, size=0.05, dtype=torch.float32)
        poses, Ks = make_views(2, 70, 50, dtype=torch.float32)
        image, payload = ReferenceRenderer().render(scene, poses, Ks, 70, 50, buffers=ALL_BUFFERS)
        payload.means2d.retain_grad()
        (image.square().mean() + payload.alphas.mean() + payload.depths.mean()).backward()
        runs.append([image, payload.alphas, payload.depths, payload.means2d.grad, *(scene[k].grad for k in NAMES)])
    for first, second in zip(*runs):
        assert torch.equal(first, second)
