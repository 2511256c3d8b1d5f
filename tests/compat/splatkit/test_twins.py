"""The twins of splatkit's two losses against the classes themselves, and what the released fallback gets wrong."""

import pytest
import torch

import splatdsl

splatkit = pytest.importorskip("splatkit", reason="needs splatkit 0.1.0: .ci/compat-splatkit", exc_type=ImportError)

REGULARISED = {"opacity_reg": 0.3, "scale_reg": 0.2}
TWINS = {"3dgs": splatkit.Splat3DGSLossFn, "2dgs": splatkit.Splat2DGSLossFn}
STEPS = {"3dgs": (1, 30_000), "2dgs": (1, 2_999, 3_000, 6_999, 7_000, 30_000)}


@pytest.fixture(scope="module")
def twins():
    return {kind: splatdsl.load(f"zoo:splatkit-{kind}", backend="eager", kernels="torch") for kind in TWINS}


@pytest.mark.usefixtures("with_fused_ssim")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("regularised", [False, True])
@pytest.mark.parametrize("kind", TWINS)
def test_numbers_and_gradients_agree_with_the_class(twins, call, logger, kind, masked, regularised):
    given = call(kind, masked=masked)
    settings = REGULARISED if regularised else {}
    theirs, ours = TWINS[kind](**settings), twins[kind]
    ours.params["opacity_weight"] = settings.get("opacity_reg", 0.0)
    ours.params["scale_weight"] = settings.get("scale_reg", 0.0)
    seen = set()
    for step in STEPS[kind]:
        for loss_fn in (theirs, ours):
            given.tell(loss_fn, logger, step)
        expected, wanted = given.value_and_gradients(theirs, logger)
        found, gradients = given.value_and_gradients(ours, logger)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
        for name, gradient in wanted.items():
            torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=1e-9 * float(gradient.abs().max()))
        seen.add(tuple(sorted(name for name, gradient in wanted.items() if gradient.any())))
    assert len(seen) == len({"3dgs": "a", "2dgs": "abc"}[kind]), "each gate of the schedule was seen on both sides"


@pytest.mark.usefixtures("with_fused_ssim")
def test_every_weight_of_the_class_is_a_parameter_of_the_twin(twins, call, logger):
    given = call("2dgs", masked=True)
    theirs = splatkit.Splat2DGSLossFn(
        ssim_lambda=0.7,
        bg_lambda=0.4,
        normal_lambda=0.9,
        normal_start_iter=20,
        dist_lambda=0.6,
        dist_start_iter=10,
        **REGULARISED,
    )
    params = {
        "ssim_weight": 0.7,
        "alpha_weight": 0.4,
        "normal_weight": 0.9,
        "normal_start": 20,
        "distortion_weight": 0.6,
        "distortion_start": 10,
        "opacity_weight": 0.3,
        "scale_weight": 0.2,
    }
    ours = splatdsl.load("zoo:splatkit-2dgs", params=params, backend="eager", kernels="torch")
    values = []
    for step in (9, 10, 19, 20):
        for loss_fn in (theirs, ours):
            given.tell(loss_fn, logger, step, max_steps=50)
        values.append(given.loss(ours, logger).item())
        assert values[-1] == pytest.approx(given.loss(theirs, logger).item(), rel=1e-10)
    assert values[0] != values[1] == values[2] != values[3]


@pytest.mark.usefixtures("without_fused_ssim")
def test_the_released_fallback_has_the_wrong_sign_and_axes(call, logger, ssim_of):
    released = splatkit.Splat3DGSLossFn(ssim_lambda=1.0)
    given = call("3dgs", dtype=torch.float32)
    renders, targets = given.renders.detach(), given.targets

    def loss(of, rendered):
        given.renders = rendered
        given.tell(of, logger, 1)
        return given.loss(of, logger)

    # The sign: the target itself has the largest loss there is, and steps against the gradient lead away from it.
    assert loss(released, targets).item() == pytest.approx(1.0, abs=1e-5)
    assert loss(released, renders) < loss(released, targets)
    towards = targets - renders
    near = (renders + 0.5 * towards).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(released, near), near)
    assert (gradient * towards).sum() > 0
    # The axes: windows over width and colour, with rows as channels.
    rows = ssim_of(renders, targets, "same")  # [B, H, W, 3], taken for [B, C, H, W]
    torch.testing.assert_close(loss(released, renders), rows, rtol=1e-4, atol=1e-6)
    right = [x.permute(0, 3, 1, 2) for x in (renders, targets)]
    assert abs(rows - ssim_of(*right, "same")) > 0.01
    assert abs(rows - ssim_of(*right, "valid")) > 0.01

    # The twin is 1 - SSIM over rows and columns, with or without the package.
    params = {"ssim_weight": 1.0}
    ours = splatdsl.load("zoo:splatkit-3dgs", params=params, backend="eager", kernels="torch")
    torch.testing.assert_close(loss(ours, renders), 1 - ssim_of(*right, "valid"), rtol=1e-4, atol=1e-6)
    assert loss(ours, targets).item() == pytest.approx(0.0, abs=1e-5)
    near = (renders + 0.5 * towards).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(ours, near), near)
    assert (gradient * towards).sum() < 0
