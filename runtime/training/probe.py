"""What each term of a loss does at a training step: its value, and the gradient that it alone sends to the gaussians.

A probe trains as the run would and stops at chosen steps before they update anything. There every term is evaluated
alone, on what the whole loss was given. Its slope is taken with respect to copies of the renderer's buffers and of the
raw parameters, which tells where in the image, and on which gaussians directly, it pulls; the slopes of the buffers
are then carried through the renderer to the parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...dsl.config import RunConfig
from ...dsl.inputs import PAYLOAD_FIELDS
from ..compiled import CompiledLossFn
from ..renderers.base import make_renderer
from ..splat.model import PARAMETERS
from .batching import stack_items
from .display import Display
from .result import TrainingResult
from .selection import SelectedLossFn
from .setup import build_loss, build_provider, trainer_config
from .trainer import SplatTrainer, pick_device

_NAMES = {field: name for name, fields in PAYLOAD_FIELDS.items() for field in fields}


@dataclass(frozen=True)
class TermProbe:
    """One term at one step.

    Attributes:
        name: the term.
        raw: its value without the weight.
        weight: the weight that the host gives it.
        value: what it adds to the loss.
        share: the magnitude of ``value`` by the sum of those of all terms, 0..1.
        norms: euclidean norm of the gradient of ``value`` by parameter group; None where it does not reach the group.
        shares: ``norms`` by the sum over all terms, 0..1; None where no term has a slope.
        pull: `[H, W]` by buffer: norm over the components of the slope of ``value`` with respect to the buffer alone,
            in the first view of the batch.
        pull_shares: norm of that slope over the batch by the sum over all terms, 0..1.
        direct: `[N]` by parameter group: norm of the slope that does not go through the renderer, by gaussian.
    """

    name: str
    raw: float
    weight: float
    value: float
    share: float
    norms: dict[str, float | None]
    shares: dict[str, float | None]
    pull: dict[str, Tensor]
    pull_shares: dict[str, float]
    direct: dict[str, Tensor]


@dataclass(frozen=True)
class StepProbe:
    """All terms that exist at one step.

    Attributes:
        step: counted from 0.
        max_steps: length of the run.
        view: name of the training view.
        gaussians: N.
        loss: the whole loss.
        terms: in the program's order.
        cosines: by parameter group and pair of terms: cosine of the angle between their gradients, -1..1.
        rendered: `[H, W, 3]`, the first view of the batch.
        target: `[H, W, 3]`, if the loss was given one.
        mask: `[H, W]`, 0..1, if it was given one.
    """

    step: int
    max_steps: int
    view: str
    gaussians: int
    loss: float
    terms: tuple[TermProbe, ...]
    cosines: dict[str, dict[tuple[str, str], float]]
    rendered: Tensor | None
    target: Tensor | None
    mask: Tensor | None


class _Slopes:
    """The gradient of one term: by buffer, and by parameter in all and without the renderer's part."""

    def __init__(self, total: Tensor, leaves: _Leaves, params: Mapping[str, Tensor]) -> None:
        self.buffers: dict[str, Tensor] = {}
        self.direct: dict[str, Tensor] = {}
        if not leaves.copies or not total.requires_grad:
            self.whole: dict[str, Tensor] = {}
            return
        found = torch.autograd.grad(total, leaves.copies, allow_unused=True)
        through: list[tuple[Tensor, Tensor]] = []
        for name, original, slope in zip(leaves.names, leaves.originals, found):
            if slope is None:
                continue
            if name.startswith("state."):
                self.direct[name.partition(".")[2]] = slope
            else:
                self.buffers[name] = slope
                through.append((original, slope))
        self.whole = dict(self.direct)
        if not through:
            return
        outputs, slopes = zip(*through)
        names = list(params)
        carried = torch.autograd.grad(
            outputs, [params[name] for name in names], slopes, retain_graph=True, allow_unused=True
        )
        for name, slope in zip(names, carried):
            if slope is not None:
                self.whole[name] = self.whole[name] + slope if name in self.whole else slope


class _Leaves:
    """Copies of whatever a loss is given that carries gradient, cut off from what it was made of.

    Two names of one tensor share a copy; it goes by the first.

    Attributes:
        names, originals, copies: in step with each other; raw parameters are called ``state.means`` and so on.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.originals: list[Tensor] = []
        self.copies: list[Tensor] = []
        self._known: dict[int, Tensor] = {}

    def swap(self, name: str, value: Any) -> Any:
        """The value with copies for its tensors that carry gradient."""
        if isinstance(value, Tensor):
            return self._leaf(name, value)
        if name.rpartition(".")[2] == "state" and value is not None:
            params = getattr(value, "params", value)
            return {field: self._leaf(f"{name}.{field}", params[field]) for field in params}
        inside = "" if name == "render" else f"{name}."  # another render's buffers have names of their own
        if isinstance(value, Mapping):
            return {key: self.swap(inside + _NAMES.get(key, str(key)), item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.swap(f"{name}.{i}", item) for i, item in enumerate(value)]
        fields = getattr(value, "__dict__", {})
        if any(isinstance(item, Tensor) and item.requires_grad for item in fields.values()):
            made = copy.copy(value)
            for field, item in fields.items():
                object.__setattr__(made, field, self.swap(inside + _NAMES.get(field, field), item))
            return made
        return value

    def _leaf(self, name: str, value: Tensor) -> Tensor:
        if not value.requires_grad:
            return value
        leaf = self._known.get(id(value))
        if leaf is None:
            leaf = self._known[id(value)] = value.detach().requires_grad_()
            self.names.append(name)
            self.originals.append(value)
            self.copies.append(leaf)
        return leaf


class ProbedLossFn(SelectedLossFn):
    """A compiled loss that takes itself apart at chosen steps; what it computes does not change.

    Args:
        loss: the loss.
        at: the steps, each probed at its first call.
        found: gets the result of each.
    """

    def __init__(self, loss: CompiledLossFn, at: Sequence[int], found: Callable[[StepProbe], None]) -> None:
        super().__init__(loss, [term.name for term in loss.program.terms])
        self._alone = {term.name: SelectedLossFn(self, [term.name], backend="eager") for term in self.program.terms}
        self._at = set(at)
        self._found = found

    def __call__(self, *positional: Any, **given: Any) -> Tensor:
        """See `CompiledLossFn.__call__`."""
        step = given.get("step", 0)
        wanted = step in self._at and torch.is_grad_enabled() and not positional
        # Before the call, which may renew memories.
        before = self.state_dict() if wanted else {}
        total = super().__call__(*positional, **given)
        if wanted:
            self._at.discard(step)
            self._found(self._probe(total, given, before))
        return total

    def _probe(self, total: Tensor, given: Mapping[str, Any], before: Mapping[str, Any]) -> StepProbe:
        step, max_steps = given["step"], given["max_steps"]
        state = given["state"]
        params: Mapping[str, Tensor] = {name: p for name, p in getattr(state, "params", state).items() if len(p)}
        held = _retained(given.values())
        values: dict[str, tuple[float, float, float]] = {}
        slopes: dict[str, _Slopes] = {}
        weights = self.weights(step, max_steps)
        for name in self.terms:
            leaves = _Leaves()
            arguments = {key: leaves.swap(key, value) for key, value in given.items()}
            alone = self._alone[name]
            alone.load_state_dict(before)
            value = alone(**arguments)
            values[name] = float(alone.terms[name]), weights[name], float(value.detach())
            slopes[name] = _Slopes(value, leaves, params)
        for tensor, grad in held:  # passing through a tensor leaves a trace in it, which densification would read
            tensor.grad = grad
        rendered, target, mask = (given.get(name) for name in ("rendered", "target", "mask"))
        return StepProbe(
            step=step,
            max_steps=max_steps,
            view="",
            gaussians=len(next(iter(params.values()), ())),
            loss=float(total.detach()),
            terms=_terms(values, slopes),
            cosines=_cosines({name: found.whole for name, found in slopes.items()}),
            rendered=_first(rendered),
            target=_first(target),
            mask=_first(mask),
        )


def _retained(values: Any) -> list[tuple[Tensor, Tensor | None]]:
    """Tensors inside the graph that keep their gradient, with what they hold now."""
    found: dict[int, Tensor] = {}
    for value in values:
        inner = value.values() if isinstance(value, Mapping) else getattr(value, "__dict__", {}).values()
        for tensor in (value, *inner):
            if isinstance(tensor, Tensor) and tensor.retains_grad:
                found[id(tensor)] = tensor
    return [(tensor, None if tensor.grad is None else tensor.grad.clone()) for tensor in found.values()]


def _first(value: Any) -> Tensor | None:
    """The first image of a batch, on the CPU."""
    if not isinstance(value, Tensor):
        return None
    return value.detach()[0].float().cpu()


def _norm(value: Tensor) -> float:
    return float(torch.linalg.vector_norm(value.double()))


def _share(value: float, total: float) -> float:
    return value / total if total else 0.0


def _by_row(value: Tensor) -> Tensor:
    """`[N]`: norm of each row."""
    norms: Tensor = torch.linalg.vector_norm(value.reshape(len(value), -1), dim=1)
    return norms.float().cpu()


def _terms(values: Mapping[str, tuple[float, float, float]], slopes: Mapping[str, _Slopes]) -> tuple[TermProbe, ...]:
    total = sum(abs(value) for _, _, value in values.values())
    norms = {
        name: {g: _norm(found.whole[g]) if g in found.whole else None for g in PARAMETERS}
        for name, found in slopes.items()
    }
    sums = {g: sum(norm[g] or 0.0 for norm in norms.values()) for g in PARAMETERS}
    pulls = {name: {b: _norm(slope) for b, slope in found.buffers.items()} for name, found in slopes.items()}
    pull_sums = {b: sum(pull.get(b, 0.0) for pull in pulls.values()) for pull in pulls.values() for b in pull}
    made = []
    for name, (raw, weight, value) in values.items():
        found = slopes[name]
        images = {b: slope for b, slope in found.buffers.items() if slope.dim() == 4}
        made.append(
            TermProbe(
                name=name,
                raw=raw,
                weight=weight,
                value=value,
                share=_share(abs(value), total),
                norms=norms[name],
                shares={g: _share(norms[name][g] or 0.0, sums[g]) if sums[g] else None for g in PARAMETERS},
                pull={b: torch.linalg.vector_norm(slope[0], dim=-1).float().cpu() for b, slope in images.items()},
                pull_shares={b: _share(norm, pull_sums[b]) for b, norm in pulls[name].items()},
                direct={g: _by_row(slope) for g, slope in found.direct.items()},
            )
        )
    return tuple(made)


def _cosines(gradients: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[tuple[str, str], float]]:
    """By group and pair: the cosine, where both gradients are finite and not 0."""
    found: dict[str, dict[tuple[str, str], float]] = {}
    names = list(gradients)
    for group in PARAMETERS:
        flat = {n: gradients[n][group].reshape(-1).double() for n in names if group in gradients[n]}
        norms = {n: float(torch.linalg.vector_norm(value)) for n, value in flat.items()}
        there = [n for n in flat if 0 < norms[n] < float("inf")]
        pairs = {
            (a, b): float(flat[a] @ flat[b]) / (norms[a] * norms[b])
            for i, a in enumerate(there)
            for b in there[i + 1 :]
        }
        if pairs:
            found[group] = pairs
    return found


def default_steps(max_steps: int) -> tuple[int, ...]:
    """A few early steps of a run: 0, 10 and 50, or its last one before these."""
    return tuple(sorted({min(step, max_steps - 1) for step in (0, 10, 50)}))


class ProbeRun:
    """Trains as a config says up to the last of some steps, and takes the loss apart at each.

    Nothing is written, and the run ends after the last probed step. The loss is not compiled.

    Args:
        config: the run.
        at: steps below its length.
        on_step: gets each result when it is there.
        display: shows the progress.

    Attributes:
        program: the checked program.

    Raises:
        LossError: bad input of any kind.
    """

    def __init__(
        self,
        config: RunConfig,
        at: Sequence[int],
        on_step: Callable[[StepProbe], None] = lambda found: None,
        display: Display | None = None,
    ) -> None:
        settings = replace(trainer_config(config), images=False, tensorboard=False, eval_every=0, output=None)
        device = pick_device(settings.device)
        self._batch = settings.batch_size
        self._last = max(at)
        self._on_step = on_step
        loss = build_loss(replace(config, train=replace(config.train, backend="eager")), device)
        self.program = loss.program
        self._provider = build_provider(config.data, settings.seed, device, settings.background, loss.program.inputs)
        self._trainer: SplatTrainer[Any, Any] = SplatTrainer(
            config=settings,
            loss_fn=ProbedLossFn(loss, at, self._found),
            data_provider=self._provider,
            renderer=make_renderer(config.renderer.kind, device),
            display=display or Display(),
        )

    def _found(self, result: StepProbe) -> None:
        first = result.step * self._batch
        view = stack_items([self._provider.next_train_data(first + i) for i in range(self._batch)]).image_name
        if result.step == self._last:
            self.request_stop()
        self._on_step(replace(result, view=view))

    def request_stop(self) -> None:
        """Ask for an end after the present step; callable from a signal handler."""
        self._trainer.request_stop()

    def train(self) -> TrainingResult:
        """Train up to the last step; the result holds the gaussians after it.

        Raises:
            LossError: the loss or a gradient is not finite. What was found until then has been handed on.
        """
        return self._trainer.run()
