"""Small scalar programs, one run per lane: a pixel and a channel. Made of the graph, differentiated, and printed.

They are what stands inside the loops of a window kernel. C++, Triton and torch all print or run the same programs, so
no kernel has arithmetic of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

LEAVES = frozenset({"input", "host", "const", "weight", "stat", "spread", "interior"})
"""Of a lane: ``input`` (attr: which), ``stat`` and ``spread`` (attr: which blurred value), ``interior`` (attr: a
border; 1 for pixels at least so far from every edge, else 0). Of the whole call: ``host`` (attr: which), ``const``
(attr: the number), ``weight`` (attr: a reduction; its factor over its normaliser, 0 where its region is empty)."""

UNIFORM = frozenset({"host", "const", "weight"})
"""Leaves that are the same in all lanes."""

COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
"""1 where it holds, else 0; 0 beside NaN, but for ``ne``."""

BINARY = frozenset({"add", "sub", "mul", "div", "min", "max"}) | COMPARISONS
"""``min`` and ``max`` are NaN if an operand is."""

UNARY = frozenset({"neg", "abs", "sqrt", "sign", "floor0"})
"""``sign`` is 0 for NaN. ``floor0`` is max(x, 0), NaN for NaN, with the gradient of x: for what is below 0 by rounding
alone."""

TRANSCENDENTAL = frozenset({"exp", "log", "log1p", "sigmoid", "tanh"})
"""Slow beside the rest, so only kernels without windows have them; so it is with ``detach``: x without a gradient."""

# `where` (c, a, b): a where c > 0.5, else b.


class Lane(NamedTuple):
    """One value of a lane: an operation, its operands by their index, and for leaves which one."""

    op: str
    args: tuple[int, ...] = ()
    attr: Any = None


class Stage(NamedTuple):
    """A program in single assignment, operands first, and the values that come out of it."""

    lanes: tuple[Lane, ...]
    results: tuple[int, ...]

    def leaves(self, op: str) -> tuple[Any, ...]:
        """Which leaves of a sort are read, sorted."""
        return tuple(sorted({lane.attr for lane in self.lanes if lane.op == op}))

    def uniform(self) -> set[int]:
        """Values that are the same in all lanes."""
        found: set[int] = set()
        for i, lane in enumerate(self.lanes):
            if lane.op in UNIFORM or (lane.args and all(a in found for a in lane.args)):
                found.add(i)
        return found


class Lanes:
    """Builds programs; equal values become one, and arithmetic with 0 and 1 is left out where it changes nothing."""

    def __init__(self) -> None:
        self.lanes: list[Lane] = []
        self._known: dict[Lane, int] = {}

    def add(self, op: str, *args: int, attr: Any = None) -> int:
        """The index of a value."""
        simple = self._simple(op, args)
        if simple is not None:
            return simple
        lane = Lane(op, args, attr)
        found = self._known.get(lane)
        if found is None:
            found = self._known[lane] = len(self.lanes)
            self.lanes.append(lane)
        return found

    def const(self, value: float) -> int:
        """A number."""
        return self.add("const", attr=float(value))

    def number(self, index: int) -> float | None:
        """The number that a value is; None if it is none."""
        lane = self.lanes[index]
        return float(lane.attr) if lane.op == "const" else None

    def _simple(self, op: str, args: tuple[int, ...]) -> int | None:
        if op in ("add", "sub", "mul", "div") and len(args) == 2:
            left, right = (self.number(a) for a in args)
            if (op in ("add", "sub") and right == 0) or (op in ("mul", "div") and right == 1):
                return args[0]
            if (op == "add" and left == 0) or (op == "mul" and left == 1):
                return args[1]
        return None

    def stage(self, results: Iterable[int]) -> Stage:
        """What is needed for these values, as a program of its own."""
        wanted = tuple(results)
        needed: set[int] = set(wanted)
        for i in range(len(self.lanes) - 1, -1, -1):
            if i in needed:
                needed.update(self.lanes[i].args)
        moved: dict[int, int] = {}
        lanes: list[Lane] = []
        for i in sorted(needed):
            lane = self.lanes[i]
            moved[i] = len(lanes)
            lanes.append(lane._replace(args=tuple(moved[a] for a in lane.args)))
        return Stage(tuple(lanes), tuple(moved[i] for i in wanted))

    def depends(self, index: int, leaves: Iterable[Lane]) -> bool:
        """Whether a value is made of one of these leaves."""
        wanted, pending, seen = set(leaves), [index], set[int]()
        while pending:
            i = pending.pop()
            if i in seen:
                continue
            seen.add(i)
            if self.lanes[i] in wanted:
                return True
            pending += self.lanes[i].args
        return False

    def gradients(self, seeds: dict[int, int], to: Iterable[int]) -> list[int]:
        """Reverse mode: for each value of ``to`` the sum over seeds of cotangent times derivative, as values.

        Derivatives are torch's: 0 for comparisons and signs, half to each side of ``min`` and ``max`` at a tie.
        """
        wanted = tuple(to)
        cotangents = dict(seeds)
        leads = self._leads_to(wanted)
        for i in range(max(cotangents, default=-1), -1, -1):
            g = cotangents.get(i)
            if g is None or i in wanted or i not in leads:
                continue
            for operand, part in self._adjoint(i, g, leads):
                known = cotangents.get(operand)
                cotangents[operand] = part if known is None else self.add("add", known, part)
        return [cotangents[i] if i in cotangents else self.const(0.0) for i in wanted]

    def _leads_to(self, targets: tuple[int, ...]) -> set[int]:
        """Values that are made of one of these."""
        leads = set(targets)
        for i, lane in enumerate(self.lanes):
            if any(a in leads for a in lane.args):
                leads.add(i)
        return leads

    def _adjoint(self, index: int, g: int, leads: set[int]) -> list[tuple[int, int]]:
        op, args, _ = self.lanes[index]
        made: list[tuple[int, int]] = []

        def give(position: int, *how: tuple[str, tuple[Any, ...]]) -> None:
            """Chain of operations on g for one operand; each takes what is there as its first operand."""
            if args[position] not in leads:
                return
            value = g
            for step, rest in how:
                value = self.add(step, *(value if r is None else r for r in rest))
            made.append((args[position], value))

        if op in ("add", "sub"):
            give(0)
            give(1, *([("neg", (None,))] if op == "sub" else []))
        elif op == "mul":
            give(0, ("mul", (None, args[1])))
            give(1, ("mul", (None, args[0])))
        elif op == "div":
            give(0, ("div", (None, args[1])))
            give(1, ("mul", (None, index)), ("div", (None, args[1])), ("neg", (None,)))
        elif op == "neg":
            give(0, ("neg", (None,)))
        elif op == "abs":
            if args[0] in leads:
                made.append((args[0], self.add("mul", g, self.add("sign", args[0]))))
        elif op == "sqrt":
            if args[0] in leads:
                made.append((args[0], self.add("div", g, self.add("mul", self.const(2.0), index))))
        elif op == "floor0":
            give(0)
        elif op in TRANSCENDENTAL and args[0] in leads:
            made.append((args[0], self._slope(op, args[0], index, g)))
        elif op in ("min", "max"):
            self._extreme(op, args, g, leads, made)
        elif op == "where":
            zero = self.const(0.0)
            if args[1] in leads:
                made.append((args[1], self.add("where", args[0], g, zero)))
            if args[2] in leads:
                made.append((args[2], self.add("where", args[0], zero, g)))
        return made

    def _slope(self, op: str, x: int, y: int, g: int) -> int:
        """The cotangent of x, from that of y."""
        one = self.const(1.0)
        if op == "exp":
            return self.add("mul", g, y)
        if op == "log":
            return self.add("div", g, x)
        if op == "log1p":
            return self.add("div", g, self.add("add", x, one))
        if op == "sigmoid":
            return self.add("mul", g, self.add("mul", self.add("sub", one, y), y))
        return self.add("mul", g, self.add("sub", one, self.add("mul", y, y)))

    def _extreme(self, op: str, args: tuple[int, ...], g: int, leads: set[int], made: list[tuple[int, int]]) -> None:
        half, zero = self.add("mul", g, self.const(0.5)), self.const(0.0)
        tie = self.add("where", self.add("eq", *args), half, zero)
        for own, other in (args, args[::-1]):
            if own in leads:
                wins = self.add("lt" if op == "min" else "gt", own, other)
                made.append((own, self.add("where", wins, g, tie)))
