"""What a condition says of the values that it compares, and of what those are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..interval import NONNEGATIVE, POSITIVE, REALS, Interval, inf, point
from ..typed import Expr
from .ranges import Env, Known, known

if TYPE_CHECKING:
    from .ranges import Ranges

DEPTH = 40
"""How far conditions are taken apart; what lies deeper says nothing."""

MOST = 1_000
"""Conditions and values that are gone through for one condition, which may be shared without end."""

DRAWN = ("alpha", "depth", "depth.accumulated", "depth.median", "depth.inverse")
"""Where one of these is above 0 something is drawn, and all are."""

OPPOSITE = {"lt": "ge", "ge": "lt", "le": "gt", "gt": "le", "eq": "ne", "ne": "eq"}

Facts = dict[int, Known]


def implied(ranges: Ranges, env: Env, condition: Expr, truth: bool) -> Facts | None:
    """What holds, by structure, where a condition is true, or false; None where it cannot be.

    A condition per pixel says nothing of a number that is made from all pixels: it guards no operand of that kind.
    """
    return _Reader(ranges, env, condition).outcome(condition, truth, 0)


class _Reader:
    def __init__(self, ranges: Ranges, env: Env, condition: Expr) -> None:
        self.ranges, self.env, self.impossible = ranges, env, False
        self.left = MOST
        self.space = condition.type.kind.space if not condition.type.is_host else None

    def outcome(self, c: Expr, truth: bool, depth: int) -> Facts | None:
        """What follows from one condition; None where it cannot turn out so."""
        self.left -= 1
        if depth > DEPTH or self.left < 0:
            return {}
        if c.op == "not":
            return self.outcome(c.args[0], not truth, depth + 1)
        if c.op in ("and", "or"):
            one, other = (self.outcome(a, truth, depth + 1) for a in c.args)
            return _both(one, other) if (c.op == "and") == truth else _either(one, other)
        if c.op in OPPOSITE:
            return self._compare(c.op if truth else OPPOSITE[c.op], c.args[0], c.args[1])
        if c.op in ("input", "field") and truth and str(c.value).rpartition(".")[2] == "visible":
            radii = str(c.value).removesuffix("visible") + "radii"
            return {self.ranges.structure.named(c, radii): known(POSITIVE)}
        return self._call(c, truth, depth) if c.op == "call" else {}

    def _call(self, c: Expr, truth: bool, depth: int) -> Facts | None:
        name = c.builtin.name
        out: Facts = {}
        if name in ("after", "before"):
            low = (name == "after") == truth
            bound = self._range(c.args[1])
            to = Interval(bound.lo, inf) if low else Interval(-inf, bound.hi, hi_open=True)
            self._restrict(c.args[0], known(to), out, 0)
        elif name == "between" and truth:
            to = Interval(self._range(c.args[1]).lo, self._range(c.args[2]).hi, hi_open=True)
            self._restrict(c.args[0], known(to), out, 0)
        elif name == "valid" and truth:
            self._restrict(c.args[0], known(POSITIVE), out, 0)
        elif name == "erode" and truth:
            return self.outcome(c.args[0], truth, depth + 1)
        return self._possible(out)

    def _possible(self, out: Facts) -> Facts | None:
        """What was found, unless it cannot be."""
        impossible, self.impossible = self.impossible, False
        return None if impossible else out

    def _compare(self, op: str, left: Expr, right: Expr) -> Facts | None:
        if op in ("gt", "ge"):
            op, left, right = "lt" if op == "gt" else "le", right, left
        a, b = self._range(left), self._range(right)
        out = self._differences(op, left, right)
        if op == "eq":
            self._restrict(left, known(b), out, 0)
            self._restrict(right, known(a), out, 0)
        elif op == "ne":
            for side, other in ((left, b), (right, a)):
                if other.is_point and other.lo == 0:
                    self._restrict(side, Known(REALS, True), out, 0)
                elif other.is_point:
                    self._restrict(side, known(_without(self._range(side), other.lo)), out, 0)
        else:
            strict = op == "lt"
            self._restrict(left, known(Interval(-inf, b.hi, hi_open=strict or b.hi_open)), out, 0)
            self._restrict(right, known(Interval(a.lo, inf, lo_open=strict or a.lo_open)), out, 0)
        return self._possible(out)

    def _differences(self, op: str, left: Expr, right: Expr) -> Facts:
        """What an order of two values says of their difference, either way round."""
        number = self.ranges.structure.difference
        if op == "ne":
            return {number(left, right): Known(REALS, True), number(right, left): Known(REALS, True)}
        if op == "eq":
            return {}
        below, above = (-POSITIVE, POSITIVE) if op == "lt" else (-NONNEGATIVE, NONNEGATIVE)
        return {number(left, right): known(below), number(right, left): known(above)}

    def _range(self, e: Expr) -> Interval:
        return self.ranges.found(e, self.env).range

    def _restrict(self, e: Expr, to: Known, out: Facts, depth: int) -> None:
        """Record that a value is in a range, and what that says of its operands."""
        self.left -= 1
        if depth > DEPTH or self.left < 0:
            return
        if self.space and e.type.kind.space != self.space:
            return
        place = self.ranges.structure.key(e)
        if place in out:
            met = out[place].meet(to)
            out[place] = met or to
        else:
            out[place] = to
        current = self.ranges.found(e, self.env).meet(to)
        if current is None:
            self.impossible = True
            return
        if e.op in ("input", "field") and not current.can_be_zero and current.range.lo >= 0:
            self._drawn(e, out)
        for operand, more in self._operands(e, current):
            if more.range != REALS or more.nonzero:
                self._restrict(operand, more, out, depth + 1)

    def _drawn(self, e: Expr, out: Facts) -> None:
        name = str(e.value)
        field = next((d for d in sorted(DRAWN, key=len, reverse=True) if name == d or name.endswith(f".{d}")), None)
        if field is None:
            return
        for other in DRAWN:
            out.setdefault(self.ranges.structure.named(e, name[: len(name) - len(field)] + other), known(POSITIVE))

    def _operands(self, e: Expr, to: Known) -> list[tuple[Expr, Known]]:
        """What the operands must be for the value to be in a range."""
        t, nonzero = to.range, to.nonzero
        if e.op == "neg":
            return [(e.args[0], Known(-t, nonzero))]
        if e.op in ("add", "sub", "mul", "div"):
            return self._arithmetic(e, t, nonzero)
        if e.op == "pow":
            return [(e.args[0], Known(REALS, True))] if nonzero and self._range(e.args[1]).lo > 0 else []
        if e.op != "call" or not e.args:
            return []
        return self._builtin(e, e.builtin.name, t, nonzero)

    def _arithmetic(self, e: Expr, t: Interval, nonzero: bool) -> list[tuple[Expr, Known]]:
        a, b = e.args
        x, y = self._range(a), self._range(b)
        if e.op == "add":
            return [(a, known(t - y)), (b, known(t - x))]
        if e.op == "sub":
            return [(a, known(t + y)), (b, known(x - t))]
        if e.op == "div":
            return [(a, known(t * y, nonzero))]
        return [(one, known(t / other if 0.0 not in other else REALS, nonzero)) for one, other in ((a, y), (b, x))]

    def _builtin(self, e: Expr, name: str, t: Interval, nonzero: bool) -> list[tuple[Expr, Known]]:
        x = e.args[0]
        at = self._range(x)
        if name in ("detach", "raw"):
            return [(x, Known(t, nonzero))]
        if name in ("abs", "sq"):
            root = t if name == "abs" else t.clip(0.0, inf).power(point(0.5))
            to = root if at.lo >= 0 else Interval(-root.hi, root.hi, root.hi_open, root.hi_open)
            return [(x, Known(to, nonzero))]
        if name == "sqrt":
            return [(x, known(t.clip(0.0, inf).power(point(2)), nonzero))]
        if name in ("log", "exp"):
            inverse = {"log": "exp", "exp": "log"}[name]
            return [(x, known(_image(inverse, t)))] if name == "log" or t.hi > 0 else []
        if name == "relu":
            return [(x, known(Interval(t.lo if t.lo > 0 or nonzero else -inf, t.hi, t.lo_open or nonzero, t.hi_open)))]
        if name == "component_min":
            return [(x, known(Interval(t.lo, inf, t.lo_open)))]
        if name == "component_max":
            return [(x, known(Interval(-inf, t.hi, hi_open=t.hi_open)))]
        if name in ("max", "min", "clamp"):
            return self._limited(e, name, t)
        return []

    def _limited(self, e: Expr, name: str, t: Interval) -> list[tuple[Expr, Known]]:
        """A maximum below a bound has all operands below it; one above the others has the last one there."""
        below, above = Interval(-inf, t.hi, hi_open=t.hi_open), Interval(t.lo, inf, lo_open=t.lo_open)
        if name == "clamp":
            x, lo, hi = e.args
            found = []
            if _over(t, self._range(lo)):
                found.append((x, known(above)))
            if _over(-t, -self._range(hi)):
                found.append((x, known(below)))
            return found
        if name == "max":
            all_, one, sign = below, above, point(1.0)
        else:
            all_, one, sign = above, below, point(-1.0)
        found = [(x, known(all_)) for x in e.args]
        for x in e.args:
            if all(_over(t * sign, self._range(o) * sign) for o in e.args if o is not x):
                found.append((x, known(one)))
        return found


def _over(t: Interval, other: Interval) -> bool:
    """Whether every value of t is above every value of the other."""
    return t.lo > other.hi or (t.lo == other.hi and t.lo_open)


def _image(name: str, t: Interval) -> Interval:
    from ..builtins import table

    record = table()[name]
    assert record.range is not None
    return record.range({"x": t if name == "exp" else t.clip(0.0, inf)})


def _without(at: Interval, x: float) -> Interval:
    return Interval(at.lo, at.hi, at.lo_open or at.lo == x, at.hi_open or at.hi == x) if not at.is_point else at


def _both(one: Facts | None, other: Facts | None) -> Facts | None:
    if one is None or other is None:
        return None
    found = dict(one)
    for place, more in other.items():
        met = found[place].meet(more) if place in found else more
        if met is None:
            return None
        found[place] = met
    return found


def _either(one: Facts | None, other: Facts | None) -> Facts | None:
    if one is None or other is None:
        return other if one is None else one
    return {
        place: known(a.range.hull(other[place].range), a.nonzero and other[place].nonzero)
        for place, a in one.items()
        if place in other
    }
