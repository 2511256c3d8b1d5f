"""What makes one number of many, and what makes one component of several."""

from __future__ import annotations

from ..interval import NONNEGATIVE, REALS, ZERO, Interval
from .spec import Builtin, Ranges


def _with_empty(r: Ranges) -> Interval:
    """A reduction over a region can be empty, and then it is 0; over everything it is in the operand's range."""
    x = r["x"] or REALS
    return x if r.get("r") is None else x.hull(ZERO)


def _sum(r: Ranges) -> Interval:
    x = r["x"] or REALS
    if x.lo >= 0:
        return NONNEGATIVE
    return -NONNEGATIVE if x.hi <= 0 else REALS


MEAN = Builtin(
    "mean",
    "(x: tensor, r: region = everywhere) -> number",
    "Mean over the pixels or gaussians of `r` and over the components: sum(x*r) / (components * sum(r)). An empty "
    "region gives 0 with zero gradient.",
    good="term sparse = 0.01 * mean(state.opacities, visible)",
    bad="term sparse = 0.01 * mean(state.opacities, masked)",
    bad_code="TYP003",
    kernel="reductions:mean",
    range=_with_empty,
    keeps=("x",),
    reduces=True,
)

SUM = Builtin(
    "sum",
    "(x: tensor, r: region = everywhere) -> number",
    "Sum over the pixels or gaussians of `r` and over the components. It grows with the resolution or with the "
    "number of gaussians.",
    good="term empty = 1e-6 * sum(alpha, unmasked)",
    bad="term empty = sum(step)",
    bad_code="TYP001",
    kernel="reductions:sum",
    range=_sum,
    keeps=("x",),
    reduces=True,
)

MAX_OVER = Builtin(
    "max_over",
    "(x: tensor, r: region = everywhere) -> number",
    "The largest value inside `r`, over all components; 0 with zero gradient when the region is empty.",
    good="term outlier = 0.01 * relu(max_over(state.scales) - 1)",
    bad="term outlier = max_over(state.scales, 3)",
    bad_code="TYP001",
    kernel="reductions:max_over",
    range=_with_empty,
    keeps=("x",),
    reduces=True,
)

MIN_OVER = Builtin(
    "min_over",
    "(x: tensor, r: region = everywhere) -> number",
    "The smallest value inside `r`, over all components; 0 with zero gradient when the region is empty.",
    good="term near = relu(0.1 - min_over(depth, alpha > 0.5))",
    bad="term near = min_over(0.5)",
    bad_code="TYP001",
    kernel="reductions:min_over",
    range=_with_empty,
    keeps=("x",),
    reduces=True,
)

COMPONENT_MAX = Builtin(
    "component_max",
    "(x: tensor) -> component x",
    "The largest component of each pixel or gaussian; keeps a trailing 1.",
    good="term flat = mean(component_max(state.scales))",
    bad="term flat = component_max(state.scales)",
    bad_code="TYP002",
    kernel="reductions:component_max",
    range=lambda r: r["x"] or REALS,
    keeps=("x",),
)

COMPONENT_MIN = Builtin(
    "component_min",
    "(x: tensor) -> component x",
    "The smallest component of each pixel or gaussian; keeps a trailing 1.",
    good="term flat = mean(component_min(state.scales))",
    bad="term flat = mean(component_min(2.0))",
    bad_code="TYP001",
    kernel="reductions:component_min",
    range=lambda r: r["x"] or REALS,
    keeps=("x",),
)

BUILTINS: tuple[Builtin, ...] = (MEAN, SUM, MAX_OVER, MIN_OVER, COMPONENT_MAX, COMPONENT_MIN)
