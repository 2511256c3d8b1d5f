"""What makes one number of many."""

from __future__ import annotations

from collections.abc import Mapping

from ..facts import without
from ..interval import NONNEGATIVE, REALS, Interval
from ..types import NO_FACTS, Facts
from . import bounds, shapes
from .spec import Builtin, Ranges


def _sum(r: Ranges) -> Interval:
    x = r["x"] or REALS
    if x.lo >= 0:
        return NONNEGATIVE
    return -NONNEGATIVE if x.hi <= 0 else REALS


def _variance(r: Ranges) -> Interval:
    return bounds.spread(r).increasing(lambda v: v * v)


def _over_facts(given: Mapping[str, Facts]) -> Facts:
    """Means over one dimension mean what the values do; a mean of everything is only a number."""
    return without(given["x"], "length") if "over" in given else NO_FACTS


MEAN = Builtin(
    "mean",
    "(x: tensor, r: region = everywhere; over: string = none) -> number",
    "Mean over the pixels or gaussians of `r` and over the components: sum(x*r) / (components * sum(r)). An empty "
    'region gives 0 with zero gradient. With `over`, only that dimension goes, as in `mean(x, over="K")`.',
    good="term sparse = 0.01 * mean(state.opacities, visible)",
    bad="term sparse = 0.01 * mean(state.opacities, masked)",
    bad_code="TYP003",
    kernel="reductions:mean",
    range=bounds.in_region,
    keeps=("x",),
    reduces=True,
    refact=_over_facts,
    kind=shapes.reduced,
    check=shapes.check_over,
)

SUM = Builtin(
    "sum",
    "(x: tensor, r: region = everywhere; over: string = none) -> number",
    "Sum over the pixels or gaussians of `r` and over the components. It grows with the resolution or with the "
    "number of gaussians. With `over`, only that dimension goes.",
    good="term empty = sum(alpha, unmasked) / (H * W)",
    bad="term empty = sum(step)",
    bad_code="TYP001",
    kernel="reductions:sum",
    range=_sum,
    keeps=("x",),
    reduces=True,
    refact=_over_facts,
    kind=shapes.reduced,
    check=shapes.check_over,
)

MAX_OVER = Builtin(
    "max_over",
    "(x: tensor, r: region = everywhere) -> number",
    "The largest value inside `r`, over all components; 0 with zero gradient when the region is empty.",
    good="term outlier = 0.01 * relu(max_over(state.scales) - 1)",
    bad="term outlier = max_over(state.scales, 3)",
    bad_code="TYP001",
    kernel="reductions:max_over",
    range=bounds.in_region,
    keeps=("x",),
    reduces=True,
    facts=("x",),
    drops=("density", "length", "role"),
)

MIN_OVER = Builtin(
    "min_over",
    "(x: tensor, r: region = everywhere) -> number",
    "The smallest value inside `r`, over all components; 0 with zero gradient when the region is empty.",
    good="term near = relu(0.1 - min_over(depth, alpha > 0.5))",
    bad="term near = min_over(0.5)",
    bad_code="TYP001",
    kernel="reductions:min_over",
    range=bounds.in_region,
    keeps=("x",),
    reduces=True,
    facts=("x",),
    drops=("density", "length", "role"),
)

STD = Builtin(
    "std",
    "(x: tensor, r: region = everywhere; over: string = none) -> statistic x",
    "Standard deviation of the values inside `r`, over all components, one for each image; divides by their number. "
    "Its gradient at 0 is 0. An empty region gives 0.",
    good="term even = 0.01 * mean(std(depth, masked))",
    bad="term even = 0.01 * std(depth, masked)",
    bad_code="TYP002",
    kernel="statistics:std",
    needs=("per_image",),
    range=bounds.spread,
    reduces=True,
    kind=shapes.statistic,
    check=shapes.check_over,
)

VAR = Builtin(
    "var",
    "(x: tensor, r: region = everywhere; over: string = none) -> statistic x",
    "Variance of the values inside `r`, over all components, one for each image; divides by their number. An empty "
    "region gives 0.",
    good="term even = 0.01 * mean(var(depth, masked))",
    bad="term even = 0.01 * var(0.5)",
    bad_code="TYP001",
    kernel="statistics:var",
    needs=("per_image",),
    range=_variance,
    reduces=True,
    kind=shapes.statistic,
    check=shapes.check_over,
)

MEDIAN = Builtin(
    "median",
    "(x: tensor, r: region = everywhere; over: string = none) -> statistic x",
    "Median of the values inside `r`, over all components, one for each image; between the two middle values where "
    "their number is even. An empty region gives 0.",
    good="let error = detach(abs(component_mean(rendered - target)))\nterm robust = l1(error < 10 * median(error))",
    bad="term robust = median(abs(rendered - target))",
    bad_code="TYP002",
    kernel="statistics:median",
    needs=("per_image",),
    range=bounds.in_region,
    keeps=("x",),
    reduces=True,
    facts=("x",),
    drops=("density", "length", "role"),
    kind=shapes.statistic,
    check=shapes.check_over,
)

QUANTILE = Builtin(
    "quantile",
    "(x: tensor, q: number in [0, 1], r: region = everywhere) -> statistic x",
    "The value that the fraction `q` of the values inside `r` lies below, over all components, one for each image; "
    "linear between values. An empty region gives 0.",
    good="let error = detach(abs(component_mean(rendered - target)))\nterm robust = l1(error <= quantile(error, 0.8))",
    bad="term robust = mean(quantile(alpha, 80))",
    bad_code="RNG003",
    kernel="statistics:quantile",
    needs=("per_image",),
    range=bounds.in_region,
    keeps=("x",),
    reduces=True,
    facts=("x",),
    drops=("density", "length", "role"),
    kind=shapes.statistic,
)

SMALLEST_MEAN = Builtin(
    "smallest_mean",
    "(x: tensor, fraction: number in (0, 1], r: region = everywhere) -> number",
    "Mean of the smallest values inside `r`: of this fraction of them, at least one. An empty region gives 0.",
    good="term robust = smallest_mean(abs(rendered - target), 0.95, masked)",
    bad="term robust = smallest_mean(abs(rendered - target), 95, masked)",
    bad_code="RNG003",
    kernel="reductions:smallest_mean",
    range=bounds.in_region,
    source="Yan et al., Street Gaussians, ECCV 2024, released code: lidar depth over the best 95 percent",
    keeps=("x",),
    reduces=True,
)

LARGEST_MEAN = Builtin(
    "largest_mean",
    "(x: tensor, fraction: number in (0, 1], r: region = everywhere) -> number",
    "Mean of the largest values inside `r`: of this fraction of them, at least one. An empty region gives 0.",
    good="term worst = largest_mean(abs(rendered - target), 0.1, masked)",
    bad="term worst = largest_mean(abs(rendered - target), masked)",
    bad_code="TYP001",
    kernel="reductions:largest_mean",
    range=bounds.in_region,
    keeps=("x",),
    reduces=True,
)

BUILTINS: tuple[Builtin, ...] = (
    MEAN,
    SUM,
    MAX_OVER,
    MIN_OVER,
    STD,
    VAR,
    MEDIAN,
    QUANTILE,
    SMALLEST_MEAN,
    LARGEST_MEAN,
)
