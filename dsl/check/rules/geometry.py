"""Values with holes: a sparse depth counts only where it is valid."""

from __future__ import annotations

from ...diagnostics import Applicability, Edit, Fix, Label
from ...inputs import BY_NAME
from ...source import Span
from ...typed import Expr, TypedTerm
from .context import Context
from .flow import same
from .places import Places

COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")


def sparse(e: Expr) -> bool:
    """Whether a value has holes by itself: an input, a field or a result that is declared so."""
    fact = e.type.facts.get("density")
    return fact is not None and fact.value == "sparse" and e.op in ("input", "field", "extern")


def check_sparse(context: Context) -> None:
    """DEP020 for a value with holes that is reduced over pixels where it has none."""
    places = Places(context)
    said: set[tuple[int, int]] = set()
    for term, e in context.values():
        region = _region(e)
        if region is None:
            continue
        for x in (a for a in e.args if a is not region):
            holes = _unguarded(x, region)
            place = places.at(e)
            if holes is not None and (id(place[0]), place[1].start) not in said:
                said.add((id(place[0]), place[1].start))
                _report(context, places, term, e, holes, region)


def _region(e: Expr) -> Expr | None:
    """The region that a call restricts its other arguments to."""
    if e.op != "call":
        return None
    params = [p.name for p in e.builtin.parsed.params if p.kind == "region" and p.default is not None]
    return e.arg(params[0]) if params == ["r"] else None


def _unguarded(x: Expr, region: Expr) -> Expr | None:
    """The first value with holes that counts outside its valid pixels."""
    found = {(n.op, str(n.value), *map(id, n.args)): n for n in x.walk() if sparse(n) and n.type.kind.name != "normals"}
    return next((n for n in found.values() if not _guards(region, n) and _reaches(x, n)), None)


def _guards(condition: Expr, of: Expr) -> bool:
    """Whether a region may leave the holes out: it asks for valid values, compares them, or comes from elsewhere."""
    for node in condition.walk():
        if node.op in ("extern", "memory"):
            return True
        if node.op in ("input", "field") and node.type.kind.name in ("region", "map"):
            name = str(node.value).rpartition(".")[2]
            if name not in BY_NAME and name not in ("masked", "unmasked"):
                return True
        asks = node.op in COMPARISONS or (node.op == "call" and node.builtin.name in ("valid", "finite"))
        if asks and any(same(n, of) for a in node.args for n in a.walk() if n.op == of.op):
            return True
    return False


def _reaches(x: Expr, of: Expr) -> bool:
    """Whether the holes of a value become values of another."""
    stack, seen = [x], set[int]()
    while stack:
        e = stack.pop()
        if id(e) in seen:
            continue
        seen.add(id(e))
        if e.op == of.op and same(e, of):
            return True
        if e.type.kind.layout != of.type.kind.layout or e.op in (*COMPARISONS, "region", "memory", "extern"):
            continue
        if e.op == "mul" and any(_guards(a, of) for a in e.args):
            continue
        if e.op == "call":
            if e.builtin.parsed.result.startswith("region") or _region(e) is not None:
                if e.builtin.name == "align":
                    stack.extend(e.args[:1])
                continue
            if e.builtin.name == "where" and _guards(e.args[0], of):
                continue
        stack.extend(e.args)
    return False


def _report(context: Context, places: Places, term: TypedTerm, e: Expr, holes: Expr, region: Expr) -> None:
    text = context.text(holes)
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
        help=[f"leave them out with the region `valid({text})`, as in `masked and valid({text})`"],
        fixes=_restrict(context, e, region, f"valid({text})"),
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
