"""Graph to `torch.fx.GraphModule`: readable code, each line with the place in the program it came from."""

from __future__ import annotations

import importlib
import operator
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import fx

from .call import Call, Ref
from .ir import COMPARISONS, MODAL, TRACKED, Graph, Node
from .kernels import pointwise, reductions, regions

ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
    "neg": operator.neg,
    "and": regions.intersection,
    "or": regions.union,
    "not": regions.complement,
    "guard": regions.guard,
    "select": regions.select,
}


@cache
def kernel(reference: str) -> Callable[..., Any]:
    """The function behind a ``module:function`` reference of a builtin's record."""
    module, _, name = reference.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(f"{__package__}.kernels.{module}"), name)
    return function


def argument_names(graph: Graph) -> list[str]:
    """The inputs of the emitted module in order: tensors by name, then ``host``."""
    return [*graph.inputs(), "host"]


def emit(graph: Graph, names: Sequence[str] | None = None, mode: str = TRACKED) -> fx.GraphModule:
    """The torch graph of an optimised graph.

    Its inputs are ``names`` and ``host``, by default `argument_names`; ``host`` is a 1-D tensor of the numbers that the
    host computes. It returns the total (0-d), the raw values of the terms `[T]` (detached), the number of empty
    regions (0-d int32) and the further outputs as a tuple.

    Args:
        graph: the optimised graph.
        names: the inputs in the order in which they are passed.
        mode: what becomes of it: `VALUES`, `TRACKED` by autograd, or `DIFFERENTIATED`: gradients are taken of the
            total itself, so that kernels which make them along with their values need not scale them.
    """
    out = fx.Graph()
    placeholders = {name: out.placeholder(re.sub(r"\W", "_", name)) for name in (*(names or graph.inputs()), "host")}
    host = placeholders["host"]
    values: list[Any] = []
    host_numbers: dict[int, fx.Node] = {}

    def number(index: int) -> fx.Node:
        if index not in host_numbers:
            host_numbers[index] = out.call_function(operator.getitem, (host, index))
        return host_numbers[index]

    for node in graph.nodes:
        made = _emit_node(out, node, values, placeholders, number, mode)
        if isinstance(made, fx.Node) and node.op != "input":
            _locate(made, node)
        values.append(made)

    def tensor(index: int) -> fx.Node:
        value = values[index]
        if not isinstance(value, fx.Node):  # what came down to a number still has a place in the sum
            value = out.call_function(pointwise.tensor_like, (value, host))
        return value

    total: Any = None
    for s in graph.total():
        weighted = tensor(s.value)
        if s.weight is not None:
            weighted = out.call_function(operator.mul, (number(s.weight), weighted))
        total = weighted if total is None else out.call_function(operator.add, (total, weighted))
    raw = [tensor(t.value) for t in graph.terms]
    if total is None:
        total = out.call_function(pointwise.tensor_like, (0.0, host))
    stacked = (
        out.call_function(torch.stack, (raw,)) if raw else out.call_function(operator.getitem, (host, slice(0, 0)))
    )
    terms = out.call_function(torch.Tensor.detach, (stacked,))
    empty: Any = None
    for r in graph.regions:
        flag = out.call_function(reductions.is_empty, (values[r],))
        empty = flag if empty is None else out.call_function(operator.add, (empty, flag))
    if empty is None:
        empty = out.call_function(torch.zeros, ((),), {"dtype": torch.int32})
    further = [values[v] for _, v in graph.outputs]
    further = [v if isinstance(v, fx.Node) else out.call_function(pointwise.tensor_like, (v, host)) for v in further]
    out.output((total, terms, empty, tuple(further)))
    out.lint()
    return fx.GraphModule(torch.nn.Module(), out, "Loss")


def _emit_node(
    out: fx.Graph,
    node: Node,
    values: list[Any],
    placeholders: dict[str, fx.Node],
    number: Callable[[int], fx.Node],
    mode: str,
) -> Any:
    if node.op == "input":
        return placeholders[node.attr]
    if node.op == "host":
        return number(node.attr)
    if node.op == "const":
        return node.attr
    args = tuple(values[a] for a in node.args)
    if node.op == "kernel":
        call: Call = node.attr
        positional = tuple(fill(a, args) for a in call.args)
        keywords = {k: fill(v, args) for k, v in call.kwargs}
        if call.kernel in MODAL:
            keywords["mode"] = mode
        return out.call_function(kernel(call.kernel), positional, keywords)
    if node.op in COMPARISONS:
        return out.call_function(regions.compare, (*args, node.op))
    if node.op == "component":
        return out.call_function(regions.component, (args[0], node.attr))
    if node.op == "item":
        return out.call_function(operator.getitem, (args[0], node.attr))
    if node.op == "lift":
        return out.call_function(regions.lift, (args[0], node.attr))
    return out.call_function(ARITHMETIC[node.op], args)


def fill(item: Any, args: tuple[Any, ...]) -> Any:
    """The template of a kernel's arguments with its operands in place."""
    if isinstance(item, Ref):
        return args[item.position]
    return tuple(fill(i, args) for i in item) if isinstance(item, tuple) else item


def _locate(made: fx.Node, node: Node) -> None:
    o = node.origin
    made.meta["loss_origin"] = o
    made.meta["stack_trace"] = f'  File "{o.file}", line {o.line}, in term {o.term}\n    {o.text}'
