"""What a program with masks possibly means otherwise: another region, a floor, a soft border."""

from __future__ import annotations

from ...diagnostics import Edit, Fix, Label
from ...source import Source, Span
from ...typed import Expr
from .composite import factors
from .context import Context
from .regions import ALPHA, MASK, Comparison, Regions


def check_one_mask(context: Context) -> None:
    """MSK020 for a comparison of all pixels beside one that leaves out those that do not count."""
    regions = context.regions
    found = list(regions.comparisons())
    masked = [c for c in found if MASK in regions.reads(c.e)]
    if not masked:
        return
    seen: set[tuple[int, int]] = set()
    for c in found:
        if MASK in regions.reads(c.e) or not regions.left_out(c.e, c.r):
            continue
        if c.place.source is context.report.hidden:
            continue
        other = next((m for m in masked if _together(regions, c, m)), None)
        key = (id(c.place.source), c.place.span.start)
        if other is None or key in seen:
            continue
        seen.add(key)
        name = regions.name(c.place)
        apart = (other.place.source, other.place.span) != (c.place.source, c.place.span)
        apart = apart and other.place.source is not context.report.hidden
        fixes = _with_mask(regions, c.place)
        context.report.emit(
            "MSK020",
            f"`{name}` compares all pixels, also those that the mask leaves out",
            c.place.source,
            c.place.span,
            labels=[Label(other.place.span, "the mask is used here", other.place.source)] if apart else (),
            help=["give it the region `masked` too, or `everywhere` if all pixels are meant"],
            notes=["mistaken if the mask says what to weigh, and not what to leave out"],
            fixes=fixes,
        )


def _together(regions: Regions, c: Comparison, m: Comparison) -> bool:
    """Whether two comparisons exist side by side, rather than one in place of the other."""
    for condition in (c.term.when, m.term.when):
        if condition is not None and _asks_for_mask(condition):
            return False
    if any(_asks_for_mask(t.value) for t in (c.term, m.term)):
        return False
    a, b = c.term.when, m.term.when
    return a is None or b is None or regions.same(a, b)


def _asks_for_mask(e: Expr) -> bool:
    return any(n.op == "has" and MASK in n.value for n in e.walk())


def _with_mask(regions: Regions, place: Expr) -> list[Fix]:
    node = regions.call(place)
    if node is None or regions.name(place) != node.function.text:
        return []
    written = {k.name.text for k in node.keywords}
    comparing = regions.comparing(place)
    if "r" in written or len(node.args) != (2 if comparing and node.args else 0 if comparing else 1):
        return []
    start = node.args[-1].span.end if node.args else node.function.span.end + 1
    text = ", masked" if node.args else "masked, " if written else "masked"
    return [Fix("compare the pixels that count", [Edit(Span(start, start), text)])]


def check_coverage(context: Context) -> None:
    """MSK006: photometric losses whose region is how opaque the render is."""
    regions = context.regions
    seen: set[tuple[int, int]] = set()
    for c in regions.comparisons():
        for e in c.r.walk():
            given = None if e.op != "call" or e.builtin.name != "region" else _coverage(e)
            if given is None:
                continue
            source, span = regions.places.at(e)
            if (id(source), span.start) not in seen:
                seen.add((id(source), span.start))
                if given.value != ALPHA:
                    _say_given(regions, c, given, source, span)
                    continue
                context.report.emit(
                    "MSK006",
                    f"term `{c.term.name}` lets pixels count by how opaque the render is there: what is missing from "
                    "the render costs nothing",
                    source,
                    span,
                    help=["for the pixels that count write `masked`; for those that are drawn `alpha > 0.5`"],
                    notes=["mistaken if only what is drawn should be compared"],
                )


def _coverage(e: Expr) -> Expr | None:
    """The coverage that a region is made of, that of the render first."""
    found = [n for n in e.walk() if n.op == "input"]
    rendered = next((n for n in found if n.value == ALPHA), None)
    roles = [n for n in found if (fact := n.type.facts.get("role")) is not None and fact.value == "coverage"]
    return rendered if rendered is not None else next(iter(roles), None)


def _say_given(regions: Regions, c: Comparison, given: Expr, source: Source, span: Span) -> None:
    """Coverage of the photograph says where its subject is, not which of its pixels are known."""
    text = regions.context.text(given)
    regions.context.report.emit(
        "MSK006",
        f"term `{c.term.name}` lets pixels count by `{text}`, which is coverage: what is drawn where it is 0 costs "
        "nothing",
        source,
        span,
        help=[
            f"compare all pixels, with the photograph laid over `background` by `{text}`; or add a term for the rest, "
            f"as in `l1(alpha, {text})`"
        ],
        notes=["mistaken if another term keeps the rest empty"],
    )


def check_floor(context: Context) -> None:
    """MSK003: a mean over a region by hand, with a floor that counts as much as a pixel."""
    regions = context.regions
    for _, e in context.values():
        if e.op != "div" or e.source is context.report.hidden:
            continue
        total = _floored(e.args[1])
        if total is None or not any(n.op == "call" and n.builtin.name == "sum" for n in e.args[0].walk()):
            continue
        summed = total.arg("x")
        if summed is None:
            continue
        source, span = regions.places.at(e.args[1])
        text = context.text(summed)
        region = text if summed.type.kind.name == "region" else f"region({text})"
        context.report.emit(
            "MSK003",
            f"the floor under `{context.text(total)}` weighs as much as a pixel: the less counts, the more the mean is "
            "too small",
            source,
            span,
            help=[f"write `mean(x, {region})`: it divides by what counts, and an empty region gives 0"],
            notes=["mistaken if the weights are whole pixels and empty regions should give 0"],
        )


def _floored(e: Expr) -> Expr | None:
    """The sum of weights in 0..1 that has 1 or more as a floor or beside it."""
    if not (e.op == "add" or (e.op == "call" and e.builtin.name in ("max", "clamp"))):
        return None
    floor = [a for a in e.args[:2] if a.op == "const" and isinstance(a.value, float) and a.value >= 1]
    sums = [f for a in e.args[:2] for f in factors(a) if f.op == "call" and f.builtin.name == "sum"]
    if len(floor) != 1 or len(sums) != 1:
        return None
    x = sums[0].arg("x")
    weights = x is not None and x.type.range.lo >= 0 and x.type.range.hi <= 1
    return sums[0] if weights else None


def check_resized(context: Context) -> None:
    """MSK011: a region that is resized by interpolation and then used as it is."""
    regions = context.regions
    compared: set[int] = set()
    stack = [a for _, e in context.values() if e.op in ("gt", "ge", "lt", "le") for a in e.args]
    while stack:
        e = stack.pop()
        if id(e) not in compared:
            compared.add(id(e))
            stack.extend(e.args)
    for _, e in context.values():
        if e.op != "call" or e.builtin.name != "resize" or id(e) in compared or e.args[0].type.kind.name != "region":
            continue
        mode = e.arg("mode")
        word = str(mode.value) if mode is not None and mode.op == "const" else "nearest"
        source, span = regions.places.at(e)
        if word == "nearest":
            continue
        context.report.emit(
            "MSK011",
            f'`{context.text(e.args[0])}`, resized with mode="{word}", has a soft border: pixels there count in part',
            source,
            span,
            help=['write `mode="nearest"`, or compare the result, as in `resize(...) > 0.999`'],
            notes=["mistaken if pixels on the border should count in part"],
        )


def check_removed(context: Context) -> None:
    """MSK013: a mask keeps pixels out of the loss, and nothing keeps gaussians out of those pixels."""
    if context.broken:
        return
    regions = context.regions
    used = next((c for c in regions.comparisons() if MASK in regions.reads(c.r)), None)
    if used is None or used.place.source is context.report.hidden:
        return
    read = frozenset().union(*(regions.reads(t.value) for t in context.live))
    if {"state.opacities", "state.opacity_logits"} & read or not {ALPHA, "background"} & read:
        return  # who never looks at coverage has no object in front of nothing
    if any(_acts_outside(regions, e) for _, e in context.values()):
        return
    context.report.emit(
        "MSK013",
        "the mask keeps pixels out of this loss, and what is rendered there may stay: no term acts on it",
        used.place.source,
        used.place.span,
        help=["to keep that part of the scene empty, add `term empty = 0.1 * background_alpha() when has(mask)`"],
        notes=["mistaken if the mask hides passers-by or the like, behind which the scene goes on"],
    )


def _acts_outside(regions: Regions, e: Expr) -> bool:
    """Whether a value is of pixels that the mask leaves out, or a reduction of coverage that goes beyond the mask."""
    if e.op == "region" and e.value == "unmasked":
        return True
    if e.op == "not" or (e.op == "sub" and e.args[0].op == "const"):
        return e.args[-1].type.kind.name == "region" and MASK in regions.reads(e.args[-1])
    if e.op != "call" or not e.builtin.reduces:
        return False
    region = e.arg("r")
    values = [a for a in e.args if a is not region]
    covered = any(ALPHA in regions.reads(a) for a in values)
    return covered and not any(MASK in regions.reads(a) for a in e.args)
