"""The typed program: names resolved, definitions inlined, defaults filled, every value with its type."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .interval import Interval
from .source import Source, Span
from .types import Facts, Kind, Type

if TYPE_CHECKING:
    from .builtins.spec import Builtin


class Expr:
    """One value. ``op`` says how it is made:

    ``const`` (``value`` is a float, bool, string or tuple), ``param`` and ``input`` (``value`` is the name),
    ``region`` (``value`` is everywhere, masked or unmasked), ``neg not add sub mul div pow and or``,
    ``lt le gt ge eq ne``, ``if`` (then, condition, otherwise), ``component`` (``value`` is the index),
    ``call`` (``value`` is the builtin; ``names`` are the argument names, in step with ``args``) and ``error``.

    Also ``has`` (``value`` are the names that must be there), ``size`` (``value`` is the letter of a dimension),
    ``memory`` (``value`` is the name; last step's or this step's value, detached), ``extern`` (``value`` is the
    declaration, ``names`` as in a call), ``field`` (``value`` names a field of the record in ``args``), ``over``
    (``value`` is sum or mean, ``names`` the variable; the list, and the value for each ``item``) and ``item``
    (``value`` is the variable).

    ``via`` says which definition gave the value, if one did: ``l1(masked)`` is a call of ``mean`` via ``l1``.

    Values are shared: a ``let`` that is read twice is one object, so the tree is a graph.
    """

    __slots__ = ("args", "names", "op", "source", "span", "type", "value", "via")

    def __init__(
        self,
        op: str,
        args: tuple[Expr, ...],
        type: Type,
        span: Span,
        source: Source,
        value: Any = None,
        names: tuple[str, ...] = (),
        via: Expansion | None = None,
    ) -> None:
        self.op, self.args, self.type, self.span, self.source = op, args, type, span, source
        self.value, self.names, self.via = value, names, via

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

    def operands_first(self, done: Container[int] = ()) -> Iterator[Expr]:
        """Like `walk`, but what a value is made of comes before it; what is done, by identity, is not entered again.

        Sums and chains of ``let`` are as deep as they are long; whoever goes through them in this order, keeping
        results, never recurses.
        """
        seen: set[int] = set()
        stack: list[tuple[Expr, bool]] = [(self, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                yield node
            elif id(node) not in seen and id(node) not in done:
                seen.add(id(node))
                if node.args:
                    stack.append((node, True))
                    stack += [(a, False) for a in reversed(node.args)]
                else:
                    yield node


class Expansion(NamedTuple):
    """One call of a definition that was expanded in place.

    Attributes:
        name: the definition.
        prelude: whether it is one of the language's own.
        args: the values of its parameters, defaults included.
        span: the call, in ``source``.
        source: the text of the call.
        inner: the call that is the whole body of the definition, where it was expanded too.
    """

    name: str
    prelude: bool
    args: Mapping[str, Expr]
    span: Span
    source: Source
    inner: Expansion | None = None

    def called(self, name: str) -> Expansion | None:
        """The expansion of a definition with this name: this one, or one that its whole body is."""
        at: Expansion | None = self
        while at is not None and at.name != name:
            at = at.inner
        return at


class InputInfo(NamedTuple):
    """An input that the program declares.

    Attributes:
        name: as declared; ``near.rendered`` for a field of a declared view.
        kind: what it looks like.
        range: what it can be.
        stage: STEP for numbers and flags that the host knows, else TENSOR.
        facts: what it means.
        optional: whether it may be missing.
        same: of a view, whether it shares this camera.
        span: the declaration, in ``source``.
        source: the text of the declaration.
    """

    name: str
    kind: Kind
    range: Interval
    stage: int
    facts: Facts
    optional: bool
    same: bool
    span: Span
    source: Source


class ExternInfo(NamedTuple):
    """A function that the host registers: its parameters as a builtin has them, its results by name ("" for one)."""

    name: str
    params: tuple[tuple[str, Kind | None, Facts, Interval, Expr | None], ...]
    results: tuple[tuple[str, Type], ...]
    frozen: bool
    span: Span
    source: Source


class MemoryInfo(NamedTuple):
    """A value that lasts from step to step: what it starts as, its new value, and when it is renewed."""

    name: str
    init: Expr
    update: Expr
    when: Expr | None
    type: Type
    span: Span
    source: Source


class ParamInfo:
    """A parameter: its default, the values that it may take, and where it is declared.

    ``choices`` are the texts that a mode may be; () for numbers and flags.
    """

    __slots__ = ("choices", "default", "name", "range", "source", "span", "unit", "value")

    def __init__(
        self,
        name: str,
        unit: str,
        default: float | bool | str,
        value: float | bool | str,
        range: Interval,
        span: Span,
        source: Source,
        choices: tuple[str, ...] = (),
    ) -> None:
        self.name, self.unit, self.default, self.value = name, unit, default, value
        self.choices = choices
        self.range, self.span, self.source = range, span, source


class TypedTerm:
    """One term of the loss: it exists at the steps where ``when`` is true, always if there is no ``when``.

    ``name`` is the whole name; of ``term tracking.colour`` the ``group`` is tracking, else "".
    """

    __slots__ = ("group", "name", "source", "span", "value", "when")

    def __init__(self, name: str, value: Expr, when: Expr | None, span: Span, source: Source, group: str = "") -> None:
        self.name, self.value, self.when, self.span, self.source = name, value, when, span, source
        self.group = group


class TypedProgram:
    """A checked program. ``params`` carry the values in force, overrides included.

    ``lets`` are the program's own named values, ``sources`` every text that it is made of, its own first.
    """

    __slots__ = ("docstring", "externs", "inputs", "lets", "memories", "params", "source", "sources", "terms")

    def __init__(
        self,
        source: Source,
        docstring: str,
        params: dict[str, ParamInfo],
        terms: tuple[TypedTerm, ...],
        inputs: dict[str, InputInfo] | None = None,
        lets: dict[str, Expr] | None = None,
        memories: dict[str, MemoryInfo] | None = None,
        externs: dict[str, ExternInfo] | None = None,
        sources: tuple[Source, ...] = (),
    ) -> None:
        self.source, self.docstring, self.params, self.terms = source, docstring, params, terms
        self.inputs, self.lets = inputs or {}, lets or {}
        self.memories, self.externs = memories or {}, externs or {}
        self.sources = sources or (source,)

    def values(self) -> list[Expr]:
        """What the program computes: the values of its terms, and what its memories start as and become."""
        memories = self.memories.values()
        return [t.value for t in self.terms] + [e for m in memories for e in (m.init, m.update)]

    def conditions(self) -> list[Expr]:
        """When terms exist and memories are renewed."""
        every = [*(t.when for t in self.terms), *(m.when for m in self.memories.values())]
        return [when for when in every if when is not None]

    @property
    def groups(self) -> tuple[str, ...]:
        """The term groups in order of their first term; () if the program has none."""
        return tuple(dict.fromkeys(t.group for t in self.terms if t.group))
