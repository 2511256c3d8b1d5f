"""Ranges of single operations over a run of steps, for `spans.py`."""

from __future__ import annotations

from typing import Any

from .host import evaluate
from .interval import REALS, UNIT, ZERO, Interval, point
from .typed import Expr


def ends_of(e: Expr, ends: tuple[Any, Any], values: tuple[dict[int, Any], dict[int, Any]]) -> Interval:
    """The range of a value that only rises or only falls, from its two ends."""
    a = b = evaluate(e, ends[0], values[0])
    if ends[0]["step"] != ends[1]["step"]:
        b = evaluate(e, ends[1], values[1])
    if not isinstance(a, (int, float)) or not isinstance(b, (int, float)) or a != a or b != b:
        return REALS
    return Interval(min(a, b), max(a, b))


def compared(op: str, a: Interval, b: Interval) -> Interval:
    """The outcome of a comparison of two ranges; NaN was ruled out where they were made."""
    if op in ("eq", "ne"):
        same = a.is_point and a == b
        if not same and not a.disjoint(b):
            return UNIT
        return point(float(same == (op == "eq")))
    if op in ("gt", "ge"):
        a, b = b, a
    strict = op in ("lt", "gt")
    if a.hi < b.lo or (a.hi == b.lo and not strict):
        return point(1.0)
    return ZERO if a.lo > b.hi or (a.lo == b.hi and strict) else UNIT


def flip(slope: int | None, sign: int | None) -> int | None:
    """The direction of a value times a number of this sign."""
    return None if slope is None or sign is None else slope * sign


def agree(slopes: list[int | None]) -> int | None:
    """The direction of a sum of values with these directions."""
    if None in slopes:
        return None
    moving = {s for s in slopes if s}
    return moving.pop() if len(moving) == 1 else 0 if not moving else None


def curve(host: Any, x: Interval, points: list[tuple[float, float]], interp: str) -> Interval:
    """The range of a piecewise curve: between two of its points it only rises or only falls."""
    values = [float(host(v, points, interp)) for v in (x.lo, x.hi)]
    values += [float(y) for p, y in points if x.lo <= p <= x.hi]
    return Interval(min(values), max(values))
