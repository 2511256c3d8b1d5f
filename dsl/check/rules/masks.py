"""Masks: what a reduction averages over, and what windows see beyond a border."""

from __future__ import annotations

from ...diagnostics import Edit, Fix, Label
from ...typed import Expr
from .context import Context
from .divided import shared_out
from .hazards_walk import may_fail
from .places import bare
from .regions import ALPHA, AVERAGES, COMPARING, MASK, WINDOWED, Regions, is_factor


def check(context: Context) -> None:
    """MSK001 for means of what is 0 outside a region, MSK004 for windows that see zeroed images."""
    regions = context.regions
    found: dict[tuple[int, int, int], tuple[Expr, Expr, bool]] = {}
    shares = shared_out(regions)
    for _, e in context.values():
        if id(e) in shares:
            continue
        factor = _expanded(regions, e)
        if factor is None and e.op == "call":
            factor = _averaged(regions, e) or _windowed(regions, e)
        if factor is None:
            continue
        place = regions.places.of(e)
        windowed = e.op == "call" and (e.builtin.name in WINDOWED or _has_map(e))
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


def _expanded(regions: Regions, e: Expr) -> Expr | None:
    """The region that both operands of a loss of the prelude over everything are zeroed outside."""
    if e.via is None or not e.via.prelude or not {"a", "b", "r"} <= set(e.via.args):
        return None
    a, b, r = (e.via.args[name] for name in ("a", "b", "r"))
    return _common(regions, a, b) if regions.left_out(e, r) else None


def _averaged(regions: Regions, e: Expr) -> Expr | None:
    """The region that an average over everything should be over."""
    if e.builtin.name in COMPARING and (r := e.arg("r")) is not None and regions.left_out(e, r):
        return _zeroed(regions, e)
    if e.builtin.name not in AVERAGES or e.arg("over") is not None:
        return None
    x, r = e.arg("x"), e.arg("r")
    if x is None or r is None or _size(x) or not regions.left_out(e, r):
        return None
    for factor in regions.zero_outside(x):
        if factor.type.kind.is_tensor and regions.counts(factor, x) and not _keeps_sound(regions, x, factor):
            return factor
    return _mapped(regions, x)


def _size(x: Expr) -> bool:
    """Whether a mean is the share of a region itself."""
    while x.op in ("mul", "div") and x.args[1].type.is_host:
        (x, _) = x.args
    return is_factor(x) or (x.op == "mul" and all(a.type.is_host or _size(a) for a in x.args))


def _keeps_sound(regions: Regions, x: Expr, factor: Expr) -> bool:
    """Whether a region is the condition of a `where` that keeps a division or a root off what it does not allow."""
    if factor.op not in ("lt", "le", "gt", "ge", "ne", "and"):
        return False
    about = regions.reads(factor)
    for choice in x.walk():
        if choice.op != "call" or choice.builtin.name != "where" or choice.args[0] is not factor:
            continue
        for node in choice.args[1].walk():
            read = regions.reads(node)
            # Where nothing is drawn, there is no depth and no direction.
            drawn = ALPHA in about and any(n.startswith(("depth", "normals")) for n in read)
            if may_fail(node) and (drawn or read & about):
                return True
    return False


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
    return None if a is None or b is None else _common(regions, a, b)


def _common(regions: Regions, a: Expr, b: Expr) -> Expr | None:
    """A region that two values are both 0 outside."""
    its = regions.zero_outside(b)
    for factor in regions.zero_outside(a):
        if factor.type.kind.is_tensor and any(regions.same(factor, other) for other in its):
            return factor
    return None


def _as_region(regions: Regions, factor: Expr, place: Expr) -> str:
    """The text of a factor as the region of a call."""
    exact = regions.context.exact
    if factor.op == "sub":
        inside = factor.args[1]
        own = exact(inside, place)
        if own is None and (whole := exact(factor, place)) is not None:  # a definition is given the complement
            return f"region({whole})"
        if own is not None and own != regions.context.exact(inside, inside):
            return f"not {own}"
        if inside.op == "region" or inside.value == MASK:
            return "unmasked" if inside.value in ("masked", MASK) else "masked"
        text = regions.context.text(inside)
        return f"not ({text})" if inside.op in ("and", "or") else f"not {text}"
    return regions.context.here(factor, place)


def _report_average(regions: Regions, place: Expr, factor: Expr) -> None:
    context, name = regions.context, regions.name(place)
    what = "gaussians" if factor.type.kind.layout == "gaussians" else "pixels"
    region, outside = _as_region(regions, factor, place), regions.context.text(factor)
    written = _rewritten(regions, place, factor, region)
    hidden = factor.source is context.report.hidden
    both = regions.comparing(place)
    divides = "divides by" if name == "mean" or both else "counts"
    effect = "what is left out counts as equal" if name == "psnr" else "the more is masked out, the smaller the term"
    context.report.emit(
        "MSK001",
        f"`{name}` {divides} all {what}, but {'both values are' if both else 'the value is'} 0 outside `{outside}`: "
        f"{effect}",
        place.source,
        place.span,
        labels=() if hidden else (Label(factor.span, "sets the others to 0", factor.source),),
        help=[
            f"`{written or _shape(regions, place, factor, region)}` {divides} the {what} that count; "
            f"{_everywhere(regions, place)} says that all are meant"
        ],
        fixes=_fixes(place, written, region),
    )


def _report_windowed(regions: Regions, place: Expr, factor: Expr) -> None:
    context, name = regions.context, regions.name(place)
    region, outside = _as_region(regions, factor, place), regions.context.text(factor)
    written = _rewritten(regions, place, factor, region)
    hidden = factor.source is context.report.hidden
    context.report.emit(
        "MSK004",
        f"`{name}` takes the pixels outside `{outside}`, black in both images, for equal ones",
        place.source,
        place.span,
        caption="windows on the border see them too",
        labels=() if hidden else (Label(factor.span, "both images are 0 outside this", factor.source),),
        help=[
            f"`{written or _shape(regions, place, factor, region)}` averages over the pixels that count; "
            f"{_everywhere(regions, place)} says that all are meant"
        ],
        fixes=_fixes(place, written, region),
    )


def _shape(regions: Regions, place: Expr, factor: Expr, region: str) -> str:
    """How the call would look, where its text cannot be rewritten: an operand whose factor is hidden is `...`."""
    operands = regions.operands(place)
    names = ("a", "b") if regions.comparing(place) else ("x",)
    texts = [_less(regions, operands[n], factor) if n in operands else "" for n in names]
    return f"{regions.name(place)}({', '.join([*texts, region] if all(texts) else ['...', region])})"


def _less(regions: Regions, e: Expr, factor: Expr) -> str:
    """The text of a product without one factor; "" where the factor is not one of its own."""
    if e.source is regions.context.report.hidden:
        return ""
    if e.op == "call" and e.builtin.name == "where" and e.args[0] is factor:
        return bare(regions.context.text(e.args[1]))
    if e.op != "mul":
        return ""
    left, right = e.args
    for one, other in ((left, right), (right, left)):
        if one is factor or regions.same(one, factor):
            return bare(regions.context.text(other))
    inner = _less(regions, left, factor)
    return f"{inner} * {regions.context.text(right)}" if inner else ""


def _everywhere(regions: Regions, place: Expr) -> str:
    """The call as it is, with the region that says that all are meant."""
    node, text = regions.call(place), regions.context.text(place)
    if node is None or not text.endswith(")") or len(text) > 50:
        return "the region `everywhere`"
    named = "r=" if node.keywords else ""
    return f"`{text[:-1]}, {named}everywhere)`"


def _fixes(place: Expr, written: str, region: str) -> list[Fix]:
    return [Fix(f"average over `{region}`", [Edit(place.span, written)])] if written else []


def _rewritten(regions: Regions, place: Expr, factor: Expr, region: str) -> str:
    """The call with the factor taken out of its products and given as the region; "" where that is not mechanical."""
    node = regions.call(place)
    if node is None or "\n" in place.source.slice(place.span):
        return ""
    names = ("a", "b") if regions.comparing(place) else ("x",)
    operands = regions.operands(place)
    if len(node.args) != len(names) or regions.name(place) != node.function.text:
        return ""
    texts = []
    for argument, name in zip(node.args, names):
        value = operands.get(name)
        made = regions.without(argument, value, factor, place.source) if value is not None else None
        if made is None:
            return ""
        texts.append(made[0])
        region = region if factor.op == "sub" else made[1]
    source = place.source
    keywords = [source.slice(k.span) for k in node.keywords]
    return f"{node.function.text}({', '.join([*texts, region, *keywords])})"
