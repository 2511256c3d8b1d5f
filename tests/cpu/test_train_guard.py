"""A loss or gradient that is not finite ends the run before it can do harm."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from splatdsl.dsl.api import analyse
from splatdsl.dsl.diagnostics import Diagnostic, LossError
from splatdsl.dsl.source import Source
from splatdsl.runtime.compiled import CompiledLossFn
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.loading import compile
from splatdsl.runtime.loss_fn import SplatLossFn
from splatdsl.runtime.payload import SplatRenderPayload
from splatdsl.runtime.training import guard
from splatdsl.runtime.training.checkpoint import read
from splatdsl.runtime.training.config import SplatTrainerConfig
from splatdsl.runtime.training.trainer import SplatTrainer

PROGRAM = "term photometric = l1()\nterm depth_prior = 0.1 * mean(depth)\n"


class Breaks(SplatLossFn[SplatRenderPayload]):
    """One of its two terms, or only its gradient, breaks at step 5."""

    def __init__(self, how: str) -> None:
        self.program, _ = analyse(Source(PROGRAM, "breaks.loss"))
        self.how = how
        self.terms: dict[str, torch.Tensor] = {}
        self.seen: list[torch.Tensor] = []

    def compute_loss(self, rendered_frames, target_frames, training_state, step, **others):
        self.seen.append(training_state.params["means"].detach().clone())
        photometric = (rendered_frames - target_frames).abs().mean()
        prior = training_state.scales.mean()
        if step == 5 and self.how == "value":
            prior = prior / 0
        if step == 5 and self.how == "gradient":
            # 0 here, and its slope is 0/0
            prior = prior + (training_state.params["scales"] * 0).square().sum(dim=1).sqrt().mean()
        self.terms = {"photometric": photometric.detach(), "depth_prior": prior.detach()}
        return photometric + prior


def train(loss: Any, output: Path | None, **settings: Any) -> LossError:
    config = SplatTrainerConfig(
        max_steps=9, checkpoint_every=2, sh_degree=0, tensorboard=False, images=False, strategy="none", **settings
    )
    data = SyntheticDataProvider(width=32, height=24, views=4, test_every=4, points=60)
    with pytest.raises(LossError) as caught:
        SplatTrainer(config=config, loss_fn=loss, data_provider=data, output=output).run()
    return caught.value


def only(error: LossError) -> Diagnostic:
    (diagnostic,) = error.diagnostics
    return diagnostic


def test_names_the_term_and_the_step(tmp_path: Path) -> None:
    found = only(train(Breaks("value"), tmp_path))
    assert found.code == "RUN001"
    assert found.message == "term `depth_prior` is not finite at step 5"
    assert found.source.name == "breaks.loss"
    assert (found.line, found.column) == (2, 1)
    assert any("term depth_prior = inf" in note for note in found.notes)
    assert any(note.startswith("term photometric = 0.") for note in found.notes)


def test_names_the_parameters_of_a_bad_gradient(tmp_path: Path) -> None:
    loss = Breaks("gradient")
    found = only(train(loss, tmp_path))
    assert found.code == "RUN002"
    count = len(loss.seen[-1])
    assert (
        found.message == f"the gradient of `scales` ({count} gaussians) is not finite at step 5, although the loss is"
    )


def test_names_the_term_of_a_bad_gradient_at_its_place(tmp_path: Path) -> None:
    text = "term photometric = l1()\nterm g = 0.5 * mean(sqrt(alpha)) when after(step, 3)\nterm d = 0.1 * mean(depth)\n"
    # Small gaussians leave holes, where alpha is 0.
    found = only(train(compile(text, backend="eager", name="root.loss"), tmp_path, init_scale=0.2))
    assert found.code == "RUN002"
    assert found.message == "the gradient of term `g` is not finite at step 3, although the loss is"
    assert found.source.name == "root.loss"
    assert (found.line, found.column) == (2, 1)
    assert re.match(
        r"the slope of term `g` is not finite with respect to `alpha` at \d+ of 768 pixels$", found.notes[0]
    )
    assert re.match(r"it reaches .*`means` \(\d+ gaussians\)", found.notes[1])
    assert any("step_000002.pt" in note for note in found.notes)
    assert any(note.startswith("term photometric = 0.") for note in found.notes)
    assert "infinite at 0" in found.help[0]


def test_names_every_term_whose_gradient_is_bad() -> None:
    text = "term a = mean(sqrt(alpha))\nterm b = l1()\nterm c = mean(sqrt(state.scales - state.scales))\n"
    found = only(train(compile(text, backend="eager"), None, init_scale=0.2))
    assert found.message == "the gradients of terms `a`, `c` are not finite at step 0, although the loss is"
    assert found.line == 1
    count = int(re.search(r"`scales` \((\d+) gaussians\)", found.notes[2]).group(1))  # type: ignore[union-attr]
    assert found.notes[1].endswith(
        f"`c` is not finite with respect to the raw `scales` at {count} of {count} gaussians"
    )


def test_a_term_that_does_not_exist_yet_is_not_blamed() -> None:
    class Infects(CompiledLossFn):
        """Its gradient breaks at step 2, but by none of its terms."""

        def compute_loss(self, rendered_frames, **others):
            loss = super().compute_loss(rendered_frames=rendered_frames, **others)
            return loss + (rendered_frames * 0).square().sum(dim=-1).sqrt().mean() if others["step"] == 2 else loss

    program = analyse(Source("term a = l1()\nterm g = mean(sqrt(alpha)) when after(step, 3)\n", "late.loss"))[0]
    assert program is not None
    found = only(train(Infects(program, "eager"), None))
    assert found.code == "RUN002"
    assert re.match(r"the gradient of .*`means` \(\d+ gaussians\).* is not finite at step 2", found.message)
    assert "renderer's backward pass" in found.notes[0]
    assert found.source.name == "late.loss"
    assert found.span is None


@pytest.mark.parametrize("how", ["value", "gradient"])
def test_leaves_the_last_good_checkpoint_and_says_where(tmp_path: Path, how: str) -> None:
    loss = Breaks(how)
    found = only(train(loss, tmp_path))
    newest = tmp_path / "checkpoints" / "step_000004.pt"
    assert any(str(newest) in note for note in found.notes)
    content = read(newest)
    assert content["step"] == 4
    for name, value in content["state"]["params"].items():
        assert torch.isfinite(value).all(), name
    assert torch.equal(content["state"]["params"]["means"], loss.seen[4])
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["status"] == "failed"
    assert run["error"] == [found.message]
    assert run["parts"][-1]["to_step"] == 5


def test_nothing_is_updated_by_the_bad_step() -> None:
    loss = Breaks("gradient")
    states: list[Any] = []
    loss.pre_step = lambda training_state: states.append(training_state)  # type: ignore[method-assign]
    train(loss, None)
    assert len(loss.seen) == 6
    assert torch.equal(states[-1].params["means"].detach(), loss.seen[5])


def test_a_loss_without_terms_is_described_by_its_value() -> None:
    class Plain(SplatLossFn[SplatRenderPayload]):
        def compute_loss(self, rendered_frames, step, **others):
            return rendered_frames.mean() * (float("nan") if step == 1 else 1.0)

    found = only(train(Plain(), None))
    assert (found.code, found.message) == ("RUN001", "the loss is nan at step 1")
    assert any("no checkpoint" in note for note in found.notes)


def test_large_finite_gradients_raise_no_alarm() -> None:
    parameter = torch.nn.Parameter(torch.zeros(10))
    parameter.grad = torch.full((10,), 3e38)
    assert guard.is_finite(torch.tensor(1.0), {"means": parameter})
    parameter.grad[3] = torch.inf
    assert not guard.is_finite(torch.tensor(1.0), {"means": parameter})
    assert guard.bad_gradients({"means": parameter}) == {"means": 1}
    parameter.grad = None
    assert guard.is_finite(torch.tensor(1.0), {"means": parameter})
    assert not guard.is_finite(torch.tensor(torch.nan), {"means": parameter})
    empty = torch.nn.Parameter(torch.zeros(5, 0, 3))
    empty.grad = torch.zeros(5, 0, 3)
    assert guard.is_finite(torch.tensor(1.0), {"shN": empty})
