"""How the processes that hold the parts of one batch talk to each other: sums, gathered rows, small host messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import count
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.source import Source

CHANNELS: dict[int, Channel] = {}
"""Channels by their number: graphs name them."""

_numbers = count(1)


class Channel:
    """The ranks of one process group.

    Messages of the host go through a gloo group of its own where the group itself is of a device, so that no step waits
    for the device.

    Args:
        group: the process group; None: the default one.
        timeout: how long a host message waits for the other ranks, in seconds.

    Attributes:
        rank, size: which of how many.
        rows: for each of "images" and "gaussians", how many every rank has at the present step.
        number: its key in `CHANNELS`.
    """

    def __init__(self, group: Any = None, timeout: float = 600.0) -> None:
        # None stays None: a reference to the default group would keep it until Python itself ends, which aborts then.
        self.group = group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self.host = self.group
        if "gloo" not in str(dist.get_backend(self.group)):  # all ranks come here: the loss is called by all of them
            ranks = dist.get_process_group_ranks(dist.group.WORLD if group is None else group)
            self.host = dist.new_group(ranks, timeout=timedelta(seconds=timeout), backend="gloo")
        self.rows: dict[str, list[int]] = {}
        self.number = next(_numbers)
        CHANNELS[self.number] = self

    def start(self, layout: str) -> int:
        """How many images or gaussians the ranks before this one have."""
        return sum(self.rows.get(layout, [0])[: self.rank])

    def tell(self, numbers: Sequence[int]) -> list[list[int]]:
        """What every rank says: a list of whole numbers of one length, by rank. No device takes part."""
        own = torch.tensor(list(numbers), dtype=torch.int64)
        every = [torch.empty_like(own) for _ in range(self.size)]
        self._try(lambda: dist.all_gather(every, own, group=self.host))
        return [t.tolist() for t in every]

    def tell_text(self, text: str) -> list[str]:
        """The same of a text of any length."""
        every: list[Any] = [None] * self.size
        self._try(lambda: dist.all_gather_object(every, text, group=self.host))
        return [str(t) for t in every]

    def total(self, x: Tensor) -> Tensor:
        """The sum over ranks of tensors of one shape."""
        made = x.detach().clone(memory_format=torch.contiguous_format)
        self._try(lambda: dist.all_reduce(made, group=self.group))
        return made

    def largest(self, x: Tensor) -> Tensor:
        """The elementwise largest over ranks of tensors of one shape."""
        made = x.detach().clone(memory_format=torch.contiguous_format)
        self._try(lambda: dist.all_reduce(made, op=dist.ReduceOp.MAX, group=self.group))
        return made

    def gathered(self, parts: Sequence[Tensor]) -> list[tuple[Tensor, int]]:
        """For each tensor the rows of all ranks in their order, and at which row those of this rank begin.

        Raises:
            LossError: RUN018, they differ in more than the number of rows.
        """
        shapes = self.tell([n for x in parts for n in (x.dim(), *x.shape, *[0] * (8 - x.dim()))])
        found = []
        for i, x in enumerate(parts):
            own = [s[9 * i + 1 : 9 * i + 1 + s[9 * i]] for s in shapes]
            if any(s[1:] != own[0][1:] for s in own):
                sizes = ", ".join(f"{s} on rank {r}" for r, s in enumerate(own))
                raise disagreement(
                    f"the ranks have values of different sizes: {sizes}",
                    "something in this loss looks at all images at once, such as a quantile: render the views of one "
                    "step at one size",
                )
            most = max(s[0] for s in own)
            padded = x.detach().new_zeros((most, *x.shape[1:]))
            padded[: len(x)] = x.detach()
            every = [torch.empty_like(padded) for _ in range(self.size)]
            self._try(lambda every=every, padded=padded: dist.all_gather(every, padded, group=self.group))  # type: ignore[misc]
            rows = torch.cat([e[: s[0]] for e, s in zip(every, own)])
            found.append((rows, sum(s[0] for s in own[: self.rank])))
        return found

    def _try(self, exchange: Callable[[], object]) -> None:
        try:
            exchange()
        except RuntimeError as error:  # torch's own error for this is one
            self._gone(error)

    def _gone(self, error: Exception) -> NoReturn:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise LossError(
            [
                Diagnostic(
                    "RUN019",
                    f"rank {self.rank} of {self.size} no longer reaches the others",
                    Source("", "<ranks>"),
                    None,
                    notes=[f"torch.distributed says: {reason}"],
                    help=[
                        "see what the other ranks printed; restart all of them, and continue from the last checkpoint",
                        "a loss under torch.distributed is called by every rank at every step; to evaluate it on one "
                        "rank, write `with loss_fn.alone():` around the call",
                    ],
                )
            ]
        ) from error


def disagreement(message: str, *help_: str, notes: Sequence[str] = ()) -> LossError:
    """The error that the ranks do not fit together."""
    return LossError([Diagnostic("RUN018", message, Source("", "<ranks>"), None, notes=list(notes), help=list(help_))])
