"""The pass that makes a graph one of a micro-batch: the mean over all of them is the loss of the whole batch.

A mean over a batch is the sum of its micro-batches' sums over one denominator. The denominators are known before
anything is rendered, where regions are made of data. So a micro-batch's mean is multiplied by its *share*: its part of
the denominator times the number of micro-batches. That is exact for what is linear in such means, and for what is made
of the gaussians alone, which is the same in each. What is not linear has no such shares, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import NamedTuple

from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.source import Span
from ..dsl.typed import Expr, TypedProgram
from ..dsl.types import NUMBER, STEP, Type
from .call import REGION_ARGUMENT, Call, Ref, shape_of
from .compiled import MAIN, CompiledProgram
from .emit import argument_names
from .ir import POINTWISE, SCALAR, Builder, Graph, Node
from .lower import HostSlot
from .numbers import Numbers
from .passes import eliminate
from .resolve import Resolved
from .specialise import Facts
from .variants import Part

MEAN, SUM, SSIM = "reductions:mean", "reductions:sum", "photometric:ssim"
TV, GRADIENT_L1 = "stencils:tv", "stencils:gradient_l1"
CROSS_ENTROPY, PEARSON, MS_SSIM = "classification:cross_entropy", "depth:pearson_loss", "multiscale:ms_ssim"
BERNOULLI = "chances:bernoulli"
ABOUT_ONE = frozenset({SSIM})
"""Means of one less a value, from which one is taken."""
SHAPE_ONLY = frozenset({"regions:exists", "regions:position", "stencils:has_both_neighbours", "morphology:inside"})
"""Kernels that read of their operand only how large it is."""
IMAGES, WEIGHT, INNER, PAIRS, SOME, ONE = "images", "weight", "inner", "pairs", "some", "one"


class Count(NamedTuple):
    """What a mean over a batch is divided by.

    Attributes:
        what: "images": as much for each image; "weight": the sum of a region; "inner": that without the border of a
            window; "pairs": of the products of neighbours along ``axis``; "some": the images with two pixels or more
            inside; "one": nothing, it is a sum.
        region: the node of the region, -1 if there is none.
        view: the second render whose images are counted; "" for the render.
        axis: a negative index.
    """

    what: str
    region: int = -1
    view: str = ""
    axis: int = 0


class Refused(Exception):
    """A term or memory that is not the mean over micro-batches: the node that is the reason, and why."""

    def __init__(self, node: Node, reason: str, help_: str) -> None:
        super().__init__(reason)
        self.node, self.reason, self.help = node, reason, help_


class Class(Enum):
    """How the value of a micro-batch relates to that of the batch.

    SAME: they are equal; ROWS: it has some of the images; LINEAR: the mean over micro-batches is that of the batch,
    once shares are in; OTHER: none of these.
    """

    SAME, ROWS, LINEAR, OTHER = range(4)


def in_parts(graph: Graph, other: frozenset[str], number: Callable[[Count], int]) -> Graph:
    """The optimised graph of a batch as that of a micro-batch.

    Args:
        graph: the graph.
        other: inputs that differ between micro-batches and have no rows for images.
        number: the index of the host number that is the share of a count.

    Raises:
        Refused: a term, or a memory's new value, is not linear in means over the batch.
    """
    return _Rewriting(graph, other, number).done()


def has_images(node_space: str) -> bool:
    """Whether values of a space have one part for each image."""
    layout = node_space.rpartition(":")[2]
    return layout in ("pixels", "images") or layout.split()[:1] == ["B"]


class _Rewriting:
    def __init__(self, graph: Graph, other: frozenset[str], number: Callable[[Count], int]) -> None:
        self.old, self.other, self.number = graph, other, number
        self.tuples = {n.args[0] for n in graph.nodes if n.op == "item"}
        self.builder = Builder()
        self.classes: list[Class] = []
        self.moved: list[int] = []
        self.reasons: dict[int, Refused] = {}

    def done(self) -> Graph:
        """The graph with shares in it."""
        for i, node in enumerate(self.old.nodes):
            self.classes.append(self._class(i, node))
            scaled = self.classes[i] is Class.LINEAR and Class.ROWS in {self.classes[a] for a in node.args}
            moved = node._replace(args=tuple(self.moved[a] for a in node.args))
            self.moved.append(self._shared(node, moved) if scaled else self.builder.add(*moved))
        for t in self.old.terms:
            if self.classes[t.value] is Class.OTHER:
                raise self.reasons[t.value]
        for name, value in self.old.outputs:
            if self.classes[value] is not Class.SAME:
                node = self.old.nodes[value]
                reason = f"the memory `{name.partition(':')[2]}` is renewed from the images of one micro-batch"
                raise self.reasons.get(value) or Refused(node, reason, "")
        made = self.builder.graph
        made.like(self.old, self.moved)
        made.verify()
        return eliminate(made)

    def _class(self, index: int, node: Node) -> Class:
        classes = {self.classes[a] for a in node.args}
        rows = has_images(node.shape.space) or (index in self.tuples and Class.ROWS in classes)
        if Class.OTHER in classes:
            first = next(a for a in node.args if self.classes[a] is Class.OTHER)
            self.reasons[index] = self.reasons[first]
            return Class.OTHER
        if node.op == "input":
            if node.attr in self.other or (node.attr.startswith("memory:") and rows):
                reason = f"`{node.attr.rpartition(':')[2]}` is another one in each micro-batch"
                return self._refuse(index, node, reason, "give the term a region of the gaussians, or none")
            return Class.ROWS if rows else Class.SAME
        if node.op == "kernel" and node.attr.kernel == BERNOULLI and Class.ROWS in classes:
            return self._refuse(index, node, f"`{_text(node)}` draws by the place of an image in the batch", "")
        if Class.LINEAR in classes:
            return Class.LINEAR if self._stays_linear(node) else self._not_linear(index, node)
        if rows:
            return Class.ROWS
        if Class.ROWS not in classes:
            return Class.SAME
        if node.op == "kernel" and self._counts(node) is not None:
            return Class.LINEAR
        return self._not_linear(index, node)

    def _stays_linear(self, node: Node) -> bool:
        if node.shape != SCALAR:
            return False
        classes = [self.classes[a] for a in node.args]
        if node.op in ("add", "sub", "neg", "select", "guard"):
            condition = {"select": 0, "guard": 1}.get(node.op)
            return condition is None or classes[condition] is Class.SAME
        if node.op == "mul":
            return Class.SAME in classes
        if node.op == "div":
            return classes[1] is Class.SAME
        return node.op == "kernel" and node.attr.kernel == f"{POINTWISE}detach"

    def _not_linear(self, index: int, node: Node) -> Class:
        help_ = (
            "call the loss once with the whole batch, or let each micro-batch be a batch of its own: loss_fn(...) / k"
        )
        return self._refuse(index, node, f"`{_text(node)}` is not linear in means over the images of the batch", help_)

    def _refuse(self, index: int, node: Node, reason: str, help_: str) -> Class:
        self.reasons[index] = Refused(node, reason, help_)
        return Class.OTHER

    # Reductions

    def _counts(self, node: Node) -> Count | None:
        """What a reduction over images is divided by; None if it is none, or has several denominators."""
        call: Call = node.attr
        given = dict(call.kwargs)
        region = given.get(REGION_ARGUMENT)
        at = node.args[region.position] if isinstance(region, Ref) else -1
        rows = next(a for a in node.args if self.classes[a] is Class.ROWS)
        view = self.old.nodes[rows].shape.space.rpartition(":")[0]
        if given.get("over") is not None:
            return None
        if call.kernel == SUM:
            return Count(ONE)
        if at < 0:
            known = (MEAN, SSIM, TV, GRADIENT_L1, CROSS_ENTROPY, PEARSON, MS_SSIM)
            return Count(IMAGES, view=view) if call.kernel in known else None
        if call.kernel in (MEAN, CROSS_ENTROPY):
            return Count(WEIGHT, at, view)
        if call.kernel == SSIM:
            return Count(INNER if given.get("padding") == "valid" else WEIGHT, at, view)
        if call.kernel == PEARSON:
            return Count(SOME, at, view)
        if call.kernel == TV or (call.kernel == GRADIENT_L1 and given.get("scales") in (1, None)):
            return Count(PAIRS, at, view)
        if call.kernel == GRADIENT_L1:  # one scale is written as a constant node
            scales = given.get("scales")
            node_of = self.old.nodes[node.args[scales.position]] if isinstance(scales, Ref) else None
            return (
                Count(PAIRS, at, view) if node_of is not None and node_of.op == "const" and node_of.attr == 1 else None
            )
        return None

    def _shared(self, node: Node, moved: Node) -> int:
        """A reduction over the images of the batch, times its share."""
        count = self._counts(node)
        assert count is not None
        if count.what != PAIRS:
            if node.attr.kernel not in ABOUT_ONE:
                return self._times(self.builder.add(*moved), count, node)
            one = self.builder.add("const", (), 1.0, SCALAR, node.origin)
            missing = self.builder.add("sub", (one, self.builder.add(*moved)), None, SCALAR, node.origin)
            return self.builder.add("sub", (one, self._times(missing, count, node)), None, SCALAR, node.origin)
        call: Call = node.attr
        kwargs = dict(call.kwargs)
        x: Ref = kwargs["x"] if call.kernel == TV else kwargs["a"]
        args, axes, power = list(moved.args), (-3, -2), kwargs.get("power", 1)
        if call.kernel == TV:
            axes = kwargs.get("axes", axes)
        else:
            a, b = (moved.args[kwargs[name].position] for name in ("a", "b"))
            shape = self.old.nodes[node.args[x.position]].shape
            args[x.position] = self.builder.add("sub", (a, b), None, shape, node.origin)
        total: int | None = None
        for axis in axes:  # each direction has a denominator of its own
            along = (("x", x), (REGION_ARGUMENT, kwargs[REGION_ARGUMENT]), ("power", power), ("axes", (axis,)))
            made = moved._replace(args=tuple(args), attr=Call(TV, (), along, call.empty))
            part = self._times(self.builder.add(*made), count._replace(axis=axis), node)
            total = part if total is None else self.builder.add("add", (total, part), None, SCALAR, node.origin)
        assert total is not None
        return total

    def _times(self, value: int, count: Count, node: Node) -> int:
        share = self.builder.add("host", (), self.number(count), SCALAR, node.origin)
        return self.builder.add("mul", (share, value), None, SCALAR, node.origin)


def _text(node: Node) -> str:
    return node.origin.text


def region_graph(graph: Graph, regions: Iterable[int]) -> tuple[Graph, frozenset[str]]:
    """The graph of some of its nodes alone, and the inputs whose values they depend on, and not only their sizes."""
    made = Graph()
    made.nodes = list(graph.nodes)
    made.outputs = [(str(r), r) for r in regions]
    pending, seen, values = [r for _, r in made.outputs], set[int](), set[str]()
    while pending:
        i = pending.pop()
        node = graph.nodes[i]
        if i in seen or (node.op == "kernel" and node.attr.kernel in SHAPE_ONLY):
            continue
        seen.add(i)
        pending += node.args
        if node.op == "input":
            values.add(str(node.attr))
    return eliminate(made), frozenset(values)


class MicroProgram(CompiledProgram):
    """A program whose variants are those of a micro-batch, see `in_parts`.

    Graphs count in the whole program's statistics.

    Args:
        whole: the program.
    """

    def __init__(self, whole: CompiledProgram) -> None:
        super().__init__(whole.program, whole.backend, whole.kernels)
        self.whole = whole
        self.stats, self.schedule, self._frames = whole.stats, whole.schedule, whole._frames
        self._shares: dict[Facts, dict[Count, str]] = {}

    def shares(self, facts: Facts) -> dict[Count, str]:
        """What the host has to count for a variant, with the names of the numbers that it makes of them.

        Regions are nodes of the graph of ``whole``.

        Raises:
            LossError: BND014, the variant is not linear in means over the batch.
        """
        self.part(facts)
        return self._shares[facts]

    def part(self, facts: Facts, name: str = MAIN) -> Part:
        """See `CompiledProgram.part`."""
        if name != MAIN:
            return self.whole.part(facts, name)
        found = self._parts.get((facts, name))
        if found is None:
            found = self._parts[facts, name] = self._in_parts(facts)
        return found

    def _in_parts(self, facts: Facts) -> Part:
        whole = self.whole.part(facts)
        names: dict[Count, str] = {}
        order: list[Count] = []

        def number(count: Count) -> int:
            if count not in names:
                names[count] = f"share {len(self._shares)}.{len(order)}"
                order.append(count)
            return len(whole.slots) + order.index(count)

        try:
            graph = in_parts(whole.graph, _differing(self.resolved(facts)), number)
        except Refused as refused:
            raise LossError([_finding(self.program, refused)]) from None
        at = next((t.value for t in self.program.terms), None)
        slots = tuple(_slot(names[count], at) for count in order)
        self._shares[facts] = names
        inputs = tuple(argument_names(graph)[:-1])
        spaces = {node.attr: node.shape.space for node in graph.nodes if node.op == "input"}
        return Part(graph, Numbers((*whole.slots, *slots)), inputs, tuple(spaces[n] for n in inputs))


def _slot(name: str, at: Expr | None) -> HostSlot:
    assert at is not None, "a share is that of a term"
    return HostSlot(Expr("input", (), Type(STEP, NUMBER), at.span, at.source, name), (), name)


def _differing(resolved: Resolved) -> frozenset[str]:
    """Inputs without rows for images that differ between micro-batches all the same."""
    found = {"visible", "radii"}
    for call in resolved.externs:
        of_images = any(
            has_images(shape_of(e.type.kind).space) or e.type.kind.name in ("view", "list", "camera")
            for argument in call.args
            for e in argument.walk()
        )
        if of_images:
            found |= {
                f"{call.name}.{field}" if field else call.name
                for field, type_ in call.results
                if not has_images(shape_of(type_.kind).space)
            }
    return frozenset(found)


def _finding(program: TypedProgram, refused: Refused) -> Diagnostic:
    name = refused.node.origin.term
    term = next((t for t in program.terms if t.name == name), None)
    source, span = (term.source, term.value.span) if term is not None else (program.source, Span(0, 0))
    subject = f"term `{name}`" if term is not None else "this loss"
    message = f"{subject} is not the mean over micro-batches: {refused.reason}"
    return Diagnostic("BND014", message, source, span, help=[refused.help] if refused.help else [])


__all__ = ["Count", "MicroProgram", "has_images", "in_parts", "region_graph"]
