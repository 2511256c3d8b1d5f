"""Functions of each value on its own. All of them also work on plain numbers, on the host."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..facts import changed, without
from ..interval import NONNEGATIVE, POSITIVE, REALS, Interval, inf
from ..types import Fact, Facts
from . import bounds
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


def log1p(x: float) -> float:
    """log(1 + x), exact near 0; -inf at -1 and NaN below."""
    return math.log1p(x) if x > -1 else -inf if x == -1 else math.nan


def tanh(x: float) -> float:
    """Hyperbolic tangent."""
    return math.tanh(x)


def sine(x: float) -> float:
    """Sine; NaN at infinity, as for tensors."""
    return math.sin(x) if math.isfinite(x) else math.nan


def cosine(x: float) -> float:
    """Cosine; NaN at infinity, as for tensors."""
    return math.cos(x) if math.isfinite(x) else math.nan


def acos(x: float) -> float:
    """The angle with this cosine, 0..pi; NaN outside -1..1."""
    return math.acos(x) if -1 <= x <= 1 else math.nan


def floor(x: float) -> float:
    """The largest whole number that is at most x."""
    return float(math.floor(x)) if math.isfinite(x) else x


def sign(x: float) -> float:
    """-1, 0 or 1."""
    return math.nan if math.isnan(x) else float((x > 0) - (x < 0))


_x = bounds.x


def _log_range(r: Ranges) -> Interval:
    x = _x(r)
    return Interval(log(max(x.lo, 0.0)), log(x.hi) if x.hi > 0 else inf, x.lo_open, x.hi_open)


def _sqrt_range(r: Ranges) -> Interval:
    return _x(r).clip(0.0, inf).increasing(sqrt)


def _log1p_range(r: Ranges) -> Interval:
    return _x(r).clip(-1.0, inf).increasing(log1p)


def _acos_range(r: Ranges) -> Interval:
    x = _x(r).clip(-1.0, 1.0)
    return Interval(acos(x.hi), acos(x.lo), x.hi_open, x.lo_open)


def _floor_range(r: Ranges) -> Interval:
    x = _x(r)
    hi = x.hi - 1 if x.hi_open and math.isfinite(x.hi) and x.hi == math.floor(x.hi) else floor(x.hi)
    return Interval(floor(x.lo), max(hi, floor(x.lo)))


def _sign_range(r: Ranges) -> Interval:
    x = _x(r)
    lo = 1.0 if x.lo == 0 and x.lo_open else sign(x.lo)
    hi = -1.0 if x.hi == 0 and x.hi_open else sign(x.hi)
    return Interval(lo, hi)


def _log_facts(given: Mapping[str, Facts]) -> Facts:
    """The log of scales are log-scales; of depth, it is neither direct nor inverse depth."""
    of = given.get("x", {})
    kept = without(of, "form", "length", "parameter")
    parameter = of.get("parameter")
    if parameter is None or parameter.value != "activated":
        return kept
    return {**kept, "parameter": Fact("log", parameter.origin)}


def _exp_facts(given: Mapping[str, Facts]) -> Facts:
    of = {n: f for n, f in given.get("x", {}).items() if n == "parameter" and f.value == "log"}
    return changed(of, "parameter", log="activated")


def _sigmoid_facts(given: Mapping[str, Facts]) -> Facts:
    of = {n: f for n, f in given.get("x", {}).items() if n == "parameter" and f.value == "logit"}
    return changed(of, "parameter", logit="activated")


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
    facts=("x",),
    drops=("parameter",),
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
    smooth=("x", POSITIVE),
    safe="sqrt(max({x}, 1e-6))",
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
    refact=_exp_facts,
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
    smooth=("x", POSITIVE),
    safe="log(max({x}, 1e-6))",
    refact=_log_facts,
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
    refact=_sigmoid_facts,
)

LOG1P = Builtin(
    "log1p",
    "(x: value) -> like x",
    "log(1 + x), exact near 0.",
    good="term robust = mean(log1p(abs(rendered - target)), masked)",
    bad="term robust = mean(log1p(alpha - 3))",
    bad_code="RNG003",
    kernel="pointwise:log1p",
    host=log1p,
    range=_log1p_range,
    domain=("x", Interval(-1.0, inf, lo_open=True)),
    smooth=("x", Interval(-1.0, inf, lo_open=True)),
    safe="log1p(max({x}, 0))",
    increasing=("x",),
)

TANH = Builtin(
    "tanh",
    "(x: value) -> like x",
    "Hyperbolic tangent, -1..1.",
    good="term drift = mean(tanh(abs(state.means)))",
    bad="term drift = mean(tanh(state))",
    bad_code="TYP001",
    kernel="pointwise:tanh",
    host=tanh,
    range=lambda r: _x(r).increasing(math.tanh),
    increasing=("x",),
)

SIN = Builtin(
    "sin",
    "(x: value) -> like x",
    "Sine of an angle in radians.",
    good="term wave = 0.5 * (1 + sin(step / 100)) * scale_reg(state)",
    bad="term wave = mean(sin(rendered, target))",
    bad_code="TYP006",
    kernel="pointwise:sin",
    host=sine,
    range=lambda r: bounds.angle_function(_x(r), math.sin, math.pi / 2),
)

COS = Builtin(
    "cos",
    "(x: value) -> like x",
    "Cosine of an angle in radians.",
    good="term wave = 0.5 * (1 + cos(step / 100)) * scale_reg(state)",
    bad="term wave = 0.5 * (1 + cos()) * scale_reg(state)",
    bad_code="TYP006",
    kernel="pointwise:cos",
    host=cosine,
    range=lambda r: bounds.angle_function(_x(r), math.cos, 0.0),
)

ACOS = Builtin(
    "acos",
    "(x: value) -> like x",
    "The angle with this cosine, 0..pi. Its gradient at -1 and 1 is infinite: `1 - x` measures angles without that.",
    good="term bend = mean(acos(clamp(dot(normals, normals_from_depth), -0.9999, 0.9999)), masked)",
    bad="term bend = mean(acos(alpha + 2))",
    bad_code="RNG003",
    kernel="pointwise:acos",
    host=acos,
    range=_acos_range,
    domain=("x", bounds.SIGNED_UNIT),
    smooth=("x", Interval(-1.0, 1.0, True, True)),
    safe="acos(clamp({x}, -0.9999, 0.9999))",
)

FLOOR = Builtin(
    "floor",
    "(x: value) -> like x",
    "The largest whole number that is at most x; no gradient.",
    good="term size = 0.9 ^ floor(step / 1000) * scale_reg(state)",
    bad="term size = floor(state) * scale_reg(state)",
    bad_code="TYP001",
    kernel="pointwise:floor",
    host=floor,
    range=_floor_range,
    increasing=("x",),
    stops=True,
)

SIGN = Builtin(
    "sign",
    "(x: value) -> like x",
    "-1 below 0, 0 at 0, 1 above; no gradient.",
    good="term towards = mean(relu(-sign(detach(state.means)) * state.means))",
    bad="term towards = mean(sign(state))",
    bad_code="TYP001",
    kernel="pointwise:sign",
    host=sign,
    range=_sign_range,
    stops=True,
)

BUILTINS: tuple[Builtin, ...] = (
    ABS,
    SQ,
    SQRT,
    EXP,
    LOG,
    LOG1P,
    SIGMOID,
    TANH,
    SIN,
    COS,
    ACOS,
    FLOOR,
    SIGN,
)

__all__ = ["BUILTINS", "exp", "log", "sigmoid", "sqrt"]
