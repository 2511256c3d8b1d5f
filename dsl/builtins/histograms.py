"""Histograms, for statistics that are kept over many steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..interval import REALS, Interval, point
from ..types import Kind
from .shapes import Args, all_of, written, written_out, wrong
from .spec import Builtin, Problem, Ranges

if TYPE_CHECKING:
    from ..typed import Expr


def _bins(args: Mapping[str, Expr]) -> Kind:
    return Kind("tensor", written(args["bins"]), 1)


def _check_bounds(args: Args) -> Problem | None:
    lo, hi = args["lo"][0], args["hi"][0]
    if lo.type.range.hi < hi.type.range.lo:
        return None
    return wrong(hi, "a histogram ends above where it begins", "give `lo` and `hi` in order", "RNG003")


def _check_quantile(args: Args) -> Problem | None:
    h = args["h"][0]
    if h.type.kind.name == "tensor" and not h.type.kind.layout[:1].isupper() and h.type.kind.components == 1:
        return _check_bounds(args)
    return wrong(h, f"`h` must be a histogram, but this is {h.type.kind.describe()}", "make it with `histogram`")


def _between_bounds(r: Ranges) -> Interval:
    return (r.get("lo") or REALS).hull(r.get("hi") or point(1.0))


HISTOGRAM = Builtin(
    "histogram",
    "(x: tensor, r: region = everywhere; bins: whole >= 1, lo: host, hi: host) -> like x >= 0",
    "How many values inside `r` are in each of `bins` equal parts of lo..hi, a value counting as much as `r` is there; "
    "what lies outside lo..hi counts in the first or the last. No gradient.",
    good="let error = detach(component_mean(abs(rendered - target)))\n"
    "memory seen = 0 then 0.95 * seen + histogram(error, bins=1000, lo=0, hi=1)\n"
    "term robust = l1(error < histogram_quantile(seen, 0.9))",
    bad="term odd = mean(histogram(alpha, bins=1000, lo=1, hi=0))",
    bad_code="RNG003",
    kernel="statistics:histogram",
    kind=_bins,
    check=all_of(written_out("bins", decides="how many parts there are"), _check_bounds),
    source="Sabour et al., SpotLessSplats, TOG 2025: the running histogram of errors",
    stops=True,
)

HISTOGRAM_QUANTILE = Builtin(
    "histogram_quantile",
    "(h: tensor, q: number in [0, 1]; lo: host = 0, hi: host = 1) -> number",
    "The value that the fraction `q` of what a histogram counted lies below, as if the values of each part were spread "
    "evenly over it. `lo` and `hi` are those of the histogram. An empty histogram gives `hi`. No gradient.",
    good="let error = detach(component_mean(abs(rendered - target)))\n"
    "term robust = l1(error < histogram_quantile(histogram(error, bins=1000, lo=0, hi=1), 0.9))",
    bad="term robust = l1(alpha < histogram_quantile(alpha, 0.9))",
    bad_code="TYP001",
    kernel="statistics:histogram_quantile",
    range=_between_bounds,
    check=_check_quantile,
    stops=True,
)

BUILTINS: tuple[Builtin, ...] = (HISTOGRAM, HISTOGRAM_QUANTILE)
