"""Takes a graph apart: graphs of what depends on the data of a view alone, and the rest, which reads their values.

Of a step, only the render is new: the edges of the target, its blurs and statistics, and the shapes of masks are the
same each time that the view comes up again. They are worth keeping where they look at more than one pixel at a time;
what works on each pixel alone costs no more than to read it back, but what is kept can be smaller after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import NamedTuple

from ..dsl.typed import TypedProgram
from .compiled import MAIN, CompiledProgram
from .emit import argument_names
from .ir import POINTWISE, Graph, Node
from .numbers import Numbers
from .specialise import Facts
from .variants import Part

VIEW = "view"
"""What the names of parts begin with that depend on the data of a view alone: "view 0"; and their values: "view:0"."""

CHEAP = (POINTWISE, "vectors:", "regions:", "reductions:component_", "morphology:inside")
"""Kernels that look at each pixel alone, or at no values at all."""

PIXELS, UNKNOWN, MANY = 1 << 16, 16, 1_000
"""What a component of an image costs to keep, where a number costs 1; as how many components an unknown number of them
counts; and how many values are looked at for the smallest choice."""


def view_inputs(program: TypedProgram) -> frozenset[str]:
    """The inputs that a view's data gives: target, mask, and the images and maps that the program declares."""
    declared = program.inputs.items()
    maps = {n for n, info in declared if info.kind.space == "pixels" and info.kind.element is None and "." not in n}
    return frozenset(maps | {"target", "mask"})


class Divided(NamedTuple):
    """What a graph became: graphs whose outputs are inputs of the rest, one for each set of inputs that they read."""

    views: tuple[Graph, ...]
    rest: Graph


def divide(graph: Graph, names: Collection[str]) -> Divided | None:
    """A graph taken apart into what depends on inputs of these names alone and the rest; None if nothing is worth it.

    Nothing in the former depends on numbers of the host, and so on the step, on parameters or on chance.
    """
    free = _free(graph, names)
    users: list[list[int]] = [[] for _ in graph.nodes]
    for i, node in enumerate(graph.nodes):
        for a in node.args:
            users[a].append(i)
    able, results = _able(graph), graph.results()
    ends: list[int] = []
    for i in range(len(graph.nodes) - 1, -1, -1):
        if free[i] and (i in results or any(not free[u] for u in users[i])):
            if able[i]:
                ends.append(i)
            else:
                free[i] = False  # it cannot be handed over, but what it is made of may be
    kept = _kept(graph, free, able, ends)
    if not kept:
        return None
    called = {i: f"{VIEW}:{k}" for k, i in enumerate(kept)}
    groups: dict[tuple[str, ...], list[int]] = {}
    for i in kept:
        groups.setdefault(tuple(_copied(graph, {}, [i])[0].inputs()), []).append(i)
    views = []
    for group in groups.values():
        view, moved = _copied(graph, {}, group)
        view.outputs = [(called[i], moved[i]) for i in group]
        view.verify()
        views.append(view)
    rest, moved = _copied(graph, called, results)
    rest.like(graph, moved)
    rest.verify()
    return Divided(tuple(views), rest)


def _free(graph: Graph, names: Collection[str]) -> list[bool]:
    """The nodes that depend on a view's data and on nothing else; constants belong to whoever reads them."""
    free: list[bool] = []
    for node in graph.nodes:
        if node.op == "input":
            free.append(node.attr in names)
            continue
        operands = [a for a in node.args if graph.nodes[a].op != "const"]
        free.append(bool(operands) and all(free[a] for a in operands))
    return free


def _able(graph: Graph) -> list[bool]:
    """The nodes that can be handed from graph to graph: images, values per image and numbers, in one tensor.

    What was lifted to the rank of an image has not its size.
    """
    several = {node.args[0] for node in graph.nodes if node.op == "item"}
    thin: list[bool] = []
    able: list[bool] = []
    for i, node in enumerate(graph.nodes):
        images = [a for a in node.args if graph.nodes[a].shape.space]
        thin.append(node.op == "lift" or (bool(images) and bool(node.shape.space) and all(thin[a] for a in images)))
        layout = node.shape.space.rpartition(":")[2]
        able.append(layout in ("pixels", "images", "") and i not in several and not thin[i])
    return able


def _is_heavy(node: Node) -> bool:
    return node.op == "kernel" and not node.attr.kernel.startswith(CHEAP)


def _cost(node: Node) -> int:
    """What it takes to keep a value."""
    if node.shape.space.rpartition(":")[2] != "pixels":
        return 1
    return PIXELS * (node.shape.components if node.shape.components > 0 else UNKNOWN)


def _kept(graph: Graph, free: list[bool], able: list[bool], ends: list[int]) -> list[int]:
    """The smallest values from which the ends can be made pixel by pixel, without anything heavy.

    A minimum cut between what is heavy and the ends, as near to the ends as it can be.
    """
    between: set[int] = set()  # cheap values that something heavy goes into, and what is heavy
    for i, node in enumerate(graph.nodes):
        if free[i] and (_is_heavy(node) or any(a in between for a in node.args)):
            between.add(i)
    found = sorted(i for i in ends if i in between)
    if len(between) > MANY:
        return found
    flow = _Flow()
    for i in between:
        node = graph.nodes[i]
        flow.edge(2 * i, 2 * i + 1, _cost(node) if able[i] else _Flow.ENDLESS)
        if _is_heavy(node):
            flow.edge(_Flow.SOURCE, 2 * i, _Flow.ENDLESS)
            continue
        for a in set(node.args) & between:
            flow.edge(2 * a + 1, 2 * i, _Flow.ENDLESS)
    for i in found:
        flow.edge(2 * i + 1, _Flow.SINK, _Flow.ENDLESS)
    before = flow.before_sink()
    return sorted(i for i in between if 2 * i + 1 in before and 2 * i not in before)


class _Flow:
    """A network in which the largest flow is found along shortest paths (Edmonds and Karp, J. ACM 1972)."""

    SOURCE, SINK, ENDLESS = -1, -2, 1 << 60

    def __init__(self) -> None:
        self._left: dict[int, dict[int, int]] = {self.SOURCE: {}, self.SINK: {}}

    def edge(self, start: int, end: int, capacity: int) -> None:
        """Add an edge."""
        self._left.setdefault(start, {})[end] = capacity
        self._left.setdefault(end, {}).setdefault(start, 0)

    def before_sink(self) -> set[int]:
        """The nodes from which the sink can still be reached under the largest flow."""
        while path := self._path():
            amount = min(self._left[a][b] for a, b in path)
            for a, b in path:
                self._left[a][b] -= amount
                self._left[b][a] += amount
        pending, found = [self.SINK], {self.SINK}
        while pending:
            end = pending.pop()
            for start in self._left[end]:
                if start not in found and self._left[start][end] > 0:
                    found.add(start)
                    pending.append(start)
        return found

    def _path(self) -> list[tuple[int, int]]:
        """The edges of a shortest path with room from source to sink; [] if there is none."""
        came: dict[int, int] = {self.SOURCE: self.SOURCE}
        pending = deque([self.SOURCE])
        while pending and self.SINK not in came:
            start = pending.popleft()
            for end, left in self._left[start].items():
                if left > 0 and end not in came:
                    came[end] = start
                    pending.append(end)
        path: list[tuple[int, int]] = []
        end = self.SINK
        while end in came and end != self.SOURCE:
            path.append((came[end], end))
            end = came[end]
        return path


def _copied(graph: Graph, given: Mapping[int, str], wanted: Collection[int]) -> tuple[Graph, dict[int, int]]:
    """What is needed of a graph for some of its values, with others as inputs; and where each value is in it."""
    needed = set(wanted)
    for i in range(len(graph.nodes) - 1, -1, -1):
        if i in needed and i not in given:
            needed.update(graph.nodes[i].args)
    made, moved = Graph(), dict[int, int]()
    for i in sorted(needed):
        node = graph.nodes[i]
        moved[i] = len(made.nodes)
        if i in given:
            made.nodes.append(Node("input", (), given[i], node.shape, node.origin))
        else:
            made.nodes.append(node._replace(args=tuple(moved[a] for a in node.args)))
    return made, moved


class DividedProgram(CompiledProgram):
    """A program whose variants have what depends on a view's data alone as parts of their own.

    Graphs count in the whole program's statistics, and what is the first image size is decided together.

    Args:
        whole: the program, whose variants are taken apart.
        names: the inputs that are a view's data.
    """

    def __init__(self, whole: CompiledProgram, names: frozenset[str]) -> None:
        super().__init__(whole.program, whole.backend, whole.kernels)
        self.whole, self.names = whole, names
        self.stats, self.schedule, self._frames = whole.stats, whole.schedule, whole._frames
        self._views: dict[Facts, tuple[str, ...]] = {}

    def views(self, facts: Facts) -> tuple[str, ...]:
        """The parts of a variant that depend on a view's data alone; () where nothing is worth one."""
        found = self._views.get(facts)
        if found is None:
            whole = self.whole.part(facts)
            divided = divide(whole.graph, self.names)
            graphs = () if divided is None else divided.views
            found = self._views[facts] = tuple(f"{VIEW} {k}" for k in range(len(graphs)))
            for name, graph in zip(found, graphs):
                self._parts[facts, name] = _part(graph, Numbers(()))
            if divided is not None:
                self._parts[facts, MAIN] = _part(divided.rest, whole.numbers)
        return found

    def part(self, facts: Facts, name: str = MAIN) -> Part:
        """See `CompiledProgram.part`; those of a view are named by `views`."""
        if self.views(facts) and (facts, name) in self._parts:
            return self._parts[facts, name]
        return self.whole.part(facts, name)


def _part(graph: Graph, numbers: Numbers) -> Part:
    names = tuple(argument_names(graph)[:-1])
    spaces = {node.attr: node.shape.space for node in graph.nodes if node.op == "input"}
    return Part(graph, numbers, names, tuple(spaces[n] for n in names))


__all__ = ["VIEW", "Divided", "DividedProgram", "divide", "view_inputs"]
