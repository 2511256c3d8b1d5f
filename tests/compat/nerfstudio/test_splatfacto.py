"""The model in the place of splatfacto: the same numbers with the same loss, and what a program changes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from splatdsl import LossError

TWO = "term photo = 0.8 * l1(masked)\nterm small = 0.02 * mean(state.scales)\n"
NAMES = ("means", "scales", "quats", "features_dc", "features_rest", "opacities")


def batch_of(alpha: bool = False, mask: bool = False) -> dict[str, Any]:
    """A batch as nerfstudio's data manager gives it."""
    generator = torch.Generator().manual_seed(3)
    image = torch.randint(0, 256, (40, 48, 4 if alpha else 3), dtype=torch.uint8, generator=generator)
    batch = {"image": image, "image_idx": 1}
    return {**batch, "mask": torch.rand(40, 48, 1, generator=generator) > 0.3} if mask else batch


def gradients(model: Any, losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for parameter in model.gauss_params.values():
        parameter.grad = None
    functools.reduce(torch.add, losses.values()).backward(retain_graph=True)
    return {n: p.grad.clone() for n, p in model.gauss_params.items() if p.grad is not None}


@pytest.mark.parametrize(
    ("downscales", "alpha", "mask"), [(0, False, False), (0, True, True), (1, False, True), (1, True, False)]
)
def test_the_released_loss_gives_the_numbers_of_splatfacto(
    model_with: Callable[..., Any], camera: Any, downscales: int, alpha: bool, mask: bool
) -> None:
    from nerfstudio.models.splatfacto import SplatfactoModel

    model = model_with(num_downscales=downscales, loss_params={"use_scale_reg": "true", "max_gauss_ratio": "1.0"})
    model.train()
    batch = batch_of(alpha, mask)
    with torch.no_grad():
        model.gauss_params["scales"][:, 0] += 1.0  # so that the regulariser of the ratio is not 0
    for step in (0, 10, 11):  # it counts at every tenth step
        model.step = step
        outputs = model.get_outputs(camera)
        ours = model.get_loss_dict(outputs, batch)
        model.config.use_scale_regularization, model.config.max_gauss_ratio = True, 1.0
        theirs = SplatfactoModel.get_loss_dict(model, outputs, batch)
        model.config.use_scale_regularization, model.config.max_gauss_ratio = False, 10.0
        torch.testing.assert_close(ours["photometric"].float(), theirs["main_loss"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(ours["scale"].float(), theirs["scale_reg"], rtol=1e-5, atol=1e-7)
        assert (float(theirs["scale_reg"]) > 0) == (step != 11)
        mine, other = gradients(model, ours), gradients(model, theirs)
        assert mine.keys() == other.keys()
        assert {"means", "scales", "opacities", "features_dc"} <= mine.keys()
        for name, value in other.items():
            torch.testing.assert_close(mine[name], value, rtol=1e-3, atol=2e-6, msg=f"{name} at step {step}")


def test_every_term_is_an_entry_and_their_sum_is_the_loss(model_with: Callable[..., Any], camera: Any) -> None:
    model = model_with(TWO)
    model.train()
    outputs, batch = model.get_outputs(camera), batch_of(mask=True)
    losses = model.get_loss_dict(outputs, batch)
    assert list(losses) == ["photo", "small"]
    total = model.loss_fn(**model.arguments(outputs, batch), step=0)
    assert functools.reduce(torch.add, losses.values()).float() == total
    kept = batch["mask"].expand(-1, -1, 3)
    error = (outputs["rgb"] - batch["image"] / 255).abs()
    assert float(losses["photo"]) == pytest.approx(0.8 * float(error[kept].mean()), rel=1e-5)
    assert float(losses["small"]) == pytest.approx(0.02 * float(model.scales.exp().mean()), rel=1e-5)
    assert sum(v.requires_grad for v in losses.values()) == 1
    grads = gradients(model, losses)
    wanted = torch.autograd.grad(total, [model.gauss_params[n] for n in NAMES], allow_unused=True)
    for name, value in zip(NAMES, wanted):
        assert (value is None) == (name not in grads)
        if value is not None:
            assert torch.equal(value, grads[name]), name


def test_held_out_images_have_terms_without_gradient(model_with: Callable[..., Any], camera: Any) -> None:
    model = model_with(TWO, background_color="white")
    model.train()
    model.get_loss_dict(model.get_outputs(camera), batch_of())
    model.eval()
    outputs = model.get_outputs_for_camera(camera)
    assert outputs["background"].shape == (40, 48, 3)
    losses = model.get_loss_dict(outputs, batch_of(alpha=True))
    assert list(losses) == ["photo", "small"]
    assert not any(v.requires_grad for v in losses.values())
    metrics, images = model.get_image_metrics_and_images(outputs, batch_of(alpha=True))
    assert {"psnr", "ssim", "loss/photo", "loss/small"} <= metrics.keys()
    assert metrics["loss/photo"] == pytest.approx(float(losses["photo"]))
    assert images["img"].shape == (40, 96, 3)


def test_losses_of_the_camera_optimiser_and_the_grid_stay(model_with: Callable[..., Any], camera: Any) -> None:
    from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig

    model = model_with(TWO, camera_optimizer=CameraOptimizerConfig(mode="SO3xR3"), use_bilateral_grid=True)
    with torch.no_grad():
        model.camera_optimizer.pose_adjustment += 0.01
    model.train()
    losses = model.get_loss_dict(model.get_outputs(camera), batch_of())
    assert list(losses) == ["photo", "small", "camera_opt_regularizer", "tv_loss"]
    assert float(losses["camera_opt_regularizer"]) > 0
    functools.reduce(torch.add, losses.values()).backward()
    assert float(model.camera_optimizer.pose_adjustment.grad.norm()) > 0
    model.eval()
    assert list(model.get_loss_dict(model.get_outputs_for_camera(camera), batch_of())) == ["photo", "small"]


def test_depth_is_rendered_while_training_if_the_loss_reads_it(model_with: Callable[..., Any], camera: Any) -> None:
    plain = model_with(TWO)
    plain.train()
    assert plain.get_outputs(camera)["depth"] is None
    model = model_with("term photo = l1(masked)\nterm near = 0.1 * mean(depth)\n")
    model.train()
    with torch.no_grad():
        model.gauss_params["scales"] -= 2.0  # so that not all pixels are reached
    outputs = model.get_outputs(camera)
    assert outputs["depth"].shape == (40, 48, 1)
    losses = model.get_loss_dict(outputs, batch_of())
    there = torch.where(outputs["accumulation"] > 0, outputs["depth"], 0.0)
    assert bool((outputs["accumulation"] == 0).any())
    assert float(losses["near"]) == pytest.approx(0.1 * float(there.mean()), rel=1e-5)


def test_the_camera_reaches_the_loss(model_with: Callable[..., Any], camera: Any) -> None:
    model = model_with("term a = mean(camera.position) + mean(camera.fx) + mean(camera.index) + l1()", num_downscales=1)
    model.train()
    camera.camera_to_worlds[0, :, 3] = torch.tensor([0.3, -0.2, 2.0])
    outputs = model.get_outputs(camera)
    given = model.arguments(outputs, batch_of())
    assert float(model.loss_fn(**given)) - float((given["rendered"] - given["target"]).abs().mean()) == pytest.approx(
        (0.3 - 0.2 + 2.0) / 3 + 24.0 + 1.0, rel=1e-5
    )
    # The same matrices as splatfacto draws with.
    from nerfstudio.models.splatfacto import get_viewmat

    torch.testing.assert_close(given["camera"]["extrinsics"], get_viewmat(camera.camera_to_worlds))


def test_memories_follow_densification_and_are_in_checkpoints(model_with: Callable[..., Any], camera: Any) -> None:
    from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation
    from nerfstudio.engine.optimizers import Optimizers

    from splatdsl.runtime.adapters.nerfstudio import splatdsl_splatfacto

    program = (
        "memory seen = state.means.x then seen\nterm photo = l1()\nterm drift = 0.01 * mean(abs(state.means.x - seen))"
    )
    # Every gaussian is split at step 3, and the others are pruned.
    settings = {"warmup_length": 0, "refine_every": 3, "densify_grad_thresh": 0.0, "cull_alpha_thresh": 0.0001}
    model = model_with(program, **settings)
    optimizers = Optimizers(splatdsl_splatfacto.config.optimizers.copy(), model.get_param_groups())
    callbacks = model.get_training_callbacks(TrainingCallbackAttributes(optimizers, None, None, None))
    model.strategy.pause_refine_after_reset = 0
    model.train()
    start = model.means[:, 0].detach().clone()
    for step in range(5):
        for callback in callbacks:
            callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        optimizers.zero_grad_all()
        functools.reduce(torch.add, model.get_loss_dict(model.get_outputs(camera), batch_of()).values()).backward()
        optimizers.optimizer_step_all()
        for callback in callbacks:
            callback.run_callback_at_location(step, TrainingCallbackLocation.AFTER_TRAIN_ITERATION)
    seen = model.loss_fn.memories["seen"].reshape(-1)
    assert len(seen) == model.num_points > 60
    assert "splatdsl_rows" not in model.strategy_state
    assert bool(torch.isin(seen, start).all())

    saved = model.state_dict()
    fresh = model_with(program, **settings)
    fresh.load_state_dict(saved)
    assert torch.equal(fresh.loss_fn.memories["seen"], model.loss_fn.memories["seen"])


def test_checkpoints_fit_splatfacto_and_the_other_way_round(model_with: Callable[..., Any], camera: Any) -> None:
    from nerfstudio.models.splatfacto import SplatfactoModel, SplatfactoModelConfig

    model = model_with(TWO)
    model.train()
    model.get_loss_dict(model.get_outputs(camera), batch_of())
    settings = {"scene_box": model.scene_box, "num_train_data": 2, "metadata": {}, "device": "cpu", "grad_scaler": None}
    own = SplatfactoModelConfig(random_init=True, num_random=20).setup(**settings)
    assert type(own) is SplatfactoModel
    own.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(own.means, model.means)
    with torch.no_grad():
        own.gauss_params["means"] += 1
    model.load_state_dict(own.state_dict(), strict=True)
    assert torch.equal(own.means, model.means)


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"loss": "term a = ll1(masked)"}, "NAM", "did you mean `l1`"),
        ({"loss": "missing.loss"}, "", "missing.loss"),
        ({"loss": "zoo:splatfacto", "loss_params": {"ssim": "0.3"}}, "", "ssim"),
        ({"loss": "zoo:splatfacto", "loss_params": {"ssim_lambda": "3"}}, "RNG", "ssim_lambda"),
        ({"loss": "term a = l1(masked) + mean(distortion)"}, "RUN008", "distortion"),
        ({"loss": "zoo:splatfacto", "ssim_lambda": 0.3}, "RUN003", "ssim_lambda 0.3"),
        ({"loss": "zoo:splatfacto", "backend": "indctor"}, "BND009", "inductor"),
    ],
)
def test_what_is_wrong_is_found_before_training(
    model_with: Callable[..., Any], settings: dict[str, Any], code: str, words: str
) -> None:
    model = model_with(**settings)
    with pytest.raises(LossError) as caught:
        model.begin(100, None)
    assert code in str(caught.value)
    assert words in str(caught.value)
    with pytest.raises(LossError):
        model.config.check_loss(100)


def test_a_model_that_only_renders_needs_no_program(model_with: Callable[..., Any], camera: Any) -> None:
    model = model_with("gone.loss")
    model.eval()
    outputs = model.get_outputs_for_camera(camera)
    assert outputs["rgb"].shape == (40, 48, 3)
    assert "loss/photo" not in model.get_image_metrics_and_images(outputs, batch_of())[0]
