"""A run from end to end: what is called, in which order, and what settings do."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.data.base import SplatDataItem
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.loss_fn import SplatLossFn
from splatdsl.runtime.modules import HOOKS, SplatBaseModule
from splatdsl.runtime.payload import SplatRenderPayload
from splatdsl.runtime.renderers.base import make_renderer
from splatdsl.runtime.training.config import SplatTrainerConfig, scaled_refinement
from splatdsl.runtime.training.trainer import SplatTrainer


class L1(SplatLossFn[SplatRenderPayload]):
    """Written as a user would write it: the protocol and nothing else."""

    def compute_loss(
        self, rendered_frames, target_frames, training_state, rend_out, masks=None, step=0, max_steps=30000
    ):
        return (rendered_frames - target_frames).abs().mean()


class TwoTerms(SplatLossFn[SplatRenderPayload]):
    """Tells its terms, weights and requirements, as compiled losses do."""

    def __init__(self) -> None:
        self.terms: dict[str, torch.Tensor] = {}

    def compute_loss(self, rendered_frames, target_frames, training_state, rend_out, step=0, max_steps=1, **others):
        l1 = (rendered_frames - target_frames).abs().mean()
        opacity = training_state.opacities.mean()
        self.terms = {"l1": l1.detach(), "opacity": opacity.detach()}
        weights = self.weights(step, max_steps)
        return weights["l1"] * l1 + weights["opacity"] * opacity

    def weights(self, step: int, max_steps: int) -> dict[str, float]:
        return {"l1": 1.0, "opacity": 0.01 * step}

    def requires(self, step: int, max_steps: int) -> frozenset[str]:
        return frozenset({"rendered", "target", "state"})


def provider(**options: Any) -> SyntheticDataProvider:
    settings: dict[str, Any] = {"width": 32, "height": 24, "views": 5, "test_every": 4, "points": 100}
    return SyntheticDataProvider(**{**settings, **options})


def train(loss_fn: Any = None, data: Any = None, modules: Any = (), **settings: Any) -> Any:
    settings = {"max_steps": 6, "log_every": 2, "sh_degree": 1, "tensorboard": False, "images": False, **settings}
    options = {name: settings.pop(name) for name in ("densification",) if name in settings}
    return SplatTrainer(
        config=SplatTrainerConfig(**settings),
        loss_fn=loss_fn or L1(),
        data_provider=data or provider(),
        modules=modules,
        **options,
    ).run()


def codes(caught: pytest.ExceptionInfo[LossError]) -> list[str]:
    return [d.code for d in caught.value.diagnostics]


def test_three_arguments_are_enough_and_training_helps() -> None:
    result = SplatTrainer(
        config=SplatTrainerConfig(max_steps=30), loss_fn=L1(), data_provider=provider(width=48, height=36, points=300)
    ).run()
    assert result.finished
    assert result.steps == 30
    assert result.before["eval/views"] == result.after["eval/views"] == 2
    assert result.after["eval/psnr_masked"] > result.before["eval/psnr_masked"] + 0.5
    assert result.output is None


def test_can_be_subscripted_with_item_and_payload() -> None:
    trainer = SplatTrainer[SplatDataItem, SplatRenderPayload](
        config=SplatTrainerConfig(max_steps=1), loss_fn=L1(), data_provider=provider()
    )
    assert trainer.run().steps == 1


def test_hooks_are_called_on_every_module_in_order() -> None:
    calls: list[tuple[str, str]] = []
    arguments: dict[str, dict[str, Any]] = {}

    def recording(name: str, base: type) -> type:
        def make(hook: str) -> Any:
            def method(self: Any, **kwargs: Any) -> None:
                calls.append((hook, name))
                arguments.setdefault(hook, kwargs)

            return method

        return type(name, (base,), {hook: make(hook) for hook in HOOKS})

    renderer = make_renderer("reference", "cpu")
    spied_renderer = recording("renderer", type(renderer))()
    data = recording("provider", SyntheticDataProvider)(width=48, height=36, views=4, test_every=0, points=50)
    module = recording("module", SplatBaseModule)()
    SplatTrainer(
        config=SplatTrainerConfig(max_steps=2, sh_degree=0),
        loss_fn=recording("loss", L1)(),
        data_provider=data,
        renderer=spied_renderer,
        modules=[module],
    ).run()

    members = ["renderer", "loss", "provider", "module"]
    each_step = [hook for hook in HOOKS if hook not in ("on_setup", "on_cleanup")]
    expected = ["on_setup", *each_step, *each_step, "on_cleanup"]
    assert calls == [(hook, member) for hook in expected for member in members]
    assert arguments["on_setup"]["scene_scale"] == pytest.approx(data.scene_scale)
    assert arguments["pre_step"]["step"] == 0
    assert arguments["pre_step"]["target_frames"].shape == (1, 36, 48, 3)
    assert arguments["post_compute_loss"]["loss"].requires_grad
    assert arguments["post_step"]["rend_out"].radii.shape[:2] == (1, arguments["post_step"]["rend_out"].radii.shape[1])


def test_a_hook_may_name_only_what_it_uses() -> None:
    steps: list[int] = []

    class Counter(SplatBaseModule[SplatRenderPayload]):
        def post_step(self, step):
            steps.append(step)

    train(modules=[Counter()], max_steps=3)
    assert steps == [0, 1, 2]


def test_only_the_required_buffers_are_rendered() -> None:
    asked: list[frozenset[str]] = []

    class Depths(TwoTerms):
        def requires(self, step, max_steps):
            return super().requires(step, max_steps) | ({"depth"} if step >= 1 else set())

        def pre_compute_loss(self, rend_out):
            asked.append(frozenset({"depth"} if rend_out.depths is not None else ()))

    train(Depths(), max_steps=3)
    assert asked == [frozenset(), {"depth"}, {"depth"}]


def test_a_buffer_that_the_renderer_lacks_stops_the_run_before_its_first_step() -> None:
    class Normals(TwoTerms):
        def requires(self, step, max_steps):
            return super().requires(step, max_steps) | ({"normals"} if step >= 4 else set())

        def pre_step(self):
            raise AssertionError("a step was made")

    with pytest.raises(LossError) as caught:
        train(Normals())
    assert codes(caught) == ["RUN008"]
    assert "`normals` from step 4" in caught.value.diagnostics[0].message


def test_everything_is_rendered_for_a_loss_that_does_not_say() -> None:
    class WantsDepth(L1):
        def compute_loss(self, rendered_frames, target_frames, training_state, rend_out, masks, step, max_steps):
            assert rend_out.depths is not None
            assert rend_out["depths_accumulated"].shape == (1, 24, 32, 1)
            return rend_out.depths.mean()

    assert train(WantsDepth(), max_steps=1).steps == 1


def test_a_loss_may_name_the_item_and_leave_out_the_rest() -> None:
    names: list[str] = []

    class WithItem(L1):
        def compute_loss(self, rendered_frames, item, background):
            names.append(item.image_name)
            assert background.shape == (1, 3)
            return (rendered_frames - item.image).abs().mean()

    train(WithItem(), max_steps=2)
    assert len(names) == 2


@pytest.mark.parametrize("wrong", [lambda x: x, lambda x: 0.5, lambda x: x.detach().mean().long()])
def test_a_loss_that_is_no_scalar_is_explained(wrong: Any) -> None:
    class Wrong(L1):
        def compute_loss(self, rendered_frames, **others):
            return wrong(rendered_frames)

    with pytest.raises(LossError) as caught:
        train(Wrong())
    assert codes(caught) == ["RUN016"]


def test_a_step_without_any_term_updates_nothing() -> None:
    class Late(L1):
        def compute_loss(self, rendered_frames, target_frames, step, **others):
            loss = (rendered_frames - target_frames).abs().mean()
            return loss if step >= 3 else torch.zeros(())

    start = provider().init_splat_model(sh_degree=1)
    idle = train(Late(), max_steps=3, strategy="none")
    assert torch.equal(idle.state.params["means"].detach(), start.means)
    moved = train(Late(), max_steps=4, strategy="none")
    assert not torch.equal(moved.state.params["means"].detach(), start.means)


def test_a_loss_on_the_gaussians_alone_trains_with_densification() -> None:
    class Small(L1):
        def compute_loss(self, training_state, **others):
            return training_state.scales.mean()

    result = train(Small(), max_steps=12, refine_every=2)
    assert float(result.state.scales.mean().detach()) < float(provider().init_splat_model(1).scales.exp().mean())


def test_items_loaded_ahead_and_batches() -> None:
    plain = train(max_steps=5)
    ahead = train(max_steps=5, num_workers=3)
    for name, value in plain.state.params.items():
        assert torch.equal(value, ahead.state.params[name]), name

    shapes: list[tuple[int, ...]] = []

    class Watch(L1):
        def compute_loss(self, rendered_frames, target_frames, masks, **others):
            shapes.append((*target_frames.shape, len(masks)))
            return (rendered_frames - target_frames).abs().mean()

    train(Watch(), max_steps=2, batch_size=3)
    assert shapes == [(3, 24, 32, 3, 3)] * 2


def test_images_of_two_sizes_cannot_share_a_batch() -> None:
    class Uneven(SyntheticDataProvider):
        def next_train_data(self, step):
            item = super().next_train_data(step)
            return item if step % 2 else type(item)(**{**vars(item), "image": item.image[:, :15], "mask": None})

    with pytest.raises(LossError) as caught:
        train(data=Uneven(width=48, height=36, views=4, test_every=0, points=50), batch_size=2)
    assert codes(caught) == ["RUN009"]


@pytest.mark.parametrize(("name", "expected"), [("black", 0.0), ("white", 1.0)])
def test_background(name: str, expected: float) -> None:
    seen: list[torch.Tensor] = []

    class Watch(L1):
        def compute_loss(self, rendered_frames, rend_out, background, target_frames, **others):
            seen.append(background)
            empty = rend_out.alphas[..., 0] == 0
            assert empty.any()
            torch.testing.assert_close(rendered_frames[empty], torch.full((int(empty.sum()), 3), expected))
            return (rendered_frames - target_frames).abs().mean()

    train(Watch(), background=name, max_steps=1, init_scale=0.1)
    assert torch.equal(seen[0], torch.full((1, 3), expected))


def test_random_backgrounds_follow_from_seed_and_step() -> None:
    def colours(seed: int) -> list[list[float]]:
        seen: list[list[float]] = []

        class Watch(L1):
            def compute_loss(self, rendered_frames, background, target_frames, **others):
                seen.append(background[0].tolist())
                return (rendered_frames - target_frames).abs().mean()

        train(Watch(), background="random", max_steps=3, seed=seed)
        return seen

    first = colours(1)
    assert first == colours(1)
    assert first != colours(2)
    assert len({tuple(c) for c in first}) == 3


def test_global_generators_are_given_back() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(max_steps=2)
    assert torch.equal(torch.rand(3), expected)


def test_mcmc_needs_cuda_and_says_so() -> None:
    with pytest.raises(LossError) as caught:
        train(strategy="mcmc", device="cpu")
    assert codes(caught) == ["RUN007"]
    from gsplat.strategy import MCMCStrategy

    with pytest.raises(LossError) as caught:
        train(densification=MCMCStrategy(), device="cpu")
    assert codes(caught) == ["RUN007"]


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_missing_device_is_explained(device: str) -> None:
    with pytest.raises(LossError) as caught:
        train(device=device)
    assert codes(caught) == ["RUN007"]


def test_max_gaussians_is_kept() -> None:
    free = train(max_steps=12, refine_every=2)
    assert free.state.num_gaussians > 110
    capped = train(max_steps=12, refine_every=2, max_gaussians=110)
    assert 100 < capped.state.num_gaussians <= 110


def test_learning_rate_factors() -> None:
    start = provider().init_splat_model(sh_degree=1)
    result = train(max_steps=3, strategy="none", lr={"means": 0, "sh0": 2.0})
    assert torch.equal(result.state.params["means"].detach(), start.means)
    assert result.state.optimizers["sh0"].param_groups[0]["lr"] == pytest.approx(2 * 2.5e-3)
    assert not torch.equal(result.state.params["sh0"].detach(), start.sh0)


def test_a_loss_can_follow_densification() -> None:
    class Follows(L1):
        moves: list[torch.Tensor] = []  # noqa: RUF012 - one loss, one test
        sizes: list[int] = []  # noqa: RUF012

        def on_densification(self, rows):
            self.moves.append(rows)

        def on_optimize(self, training_state):
            self.sizes.append(training_state.num_gaussians)

    loss = Follows()
    result = train(loss, max_steps=12, refine_every=4, lr={"sh0": 0})
    assert loss.moves
    tracked = torch.arange(loss.sizes[0])
    for move in loss.moves:
        tracked = tracked[move]
    assert len(tracked) == result.state.num_gaussians
    assert "rows" not in result.state.params
    # Colours are frozen and densification copies them, so they tell which gaussian each one descends from.
    start = provider().init_splat_model(sh_degree=1)
    assert torch.equal(result.state.params["sh0"].detach(), start.sh0[tracked])


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"max_steps": 0}, "max_steps"),
        ({"max_steps": 1.5}, "max_steps"),
        ({"max_steps": True}, "max_steps"),
        ({"init_opacity": 1.0}, "init_opacity"),
        ({"init_scale": 0.0}, "init_scale"),
        ({"background": "blue"}, "background"),
        ({"strategy": "greedy"}, "strategy"),
        ({"lr": {"colour": 1.0}}, "lr.colour"),
        ({"lr": {"means": math.inf}}, "lr.means"),
        ({"device": 0}, "device"),
        ({"device": "cuda:x"}, "device"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(LossError) as caught:
        SplatTrainerConfig(**{"max_steps": 5, **settings})
    assert codes(caught) == ["RUN003"]
    assert f"`{name}`" in caught.value.diagnostics[0].message


def test_every_wrong_setting_is_reported_at_once() -> None:
    with pytest.raises(LossError) as caught:
        SplatTrainerConfig(max_steps=-1, batch_size=0, seed=-3)
    assert len(caught.value.diagnostics) == 3


def test_refinement_is_scaled_to_the_run() -> None:
    full = scaled_refinement(SplatTrainerConfig(max_steps=30_000))
    assert full == {"refine_start_iter": 500, "refine_stop_iter": 15_000, "refine_every": 100, "reset_every": 3000}
    double = scaled_refinement(SplatTrainerConfig(max_steps=60_000))
    assert double == {"refine_start_iter": 1000, "refine_stop_iter": 30_000, "refine_every": 200, "reset_every": 6000}
    short = scaled_refinement(SplatTrainerConfig(max_steps=3000))
    assert short == {"refine_start_iter": 50, "refine_stop_iter": 1500, "refine_every": 100, "reset_every": 3001}
    given = scaled_refinement(SplatTrainerConfig(max_steps=3000, refine_every=7, reset_every=200))
    assert given == {"refine_start_iter": 50, "refine_stop_iter": 1500, "refine_every": 7, "reset_every": 200}
    assert scaled_refinement(SplatTrainerConfig(max_steps=30_000, strategy="mcmc"))["refine_stop_iter"] == 25_000
