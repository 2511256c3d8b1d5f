"""Gaussians divided over ranks: each draws, moves and splits its own; gsplat exchanges what cameras see."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..renderers.base import SplatRenderer
from ..renderers.gsplat_renderer import GsplatRenderer
from ..splat.model import PARAMETERS, SplatModel
from .config import training_error
from .ranks import Team

_NOT_ROWS = frozenset({"binoms"})  # a table of gsplat's MCMC strategy


class ShardedGsplat(GsplatRenderer):
    """`gsplat.rasterization` with ``distributed=True``, after Grendel (https://arxiv.org/abs/2406.18533).

    Every rank projects its own gaussians into the cameras of all ranks, the projections are exchanged, and every rank
    composites the images of its own cameras. All ranks must render at the same time as many images of the same size.
    ``radii`` and ``means2d`` of the payload are `[C, N, 2]` with the C cameras of all ranks and the N gaussians of
    this one.

    Args:
        like: the renderer whose settings it takes.
    """

    def __init__(self, like: GsplatRenderer) -> None:
        self.absgrad = False
        self.antialiased = like.antialiased
        self._rasterization = partial(like._rasterization, distributed=True)


class Shards:
    """The division of the gaussians: rank r starts with every world-th of them, from the r-th on.

    Args:
        team: the ranks.
    """

    def __init__(self, team: Team) -> None:
        self.team = team

    @staticmethod
    def suits(renderer: SplatRenderer, strategy: Any, device: torch.device) -> bool:
        """Whether gaussians can be divided: gsplat does so on CUDA, but not with absolute gradients."""
        absgrad = getattr(renderer, "absgrad", False) or getattr(strategy, "absgrad", False)
        return isinstance(renderer, GsplatRenderer) and device.type == "cuda" and not absgrad

    def renderer(self, whole: SplatRenderer) -> SplatRenderer:
        """What draws divided gaussians as ``whole`` draws all of them."""
        return ShardedGsplat(whole) if isinstance(whole, GsplatRenderer) else whole

    def strategy(self, whole: Any) -> Any:
        """A strategy whose limit on the number of gaussians is this rank's part of it."""
        own = copy.copy(whole)
        for name in ("cap_max", "max_gaussians"):
            limit = getattr(own, name, None)
            if isinstance(limit, int):
                setattr(own, name, (limit + self.team.world - 1 - self.team.rank) // self.team.world)
        return own

    def model(self, whole: SplatModel) -> SplatModel:
        """This rank's gaussians of the model at the start.

        Raises:
            LossError: RUN023, there are fewer gaussians than ranks.
        """
        if whole.num_gaussians < self.team.world:
            raise training_error(
                "RUN023",
                f"{whole.num_gaussians} gaussians cannot be divided over {self.team.world} ranks",
                help=("start with more points, or train with fewer processes",),
            )
        rows = slice(self.team.rank, None, self.team.world)
        return SplatModel(**{name: value[rows] for name, value in whole.parameters().items()})

    def gather(self, params: Mapping[str, Tensor]) -> SplatModel | None:
        """All gaussians on rank 0, in the order of ranks; None on the others."""
        mine = {name: params[name].detach().cpu() for name in PARAMETERS}
        parts = self.team.gather_first(mine)
        if parts is None:
            return None
        return SplatModel(**{name: torch.cat([part[name] for part in parts]) for name in PARAMETERS})

    def collect(self, content: Mapping[str, Any], rows: int) -> dict[str, Any] | None:
        """The running state of all ranks as that of one process, on rank 0; None on the others.

        Args:
            content: this rank's; tensors anywhere in it that have a row for each gaussian are joined, anything else
                is rank 0's.
            rows: how many gaussians this rank has.
        """
        parts = self.team.gather_first((_on_cpu(content), rows))
        if parts is None:
            return None
        counts = [count for _, count in parts]
        return {**join([part for part, _ in parts], counts), "shards": counts}

    def own(self, saved: dict[str, Any]) -> dict[str, Any]:
        """This rank's part of a checkpoint, that of any number of ranks."""
        total = len(saved["state"]["params"]["means"])
        counts = saved.get("shards")
        rank, world = self.team.rank, self.team.world
        if counts is not None and len(counts) == world and sum(counts) == total:
            rows = torch.arange(sum(counts[:rank]), sum(counts[: rank + 1]))  # each has what it had
        else:
            rows = torch.arange(rank, total, world)
        parts = ("state", "densification", "loss", "modules")
        return {**saved, **{name: take(saved[name], rows, total) for name in parts}}


def _has_rows(name: str, value: Any, rows: int) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows and name not in _NOT_ROWS


def join(parts: Sequence[Any], counts: Sequence[int], name: str = "") -> Any:
    """One nested value of those of all ranks: tensors with a row for each gaussian are joined, the rest is the first's.

    Args:
        parts: by rank; all of the same structure.
        counts: how many gaussians each rank has.
        name: the key under which they stand.
    """
    if all(isinstance(part, dict) for part in parts):
        return {key: join([part.get(key) for part in parts], counts, str(key)) for key in parts[0]}
    if all(isinstance(part, (list, tuple)) and len(part) == len(parts[0]) for part in parts):
        return type(parts[0])(join(list(items), counts, name) for items in zip(*parts))
    if all(_has_rows(name, part, count) for part, count in zip(parts, counts)):
        return torch.cat(list(parts))
    return parts[0]


def take(value: Any, rows: Tensor, total: int, name: str = "") -> Any:
    """The nested value with only those rows of every tensor that has a row for each of ``total`` gaussians."""
    if isinstance(value, dict):
        return {key: take(item, rows, total, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(take(item, rows, total, name) for item in value)
    return value[rows] if _has_rows(name, value, total) else value


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_on_cpu(item) for item in value)
    return value
