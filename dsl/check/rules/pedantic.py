"""What may be a mistake in weights and reductions: on only when asked for, and worded as a possibility."""

from __future__ import annotations

from collections.abc import Iterator

from ...diagnostics import Label
from ...inputs import BY_NAME
from ...interval import show
from ...typed import Expr, TypedTerm
from ...types import MAP, NUMBER, PARAMETER, STEP, TENSOR, VIEW
from .context import Context
from .flow import carried
from .parts import POINTWISE, Part, parts, reduced, weight
from .places import Places
from .schedules import MOST_FACTORS, factors

LARGE, SMALL = 1e4, 1e-7
"""Weights beyond these are rarely meant."""

LEAST_TOTAL, MOST_TOTAL = 0.25, 4.0
"""Between these, the photometric terms together weigh about 1."""


def _user(places: Places, context: Context, e: Expr, term: TypedTerm) -> Expr:
    here = places.of(e)
    return term.value if here.source is context.report.hidden else here


# Reductions


def check_mean_of_scales(context: Context) -> None:
    """RED002: the mean of the scales over all gaussians, which one huge gaussian hardly moves."""
    places = context.places
    for term in context.live:
        for part in parts(context, term.value):
            x = reduced(part.e)
            region = part.e.arg("r") if x is not None else None
            if x is None or region is None or region.op != "region" or part.negative or part.e.builtin.name != "mean":
                continue
            while x.op == "call" and x.builtin.name in ("component_max", "component_mean", "component_sum", "norm"):
                x = x.args[0]
            if x.op in ("input", "field") and str(x.value).endswith("state.scales"):
                source, span = places.at(part.e)
                context.report.emit(
                    "RED002",
                    f"term `{term.name}` may leave huge gaussians alone: each weighs 1 / N in the mean",
                    source,
                    span,
                    notes=["mistaken if no gaussian is much larger than the others, or if pruning removes those"],
                    help=[
                        "to bound the largest write `mean(relu(state.scales - limit))`; to act on what is in view, "
                        "`mean(state.scales, visible)`"
                    ],
                )


def check_mean_of_means(context: Context) -> None:
    """RED004: the mean over views of means over as many pixels as each view happens to have."""
    for _, e in context.values():
        if e.op != "over" or e.args[0].type.kind.element != VIEW:
            continue
        for node in e.args[1].walk():
            region = node.arg("r") if node.op == "call" and node.builtin.name == "mean" else None
            if region is None or not _of_item(region):
                continue
            context.report.emit(
                "RED004",
                "this may weigh pixels unequally: each view counts the same, however few of its pixels count",
                e.source,
                e.span,
                labels=[Label(node.span, "a mean over the pixels that count in one view", node.source)],
                notes=["mistaken if each view is meant to weigh the same"],
                help=["for the same weight of each pixel, divide a `sum` of sums by a `sum` of counts"],
            )
            break


def _of_item(region: Expr) -> bool:
    return any(n.op == "item" or (n.op == "region" and "masked" in str(n.value)) for n in region.walk())


def check_tables(context: Context) -> None:
    """RED006: a table of its own, such as the grids of all images, that is read as a whole at every step."""
    gated: dict[int, bool] = {}
    seen: set[tuple[int, str]] = set()
    for term, e in context.values():
        if e.op != "input" or e.value not in context.program.inputs or (id(term), e.value) in seen:
            continue
        kind = e.type.kind.element if e.type.kind.name == "list" else e.type.kind
        if kind is None or kind.name != "tensor":
            continue
        letters = [*kind.space.split(), *("k" if kind.components != 1 else "")]
        if len(letters) + (kind is not e.type.kind) < 4 or {"B", "H", "W", "N"} & set(letters):
            continue
        if id(term) not in gated:
            when = () if term.when is None else term.when.walk()
            gated[id(term)] = any(n.op == "call" and n.builtin.name in ("every", "chance") for n in when)
        if gated[id(term)]:
            continue
        seen.add((id(term), e.value))
        context.report.emit(
            "RED006",
            f"term `{term.name}` reads all of `{context.text(e)}` at every step",
            e.source,
            e.span,
            notes=["mistaken if it is small, or holds the current image's part alone"],
            help=["let it act at every k-th step: `... when every(step, 10)`, with 10 times the weight"],
        )


# Weights


def check_total(context: Context) -> None:
    """RED005: the photometric terms weigh much more, or much less, than 1 in total."""
    timeline, total, first = context.timeline, 0.0, None
    compared = _Compared()
    for term in context.live:
        for part in parts(context, term.value):
            if part.e.type.kind != NUMBER or not compared.holds(part.e):
                continue
            value = weight(part, timeline)
            moves = term.when is not None or any(f.type.stage == STEP for f, _ in part.factors)
            if value is None or moves or term.group:
                return  # the total changes during the run
            total, first = total + _steepest(part.e, value), first or term
    if first is None or LEAST_TOTAL <= total <= MOST_TOTAL:
        return
    context.report.emit(
        "RED005",
        f"the photometric terms weigh {show(round(total, 6))} in total: thresholds of densification may not fit",
        first.source,
        first.span,
        notes=[
            "gradients grow with the loss, and densification compares them with a fixed number",
            "mistaken if the threshold was chosen for this loss, or if nothing is densified by gradients",
        ],
        help=["let the photometric weights add up to 1, and scale the other terms against them"],
    )


def _steepest(e: Expr, value: float) -> float:
    """The weight of a loss whose slope is not 1 for large errors: `huber(delta=d) / d` weighs 1."""
    delta = e.via.args.get("delta") if e.via is not None and e.via.prelude and e.via.name == "huber" else None
    if delta is None or not delta.type.range.is_point or LEAST_TOTAL <= value <= MOST_TOTAL:
        return value
    return value * delta.type.range.lo


class _Compared:
    """Which values compare something with the photograph."""

    def __init__(self) -> None:
        self._reads: dict[int, bool] = {}
        self._compares: dict[int, bool] = {}

    def holds(self, root: Expr) -> bool:
        """Whether a value does, or anything that it is made of."""
        for e in root.operands_first(self._compares):
            self._reads[id(e)] = (e.op == "input" and e.value == "target") or any(self._reads[id(a)] for a in e.args)
            if e.op == "sub":
                left, right = e.args
                here = left.type.kind == right.type.kind and self._reads[id(left)] != self._reads[id(right)]
            else:
                here = e.op == "call" and {"a", "b"} <= {*e.names} and self._reads[id(e)]
            self._compares[id(e)] = here or any(self._compares[id(a)] for a in e.args)
        return self._compares[id(root)]


def check_extremes(context: Context) -> None:
    """RED022: a weight beyond any that is usual."""
    timeline = context.timeline
    for term in context.live:
        for part in parts(context, term.value):
            value = weight(part, timeline) if part.factors else None
            if value is None or SMALL <= value <= LARGE or value == 0:
                continue
            factor = max((f for f, _ in part.factors), key=lambda f: f.source is not context.report.hidden)
            hidden = factor.source is context.report.hidden
            size = "large" if value > LARGE else "small"
            context.report.emit(
                "RED022",
                f"the weight {show(value)} in term `{term.name}` is very {size}",
                term.source if hidden else factor.source,
                term.span if hidden else factor.span,
                notes=["mistaken if the value that it weighs is as small or as large, such as a product of scales"],
                help=["look at the term's share of the loss, and measure its value in a unit near 1"],
            )
            break


def check_branches(context: Context) -> None:
    """RED023: a choice that depends on how large a numeric parameter is."""
    for _, e in context.values():
        if e.op != "if" or e.args[1].type.stage != PARAMETER or e.source is context.report.hidden:
            continue
        for node in e.args[1].walk():
            numeric = next((a for a in node.args if a.op == "param" and a.type.kind == NUMBER), None)
            if node.op not in ("lt", "le", "gt", "ge") or numeric is None:
                continue
            context.report.emit(
                "RED023",
                f"the loss may jump where `{context.text(node)}` changes",
                node.source,
                node.span,
                notes=["mistaken if both branches agree there, or if the parameter is never tuned"],
                help=[f"for a switch declare a mode or a flag, as in `param use_{numeric.value}: flag = false`"],
            )
            break


def check_shared(context: Context) -> None:
    """RED024: one parameter weighs several terms."""
    weighed: dict[str, list[tuple[TypedTerm, Expr]]] = {}
    for term in context.live:
        own = {f.value: f for f in factors(term.value) if f.op == "param"}
        for name, factor in own.items():
            weighed.setdefault(name, []).append((term, factor))
    for name, terms in weighed.items():
        if len(terms) < 2 or len({t.group for t, _ in terms}) > 1:
            continue
        if all(a.when is not None for a, _ in terms):
            continue  # they may take turns
        (first, at), (second, factor) = terms[:2]
        context.report.emit(
            "RED024",
            f"`{name}` weighs both `{first.name}` and `{second.name}`: tuning one changes the other",
            factor.source,
            factor.span,
            labels=[Label(at.span, "and here", at.source)],
            notes=["mistaken if the terms belong together"],
            help=["give each term a weight of its own"],
        )


# Parameters of the gaussians


def _regularised(context: Context) -> dict[str, list[tuple[TypedTerm, Part]]]:
    """Groups of the gaussians' parameters, and the terms that act on one of them alone."""
    found: dict[str, list[tuple[TypedTerm, Part]]] = {}
    memo = context.carried
    names = {"log_scales": "scales", "opacity_logits": "opacities"}
    for term in context.live:
        own: dict[str, Part] = {}
        for part in parts(context, term.value):
            reached = {n.rpartition("state.")[2] for n in carried(part.e, memo)}
            if len(reached) == 1 and all("state." in n for n in carried(part.e, memo)):
                (name,) = reached
                own.setdefault(names.get(name, name), part)
        for name, part in own.items():
            found.setdefault(name, []).append((term, part))
    return found


def check_several(context: Context) -> None:
    """RED025: several regularisers of one parameter; RED026: opacities are lowered and nothing holds the scales."""
    found = _regularised(context)
    for name in sorted(found):
        terms = [(t, p) for t, p in found[name] if t.when is None]
        if len(terms) > 1 and len({t.group for t, _ in terms}) == 1:
            (first, _), (second, _) = terms[:2]
            context.report.emit(
                "RED025",
                f"terms `{first.name}` and `{second.name}` both pull at `state.{name}` and nothing else",
                second.source,
                second.span,
                labels=[Label(first.span, "the first of them", first.source)],
                notes=["mistaken if they bound different things, such as size and shape"],
                help=["check that they do not pull against each other, or make one term of them"],
            )
    lowering = [(t, p) for t, p in found.get("opacities", []) if not p.negative and _is_mean_of(p.e, "opacities")]
    if lowering and "scales" not in found:
        term, _ = lowering[0]
        context.report.emit(
            "RED026",
            f"term `{term.name}` lowers opacities, and nothing holds the scales: gaussians may grow to make up for it",
            term.source,
            term.span,
            notes=["mistaken if pruning or the photographs bound the scales"],
            help=["add a term such as `0.01 * scale_reg(state)`, as 3DGS-MCMC does"],
        )


def _is_mean_of(e: Expr, field: str) -> bool:
    x = reduced(e)
    return x is not None and x.op in ("input", "field") and str(x.value).endswith(f"state.{field}")


# Gradients


def check_transparency(context: Context) -> None:
    """GRD020: an error that is weighed by coverage, which falls when the surface becomes transparent."""
    places = context.places
    memo = context.carried
    for term in context.live:
        for part in parts(context, term.value):
            x = reduced(part.e)
            found = None if x is None or part.negative else _weighed(x, memo)
            if found is None:
                continue
            coverage = found
            here = _user(places, context, coverage, term)
            context.report.emit(
                "GRD020",
                f"term `{term.name}` may fall by transparency instead of a better fit: `{context.text(coverage)}`"
                " weighs the error",
                here.source,
                here.span,
                notes=["mistaken if another term holds the coverage up"],
                help=[f"let it weigh without a gradient: `detach({context.text(coverage)})`"],
            )


def _weighed(x: Expr, memo: dict[int, frozenset[str]]) -> Expr | None:
    """The coverage that multiplies an error, with its gradient."""
    product = list(_product(x))
    # A declared input may carry gradient too, but is mostly data.
    errors = [o for o in product if o.type.stage == TENSOR and o.type.kind.name != "region" and o.type.range.lo >= 0]
    if not any(n in BY_NAME for o in errors for n in carried(o, memo) - {"alpha"}):
        return None
    for e in product:
        if e.type.kind != MAP or carried(e, memo) != {"alpha"} or e.type.range.lo < 0 or e.op not in ("input", "call"):
            continue
        if e.op == "call" and e.builtin.name not in ("clamp", "max", "min", *POINTWISE):
            continue
        return e  # coverage carries "alpha" alone, so that it is none of the errors itself
    return None


def _product(e: Expr) -> Iterator[Expr]:
    stack, left = [e], MOST_FACTORS
    while stack and left:
        left -= 1
        node = stack.pop()
        if node.op == "mul":
            stack.extend(reversed(node.args))
        else:
            yield node
