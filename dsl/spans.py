"""Spans of steps: when a condition holds, and when a number that the host computes is not 0.

Exact, by bisection: over a run of steps a value is bounded, by its two ends where it only rises or only falls and by
interval arithmetic elsewhere, and the run is halved until every piece is decided. Steps count from 0, spans are
half-open. Gates that open and close all the time (``every``) are named, not enumerated, and so are conditions that
cannot be known beforehand (``chance``, ``has``, inputs of the host).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .formula import expression_text
from .host import OPERATORS, evaluate
from .interval import REALS, UNIT, ZERO, Interval, point
from .spans_bounds import agree, compared, curve, ends_of, flip
from .steps import Existence, Gate, Steps, both
from .typed import Expr
from .types import FLAG

HORIZON = 2**40
"""Steps that are looked at where the length of the run is unknown; a span that reaches it has no end."""

BUDGET = 200_000
"""Values that are worked out for one condition before giving up. What is then undecided counts as true, inexactly."""

ENDLESS_BUDGET = 20_000
"""The same where the length of the run is unknown: what has spans at all has found them long before."""

TOTAL = 500_000
"""The same for all conditions of a program together: about a second."""

REMEMBERED = 8
"""Steps of which values are remembered."""

_RANGES = {
    "add": Interval.__add__,
    "sub": Interval.__sub__,
    "mul": Interval.__mul__,
    "div": Interval.__truediv__,
    "pow": Interval.power,
}
_SPANS = ("after", "before", "between")
_CLOCK = ("step", "max_steps", "progress")
_RANDOM = ("chance", "bernoulli")
_RISING = {"after": ("x",), "ramp": ("x",)}
_FALLING = {"before": ("x",)}
_BETWEEN_VALUES = ("linear", "loglinear", "cosine")


class Timeline:
    """Host values over a run.

    Args:
        params: the values of parameters in force.
        max_steps: the length of the run, None where it is not known.
    """

    def __init__(self, params: Mapping[str, Any], max_steps: int | None) -> None:
        self.params, self.max_steps = dict(params), max_steps
        self.end = HORIZON if max_steps is None else max_steps
        self._known: dict[int, bool] = {}
        self._slopes: dict[int, int | None] = {}
        self._plans: dict[int, list[Expr]] = {}
        self._kept: list[Expr] = []  # what is remembered by its address must stay alive
        self._at: dict[int, dict[int, Any]] = {}
        self._found: dict[int, tuple[list[Steps], bool]] = {}
        self._spent = 0

    # Single steps

    def environment(self, step: int) -> dict[str, Any]:
        """What host values are made of at a step."""
        env = {"step": float(step), **self.params}
        if self.max_steps is not None:
            env.update(max_steps=float(self.max_steps), progress=step / self.max_steps)
        return env

    def value(self, e: Expr, step: int) -> Any:
        """A known value at a step."""
        memo = self._at.get(step)
        if memo is None:
            if len(self._at) >= REMEMBERED:
                del self._at[next(iter(self._at))]
            memo = self._at[step] = {}
        if id(e) not in memo:
            self._kept.append(e)
            before = len(memo)
            evaluate(e, self.environment(step), memo)
            self._spent += len(memo) - before
        return memo[id(e)]

    def spend(self, values: int) -> None:
        """Count values that were worked out elsewhere."""
        self._spent += values

    @property
    def exhausted(self) -> bool:
        """Whether so much was asked for that answers are no longer exact."""
        return self._spent > TOTAL

    def known(self, e: Expr) -> bool:
        """Whether the value can be computed from the step alone, before the run."""
        return bool(self._note(e, self._known, self._is_known))

    def _is_known(self, e: Expr) -> bool:
        if e.op == "param":
            return e.value in self.params
        if e.op == "input":
            return e.value == "step" or (e.value in _CLOCK and self.max_steps is not None)
        here = e.op in ("const", "tuple", *OPERATORS)
        if e.op == "call":
            here = e.builtin.host is not None and e.builtin.name not in _RANDOM
        return here and all(self._known[id(a)] for a in e.args)

    def _note(self, e: Expr, memo: dict[int, Any], find: Any) -> Any:
        """A fact about a value, found from those of its operands, once."""
        if id(e) not in memo:
            self._kept.append(e)
            for node in e.operands_first(memo):
                memo[id(node)] = find(node)
        return memo[id(e)]

    def moves(self, e: Expr) -> bool:
        """Whether the value depends on the step."""
        return any(n.op == "input" and n.value in ("step", "progress") for n in e.walk())

    # Runs of steps

    def direction(self, e: Expr) -> int | None:
        """1 for a known value that never falls, -1 for one that never rises, 0 for a constant, None for others."""
        return self._note(e, self._slopes, self._direction)  # type: ignore[no-any-return]

    def _direction(self, e: Expr) -> int | None:
        slopes = [self._slopes[id(a)] for a in e.args]
        if e.op == "input":
            return 0 if e.value == "max_steps" else 1
        if all(s == 0 for s in slopes):
            return 0
        if e.op == "call":
            return self._call_direction(e, slopes)
        if e.op in ("neg", "not"):
            return flip(slopes[0], -1)
        if e.op in ("add", "and", "or"):
            return agree(slopes)
        if e.op in ("sub", "gt", "ge", "lt", "le"):
            sign = -1 if e.op in ("lt", "le") else 1
            return flip(agree([slopes[0], flip(slopes[1], -1)]), sign)
        if e.op == "mul":
            a, b = e.args
            return agree([flip(s, self._sign(o)) for s, o in ((slopes[0], b), (slopes[1], a)) if s != 0])
        if e.op == "div" and slopes[1] == 0:
            return flip(slopes[0], self._sign(e.args[1]))
        return None

    def _sign(self, e: Expr) -> int | None:
        """The sign that a known value always has."""
        if self._slopes[id(e)] != 0:
            return e.type.range.sign
        value = float(self.value(e, 0))
        return None if value != value else (value > 0) - (value < 0)

    def _call_direction(self, e: Expr, slopes: list[int | None]) -> int | None:
        record = e.builtin
        x = dict(zip(e.names, slopes))
        moving = [n for n, s in zip(e.names, slopes) if s != 0]
        if set(moving) <= set(record.increasing) or set(moving) <= set(_RISING.get(record.name, ())):
            return agree([s for s in slopes if s != 0])
        if set(moving) <= set(_FALLING.get(record.name, ())):
            return flip(x["x"], -1)
        if moving != ["x"]:
            return None
        if record.name in _BETWEEN_VALUES:
            v0, v1 = (self.value(a, 0) for a in (e.arg("v0"), e.arg("v1")) if a is not None)
            return flip(x["x"], 1 if v1 >= v0 else -1)
        rate = e.arg("rate") if record.name == "expdecay" else None
        return None if rate is None else flip(x["x"], -1 if self.value(rate, 0) >= 0 else 1)

    def bounds(self, e: Expr, start: int, stop: int) -> Interval:
        """What a known value can be at the steps from ``start`` up to, not including, ``stop``."""
        memo: dict[int, Interval] = {}
        ends = self.environment(start), self.environment(stop - 1)
        values: tuple[dict[int, Any], dict[int, Any]] = ({}, {})
        for node in (e,) if stop - start == 1 else self._plan(e):
            directed = stop - start == 1 or self.direction(node) is not None
            memo[id(node)] = ends_of(node, ends, values) if directed else self._bounds(node, memo)
        self._spent += len(memo) + len(values[0]) + len(values[1])
        return memo[id(e)]

    def _plan(self, e: Expr) -> list[Expr]:
        """What has to be bounded for a value, operands first: nothing below what its two ends bound."""
        plan = self._plans.get(id(e))
        if plan is None:
            seen: set[int] = set()
            stack, plan = [(e, False)], list[Expr]()
            while stack:
                node, ready = stack.pop()
                if ready:
                    plan.append(node)
                elif id(node) not in seen:
                    seen.add(id(node))
                    stack.append((node, True))
                    if self.direction(node) is None:
                        stack.extend((a, False) for a in reversed(node.args))
            self._plans[id(e)] = plan
            self._kept.append(e)
        return plan

    def _bounds(self, e: Expr, memo: dict[int, Interval]) -> Interval:
        args = [memo[id(a)] for a in e.args]
        if e.op == "neg":
            return -args[0]
        if e.op in _RANGES:
            return _RANGES[e.op](*args)
        if e.op == "not":
            return point(1.0) - args[0]
        if e.op in ("and", "or"):
            return args[0].least(args[1]) if e.op == "and" else args[0].greatest(args[1])
        if e.op == "if":
            then, condition, otherwise = args
            return then.hull(otherwise) if not condition.is_point else then if condition.lo else otherwise
        if e.op == "call":
            return self._call_bounds(e, args)
        if e.op in ("lt", "le", "gt", "ge", "eq", "ne"):
            return compared(e.op, args[0], args[1])
        return UNIT if e.type.kind == FLAG else REALS

    def _call_bounds(self, e: Expr, args: list[Interval]) -> Interval:
        record = e.builtin
        if record.name == "piecewise":
            points = [self.value(a, 0) for a, n in zip(e.args, e.names) if n == "points" and self.direction(a) == 0]
            if len(points) == e.names.count("points"):
                return curve(record.host, args[e.names.index("x")], points, self._mode(e))
        if record.range is None:
            return record.parsed.range
        named: dict[str, Interval | None] = {}
        for i, (name, bound) in enumerate(zip(e.names, args)):
            named[name if name not in named else f"{name}.{i}"] = bound
        return record.range(named)

    def _mode(self, e: Expr) -> str:
        mode = e.arg("interp")
        return "linear" if mode is None else str(self.value(mode, 0))

    # Spans

    def nonzero(self, e: Expr) -> Existence:
        """When a value is not 0; for a flag, when it holds."""
        spans, gates, exact = [Steps(0, self.end)], list[Gate](), True
        for part in _conjuncts(e):
            if 0.0 not in part.type.range:
                continue
            gate = self._gate(part)
            if gate is not None:
                gates.append(gate)
                continue
            found, precise = self._search(part)
            if not precise and self.max_steps is None:
                gates.append(Gate("condition", f"while {expression_text(part)}"))
                continue
            spans, exact = both(spans, found), exact and precise
        if self.max_steps is None:
            spans = [Steps(a, None if b == HORIZON else b) for a, b in spans]
        return Existence(tuple(spans), tuple(dict.fromkeys(gates)), exact)

    def _gate(self, e: Expr) -> Gate | None:
        """The gate that a factor is, or None for one that has spans."""
        if e.op == "call" and e.builtin.name == "every":
            every = self._every(e)
            if every is not None:
                return every
        if self.known(e):
            return None
        text = expression_text(e)
        if (e.op == "call" and e.builtin.name == "has") or e.op == "has":
            return Gate("has", f"if {text}")
        if e.op == "call" and e.builtin.name in _RANDOM:
            return Gate("chance", f"with {text}")
        return Gate("condition", f"while {text}" if e.type.kind == FLAG else f"where {text} is not 0")

    def _every(self, e: Expr) -> Gate | None:
        x, k, offset = (e.arg(name) for name in ("x", "k", "offset"))
        if x is None or k is None or not self.known(e) or self.direction(k) != 0:
            return None
        period = self.value(k, 0)
        shift = 0.0 if offset is None else self.value(offset, 0)
        at = self.value(x, 0)
        if any(self.value(x, s) - at != s for s in (1, 2, 1000)) or period < 1:
            return None
        first = (shift - at) % period
        if any(v != int(v) for v in (period, first)):
            return None
        text = "every step" if period == 1 else f"every {int(period):,} steps"
        text += f" ({int(first):,}, {int(first + period):,}, ...)" if first else ""
        return Gate("every", text, int(period), int(first))

    def _search(self, e: Expr) -> tuple[list[Steps], bool]:
        """The spans in which a known value is not 0, and whether they are exact."""
        if id(e) not in self._found:
            self._kept.append(e)
            self._found[id(e)] = self._plain(e) or self._bisect(e)
        found, exact = self._found[id(e)]
        return list(found), exact

    def _plain(self, e: Expr) -> tuple[list[Steps], bool] | None:
        """The span of ``after``, ``before`` and ``between`` of the step itself, by far the most common conditions."""
        if e.op != "call" or e.builtin.name not in _SPANS:
            return None
        x = e.arg("x")
        if x is None or x.op != "input" or x.value != "step":
            return None
        first, last = 0.0, float(self.end)
        for name in ("a", "b"):
            bound = e.arg(name)
            if bound is None:
                continue
            if self.direction(bound) != 0:
                return None
            value = float(self.value(bound, 0))
            if value != value:
                return None
            first, last = (max(first, value), last) if name == "a" else (first, min(last, value))
        start, stop = min(math.ceil(min(first, self.end)), self.end), math.ceil(max(last, 0.0))
        return ([Steps(start, stop)] if start < stop else []), True

    def _bisect(self, e: Expr) -> tuple[list[Steps], bool]:
        found: list[Steps] = []
        exact = True
        limit = min(self._spent + (BUDGET if self.max_steps is not None else ENDLESS_BUDGET), TOTAL)
        pending = [(0, self.end)]
        while pending:
            start, stop = pending.pop()
            more = self._spent < limit
            bounds = self.bounds(e, start, stop) if more else REALS
            if bounds == ZERO:
                continue
            decided = 0.0 not in bounds
            if not decided and stop - start > 1 and more:
                middle = (start + stop) // 2
                pending += [(middle, stop), (start, middle)]
                continue
            exact = exact and more and (decided or stop - start == 1)
            if found and found[-1].stop == start:
                found[-1] = Steps(found[-1].start, stop)
            else:
                found.append(Steps(start, stop))
        return found, exact


def _conjuncts(e: Expr) -> list[Expr]:
    """The parts that must all be other than 0: factors of a product, operands of ``and``, a dividend."""
    parts: list[Expr] = []
    seen: set[int] = set()
    stack = [e]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.op in ("mul", "and"):
            stack.extend(reversed(node.args))
        elif node.op in ("neg", "div"):
            stack.append(node.args[0])
        else:
            parts.append(node)
    return parts
