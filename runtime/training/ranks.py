"""The processes that train together: what they tell each other, and how the loss of one of them is noticed."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ...dsl.diagnostics import Diagnostic, LossError
from .config import training_error
from .ranks_watch import Watch

TIMEOUT = 600.0  # seconds that an operation may wait for a rank, which may be compiling or writing a checkpoint
# How gloo, NCCL and their store word an operation that failed because of another process.
_LOST = re.compile(r"gloo/|NCCL|ProcessGroup|TCPStore|Connection (closed|reset) by peer|Broken pipe")
_DETECT = 12.0  # seconds to find out who is gone, once an operation has failed

T = TypeVar("T")


class Team:
    """One process among those that train together.

    Every method but `speaks` and `lost` must be called by all of them, in the same order.

    Attributes:
        rank: number of this process, from 0.
        world: how many there are.
        watch: knows who is still there.
        step: the step that is under way, for messages.
        checkpoint: the last checkpoint, for messages.
    """

    _present: Team | None = None

    def __init__(self, rank: int, world: int, control: Any, watch: Watch) -> None:
        self.rank = rank
        self.world = world
        self.watch = watch
        self.step: int | None = None
        self.checkpoint: str | None = None
        self._control = control
        watch.report = self._report

    @classmethod
    def join(cls, address: str | None = None) -> Team:
        """The team of an initialised torch.distributed, in which this process takes part from now on.

        Args:
            address: host name of rank 0; what rank 0 calls itself if None.
        """
        rank, world = dist.get_rank(), dist.get_world_size()
        # A group of its own: these messages are small, on the CPU, and never meet those of the loss.
        control = dist.new_group(backend="gloo", timeout=timedelta(seconds=TIMEOUT))
        from torch.distributed import TCPStore  # type: ignore[attr-defined]  # absent where torch was built without

        told: list[Any] = [None]
        store: Any = None
        if rank == 0:
            host = address or os.environ.get("MASTER_ADDR") or socket.gethostname()
            store = TCPStore(host, 0, None, True, timedelta(seconds=20), wait_for_workers=False)
            told = [(host, store.port)]
        dist.broadcast_object_list(told, 0, group=control)
        if store is None:
            host, port = told[0]
            store = TCPStore(host, port, None, False, timedelta(seconds=20))
        team = cls(rank, world, control, Watch(store, rank, world))
        team.watch.announce()
        team.finish()  # all have
        team.watch.start()
        cls._present = team
        return team

    @classmethod
    @contextlib.contextmanager
    def present(cls) -> Iterator[Team | None]:
        """The team of this process while this lasts; None in a process that trains alone."""
        if cls._present is not None:
            yield cls._present
        elif dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            team = cls.join()
            try:
                yield team
            except LossError as error:
                team.leave(error)
                raise
            finally:
                team.close()
        else:
            yield None

    def close(self) -> None:
        """Take part no longer."""
        self.watch.close()
        Team._present = None

    # What they tell each other

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in their order; anything that can be pickled."""
        values: list[Any] = [None] * self.world
        with self.connected():
            dist.all_gather_object(values, value, group=self._control)
        return values

    def gather_first(self, value: T) -> list[T] | None:
        """The same on rank 0; None on the others."""
        values: list[Any] | None = [None] * self.world if self.rank == 0 else None
        with self.connected():
            dist.gather_object(value, values, 0, group=self._control)
        return values

    def from_first(self, value: T) -> T:
        """The value of rank 0, on all."""
        values = [value]
        with self.connected():
            dist.broadcast_object_list(values, 0, group=self._control)
        return values[0]

    def agree(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, if it succeeds on every rank.

        Raises:
            LossError: the findings of all ranks, on all of them; equal ones once.
        """
        result: Any = None
        failure: LossError | None = None
        try:
            result = work()
        except LossError as error:
            failure = error
        self.settle(failure)
        return result  # type: ignore[no-any-return]

    def settle(self, failure: LossError | None) -> None:
        """Raise on every rank what any of them gives; see `agree`."""
        findings = self.gather(None if failure is None else failure.diagnostics)
        merged = self._merged(findings)
        if merged:
            raise LossError(merged) from failure

    def joined(self, found: list[Diagnostic], wrong: bool) -> tuple[list[Diagnostic], bool]:
        """The findings of all ranks, equal ones once, on rank 0 (none on the others), and whether any is an error."""
        everyone = self.gather((found, wrong))
        merged = self._merged([findings for findings, _ in everyone]) if self.rank == 0 else []
        return merged, any(error for _, error in everyone)

    def finish(self) -> None:
        """Wait until all ranks have come as far as this."""
        self.gather(None)

    def _merged(self, findings: list[Any]) -> list[Diagnostic]:
        merged: dict[tuple[str, str], tuple[Diagnostic, list[int]]] = {}
        for rank, found in enumerate(findings):
            for diagnostic in found or ():
                merged.setdefault((diagnostic.code, diagnostic.message), (diagnostic, []))[1].append(rank)
        for diagnostic, ranks in merged.values():
            if len(ranks) < self.world:
                which = f"rank {ranks[0]}" if len(ranks) == 1 else "ranks " + ", ".join(map(str, ranks))
                diagnostic.notes = (*diagnostic.notes, f"this is what {which} of {self.world} found")
        return [diagnostic for diagnostic, _ in merged.values()]

    def numbers(self, *values: float) -> list[list[float]]:
        """Some numbers of every rank, in the order of ranks; cheaper than `gather`."""
        mine = torch.tensor(values, dtype=torch.float64)
        everyone = [torch.empty_like(mine) for _ in range(self.world)]
        with self.connected():
            dist.all_gather(everyone, mine, group=self._control)
        return [part.tolist() for part in everyone]

    def sum(self, values: Tensor) -> Tensor:
        """Replace a tensor by its sum over ranks, which is the same to the last bit on all of them."""
        with self.connected():
            dist.all_reduce(values, group=self._group(values))
        return values

    def gather_tensors(self, value: Tensor) -> list[Tensor]:
        """The tensors of all ranks, of equal shapes."""
        everyone = [torch.empty_like(value) for _ in range(self.world)]
        with self.connected():
            dist.all_gather(everyone, value.contiguous(), group=self._group(value))
        return everyone

    def share(self, value: Tensor) -> None:
        """Replace a tensor by that of rank 0."""
        with self.connected():
            dist.broadcast(value, 0, group=self._group(value))

    def _group(self, value: Tensor) -> Any:
        return self._control if value.device.type == "cpu" else None

    # Who is gone

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """Turns a connection that breaks while this lasts into a finding.

        Raises:
            LossError: RUN019, a rank is gone.
        """
        try:
            yield
        except LossError as error:
            raise (self.lost(error) or error) from error.__cause__
        except RuntimeError as error:
            found = self.lost(error)
            if found is None:
                raise
            raise found from error

    def lost(self, error: Exception) -> LossError | None:
        """The finding that a rank is gone, if that is behind an error; None otherwise."""
        if isinstance(error, LossError):
            if all(d.code != "RUN019" for d in error.diagnostics) or getattr(error, "settled", False):
                return None
            suspicious = True
        else:
            suspicious = isinstance(error, dist.DistError) or bool(_LOST.search(str(error)))
        gone = self.watch.identify(_DETECT if suspicious else 0.0)
        if not gone and not self.watch.ordered:
            if not suspicious:
                return None
            return self._finding(f"the connection to another rank broke{self._at()}", str(error).splitlines()[:1])
        return self._gone()

    def check(self) -> None:
        """Raise if it is known already that a rank is gone, or that this process is to end.

        Raises:
            LossError: RUN019.
        """
        if self.watch.gone or self.watch.ordered:
            self.watch.identify(_DETECT if not self.watch.gone else 0.0)
            raise self._gone()

    def _gone(self) -> LossError:
        for rank in self.watch.culprits():
            how = self.watch.gone[rank]
            return self._finding(f"rank {rank} of {self.world} {how.message}{self._at()}", how.notes)
        return self._finding(f"the run was ended by {self.watch.ordered}{self._at()}", [])

    def _finding(self, message: str, notes: Any) -> LossError:
        last = f"the last checkpoint is {self.checkpoint}" if self.checkpoint else "there is no checkpoint yet"
        help_ = ("the same command with `--resume` continues from there",) if self.checkpoint else ()
        error = training_error("RUN019", message, notes=(*notes, last), help=help_)
        error.settled = True  # type: ignore[attr-defined]
        return error

    def _at(self) -> str:
        return "" if self.step is None else f" at step {self.step}"

    def _report(self) -> LossError | None:
        """What the watch prints if this process has to be ended from outside."""
        error = self._gone()
        return error if self._first_left() else None

    def _first_left(self) -> bool:
        gone = self.watch.culprits()
        return all(rank in gone for rank in range(self.rank))

    # Who speaks

    def leave(self, error: LossError) -> bool:
        """Tell the others why this process ends; whether it is the one to print it, so that it is printed once."""
        if getattr(error, "settled", False) and any(d.code == "RUN019" for d in error.diagnostics):
            culprits, speaks = self.watch.culprits(), self._first_left()  # before the others have left
            self.watch.leave("lost" if culprits else "signal", culprits)
            return speaks
        texts = [f"{d.code}: {d.message}" for d in error.diagnostics]
        return self.watch.leave("failed", texts)
