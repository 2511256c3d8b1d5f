"""Means that are written out: a sum over a count, and whether the count is that of what was summed."""

from __future__ import annotations

from collections.abc import Iterator

from ...diagnostics import Applicability, Edit, Fix, Label
from ...typed import Expr, TypedTerm
from .composite import factors
from .context import Context
from .regions import RENDERED, TARGET, Regions, is_factor

SIZES = {"pixels": frozenset("HW"), "gaussians": frozenset("N")}
"""The letters by which a sum is divided to make it a mean."""

OTHERS = {"pixels": frozenset("N"), "gaussians": frozenset("BHW")}
"""Letters that count something else."""

WORDS = {2: "two", 3: "three"}


def shared_out(regions: Regions) -> set[int]:
    """The means of what is 0 outside a region that are divided by the mean of that region: means over it, by hand."""
    found: set[int] = set()
    for _, e in regions.context.values():
        for above, below in _quotients(e):
            shares = [n.args[0] for n in _near(below) if n.op == "call" and n.builtin.name == "mean"]
            if not shares:
                continue
            weights = [f for x in shares for f in regions.zero_outside(x)]
            for mean in _summands(above):
                x = mean.arg("x") if mean.op == "call" and mean.builtin.name == "mean" else None
                if x is not None and any(regions.same(f, w) for f in regions.zero_outside(x) for w in weights):
                    found.add(id(mean))
    return found


def _quotients(e: Expr) -> Iterator[tuple[Expr, Expr]]:
    """What is divided by what, also as a product with 1 over something."""
    if e.op == "div":
        yield e.args[0], e.args[1]
    elif e.op == "mul":
        for above, over in (e.args, e.args[::-1]):
            if over.op == "div" and over.args[0].type.is_host:
                yield above, over.args[1]


def _near(e: Expr) -> Iterator[Expr]:
    """A divisor and what it is made of pointwise: floors and factors apart, no further than anyone writes."""
    stack, left = [e], 30
    while stack and left:
        node = stack.pop()
        left -= 1
        yield node
        if node.op in ("add", "mul", "div") or (node.op == "call" and node.builtin.name in ("max", "clamp", "detach")):
            stack.extend(node.args)


def _summands(e: Expr) -> Iterator[Expr]:
    """What a value grows with in proportion: without host factors, signs and sums."""
    stack, left = [e], 200
    while stack and left:
        node = stack.pop()
        left -= 1
        if node.op in ("add", "sub", "neg"):
            stack.extend(node.args)
        elif node.op == "mul" and any(a.type.is_host for a in node.args):
            stack.extend(a for a in node.args if not a.type.is_host)
        elif node.op == "div" and node.args[1].type.is_host:
            stack.append(node.args[0])
        else:
            yield node


def check(context: Context) -> None:
    """MSK001, RED001 and RED027 for sums that are divided by the number of something else."""
    regions = context.regions
    scaled = _scaled(context)
    for term, e in context.values():
        if e.op != "div" or e.source is context.report.hidden:
            continue
        above, _ = _unscaled(e.args[0])
        if above.op != "call" or above.builtin.name != "sum" or "over" in above.names:
            continue
        letters = _letters(e.args[1])
        if letters:
            _by_size(regions, term, e, above, letters)
        elif id(e) not in scaled:
            _by_region(regions, term, e, above)


def _letters(e: Expr) -> frozenset[str]:
    """The letters of a product of sizes and numbers; none if it is anything else."""
    found: set[str] = set()
    stack, left = [e], 100
    while stack and left:
        node = stack.pop()
        left -= 1
        if node.op == "size":
            found.add(str(node.value))
        elif node.op == "mul" or (node.op == "call" and node.builtin.name == "max"):
            stack.extend(node.args)
        elif node.op != "const":
            return frozenset()
    return frozenset(found)


def _by_size(regions: Regions, term: TypedTerm, e: Expr, above: Expr, letters: frozenset[str]) -> None:
    context, x, r = regions.context, above.arg("x"), above.arg("r")
    if x is None or x.type.kind.layout not in SIZES:
        return
    what = x.type.kind.layout
    source, span = regions.places.at(e)
    if letters <= OTHERS[what]:
        if any(n.op == "size" or (n.op == "call" and n.builtin.name in ("sum", "mean")) for n in x.walk()):
            return  # the sum may be one of shares
        other = "gaussians" if what == "pixels" else "pixels"
        count = "`H * W`" if what == "pixels" else "`N`"
        context.report.emit(
            "RED001",
            f"term `{term.name}` divides a sum over {what} by the number of {other}",
            source,
            span,
            labels=[Label(above.span, f"over {what}", above.source)] if above.source is e.source else (),
            help=[f"take the `mean`, or divide by {count}"],
        )
        return
    if not SIZES[what] <= letters or r is None or is_factor(x) or not regions.left_out(above, r):
        return
    factor = next((f for f in regions.zero_outside(x) if f.type.kind.is_tensor and regions.counts(f, x)), None)
    if factor is None:
        return
    text = context.text(factor)
    labels = () if factor.source is context.report.hidden else (Label(factor.span, "0 outside", factor.source),)
    context.report.emit(
        "MSK001",
        f"this divides by the number of all {what}, also of those outside `{text}`, where the sum is of zeros",
        source,
        span,
        labels=labels,
        help=[
            f"write `mean(x, {text})`: it averages over the {what} that count",
            f"if all {what} are meant to be averaged over, say so: `sum({context.text(x)}, everywhere)`",
        ],
    )


# The same for a region that is counted once for all components


def _scaled(context: Context) -> set[int]:
    """Values that a multiple of 3 divides: it may be the number of components."""
    found: set[int] = set()
    for _, e in context.values():
        if e.op in ("mul", "div") and any(_third(e, a) for a in e.args):
            found.update(id(n) for a in e.args if not a.type.is_host for n in _summands(a))
    return found


def _third(e: Expr, host: Expr) -> bool:
    """Whether an operand of a product or a quotient makes the other one smaller by a multiple of 3."""
    at = host.type.range
    if not host.type.is_host or not at.is_point or at.lo <= 0 or (e.op == "div" and host is not e.args[1]):
        return False
    thirds = (at.lo if e.op == "div" else 1 / at.lo) / 3
    return 0.9 < thirds < 1_000 and abs(thirds - round(thirds)) < 0.01


def _unscaled(e: Expr) -> tuple[Expr, bool]:
    """A value without the host numbers that multiply it, and whether one of them divides by a multiple of 3."""
    thirds = False
    while e.op in ("mul", "div") and len(tensors := [a for a in e.args if not a.type.is_host]) == 1:
        if e.op == "div" and tensors[0] is e.args[1]:
            break
        thirds = thirds or any(_third(e, a) for a in e.args)
        (e,) = tensors
    return e, thirds


def _by_region(regions: Regions, term: TypedTerm, e: Expr, above: Expr) -> None:
    context, x = regions.context, above.arg("x")
    if x is None or _unscaled(e.args[0])[1]:
        return
    components = x.type.kind.components
    if not isinstance(components, int) or components < 2 or not {RENDERED, TARGET} & regions.reads(x):
        return
    counted = _counted(e.args[1])
    region = None if counted is None else counted.arg("x")
    if counted is None or region is None or region.type.kind.components != 1:
        return
    r = above.arg("r")
    if r is not None and r.type.kind.space != "any":
        shared, over = regions.same(r, region), r
    else:
        weights = (region, *regions.zero_outside(region))
        inside = (*regions.zero_outside(x), *factors(x))
        over = next((f for f in inside if any(regions.same(f, w) for w in weights)), x)
        shared = over is not x and over.type.kind.components == 1
    if not shared:
        return
    number = WORDS.get(components, str(components))
    source, span = regions.places.at(e)
    text = context.here(region, e)
    as_region = text if region.type.kind.name == "region" else f"region({text})"
    made = _written(regions, e, above, over)
    context.report.emit(
        "RED027",
        f"term `{term.name}` divides a sum over {number} components by a count of "
        f"pixels: it is {components} times the mean",
        source,
        span,
        labels=[
            Label(at.span, words, at.source)
            for at, words in ((above, f"sums {number} components"), (counted, "counts each pixel once"))
            if at.source is not context.report.hidden
        ],
        help=[f"write `{made or f'mean(x, {as_region})'}`, or divide by {components} times the count"],
        fixes=[Fix("take the mean", [Edit(e.span, made)], Applicability.UNSAFE)]
        if made and e.source is context.program.source
        else (),
    )


def _counted(e: Expr) -> Expr | None:
    """The sum of weights in a divisor that is nothing else, floors apart."""
    if e.op == "call" and e.builtin.name == "sum" and "over" not in e.names:
        return e
    limited = e.op == "call" and e.builtin.name in ("max", "clamp")
    if limited or e.op == "add":
        tensors = [a for a in e.args if not a.type.is_host]
        return _counted(tensors[0]) if len(tensors) == 1 and len(e.args) < 4 else None
    return None


def _written(regions: Regions, e: Expr, above: Expr, over: Expr) -> str:
    """The mean, where the sum is written out in the division."""
    node = regions.call(above)
    x = above.arg("x")
    if node is None or x is None or e.args[0] is not above or node.keywords or over.type.kind.name != "region":
        return ""
    if len(node.args) == 2:
        return "mean" + above.source.slice(above.span)[len("sum") :]
    made = regions.without(node.args[0], x, over, above.source)
    return f"mean({made[0]}, {made[1]})" if made is not None else ""
