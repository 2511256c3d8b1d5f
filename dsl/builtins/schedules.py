"""Functions of the step: gates, ramps and interpolators. They run on the host, once a step."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..interval import REALS, UNIT, ZERO, Interval, inf, point, show
from ..types import CONSTANT
from .pointwise import exp, log
from .spec import Builtin, Problem, Ranges

if TYPE_CHECKING:
    from ..typed import Expr

_TRUE, _FALSE = point(1.0), ZERO


def _fraction(x: float, lo: float, hi: float) -> float:
    """Where x stands between lo and hi, 0..1; a zero-length span jumps at lo."""
    if hi == lo:
        return 1.0 if x >= lo else 0.0
    return min(max((x - lo) / (hi - lo), 0.0), 1.0)


def ramp(x: float, a: float, b: float | None = None) -> float:
    """0 before a, 1 from b on, linear between; with one bound, from 0 to it."""
    return _fraction(x, 0.0, a) if b is None else _fraction(x, a, b)


def linear(x: float, v0: float, v1: float, over: float, start: float = 0.0) -> float:
    """From v0 to v1 in ``over`` steps."""
    return v0 + (v1 - v0) * _fraction(x, start, start + over)


def loglinear(x: float, v0: float, v1: float, over: float, start: float = 0.0) -> float:
    """From v0 to v1 in ``over`` steps, linear in the logarithm."""
    t = _fraction(x, start, start + over)
    return v0 if t == 0 else v1 if t == 1 else exp((1 - t) * log(v0) + t * log(v1))


def cosine(x: float, v0: float, v1: float, over: float, start: float = 0.0) -> float:
    """From v0 to v1 in ``over`` steps along half a cosine."""
    return v1 + (v0 - v1) * 0.5 * (1 + math.cos(math.pi * _fraction(x, start, start + over)))


def every(x: float, k: float, offset: float = 0.0) -> bool:
    """Whether x is ``offset`` more than a multiple of k; never for k = 0."""
    return k != 0 and x % k == offset % k


def piecewise(x: float, points: Sequence[tuple[float, float]], interp: str = "linear") -> float:
    """The value at x of the curve through ``points`` (sorted by their first number), constant outside them."""
    at = [p[0] for p in points]
    i = bisect_right(at, x) - 1
    if i < 0:
        return points[0][1]
    if i == len(points) - 1 or interp == "step":
        return points[i][1]
    (x0, y0), (x1, y1) = points[i], points[i + 1]
    t = _fraction(x, x0, x1)
    if interp == "log":
        return y0 if min(y0, y1) <= 0 else exp((1 - t) * log(y0) + t * log(y1))
    return y0 + t * (y1 - y0)


def _after_range(r: Ranges) -> Interval:
    x, a = r["x"] or REALS, r["a"] or REALS
    return _TRUE if x.lo >= a.hi else _FALSE if x.hi < a.lo else UNIT


def _before_range(r: Ranges) -> Interval:
    x, b = r["x"] or REALS, r["b"] or REALS
    return _TRUE if x.hi < b.lo else _FALSE if x.lo >= b.hi else UNIT


def _between_range(r: Ranges) -> Interval:
    x, a, b = r["x"] or REALS, r["a"] or REALS, r["b"] or REALS
    if x.hi < a.lo or x.lo >= b.hi or a.lo >= b.hi:
        return _FALSE
    return _TRUE if x.lo >= a.hi and x.hi < b.lo else UNIT


def _ramp_range(r: Ranges) -> Interval:
    x, lo = r["x"] or REALS, r["a"] or REALS
    a, b = (ZERO, lo) if r.get("b") is None else (lo, r["b"] or REALS)
    if a.is_point and b.is_point and x.lo > -inf:
        return Interval(_fraction(x.lo, a.lo, b.lo), _fraction(x.hi, a.lo, b.lo) if x.hi < inf else 1.0)
    return UNIT


def _between_values(r: Ranges) -> Interval:
    return (r["v0"] or REALS).hull(r["v1"] or REALS)


def _expdecay_range(r: Ranges) -> Interval:
    product = (r["x"] or REALS) * (r["rate"] or REALS)
    return Interval(exp(-product.hi), exp(-product.lo), product.hi_open, product.lo_open)


def _curve_range(r: Ranges) -> Interval:
    """Between the least and the largest value of a point."""
    values = [v or REALS for name, v in r.items() if name.endswith(" value")]
    if not values:
        return REALS
    found, *rest = values
    for other in rest:
        found = found.hull(other)
    return found


def _check_ramp(args: Mapping[str, Sequence[Expr]]) -> Problem | None:
    at = (args.get("b") or args["a"])[0]
    lo = args["a"][0].type.range if "b" in args else ZERO
    hi = at.type.range
    if lo.is_point and hi.is_point and lo.lo == hi.lo and at.type.stage == CONSTANT:
        message = "this ramp has no length: it jumps from 0 to 1 at once"
        return Problem("SCH001", message, at, "give it a length, or write `after(step, a)` for a jump", fatal=False)
    if hi.hi < lo.lo:
        help_ = "write the earlier step first; for a falling weight use `linear(step, 1, 0, over=, start=)`"
        return Problem("SCH003", "this ramp ends before it begins", at, help_)
    return _check_step(args)


def _constant(e: Expr) -> bool:
    return e.type.stage == CONSTANT and e.type.range.is_point


def _check_moves(args: Mapping[str, Sequence[Expr]]) -> Problem | None:
    v0, v1 = args["v0"][0], args["v1"][0]
    if _constant(v0) and _constant(v1) and v0.type.range == v1.type.range:
        message = "this schedule never moves: it begins and ends at the same value"
        return Problem("SCH004", message, v1, "change one of the two values, or write the number alone", fatal=False)
    return _check_step(args)


def _check_step(args: Mapping[str, Sequence[Expr]]) -> Problem | None:
    x = args["x"][0]
    if x.type.stage == CONSTANT:
        message = "this schedule never moves: it is a function of a constant"
        return Problem("SCH004", message, x, "make it a function of `step`", fatal=False)
    return None


def _check_rate(args: Mapping[str, Sequence[Expr]]) -> Problem | None:
    rate = args["rate"][0]
    if _constant(rate) and rate.type.range == ZERO:
        return Problem("SCH004", "this schedule never moves: its rate is 0", rate, "give it a rate", fatal=False)
    return _check_step(args)


def _check_points(args: Mapping[str, Sequence[Expr]]) -> Problem | None:
    before: Interval | None = None
    for p in args["points"]:
        at = p.args[0].type.range
        if before is not None and at.hi <= before.lo:
            message = "the points of `piecewise` must be in order, each later than the one before"
            return Problem("SCH003", message, p, "sort the points by their first number")
        before = at
    values = {p.args[1].type.range for p in args["points"]}
    if len(values) == 1 and all(_constant(p.args[1]) for p in args["points"]):
        message = "this schedule never moves: all its points have the same value"
        return Problem("SCH004", message, args["points"][-1], "change a value, or write the number alone", fatal=False)
    return None


def _check_every(args: Mapping[str, Sequence[Expr]]) -> Problem | None:
    k, offset = args["k"][0], args["offset"][0] if "offset" in args else None
    if offset is None or not (_constant(k) and _constant(offset)) or not 0 < k.type.range.lo <= offset.type.range.lo:
        return _check_step(args)
    period, shift = k.type.range.lo, offset.type.range.lo
    message = f"at every {show(period)} steps an offset of {show(shift)} is the same as one of {show(shift % period)}"
    return Problem("SCH023", message, offset, "write an offset below the period", fatal=False)


AFTER = Builtin(
    "after",
    "(x: host, a: host) -> flag",
    "From step `a` on: x >= a.",
    good="term size = 0.01 * scale_reg(state) when after(step, 500)",
    bad="term size = 0.01 * scale_reg(state) when after(rendered, 500)",
    bad_code="TYP005",
    host=lambda x, a: x >= a,
    range=_after_range,
)

BEFORE = Builtin(
    "before",
    "(x: host, b: host) -> flag",
    "Up to, not including, step `b`: x < b.",
    good="term size = 0.01 * scale_reg(state) when before(step, 500)",
    bad="term size = 0.01 * scale_reg(state) when before(step)",
    bad_code="TYP006",
    host=lambda x, b: x < b,
    range=_before_range,
)

BETWEEN = Builtin(
    "between",
    "(x: host, a: host, b: host) -> flag",
    "From step `a` up to, not including, step `b`: a <= x < b.",
    good="term size = 0.01 * scale_reg(state) when between(step, 500, 900)",
    bad="term size = 0.01 * scale_reg(state) when between(step, 900, 500)",
    bad_code="SCH002",
    host=lambda x, a, b: a <= x < b,
    range=_between_range,
)

EVERY = Builtin(
    "every",
    "(x: host, k: whole > 0, offset: whole >= 0 = 0) -> flag",
    "At every k-th step: x % k == offset % k. Multiply the term by k yourself to keep its average.",
    good="term size = 10 * 0.01 * scale_reg(state) when every(step, 10)",
    bad="term size = 0.01 * scale_reg(state) when every(step, 0)",
    bad_code="RNG003",
    host=every,
    range=lambda r: UNIT,
    check=_check_every,
)

RAMP = Builtin(
    "ramp",
    "(x: host, a: host, b: host = none) -> host in [0, 1]",
    "`ramp(step, n)` rises from 0 at step 0 to 1 at step n; `ramp(step, a, b)` from 0 at a to 1 at b.",
    good="term size = ramp(step, 1000) * scale_reg(state)",
    bad="term size = ramp(alpha, 1000) * scale_reg(state)",
    bad_code="TYP005",
    host=ramp,
    range=_ramp_range,
    check=_check_ramp,
)

LINEAR = Builtin(
    "linear",
    "(x: host, v0: host, v1: host; over: host > 0, start: host = 0) -> host",
    "From v0 to v1 in `over` steps, beginning at `start`; constant outside.",
    good="term size = linear(step, 0.04, 0.02, over=max_steps) * scale_reg(state)",
    bad="term size = linear(step, 0.04, 0.02) * scale_reg(state)",
    bad_code="TYP006",
    host=linear,
    range=_between_values,
    check=_check_moves,
)

LOGLINEAR = Builtin(
    "loglinear",
    "(x: host, v0: host > 0, v1: host > 0; over: host > 0, start: host = 0) -> host > 0",
    "From v0 to v1 in `over` steps, linear in the logarithm; constant outside.",
    good="term size = loglinear(step, 1.0, 0.01, over=max_steps) * scale_reg(state)",
    bad="term size = loglinear(step, 1.0, 0, over=max_steps) * scale_reg(state)",
    bad_code="RNG003",
    host=loglinear,
    range=_between_values,
    source="Kerbl et al., 3D Gaussian Splatting, released code: the decay of the depth weight",
    check=_check_moves,
)

COSINE = Builtin(
    "cosine",
    "(x: host, v0: host, v1: host; over: host > 0, start: host = 0) -> host",
    "From v0 to v1 in `over` steps along half a cosine; constant outside.",
    good="term size = cosine(step, 0.1, 0.0, over=1000, start=200) * scale_reg(state)",
    bad='term size = cosine(step, 0.1, "0", over=1000) * scale_reg(state)',
    bad_code="TYP001",
    host=cosine,
    range=_between_values,
    source="Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5",
    check=_check_moves,
)

EXPDECAY = Builtin(
    "expdecay",
    "(x: host, rate: host) -> host > 0",
    "exp(-rate * x).",
    good="term size = expdecay(step, 1e-3) * scale_reg(state)",
    bad="term size = expdecay(step, 1e-3, 2) * scale_reg(state)",
    bad_code="TYP006",
    host=lambda x, rate: exp(-rate * x),
    range=_expdecay_range,
    check=_check_rate,
)

PIECEWISE = Builtin(
    "piecewise",
    '(x: value, *points: point; interp: {"linear", "log", "step"} = "linear") -> like x',
    'The curve through the points, constant outside them. `"log"` interpolates the logarithm, `"step"` takes the last '
    "point at or before x.",
    good="term size = piecewise(step, (0, 0.1), (1000, 0.5)) * scale_reg(state)",
    bad="term size = piecewise(step, (1000, 0.1), (0, 0.5)) * scale_reg(state)",
    bad_code="SCH003",
    kernel="pointwise:piecewise",
    host=piecewise,
    range=_curve_range,
    check=_check_points,
)

BUILTINS: tuple[Builtin, ...] = (
    AFTER,
    BEFORE,
    BETWEEN,
    EVERY,
    RAMP,
    LINEAR,
    LOGLINEAR,
    COSINE,
    EXPDECAY,
    PIECEWISE,
)
