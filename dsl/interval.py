"""Intervals with open or closed ends: what a value can be."""

from __future__ import annotations

import math
from collections.abc import Callable

inf = math.inf


class Interval:
    """A non-empty range of the extended reals; an infinite end is always open in spirit and marked open."""

    __slots__ = ("hi", "hi_open", "lo", "lo_open")

    def __init__(self, lo: float, hi: float, lo_open: bool = False, hi_open: bool = False) -> None:
        self.lo, self.hi = float(lo), float(hi)
        self.lo_open = lo_open or lo == -inf
        self.hi_open = hi_open or hi == inf

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Interval) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[float, float, bool, bool]:
        return self.lo, self.hi, self.lo_open, self.hi_open

    def __repr__(self) -> str:
        return f"{'(' if self.lo_open else '['}{show(self.lo)}, {show(self.hi)}{')' if self.hi_open else ']'}"

    def __contains__(self, x: float) -> bool:
        above = x > self.lo or (x == self.lo and not (self.lo_open and self.lo != -inf))
        below = x < self.hi or (x == self.hi and not (self.hi_open and self.hi != inf))
        return above and below

    @property
    def is_point(self) -> bool:
        """Whether exactly one value is possible."""
        return self.lo == self.hi

    @property
    def sign(self) -> int | None:
        """1 if never negative, -1 if never positive, 0 if always zero, None if it can be either."""
        if self.lo == self.hi == 0:
            return 0
        if self.lo >= 0:
            return 1
        if self.hi <= 0:
            return -1
        return None

    def within(self, other: Interval) -> bool:
        """Whether every value of this interval is one of ``other``."""
        low = self.lo > other.lo or (self.lo == other.lo and (self.lo_open or not other.lo_open or self.lo == -inf))
        high = self.hi < other.hi or (self.hi == other.hi and (self.hi_open or not other.hi_open or self.hi == inf))
        return low and high

    def disjoint(self, other: Interval) -> bool:
        """Whether no value is in both."""
        lo, hi = max(self.lo, other.lo), min(self.hi, other.hi)
        return lo > hi or (lo == hi and not (lo in self and lo in other))

    def hull(self, other: Interval) -> Interval:
        """The smallest interval that holds both."""
        lo, lo_open = min((self.lo, self.lo_open), (other.lo, other.lo_open))
        hi, hi_open = max((self.hi, not self.hi_open), (other.hi, not other.hi_open))
        return Interval(lo, hi, lo_open, not hi_open)

    # Arithmetic. Results are sound: they hold every value that the operation can give on the operands.

    def __neg__(self) -> Interval:
        return Interval(-self.hi, -self.lo, self.hi_open, self.lo_open)

    def __add__(self, other: Interval) -> Interval:
        lo, hi = self.lo + other.lo, self.hi + other.hi
        # inf - inf has no value; the other sums of the two operands can be anything.
        lo, hi = (-inf if math.isnan(lo) else lo), (inf if math.isnan(hi) else hi)
        return Interval(lo, hi, self.lo_open or other.lo_open, self.hi_open or other.hi_open)

    def __sub__(self, other: Interval) -> Interval:
        return self + -other

    def __mul__(self, other: Interval) -> Interval:
        corners: list[tuple[float, bool]] = []
        for a, a_open in ((self.lo, self.lo_open), (self.hi, self.hi_open)):
            for b, b_open in ((other.lo, other.lo_open), (other.hi, other.hi_open)):
                zero = (a == 0 and not a_open) or (b == 0 and not b_open)  # a reachable 0 makes the corner 0 exactly
                corners.append((_times(a, b), False if zero else a_open or b_open))
        return _from_corners(corners)

    def reciprocal(self) -> Interval:
        """1/x, for x other than 0."""
        if self.lo < 0 < self.hi:
            return REALS
        low = (-inf, True) if self.hi == 0 else (_inverse(self.hi), self.hi_open)
        high = (inf, True) if self.lo == 0 else (_inverse(self.lo), self.lo_open)
        return Interval(low[0], high[0], low[1], high[1])

    def __truediv__(self, other: Interval) -> Interval:
        return ZERO if other == ZERO else self * other.reciprocal()

    def power(self, exponent: Interval) -> Interval:
        """x ** y."""
        if not exponent.is_point:
            if self.lo >= 0:
                ends = [_power(a, b) for a in (self.lo, self.hi) for b in (exponent.lo, exponent.hi)]
                if 1 in self:
                    ends.append(1.0)
                lo = max(0.0, min(ends))
                return Interval(lo, max(ends), lo_open=lo == 0 and 0.0 not in self)  # a power of what is above 0 is so
            return REALS
        p = exponent.lo
        if p == 0:
            return point(1.0)
        if p < 0:
            return self.power(point(-p)).reciprocal()
        if p.is_integer() and p % 2 == 0:
            return self.abs().increasing(lambda v: _power(v, p))
        if p.is_integer():
            return self.increasing(lambda v: _power(v, p))
        return self.clip(0.0, inf).increasing(lambda v: _power(v, p))

    def abs(self) -> Interval:
        """|x|."""
        if self.lo >= 0:
            return self
        if self.hi <= 0:
            return -self
        hi, closed = max((-self.lo, not self.lo_open), (self.hi, not self.hi_open))
        return Interval(0.0, hi, False, not closed)

    def increasing(self, f: Callable[[float], float]) -> Interval:
        """The image under a non-decreasing function that accepts infinities."""
        return Interval(f(self.lo), f(self.hi), self.lo_open, self.hi_open)

    def clip(self, lo: float, hi: float) -> Interval:
        """The image under clamping to [lo, hi]."""
        low, low_open = (lo, False) if self.lo < lo else (self.lo, self.lo_open) if self.lo < hi else (hi, False)
        high, high_open = (hi, False) if self.hi > hi else (self.hi, self.hi_open) if self.hi > lo else (lo, False)
        return Interval(low, high, low_open, high_open)

    def least(self, other: Interval) -> Interval:
        """The range of min(x, y)."""
        lo, lo_open = min((self.lo, self.lo_open), (other.lo, other.lo_open))
        hi, hi_closed = min((self.hi, not self.hi_open), (other.hi, not other.hi_open))
        return Interval(lo, hi, lo_open, not hi_closed)

    def greatest(self, other: Interval) -> Interval:
        """The range of max(x, y)."""
        return -((-self).least(-other))


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b  # 0 * inf is a limit that the finite values never reach


def _inverse(a: float) -> float:
    return 0.0 if math.isinf(a) else 1.0 / a


def _power(a: float, b: float) -> float:
    try:
        result = a**b
    except OverflowError:
        return inf if a > 0 or b % 2 == 0 else -inf
    except ZeroDivisionError:
        return inf
    return result if isinstance(result, float) else float(result.real)


def _from_corners(corners: list[tuple[float, bool]]) -> Interval:
    lo, lo_open = min(corners)
    hi, hi_closed = max((v, not is_open) for v, is_open in corners)
    return Interval(lo, hi, lo_open, not hi_closed)


def point(x: float) -> Interval:
    """The interval of one value."""
    return Interval(x, x)


def show(x: float) -> str:
    """A number as a user would write it."""
    if x == inf:
        return "inf"
    if x == -inf:
        return "-inf"
    if math.isnan(x):
        return "nan"
    if x == int(x) and abs(x) < 1e16:
        return str(int(x))
    return f"{x:g}" if float(f"{x:g}") == x else repr(x)


REALS = Interval(-inf, inf)
NONNEGATIVE = Interval(0.0, inf)
POSITIVE = Interval(0.0, inf, lo_open=True)
UNIT = Interval(0.0, 1.0)
ZERO = point(0.0)
