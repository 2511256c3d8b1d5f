"""What one of several ranks does differently in a step: its part of the batch, of the loss and of the gaussians."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ...dsl.diagnostics import LossError
from ..data.base import SplatDataItem
from ..ranks import Ranks
from ..renderers.base import SplatRenderer
from ..splat.model import SplatModel
from ..splat.state import SplatTrainingState
from . import guard
from .checkpoint import differences
from .config import training_error
from .ranks import Team
from .ranks_shards import Shards
from .ranks_steps import OneRank
from .seeding import background_colors

T = TypeVar("T")


class ManyRanks(OneRank):
    """One process of several.

    Args:
        team: all of them.
        shards: how gaussians are divided; None: every rank has all of them.
        aware: whether the loss function evaluates its objective over all ranks by itself.
    """

    def __init__(self, team: Team, shards: Shards | None, aware: bool) -> None:
        self.team = team
        self.rank, self.world = team.rank, team.world
        self.shards = shards
        self._aware = aware
        self._before, self._all = 0, 0  # views of lower ranks, and of all, at this step
        self._mine = 0
        if shards is not None:  # each rank splits gaussians of its own
            self.densification = f"densification/{self.rank}"

    def agree(self, work: Callable[[], T]) -> T:
        """See `OneRank.agree`."""
        return self.team.agree(work)

    def connected(self) -> AbstractContextManager[None]:
        """See `OneRank.connected`."""
        return self.team.connected()

    def from_first(self, work: Callable[[], T]) -> T:
        """See `OneRank.from_first`; findings of rank 0 are raised on all."""
        value = self.team.agree(lambda: work() if self.first else None)
        return self.team.from_first(value)  # type: ignore[return-value]

    def begin(
        self, step: int, load: Callable[[], SplatDataItem], stop_requested: Callable[[], bool]
    ) -> SplatDataItem | None:
        """See `OneRank.begin`. All ranks take the same answer.

        Raises:
            LossError: RUN009, the images differ in size; any finding in the data of any rank.
        """
        self.team.step = step
        self.team.check()
        stop = stop_requested()
        item: SplatDataItem | None = None
        failure: LossError | None = None
        try:
            item = None if stop else load()
        except LossError as error:
            failure = error
        shape = [0, 0, 0] if item is None else list(item.image.shape[:3])
        told = self.team.numbers(float(failure is not None), float(stop), *shape)
        if any(failed for failed, *_ in told):
            self.team.settle(failure)
        if any(stopping for _, stopping, *_ in told):
            return None
        self._check_sizes([[int(n) for n in row[2:]] for row in told])
        counts = [int(row[2]) for row in told]
        self._before, self._mine, self._all = sum(counts[: self.rank]), counts[self.rank], sum(counts)
        return item

    def _check_sizes(self, shapes: list[list[int]]) -> None:
        compared = shapes if self.shards is not None else [shape[1:] for shape in shapes]
        if all(shape == compared[0] for shape in compared):
            return
        sizes = ", ".join(f"rank {r}: {b} x ({h}, {w})" for r, (b, h, w) in enumerate(shapes))
        raise training_error(
            "RUN009",
            f"images of different sizes cannot share a batch: {sizes} (height, width)",
            notes=("the images that all ranks render at a step are one batch",),
            help=("give the images one size, or train with one process and `batch_size: 1`",),
        )

    def background(self, kind: str, batch: int, seed: int, step: int, device: torch.device) -> Tensor:
        """See `OneRank.background`: the rows that a single process would have for these views."""
        colors = background_colors(kind, self._all, seed, step, device)
        return colors[self._before : self._before + batch]

    def part(self, loss: Tensor) -> Tensor:
        """See `OneRank.part`: a loss that knows nothing of ranks is weighted with its part of the views."""
        return loss if self._aware else loss * (self._mine / self._all)

    def combine(
        self, loss: Tensor, state: SplatTrainingState, more: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, bool, bool]:
        """See `OneRank.combine`. One operation for everything; the gradients of gaussians in shards are complete.

        Where a loss or gradient is not finite, each rank keeps its own, to look at what it has done itself.
        """
        everything = {**dict(state.params.items()), **(more or {})}
        copies = everything if self.shards is None else dict(more or {})
        bad = ~guard.finite(loss, everything)
        flags = [float(loss.requires_grad), *(float(value.grad is not None) for value in copies.values())]
        parts = [(torch.zeros_like(v) if v.grad is None else v.grad).reshape(-1) for v in copies.values()]
        told = torch.cat([loss.detach().reshape(1), bad.reshape(1), loss.new_tensor(flags)]).to(torch.float32)
        flat = self.team.sum(torch.cat([*parts, told]))
        *gradients, told = torch.split(flat, [*(len(part) for part in parts), len(told)])
        value, wrong, moves, *counts = told.tolist()
        if wrong:
            return loss.detach(), moves > 0, False
        for parameter, gradient, count in zip(copies.values(), gradients, counts):
            if parameter.grad is not None:
                parameter.grad.copy_(gradient.view_as(parameter))
            elif count:
                parameter.grad = gradient.view_as(parameter).clone()
        total = loss.detach() if self._aware else loss.detach().new_tensor(value)
        return total, moves > 0, guard.is_finite(total, copies)

    def anywhere(self, rows: Tensor) -> Tensor:
        """See `OneRank.anywhere`."""
        return rows if self.shards is not None else self.team.sum(rows.to(torch.int32)) > 0

    def views(self, info: dict[str, Any]) -> dict[str, Any]:
        """See `OneRank.views`: centres, their gradients and radii of all ranks' views, in the order of ranks."""
        if not self.reads_views(self.team.step or 0):
            return info
        if self.shards is not None:
            return {**info, "n_cameras": len(info["means2d"])}  # gsplat projects into the cameras of all ranks
        means2d, radii = info["means2d"], info["radii"]
        gradient = means2d.grad if means2d.grad is not None else torch.zeros_like(means2d)
        absolute = getattr(means2d, "absgrad", None)
        parts = [means2d.detach(), gradient, radii.to(means2d.dtype), *([] if absolute is None else [absolute])]
        everyone = torch.cat(self.team.gather_tensors(torch.cat(parts, dim=-1)))
        centres, gradients, sizes, *rest = torch.split(everyone, 2, dim=-1)
        gathered = centres.contiguous()
        gathered.grad = gradients.contiguous()
        if rest:
            gathered.absgrad = rest[0].contiguous()  # type: ignore[attr-defined]
        return {**info, "means2d": gathered, "radii": sizes.to(radii.dtype), "n_cameras": len(gathered)}

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """See `OneRank.row`: of a loss that knows nothing of ranks the terms are averaged."""
        if self.shards is not None:
            row["gaussians"] = int(sum(n for (n,) in self.team.numbers(float(row["gaussians"]))))
        if self._aware:
            return row
        names = [name for name in row if name.startswith("terms/")]
        told = self.team.numbers(float(self._mine), *(float(row[name]) for name in names))
        for i, name in enumerate(names, 1):
            row[name] = sum(values[0] * values[i] for values in told) / sum(values[0] for values in told)
        return row

    def turns(self, views: int, load: Callable[[int], SplatDataItem]) -> Iterator[tuple[int, SplatDataItem, bool]]:
        """See `OneRank.turns`.

        On shards all ranks render at the same time: a view each if their images have one size, otherwise each view
        together, of which all but one rank throw their image away.
        """
        if self.shards is None:
            for i in range(self.rank, views, self.world):
                yield i, load(i), True
            return
        for first in range(0, views, self.world):
            i = first + self.rank
            item = load(min(i, views - 1))
            shapes = self.team.numbers(*item.image.shape[:3])
            if all(shape == shapes[0] for shape in shapes):
                yield i, item, i < views
                continue
            for together in range(first, min(first + self.world, views)):
                yield together, load(together), together == i

    def measured(
        self, values: dict[int, dict[str, float]], pictures: dict[str, bytes]
    ) -> tuple[dict[int, dict[str, float]], dict[str, bytes]]:
        """See `OneRank.measured`."""
        every = {view: found for part in self.team.gather(values) for view, found in part.items()}
        sent = self.team.gather_first(pictures) or []
        return dict(sorted(every.items())), {name: data for part in sent for name, data in part.items()}

    def start(self, state: SplatTrainingState, identity: dict[str, Any]) -> None:
        """See `OneRank.start`: another processor may have rounded its start in another way.

        Raises:
            LossError: RUN018, the ranks were given different configs, losses or data.
        """
        different = [
            f"rank {rank}: {line}"
            for rank, other in enumerate(self.team.gather(identity))
            for line in differences(identity, other)
        ]
        if different:
            raise training_error(
                "RUN018",
                "the ranks were not started with the same run",
                notes=tuple(different[:10]),
                help=("every machine needs the same config, loss and data",),
            )
        if self.shards is None:
            with torch.no_grad():
                for name in state.params:
                    self.team.share(state.params[name].data)

    def check_equal(self, state: SplatTrainingState, step: int, more: Mapping[str, Tensor] | None = None) -> None:
        """See `OneRank.check_equal`; compares a checksum of every parameter's bits.

        Raises:
            LossError: RUN022.
        """
        copies = {**({} if self.shards is not None else dict(state.params.items())), **(more or {})}
        told = self.team.gather([checksum(value) for value in copies.values()])
        different = [name for i, name in enumerate(copies) if any(sums[i] != told[0][i] for sums in told)]
        if different:
            last = (
                f"the last checkpoint is {self.team.checkpoint}" if self.team.checkpoint else "there is no checkpoint"
            )
            raise training_error(
                "RUN022",
                f"the ranks no longer have the same gaussians at step {step}: they differ in {', '.join(different)}",
                notes=(last,),
                help=(
                    "a module or loss that changes parameters must do the same on every rank",
                    "use the same versions of torch and gsplat, the same OMP_NUM_THREADS and one kind of machine",
                ),
            )

    def collect(self, content: dict[str, Any], state: SplatTrainingState) -> dict[str, Any]:
        """See `OneRank.collect`."""
        if self.shards is None:
            return content
        return self.shards.collect(content, state.num_gaussians) or content

    def own(self, saved: dict[str, Any]) -> dict[str, Any]:
        """See `OneRank.own`."""
        return saved if self.shards is None else self.shards.own(saved)

    def whole(self, state: SplatTrainingState) -> SplatModel | None:
        """See `OneRank.whole`."""
        if self.shards is not None:
            return self.shards.gather(dict(state.params.items()))
        return state.to_splat_model() if self.first else None

    def saved(self, path: Path | None) -> None:
        """See `OneRank.saved`: every rank knows what the run can be continued from."""
        self.team.checkpoint = None if path is None else str(path)

    def describe(self) -> dict[str, Any]:
        """See `OneRank.describe`."""
        return {"ranks": self.world, "gaussians": "copies" if self.shards is None else "shards"}


def checksum(value: Tensor) -> int:
    """A number of 64 bits that follows from the bits of a tensor and their order."""
    bits = value.detach().reshape(-1).to(torch.float32).view(torch.int32).to(torch.int64)
    places = torch.arange(1, len(bits) + 1, device=bits.device, dtype=torch.int64)
    return int((bits * (2 * places + 1)).sum()) + len(bits)


def ranks_of(team: Team | None, renderer: SplatRenderer, strategy: Any, loss_fn: Any, device: torch.device) -> OneRank:
    """The place of this process in a run.

    Gaussians are divided over ranks where gsplat draws them on CUDA; anywhere else every rank has all of them. A
    compiled loss is told which of the two it is.

    Args:
        team: the processes that train together; None: this one is alone.
        renderer: draws the gaussians.
        strategy: their densification.
        loss_fn: the loss function.
        device: where they are.
    """
    if team is None:
        return OneRank()
    shards = Shards(team) if Shards.suits(renderer, strategy, device) else None
    aware = isinstance(getattr(loss_fn, "ranks", None), Ranks)
    if aware and shards is not None and loss_fn.ranks.gaussians != "shards":
        loss_fn.ranks = Ranks(gaussians="shards")
    many = ManyRanks(team, shards, aware)
    held = "each holds a part of the gaussians" if shards is not None else "each holds all gaussians"
    many.notes = (f"{team.world} ranks train together, {held}",)
    if not aware:
        name = type(loss_fn).__name__
        many.notes += (f"`{name}` knows nothing of ranks: the loss is the mean of its values on each rank's own views",)
    return many
