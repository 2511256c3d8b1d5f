"""What the weight of a term does over a run: where it starts, turns and ends, and its value at any step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from .host import OPERATORS, evaluate
from .interval import show
from .spans import HORIZON, Timeline
from .steps import Steps
from .typed import Expr

Factors = Sequence[tuple[bool, Expr]]

_THRESHOLDS = {"after": ("a",), "before": ("b",), "between": ("a", "b"), "ramp": ("a", "b")}
_MEETING = ("min", "max", "clamp", "relu", "abs")
_MOST = 2_000  # turns of one weight that are looked at
_MOST_MEETING = 20  # arguments of one maximum that are compared with one another


class Piece(NamedTuple):
    """A stretch of steps, both ends included, in which a weight has one shape.

    ``last`` and ``end`` are None where the run has no known end. ``shape`` is ``constant``, ``rises``, ``falls`` or
    ``varies``.
    """

    first: int
    last: int | None
    start: float
    end: float | None
    shape: str

    def describe(self) -> str:
        """In words: ``rises from 0 at step 0 to 0.01 at step 200``."""
        if self.shape == "constant":
            if self.last is None:
                return f"{number(self.start)} from step {self.first:,}"
            if self.last == self.first:
                return f"{number(self.start)} at step {self.first:,}"
            return f"{number(self.start)} at steps {self.first:,} to {self.last:,}"
        begin = f"{self.shape} from {number(self.start)} at step {self.first:,}"
        if self.last is None or self.end is None:
            return begin
        return f"{begin} to {number(self.end)} at step {self.last:,}"


def number(x: float) -> str:
    """A value as shown to a reader: six digits at most."""
    return show(float(f"{x:.6g}")) if math.isfinite(x) else show(x)


class Curve:
    """A weight over a run: the product of the host factors of a term."""

    def __init__(self, factors: Factors, timeline: Timeline) -> None:
        self.factors, self.timeline = tuple(factors), timeline
        self.known = all(timeline.known(factor) for _, factor in self.factors)
        self.moves = any(n.op == "input" and n.value in ("step", "progress") for n in self._values())

    @cached_property
    def size(self) -> int:
        """The number of values that have to be worked out for one step."""
        return sum(1 for _ in self._values())

    def _values(self) -> Iterator[Expr]:
        """What the factors are made of; they often share it."""
        seen: dict[int, None] = {}
        for _, factor in self.factors:
            for node in factor.operands_first(seen):
                seen[id(node)] = None
                yield node

    def at(self, step: int) -> float:
        """The weight at a step; only for a known one."""
        product, env, memo = 1.0, self.timeline.environment(step), dict[int, object]()
        self.timeline.spend(self.size)
        for divides, factor in self.factors:
            value = float(evaluate(factor, env, memo))
            product = float(OPERATORS["div"](product, value)) if divides else product * value
        return product

    def turns(self) -> list[int]:
        """Steps at which the weight may jump or change its slope, ascending."""
        found: set[float] = set()
        for node in self._values():
            if len(found) < 2 * _MOST and not self.timeline.exhausted:
                found.update(self._turns(node))
        end = self.timeline.end
        steps = sorted({math.ceil(s - 1e-9 * max(1.0, abs(s))) for s in found if -1 < s < end})
        return [s for s in steps if 0 < s < end][:_MOST]

    def _turns(self, e: Expr) -> Iterable[float]:
        """Where an operation that has corners has them."""
        line = self.timeline
        if e.op in ("lt", "le", "gt", "ge", "eq", "ne"):
            at = self._crossings(e.args[0], e.args[1])
            return [*at, *(s + 1 for s in at if e.op in ("le", "gt", "eq", "ne"))]
        if e.op != "call":
            return ()
        name = e.builtin.name
        x = e.arg("x")
        if name in _MEETING:
            if len(e.args) > _MOST_MEETING:
                return ()
            pairs = [(a, b) for i, a in enumerate(e.args) for b in e.args[i + 1 :]]
            zeros = [s for a in e.args for s in self._meets(a, 0.0)] if name in ("relu", "abs") else []
            return [*zeros, *(s for a, b in pairs for s in self._crossings(a, b))]
        if x is None or not line.moves(x):
            return ()
        ends: list[float] = [0.0] if name == "ramp" and e.arg("b") is None else []
        fixed = {n: line.value(a, 0) for n, a in zip(e.names, e.args) if n != "points" and line.direction(a) == 0}
        ends += [fixed[n] for n in _THRESHOLDS.get(name, ()) if n in fixed]
        if "over" in fixed:
            start = fixed.get("start", 0.0)
            ends += [start, start + fixed["over"]]
        if name == "piecewise":
            points = [a for a, n in zip(e.args, e.names) if n == "points" and line.direction(a) == 0]
            ends += [line.value(p, 0)[0] for p in points]
        return [s for v in ends for s in self._meets(x, v)]

    def _meets(self, e: Expr, value: float) -> list[float]:
        """The step at which an affine value reaches a number."""
        line = self._affine(e)
        return [] if line is None or line[1] == 0 else [(value - line[0]) / line[1]]

    def _crossings(self, left: Expr, right: Expr) -> list[float]:
        """The step at which two affine values meet."""
        a, b = self._affine(left), self._affine(right)
        return [] if a is None or b is None or a[1] == b[1] else [(b[0] - a[0]) / (a[1] - b[1])]

    def _affine(self, e: Expr) -> tuple[float, float] | None:
        """A value as c + m * step, if that is what it looks like."""
        if e.type.kind.name not in ("number", "flag") or not self.timeline.known(e):
            return None
        far = 1024.0 if self.timeline.max_steps is None else max(2.0, float(self.timeline.max_steps))
        at = [float(self.timeline.value(e, int(s))) for s in (0, far / 2, far)]
        if not all(map(math.isfinite, at)):
            return None
        slope = (at[2] - at[0]) / int(far)
        close = abs(at[0] + slope * int(far / 2) - at[1]) <= 1e-9 * max(1.0, *map(abs, at))
        return (at[0], slope) if close else None

    def pieces(self, within: Steps) -> list[Piece]:
        """The weight between two steps as stretches of one shape each; none where that takes too long to find."""
        stop = self.timeline.end if within.stop is None else min(within.stop, self.timeline.end)
        open_end = self.timeline.max_steps is None and stop == HORIZON
        if not self.moves:
            value = self.at(within.start)
            return [Piece(within.start, None if open_end else stop - 1, value, value, "constant")]
        marks = [within.start, *(t for t in self.turns() if within.start < t < stop), stop]
        found: list[Piece] = []
        for first, after in pairwise(marks):
            if self.timeline.exhausted:
                return []
            smooth = after < stop and not self._jumps(after)
            last = after if smooth else after - 1
            endless = open_end and after == stop
            found.append(self._piece(first, first + 1_000_000 if endless else last, endless))
        return _joined(found)

    def _jumps(self, step: int) -> bool:
        """Whether the weight changes far more from the step before to this one than around them."""
        v = [self.at(s) for s in range(max(step - 2, 0), min(step + 2, self.timeline.end))]
        if len(v) < 4 or not all(map(math.isfinite, v)):
            return len(v) < 3 or v[-2] != v[-1]
        return abs(v[2] - v[1]) > 4 * max(abs(v[1] - v[0]), abs(v[3] - v[2])) + 1e-12 * max(map(abs, v))

    def _piece(self, first: int, last: int, endless: bool) -> Piece:
        probes = sorted({first, last, *(first + (last - first) * i // 8 for i in range(1, 8))})
        v = [self.at(s) for s in probes]
        steps = [b - a for a, b in pairwise(v)]
        shape = "varies"
        if all(d == 0 for d in steps):
            shape = "constant"
        elif all(d >= 0 for d in steps):
            shape = "rises"
        elif all(d <= 0 for d in steps):
            shape = "falls"
        constant = shape == "constant"
        return Piece(first, None if endless else last, v[0], None if endless and not constant else v[-1], shape)


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Neighbours that are constant at one value, as one."""
    out: list[Piece] = []
    for piece in pieces:
        before = out[-1] if out else None
        if before is not None and before.shape == piece.shape == "constant" and before.start == piece.start:
            out[-1] = before._replace(last=piece.last)
        else:
            out.append(piece)
    return out
