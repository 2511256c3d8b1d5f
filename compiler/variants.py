"""What a program becomes: parts of its variants, the key of a graph, and an account of how many there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .frames import mark, prepare
from .gradients import Made
from .ir import Graph
from .lower import HostSlot
from .numbers import Numbers
from .specialise import Facts


class Stats:
    """What was compiled so far.

    Attributes:
        predicted: graphs that the calls so far should have needed: one per variant, image size class, dtype, device
            and pattern of inputs that carry gradients. What is a kernel alone has one for all sizes.
        graphs: graphs that were handed to the backend, and kernels that stand for one.
        graph_breaks: places where torch had to leave the graph.
        compile_seconds: time that first calls took, compilation included.
    """

    def __init__(self) -> None:
        self.predicted = 0
        self.graphs = 0
        self.graph_breaks = 0
        self.compile_seconds = 0.0

    @property
    def recompiles(self) -> int:
        """Graphs beyond the predicted ones: a value that should not have mattered did."""
        return max(0, self.graphs - self.predicted)

    def __repr__(self) -> str:
        return (
            f"Stats(graphs={self.graphs}, predicted={self.predicted}, recompiles={self.recompiles}, "
            f"graph_breaks={self.graph_breaks}, compile_seconds={self.compile_seconds:.1f})"
        )


class Key(NamedTuple):
    """Everything that decides which graph a call needs. The number of gaussians is not part of it.

    ``size`` is () for what runs on images of any size.
    """

    facts: Facts
    part: str
    size: tuple[Any, ...]
    dtype: torch.dtype
    device: torch.device
    gradients: tuple[bool, ...]


class Part(NamedTuple):
    """A graph of a variant: the numbers of its host, and its inputs with the spaces that they have."""

    graph: Graph
    numbers: Numbers
    names: tuple[str, ...]
    spaces: tuple[str, ...]

    @property
    def slots(self) -> tuple[HostSlot, ...]:
        """What the numbers are, in their order."""
        return self.numbers.slots


class Variant(NamedTuple):
    """What evaluates a part: from its inputs and the numbers of the host.

    ``wanted`` are the inputs whose gradients it returns along. Without any, ``tracked`` says that autograd has to
    watch it.
    """

    run: Callable[[Sequence[Tensor], Sequence[float]], Made]
    part: Part
    terms: tuple[str, ...]
    wanted: tuple[int, ...] = ()
    tracked: bool = False


class Result(NamedTuple):
    """One evaluation: the total (0-d), the raw term values `[T]` in the order of ``names``, empty regions, outputs."""

    total: Tensor
    values: Tensor
    names: tuple[str, ...]
    empty_regions: Tensor
    outputs: dict[str, Tensor]


class GraphRun:
    """Calls a graph: with the numbers of the host as a tensor, and the open dimensions of its inputs marked.

    Args:
        call: the compiled function, of the inputs and the numbers.
        dynamic: the open dimensions of each input.
        detached: whether inputs are passed without their gradients.
    """

    def __init__(self, call: Callable[..., Any], dynamic: tuple[tuple[int, ...], ...], detached: bool) -> None:
        self.call, self.dynamic, self.detached = call, dynamic, detached
        self._compiled = False

    def __call__(self, bound: Sequence[Tensor], numbers: Sequence[float]) -> Made:
        """What the graph returns."""
        like = reference(bound)
        host = torch.tensor(numbers or [0.0], dtype=like.dtype)
        if like.device.type != "cpu":
            host = host.pin_memory().to(like.device, non_blocking=True)
        if not self.detached:
            args = [prepare(t, d) for t, d in zip(bound, self.dynamic)]
        else:
            args = [t.detach() for t in bound]
            if not self._compiled:  # marks count when a graph is made
                args = [mark(t, d) for t, d in zip(args, self.dynamic)]
                self._compiled = True
        if torch.is_autocast_enabled(like.device.type):
            with torch.autocast(like.device.type, enabled=False):
                return Made(*self.call(*args, host))
        return Made(*self.call(*args, host))


def reference(bound: Sequence[Tensor]) -> Tensor:
    """The input whose dtype and device the graph has."""
    return next((t for t in bound if t.is_floating_point()), bound[0])
