"""The pass that makes a graph one of all ranks: each of them has some of the images, and perhaps of the gaussians.

A value is *divided* (each rank has its own rows), *common* (made by all ranks together, and so the same on each),
*alike* (every rank was given the same, such as gaussians that are copied), or fixed. A kernel that makes a number of
divided values becomes what the rank contributes, an exchange, and what follows from the sums: a mean is the sum of all
ranks' numerators over that of their denominators. Kernels that cannot be taken apart so, such as a quantile, get the
rows of all ranks. What is as deep in the graph is exchanged at once, so that no order is open in which a rank could
wait for another.

Gradients: of what is common every rank has all; of what it was given, its own contribution. Where a common value meets
a divided one, its gradient is summed over ranks; where a value that is alike meets a common one, each rank counts its
share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from enum import Enum
from typing import NamedTuple

from .call import REGION_ARGUMENT, Call, Ref, shape_of
from .channels import disagreement
from .ir import EXCHANGE, POINTWISE, SCALAR, SHARED, SPREAD, Graph, Node, Origin, Shape, TermOutput
from .kernels.ranks import EXCHANGES, Exchange, Together
from .passes import eliminate
from .resolve import ExternCall
from .windows.fuse import MEAN, SSIM, SUM
from .windows.read import STOPS

HISTOGRAM, BERNOULLI = "statistics:histogram", "chances:bernoulli"
ROWS_TOGETHER = frozenset({"statistics:minmax"})
"""Kernels that give a value for each gaussian and look at all of them for it."""

COPIES, SHARDS = "copies", "shards"


_Arguments = tuple[tuple[object, ...], dict[str, object]]
"""Of a call: by position, with `Ref` for operands, and by name."""


class Class(Enum):
    """How ranks have a value."""

    FIXED, ALIKE, COMMON, DIVIDED = range(4)


class Layout(NamedTuple):
    """How ranks divide a batch.

    Attributes:
        channel: of `channels.CHANNELS`.
        size: how many ranks there are.
        gaussians: "copies" if every rank has all of them, "shards" if each has its own.
        numbers: inputs that are numbers which each rank makes of its own images.
        common: inputs that are made of common values.
    """

    channel: int
    size: int
    gaussians: str
    numbers: frozenset[str] = frozenset()
    common: frozenset[str] = frozenset()

    def divides(self, shape: Shape) -> bool:
        """Whether ranks have parts of values of a shape."""
        if not shape.space:
            return False
        layout = shape.space.rpartition(":")[2]
        first = {"pixels": "B", "images": "B", "gaussians": "N"}.get(layout, layout.split()[0])
        return first == "B" or (first == "N" and self.gaussians == SHARDS)


def _registered(exchange: Exchange) -> str:
    key = hashlib.sha256(repr(exchange).encode()).hexdigest()[:16]
    EXCHANGES[key] = exchange
    return key


def of_externs(calls: Iterable[ExternCall], layout: Layout) -> Layout:
    """The layout, with what extern functions return.

    A number that a function makes of a rank's images counts as a mean over them; what it makes of common values is
    common.
    """
    numbers, common = set[str](), set[str]()
    for call in calls:
        divided = any(a.type.kind.name in ("view", "list") or layout.divides(shape_of(a.type.kind)) for a in call.args)
        below = any(layout.divides(shape_of(e.type.kind)) for a in call.args for e in a.walk())
        names = {call.name + field for field, type_ in call.results if not layout.divides(shape_of(type_.kind))}
        numbers |= names if divided else set()
        common |= names if below and not divided else set()
    return layout._replace(numbers=frozenset(numbers), common=frozenset(common))


def over_ranks(graph: Graph, layout: Layout) -> Graph:
    """The optimised graph of one process as that of one of several ranks.

    Raises:
        LossError: RUN018, something in it has no meaning across ranks.
    """
    made = _Rewriting(graph, layout).done()
    made.verify()
    return eliminate(made)


class _Rewriting:
    def __init__(self, graph: Graph, layout: Layout) -> None:
        self.old, self.layout = graph, layout
        self.tuples = {n.args[0] for n in graph.nodes if n.op == "item"}
        self.classes: list[Class] = []
        self.levels: list[int] = []
        self.reduces: list[bool] = []
        for i, node in enumerate(graph.nodes):
            self._classify(i, node)
        self.new = Graph()
        self.moved: dict[int, int] = {}
        self._sizes: dict[int, int] = {}  # of regions, over all ranks
        self._spread: dict[int, int] = {}
        self._shared: dict[int, int] = {}

    def _classify(self, index: int, node: Node) -> None:
        layout = self.layout
        level = max((self.levels[a] for a in node.args), default=0)
        divided = [a for a in node.args if self.classes[a] is Class.DIVIDED]
        rows = layout.divides(node.shape)
        reduces = False
        if node.op == "input":
            number = node.attr in layout.numbers
            known = Class.COMMON if node.attr in layout.common else Class.ALIKE
            found = Class.DIVIDED if rows or number else known
            if number:
                reduces, level = True, level + 1
        elif node.op in ("host", "const"):
            found = Class.FIXED
        elif divided:
            found = Class.DIVIDED
            same = any(self.old.nodes[a].shape.space == node.shape.space != "" for a in divided)
            if node.op == "kernel" and not node.attr.kernel.startswith(POINTWISE) and index not in self.tuples:
                reduces = not rows and not same
                level += reduces
                if node.attr.kernel in ROWS_TOGETHER and not dict(node.attr.kwargs).get("per_image"):
                    raise self._refused(node)
        else:
            found = max((self.classes[a] for a in node.args), key=lambda c: c.value, default=Class.FIXED)
            if node.op == "kernel" and node.attr.kernel in STOPS:
                found = Class.FIXED
            if layout.divides(node.shape):  # made anew by each rank, such as a random map
                found = Class.DIVIDED
        self.classes.append(Class.COMMON if reduces else found)
        self.levels.append(level)
        self.reduces.append(reduces)

    def _refused(self, node: Node) -> Exception:
        at = f"`{node.origin.text}` in line {node.origin.line} of {node.origin.file}"
        return disagreement(
            f"{at} looks at the gaussians of all ranks at once",
            'let every rank have all gaussians (`Ranks(gaussians="copies")`), or evaluate this term on one rank',
        )

    # Emission

    def done(self) -> Graph:
        """The new graph: level by level, in each what is common before what is divided."""
        old = self.old
        regions = [r for r in old.regions if self.classes[r] is Class.DIVIDED]
        for level in range(max((*self.levels, *(self.levels[r] + 1 for r in regions), 0)) + 1):
            if level:
                self._exchange(level, [r for r in regions if self.levels[r] == level - 1])
            here = [i for i, found in enumerate(self.levels) if found == level and not self.reduces[i]]
            for i in (i for i in here if self.classes[i] is not Class.DIVIDED):
                self._node(i)
            self._spread_out(level)
            for i in (i for i in here if self.classes[i] is Class.DIVIDED):
                self._node(i)
        new = self.new
        new.terms = [TermOutput(t.name, self._as_common(t.value), t.weight) for t in old.terms]
        new.outputs = [(name, self.moved[v]) for name, v in old.outputs]
        new.regions = [self._sizes.get(r, self.moved[r]) for r in old.regions]
        return new

    def _add(self, op: str, args: tuple[int, ...], attr: object, shape: Shape, origin: Origin) -> int:
        self.new.nodes.append(Node(op, args, attr, shape, origin))
        return len(self.new.nodes) - 1

    def _kernel(self, name: str, args: tuple[int, ...], call: _Arguments, shape: Shape, at: Node) -> int:
        return self._add("kernel", args, Call(name, call[0], tuple(call[1].items()), 0.0), shape, at.origin)

    def _node(self, index: int) -> None:
        """A value as it was, of the new operands."""
        node = self.old.nodes[index]
        args = self._operands(index)
        if node.op == "kernel" and node.attr.kernel == BERNOULLI and self.layout.divides(node.shape):
            call: Call = node.attr
            kind = "gaussians" if node.shape.space.rpartition(":")[2] == "gaussians" else "images"
            node = node._replace(
                attr=call._replace(kernel="ranks:bernoulli", args=(self.layout.channel, kind, *call.args))
            )
        self.moved[index] = self._add(node.op, args, node.attr, node.shape, node.origin)

    def _operands(self, index: int) -> tuple[int, ...]:
        mine = Class.DIVIDED if self.reduces[index] else self.classes[index]
        found = []
        for a in self.old.nodes[index].args:
            if mine is Class.DIVIDED and self.classes[a] is Class.COMMON:
                found.append(self._spread[a])
            elif mine is Class.COMMON:
                found.append(self._as_common(a))
            else:
                found.append(self.moved[a])
        return tuple(found)

    def _as_common(self, index: int) -> int:
        """A value where only its share of the gradient is this rank's, if it is alike on all of them."""
        if self.classes[index] is not Class.ALIKE:
            return self.moved[index]
        if index not in self._shared:
            node = self.old.nodes[index]
            call: _Arguments = ((Ref(0), self.layout.size), {})
            self._shared[index] = self._kernel(SHARED, (self.moved[index],), call, node.shape, node)
        return self._shared[index]

    def _spread_out(self, level: int) -> None:
        """Common values of a level that are used with divided ones."""
        used = {
            a
            for i, node in enumerate(self.old.nodes)
            if self.reduces[i] or self.classes[i] is Class.DIVIDED
            for a in node.args
            if self.classes[a] is Class.COMMON and self.levels[a] == level
        }
        if not used:
            return
        order = sorted(used)
        at = self.old.nodes[order[0]]
        refs = tuple(Ref(i) for i in range(len(order)))
        call: _Arguments = ((_registered(Exchange(len(order))), self.layout.channel, refs), {})
        out = self._kernel(SPREAD, tuple(self.moved[a] for a in order), call, SCALAR, at)
        for k, a in enumerate(order):
            node = self.old.nodes[a]
            self._spread[a] = self._add("item", (out,), k, node.shape, node.origin)

    # Exchanges

    def _exchange(self, level: int, regions: Collection[int]) -> None:
        """Everything that becomes common at a level, in one exchange."""
        found = [i for i, at in enumerate(self.levels) if at == level and self.reduces[i]]
        parts = {i: part for i in found if (part := self._part(i)) is not None}
        together = [i for i in found if i not in parts]
        sizes = [self._kernel(SUM, (self.moved[r],), ((), {"x": Ref(0)}), SCALAR, self.old.nodes[r]) for r in regions]
        sums = [*parts.values(), *sizes]
        functions: list[Together] = []
        operands: list[int] = []
        divided: list[bool] = []
        for i in together:
            node = self.old.nodes[i]
            if node.shape != SCALAR:
                raise self._refused(node)
            # A function of all rows has its whole gradient by what is common on every rank.
            own = [self._as_common(a) for a in node.args]
            for a, value in zip(node.args, own):
                if value not in operands:
                    operands.append(value)
                    divided.append(self.classes[a] is Class.DIVIDED)
            functions.append(Together(node.attr, tuple(operands.index(value) for value in own)))
        key = _registered(Exchange(len(sums), tuple(divided), tuple(functions)))
        args = (*sums, *operands)
        refs, places = tuple(Ref(i) for i in range(len(args))), tuple(f.operands for f in functions)
        at = self.old.nodes[(*found, *regions)[0]]
        call: _Arguments = ((key, self.layout.channel, len(sums), places, refs), {})
        out = self._kernel(EXCHANGE, args, call, SCALAR, at)
        totals = [self._add("item", (out,), k, self.new.nodes[part].shape, at.origin) for k, part in enumerate(sums)]
        for i, total in zip(parts, totals):
            self.moved[i] = self._made(i, total)
        self._sizes.update(zip(regions, totals[len(parts) :]))
        for k, i in enumerate(together):
            node = self.old.nodes[i]
            self.moved[i] = self._add("item", (out,), len(sums) + k, node.shape, node.origin)

    def _part(self, index: int) -> int | None:
        """What this rank contributes to a value; None where the rows of all ranks are needed for it."""
        node, args = self.old.nodes[index], self._operands(index)
        if node.op == "input":
            own = self._add("input", (), node.attr, node.shape, node.origin)
            return self._kernel("ranks:number_parts", (own, self._images()), ((Ref(0), Ref(1)), {}), SCALAR, node)
        call: Call = node.attr
        if call.kernel in (SUM, HISTOGRAM):
            return self._add("kernel", args, call, node.shape, node.origin)
        if call.kernel == MEAN:
            return self._add("kernel", args, call._replace(kernel="ranks:mean_parts"), node.shape, node.origin)
        if call.kernel == SSIM:
            own = self._add("kernel", args, call, SCALAR, node.origin)
            named = dict(call.kwargs)
            places = [named["a"], *([named[REGION_ARGUMENT]] if isinstance(named.get(REGION_ARGUMENT), Ref) else [])]
            keywords: dict[str, object] = {"value": Ref(0), "a": Ref(1), "padding": named["padding"]}
            if len(places) > 1:
                keywords[REGION_ARGUMENT] = Ref(2)
            operands = (own, *(args[p.position] for p in places))
            return self._kernel("ranks:ssim_parts", operands, ((), keywords), SCALAR, node)
        return None

    def _made(self, index: int, total: int) -> int:
        """The value that follows from a sum over ranks."""
        node = self.old.nodes[index]
        if node.op == "kernel" and node.attr.kernel not in (MEAN, SSIM):
            return total
        value = self._kernel("ranks:ratio", (total,), ((Ref(0),), {}), node.shape, node)
        if node.op == "kernel" and node.attr.kernel == SSIM:
            one = self._add("const", (), 1.0, SCALAR, node.origin)
            value = self._add("sub", (one, value), None, SCALAR, node.origin)
        return value

    def _images(self) -> int:
        """A value that has this rank's images."""
        for i, node in enumerate(self.new.nodes):
            if node.op == "input" and node.shape.space == "pixels":
                return i
        first = self.old.nodes[0]
        return self._add("input", (), "rendered", Shape("pixels", 3), first.origin)


__all__ = ["COPIES", "SHARDS", "Layout", "of_externs", "over_ranks"]
