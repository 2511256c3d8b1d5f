"""The optimiser: graph to graph, in one literal list."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from ..dsl.host import OPERATORS
from .call import REGION_ARGUMENT, Call, Ref
from .emit import fill, kernel
from .ir import FILLED, LEAVES, POINTWISE, Builder, Graph, Node, Shape

Rule = Callable[[Node, Builder], "int | None"]
"""Rewrites one node whose operands are already rewritten: the index of its replacement, or None to keep it."""


class Pass(NamedTuple):
    """A pass and the reason for it."""

    name: str
    run: Callable[[Graph], Graph]
    reason: str


def _rewrite(graph: Graph, rule: Rule) -> Graph:
    """A new graph with every node rewritten by the rule; equal nodes become one on the way."""
    builder = Builder()
    moved: list[int] = []
    for node in graph.nodes:
        node = node._replace(args=tuple(moved[a] for a in node.args))
        replacement = rule(node, builder)
        moved.append(builder.add(*node) if replacement is None else replacement)
    made = builder.graph
    made.like(graph, moved)
    made.regions = [r for r in dict.fromkeys(made.regions) if made.nodes[r].op != "const"]
    return made


def _number(builder: Builder, index: int) -> float | None:
    node = builder.graph.nodes[index]
    return float(node.attr) if node.op == "const" else None


def _constant(node: Node, builder: Builder, value: float) -> int:
    return builder.add("const", (), value, node.shape._replace(space="", components=1), node.origin)


def _fold(node: Node, builder: Builder) -> int | None:
    numbers = [_number(builder, a) for a in node.args]
    known = [n for n in numbers if n is not None]
    if node.op in LEAVES or len(known) < len(numbers):
        return None
    if node.op == "kernel":
        return _constant(node, builder, _called(node.attr, known)) if node.attr.kernel.startswith(POINTWISE) else None
    if node.op == "component":
        return node.args[0]
    if node.op == "guard":
        return _constant(node, builder, known[0] if known[1] > 0.5 else 1.0)
    if node.op == "select":
        return _constant(node, builder, known[1] if known[0] > 0.5 else known[2])
    if node.op == "not":
        return _constant(node, builder, 1 - known[0])
    if node.op == "and":
        return _constant(node, builder, known[0] * known[1])
    if node.op == "or":
        return _constant(node, builder, 1 - (1 - known[0]) * (1 - known[1]))
    return _constant(node, builder, float(OPERATORS[node.op](*known)))


def _called(call: Call, numbers: list[float]) -> float:
    """A pointwise kernel on numbers alone."""
    operands = tuple(torch.tensor(n, dtype=torch.float64) for n in numbers)
    keywords = {k: fill(v, operands) for k, v in call.kwargs}
    return float(kernel(call.kernel)(*(fill(a, operands) for a in call.args), **keywords))


def _simplify(node: Node, builder: Builder) -> int | None:
    """Identities that hold for every float, NaN and infinities included, or that the language states."""
    if len(node.args) != 2 or node.op in ("kernel", "guard"):
        return None
    left, right = (_number(builder, a) for a in node.args)
    keep_left = {"add": right == 0, "sub": right == 0, "mul": right == 1, "div": right == 1, "pow": right == 1}
    keep_right = {"add": left == 0, "mul": left == 1}
    if node.op == "and":
        keep_left["and"], keep_right["and"] = right == 1, left == 1
        if 0 in (left, right):
            return _constant(node, builder, 0.0)
    if node.op == "or":
        keep_left["or"], keep_right["or"] = right == 0, left == 0
        if 1 in (left, right):
            return _constant(node, builder, 1.0)
    # An identity may only drop an operand that does not widen the result.
    if keep_left.get(node.op) and builder.graph.nodes[node.args[0]].shape == node.shape:
        return node.args[0]
    if keep_right.get(node.op) and builder.graph.nodes[node.args[1]].shape == node.shape:
        return node.args[1]
    return None


def _regions(node: Node, builder: Builder) -> int | None:
    """A region that is everything needs no mask, and one that is nothing needs no reduction."""
    if node.op != "kernel":
        return None
    call: Call = node.attr
    region = dict(call.kwargs).get(REGION_ARGUMENT)
    if not isinstance(region, Ref):
        return None
    number = _number(builder, node.args[region.position])
    if number == 0:
        return _constant(node, builder, call.empty)
    if number == 1:
        kwargs = tuple((k, v) for k, v in call.kwargs if k != REGION_ARGUMENT)
        return builder.add(*node._replace(attr=call._replace(kwargs=kwargs)))
    return None


def _materialise(node: Node, builder: Builder) -> int | None:
    """Operands that a kernel needs as pixels or gaussians but that became a number."""
    if node.op != "kernel":
        return None
    args = list(node.args)
    for ref in _refs(node.attr.args) + _refs(tuple(v for _, v in node.attr.kwargs)):
        shape = ref.shape
        if shape is None:
            continue
        value = args[ref.position]
        actual = builder.graph.nodes[value].shape
        if actual.space and (actual.components == shape.components or actual.components != 1):
            continue
        found: int | None = value
        if not actual.space:
            found = _pixels_or_gaussians(shape, builder, node)
        if found is None:
            continue
        like = found
        filled = Call(FILLED, (Ref(0), Ref(1)), (("components", shape.components),), 0.0)
        args[ref.position] = builder.add("kernel", (value, like), filled, shape, node.origin)
    return None if tuple(args) == node.args else builder.add(*node._replace(args=tuple(args)))


def _pixels_or_gaussians(shape: Shape, builder: Builder, node: Node) -> int | None:
    """A value that has the pixels or gaussians of a shape: one that is made anyway, if there is one."""
    for i, found in enumerate(builder.graph.nodes):
        if found.op == "input" and found.shape.space == shape.space:
            return i
    view, _, layout = shape.space.rpartition(":")
    name = {"pixels": "rendered", "gaussians": "state.opacities"}.get(layout)
    if name is None:
        return None
    components = 3 if layout == "pixels" else 1
    full = f"{view}.{name}" if view else name
    return builder.add("input", (), full, Shape(shape.space, components), node.origin)


def _refs(items: tuple[object, ...]) -> list[Ref]:
    found: list[Ref] = []
    for item in items:
        if isinstance(item, Ref):
            found.append(item)
        elif isinstance(item, tuple):
            found.extend(_refs(item))
    return found


def eliminate(graph: Graph) -> Graph:
    """Drop what no term needs, and operands that a kernel no longer names."""
    compact: list[Node] = []
    for node in graph.nodes:
        compact.append(_compact(node) if node.op == "kernel" else node)
    needed = graph.results()
    for i in range(len(compact) - 1, -1, -1):
        if i in needed:
            needed.update(compact[i].args)
    result = Graph()
    moved: dict[int, int] = {}
    for i, node in enumerate(compact):
        if i in needed:
            moved[i] = len(result.nodes)
            result.nodes.append(node._replace(args=tuple(moved[a] for a in node.args)))
    result.like(graph, moved)
    return result


def _compact(node: Node) -> Node:
    call: Call = node.attr
    used: list[int] = []

    def renumber(item: object) -> object:
        if isinstance(item, Ref):
            used.append(node.args[item.position])
            return item._replace(position=len(used) - 1)
        return tuple(renumber(i) for i in item) if isinstance(item, tuple) else item

    args = tuple(renumber(a) for a in call.args)
    kwargs = tuple((k, renumber(v)) for k, v in call.kwargs)
    return node._replace(args=tuple(used), attr=call._replace(args=args, kwargs=kwargs))


PASSES: tuple[Pass, ...] = (
    Pass("fold", lambda g: _rewrite(g, _fold), "numbers first: later rules look for 0 and 1"),
    Pass("simplify", lambda g: _rewrite(g, _simplify), "region algebra with `masked` on data without masks leaves x*1"),
    Pass("regions", lambda g: _rewrite(g, _regions), "an unmasked mean is cheaper and exact without its weights"),
    Pass("fold again", lambda g: _rewrite(g, _fold), "an empty region became a number"),
    Pass("materialise", lambda g: _rewrite(g, _materialise), "a region that became a number may still be summed"),
    Pass("eliminate", eliminate, "last: earlier passes leave values that nobody needs"),
)


AFTER_FUSING = frozenset({"fold", "simplify", "eliminate"})
"""The passes that run again where reductions became one kernel: its factors are numbers."""


def tidy(graph: Graph) -> Graph:
    """Run what is left to do after kernels were fused."""
    return optimise(graph, frozenset(p.name for p in PASSES) - AFTER_FUSING)


def optimise(graph: Graph, disabled: frozenset[str] = frozenset()) -> Graph:
    """Run all passes but the disabled ones, verifying after each."""
    for p in PASSES:
        if p.name not in disabled:
            graph = p.run(graph)
            graph.verify()
    return graph
