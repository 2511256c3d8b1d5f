"""Sums that nothing divides, weights that are applied twice, terms that are there twice."""

from __future__ import annotations

from collections.abc import Iterator

from ...diagnostics import Applicability, Edit, Fix, Label
from ...source import Source, Span
from ...typed import Expr, TypedTerm
from .context import Context
from .flow import STOPS, same
from .parts import MOST
from .places import Places

COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
GROWS = {
    "pixels": ("B * H * W", "another resolution changes how many there are, and the weight with it"),
    "gaussians": ("N", "densification changes how many there are, and the weight with it"),
}


def check_sums(context: Context) -> None:
    """RED001 for a sum over pixels or gaussians that reaches a term with nothing to divide it."""
    if not any(_over_all(e) for _, e in context.values()):
        return
    places, sizes = context.places, _Sizes()
    seen: set[int] = set()
    for term in context.live:
        sizes.enter(term.value)
        stack = [term.value]
        while stack:
            e = stack.pop()
            if id(e) in seen:
                continue
            seen.add(id(e))
            if _over_all(e):
                if not sizes.shared_out(e.args[0]):
                    _sum(context, places, term, e)
            else:
                stack.extend(reversed(sizes.undivided(e)))


def _over_all(e: Expr) -> bool:
    return e.op == "call" and e.builtin.name == "sum" and "over" not in e.names and e.args[0].type.kind.layout in GROWS


class _Sizes:
    """Which values hold a size, and which are divided by one."""

    def __init__(self) -> None:
        self._counts: dict[int, bool] = {}
        self._measures: dict[int, bool] = {}
        self._shared: dict[int, bool] = {}
        self._divides: dict[int, bool] = {}

    def enter(self, root: Expr) -> None:
        """Work it out for a value and what it is made of."""
        for e in root.operands_first(self._divides):
            counts = e.op == "size" or (e.op == "call" and e.builtin.name == "sum")
            clock = e.op == "input" and e.value in ("step", "max_steps", "progress")
            measures = counts or e.op in ("memory", "extern", "over") or (e.op == "input" and not clock)
            divided = e.op == "div"
            self._counts[id(e)] = counts or any(self._counts[id(a)] for a in e.args)
            self._measures[id(e)] = measures or any(self._measures[id(a)] for a in e.args)
            shared, divides = ((m[id(e.args[1])] if divided else False) for m in (self._counts, self._measures))
            self._shared[id(e)] = shared or any(self._shared[id(a)] for a in e.args)
            self._divides[id(e)] = divides or any(self._divides[id(a)] for a in e.args)

    def shared_out(self, e: Expr) -> bool:
        """Whether a value is divided by a number of values or by their sum: the sum of shares is 1."""
        return self._shared[id(e)]

    def undivided(self, e: Expr) -> tuple[Expr, ...]:
        """The operands whose size is that of the result: not what is divided, compared or detached."""
        if e.op in COMPARISONS or e.op in ("region", "memory"):
            return ()
        if e.op == "div":
            return () if self._measures[id(e.args[1])] else e.args[:1]
        if e.op == "mul":
            left, right = e.args
            return tuple(a for a, other in ((left, right), (right, left)) if not self._divides[id(other)])
        if e.op == "call":
            if e.builtin.name in STOPS:
                return ()
            if e.builtin.parsed.params and e.builtin.parsed.params[0].kind == "condition":
                return e.args[1:]
        return e.args


def _sum(context: Context, places: Places, term: TypedTerm, e: Expr) -> None:
    x = e.arg("x")
    assert x is not None
    what = x.type.kind.layout
    count, effect = GROWS[what]
    source, span = places.at(e)
    fixes = []
    if source is context.program.source and source.text.startswith("sum(", e.span.start) and source is e.source:
        word = Span(e.span.start, e.span.start + len("sum"))
        fixes = [Fix("take the `mean`", [Edit(word, "mean")], Applicability.UNSAFE)]
    context.report.emit(
        "RED001",
        f"term `{term.name}` adds up all {what}: {effect}",
        source,
        span,
        help=[f"write `{_mean(source, span)}`, or divide by `{count}`"],
        fixes=fixes,
    )


def _mean(source: Source, span: Span) -> str:
    """The text of a sum as a mean."""
    text = " ".join(source.slice(span).split())
    return f"mean{text.removeprefix('sum')}" if text.startswith("sum(") and len(text) <= 60 else "mean(...)"


# A weight that is applied twice


def check_weights(context: Context) -> None:
    """RED020 for a parameter that multiplies a value which it has multiplied already, in another statement."""
    reported: set[tuple[str, int]] = set()
    read: dict[int, frozenset[str]] = {}
    for term in context.live:
        for first, second, name in _twice(context, term.value, read):
            key = (name, id(term))
            if key in reported:
                continue
            reported.add(key)
            context.report.emit(
                "RED020",
                f"term `{term.name}` is multiplied by `{name}` twice",
                first.source,
                first.span,
                labels=[Label(second.span, f"`{name}` is in it already", second.source)],
                help=[f"multiply once; if the square is meant, write `{name}^2` in one place"],
            )


def _twice(context: Context, value: Expr, read: dict[int, frozenset[str]]) -> Iterator[tuple[Expr, Expr, str]]:
    """Pairs of factors that are the same parameter, the outer one first; ``read`` remembers what values read."""
    hidden = context.report.hidden
    for e in value.operands_first(read):
        named = frozenset({str(e.value)}) if e.op == "param" else frozenset[str]()
        read[id(e)] = named.union(*(read[id(a)] for a in e.args))
    stack: list[tuple[Expr, dict[str, Expr]]] = [(value, {})]
    left = MOST
    while stack and left:
        left -= 1
        e, factors = stack.pop()
        if e.op in ("add", "sub"):
            for a, other in ((e.args[1], e.args[0]), (e.args[0], e.args[1])):
                # In w * (w * a + (1 - w) * b) the inner w shares out, it does not weigh.
                shared = read[id(other)]
                stack.append((a, {n: f for n, f in factors.items() if n not in shared}))
        elif e.op == "mul":
            own = dict(factors)
            for a in e.args:
                if a.op == "param" and not isinstance(a.value, bool) and e.source is not hidden:
                    outer = factors.get(a.value)
                    if outer is not None and not _together(context, outer, a):
                        yield outer, a, a.value
                    own.setdefault(a.value, a)
            stack.extend((a, own) for a in reversed(e.args) if a.op != "param")
        elif e.op in ("neg", "if"):
            stack.extend((a, factors) for a in reversed(e.args[:1] + e.args[2:]))
        elif e.op == "div":
            stack.append((e.args[0], factors))
        elif e.op == "call" and e.builtin.name in ("mean", "sum"):
            stack.extend((a, factors) for a in e.args[:1])


def _together(context: Context, a: Expr, b: Expr) -> bool:
    """Whether two values are written in the same statement."""
    if a.source is not b.source:
        return False
    modules = (context.checker.main, *context.checker.library.modules.values())
    tree = next((m.tree for m in modules if m.source is a.source), None)
    if tree is None:
        return True
    spans = [s.span for s in tree.statements]
    return any(s.start <= min(a.span.start, b.span.start) and max(a.span.end, b.span.end) <= s.end for s in spans)


# A term that is there twice


def check_repeats(context: Context) -> None:
    """RED021 for two terms that are the same, at the same steps, in the same group."""
    shapes: dict[int, int] = {}
    known: dict[tuple[str, int, int], TypedTerm] = {}
    for term in context.live:
        key = (term.group, _shape(term.value, shapes), 0 if term.when is None else _shape(term.when, shapes))
        first = known.setdefault(key, term)
        if first is not term and _equal(first.value, term.value) and _equal(first.when, term.when):
            context.report.emit(
                "RED021",
                f"terms `{first.name}` and `{term.name}` are the same: what they add counts twice",
                term.source,
                term.span,
                labels=[Label(first.span, "the same is added here", first.source)],
                help=["remove one, or multiply the other by 2"],
            )


def _shape(root: Expr, known: dict[int, int]) -> int:
    """A number that is the same for values that are made in the same way."""
    for e in root.operands_first(known):
        value = e.builtin.name if e.op == "call" else str(e.value) if e.op in ("const", "param", "input") else ""
        known[id(e)] = hash((e.op, value, e.names, *(known[id(a)] for a in e.args)))
    return known[id(root)]


def _equal(a: Expr | None, b: Expr | None) -> bool:
    return a is b or (a is not None and b is not None and same(a, b))
