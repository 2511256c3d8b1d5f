"""Lanes as C++ expressions: what all generated kernels have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .lanes import COMPARISONS, Lane

TYPES = {"float32": "float", "float64": "double"}
"""The C++ type ``T`` by the dtype of a kernel."""

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}


class Printer:
    """Prints the lanes of a stage. Conditions stand where they are asked.

    Args:
        lanes: the program.
        calls: operations of one operand that are functions of the kernel, with their names there.
    """

    def __init__(self, lanes: Sequence[Lane], calls: Mapping[str, str]) -> None:
        self.lanes, self.calls = lanes, calls

    def condition(self, index: int) -> str:
        """A value as a condition: of what is no condition itself, whether it is more than a half."""
        return self.asked(self.lanes[index]) or f"v{index} > T(0.5)"

    def asked(self, lane: Lane) -> str:
        """The expression of a condition; "" for other values."""
        return f"v{lane.args[0]} {_COMPARE[lane.op]} v{lane.args[1]}" if lane.op in COMPARISONS else ""

    def leaf(self, lane: Lane) -> str:
        """What is read."""
        return f"in{lane.attr}[i]" if lane.op == "input" else f"u.{lane.op}[{lane.attr}]"

    def value(self, lane: Lane) -> str:
        """The expression of a value."""
        op, args, attr = lane
        a, b = (*(f"v{x}" for x in args), "", "")[:2]
        if op in _INFIX:
            return f"{a} {_INFIX[op]} {b}"
        asked = self.asked(lane)
        if asked:
            return f"{asked} ? T(1) : T(0)"
        if op == "const":
            return number(attr)
        if op == "where":
            return f"{self.condition(args[0])} ? v{args[1]} : v{args[2]}"
        if op in ("min", "max"):
            return f"({a} {'<' if op == 'min' else '>'} {b}) | ({a} != {a}) ? {a} : {b}"
        if op in self.calls:
            return f"{self.calls[op]}({a})"
        if not args:
            return self.leaf(lane)
        return {
            "neg": f"-{a}",
            "detach": a,
            "sign": f"({a} > T(0) ? T(1) : T(0)) - ({a} < T(0) ? T(1) : T(0))",
            "floor0": f"{a} < T(0) ? T(0) : {a}",
        }[op]


def number(value: float) -> str:
    """A number of the program."""
    if not math.isfinite(value):
        return "T(NAN)" if math.isnan(value) else "T(INFINITY)" if value > 0 else "-T(INFINITY)"
    return f"T({value!r})"


def array(name: str, values: Sequence[object], kind: str, why: str) -> str:
    """A constant array; one of nothing holds a 0, as C++ has none without elements."""
    shown = ", ".join(map(str, values)) or "0"
    return f"constexpr {kind} {name}[] = {{{shown}}};{f'  // {why}' if why else ''}"
