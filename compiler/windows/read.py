"""Graph to lanes: the part of the graph that works on each pixel and channel alone, as a lane program."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..call import Call, Ref
from ..emit import fill
from ..ir import ARITHMETIC, COMPARISONS, FILLED, POINTWISE, Graph
from .lanes import TRANSCENDENTAL, Lanes

MAX_LANES = 400
"""Values of one reduction beyond which it is left to torch: the loops of a kernel should stay in registers."""

_SAME = {"add": "add", "sub": "sub", "mul": "mul", "div": "div", "neg": "neg"}
SLOW = TRANSCENDENTAL | {"detach"}
POWERS = range(2, 9)
STOPS = frozenset({f"{POINTWISE}{n}" for n in ("detach", "floor", "sign", "finite", "valid")})
"""Kernels that let no gradient through."""


class NotLanes(Exception):
    """A value cannot be made of lanes."""


class Reader:
    """Reads values of one space and number of channels; what it cannot take apart becomes an input.

    Args:
        graph: the optimised graph.
        space: the space of the pixels.
        channels: components of the images, C.
        lanes: where the values go.
        rich: whether values that are slow to compute are lanes as well, see `lanes.TRANSCENDENTAL`.
    """

    def __init__(self, graph: Graph, space: str, channels: int, lanes: Lanes, rich: bool = False) -> None:
        self.graph, self.space, self.channels, self.lanes, self.rich = graph, space, channels, lanes, rich
        self.inputs: list[int] = []
        self.hosts: list[int] = []
        self._known: dict[int, int] = {}

    def read(self, node: int) -> int:
        """The value of a node in a lane.

        Raises:
            NotLanes: it has other pixels or components, or is a number that a graph computes.
        """
        found = self._known.get(node)
        if found is None:
            found = self._known[node] = self._make(node)
            if len(self.lanes.lanes) > MAX_LANES:
                raise NotLanes
        return found

    def _make(self, node: int) -> int:
        op, _, attr, shape, _ = self.graph.nodes[node]
        if op == "const":
            return self.lanes.const(attr)
        if not shape.space:
            if not is_host(self.graph, node):
                raise NotLanes
            return self.lanes.add("host", attr=_place(self.hosts, node))
        if shape.space != self.space or shape.components not in (1, self.channels):
            raise NotLanes
        if op != "input":
            before = len(self.inputs), len(self.hosts)
            try:
                return self._operation(node)
            except NotLanes:
                self.forget(*before)
        return self.lanes.add("input", attr=_place(self.inputs, node))

    def known(self, node: int) -> int | None:
        """The value of a node that was read."""
        return self._known.get(node)

    def forget(self, inputs: int, hosts: int) -> None:
        """Go back to so many inputs and numbers of the host."""
        del self.inputs[inputs:], self.hosts[hosts:]
        self._known = {n: v for n, v in self._known.items() if self._still_there(v)}

    def _still_there(self, lane: int) -> bool:
        """Whether a value reads nothing that was taken back."""
        pending = [lane]
        while pending:
            op, args, attr = self.lanes.lanes[pending.pop()]
            if (op == "input" and attr >= len(self.inputs)) or (op == "host" and attr >= len(self.hosts)):
                return False
            pending += args
        return True

    def _operation(self, node: int) -> int:
        op, args, attr, _, _ = self.graph.nodes[node]
        add, const = self.lanes.add, self.lanes.const
        if op == "kernel":
            return self._kernel(attr, args)
        if op not in ARITHMETIC | COMPARISONS | {"and", "or", "not", "guard", "select"}:
            raise NotLanes
        if op == "pow":
            exponent = self.graph.nodes[args[1]]
            if exponent.op != "const" or exponent.attr not in ((*POWERS, 0.5, -1) if self.rich else (2,)):
                raise NotLanes
            x = self.read(args[0])
            if exponent.attr in (0.5, -1):
                return add("sqrt", x) if exponent.attr == 0.5 else add("div", const(1.0), x)
            return self._power(x, int(exponent.attr))
        values = [self.read(a) for a in args]
        if op in _SAME or op in COMPARISONS:
            return add(op, *values)
        if op == "and":
            return add("mul", *values)
        if op == "not":
            return add("sub", const(1.0), *values)
        if op == "or":
            outside = [add("sub", const(1.0), v) for v in values]
            return add("sub", const(1.0), add("mul", *outside))
        if op == "guard":
            return add("where", values[1], values[0], const(1.0))
        return add("where", *values)

    def _kernel(self, call: Call, args: tuple[int, ...]) -> int:
        if call.kernel == FILLED:
            return self.read(args[0])
        if not call.kernel.startswith(POINTWISE):
            raise NotLanes
        name = call.kernel.removeprefix(POINTWISE)
        make = self._slow(name) if name in SLOW else getattr(self, f"_{name}", None)
        if make is None:
            raise NotLanes
        positional = [fill(a, args) for a in call.args if isinstance(a, Ref)]
        named = {k: fill(v, args) for k, v in call.kwargs if isinstance(v, Ref)}
        if len(positional) + len(named) != len(call.args) + len(call.kwargs):
            raise NotLanes
        made: int = make(*(self.read(a) for a in positional), **{k: self.read(a) for k, a in named.items()})
        return made

    def _slow(self, name: str) -> Callable[[int], int] | None:
        return (lambda x: self.lanes.add(name, x)) if self.rich else None

    def _power(self, x: int, exponent: int) -> int:
        """x to a whole power by squaring."""
        if exponent == 1:
            return x
        half = self._power(x, exponent // 2)
        square = self.lanes.add("mul", half, half)
        return self.lanes.add("mul", square, x) if exponent % 2 else square

    # Kernels of each value on its own, by their names; see kernels/pointwise.py for what they are.

    def _abs(self, x: int) -> int:
        return self.lanes.add("abs", x)

    def _sq(self, x: int) -> int:
        return self.lanes.add("mul", x, x)

    def _sqrt(self, x: int) -> int:
        return self.lanes.add("sqrt", x)

    def _raw(self, x: int) -> int:
        return x

    def _relu(self, x: int) -> int:
        zero = self.lanes.const(0.0)
        return self.lanes.add("where", self.lanes.add("le", x, zero), zero, x)

    def _clamp(self, x: int, lo: int, hi: int) -> int:
        return self.lanes.add("min", self.lanes.add("max", x, lo), hi)

    def _minimum(self, *x: int) -> int:
        return self._fold("min", x)

    def _maximum(self, *x: int) -> int:
        return self._fold("max", x)

    def _fold(self, op: str, x: tuple[int, ...]) -> int:
        result = x[0]
        for other in x[1:]:
            result = self.lanes.add(op, result, other)
        return result

    def _where(self, c: int, a: int, b: int) -> int:
        return self.lanes.add("where", c, a, b)

    def _valid(self, x: int) -> int:
        lanes = self.lanes
        return lanes.add("mul", lanes.add("gt", x, lanes.const(0.0)), lanes.add("lt", x, lanes.const(math.inf)))

    def _finite(self, x: int) -> int:
        return self.lanes.add("lt", self.lanes.add("abs", x), self.lanes.const(math.inf))

    def _without_holes(self, x: int) -> int:
        return self.lanes.add("where", self._finite(x), x, self.lanes.const(0.0))


def is_host(graph: Graph, node: int) -> bool:
    """Whether a number is made of those of the host alone."""
    pending, seen = [node], set[int]()
    while pending:
        i = pending.pop()
        if i in seen:
            continue
        seen.add(i)
        op, args, _, shape, _ = graph.nodes[i]
        if shape.space or (op not in ("const", "host") and op not in ARITHMETIC):
            return False
        pending += args
    return True


def _place(items: list[int], item: int) -> int:
    if item not in items:
        items.append(item)
    return items.index(item)
