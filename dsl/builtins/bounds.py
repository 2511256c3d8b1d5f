"""Ranges that several builtins share: what a function can give, from what its arguments can be."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..interval import NONNEGATIVE, REALS, UNIT, ZERO, Interval, inf, point
from .spec import Ranges

SIGNED_UNIT = Interval(-1.0, 1.0)


def of(name: str) -> Callable[[Ranges], Interval]:
    """The range of one argument."""
    return lambda r: r.get(name) or REALS


def x(r: Ranges) -> Interval:
    """The range of ``x``."""
    return r.get("x") or REALS


def in_region(r: Ranges) -> Interval:
    """A choice among the values of ``x`` in a region, which can be empty, and then it is 0."""
    return x(r) if r.get("r") is None else x(r).hull(ZERO)


def difference(r: Ranges) -> Interval:
    """One value of ``x`` less another."""
    return x(r) - x(r)


def half_difference(r: Ranges) -> Interval:
    """Half of one value of ``x`` less another."""
    return point(0.5) * difference(r)


def count(r: Ranges, name: str) -> Interval:
    """How many components an argument has."""
    return r.get(f"{name} components") or Interval(1, inf)


def summed(each: Interval, many: Interval) -> Interval:
    """The sum of ``many`` values, at least one, that are each in a range."""
    if many.is_point:
        return each * many
    if each == ZERO:
        return ZERO
    if each.lo >= 0:
        return Interval(each.lo, inf, each.lo_open)
    return Interval(-inf, each.hi, True, each.hi_open) if each.hi <= 0 else REALS


def product(each: Interval, many: Interval) -> Interval:
    """The product of ``many`` values, at least one, that are each in a range."""
    if many.is_point and many.lo <= 64:
        result = each
        for _ in range(int(many.lo) - 1):
            result = result * each
        return result
    if each.within(UNIT):
        return Interval(0.0, each.hi, each.lo_open or each.lo > 0, each.hi_open)
    if each.lo >= 1:
        return Interval(each.lo, inf, each.lo_open)
    if each.lo >= 0:
        return Interval(0.0, inf, each.lo_open or each.lo > 0)
    return SIGNED_UNIT if each.within(SIGNED_UNIT) else REALS


def length(r: Ranges, name: str) -> Interval:
    """The length of vectors with components in a range."""
    known = r.get(f"{name} length")
    if known is not None:
        return known
    squares = summed((r.get(name) or REALS).power(point(2)), count(r, name))
    return squares.increasing(math.sqrt)


def spread(r: Ranges) -> Interval:
    """The standard deviation of values in a range: at most half of its width (Popoviciu)."""
    width = difference(r).hi
    return Interval(0.0, width / 2) if width < inf else NONNEGATIVE


def direction(r: Ranges) -> Interval:
    """The components of vectors of length 1 or 0."""
    sign = x(r).sign
    return ZERO if sign == 0 else UNIT if sign == 1 else -UNIT if sign == -1 else SIGNED_UNIT


def angle_function(at: Interval, f: Callable[[float], float], peak: float) -> Interval:
    """The image of a sine or cosine that is 1 at ``peak`` and every full turn from there."""
    if at.hi - at.lo >= 2 * math.pi or not (math.isfinite(at.lo) and math.isfinite(at.hi)):
        return SIGNED_UNIT
    low, high = sorted((f(at.lo), f(at.hi)))
    if _holds_turn(at, peak):
        high = 1.0
    if _holds_turn(at, peak + math.pi):
        low = -1.0
    return Interval(low, high)


def _holds_turn(at: Interval, start: float) -> bool:
    """Whether start plus some number of full turns is inside, give or take rounding."""
    turns = math.ceil((at.lo - start) / (2 * math.pi) - 1e-12)
    return start + 2 * math.pi * turns <= at.hi + 1e-12
