"""Directions in different frames, and values with holes: a sparse depth counts only where it is valid."""

from __future__ import annotations

from ...diagnostics import Applicability, Edit, Fix, Label
from ...facts import disagreements
from ...inputs import BY_NAME
from ...source import Span
from ...typed import Expr
from .context import Context
from .places import Places

COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
ANY = -1
"""In a set of guarded values: a region from elsewhere, which may leave out any holes."""

NONE: frozenset[int] = frozenset()


def check_frames(context: Context) -> None:
    """NRM001 where the angle between directions in different frames is taken."""
    for _, e in context.values():
        if e.op != "call" or e.source is context.report.hidden:
            continue
        name, operands = e.builtin.name, e.args[:2]
        written_out = name in ("component_sum", "component_mean") and e.args[0].op == "mul"
        if written_out:
            operands = e.args[0].args
        elif name not in ("dot", "cross"):
            continue
        left, right = operands
        for spec, a, b in disagreements(left.type.facts, right.type.facts):
            if spec.name == "frame" or not written_out:
                context.report.facts(spec, left, a, right, b, e.source, e.span, f"`{name}`")


def check_sparse(context: Context) -> None:
    """DEP020 for a value with holes that is reduced over pixels where it has none."""
    types = [t for extern in context.program.externs.values() for _, t in extern.results]
    facts = [*(i.facts for i in context.program.inputs.values()), *(t.facts for t in types)]
    if not any("density" in f and f["density"].value == "sparse" for f in facts):
        return
    places, holes = context.places, _Holes(context)
    said: set[tuple[int, int]] = set()
    for _, e in context.values():
        region = _region(e)
        if region is None:
            continue
        found = [holes.leaf(key) for a in e.args if a is not region for key in holes.left(a, region)]
        place = places.at(e)
        if found and (id(place[0]), place[1].start) not in said:
            said.add((id(place[0]), place[1].start))
            _report(context, places, e, min(found, key=lambda n: n.span.start), region)


def _sparse(e: Expr) -> bool:
    """Whether a depth has holes by itself: an input, a field or a result that is declared so."""
    fact = e.type.facts.get("density")
    kind = e.type.kind.name
    return fact is not None and fact.value == "sparse" and e.op in ("input", "field", "extern") and kind != "normals"


def _region(e: Expr) -> Expr | None:
    """The region that a call restricts its other arguments to."""
    if e.op != "call":
        return None
    params = [p.name for p in e.builtin.parsed.params if p.kind == "region" and p.default is not None]
    return e.arg(params[0]) if params == ["r"] else None


class _Holes:
    """Where values with holes go: each is known by its number in the program's structure."""

    def __init__(self, context: Context) -> None:
        self._key = context.structure.key
        self._leaves: dict[int, Expr] = {}
        self._read: dict[int, frozenset[int]] = {}
        self._guards: dict[int, frozenset[int]] = {}
        self._reach: dict[int, frozenset[int]] = {}

    def leaf(self, key: int) -> Expr:
        """The value of a number, where it is first read."""
        return self._leaves[key]

    def left(self, x: Expr, region: Expr) -> frozenset[int]:
        """The values whose holes become values of ``x`` and that the region does not leave out."""
        for root in (x, region):
            for e in root.operands_first(self._reach):
                self._enter(e)
        return self._without(x, region)

    def _without(self, x: Expr, condition: Expr) -> frozenset[int]:
        guarded = self._guards[id(condition)]
        return NONE if ANY in guarded else self._reach[id(x)] - guarded

    def _enter(self, e: Expr) -> None:
        read, guards = (NONE.union(*(m[id(a)] for a in e.args)) for m in (self._read, self._guards))
        if _sparse(e):
            self._leaves.setdefault(self._key(e), e)
            read |= {self._key(e)}
        if e.op in COMPARISONS or (e.op == "call" and e.builtin.name in ("valid", "finite")):
            guards |= read
        elif e.op in ("extern", "memory") or _from_elsewhere(e):
            guards |= {ANY}
        self._read[id(e)], self._guards[id(e)] = read, guards
        self._reach[id(e)] = self._reaching(e)

    def _reaching(self, e: Expr) -> frozenset[int]:
        if _sparse(e):
            return frozenset({self._key(e)})
        if e.op in (*COMPARISONS, "region", "memory", "extern"):
            return NONE
        from_here = [a for a in e.args if a.type.kind.layout == e.type.kind.layout]
        if e.op == "mul":
            left, right = e.args
            pairs = ((left, right), (right, left))
            return NONE.union(*(self._without(a, other) for a, other in pairs if a in from_here))
        if e.op == "call":
            if e.builtin.parsed.result.startswith("region"):
                return NONE
            if _region(e) is not None:  # it has been reduced, or fitted: only what is fitted keeps its holes
                return self._reach[id(e.args[0])] if e.builtin.name == "align" else NONE
            if e.builtin.name == "where":
                return NONE.union(*(self._without(a, e.args[0]) for a in e.args[1:] if a in from_here))
        return NONE.union(*(self._reach[id(a)] for a in from_here))


def _from_elsewhere(e: Expr) -> bool:
    """Whether a region, or a map that may be one, comes with the item."""
    if e.op not in ("input", "field") or e.type.kind.name not in ("region", "map"):
        return False
    name = str(e.value).rpartition(".")[2]
    return name not in BY_NAME and name not in ("masked", "unmasked")


def _report(context: Context, places: Places, e: Expr, holes: Expr, region: Expr) -> None:
    text, own = context.text(holes), context.exact(holes, e)
    name = e.via.name if e.via is not None else e.builtin.name
    source, span = places.at(e)
    if source is not e.source or span != e.span:
        here = places.of(e)
        name = here.via.name if here.via is not None else name
    origin = holes.type.facts["density"].origin
    labels = [] if origin is None else [Label(origin.span, "declared sparse here", origin.source)]
    context.report.emit(
        "DEP020",
        f"`{name}` also counts the pixels where `{text}` has no value, and takes 0 for one",
        source,
        span,
        labels=labels,
        help=[f"leave them out with the region `valid({own or text})`, as in `masked and valid({own or text})`"],
        fixes=_restrict(context, e, region, f"valid({own})") if own is not None else [],
    )


def _restrict(context: Context, e: Expr, region: Expr, valid: str) -> list[Fix]:
    """Adds the valid pixels to a region that is written out, or gives one to a call that has none."""
    if e.source is not context.program.source or not e.source.slice(e.span).endswith(")"):
        return []
    title = f"leave out the other pixels: `{valid}`"
    inside = e.span.start < region.span.start and region.span.end < e.span.end and region.source is e.source
    if inside:
        edits = [Edit(Span(region.span.end, region.span.end), f" and {valid}")]
        if region.op in ("or", "if"):
            return []
    else:
        if e.via is not None and "r" not in e.via.args:
            return []
        at = Span(e.span.end - 1, e.span.end - 1)
        keyword = "r=" if "=" in e.source.slice(e.span) else ""
        edits = [Edit(at, f", {keyword}{valid}")]
    return [Fix(title, edits, Applicability.UNSAFE)]
