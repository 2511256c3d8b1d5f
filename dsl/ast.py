"""The syntax tree: one class per grammar rule, every node with the span of its text.

Plain classes with slots, not dataclasses: building thirty dataclasses would cost a tenth of the linter's start-up.
Nodes are immutable by convention. Equality compares structure and ignores spans.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from .source import Span


class Node:
    """Base of all nodes."""

    __slots__ = ("span",)
    fields: ClassVar[tuple[str, ...]] = ()
    span: Span

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(getattr(self, f) == getattr(other, f) for f in self.fields)

    def __hash__(self) -> int:
        return hash((type(self).__name__, *(getattr(self, f) for f in self.fields)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{f}={getattr(self, f)!r}' for f in self.fields)})"

    def children(self) -> Iterator[Node]:
        """The nodes directly below this one, in the order of the text."""
        for field in self.fields:
            value = getattr(self, field)
            if isinstance(value, Node):
                yield value
            elif isinstance(value, tuple):
                yield from (item for item in value if isinstance(item, Node))


class Ident(Node):
    """A name as written."""

    __slots__ = ("text",)
    fields = ("text",)

    def __init__(self, text: str, span: Span) -> None:
        self.text, self.span = text, span


# Expressions


class Number(Node):
    """A number; ``text`` keeps the spelling (``7_000``)."""

    __slots__ = ("text", "value")
    fields = ("value",)

    def __init__(self, value: float, text: str, span: Span) -> None:
        self.value, self.text, self.span = value, text, span


class Constant(Node):
    """``inf``, ``pi``, ``true`` or ``false``."""

    __slots__ = ("name",)
    fields = ("name",)

    def __init__(self, name: str, span: Span) -> None:
        self.name, self.span = name, span


class String(Node):
    """A quoted string; legal only where a file or a mode is named."""

    __slots__ = ("value",)
    fields = ("value",)

    def __init__(self, value: str, span: Span) -> None:
        self.value, self.span = value, span


class Name(Node):
    """A reference to a value."""

    __slots__ = ("id",)
    fields = ("id",)

    def __init__(self, id: str, span: Span) -> None:
        self.id, self.span = id, span


class Paren(Node):
    """An expression in brackets; kept so that the tree is one to one with the text."""

    __slots__ = ("value",)
    fields = ("value",)

    def __init__(self, value: Expr, span: Span) -> None:
        self.value, self.span = value, span


class Tuple(Node):
    """``(a, b)``: legal only as an argument."""

    __slots__ = ("items",)
    fields = ("items",)

    def __init__(self, items: tuple[Expr, ...], span: Span) -> None:
        self.items, self.span = items, span


class Keyword(Node):
    """``name=value`` in a call."""

    __slots__ = ("name", "value")
    fields = ("name", "value")

    def __init__(self, name: Ident, value: Expr, span: Span) -> None:
        self.name, self.value, self.span = name, value, span


class Comprehension(Node):
    """``value for variable in items``: the only argument of a call of ``sum`` or ``mean``."""

    __slots__ = ("items", "value", "variable")
    fields = ("value", "variable", "items")

    def __init__(self, value: Expr, variable: Ident, items: Expr, span: Span) -> None:
        self.value, self.variable, self.items, self.span = value, variable, items, span


class Call(Node):
    """A call; positional arguments come first (the parser rejects any other order)."""

    __slots__ = ("args", "function", "keywords")
    fields = ("function", "args", "keywords")

    def __init__(self, function: Ident, args: tuple[Expr, ...], keywords: tuple[Keyword, ...], span: Span) -> None:
        self.function, self.args, self.keywords, self.span = function, args, keywords, span


class Field(Node):
    """``value.name``: a field of a record or a component."""

    __slots__ = ("name", "value")
    fields = ("value", "name")

    def __init__(self, value: Expr, name: Ident, span: Span) -> None:
        self.value, self.name, self.span = value, name, span


class Unary(Node):
    """``-x`` or ``not x``."""

    __slots__ = ("op", "operand")
    fields = ("op", "operand")

    def __init__(self, op: str, operand: Expr, span: Span) -> None:
        self.op, self.operand, self.span = op, operand, span


class Binary(Node):
    """``+ - * / ^ and or``; ``**`` is stored as ``^``."""

    __slots__ = ("left", "op", "right")
    fields = ("op", "left", "right")

    def __init__(self, op: str, left: Expr, right: Expr, span: Span) -> None:
        self.op, self.left, self.right, self.span = op, left, right, span


class Compare(Node):
    """``< <= > >= == !=``; never chained."""

    __slots__ = ("left", "op", "right")
    fields = ("op", "left", "right")

    def __init__(self, op: str, left: Expr, right: Expr, span: Span) -> None:
        self.op, self.left, self.right, self.span = op, left, right, span


class Conditional(Node):
    """``then if condition else otherwise``."""

    __slots__ = ("condition", "otherwise", "then")
    fields = ("then", "condition", "otherwise")

    def __init__(self, then: Expr, condition: Expr, otherwise: Expr, span: Span) -> None:
        self.then, self.condition, self.otherwise, self.span = then, condition, otherwise, span


Expr = (
    Number
    | Constant
    | String
    | Name
    | Paren
    | Tuple
    | Call
    | Comprehension
    | Field
    | Unary
    | Binary
    | Compare
    | Conditional
)

# Kinds, as written in `input` and `extern`


class Range(Node):
    """``[lo, hi]``, ``(lo, hi]`` ...: an interval with open or closed ends."""

    __slots__ = ("hi", "hi_open", "lo", "lo_open")
    fields = ("lo", "hi", "lo_open", "hi_open")

    def __init__(self, lo: Expr, hi: Expr, lo_open: bool, hi_open: bool, span: Span) -> None:
        self.lo, self.hi, self.lo_open, self.hi_open, self.span = lo, hi, lo_open, hi_open, span


class Bound(Node):
    """``>= lo`` or ``> lo`` after a parameter's default."""

    __slots__ = ("op", "value")
    fields = ("op", "value")

    def __init__(self, op: str, value: Expr, span: Span) -> None:
        self.op, self.value, self.span = op, value, span


class Choices(Node):
    """``in {"a", "b"}`` after a parameter's default."""

    __slots__ = ("items",)
    fields = ("items",)

    def __init__(self, items: tuple[Expr, ...], span: Span) -> None:
        self.items, self.span = items, span


class KindExpr(Node):
    """``image``, ``depth[inverse, relative]``, ``[B H W 16]`` (name is None) or ``list of [C Y X]``.

    ``attributes`` holds the words of the bracket list as written, ``element`` the kind after ``of``.
    """

    __slots__ = ("attributes", "element", "name", "range")
    fields = ("name", "attributes", "element", "range")

    def __init__(
        self,
        name: Ident | None,
        attributes: tuple[Ident, ...],
        element: KindExpr | None,
        range: Range | None,
        span: Span,
    ) -> None:
        self.name, self.attributes, self.element, self.range, self.span = name, attributes, element, range, span


# Statements


class Docstring(Node):
    """The first statement, if it is a triple-quoted text."""

    __slots__ = ("text",)
    fields = ("text",)

    def __init__(self, text: str, span: Span) -> None:
        self.text, self.span = text, span


class Param(Node):
    """``param NAME [: unit] = DEFAULT [limits]``."""

    __slots__ = ("default", "limits", "name", "unit")
    fields = ("name", "unit", "default", "limits")

    def __init__(
        self, name: Ident, unit: Ident | None, default: Expr, limits: Range | Bound | Choices | None, span: Span
    ) -> None:
        self.name, self.unit, self.default, self.limits, self.span = name, unit, default, limits, span


class Input(Node):
    """``input NAME: KIND [?]``."""

    __slots__ = ("kind", "name", "optional")
    fields = ("name", "kind", "optional")

    def __init__(self, name: tuple[Ident, ...], kind: KindExpr, optional: bool, span: Span) -> None:
        self.name, self.kind, self.optional, self.span = name, kind, optional, span


class Let(Node):
    """``let NAME = EXPR``."""

    __slots__ = ("name", "value")
    fields = ("name", "value")

    def __init__(self, name: Ident, value: Expr, span: Span) -> None:
        self.name, self.value, self.span = name, value, span


class Parameter(Node):
    """A parameter of a ``def``."""

    __slots__ = ("default", "name")
    fields = ("name", "default")

    def __init__(self, name: Ident, default: Expr | None, span: Span) -> None:
        self.name, self.default, self.span = name, default, span


class Def(Node):
    """``def NAME(parameters) = EXPR``."""

    __slots__ = ("body", "name", "parameters")
    fields = ("name", "parameters", "body")

    def __init__(self, name: Ident, parameters: tuple[Parameter, ...], body: Expr, span: Span) -> None:
        self.name, self.parameters, self.body, self.span = name, parameters, body, span


class Use(Node):
    """``use "path" (names)``; ``names`` is None when there is no list."""

    __slots__ = ("names", "path")
    fields = ("path", "names")

    def __init__(self, path: String, names: tuple[Ident, ...] | None, span: Span) -> None:
        self.path, self.names, self.span = path, names, span


class Extern(Node):
    """``extern NAME(kinds) -> KIND [frozen]``.

    ``arguments`` pairs an optional name with a kind or, for ``name=default``, an expression; ``results`` pairs a
    name (None for a single result) with a kind; ``word`` is the trailing word.
    """

    __slots__ = ("arguments", "name", "results", "word")
    fields = ("name", "arguments", "results", "word")

    def __init__(
        self,
        name: Ident,
        arguments: tuple[tuple[Ident | None, KindExpr | Expr], ...],
        results: tuple[tuple[Ident | None, KindExpr], ...],
        word: Ident | None,
        span: Span,
    ) -> None:
        self.name, self.arguments, self.results, self.word, self.span = name, arguments, results, word, span


class Memory(Node):
    """``memory NAME = INIT then EXPR [when COND]``."""

    __slots__ = ("init", "name", "update", "when")
    fields = ("name", "init", "update", "when")

    def __init__(self, name: Ident, init: Expr, update: Expr, when: Expr | None, span: Span) -> None:
        self.name, self.init, self.update, self.when, self.span = name, init, update, when, span


class Term(Node):
    """``term NAME = EXPR [when COND]``; a dotted name has two parts, group and term."""

    __slots__ = ("name", "value", "when")
    fields = ("name", "value", "when")

    def __init__(self, name: tuple[Ident, ...], value: Expr, when: Expr | None, span: Span) -> None:
        self.name, self.value, self.when, self.span = name, value, when, span


class Bare(Node):
    """An expression on its own: the single term ``loss``."""

    __slots__ = ("value", "when")
    fields = ("value", "when")

    def __init__(self, value: Expr, when: Expr | None, span: Span) -> None:
        self.value, self.when, self.span = value, when, span


Statement = Docstring | Param | Input | Let | Def | Use | Extern | Memory | Term | Bare


class Program(Node):
    """A whole file: the statements that parsed, in order."""

    __slots__ = ("statements",)
    fields = ("statements",)

    def __init__(self, statements: tuple[Statement, ...], span: Span) -> None:
        self.statements, self.span = statements, span
