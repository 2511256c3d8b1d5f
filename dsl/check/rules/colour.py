"""Colours and their range: 0..1 everywhere, and what becomes of values that are brought there by their extremes."""

from __future__ import annotations

from ...diagnostics import Label
from ...interval import UNIT, Interval
from ...typed import Expr
from .context import Context
from .flow import carried
from .regions import RENDERED, TARGET, Regions

FROM_UNIT = {
    "lpips": "takes colours in 0..1 and converts them itself",
    "ssim": "takes colours in 0..1: its two constants are for that range",
    "ssim_map": "takes colours in 0..1: its two constants are for that range",
    "ms_ssim": "takes colours in 0..1: its two constants are for that range",
    "psnr": "takes colours in 0..1: the peak that it measures against is 1",
}
"""Measures that are only right for images in 0..1, and why."""

SIGNED, BYTES, TWICE = "-1..1", "0..255", "0..1/255"
"""Conventions beside 0..1; the last is what becomes of colours in 0..1 that are divided by 255."""

PASSES = frozenset({"detach", "raw"})

EXTREMES = frozenset({"max_over", "min_over"})


class Colours:
    """The range that each image is meant to be in: what overshoots a little is taken for what it should be."""

    def __init__(self) -> None:
        self._memo: dict[int, Interval | None] = {}

    def range(self, e: Expr) -> Interval | None:
        """The range of an image made of one by numbers; None for everything else."""
        if id(e) not in self._memo:
            for node in e.operands_first():
                if id(node) not in self._memo:
                    self._memo[id(node)] = self._range(node)
        return self._memo[id(e)]

    def _range(self, e: Expr) -> Interval | None:
        if e.op == "const" and isinstance(e.value, float):
            return e.type.range
        if e.op == "input" and e.type.kind.name == "image":
            name = str(e.value).rpartition(".")[2]
            return UNIT if name in (RENDERED, TARGET) else e.type.range
        if e.type.kind.name == "region":
            return UNIT
        of = [self._memo[id(a)] for a in e.args]
        if any(r is None for r in of):
            return None
        known = [r for r in of if r is not None]
        if e.op == "neg":
            return -known[0]
        if e.op == "component":
            return known[0]
        fixed = any(a.op == "const" or a.type.kind.name == "region" for a in e.args)
        if e.op in ("add", "sub", "mul", "div") and fixed:
            one, other = known
            if e.op == "div":
                return one / other
            return one + other if e.op == "add" else one - other if e.op == "sub" else one * other
        if e.op == "call" and e.builtin.name in PASSES:
            return known[0]
        if e.op == "call" and e.builtin.name == "clamp" and all(r.is_point for r in known[1:]):
            return known[0].clip(known[1].lo, known[2].lo)
        return None

    def scale(self, e: Expr) -> str:
        """The convention that an image follows: "0..1", "-1..1", "0..255", or "" for anything else."""
        if e.op == "const":
            return ""
        r = self.range(e)
        if r is None or not e.type.kind.is_tensor or e.type.kind.layout != "pixels" or e.type.kind.name == "region":
            return ""
        if abs(r.lo) < 0.01 and abs(r.hi - 1) < 0.01:
            return "0..1"
        if abs(r.lo + 1) < 0.01 and abs(r.hi - 1) < 0.01:
            return SIGNED
        if abs(r.lo) < 0.01 and 250 < 1 / max(r.hi, 1e-9) < 260:
            return TWICE
        return BYTES if abs(r.lo) < 1 and 250 < r.hi < 260 else ""


def check(context: Context) -> None:
    """RNG020 for measures of images that are not in 0..1, RNG021 for images in different ranges."""
    regions, colours = context.regions, Colours()
    seen: set[tuple[int, int, int]] = set()
    for _, e in context.values():
        a, b, name = _operands(regions, colours, e)
        if a is None or b is None:
            continue
        one, other = colours.scale(a), colours.scale(b)
        place = regions.places.of(e)
        key = (id(place.source), place.span.start, place.span.end)
        if key in seen or place.source is context.report.hidden or not (one or other):
            continue
        if one and other and one != other:
            seen.add(key)
            _report_mixed(regions, colours, place, (a, one), (b, other))
        elif e.op == "call" and e.builtin.name in FROM_UNIT and {one, other} - {"0..1", ""}:
            if BYTES not in (one, other) and not {RENDERED, TARGET} & (regions.reads(a) | regions.reads(b)):
                continue  # normals and residuals are in -1..1 by right
            seen.add(key)
            _report_range(regions, place, name, [(x, s) for x, s in ((a, one), (b, other)) if s not in ("", "0..1")])


def _operands(regions: Regions, colours: Colours, e: Expr) -> tuple[Expr | None, Expr | None, str]:
    """Two images that are compared, and by what."""
    if e.op == "call":
        return e.arg("a"), e.arg("b"), e.builtin.name
    if e.op == "sub":
        a, b = e.args
        for one, other in ((a, b), (b, a)):
            certain = TARGET in regions.reads(other) or colours.scale(other) == BYTES
            if RENDERED in regions.reads(one) and TARGET not in regions.reads(one) and certain:
                return a, b, "-"
    return None, None, ""


def _report_mixed(regions: Regions, colours: Colours, place: Expr, *sides: tuple[Expr, str]) -> None:
    context = regions.context
    labels = [Label(x.span, f"in {scale}", x.source) for x, scale in sides if x.source is not context.report.hidden]
    wrong = next(x for x, scale in sides if scale != "0..1")
    origin = next((n for n in wrong.walk() if n.op == "input" and str(n.value) in context.program.inputs), None)
    help_ = "leave the photograph as it is: `rendered` and `target` are both in 0..1"
    if origin is not None:
        text = context.text(wrong)
        made = f"{text} / 255" if colours.scale(wrong) == BYTES else f"({text} + 1) / 2"
        help_ = f"bring it to 0..1, as in `{made}`, or let the data be so"
        if colours.scale(wrong) == TWICE:
            name = context.text(origin)
            help_ = f"leave `{name}` as it is; if its values are in 0..255, declare it `in [0, 255]`"
    context.report.emit(
        "RNG021",
        f"this compares colours in {sides[0][1]} with colours in {sides[1][1]}",
        place.source,
        place.span,
        labels=labels,
        help=[help_],
    )


def _report_range(regions: Regions, place: Expr, name: str, wrong: list[tuple[Expr, str]]) -> None:
    context = regions.context
    labels = [Label(x.span, f"in {scale}", x.source) for x, scale in wrong if x.source is not context.report.hidden]
    context.report.emit(
        "RNG020",
        f"`{name}` {FROM_UNIT[name]}, but here they are in {wrong[0][1]}",
        place.source,
        place.span,
        labels=labels,
        help=["give it images in 0..1, such as `rendered` and `target` themselves"],
    )


def check_extremes(context: Context) -> None:
    """RNG006: values of the render that are divided by their own extremes."""
    regions = context.regions
    memo = context.carried
    seen: set[tuple[int, int]] = set()
    for term, e in regions.trained():
        x = _normalised(regions, e)
        if x is None or not _rendered(x, memo):
            continue
        source, span = regions.places.at(e)
        if (id(source), span.start) in seen or source is context.report.hidden:
            continue
        seen.add((id(source), span.start))
        context.report.emit(
            "RNG006",
            f"term `{term.name}` brings `{context.text(x)}` to 0..1 by its extremes: one outlier moves all pixels",
            source,
            span,
            help=[
                "compare by `pearson_loss(a, b, r)`, or bring one to the other with `align(a, r, to=b)`",
                "or divide by a quantile, as in `x / max(detach(quantile(x, 0.95, r)), 1e-6)`",
            ],
            notes=["mistaken if there can be no outliers"],
        )


def _normalised(regions: Regions, e: Expr) -> Expr | None:
    """What is brought to 0..1 by its extremes."""
    if e.op == "call" and e.builtin.name == "minmax":
        return e.arg("x")
    if e.op != "div" or not e.args[0].type.kind.is_tensor:
        return None
    for node in e.args[1].walk():
        if node.op == "call" and node.builtin.name in EXTREMES:
            x = node.arg("x")
            if x is not None and any(regions.same(x, n) for n in e.args[0].walk()):
                return x
    return None


def _rendered(x: Expr, memo: dict[int, frozenset[str]]) -> bool:
    """Whether gradient flows through the value to what is rendered."""
    return any(name.partition(".")[0] in ("rendered", "depth", "alpha", "normals") for name in carried(x, memo))
