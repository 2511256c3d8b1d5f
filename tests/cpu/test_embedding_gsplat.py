"""A `.loss` file in gsplat's training loops, with the torch functions that stand in for CUDA."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import splatdsl
from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.adapters.gsplat import GsplatLoss, from_rasterization, render_mode, stack_points
from splatdsl.runtime.renderers.gsplat_like import rasterization, rasterization_2dgs

WIDTH, HEIGHT, VIEWS = 24, 20, 2
EXAMPLES = Path(__file__).parents[2] / "examples" / "embedding"
KINDS = {"3dgs": rasterization, "2dgs": rasterization_2dgs}


def load(text: str, **options) -> splatdsl.CompiledLossFn:
    make = splatdsl.load if text.startswith("zoo:") else splatdsl.compile
    return make(text, backend="eager", kernels="torch", **options)


def make_splats(n: int = 30, batch: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """Raw parameters before the cameras of `draw`; a few outside of what each sees."""
    g = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*batch, n, *shape, generator=g, dtype=torch.float64)

    splats = {
        "means": torch.stack([3.0 * uniform() - 1.5, 2.0 * uniform() - 1.0, 1.5 + uniform()], dim=-1),
        "quats": 2.0 * uniform(4) - 1.0,
        "scales": math.log(0.2) + 0.5 * uniform(3),
        "opacities": 3.0 * uniform() - 1.0,
        "sh0": uniform(1, 3) - 0.3,
        "shN": 0.2 * uniform(3, 3),
    }
    return {name: value.requires_grad_() for name, value in splats.items()}


def cameras(batch: tuple[int, ...] = ()) -> dict[str, Tensor]:
    viewmats = torch.eye(4, dtype=torch.float64).repeat(VIEWS, 1, 1)
    viewmats[1, 0, 3] = 0.6
    K = torch.tensor([[26.0, 0, 12], [0, 26, 10], [0, 0, 1]], dtype=torch.float64)
    return {"viewmats": viewmats.expand(*batch, VIEWS, 4, 4), "Ks": K.expand(*batch, VIEWS, 3, 3)}


def draw(splats, model="3dgs", **options):
    return KINDS[model](
        means=splats["means"],
        quats=splats["quats"],
        scales=torch.exp(splats["scales"]),
        opacities=torch.sigmoid(splats["opacities"]),
        colors=torch.cat([splats["sh0"], splats["shN"]], -2),
        **{**cameras(splats["means"].shape[:-2]), "width": WIDTH, "height": HEIGHT, "sh_degree": 1, **options},
    )


def make_pixels(*shape: int) -> Tensor:
    return torch.rand(*shape, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


# --- modes and buffers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requires", "of_3dgs", "of_2dgs"),
    [
        ({"rendered", "target", "state", "visible", "radii", "points"}, "RGB", "RGB"),
        ({"rendered", "alpha"}, "RGB", "RGB"),
        ({"depth"}, "RGB+ED", "RGB+ED"),
        ({"depth.accumulated", "alpha"}, "RGB+D", "RGB+D"),
        ({"depth", "depth.accumulated"}, "RGB+ED", "RGB+ED"),
        ({"normals"}, None, "RGB"),
        ({"normals", "normals_from_depth"}, None, "RGB+ED"),
        ({"distortion"}, None, "RGB+ED"),
        ({"depth.median"}, None, "RGB+ED"),
        ({"depth.inverse"}, None, None),
    ],
)
def test_the_mode_follows_from_what_is_read(requires, of_3dgs, of_2dgs):
    for model, expected in (("3dgs", of_3dgs), ("2dgs", of_2dgs)):
        if expected is not None:
            assert render_mode(requires, model) == expected
            continue
        with pytest.raises(LossError) as error:
            render_mode(requires, model)
        assert error.value.diagnostics[0].code == "RUN008"
        named = "rasterization_2dgs" in error.value.diagnostics[0].help[0]
        assert named == (of_2dgs is not None), "the other function is named only where it helps"


def test_the_mode_changes_with_the_step():
    loss_fn = load("term color = l1(masked)\nterm depth = mean(depth) when after(step, 100)")
    objective = GsplatLoss(loss_fn)
    assert [objective.asks(step) for step in (0, 99, 100)] == [
        {"render_mode": "RGB"},
        {"render_mode": "RGB"},
        {"render_mode": "RGB+ED"},
    ]
    surface = GsplatLoss(load("l1(masked) + mean(distortion)"), model="2dgs")
    assert surface.asks(0) == {"render_mode": "RGB+ED", "distloss": True}


def test_a_buffer_that_the_loop_makes_itself_is_not_asked_for():
    objective = GsplatLoss(load("l1(masked) + mean(1 - dot(normals, normals))"), own=["normals"])
    assert objective.render_mode(0) == "RGB"
    splats = make_splats()
    normals = torch.zeros(VIEWS, HEIGHT, WIDTH, 3, dtype=torch.float64)
    pixels = make_pixels(VIEWS)
    outputs = draw(splats)
    loss = objective(splats, outputs, pixels, step=0, normals=normals)
    torch.testing.assert_close(loss, (outputs[0] - pixels).abs().mean() + 1)


@pytest.mark.parametrize("batch", [(), (3,)])
def test_packed_and_plain_metadata_say_the_same(batch):
    splats, n = make_splats(batch=batch), 30
    with torch.no_grad():
        splats["means"][..., 0, 2] = -1.0  # behind all cameras
    found = []
    for packed in (False, True):
        renders, alphas, info = draw(splats, packed=packed)
        found.append(from_rasterization(renders, alphas, info, "RGB", n))
        assert (info["gaussian_ids"] is None) != packed
    plain, packed = found
    assert plain["radii"].shape == plain["visible"].shape == (n * math.prod(batch),)
    for name, value in plain.items():
        torch.testing.assert_close(packed[name], value)
    assert 0 < plain["visible"].sum() < plain["visible"].numel()
    single = draw({name: value[-1] for name, value in splats.items()} if batch else splats, packed=False)[2]["radii"]
    last = plain["radii"].reshape(-1, n)[-1]
    torch.testing.assert_close(last, single.amax(dim=(0, 2)).float())
    torch.testing.assert_close(plain["visible"].reshape(-1, n)[-1], (single > 0).all(-1).any(0).float())


@pytest.mark.parametrize("model", ["3dgs", "2dgs"])
def test_both_depths_from_either_mode(model):
    splats = make_splats()
    expected = load("mean(depth, alpha > 0.1)")
    accumulated = load("mean(depth.accumulated)")
    values = {}
    for mode in ("RGB+D", "RGB+ED"):
        outputs = draw(splats, model, render_mode=mode)
        for name, loss_fn in (("expected", expected), ("accumulated", accumulated)):
            objective = GsplatLoss(loss_fn, model=model)
            values[name, mode] = objective(splats, outputs, make_pixels(VIEWS), step=0, render_mode=mode)
    for name in ("expected", "accumulated"):
        torch.testing.assert_close(values[name, "RGB+D"], values[name, "RGB+ED"])
    assert values["expected", "RGB+D"] > values["accumulated", "RGB+D"]


def test_batch_dimensions_are_rows_one_after_the_other():
    splats = make_splats(batch=(2,))
    objective = GsplatLoss(load("l1(masked) + 0.1*opacity_reg(state) + 1e-3*mean(radii) + 1e-3*mean(camera.fx)"))
    pixels, view = make_pixels(2, VIEWS), cameras((2,))
    masks = torch.ones(2, VIEWS, HEIGHT, WIDTH, dtype=torch.bool)
    loss = objective(splats, draw(splats, packed=True), pixels, masks=masks, step=0, **view)
    each = []
    for i in range(2):
        one = {name: value[i] for name, value in splats.items()}
        arguments = {"masks": masks[i], "Ks": view["Ks"][i], "viewmats": view["viewmats"][i], "step": 0}
        each.append(objective(one, draw(one), pixels[i], **arguments))
    torch.testing.assert_close(loss, (each[0] + each[1]) / 2)
    assert each[0] != each[1]


# --- the losses of gsplat's trainers, line by line ----------------------------------------------------------------


def valid_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean SSIM without a border of 5 pixels, of images `[B, H, W, 3]`."""
    x = torch.arange(11, dtype=a.dtype) - 5
    g = torch.exp(-(x**2) / (2 * 1.5**2))
    window = torch.outer(g / g.sum(), g / g.sum()).expand(3, 1, 11, 11)

    def blur(image: Tensor) -> Tensor:
        return F.conv2d(image, window, groups=3)

    a, b = a.permute(0, 3, 1, 2), b.permute(0, 3, 1, 2)
    ma, mb = blur(a), blur(b)
    va, vb, vab = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    return (((2 * ma * mb + 1e-4) * (2 * vab + 9e-4)) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))).mean()


def sparse_depth(depth: Tensor, points: Tensor, depths: Tensor) -> Tensor:
    """Disparities at points, as the trainers compare them: pixel centres at whole numbers."""
    places = torch.stack([points[..., 0] / (WIDTH - 1) * 2 - 1, points[..., 1] / (HEIGHT - 1) * 2 - 1], dim=-1)
    found = F.grid_sample(depth.permute(0, 3, 1, 2), places.unsqueeze(2), align_corners=True).squeeze(3).squeeze(1)
    disparity = torch.where(found > 0, 1 / found.clamp(min=1e-9), torch.zeros_like(found))
    return (disparity - 1 / depths).abs().mean()


def make_points() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(2)
    size = torch.tensor([WIDTH - 4.0, HEIGHT - 4.0], dtype=torch.float64)
    points = 1.5 + size * torch.rand(VIEWS, 9, 2, generator=g, dtype=torch.float64)
    return points, 1.0 + torch.rand(VIEWS, 9, generator=g, dtype=torch.float64)


def gradients(loss: Tensor, splats) -> dict[str, Tensor]:
    found = torch.autograd.grad(loss, list(splats.values()), retain_graph=True, allow_unused=True)
    return {name: torch.zeros_like(s) if g is None else g for (name, s), g in zip(splats.items(), found)}


def same(found: Tensor, expected: Tensor, splats) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    of_found, of_expected = gradients(found, splats), gradients(expected, splats)
    for name, value in of_expected.items():
        torch.testing.assert_close(of_found[name], value, rtol=1e-7, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")
    assert of_expected["means"].abs().sum() > 0


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_of_simple_trainer(masked):
    splats, pixels, (points, depths) = make_splats(), make_pixels(VIEWS), make_points()
    masks = pixels[..., 1] > 0.2 if masked else None
    grids = torch.rand(3, 12, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    background = torch.tensor([[0.2, 0.5, 0.9]], dtype=torch.float64)
    params = {"depth_loss": True, "opacity_weight": 0.01, "scale_weight": 0.01}
    objective = GsplatLoss(load("zoo:gsplat", params=params), scene_scale=1.7)
    assert objective.render_mode(0) == "RGB+ED"

    renders, alphas, info = draw(splats, packed=True, **objective.asks(0))
    colors = renders[..., :3] + background * (1 - alphas)
    found = objective(
        splats, (renders, alphas, info), pixels,
        # gsplat's trainer reads the depth half a pixel up and left of where the points are
        masks=masks, rendered=colors, step=0, points=points + 0.5, depths=depths, grids=grids,
    )  # fmt: skip

    keep = torch.ones_like(pixels[..., 0]).bool() if masks is None else masks
    l1 = F.l1_loss(colors[keep], pixels[keep])
    ssim = 1 - valid_ssim(colors * keep[..., None], pixels * keep[..., None])
    expected = torch.lerp(l1, ssim, 0.2) + 1e-2 * 1.7 * sparse_depth(renders[..., 3:], points, depths)
    expected = expected + 10 * sum(torch.diff(grids, dim=d).square().mean() for d in (2, 3, 4))
    expected = expected + 0.01 * torch.sigmoid(splats["opacities"]).mean() + 0.01 * torch.exp(splats["scales"]).mean()
    same(found, expected, {**splats, "grids": grids})
    assert set(objective.terms) == {"photometric", "depth", "grid", "opacity", "scale"}


@pytest.mark.parametrize(("step", "mode"), [(3_000, "RGB+ED"), (7_001, "RGB+ED"), (7_001, "RGB+D")])
def test_the_loss_of_simple_trainer_2dgs(step, mode):
    splats, pixels, (points, depths) = make_splats(), make_pixels(VIEWS), make_points()
    masks = pixels[..., 1] > 0.2
    with_depth = mode == "RGB+ED"  # without the depth loss the trainer draws "RGB+D"
    params = {"depth_loss": with_depth, "normal_loss": True, "dist_loss": True}
    objective = GsplatLoss(load("zoo:gsplat-2dgs", params=params), model="2dgs", scene_scale=1.7)
    outputs = draw(splats, "2dgs", **{**objective.asks(step), "render_mode": mode})
    sparse = {"points": points + 0.5, "depths": depths}
    found = objective(splats, outputs, pixels, masks=masks, step=step, render_mode=mode, item=sparse)

    renders, alphas, normals, surface, distortion, _, _ = outputs
    kept, photo = renders[..., :3] * masks[..., None], pixels * masks[..., None]
    expected = torch.lerp(F.l1_loss(kept, photo), 1 - valid_ssim(kept, photo), 0.2)
    if with_depth:
        expected = expected + 1e-2 * 1.7 * sparse_depth(renders[..., 3:], points, depths)
    if step > 7_000:
        expected = expected + 0.05 * (1 - (normals * (surface * alphas.detach())).sum(-1)).mean()
    if step > 3_000:
        expected = expected + 0.01 * distortion.mean()
    same(found, expected, splats)


def test_views_with_different_numbers_of_points_make_one_batch():
    splats, pixels, (points, depths) = make_splats(), make_pixels(VIEWS), make_points()
    objective = GsplatLoss(load("zoo:gsplat", params={"depth_loss": True}), scene_scale=1.0)
    outputs = draw(splats, **objective.asks(0))
    sparse = stack_points([points[0, :3], points[1:]], [depths[0, :3, None], depths[1:]])
    assert sparse["points"].shape == (VIEWS, 64, 2)
    assert sparse["depths"].shape == (VIEWS, 64, 1)
    objective(splats, outputs, pixels, step=0, item={**sparse, "points": sparse["points"] + 0.5})
    each = [
        sparse_depth(outputs[0][i : i + 1, ..., 3:], points[i : i + 1, :n], depths[i : i + 1, :n])
        for i, n in ((0, 3), (1, 9))
    ]
    torch.testing.assert_close(objective.terms["depth"], (3 * each[0] + 9 * each[1]) / 12 * 1.0, check_dtype=False)
    many = stack_points([torch.rand(65, 2), None], [torch.rand(65), None])
    assert many["points"].shape == (2, 128, 2)
    assert stack_points([None], [None]) == {}
    with pytest.raises(LossError, match="3 points and 2 depths"):
        stack_points([points[0, :3]], [depths[0, :2]])


def test_a_single_camera_of_2dgs_has_its_dimension_back():
    splats = make_splats()
    objective = GsplatLoss(load("mean(normals_from_depth) + mean(depth.median)"), model="2dgs")
    one = {name: value[:1] for name, value in cameras().items()}
    outputs = draw(splats, "2dgs", **one, **objective.asks(0))
    assert outputs[3].dim() == 3
    loss = objective(splats, outputs, make_pixels(1), step=0)
    torch.testing.assert_close(loss, outputs[3].mean() + outputs[5].mean())


# --- mistakes ----------------------------------------------------------------------------------------------------


def raised(code: str, *words: str, objective: GsplatLoss, splats=None, outputs=None, **options) -> None:
    splats = make_splats() if splats is None else splats
    outputs = draw(make_splats()) if outputs is None else outputs
    with pytest.raises(LossError) as error:
        objective(splats, outputs, make_pixels(VIEWS), step=0, **options)
    assert error.value.diagnostics[0].code == code
    for word in words:
        assert word in str(error.value)


def test_mistakes_say_what_to_do():
    depth, plain = GsplatLoss(load("mean(depth)")), GsplatLoss(load("l1(masked)"))
    raised("BND001", "`depth`", "3 channels", "render_mode='RGB+ED'", objective=depth)
    raised("BND001", "`depth`", "render_mode='RGB+ED'", objective=depth, render_mode="RGB")
    flat = GsplatLoss(load("l1(masked) + mean(distortion)"), model="2dgs")
    raised(
        "BND001", "`distortion`", "render_mode='RGB+ED'", objective=flat, outputs=draw(make_splats(), "2dgs"),
        render_mode="RGB",
    )  # fmt: skip
    raised("RUN020", "`means`", objective=plain, splats={"xyz": torch.zeros(3, 3)})
    raised("RUN020", "7 results", objective=GsplatLoss(load("l1(masked)"), model="2dgs"))
    raised("RUN020", "3 results", objective=plain, outputs=draw(make_splats())[0])
    raised("RUN020", "render mode", objective=plain, render_mode="RGBD")
    raised("BND001", "parameter `scales`", objective=GsplatLoss(load("scale_reg(state)")), splats=_only_means())
    raised("BND002", "mask", objective=plain, masks=torch.ones(1, 5, 5, dtype=torch.bool))
    raised(
        "RUN020",
        "radii",
        objective=GsplatLoss(load("mean(state.scales, radii > 3)")),
        outputs=draw(make_splats(7), packed=False),
    )
    with pytest.raises(LossError, match="channels"):
        GsplatLoss(load("l1(masked)", layout="BCHW"))
    with pytest.raises(LossError, match="model"):
        GsplatLoss(load("l1(masked)"), model="4dgs")
    with pytest.raises(TypeError, match="dephts"):
        plain(make_splats(), draw(make_splats()), make_pixels(VIEWS), step=0, dephts=torch.zeros(1))


def _only_means():
    return {"means": make_splats()["means"]}


# --- strategies and the examples ----------------------------------------------------------------------------------


def test_a_memory_of_each_gaussian_follows_the_strategy():
    from gsplat.strategy.ops import duplicate, remove

    loss_fn = load(
        "memory seen = visible then seen + visible\nterm color = l1(masked) + opacity_reg(state) * mean(seen)"
    )
    objective = GsplatLoss(loss_fn)
    splats = torch.nn.ParameterDict({k: torch.nn.Parameter(v.detach()) for k, v in make_splats(5).items()})
    optimizers = {name: torch.optim.Adam([p], lr=1e-3) for name, p in splats.items()}
    objective(splats, draw(splats, packed=True), make_pixels(VIEWS), step=0)
    loss_fn.memories["seen"].copy_(torch.arange(5.0).reshape(loss_fn.memories["seen"].shape))
    with objective.rows_followed(splats):
        duplicate(splats, optimizers, {}, torch.tensor([False, True, False, False, False]))
        remove(splats, optimizers, {}, torch.tensor([True, False, False, True, False, False]))
    assert "rows" not in splats
    assert loss_fn.memories["seen"].flatten().tolist() == [1.0, 2.0, 4.0, 1.0]
    assert objective(splats, draw(splats), make_pixels(VIEWS), step=1).isfinite()


def run_example(name: str, *arguments: str) -> tuple[float, float]:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main([*arguments, "--device", "cpu"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--steps", "16"),
        ("--steps", "16", "--packed", "--mcmc", "--depth_loss"),
        ("--steps", "10", "--packed", "--batch", "2"),
    ],
    ids=lambda a: " ".join(a[2:]) or "default",
)
def test_the_example_trains(arguments, capsys):
    before, after = run_example("gsplat_trainer", *arguments)
    printed = capsys.readouterr().out
    assert after > before + 0.1
    assert "photometric" in printed
    assert ("RGB+ED" in printed) == ("--depth_loss" in arguments)
    counts = [int(line.rpartition(", ")[2].split()[0]) for line in printed.splitlines() if line.startswith("step")]
    assert counts[-1] > counts[0], "the strategy added gaussians"


def test_the_2dgs_example_trains(capsys):
    before, after = run_example("gsplat_2dgs_trainer", "--steps", "12")
    printed = capsys.readouterr().out
    assert after > before + 0.1
    modes = [line.partition("[")[2].partition(",")[0] for line in printed.splitlines() if line.startswith("step")]
    assert modes[0] == "RGB"
    assert modes[-1] == "RGB+ED"
    assert "distortion" in printed
    assert "normals" in printed
