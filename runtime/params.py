"""The parameters of a loss, changed while training."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

from ..dsl.check.params import set_param
from ..dsl.check.report import Reporter
from ..dsl.diagnostics import LossError, Sink
from ..dsl.source import Source
from ..dsl.typed import TypedProgram


class Params(MutableMapping[str, "float | bool | str"]):
    """The parameters of a loss by name. An assignment is checked against the declared range and takes effect on the
    next call; only a change from or to 0 needs another graph."""

    def __init__(self, program: TypedProgram) -> None:
        self._program = program

    def __getitem__(self, name: str) -> float | bool | str:
        return self._program.params[name].value

    def __setitem__(self, name: str, value: float | bool | str) -> None:
        sink = Sink()
        source = Source(repr(value), f"<param {name}>")
        set_param(self._program.params, name, value, Reporter(sink, None), source)
        if sink.items:
            raise LossError(sink.sorted())

    def __delitem__(self, name: str) -> None:
        self[name] = self._program.params[name].default

    def __iter__(self) -> Iterator[str]:
        return iter(self._program.params)

    def __len__(self) -> int:
        return len(self._program.params)

    def __repr__(self) -> str:
        return f"Params({dict(self)!r})"
