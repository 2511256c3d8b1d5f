"""gsplat on CUDA against the torch functions that stand in for it, and the examples of its trainers on CUDA."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

import splatdsl
from splatdsl.runtime.adapters.gsplat import GsplatLoss, from_rasterization
from splatdsl.runtime.renderers import gsplat_like
from splatdsl.runtime.renderers.gsplat_mcmc import compute_relocation, mcmc_strategy

DEVICE = "cuda"
WIDTH, HEIGHT, N = 96, 72, 1500
EXAMPLES = Path(__file__).parents[2] / "examples" / "embedding"


def make_splats():
    g = torch.Generator().manual_seed(0)

    def uniform(*shape):
        return torch.rand(N, *shape, generator=g)

    splats = {
        "means": torch.stack([3.0 * uniform() - 1.5, 2.4 * uniform() - 1.2, 1.0 + 2.5 * uniform()], dim=-1),
        "quats": 2.0 * uniform(4) - 1.0,
        "scales": -2.6 + uniform(3),
        "opacities": 6.0 * uniform() - 3.0,
        "sh0": 2.0 * uniform(1, 3) - 1.0,
        "shN": 0.4 * uniform(8, 3) - 0.2,
    }
    splats["means"][:20, 2] -= 4.0  # behind the cameras
    return {name: value.to(DEVICE).requires_grad_() for name, value in splats.items()}


def draw(function, splats, **options):
    viewmats = torch.eye(4).repeat(2, 1, 1)
    viewmats[1, 0, 3] = 0.3
    K = torch.tensor([[85.0, 0, 50], [0, 88, 34], [0, 0, 1]])
    settings = {"width": WIDTH, "height": HEIGHT, "sh_degree": 1, "render_mode": "RGB+ED", **options}
    return function(
        means=splats["means"],
        quats=splats["quats"],
        scales=torch.exp(splats["scales"]),
        opacities=torch.sigmoid(splats["opacities"]),
        colors=torch.cat([splats["sh0"], splats["shN"]], 1),
        viewmats=viewmats.to(DEVICE),
        Ks=K.repeat(2, 1, 1).to(DEVICE),
        backgrounds=torch.tensor([[0.3, 0.6, 0.1], [0.0, 1.0, 0.5]], device=DEVICE),
        **settings,
    )


def both(which, **options):
    """What gsplat and the stand-in return, with the gaussians that each drew."""
    theirs, ours = (
        gsplat_like.functions(DEVICE)[which],
        (gsplat_like.rasterization, gsplat_like.rasterization_2dgs)[which],
    )
    assert theirs.__module__.startswith("gsplat")
    first, second = make_splats(), make_splats()
    return (first, draw(theirs, first, **options)), (second, draw(ours, second, **options))


def alike(found, expected, name):
    """gsplat's fast exponential moves alphas across the limit of 1/255: few pixels may differ, and those by little."""
    scale = max(expected.abs().max().item(), 1.0)
    error = (found - expected).abs()
    assert found.shape == expected.shape, name
    assert error.mean() < 1e-4 * scale, name
    assert (error > 1e-3 * scale).float().mean() < 1e-2, name


def gradients_alike(first, second):
    for name, value in second.items():
        a, b = first[name].grad, value.grad
        assert (a - b).norm() < 1e-2 * b.norm(), name


@pytest.mark.parametrize("packed", [False, True])
def test_rasterization(packed):
    (first, theirs), (second, ours) = both(0, packed=packed)
    for name, a, b in zip(("renders", "alphas"), theirs, ours):
        alike(a, b, name)
    info, like = theirs[2], ours[2]
    assert (info["width"], info["height"], info["n_cameras"]) == (like["width"], like["height"], like["n_cameras"])
    a, b = (from_rasterization(*o, render_mode="RGB+ED", gaussians=N) for o in (theirs, ours))
    assert (a["radii"] != b["radii"]).float().mean() < 1e-2, "ceil() may round a few the other way"
    assert (a["visible"] != b["visible"]).float().mean() < 1e-2
    for renders, alphas, meta in (theirs, ours):
        meta["means2d"].retain_grad()
        (renders.square().mean() + alphas.mean()).backward()
    gradients_alike(first, second)
    totals = [meta["means2d"].grad.flatten(0, -2).norm(dim=-1).sum() for meta in (info, like)]
    assert totals[0].item() == pytest.approx(totals[1].item(), rel=1e-2)


def test_rasterization_2dgs():
    (first, theirs), (second, ours) = both(1, distloss=True)
    names = ("renders", "alphas", "normals", "normals from depth", "distortion", "median")
    for name, a, b in zip(names, theirs, ours):
        if name in ("normals from depth", "median"):  # these jump, where a disc more or less changes the depth
            assert a.shape == b.shape, name
            assert ((a - b).abs() > 1e-2).float().mean() < 3e-2, name
        else:
            alike(a, b, name)
    a, b = theirs[6]["radii"], ours[6]["radii"]
    drawn = (a > 0).all(-1) & (b > 0).all(-1)
    assert ((a > 0).all(-1) != (b > 0).all(-1)).float().mean() < 1e-2
    assert (a != b)[drawn].float().mean() < 2e-2
    for outputs in (theirs, ours):
        (outputs[0].square().mean() + outputs[1].mean() + outputs[2].square().mean() + outputs[4].mean()).backward()
        shift = outputs[6]["gradient_2dgs"].grad
        assert shift.shape == (2, N, 2)
        assert shift.isfinite().all()
        assert shift.abs().sum() > 0
    gradients_alike({k: v for k, v in first.items() if k != "quats"}, {k: v for k, v in second.items() if k != "quats"})


@pytest.mark.parametrize(("model", "loss"), [("3dgs", "zoo:gsplat"), ("2dgs", "zoo:gsplat-2dgs")])
def test_the_loss_is_the_same_with_either(model, loss):
    params = {"opacity_weight": 0.01} if model == "3dgs" else {"normal_loss": True, "dist_loss": True}
    objective = GsplatLoss(splatdsl.load(loss, params=params), model=model, scene_scale=1.0)
    pixels = torch.rand(2, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    asked = {name: value for name, value in objective.asks(9_000).items() if name != "render_mode"}
    (first, theirs), (second, ours) = both(int(model == "2dgs"), **asked)
    found = objective(first, theirs, pixels, step=9_000, render_mode="RGB+ED")
    expected = objective(second, ours, pixels, step=9_000, render_mode="RGB+ED")
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)


def test_relocation():
    from gsplat.relocation import compute_relocation as on_cuda

    binoms = mcmc_strategy(DEVICE).initialize_state()["binoms"].to(DEVICE)
    opacities, scales = torch.rand(200, device=DEVICE), torch.rand(200, 3, device=DEVICE)
    ratios = torch.randint(1, 20, (200,), device=DEVICE)
    found = compute_relocation(opacities, scales, ratios, binoms)
    for a, b in zip(found, on_cuda(opacities, scales, ratios.clone(), binoms)):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("gsplat_trainer", ("--steps", "40")),
        ("gsplat_trainer", ("--steps", "40", "--packed", "--mcmc", "--depth_loss")),
        ("gsplat_trainer", ("--steps", "40", "--packed", "--batch", "2")),
        ("gsplat_2dgs_trainer", ("--steps", "40")),
    ],
)
def test_the_examples_train(name, arguments):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    before, after = module.main([*arguments, "--device", DEVICE])
    assert after > before + 0.1
