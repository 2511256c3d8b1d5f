"""State across steps: the values of a program's memories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.typed import MemoryInfo, TypedProgram


class Memories(Mapping[str, Tensor]):
    """What each memory is now, detached; one update a step."""

    def __init__(self, program: TypedProgram) -> None:
        self.program = program
        self._now: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}
        self._step: dict[str, int] = {}

    def __getitem__(self, name: str) -> Tensor:
        return self._now[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now)

    def __len__(self) -> int:
        return len(self._now)

    def last(self, name: str, step: int) -> Tensor | None:
        """What a memory was before this step; None before its first use."""
        return self._before.get(name) if self._step.get(name) == step else self._now.get(name)

    def start(self, name: str, value: Tensor) -> None:
        """What a memory is at its first use."""
        self._now[name] = value.detach().clone()  # it may be a parameter itself, which optimisers change in place

    def renew(self, name: str, step: int, value: Tensor) -> None:
        """The value after this step; a second call at the same step changes nothing."""
        if self._step.get(name) != step:
            self._before[name] = self._now[name]
            self._now[name] = value.detach().clone()
            self._step[name] = step

    def per_gaussian(self) -> list[str]:
        """The memories that have one row for each gaussian."""
        return [name for name, info in self.program.memories.items() if is_per_gaussian(info)]

    def take(self, rows: Tensor) -> None:
        """Follow the gaussians: ``rows`` `[N]` says for each of them which row it was before."""
        for name in self.per_gaussian():
            for values in (self._now, self._before):
                if name in values:
                    values[name] = values[name][rows.to(values[name].device)]

    def check(self, name: str, value: Tensor, count: int) -> None:
        """Refuse a memory that did not follow its gaussians.

        Raises:
            LossError: BND012, it has another number of rows than there are gaussians.
        """
        if len(value) != count:
            info = self.program.memories[name]
            message = f"the memory `{name}` has {len(value)} gaussians, but the state has {count}"
            help_ = ["after adding or removing gaussians call `loss.on_densification(rows)`, with each one's old row"]
            raise LossError([Diagnostic("BND012", message, info.source, info.span, help=help_)])

    def state_dict(self) -> dict[str, Any]:
        """The values, and the step at which each was renewed last."""
        return {
            name: {"value": value, "before": self._before.get(name), "step": self._step.get(name)}
            for name, value in self._now.items()
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave; a memory that the program no longer has is left out."""
        self._now, self._before, self._step = {}, {}, {}
        for name, entry in saved.items():
            if name not in self.program.memories:
                continue
            self._now[name] = entry["value"]
            if entry["before"] is not None:
                self._before[name] = entry["before"]
            if entry["step"] is not None:
                self._step[name] = int(entry["step"])


def is_per_gaussian(info: MemoryInfo) -> bool:
    """Whether a memory has one row for each gaussian of the render."""
    kind = info.type.kind
    return not kind.view and (kind.layout == "gaussians" or kind.layout.startswith("N "))


def filled(value: Tensor, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """A value in the shape that a memory has."""
    value = value.to(device=like.device, dtype=like.dtype)
    return value.expand(shape).clone() if tuple(value.shape) != shape else value


__all__ = ["Memories", "filled", "is_per_gaussian"]
