"""The typed program: names resolved, definitions inlined, defaults filled, every value with its type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .interval import Interval
from .source import Source, Span
from .types import Type

if TYPE_CHECKING:
    from .builtins.spec import Builtin


class Expr:
    """One value. ``op`` says how it is made:

    ``const`` (``value`` is a float, bool, string or tuple), ``param`` and ``input`` (``value`` is the name),
    ``region`` (``value`` is everywhere, masked or unmasked), ``neg not add sub mul div pow and or``,
    ``lt le gt ge eq ne``, ``if`` (then, condition, otherwise), ``component`` (``value`` is the index),
    ``call`` (``value`` is the builtin; ``names`` are the argument names, in step with ``args``) and ``error``.

    Values are shared: a ``let`` that is read twice is one object, so the tree is a graph.
    """

    __slots__ = ("args", "names", "op", "source", "span", "type", "value")

    def __init__(
        self,
        op: str,
        args: tuple[Expr, ...],
        type: Type,
        span: Span,
        source: Source,
        value: Any = None,
        names: tuple[str, ...] = (),
    ) -> None:
        self.op, self.args, self.type, self.span, self.source = op, args, type, span, source
        self.value, self.names = value, names

    @property
    def builtin(self) -> Builtin:
        """The record of a ``call``."""
        record: Builtin = self.value
        return record

    def arg(self, name: str) -> Expr | None:
        """The argument of a call with this name, or None where it was left out and has no default."""
        return self.args[self.names.index(name)] if name in self.names else None

    def walk(self) -> Iterator[Expr]:
        """This value and everything that it is made of, each once."""
        seen: set[int] = set()
        stack = [self]
        while stack:
            node = stack.pop()
            if id(node) not in seen:
                seen.add(id(node))
                yield node
                stack.extend(reversed(node.args))

    def operands_first(self) -> Iterator[Expr]:
        """Like `walk`, but what a value is made of comes before it.

        Sums and chains of ``let`` are as deep as they are long; whoever goes through them in this order, keeping
        results, never recurses.
        """
        seen: set[int] = set()
        stack: list[tuple[Expr, bool]] = [(self, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                yield node
            elif id(node) not in seen:
                seen.add(id(node))
                stack.append((node, True))
                stack.extend((a, False) for a in reversed(node.args))


class ParamInfo:
    """A parameter: its default, the values that it may take, and where it is declared."""

    __slots__ = ("default", "name", "range", "source", "span", "unit", "value")

    def __init__(
        self,
        name: str,
        unit: str,
        default: float | bool,
        value: float | bool,
        range: Interval,
        span: Span,
        source: Source,
    ) -> None:
        self.name, self.unit, self.default, self.value = name, unit, default, value
        self.range, self.span, self.source = range, span, source


class TypedTerm:
    """One term of the loss: it exists at the steps where ``when`` is true, always if there is no ``when``."""

    __slots__ = ("name", "source", "span", "value", "when")

    def __init__(self, name: str, value: Expr, when: Expr | None, span: Span, source: Source) -> None:
        self.name, self.value, self.when, self.span, self.source = name, value, when, span, source


class TypedProgram:
    """A checked program. ``params`` carry the values in force, overrides included."""

    __slots__ = ("docstring", "params", "source", "terms")

    def __init__(
        self, source: Source, docstring: str, params: dict[str, ParamInfo], terms: tuple[TypedTerm, ...]
    ) -> None:
        self.source, self.docstring, self.params, self.terms = source, docstring, params, terms
