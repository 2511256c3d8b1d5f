"""What may be a mistake in depths and normals: weights with a unit of length, directions that cancel."""

from __future__ import annotations

from ...diagnostics import Label
from ...interval import show
from ...typed import Expr, TypedTerm
from ...types import TENSOR
from .context import Context
from .parts import parts, reduced, weight
from .signs import _difference as signed_difference

KEEPS = frozenset({"abs", "relu", "norm", "dx", "dy", "component_max", "component_min", "component_mean"})
KEEPS |= {"component_sum", "detach", "blur", "box", "shift", "pool", "block_mean", "std", "median", "quantile"}
KEEPS |= {"clamp", "max", "min", "finite_or", "laplacian", "second_difference", "resize", "sample_at", "gather"}
UNITS = {1: "a length", 2: "a squared length", -1: "one over a length"}
LARGE = 10
"""A weight from here on was most likely found by trying, on one scene."""


def check_lengths(context: Context) -> None:
    """DEP007: a large weight of a term in units of length, beside terms that have no unit."""
    timeline = context.timeline
    places, found, plain = context.places, list[tuple[TypedTerm, Expr, int, float]](), False
    memo: dict[int, int | None] = {}
    for term in context.live:
        for part in parts(context, term.value):
            x = reduced(part.e)
            power = None if x is None else dimension(x, memo)
            plain = plain or (power == 0 or (power is None and x is None))
            value = weight(part, timeline)
            if power and value is not None and value >= LARGE:
                found.append((term, part.e, power, value))
    for term, e, power, value in found if plain else ():
        source, span = places.at(e)
        unit = UNITS.get(power, f"a length to the power {power}")
        context.report.emit(
            "DEP007",
            f"term `{term.name}` weighs {unit} by {show(value)}: in a scene of another size that may be too much",
            source,
            span,
            notes=["mistaken if all scenes are brought to the same size, or this loss is for one scene"],
            help=["divide by the scene's size, an `input scene_scale: number in (0, inf)`, or by the depth itself"],
        )


def dimension(root: Expr, memo: dict[int, int | None]) -> int | None:
    """The power of length that a value has; None where it is not known."""
    for e in root.operands_first(memo):
        memo[id(e)] = _dimension(e, [memo[id(a)] for a in e.args])
    return memo[id(root)]


def _dimension(e: Expr, of: list[int | None]) -> int | None:
    if e.op in ("const", "param", "size", "region") or e.op in ("lt", "le", "gt", "ge", "eq", "ne"):
        return 0
    if e.op in ("input", "field"):
        return _given(e)
    if e.op in ("neg", "component"):
        return of[0]
    if e.op in ("add", "sub", "if"):
        values = [of[0], of[-1]]
        moving = [v for a, v in zip((e.args[0], e.args[-1]), values) if a.type.stage == TENSOR]
        return moving[0] if moving and all(v == moving[0] for v in moving) else None if moving else 0
    if e.op in ("mul", "div"):
        return None if None in of else of[0] + (of[1] if e.op == "mul" else -of[1])  # type: ignore[operator]
    if e.op == "pow":
        whole = e.args[1].type.range
        return int(of[0] * whole.lo) if of[0] is not None and whole.is_point and whole.lo == int(whole.lo) else None
    if e.op != "call":
        return None
    name = e.builtin.name
    if name == "sq":
        return None if of[0] is None else 2 * of[0]
    if name in KEEPS:
        tensors = [v for a, v in zip(e.args, of) if a.type.stage == TENSOR]
        return tensors[0] if tensors else 0
    if name == "where":
        chosen = [v for a, v in zip(e.args[1:], of[1:]) if a.op != "const"]
        return chosen[0] if chosen and all(v == chosen[0] for v in chosen) else None
    return 0 if all(v == 0 for v in of) else None


def _given(e: Expr) -> int | None:
    name = str(e.value).rpartition("state.")[2]
    if "state." in str(e.value):
        return {"scales": 1, "means": 1}.get(name, 0 if name != "log_scales" else None)
    if e.type.kind.name == "depth":
        facts = {key: fact.value for key, fact in e.type.facts.items()}
        if facts.get("unit", "metric") != "metric":
            return None
        return -1 if facts.get("form") == "inverse" else 1
    if str(e.value).rpartition(".")[2] == "distortion":
        return 1
    if e.type.kind.name in ("image", "normals", "region") or str(e.value) in ("alpha", "step", "max_steps", "progress"):
        return 0
    return None


def check_signs(context: Context) -> None:
    """NRM003: the mean of a cosine or of a difference, in which opposite errors cancel."""
    places = context.places
    for term in context.live:
        for part in parts(context, term.value):
            x = reduced(part.e)
            if x is None or x.type.range.lo >= 0 or x.type.range.hi <= 0 or id(x) in context.explained:
                continue
            if signed_difference(x) is not None:
                continue  # SSM022 is certain of it
            source, span = places.at(part.e)
            if x.op == "call" and x.builtin.name == "dot" and not part.negative:
                message = f"term `{term.name}` is smallest where the directions are opposite, not where they agree"
                help_ = [f"to make them agree write `1 - {context.text(x)}`; to make them orthogonal, its `abs`"]
            elif x.op == "sub" and all(a.type.stage == TENSOR and a.type.kind.is_tensor for a in x.args):
                message = f"errors of opposite sign may cancel in term `{term.name}`"
                help_ = [f"take the absolute value first: `mean(abs({context.text(x)}))`"]
            else:
                continue
            notes = ["mistaken if the value itself is to become small, not its distance from a target"]
            context.report.emit("NRM003", message, source, span, notes=notes, help=help_)


def check_weighted(context: Context) -> None:
    """NRM002: unit normals meet normals weighted by coverage."""
    places = context.places
    said: set[tuple[int, int]] = set()
    for _, e in context.values():
        meets = e.op == "sub" or (e.op == "call" and e.builtin.name == "dot")
        lengths = [a.type.facts.get("length") for a in e.args[:2]] if meets else []
        if len(lengths) != 2 or lengths[0] is None or lengths[1] is None or lengths[0].value == lengths[1].value:
            continue
        source, span = places.at(e)
        if (id(source), span.start) in said:
            continue
        said.add((id(source), span.start))
        weighted = e.args[0] if lengths[0].value == "weighted" else e.args[1]
        unit = e.args[1] if weighted is e.args[0] else e.args[0]
        labels = []
        for a, word in (
            (weighted, "weighted: shorter than 1 where the render is not opaque"),
            (unit, "unit"),
        ):
            if a.source is not context.report.hidden:
                labels.append(Label(a.span, word, a.source))
        context.report.emit(
            "NRM002",
            "unit normals meet weighted ones: where the render is not opaque, equal directions may count as an error",
            source,
            span,
            labels=labels,
            notes=["mistaken if the render is opaque there, or if the error is meant to count coverage"],
            help=["`normalize` the weighted ones, or multiply the others by `detach(alpha)`"],
        )
