"""What rules about masks and images ask of a program: regions, factors that are 0 outside them, and comparisons."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from ... import ast
from ...source import Source
from ...typed import Expr, TypedTerm
from ..functions import library
from ..structure import operands_first
from .context import Context
from .flow import STOPS

AVERAGES = frozenset({"mean", "std", "var", "median", "quantile", "smallest_mean"})
"""Reductions to which a value that is 0 outside a region is not the value of that region alone."""

COMPARING = frozenset({"psnr", "gradient_l1", "pearson_loss"})
"""Measures of two images that average over pixels."""

WINDOWED = frozenset({"ssim", "ms_ssim", "lpips"})
"""Measures that look at a pixel together with its neighbours, and reduce."""

MARKS = frozenset({"valid", "finite", "inside", "region"})
"""Builtins that say which pixels count."""

RENDERED, TARGET, MASK, ALPHA = "rendered", "target", "mask", "alpha"

NOTHING: frozenset[str] = frozenset()


class Comparison(NamedTuple):
    """A reduction of the difference between the render and the photograph.

    Attributes:
        term: the term that it is in.
        e: the reduction.
        r: its region.
        place: the value that the user wrote for it: `l1(masked)` for the mean inside.
        pairs: what is compared, render and photograph, in the order of the text.
    """

    term: TypedTerm
    e: Expr
    r: Expr
    place: Expr
    pairs: tuple[tuple[Expr, Expr], ...]


class Regions:
    """Answers about the regions of one program; each value is worked out once."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.places = context.places
        self.structure = context.structure
        self._reads: dict[int, frozenset[str]] = {}
        self._zero: dict[int, tuple[Expr, ...]] = {}

    def same(self, a: Expr, b: Expr) -> bool:
        """Whether two values are made in the same way."""
        return self.structure.key(a) == self.structure.key(b)

    def reads(self, e: Expr) -> frozenset[str]:
        """The inputs that a value is made of. Regions made of the mask read `mask`."""
        for node in operands_first(e, self._reads):
            own = NOTHING
            if node.op in ("input", "region") and node.value != "everywhere":
                name = str(node.value)
                own = frozenset({MASK if name in ("masked", "unmasked") else name})
            elif node.op == "extern":
                own = frozenset({f"{node.value.name}()"})
            self._reads[id(node)] = own.union(*(self._reads[id(a)] for a in node.args))
        return self._reads[id(e)]

    def left_out(self, e: Expr, r: Expr) -> bool:
        """Whether a reduction is over everything because nobody wrote a region."""
        if r.op != "region" or r.value != "everywhere":
            return False
        return r.source is self.context.report.hidden or (r.source is e.source and r.span == e.span)

    def zero_outside(self, e: Expr) -> tuple[Expr, ...]:
        """The regions outside of which a value is 0, as they stand in it."""
        for node in operands_first(e, self._zero):
            self._zero[id(node)] = self._zero_outside(node)
        return self._zero[id(e)]

    def _zero_outside(self, e: Expr) -> tuple[Expr, ...]:
        of = [self._zero[id(a)] for a in e.args]
        if is_factor(e):
            return (e,)
        if e.op == "mul":
            return (of[0] + of[1])[:8]
        if e.op in ("div", "neg", "component", "field"):
            return of[0]
        if e.op == "pow" and e.args[1].op == "const":
            return of[0] if e.args[1].value > 0 else ()
        if e.op in ("add", "sub"):
            return self._both(of[0], of[1])
        if e.op != "call":
            return ()
        if e.builtin.name == "where":
            condition, _, b = e.args
            if b.op == "const" and b.value == 0 and condition.type.kind.name == "region":
                return ((condition,) + of[1])[:8]
            return self._both(of[1], of[2])
        if len(e.args) == 1 and e.builtin.host is not None and e.builtin.name not in ("region", "finite"):
            try:
                return of[0] if e.builtin.host(0.0) == 0 else ()
            except (ArithmeticError, ValueError):
                return ()
        return ()

    def _both(self, a: tuple[Expr, ...], b: tuple[Expr, ...]) -> tuple[Expr, ...]:
        return tuple(x for x in a if any(self.same(x, y) for y in b))

    def counts(self, factor: Expr, e: Expr) -> bool:
        """Whether a factor says which pixels count, rather than being part of the value.

        `(x > 1) * (x - 1)` is a hinge: the comparison is of what is averaged.
        """
        nodes = list(factor.walk())
        called = {n.builtin.name for n in nodes if n.op == "call"}
        if called & {"bernoulli", "random_boxes"}:
            return False
        named = any(n.op == "region" or (n.op == "input" and n.type.kind.name == "region") for n in nodes)
        return named or bool(called & MARKS) or not (self.reads(factor) & self._others(factor, e))

    def _others(self, factor: Expr, e: Expr) -> frozenset[str]:
        """What a value reads beside one of its factors."""
        found: set[str] = set()
        seen: set[int] = set()
        stack = [e]
        while stack:
            node = stack.pop()
            if id(node) in seen or node is factor or (node.type.kind == factor.type.kind and self.same(node, factor)):
                continue
            seen.add(id(node))
            if node.op in ("input", "region"):
                found.add(str(node.value))
            stack.extend(node.args)
        return frozenset(found)

    # Comparisons of the render with the photograph

    def trained(self) -> Iterator[tuple[TypedTerm, Expr]]:
        """The values that gradient flows through on its way from a term, each once."""
        seen: set[int] = set()
        for term in self.context.live:
            stack = [term.value]
            while stack:
                e = stack.pop()
                if id(e) not in seen:
                    seen.add(id(e))
                    yield term, e
                    stack.extend(reversed(trained_args(e)))

    def comparisons(self) -> tuple[Comparison, ...]:
        """Every reduction that compares the render with the photograph, and is trained by it."""
        return self._comparisons

    @cached_property
    def _comparisons(self) -> tuple[Comparison, ...]:
        return tuple(self._compare())

    def _compare(self) -> Iterator[Comparison]:
        for term, e in self.trained():
            r = e.arg("r") if e.op == "call" and e.builtin.reduces and e.arg("over") is None else None
            pairs = tuple(self._pairs(e)) if r is not None else ()
            if r is not None and pairs:
                yield Comparison(term, e, r, self.places.of(e), pairs)

    def _pairs(self, e: Expr) -> Iterator[tuple[Expr, Expr]]:
        a, b = e.arg("a"), e.arg("b")
        if a is not None and b is not None:
            yield from self._pair(a, b)
        x = e.arg("x")
        if x is None or not {RENDERED, TARGET} <= self.reads(x):
            return
        seen: set[int] = set()
        stack = [x]
        while stack and len(seen) < 500:
            node = stack.pop()
            if id(node) in seen or not {RENDERED, TARGET} <= self.reads(node):
                continue
            seen.add(id(node))
            if node.op == "sub" or (node.op == "call" and node.builtin.name == "ssim_map"):
                yield from self._pair(node.args[0], node.args[1])
            stack.extend(reversed(trained_args(node)))

    def _pair(self, a: Expr, b: Expr) -> Iterator[tuple[Expr, Expr]]:
        for one, other in ((a, b), (b, a)):
            mine, its = self.reads(one), self.reads(other)
            if RENDERED in mine and TARGET not in mine and TARGET in its and RENDERED not in its:
                yield one, other

    # Texts

    def name(self, e: Expr) -> str:
        """The function that the user called for a value."""
        called = e.source.slice(e.span).partition("(")[0].strip()
        return called if called.isidentifier() else e.builtin.name if e.op == "call" else "this"

    def operands(self, e: Expr) -> dict[str, Expr]:
        """The operands of the call that made a value, as the user wrote it."""
        via = None if e.via is None else e.via.called(self.name(e)) or e.via
        if via is not None and via.prelude:
            return dict(via.args)
        if e.op == "call" and e.builtin.name == self.name(e):
            return dict(zip(e.names, e.args))
        return {}

    def comparing(self, e: Expr) -> bool:
        """Whether the call that made a value compares two operands."""
        function = library(self.name(e))
        return function is not None and function.comparing

    def call(self, e: Expr) -> ast.Call | None:
        """The call in the program's text that a value was made by."""
        texts = self.context.report.texts
        node = texts.node(e) if texts is not None else None
        return node if isinstance(node, ast.Call) else None

    def without(self, node: ast.Node, e: Expr, factor: Expr, source: Source) -> tuple[str, str] | None:
        """The text of a product without one of its factors, and that of the factor; ``source`` is that of the node."""
        parts = list(_factors(node, e))
        at = next((i for i, (_, value) in enumerate(parts) if self.same(value, factor)), None)
        if at is None or len(parts) < 2:
            return None
        texts = [source.slice(n.span) for n, _ in parts]
        removed = _bare(source, parts[at][0])
        rest = [_bare(source, n) for i, (n, _) in enumerate(parts) if i != at]
        return (rest[0] if len(rest) == 1 else " * ".join(t for i, t in enumerate(texts) if i != at)), removed


def trained_args(e: Expr) -> list[Expr]:
    """The operands through which gradient flows."""
    if e.op in ("lt", "le", "gt", "ge", "eq", "ne", "has") or (e.op == "call" and e.builtin.name in STOPS):
        return []
    if e.op == "call":
        return [a for name, a in zip(e.names, e.args) if name not in ("r", "c", "region", "to", "q")]
    return [e.args[0], e.args[2]] if e.op == "if" else list(e.args)


def is_factor(e: Expr) -> bool:
    """Whether a value is a region, or the complement of one written as `1 - r`."""
    if e.type.kind.name == "region":
        return not (e.op == "region" and e.value == "everywhere")
    return (
        e.op == "sub"
        and e.args[0].op == "const"
        and e.args[0].value == 1
        and e.args[1].type.kind.name == "region"
        and e.args[1].value != "everywhere"
    )


def strip(node: ast.Node) -> ast.Node:
    """A node without the brackets around it."""
    while isinstance(node, ast.Paren):
        node = node.value
    return node


def _bare(source: Source, node: ast.Node) -> str:
    inner = strip(node)
    return source.slice(inner.span)


def _factors(node: ast.Node, e: Expr) -> Iterator[tuple[ast.Node, Expr]]:
    """Factors of a product as written, with their values; a product behind a name is one factor."""
    stack: list[tuple[ast.Node, Expr]] = [(node, e)]
    while stack:
        at, value = stack.pop()
        inner = strip(at)
        if isinstance(inner, ast.Binary) and inner.op == "*" and value.op == "mul":
            stack.extend(((inner.right, value.args[1]), (inner.left, value.args[0])))
        else:
            yield at, value
