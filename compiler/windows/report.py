"""What the kernels of a program are, in words and as source."""

from __future__ import annotations

import torch

from ...dsl.inputs import BY_NAME
from ..call import base_name
from ..ir import Graph
from .fuse import Kernel, kernels_of
from .plan import WindowPlan
from .routes import AUTO, CPP, TORCH, TRITON, Choice, choose, is_flat, missing

GIVEN = frozenset({"target", "mask", "background", "camera", "visible", "radii"})
"""Fixed inputs that carry no gradient in training."""


def trained(graph: Graph) -> frozenset[str]:
    """The inputs of a graph that carry gradients in training: what the renderer makes, and the gaussians."""
    names = {n.attr for n in graph.nodes if n.op == "input"}
    return frozenset(n for n in names if _is_trained(str(n)))


def _is_trained(name: str) -> bool:
    base = base_name(name)[1]
    return base.startswith("state.") or (base in BY_NAME and base not in GIVEN)


def report(graph: Graph, kernels: str = "auto", device: str = "cpu") -> str:
    """The kernels of an optimised graph: which route runs them here and why, what each reads and makes, its source.

    Args:
        graph: the optimised graph of a variant's terms.
        kernels: the route that is asked for.
        device: where the loss would run.

    A route that is asked for is shown also where it cannot run.
    """
    place = torch.device(device)
    reason = missing(kernels, place, torch.float32) if kernels not in (AUTO, TORCH) else ""
    choice = choose(kernels, "inductor", place, torch.float32) if not reason else Choice(kernels, f"not here: {reason}")
    carried = trained(graph)
    found = kernels_of(graph, carried, is_flat(graph, carried, choice.route))
    lines = [f"route: {choice.route} ({choice.reason})"]
    if not found:
        lines.append("kernels: none; the torch graph computes every term")
    for number, kernel in enumerate(found, 1):
        lines += ["", *_described(graph, kernel, number), *_source(kernel.plan, choice)]
    return "\n".join(lines)


def _described(graph: Graph, kernel: Kernel, number: int) -> list[str]:
    plan = kernel.plan
    inputs = [_named(graph, i) for i in kernel.inputs]
    carried = [inputs[i] for i in plan.differentiable]
    count = len(plan.windows)
    windows = f"{count or 'no'} window{'s' if count != 1 else ''}"
    lines = [f"kernel {number}: {windows} over {plan.channels} component{'s' * (plan.channels > 1)} ({plan.key})"]
    lines.append(f"  reads {', '.join(inputs)}")
    lines.append(f"  gradients of {', '.join(carried) or 'nothing'}")
    for node in kernel.reductions:
        origin = graph.nodes[node].origin
        lines.append(
            f"  computes {graph.nodes[node].attr.kernel.partition(':')[2]}  # {origin.file}:{origin.line} {origin.text}"
        )
    return lines


def _named(graph: Graph, index: int) -> str:
    node = graph.nodes[index]
    return str(node.attr) if node.op == "input" else f"%{index} ({node.origin.text})"


def _source(plan: WindowPlan, choice: Choice) -> list[str]:
    if choice.route == CPP:
        from .cpp import source

        return ["", source(plan, "float32").rstrip()]
    if choice.route == TRITON:
        from .triton_source import triton_source

        return ["", triton_source(plan).rstrip()]
    return ["  computed by the torch graph: see --stage fx"]
