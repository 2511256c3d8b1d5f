"""What a call can name: primitives, prelude definitions and the program's own definitions, seen alike."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .. import ast
from ..builtins import table
from ..builtins.spec import Builtin, ParamSpec, is_comparing
from ..diagnostics import Sink
from ..parse import parse
from ..source import Source

if TYPE_CHECKING:
    from ..typed import ExternInfo
    from .modules import Module

PRELUDE_PATH = Path(__file__).parents[2] / "grammar" / "prelude.loss"


LOSSES = ("tv", "edge_aware_smoothness", "lpips")
"""Losses whose names and parameters do not say so."""


class Function:
    """A callable of the language.

    Attributes:
        name: as called.
        params: name, whether it has a default, whether it is taken by keyword only, whether it takes any number.
        builtin: the record of a primitive, else None.
        definition: the syntax of a ``def``, else None; ``source`` is the text that it stands in, and ``module`` what
            the names in it mean.
        extern: the declaration of a function that the host registers, else None.
    """

    __slots__ = ("builtin", "comparing", "definition", "extern", "module", "name", "params", "source")

    def __init__(
        self,
        name: str,
        builtin: Builtin | None,
        definition: ast.Def | None,
        source: Source | None,
        module: Module | None = None,
        extern: ExternInfo | None = None,
    ) -> None:
        self.name, self.builtin, self.definition, self.source = name, builtin, definition, source
        self.module, self.extern = module, extern
        if extern is not None:
            self.params = tuple(
                ParamSpec(n, "value", None, None if d is None else "") for n, _, _, _, d in extern.params
            )
            self.comparing = False
        elif builtin is not None:
            self.params = builtin.parsed.params
            self.comparing = builtin.parsed.comparing
        else:
            assert definition is not None
            defaults = tuple((p.name.text, None if p.default is None else "") for p in definition.parameters)
            self.params = tuple(ParamSpec(n, "value", None, d) for n, d in defaults)
            self.comparing = is_comparing(defaults)

    @property
    def pairs(self) -> bool:
        """Whether it compares its first two arguments over its third, with defaults or without."""
        own = self.definition is not None and self.module is not None
        return self.comparing or (not own and [p.name for p in self.params[:3]] == ["a", "b", "r"])

    @property
    def loss(self) -> bool:
        """Whether it is one of the language's own losses, which are better when smaller."""
        own = self.definition is not None and self.module is not None
        if own or self.extern is not None or (self.builtin is not None and self.builtin.similarity):
            return False
        measures = self.pairs and (self.builtin is None or self.builtin.reduces)
        return measures or self.name.endswith(("_loss", "_consistency")) or self.name in LOSSES

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the parameters that are given by name and take a number."""
        if self.builtin is not None:
            return tuple(p.name for p in self.params if p.keyword_only and p.kind in ("host", "whole", "number"))
        if self.definition is None:
            return ()
        return tuple(p.name.text for p in self.definition.parameters if isinstance(p.default, ast.Number))

    @property
    def usage(self) -> str:
        """How to call it, for messages."""
        if self.comparing:
            forms = [f"{self.name}({operands})" for operands in ("", "r", "a, b", "a, b, r")]
            further = ", ".join(f"{p.name}=" for p in self.params[3:])
            return f"{', '.join(forms[:-1])} or {forms[-1]}" + (f", each also with {further}" if further else "")
        parts = []
        for p in self.params:
            shown = f"{p.name}=" if p.keyword_only else p.name
            if p.variadic:
                one = p.name.removesuffix("s")
                shown = f"{one}1, {one}2, ..."
            parts.append(f"[{shown}]" if p.default is not None else shown)
        return f"{self.name}({', '.join(parts)})"


@cache
def prelude() -> tuple[Source, dict[str, Function]]:
    """The prelude's text and its definitions by name."""
    source = Source(PRELUDE_PATH.read_text(encoding="utf-8"), "prelude.loss")
    sink = Sink()
    program = parse(source, sink)
    if sink.items:
        raise AssertionError(f"the prelude does not parse: {sink.items[0]!r}")
    definitions = [s for s in program.statements if isinstance(s, ast.Def)]
    return source, {s.name.text: Function(s.name.text, None, s, source) for s in definitions}


@cache
def primitive(name: str) -> Function | None:
    """The primitive with this name, or None."""
    record = table().get(name)
    return None if record is None else Function(name, record, None, None)


def library(name: str) -> Function | None:
    """The primitive or prelude definition with this name, or None."""
    return primitive(name) or prelude()[1].get(name)


def library_names() -> list[str]:
    """Names of everything that can be called without declaring it."""
    return [*table(), *prelude()[1]]
