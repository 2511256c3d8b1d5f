"""Functions that choose between values or limit them, and those that change what is known of one."""

from __future__ import annotations

import math

from ..interval import REALS, Interval, inf
from . import bounds
from .spec import Builtin, Ranges

_x = bounds.x


def _clamp(r: Ranges) -> Interval:
    lo, hi = r.get("lo") or REALS, r.get("hi") or REALS
    return _x(r).greatest(lo).least(hi)


def _several(r: Ranges) -> list[Interval]:
    """The ranges of arguments, without what else is known of them."""
    return [v or REALS for name, v in r.items() if " " not in name]


def _least(r: Ranges) -> Interval:
    first, *rest = _several(r)
    for other in rest:
        first = first.least(other)
    return first


def _greatest(r: Ranges) -> Interval:
    first, *rest = _several(r)
    for other in rest:
        first = first.greatest(other)
    return first


RELU = Builtin(
    "relu",
    "(x: value) -> like x",
    "max(x, 0).",
    good="term size = mean(relu(state.scales - 0.1))",
    bad="term size = mean(relu(state.scales - rendered))",
    bad_code="TYP003",
    kernel="pointwise:relu",
    host=lambda x: max(x, 0.0),
    range=lambda r: _x(r).clip(0.0, inf),
    increasing=("x",),
    facts=("x",),
    drops=("parameter", "length"),
)

CLAMP = Builtin(
    "clamp",
    "(x: value, lo: value, hi: value) -> like x lo hi",
    "x, but at least `lo` and at most `hi`; no gradient where it is cut.",
    good="term error = l1(clamp(rendered, 0, 1), target, masked)",
    bad="term error = l1(clamp(rendered), target, masked)",
    bad_code="TYP006",
    kernel="pointwise:clamp",
    host=lambda x, lo, hi: min(max(x, lo), hi),
    range=_clamp,
    increasing=("x", "lo", "hi"),
    facts=("x",),
    drops=("parameter", "length"),
)

WHERE = Builtin(
    "where",
    "(c: condition, a: value, b: value) -> like c a b",
    "`a` where the condition holds, else `b`. The branch that is not taken never poisons the gradient.",
    good="term near = mean(where(depth > 0, 1 / depth, 0))",
    bad="term near = mean(where(depth, 1, 0))",
    bad_code="TYP001",
    kernel="pointwise:where",
    host=lambda c, a, b: a if c else b,
    keeps=("a", "b"),
    range=lambda r: (r["a"] or REALS).hull(r["b"] or REALS),
    facts=("a", "b"),
    drops=("parameter",),
)

DETACH = Builtin(
    "detach",
    "(x: value) -> same x",
    "The same value, through which no gradient flows.",
    good="term edges = mean(abs(rendered - target) * (1 - detach(alpha)))",
    bad="term edges = mean(detach())",
    bad_code="TYP006",
    kernel="pointwise:detach",
    host=lambda x: x,
    range=_x,
    keeps=("x",),
    facts=("x",),
    stops=True,
)

RAW = Builtin(
    "raw",
    "(x: value) -> same x",
    "The same value, of which nothing is known but kind and range: it may meet values that mean something else.",
    good="term odd = mean(abs(raw(depth) - raw(depth.inverse)), masked)",
    bad="term odd = mean(raw(depth, masked))",
    bad_code="TYP006",
    kernel="pointwise:raw",
    host=lambda x: x,
    range=_x,
    keeps=("x",),
)

FINITE_OR = Builtin(
    "finite_or",
    "(x: value, other: value = 0) -> like x other",
    "x where it is finite, `other` where it is NaN or infinite. It mends values, not the gradient of what made them: "
    "against a division by 0 write `where(x > 0, 1 / x, 0)`.",
    good="input prior: depth[metric]\nterm depth = mean(abs(depth - finite_or(prior, 0)), valid(prior))",
    bad="term rough = mean(finite_or())",
    bad_code="TYP006",
    kernel="pointwise:finite_or",
    host=lambda x, other=0.0: x if math.isfinite(x) else other,
    range=lambda r: _x(r).hull(r.get("other") or REALS),
    keeps=("x", "other"),
    facts=("x",),
    needs=("holes",),
)

MIN = Builtin(
    "min",
    "(*x: value) -> like x",
    "The smallest of two or more values, element by element. Over pixels or gaussians use `min_over`.",
    good="term cap = mean(min(state.scales, 0.5))",
    bad="term cap = mean(min(state.scales))",
    bad_code="TYP006",
    kernel="pointwise:minimum",
    host=min,
    range=_least,
    increasing=("x",),
    facts=("x",),
    drops=("parameter", "length"),
)

MAX = Builtin(
    "max",
    "(*x: value) -> like x",
    "The largest of two or more values, element by element. Over pixels or gaussians use `max_over`.",
    good="term inverse = mean(1 / max(depth, 1e-3), alpha > 0.5)",
    bad="term inverse = max(depth, 1e-3)",
    bad_code="TYP002",
    kernel="pointwise:maximum",
    host=max,
    range=_greatest,
    increasing=("x",),
    facts=("x",),
    drops=("parameter", "length"),
)

BUILTINS: tuple[Builtin, ...] = (RELU, CLAMP, WHERE, DETACH, RAW, FINITE_OR, MIN, MAX)
