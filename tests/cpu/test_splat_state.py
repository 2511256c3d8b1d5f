"""Training states: activated views, optimisers, and checkpoints that continue bit for bit."""

from __future__ import annotations

import io

import pytest
import torch

from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.splat.model import PARAMETERS, SplatModel
from splatdsl.runtime.splat.state import LEARNING_RATES, SplatTrainingState


def fresh(n: int, seed: int = 0, degree: int = 1, **options: object) -> SplatTrainingState:
    g = torch.Generator().manual_seed(seed)
    model = SplatModel.from_points(torch.randn(n, 3, generator=g), torch.rand(n, 3, generator=g), sh_degree=degree)
    return SplatTrainingState.from_splat_model(model, **options)


def train(state: SplatTrainingState, steps: range) -> None:
    for step in steps:
        state.zero_grad()
        loss = sum((p * (i + 1) - 0.1 * step).square().mean() for i, p in enumerate(state.params.values()) if p.numel())
        loss.backward()
        state.step()


def assert_same(a: SplatTrainingState, b: SplatTrainingState) -> None:
    for name in PARAMETERS:
        assert torch.equal(a.params[name], b.params[name]), name
        left, right = (s.optimizers[name].state[s.params[name]] for s in (a, b))
        assert set(left) == set(right) == {"step", "exp_avg", "exp_avg_sq"}
        for key, value in left.items():
            assert torch.equal(value, right[key]), f"{name}.{key}"


def test_views_are_activated_parameters() -> None:
    state = fresh(8, degree=2)
    assert (state.num_gaussians, state.sh_degree, state.device.type) == (8, 2, "cpu")
    assert torch.equal(state.scales, state.params["scales"].exp())
    assert state.opacities.tolist() == pytest.approx([0.1] * 8)
    with torch.no_grad():
        state.params["quats"].mul_(3.0)
    assert state.quats.norm(dim=1).tolist() == pytest.approx([1.0] * 8)
    assert state.means is state.params["means"]
    state.opacities.sum().backward()
    assert state.params["opacities"].grad.abs().min() > 0


def test_learning_rates_are_gsplats_and_scale_with_the_scene() -> None:
    state = fresh(4, scene_scale=2.5, learning_rates={"quats": 7e-3})
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in state.optimizers.items()}
    assert rates == {**LEARNING_RATES, "means": 2.5 * 1.6e-4, "quats": 7e-3}
    for optimizer in state.optimizers.values():
        assert optimizer.defaults["betas"] == (0.9, 0.999)
        assert optimizer.defaults["eps"] == 1e-15
    with pytest.raises(LossError) as error:
        fresh(4, learning_rates={"rotation": 1.0})
    assert error.value.diagnostics[0].code == "DAT015"


def test_the_model_is_copied_both_ways() -> None:
    g = torch.Generator().manual_seed(0)
    model = SplatModel.from_points(torch.randn(5, 3, generator=g), torch.rand(5, 3, generator=g))
    before = model.means.clone()
    state = SplatTrainingState.from_splat_model(model)
    for name in PARAMETERS:
        assert torch.equal(getattr(state.to_splat_model(), name), getattr(model, name))
    out = state.to_splat_model()
    train(state, range(2))
    assert torch.equal(model.means, before)
    assert torch.equal(out.means, before)
    assert not torch.equal(state.means, before)


@pytest.mark.parametrize("n_other", [3, 6, 50])
def test_checkpoint_continues_bit_for_bit_whatever_n(n_other: int) -> None:
    straight = fresh(6)
    train(straight, range(5))
    file = io.BytesIO()
    torch.save(straight.state_dict(), file)
    file.seek(0)
    resumed = fresh(n_other, seed=9)
    train(resumed, range(2))  # moments of its own, which must all go
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.num_gaussians == 6
    assert_same(straight, resumed)
    train(straight, range(5, 9))
    train(resumed, range(5, 9))
    assert_same(straight, resumed)


def test_state_dict_is_a_copy() -> None:
    state = fresh(6)
    train(state, range(3))
    saved = state.state_dict()
    before = saved["params"]["means"].clone(), saved["optimizers"]["means"]["state"][0]["exp_avg"].clone()
    train(state, range(3, 5))
    assert torch.equal(saved["params"]["means"], before[0])
    assert torch.equal(saved["optimizers"]["means"]["state"][0]["exp_avg"], before[1])
    other = fresh(2)
    other.load_state_dict(saved)
    train(other, range(2))
    assert torch.equal(saved["params"]["means"], before[0])


def test_loading_keeps_optimizers_and_changed_learning_rates() -> None:
    state, other = fresh(6), fresh(4)
    state.optimizers["means"].param_groups[0]["lr"] = 1.25e-5  # as a schedule leaves it
    held, params = other.optimizers["means"], other.params
    other.load_state_dict(state.state_dict())
    assert other.optimizers["means"] is held  # schedulers hold on to it
    assert other.params is params
    assert held.param_groups[0]["lr"] == 1.25e-5
    assert held.param_groups[0]["params"][0] is other.params["means"]


def test_degree_zero_trains_and_resumes() -> None:
    state, other = fresh(5, degree=0), fresh(3, degree=0)
    assert state.params["shN"].shape == (5, 0, 3)
    for step in range(2):
        state.zero_grad()
        sum(state.params[name].square().sum() + step for name in PARAMETERS).backward()
        state.step()
    other.load_state_dict(state.state_dict())
    assert torch.equal(other.means, state.means)


def test_mismatches_are_reported_and_change_nothing() -> None:
    state = fresh(6, degree=1)
    before = {name: state.params[name] for name in PARAMETERS}
    saved = fresh(4, degree=2).state_dict()
    partial = state.state_dict()
    del partial["optimizers"]["quats"]
    bent = state.state_dict()
    bent["params"]["quats"] = torch.zeros(6, 3)
    for wrong, code, words in (
        (saved, "DAT018", "degree 2, this one 1"),
        (partial, "DAT018", "the saved optimizers are"),
        ({"params": {}}, "DAT018", "no sh_degree, optimizers"),
        (bent, "DAT017", "quats has shape"),
    ):
        with pytest.raises(LossError) as error:
            state.load_state_dict(wrong)
        assert error.value.diagnostics[0].code == code
        assert words in error.value.diagnostics[0].message
    assert all(state.params[name] is before[name] for name in PARAMETERS)


def test_gsplat_densification_changes_the_state_in_place() -> None:
    ops = pytest.importorskip("gsplat.strategy.ops")
    state = fresh(6)
    train(state, range(3))
    moment = state.optimizers["means"].state[state.params["means"]]["exp_avg"].clone()
    ops.duplicate(params=state.params, optimizers=state.optimizers, state={}, mask=torch.arange(6) < 2)
    assert state.num_gaussians == 8
    after = state.optimizers["means"].state[state.params["means"]]["exp_avg"]
    assert torch.equal(after[:6], moment)
    assert not after[6:].any()
    copy = fresh(2)
    copy.load_state_dict(state.state_dict())
    assert_same(state, copy)
