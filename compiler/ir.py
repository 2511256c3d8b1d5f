"""The graph between checked program and torch: typed operations in single assignment, each value made once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..dsl.types import LETTERS, join_spaces

ARITHMETIC = frozenset({"add", "sub", "mul", "div", "pow", "neg"})
COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
LOGIC = frozenset({"and", "or", "not"})
LEAVES = frozenset({"input", "host", "const"})
OTHERS = frozenset({"kernel", "component", "guard", "select", "item", "lift"})
POINTWISE = "pointwise:"
"""What kernels begin with that work on each value on its own."""
FILLED = f"{POINTWISE}filled"
FUSED = "windows:fused"
"""The kernel that runs a plan of `windows`: the plan's key, the route, inputs, factors and numbers of the host."""
BROADCAST = ARITHMETIC | COMPARISONS | LOGIC | {"guard", "select"}
ARITY = {
    **dict.fromkeys(ARITHMETIC | COMPARISONS | LOGIC, 2),
    "neg": 1,
    "not": 1,
    "component": 1,
    "item": 1,
    "lift": 1,
    "guard": 2,
    "select": 3,
}

MEASURED = "windows:measured"
"""The kernel that runs a plan whose gradient is made when it is asked for: all of these but the factors."""

EXCHANGE, SPREAD, SHARED = "ranks:exchange", "ranks:spread_out", "ranks:shared"
"""The kernels through which ranks make one value of what each of them has, see `ranks`."""

MODAL = frozenset({FUSED, MEASURED, EXCHANGE, SPREAD, SHARED})
"""Kernels that are told what becomes of the graph."""

VALUES, TRACKED, DIFFERENTIATED = "values", "tracked", "differentiated"
"""What becomes of an emitted graph: its values alone count, autograd watches it, or its total is differentiated."""


class Shape(NamedTuple):
    """Where a value lives, the space of its kind ("" for a number), and its components (-1: known when bound)."""

    space: str
    components: int

    @property
    def rank(self) -> int:
        """Dimensions in front of the components; -1 for a number."""
        layout = self.space.rpartition(":")[2]
        return len(LETTERS.get(layout, layout).split()) if layout else -1

    def __str__(self) -> str:
        if not self.space:
            return "[]"
        view, _, layout = self.space.rpartition(":")
        return f"[{LETTERS.get(layout, layout)} {self.components}]{' of ' + view if view else ''}"


SCALAR = Shape("", 1)


def joined(shapes: Iterable[Shape]) -> Shape:
    """The shape of an operation on each value: that of its operands, broadcast."""
    result = SCALAR
    for shape in shapes:
        if shape.space:
            wider = result.components if shape.components == 1 else shape.components
            result = Shape(join_spaces(result.space, shape.space) or shape.space, wider)
    return result


class Origin(NamedTuple):
    """The place in the program that a value comes from."""

    file: str
    line: int
    text: str
    term: str


class Node(NamedTuple):
    """One value.

    ``op`` is a leaf (``input``: attr is the name; ``host``: the index of a number computed on the host; ``const``:
    the number), an arithmetic, comparison or logic operation, ``component`` (attr: index), ``guard`` (x where the
    condition holds, else 1), ``select`` (a host condition chooses), ``item`` (one of the results of a kernel; attr:
    index), ``lift`` (attr: how many dimensions of length 1 are put in front of the components), or ``kernel`` (attr:
    how to call it).
    """

    op: str
    args: tuple[int, ...]
    attr: Any
    shape: Shape
    origin: Origin


class TermOutput(NamedTuple):
    """A term's value and its weight: the index of a host number, or None where the weight is 1."""

    name: str
    value: int
    weight: int | None


class Summand(NamedTuple):
    """A part of the total: a value and its weight, the index of a host number, or None where the weight is 1."""

    value: int
    weight: int | None


class Graph:
    """A list of nodes, operands first, and what comes out.

    That is terms, regions whose emptiness is counted, and further values by name. The total is the weighted sum of the
    terms, or of ``summands`` if there are any: the same number, in a form that a kernel gives with its gradient.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.terms: list[TermOutput] = []
        self.regions: list[int] = []
        self.outputs: list[tuple[str, int]] = []
        self.summands: list[Summand] = []

    def results(self) -> set[int]:
        """Everything that comes out."""
        summed = {s.value for s in self.summands}
        return {t.value for t in self.terms} | set(self.regions) | {v for _, v in self.outputs} | summed

    def total(self) -> list[Summand]:
        """What the total is the sum of."""
        return self.summands or [Summand(t.value, t.weight) for t in self.terms]

    def like(self, other: Graph, moved: Mapping[int, int] | Sequence[int]) -> None:
        """Take over what comes out of another graph, whose values became those of this one."""
        self.terms = [TermOutput(t.name, moved[t.value], t.weight) for t in other.terms]
        self.summands = [Summand(moved[s.value], s.weight) for s in other.summands]
        self.outputs = [(name, moved[value]) for name, value in other.outputs]
        self.regions = [moved[r] for r in other.regions]

    def users(self) -> list[int]:
        """For each node, how often it is used."""
        counts = [0] * len(self.nodes)
        for node in self.nodes:
            for a in node.args:
                counts[a] += 1
        for t in self.terms:
            counts[t.value] += 1
        for r in (*self.regions, *(v for _, v in self.outputs), *(s.value for s in self.summands)):
            counts[r] += 1
        return counts

    def inputs(self) -> list[str]:
        """Names of the inputs that are read, sorted."""
        return sorted({n.attr for n in self.nodes if n.op == "input"})

    def verify(self) -> None:
        """Check the invariants that every pass must keep.

        Raises:
            AssertionError: a pass broke the graph; a bug in the compiler.
        """
        for i, node in enumerate(self.nodes):
            where = f"%{i} = {node.op}"
            assert all(0 <= a < i for a in node.args), f"{where}: operands must come first"
            assert node.op in ARITY or node.op in LEAVES or node.op in OTHERS, f"{where}: unknown operation"
            if node.op in ARITY:
                assert len(node.args) == ARITY[node.op], f"{where}: wrong number of operands"
            if node.op in LEAVES:
                assert not node.args, f"{where}: a leaf has no operands"
            if node.op in ARITHMETIC | COMPARISONS | LOGIC:
                shapes = [self.nodes[a].shape for a in node.args if self.nodes[a].shape.space]
                assert len({s.space for s in shapes}) <= 1 or joined(shapes) == node.shape, f"{where}: spaces differ"
                assert all(s.rank == node.shape.rank for s in shapes) or node.op == "lift", f"{where}: ranks differ"
                sizes = {s.components for s in shapes} - {1, -1}
                assert len(sizes) <= 1, f"{where}: components differ"
        for t in self.terms:
            assert self.nodes[t.value].shape == SCALAR, f"term {t.name} is not a number"

    def __str__(self) -> str:
        lines = [f"%{i} {n.shape} = {_show(n)}    # {n.origin.file}:{n.origin.line}" for i, n in enumerate(self.nodes)]
        for t in self.terms:
            weight = "" if t.weight is None else f"host[{t.weight}] * "
            lines.append(f"term {t.name} = {weight}%{t.value}")
        if self.regions:
            lines.append("count empty: " + ", ".join(f"%{r}" for r in self.regions))
        lines += [f"output {name} = %{value}" for name, value in self.outputs]
        if self.summands:
            shown = [f"%{s.value}" if s.weight is None else f"host[{s.weight}] * %{s.value}" for s in self.summands]
            lines.append(f"total = {' + '.join(shown)}")
        return "\n".join(lines)


def _show(node: Node) -> str:
    args = ", ".join(f"%{a}" for a in node.args)
    if node.op == "kernel":
        text = str(node.attr)
        for i, a in enumerate(node.args):
            text = text.replace(f"<{i}>", f"%{a}")
        return text
    if node.op in LEAVES:
        return f"{node.op} {node.attr}"
    return f"{node.op}({args})" + (f".{node.attr}" if node.op in ("component", "item", "lift") else "")


class Builder:
    """Adds nodes to a graph; equal nodes become one, so common subexpressions are shared across terms."""

    def __init__(self) -> None:
        self.graph = Graph()
        self._known: dict[tuple[str, tuple[int, ...], Any], int] = {}

    def add(self, op: str, args: tuple[int, ...], attr: Any, shape: Shape, origin: Origin) -> int:
        """The index of the node with this operation and operands.

        What an operation broadcasts to follows from its operands: one that became a number no longer has pixels.
        """
        operands = [self.graph.nodes[a].shape for a in args]
        if op in BROADCAST or (op == "kernel" and attr.kernel.startswith(POINTWISE) and attr.kernel != FILLED):
            shape = joined(operands)
            args = tuple(self.lifted(a, shape, origin) for a in args)
        elif op == "component" and operands[0].components == 1:
            return args[0]
        key = (op, args, attr)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self.graph.nodes)
            self.graph.nodes.append(Node(op, args, attr, shape, origin))
        return found

    def lifted(self, index: int, wanted: Shape, origin: Origin) -> int:
        """The node, with as many dimensions as another value has: a value per image beside that image's pixels."""
        found = self.graph.nodes[index].shape
        if not found.space or found.rank >= wanted.rank:
            return index
        shape = Shape(wanted.space, found.components)
        return self.add("lift", (index,), wanted.rank - found.rank, shape, origin)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.graph.nodes)
