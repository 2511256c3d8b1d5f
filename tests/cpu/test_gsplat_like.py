"""The stand-ins for gsplat's rasterisation functions, against formulas that share no code with them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.renderers.gsplat_like import functions, rasterization, rasterization_2dgs
from splatdsl.runtime.renderers.gsplat_mcmc import compute_relocation, mcmc_strategy
from splatdsl.runtime.renderers.reference import ReferenceRenderer

WIDTH, HEIGHT = 20, 16


def make_scene(n: int = 8, seed: int = 0, size: float = 0.25) -> dict[str, Tensor]:
    """Gaussians before the camera, activated, with colours as they are; depths far from each other."""
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    z = 1.5 + 1.5 * torch.arange(n, dtype=torch.float64) / n
    return {
        "means": torch.stack([1.2 * uniform(n) - 0.6, 0.9 * uniform(n) - 0.45, z], dim=-1),
        "quats": 2.0 * uniform(n, 4) - 1.0,
        "scales": size * (0.5 + uniform(n, 3)),
        "opacities": 0.2 + 0.7 * uniform(n),
        "colors": uniform(n, 1, 3) - 0.2,
    }


def cameras(count: int) -> dict[str, Tensor]:
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    for i in range(count):
        a = 0.15 * i
        poses[i, :3, :3] = torch.tensor([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
        poses[i, :3, 3] = torch.tensor([-0.2 * i, 0.05 * i, 0.1 * i])
    K = torch.tensor([[18.0, 0, 10.5], [0, 19.0, 7.5], [0, 0, 1]], dtype=torch.float64)
    return {"viewmats": torch.linalg.inv(poses), "Ks": K.repeat(count, 1, 1)}


def draw(function, scene, views=1, **options):
    settings = {"width": WIDTH, "height": HEIGHT, "sh_degree": 0, **cameras(views), **options}
    return function(**scene, **settings)


# --- 3DGS --------------------------------------------------------------------------------------------------------


def raw(scene):
    logit = torch.logit(scene["opacities"])
    sh = {"sh0": scene["colors"], "shN": scene["colors"][:, :0]}
    return {"means": scene["means"], "quats": scene["quats"], "scales": scene["scales"].log(), "opacities": logit, **sh}


@pytest.mark.parametrize("packed", [False, True])
def test_3dgs_is_what_the_reference_renderer_draws(packed):
    scene, view, background = make_scene(40), cameras(2), torch.rand(2, 3, dtype=torch.float64)
    scene["means"][:3, 2] -= 3.0  # behind the cameras
    image, payload = ReferenceRenderer().render(
        raw(scene), torch.linalg.inv(view["viewmats"]), view["Ks"], WIDTH, HEIGHT, 0, background,
        frozenset({"rendered", "alpha", "depth", "depth.accumulated"}),
    )  # fmt: skip
    for mode, depth in (("RGB", None), ("RGB+ED", payload.depths), ("RGB+D", payload.depths_accumulated)):
        renders, alphas, info = draw(rasterization, scene, 2, packed=packed, render_mode=mode, backgrounds=background)
        assert renders.shape == (2, HEIGHT, WIDTH, 3 if depth is None else 4)
        torch.testing.assert_close(renders[..., :3], image)
        torch.testing.assert_close(alphas, payload.alphas)
        if depth is not None:
            torch.testing.assert_close(renders[..., 3:], depth)
    torch.testing.assert_close(draw(rasterization, scene, 2, render_mode="ED")[0], payload.depths)
    drawn = (payload.radii > 0).all(-1)
    assert (info["width"], info["height"], info["n_cameras"], info["n_batches"]) == (WIDTH, HEIGHT, 2, 1)
    if packed:
        torch.testing.assert_close(
            torch.stack([info["camera_ids"], info["gaussian_ids"]]), torch.stack(torch.where(drawn))
        )
        assert torch.equal(info["radii"], payload.radii[drawn])
        torch.testing.assert_close(info["means2d"], payload.means2d[drawn])
    else:
        assert info["gaussian_ids"] is None
        assert torch.equal(info["radii"], payload.radii)
        torch.testing.assert_close(info["means2d"], payload.means2d)


def test_3dgs_batches_are_scenes_drawn_one_by_one():
    scenes, view = [make_scene(12, seed) for seed in (1, 2)], cameras(2)
    stacked = {name: torch.stack([s[name] for s in scenes]) for name in scenes[0]}
    views = {name: torch.stack([v, v]) for name, v in view.items()}
    for packed in (False, True):
        renders, alphas, info = draw(rasterization, stacked, **views, packed=packed, render_mode="RGB+ED")
        for i, scene in enumerate(scenes):
            single, alpha, _ = draw(rasterization, scene, 2, render_mode="RGB+ED")
            torch.testing.assert_close(renders[i], single)
            torch.testing.assert_close(alphas[i], alpha)
        assert info["n_batches"] == 2
    assert info["batch_ids"].unique().tolist() == [0, 1]
    surface = draw(rasterization_2dgs, stacked, **views, render_mode="RGB+ED")
    single = draw(rasterization_2dgs, scenes[1], 2, render_mode="RGB+ED")
    for both, one in zip(surface[:6], single[:6]):
        torch.testing.assert_close(both[1], one)
    assert surface[6]["radii"].shape == (2, 2, 12, 2)


@pytest.mark.parametrize("function", [rasterization, rasterization_2dgs])
def test_colors_may_be_features_and_differ_between_cameras(function):
    scene = make_scene(10)
    features = torch.rand(2, 10, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = draw(function, {**scene, "colors": features}, 2, sh_degree=None)[0]
    assert found.shape == (2, HEIGHT, WIDTH, 5)
    for camera in range(2):
        same = {**scene, "colors": features[camera]}
        torch.testing.assert_close(found[camera], draw(function, same, 2, sh_degree=None)[0][camera])
    harmonics = (0.28209479177387814 * scene["colors"][:, 0] + 0.5).clamp(min=0)
    plain = draw(function, {**scene, "colors": harmonics}, sh_degree=None, packed=False)[0]
    torch.testing.assert_close(plain, draw(function, scene, packed=False)[0])


def test_the_gradient_of_means2d_is_that_of_a_shift_of_the_screen():
    scene, step = make_scene(6), 1e-6

    def total(shift: float) -> Tensor:
        view = cameras(1)
        view["Ks"][0, 0, 2] += shift
        return draw(rasterization, scene, **view, packed=True)[0].square().sum()

    renders, _, info = draw(rasterization, {k: v.clone().requires_grad_() for k, v in scene.items()}, packed=True)
    info["means2d"].retain_grad()
    renders.square().sum().backward()
    expected = (total(step) - total(-step)) / (2 * step)
    assert info["means2d"].grad[:, 0].sum() == pytest.approx(expected.item(), rel=1e-5)


def test_antialiasing_scales_opacities():
    scene = make_scene(6, size=0.01)
    for name in ("classic", "antialiased"):
        info = draw(rasterization, scene, rasterize_mode=name)[2]
        expected = scene["opacities"][info["gaussian_ids"]]
        if name == "classic":
            torch.testing.assert_close(info["opacities"], expected)
        else:  # far smaller than a pixel: most of it is blur
            assert (info["opacities"] < 0.5 * expected).all()


# --- 2DGS --------------------------------------------------------------------------------------------------------


def rotation(q: Tensor) -> Tensor:
    w, x, y, z = q / q.norm()
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row) for row in rows])


def brute_force(scene, viewmat, K):
    """Discs on every pixel, one after the other: rays from the camera are cut with planes in world coordinates.

    Returns colour, alpha, normal, distortion and median, `[H, W, k]`.
    """
    inverse = torch.linalg.inv(viewmat)
    eye = inverse[:3, 3]
    x, y = torch.meshgrid(torch.arange(WIDTH) + 0.5, torch.arange(HEIGHT) + 0.5, indexing="xy")
    pixels = torch.stack([x, y], dim=-1).double()
    rays = torch.cat([pixels, torch.ones(HEIGHT, WIDTH, 1).double()], -1) @ torch.linalg.inv(K).T @ inverse[:3, :3].T
    passed, weights, layers = torch.ones(HEIGHT, WIDTH).double(), [], []
    open_ = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    centres = scene["means"] @ viewmat[:3, :3].T + viewmat[:3, 3]
    for i in torch.argsort(centres[:, 2]).tolist():
        axes, mean = rotation(scene["quats"][i]), scene["means"][i]
        normal = axes[:, 2] if axes[:, 2] @ (eye - mean) > 0 else -axes[:, 2]
        hit = eye + rays * ((mean - eye) @ normal / (rays @ normal))[..., None] - mean
        u, v = hit @ axes[:, 0] / scene["scales"][i, 0], hit @ axes[:, 1] / scene["scales"][i, 1]
        # The paper's filter is about the projected centre; gsplat's about the centre of the ellipse's box: the mean of
        # the two points where the ellipse's outline, at one standard deviation, is furthest left and right (and up and
        # down), in closed form by the roots of the tangents.
        t = [K @ viewmat[:3, :3] @ (axes[:, k] * scene["scales"][i, k]) for k in (0, 1)] + [K @ centres[i]]
        middle = []
        for axis in (0, 1):  # tangent lines a: (t_axis - a t_z) has equal parts: p0² + p1² = p2²
            a = t[0][2] ** 2 + t[1][2] ** 2 - t[2][2] ** 2
            b = -2 * (t[0][axis] * t[0][2] + t[1][axis] * t[1][2] - t[2][axis] * t[2][2])
            middle.append(-b / (2 * a))  # half the sum of the two roots
        near = 2 * (pixels - torch.stack(middle)).square().sum(-1)
        alpha = (scene["opacities"][i] * torch.exp(-0.5 * torch.minimum(u * u + v * v, near))).clamp(max=0.999)
        alpha = torch.where(alpha >= 1 / 255, alpha, 0.0)
        open_ = open_ & (passed * (1 - alpha) > 1e-4)
        weights.append(alpha * passed * open_)
        color = (0.28209479177387814 * scene["colors"][i, 0] + 0.5).clamp(min=0)
        layers.append((color, normal, centres[i, 2], passed))
        passed = torch.where(open_, passed * (1 - alpha), passed)
    color = sum(w[..., None] * c for w, (c, _, _, _) in zip(weights, layers))
    normals = sum(w[..., None] * n for w, (_, n, _, _) in zip(weights, layers))
    # the pairwise form of the distortion, of which the rasteriser sums up one half and doubles it
    distortion = sum(
        w1 * w2 * (m1 - m2).abs()
        for w1, (_, _, m1, _) in zip(weights, layers)
        for w2, (_, _, m2, _) in zip(weights, layers)
    )
    median = torch.zeros(HEIGHT, WIDTH).double()
    for w, (_, _, m, before) in zip(weights, layers):
        median = torch.where((w > 0) & (before > 0.5), m, median)
    return color, sum(weights)[..., None], normals, distortion[..., None], median[..., None]


def test_2dgs_is_what_the_formulas_draw():
    scene, view = make_scene(14, seed=3, size=0.5), cameras(2)
    renders, alphas, normals, surface, distortion, median, info = draw(
        rasterization_2dgs, scene, 2, render_mode="RGB+D", distloss=True, tile_size=32
    )  # one tile, since what lies outside a disc's box is drawn only within the tiles that the box meets
    assert renders.shape == (2, HEIGHT, WIDTH, 4)
    assert surface.shape == (2, HEIGHT, WIDTH, 3)
    assert alphas.max() > 0.9, "the test means little where hardly anything is drawn"
    for i in range(2):
        found = renders[i, ..., :3], alphas[i], normals[i], distortion[i], median[i]
        for value, expected in zip(found, brute_force(scene, view["viewmats"][i], view["Ks"][i])):
            torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-11)
    assert torch.equal(info["render_distort"], distortion)
    assert {"means2d", "gradient_2dgs", "radii", "ray_transforms", "normals", "depths", "n_cameras"} <= info.keys()


def test_discs_are_projected_as_by_gsplats_own_torch_functions():
    from gsplat.cuda._torch_impl_2dgs import _fully_fused_projection_2dgs

    scene, view = make_scene(40, seed=9, size=0.1), cameras(2)
    scene["means"][:5, 2] -= 3.0  # behind the cameras
    radii, means2d, depths, transforms, normals = _fully_fused_projection_2dgs(
        scene["means"], scene["quats"], scene["scales"], view["viewmats"], view["Ks"], WIDTH, HEIGHT
    )
    info = draw(rasterization_2dgs, scene, 2)[-1]
    assert torch.equal(info["radii"], radii)
    drawn = (radii > 0).all(-1)
    assert 0 < drawn.sum() < drawn.numel()
    expected = {
        "means2d": means2d,
        "depths": depths,
        "ray_transforms": transforms,
        "normals": F.normalize(normals, dim=-1),
    }
    for name, value in expected.items():
        torch.testing.assert_close(info[name][drawn], value[drawn], msg=lambda m, n=name: f"{n}: {m}")


def test_a_disc_that_faces_the_camera():
    scene = {
        "means": torch.tensor([[0.0, 0.0, 2.0]]),
        "quats": torch.tensor([[1.0, 0, 0, 0]]),
        "scales": torch.tensor([[3.0, 3.0, 1.0]]),
        "opacities": torch.tensor([0.95]),
        "colors": torch.zeros(1, 1, 3),
    }
    view = {name: value.float() for name, value in cameras(1).items()}
    renders, alphas, normals, surface, distortion, median, _ = draw(
        rasterization_2dgs, scene, **view, render_mode="RGB+ED", distloss=True
    )
    assert (alphas > 0.8).all()
    assert surface.shape == (HEIGHT, WIDTH, 3), "as gsplat, which drops the dimension of a single camera"
    towards = torch.tensor([0.0, 0.0, -1.0])
    torch.testing.assert_close(renders[..., 3:], torch.full_like(alphas, 2.0))
    torch.testing.assert_close(median, torch.full_like(alphas, 2.0))
    torch.testing.assert_close(normals, alphas * towards)
    torch.testing.assert_close(surface[1:-1, 1:-1], towards.expand(HEIGHT - 2, WIDTH - 2, 3), atol=1e-5, rtol=0)
    assert distortion.abs().max() == 0, "one depth is at no distance from itself"
    expected = draw(rasterization_2dgs, scene, **view, render_mode="RGB+ED", depth_mode="median")[3]
    torch.testing.assert_close(expected, surface, atol=1e-5, rtol=0)


@pytest.mark.parametrize("function", [rasterization, rasterization_2dgs])
def test_gradients_by_finite_differences(function):
    scene = {name: value.requires_grad_() for name, value in make_scene(4, seed=5).items()}
    g = torch.Generator().manual_seed(0)
    outputs = draw(function, scene, render_mode="RGB+ED")
    mixed = [torch.rand(o.shape, generator=g, dtype=o.dtype) for o in outputs if isinstance(o, Tensor)]

    def total(values) -> Tensor:
        found = [o for o in draw(function, values, render_mode="RGB+ED") if isinstance(o, Tensor)]
        return sum((m * o).sum() for m, o in zip(mixed, found))

    total(scene).backward()
    for name, value in scene.items():
        for place in range(0, value.numel(), 1 if name != "colors" else 5):
            step = torch.zeros_like(value).flatten()
            step[place] = 1e-6
            step = step.view_as(value)
            with torch.no_grad():
                high, low = (total({**scene, name: value + sign * step}) for sign in (1, -1))
            slope = (high - low) / 2e-6
            # the limit of 1/255 makes steps in the picture, none of which this scene takes
            assert value.grad.flatten()[place].item() == pytest.approx(slope.item(), rel=2e-4, abs=2e-4), (name, place)


def test_gradient_2dgs_is_that_of_a_shift_of_the_screen():
    scene = make_scene(6, seed=7, size=0.4)
    scene["quats"][:] = torch.tensor([1.0, 0, 0, 0])  # facing the camera, many pixels large: the filter is not active

    def total(shift: float) -> Tensor:
        view = cameras(1)
        view["Ks"][0, 1, 2] += shift
        return draw(rasterization_2dgs, scene, **view)[0].square().sum()

    renders, *_, info = draw(rasterization_2dgs, {name: v.clone().requires_grad_() for name, v in scene.items()})
    renders.square().sum().backward()
    expected = (total(1e-6) - total(-1e-6)) / 2e-6
    through_filter = info["gradient_2dgs"].grad[..., 1].sum()
    assert through_filter.item() == pytest.approx(expected.item(), rel=1e-4)


# --- what cannot be drawn ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "options", "word"),
    [
        (rasterization, {"absgrad": True}, "absgrad"),
        (rasterization, {"camera_model": "fisheye"}, "camera_model"),
        (rasterization, {"distributed": True}, "distributed"),
        (rasterization, {"render_mode": "RGBD"}, "RGB+ED"),
        (rasterization, {"sh_degree": 3}, "coefficients"),
        (rasterization, {"backgrounds": torch.zeros(3)}, "backgrounds"),
        (rasterization_2dgs, {"packed": True}, "packed"),
        (rasterization_2dgs, {"distloss": True}, "RGB+ED"),
        (rasterization_2dgs, {"Ks": torch.eye(3)}, "Ks"),
    ],
)
def test_what_is_not_there_is_refused(function, options, word):
    with pytest.raises(LossError) as error:
        draw(function, make_scene(2), **options)
    assert error.value.diagnostics[0].code == "RUN020"
    assert word in str(error.value)


def test_nothing_to_draw_gives_the_background():
    scene = {name: value.requires_grad_() for name, value in make_scene(3).items()}
    with torch.no_grad():
        scene["means"][:, 2] = -1.0
    background = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
    for function in (rasterization, rasterization_2dgs):
        renders, alphas, *rest = draw(function, scene, backgrounds=background, render_mode="RGB+ED")
        torch.testing.assert_close(renders[..., :3], background.expand(1, HEIGHT, WIDTH, 3))
        assert renders[..., 3].abs().max() == 0
        assert alphas.abs().max() == 0
        renders.sum().backward()
        info = rest[-1]
        if "gradient_2dgs" in info:
            assert info["gradient_2dgs"].grad.abs().max() == 0, "strategies read it at every step"


def test_the_functions_of_a_device():
    assert functions("cpu") == (rasterization, rasterization_2dgs)


# --- MCMC --------------------------------------------------------------------------------------------------------


def test_relocated_gaussians_draw_the_same_along_the_axis():
    """n gaussians with the new opacity and size have the line integral of the one before (arXiv:2404.09591, eq. 8)."""
    binoms = mcmc_strategy("cpu").initialize_state()["binoms"]
    opacities, scales = torch.tensor([0.3, 0.9, 0.99]), torch.full((3, 3), 0.5)
    ratios = torch.tensor([1, 2, 5])
    new_opacities, new_scales = compute_relocation(opacities, scales, ratios, binoms)
    x = torch.linspace(-6, 6, 20001, dtype=torch.float64)
    for o, s, o_new, s_new, n in zip(opacities, scales[:, 0], new_opacities, new_scales[:, 0], ratios):
        shell = 1 - (1 - o_new * torch.exp(-0.5 * (x / s_new) ** 2)) ** n
        assert torch.trapezoid(shell, x).item() == pytest.approx((o * s * math.sqrt(2 * math.pi)).item(), rel=1e-4)
        assert shell.max().item() == pytest.approx(o.item(), rel=1e-5)
