"""Functions of each value on its own. All of them also work on plain numbers, on the host."""

from __future__ import annotations

import math

from ..interval import NONNEGATIVE, POSITIVE, REALS, Interval, inf
from .spec import Builtin, Ranges


def exp(x: float) -> float:
    """e to the x; inf where that is too large for a float."""
    try:
        return math.exp(x)
    except OverflowError:
        return inf


def log(x: float) -> float:
    """Natural logarithm; -inf at 0 and NaN below, as for tensors."""
    return math.log(x) if x > 0 else -inf if x == 0 else math.nan


def sqrt(x: float) -> float:
    """Square root; NaN below 0, as for tensors."""
    return math.sqrt(x) if x >= 0 else math.nan


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _x(r: Ranges) -> Interval:
    return r["x"] or REALS


def _clamp(r: Ranges) -> Interval:
    lo, hi = r.get("lo") or REALS, r.get("hi") or REALS
    return _x(r).greatest(lo).least(hi)


def _log_range(r: Ranges) -> Interval:
    x = _x(r)
    return Interval(log(max(x.lo, 0.0)), log(x.hi) if x.hi > 0 else inf, x.lo_open, x.hi_open)


def _sqrt_range(r: Ranges) -> Interval:
    return _x(r).clip(0.0, inf).increasing(sqrt)


def _least(r: Ranges) -> Interval:
    first, *rest = [v or REALS for v in r.values()]
    for other in rest:
        first = first.least(other)
    return first


def _greatest(r: Ranges) -> Interval:
    first, *rest = [v or REALS for v in r.values()]
    for other in rest:
        first = first.greatest(other)
    return first


ABS = Builtin(
    "abs",
    "(x: value) -> like x",
    "Absolute value; its gradient at 0 is 0.",
    good="term error = mean(abs(rendered - target), masked)",
    bad="term error = mean(abs(rendered, target))",
    bad_code="TYP006",
    kernel="pointwise:abs",
    host=lambda x: abs(x),
    range=lambda r: _x(r).abs(),
)

SQ = Builtin(
    "sq",
    "(x: value) -> like x",
    "Square.",
    good="term error = mean(sq(rendered - target), masked)",
    bad="term error = sq(rendered - target)",
    bad_code="TYP002",
    kernel="pointwise:sq",
    host=lambda x: x * x,
    range=lambda r: _x(r).power(Interval(2, 2)),
)

SQRT = Builtin(
    "sqrt",
    "(x: value) -> like x",
    "Square root. Its gradient at 0 is infinite: keep the operand above 0, as in `sqrt(x + 1e-6)`.",
    good="term error = mean(sqrt(sq(rendered - target) + 1e-6))",
    bad="term error = mean(sqrt(-1 - alpha))",
    bad_code="RNG003",
    kernel="pointwise:sqrt",
    host=sqrt,
    range=_sqrt_range,
    domain=("x", NONNEGATIVE),
    increasing=("x",),
)

EXP = Builtin(
    "exp",
    "(x: value) -> like x",
    "e to the x.",
    good="term size = mean(exp(state.log_scales))",
    bad="term size = mean(exp(state.scals))",
    bad_code="NAM003",
    kernel="pointwise:exp",
    host=exp,
    domain=("x", REALS),  # real everywhere, but too large for a float beyond 88: guarded in branches not taken
    range=lambda r: Interval(exp(_x(r).lo), exp(_x(r).hi), _x(r).lo_open, _x(r).hi_open),
    increasing=("x",),
)

LOG = Builtin(
    "log",
    "(x: value) -> like x",
    "Natural logarithm; -inf at 0.",
    good="term sky = mean(-log(max(1 - alpha, 1e-6)), unmasked)",
    bad="term sky = mean(log(alpha - 2))",
    bad_code="RNG003",
    kernel="pointwise:log",
    host=log,
    range=_log_range,
    domain=("x", POSITIVE),
    increasing=("x",),
)

SIGMOID = Builtin(
    "sigmoid",
    "(x: value) -> like x",
    "1 / (1 + exp(-x)).",
    good="term sparse = 0.01 * mean(sigmoid(state.opacity_logits))",
    bad="term sparse = 0.01 * mean(sigmoid(state))",
    bad_code="TYP001",
    kernel="pointwise:sigmoid",
    host=sigmoid,
    range=lambda r: Interval(sigmoid(_x(r).lo), sigmoid(_x(r).hi), _x(r).lo_open, _x(r).hi_open),
    increasing=("x",),
)

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
)

DETACH = Builtin(
    "detach",
    "(x: value) -> like x",
    "The same value, through which no gradient flows.",
    good="term edges = mean(abs(rendered - target) * (1 - detach(alpha)))",
    bad="term edges = mean(detach())",
    bad_code="TYP006",
    kernel="pointwise:detach",
    host=lambda x: x,
    range=_x,
    keeps=("x",),
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
)

BUILTINS: tuple[Builtin, ...] = (ABS, SQ, SQRT, EXP, LOG, SIGMOID, RELU, CLAMP, WHERE, DETACH, MIN, MAX)

__all__ = ["BUILTINS", "exp", "log", "sigmoid", "sqrt"]
