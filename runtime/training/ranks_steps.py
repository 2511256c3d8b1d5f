"""What a training step asks of the place of its process, and the answers of a process that trains alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from ..data.base import SplatDataItem
from ..splat.model import SplatModel
from ..splat.state import SplatTrainingState
from . import guard
from .seeding import background_colors

if TYPE_CHECKING:
    from .ranks_shards import Shards

T = TypeVar("T")


class OneRank:
    """A process that trains alone.

    Attributes:
        rank: number of the process.
        world: how many there are.
        shards: how gaussians are divided; None: every rank has all of them.
        densification: what the random numbers of densification are seeded with, beside the step.
        reads_views: whether the densification reads the metadata of renders at a step.
        notes: what the reader should know of this arrangement.
    """

    rank = 0
    world = 1
    shards: Shards | None = None
    densification = "densification"
    reads_views: Callable[[int], bool]
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and shows."""
        return self.rank == 0

    def agree(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, if no rank has findings."""
        return work()

    def from_first(self, work: Callable[[], T]) -> T:
        """What ``work`` returns on rank 0, on all ranks."""
        return work()

    def connected(self) -> AbstractContextManager[None]:
        """While this lasts, the loss of another rank is a finding."""
        return contextlib.nullcontext()

    def strategy(self, strategy: Any) -> Any:
        """The densification strategy of this rank's gaussians."""
        return strategy if self.shards is None or strategy is None else self.shards.strategy(strategy)

    def begin(
        self, step: int, load: Callable[[], SplatDataItem], stop_requested: Callable[[], bool]
    ) -> SplatDataItem | None:
        """The views of a step; None if the run is to stop before it."""
        return None if stop_requested() else load()

    def background(self, kind: str, batch: int, seed: int, step: int, device: torch.device) -> Tensor:
        """`[B, 3]`, what the renders of a step are composited on."""
        return background_colors(kind, batch, seed, step, device)

    def part(self, loss: Tensor) -> Tensor:
        """What this rank has to descend of the loss that its loss function returned."""
        return loss

    def combine(
        self, loss: Tensor, state: SplatTrainingState, more: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, bool, bool]:
        """Make gradients complete after the backward pass.

        Args:
            loss: what `part` returned.
            state: the gaussians, with the gradients of this rank.
            more: what else is trained, by name; every rank has all of it.

        Returns:
            The loss of all ranks (detached), whether anything has a gradient, and whether loss and gaussians are
            finite.
        """
        return loss.detach(), loss.requires_grad, guard.is_finite(loss, state.params)

    def anywhere(self, rows: Tensor) -> Tensor:
        """`[N]` bool, the gaussians for which this is so on any rank."""
        return rows

    def views(self, info: dict[str, Any]) -> dict[str, Any]:
        """The metadata of a render, as if one process had rendered the views of all ranks."""
        return info

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row of the metrics, of all ranks."""
        return row

    def turns(self, views: int, load: Callable[[int], SplatDataItem]) -> Iterator[tuple[int, SplatDataItem, bool]]:
        """The held-out views that this rank renders: index, item, and whether it is the one to measure it."""
        for i in range(views):
            yield i, load(i), True

    def measured(
        self, values: dict[int, dict[str, float]], pictures: dict[str, bytes]
    ) -> tuple[dict[int, dict[str, float]], dict[str, bytes]]:
        """The measures of all views by their index, in order; and on rank 0 the pictures of all ranks by name."""
        return values, pictures

    def start(self, state: SplatTrainingState, identity: dict[str, Any]) -> None:
        """Make sure that all ranks start the same run, with the gaussians of rank 0 where each has all of them."""

    def check_equal(self, state: SplatTrainingState, step: int, more: Mapping[str, Tensor] | None = None) -> None:
        """Refuse to go on with ranks whose copies of gaussians, or of what else is trained, are no longer the same."""

    def collect(self, content: dict[str, Any], state: SplatTrainingState) -> dict[str, Any]:
        """The running state for a checkpoint; on other ranks than 0 it is not used."""
        return content

    def own(self, saved: dict[str, Any]) -> dict[str, Any]:
        """This rank's part of a checkpoint."""
        return saved

    def whole(self, state: SplatTrainingState) -> SplatModel | None:
        """All gaussians, on rank 0; None on the others."""
        return state.to_splat_model()

    def saved(self, path: Path | None) -> None:
        """A checkpoint was written."""

    def describe(self) -> dict[str, Any]:
        """For ``run.json``."""
        return {}
