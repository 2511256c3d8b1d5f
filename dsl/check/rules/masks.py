"""Masks: what a reduction divides by, what windows see of a border, which pixels a loss leaves out."""

from __future__ import annotations

from ...diagnostics import Edit, Fix, Label
from ...source import Span
from ...typed import Expr
from .context import Context
from .regions import ALPHA, AVERAGES, COMPARING, MASK, WINDOWED, Comparison, Regions, is_factor

IGNORED = frozenset(
    "bad discard discarded distractor distractors exclude excluded ignore ignored invalid outlier outliers reject "
    "rejected transient transients unreliable".split()
)
"""Words in the name of an input that marks pixels which should not count."""

NEGATED = frozenset({"anti", "keep", "kept", "no", "non", "not", "un", "without"})

THROUGH = frozenset({"erode", "dilate", "region", "raw", "detach", "resize", "box", "blur"})
"""Builtins of one region whose result marks about the same pixels."""


def check(context: Context) -> None:
    """MSK001 for means of what is 0 outside a region, MSK004 for windows that see zeroed images."""
    regions = Regions(context)
    found: dict[tuple[int, int, int], tuple[Expr, Expr, bool]] = {}
    for _, e in context.values():
        if e.op != "call":
            continue
        factor = _averaged(regions, e) or _windowed(regions, e)
        if factor is None:
            continue
        place = regions.places.of(e)
        windowed = e.builtin.name in WINDOWED or _has_map(e)
        key = (id(place.source), place.span.start, place.span.end)
        if key not in found or (windowed and not found[key][2]):
            found[key] = (place, factor, windowed)
    for place, factor, windowed in found.values():
        if place.source is context.report.hidden:
            continue
        if windowed:
            _report_windowed(regions, place, factor)
        else:
            _report_average(regions, place, factor)


def _averaged(regions: Regions, e: Expr) -> Expr | None:
    """The region that an average over everything should be over."""
    if e.builtin.name in COMPARING and (r := e.arg("r")) is not None and regions.left_out(e, r):
        return _zeroed(regions, e)
    if e.builtin.name not in AVERAGES or e.arg("over") is not None:
        return None
    x, r = e.arg("x"), e.arg("r")
    if x is None or r is None or is_factor(x) or not regions.left_out(e, r):
        return None
    for factor in regions.zero_outside(x):
        if factor.type.kind.is_tensor and regions.counts(factor, x):
            return factor
    return _mapped(regions, x)


def _mapped(regions: Regions, x: Expr) -> Expr | None:
    """The region that both images of an `ssim_map` are zeroed outside, where the map is averaged over everything."""
    stack, left = [x], 100
    while stack and left:
        node = stack.pop()
        left -= 1
        if node.op == "call" and node.builtin.name == "ssim_map":
            return _zeroed(regions, node)
        if node.op in ("add", "sub", "mul", "neg", "component"):
            stack.extend(node.args)
    return None


def _has_map(e: Expr) -> bool:
    return any(n.op == "call" and n.builtin.name == "ssim_map" for n in e.walk())


def _windowed(regions: Regions, e: Expr) -> Expr | None:
    """The region that both images of a windowed measure over everything are zeroed outside."""
    r = e.arg("r")
    if e.builtin.name not in WINDOWED or r is None or not regions.left_out(e, r):
        return None
    return _zeroed(regions, e)


def _zeroed(regions: Regions, e: Expr) -> Expr | None:
    a, b = e.arg("a"), e.arg("b")
    if a is None or b is None:
        return None
    its = regions.zero_outside(b)
    for factor in regions.zero_outside(a):
        if factor.type.kind.is_tensor and any(regions.same(factor, other) for other in its):
            return factor
    return None


def _as_region(regions: Regions, factor: Expr) -> str:
    """The text of a factor as the region of a call."""
    if factor.op == "sub":
        inside = factor.args[1]
        if inside.op == "region" or inside.value == MASK:
            return "unmasked" if inside.value in ("masked", MASK) else "masked"
        return f"not ({regions.context.text(inside)})" if inside.op in ("and", "or") else f"not {regions.context.text(inside)}"
    return regions.context.text(factor)


def _report_average(regions: Regions, place: Expr, factor: Expr) -> None:
    context, name = regions.context, regions.name(place)
    what = "gaussians" if factor.type.kind.layout == "gaussians" else "pixels"
    region, outside = _as_region(regions, factor), regions.context.text(factor)
    written = _rewritten(regions, place, factor, region)
    hidden = factor.source is context.report.hidden
    context.report.emit(
        "MSK001",
        f"`{name}` takes the {what} outside `{outside}` for 0 and averages over them too",
        place.source,
        place.span,
        labels=() if hidden else (Label(factor.span, f"0 for the {what} that do not count", factor.source),),
        help=[
            f"write `{written or _shape(place, name, region)}`: it averages over the {what} that count",
            f"if all {what} are meant to be averaged over, say so with the region `everywhere`",
        ],
        fixes=_fixes(place, written, region),
    )


def _report_windowed(regions: Regions, place: Expr, factor: Expr) -> None:
    context, name = regions.context, regions.name(place)
    region, outside = _as_region(regions, factor), regions.context.text(factor)
    written = _rewritten(regions, place, factor, region)
    hidden = factor.source is context.report.hidden
    context.report.emit(
        "MSK004",
        f"`{name}` takes the pixels outside `{outside}`, black in both images, for equal ones",
        place.source,
        place.span,
        labels=() if hidden else (Label(factor.span, "both images are 0 outside this", factor.source),),
        help=[
            f"write `{written or _shape(place, name, region)}`: it is averaged over the pixels that count",
            "if all pixels are meant to be averaged over, say so with the region `everywhere`",
        ],
        fixes=_fixes(place, written, region),
    )


def _shape(place: Expr, name: str, region: str) -> str:
    """How the call would look, where its text cannot be rewritten."""
    comparing = place.via is not None or place.arg("a") is not None
    return f"{name}(a, b, {region})" if comparing else f"{name}(x, {region})"


def _fixes(place: Expr, written: str, region: str) -> list[Fix]:
    return [Fix(f"average over `{region}`", [Edit(place.span, written)])] if written else []


def _rewritten(regions: Regions, place: Expr, factor: Expr, region: str) -> str:
    """The call with the factor taken out of its products and given as the region; "" where that is not mechanical."""
    node = regions.call(place)
    if node is None or "\n" in place.source.slice(place.span):
        return ""
    if place.via is not None:
        names, values = ("a", "b"), (place.via.args.get("a"), place.via.args.get("b"))
    elif place.arg("a") is not None:
        names, values = ("a", "b"), (place.arg("a"), place.arg("b"))
    else:
        names, values = ("x",), (place.arg("x"),)
    if len(node.args) != len(names) or regions.name(place) != node.function.text:
        return ""
    texts = []
    for argument, value in zip(node.args, values):
        made = regions.without(argument, value, factor) if value is not None else None
        if made is None:
            return ""
        texts.append(made[0])
    source = place.source
    keywords = [source.slice(k.span) for k in node.keywords]
    return f"{node.function.text}({', '.join([*texts, region, *keywords])})"


def check_ignored(context: Context) -> None:
    """MSK009 for losses over the pixels that should not count."""
    regions = Regions(context)
    seen: set[tuple[int, int]] = set()
    for term, e in context.values():
        r = e.arg("r") if e.op == "call" and e.builtin.reduces else None
        if r is None:
            continue
        for marked, sign in _signed(r):
            name = str(marked.value).rpartition(".")[2]
            info = context.program.inputs.get(name)
            words = set(name.lower().split("_"))
            if sign < 0 or info is None or not words & IGNORED or words & NEGATED or not _compares(e):
                continue
            source, span = regions.places.at(marked)
            if (id(source), span.start) in seen:
                continue
            seen.add((id(source), span.start))
            context.report.emit(
                "MSK009",
                f"term `{term.name}` compares the pixels that `{name}` marks: here 1 means that a pixel counts",
                source,
                span,
                labels=[Label(info.span, "the name says that they do not count", info.source)],
                help=[f"write `not {name}`, or name the input after the pixels that count"],
            )
    if not context.broken:
        _only_unmasked(regions)


def _compares(e: Expr) -> bool:
    if e.arg("a") is not None and e.arg("b") is not None:
        return True
    x = e.arg("x")
    if x is None:
        return False
    return any(n.op == "sub" and all(a.type.kind.is_tensor for a in n.args) for n in x.walk())


def _signed(r: Expr) -> list[tuple[Expr, int]]:
    """The inputs and masks that a region is made of: 1 where it is of the pixels that they mark, else -1."""
    found: list[tuple[Expr, int]] = []
    stack = [(r, 1)]
    while stack and len(found) < 50:
        e, sign = stack.pop()
        if e.op == "input":
            found.append((e, sign))
        elif e.op == "region" and e.value in ("masked", "unmasked"):
            found.append((e, sign if e.value == "masked" else -sign))
        elif e.op in ("and", "or", "mul"):
            stack.extend((a, sign) for a in reversed(e.args))
        elif e.op == "not" or (e.op == "sub" and e.args[0].op == "const"):
            stack.append((e.args[-1], -sign))
        elif e.op in ("gt", "ge", "lt", "le"):
            left, right = e.args
            above = 1 if e.op in ("gt", "ge") else -1
            if right.op == "const":
                stack.append((left, sign * above))
            elif left.op == "const":
                stack.append((right, -sign * above))
        elif e.op in ("eq", "ne") and e.args[1].op == "const" and e.args[1].value in (0, 1):
            equal = 1 if e.args[1].value == 1 else -1
            stack.append((e.args[0], sign * equal * (1 if e.op == "eq" else -1)))
        elif e.op == "call" and e.builtin.name in THROUGH:
            stack.append((e.args[0], sign))
    return found


def _only_unmasked(regions: Regions) -> None:
    """A program that compares nothing but what the mask leaves out."""
    context = regions.context
    first: Comparison | None = None
    for c in regions.comparisons():
        signs = [sign for e, sign in _signed(c.r) if e.value in ("masked", "unmasked", MASK)]
        if not signs or max(signs) > 0:
            return
        first = first or c
    if first is None or first.place.source is context.report.hidden:
        return
    context.report.emit(
        "MSK009",
        f"term `{first.term.name}` compares only the pixels that the mask leaves out: 1 in a mask means that a pixel "
        "counts",
        first.place.source,
        first.place.span,
        help=[
            "write `masked`",
            "if the data's masks mark what should not count, let the data set turn them over",
        ],
    )


def check_one_mask(context: Context) -> None:
    """MSK020 for a comparison of all pixels beside one that leaves out those that do not count."""
    _one_mask(context, perceptual=False)


def check_perceptual(context: Context) -> None:
    """MSK021: the same for LPIPS, which published systems often take of the whole image."""
    _one_mask(context, perceptual=True)


def _one_mask(context: Context, perceptual: bool) -> None:
    regions = Regions(context)
    found = list(regions.comparisons())
    masked = [c for c in found if MASK in regions.reads(c.e)]
    if not masked:
        return
    seen: set[tuple[int, int]] = set()
    for c in found:
        if MASK in regions.reads(c.e) or not regions.left_out(c.e, c.r):
            continue
        if (c.e.builtin.name == "lpips") is not perceptual or c.place.source is context.report.hidden:
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
            "MSK021" if perceptual else "MSK020",
            f"`{name}` compares all pixels, also those that the mask leaves out",
            c.place.source,
            c.place.span,
            labels=[Label(other.place.span, "the mask is used here", other.place.source)] if apart else (),
            help=["give it the region `masked` too, or `everywhere` if all pixels are meant"],
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
    comparing = place.via is not None or place.arg("a") is not None
    if "r" in written or len(node.args) != (2 if comparing and node.args else 0 if comparing else 1):
        return []
    start = node.args[-1].span.end if node.args else node.function.span.end + 1
    text = ", masked" if node.args else "masked, " if written else "masked"
    return [Fix("compare the pixels that count", [Edit(Span(start, start), text)])]


# Possibilities


def check_coverage(context: Context) -> None:
    """MSK006: photometric losses whose region is how opaque the render is."""
    regions = Regions(context)
    seen: set[tuple[int, int]] = set()
    for c in regions.comparisons():
        for e in c.r.walk():
            if e.op != "call" or e.builtin.name != "region" or ALPHA not in regions.reads(e):
                continue
            source, span = regions.places.at(e)
            if (id(source), span.start) not in seen:
                seen.add((id(source), span.start))
                context.report.emit(
                    "MSK006",
                    f"term `{c.term.name}` lets pixels count by how opaque the render is there: what is missing from "
                    "the render costs nothing",
                    source,
                    span,
                    help=["for the pixels that count write `masked`; for those that are drawn `alpha > 0.5`"],
                    notes=["mistaken if only what is drawn should be compared"],
                )


def check_floor(context: Context) -> None:
    """MSK003: a mean over a region by hand, with a floor that counts as much as a pixel."""
    regions = Regions(context)
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
        written = "everywhere" if summed.op == "region" and summed.value == "everywhere" else regions.context.text(summed)
        region = written if summed.type.kind.name == "region" else f"region({written})"
        context.report.emit(
            "MSK003",
            f"the floor under `{regions.context.text(total)}` weighs as much as a pixel: where less counts, the mean is too small",
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
    sums = [a for a in e.args[:2] if a.op == "call" and a.builtin.name == "sum"]
    if len(floor) != 1 or len(sums) != 1:
        return None
    x = sums[0].arg("x")
    weights = x is not None and x.type.range.lo >= 0 and x.type.range.hi <= 1
    return sums[0] if weights else None


def check_resized(context: Context) -> None:
    """MSK011: a region that is resized by interpolation and then used as it is."""
    regions = Regions(context)
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
            f"resizing `{regions.context.text(e.args[0])}` by mode \"{word}\" makes its border soft: pixels there count in part",
            source,
            span,
            help=['write `mode="nearest"`, or compare the result, as in `resize(...) > 0.999`'],
            notes=["mistaken if pixels on the border should count in part"],
        )


def check_removed(context: Context) -> None:
    """MSK013: a mask keeps pixels out of the loss, and nothing keeps gaussians out of those pixels."""
    if context.broken:
        return
    regions = Regions(context)
    used = next((c for c in regions.comparisons() if MASK in regions.reads(c.r)), None)
    if used is None or used.place.source is context.report.hidden:
        return
    if any({ALPHA, "state.opacities", "state.opacity_logits"} & regions.reads(t.value) for t in context.live):
        return
    context.report.emit(
        "MSK013",
        "the mask keeps pixels out of this loss, but no term acts on what is rendered there",
        used.place.source,
        used.place.span,
        help=["to keep that part of the scene empty, add a term such as `term empty = 0.1 * background_alpha() when has(mask)`"],
        notes=["mistaken if the mask hides passers-by or the like, behind which the scene goes on"],
    )
