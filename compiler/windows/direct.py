"""Losses that are kernels and a little arithmetic: run without a graph, so a call costs what its kernels cost."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..gradients import Made
from ..ir import FUSED, Graph, Node
from .fuse import PLANS
from .plan import WindowPlan

if TYPE_CHECKING:
    from .routes import Runner

_ARITHMETIC: dict[str, Callable[..., float]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "neg": operator.neg,
}


def is_direct(graph: Graph) -> bool:
    """Whether a graph is nothing but kernels on inputs, and arithmetic that cannot fail."""
    fused = False
    for node in graph.nodes:
        if node.op == "kernel":
            fused = fused or node.attr.kernel == FUSED
            if node.attr.kernel != FUSED or not _reads_inputs(graph, node):
                return False
        elif node.op == "input":
            if not node.shape.space:  # a number of the device, such as a memory
                return False
        elif (node.op not in ("host", "const", "item") and node.op not in _ARITHMETIC) or node.shape.space:
            return False
    numbers = [*(s.value for s in graph.total()), *(t.value for t in graph.terms), *graph.regions]
    return fused and not graph.outputs and not any(graph.nodes[i].shape.space for i in numbers)


def _reads_inputs(graph: Graph, node: Node) -> bool:
    inputs = node.attr.args[2]
    return all(graph.nodes[node.args[ref.position]].op == "input" for ref in inputs)


class _Kernel(NamedTuple):
    """A kernel: the places of its inputs and of those that get a gradient, nodes of its numbers, (node, which) of what
    comes out."""

    plan: WindowPlan
    places: tuple[int, ...]
    factors: tuple[int, ...]
    hosts: tuple[int, ...]
    gradients: tuple[int, ...]
    items: tuple[tuple[int, int], ...]


class _Arithmetic(NamedTuple):
    """An operation on numbers."""

    value: int
    function: Callable[..., float]
    args: tuple[int, ...]


class Direct:
    """Runs such a graph.

    Args:
        graph: the fused graph.
        names: its inputs in the order in which they are passed.
        wanted: those of them that gradients are made for.
        runner: what runs plans.
    """

    def __init__(self, graph: Graph, names: tuple[str, ...], wanted: tuple[int, ...], runner: Runner) -> None:
        self.graph, self.wanted, self.runner = graph, wanted, runner
        self._total, self._terms = graph.total(), tuple(t.value for t in graph.terms)
        # What each node is before a call, and what is done in one: nothing is looked up twice.
        self._start = [float(n.attr) if n.op == "const" else 0.0 for n in graph.nodes]
        self._hosts = [(i, n.attr) for i, n in enumerate(graph.nodes) if n.op == "host"]
        self._steps: list[_Kernel | _Arithmetic] = []
        for i, node in enumerate(graph.nodes):
            if node.op == "kernel":
                self._steps.append(self._kernel(i, names))
            elif node.op in _ARITHMETIC:
                self._steps.append(_Arithmetic(i, _ARITHMETIC[node.op], node.args))

    def _kernel(self, index: int, names: tuple[str, ...]) -> _Kernel:
        nodes, (_, args, attr, _, _) = self.graph.nodes, self.graph.nodes[index]
        key, _, inputs, scalars = attr.args
        plan = PLANS[key]
        places = tuple(names.index(nodes[args[ref.position]].attr) for ref in inputs)
        numbers = tuple(args[ref.position] for ref in scalars)
        items = tuple((i, n.attr) for i, n in enumerate(nodes) if n.op == "item" and n.args[0] == index)
        count = len(plan.reductions)
        gradients = tuple(places[i] for i in plan.differentiable)
        return _Kernel(plan, places, numbers[:count], numbers[count:], gradients, items)

    def __call__(self, bound: Sequence[Tensor], numbers: Sequence[float]) -> Made:
        """Evaluate on tensors `[B, H, W, k]` and `[N, k]`."""
        values, runner, gradient = list(self._start), self.runner, bool(self.wanted)
        gradients: dict[int, Tensor] = {}
        for i, number in self._hosts:
            values[i] = numbers[number]
        for step in self._steps:
            if isinstance(step, _Arithmetic):
                values[step.value] = step.function(*[values[a] for a in step.args])
                continue
            plan, places, factors, hosts, carried, items = step
            inputs = [bound[p] for p in places]
            out, *made = runner(plan, inputs, [values[a] for a in factors], [values[a] for a in hosts], gradient)
            found = out.tolist()
            for i, number in items:
                values[i] = found[number]
            for place, g in zip(carried, made):
                gradients[place] = gradients[place] + g if place in gradients else g
        total = 0.0
        for value, weight in self._total:
            total += values[value] if weight is None else numbers[weight] * values[value]
        empty = 0
        for region in self.graph.regions:
            empty += values[region] <= 0
        dtype = bound[0].dtype
        return Made(
            torch.scalar_tensor(total, dtype=dtype),
            torch.tensor([values[t] for t in self._terms], dtype=dtype),
            torch.scalar_tensor(empty, dtype=torch.int32),
            (),
            tuple(gradients[i] if i in gradients else torch.zeros_like(bound[i]) for i in self.wanted),
        )
