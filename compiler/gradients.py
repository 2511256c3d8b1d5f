"""Value and gradient together: a loss is a number, so one graph can return it with the gradients of its inputs.

That needs no saved maps, no second graph, and one set of guards for training and evaluation. What autograd sees is one
function whose backward hands out what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .ir import Graph
from .windows.read import STOPS


class Made(NamedTuple):
    """What a graph returns: the total (0-d), raw terms `[T]`, the count of empty regions (0-d), further outputs, and
    the gradients of the total by the inputs that were asked for."""

    total: Tensor
    terms: Tensor
    empty: Tensor
    outputs: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...] = ()


def carrying(graph: Graph) -> frozenset[str]:
    """The inputs from which a gradient can reach the total."""
    needed = {s.value for s in graph.total()}
    for i in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[i]
        if i in needed and not (node.op == "kernel" and node.attr.kernel in STOPS):
            needed.update(node.args)
    return frozenset(graph.nodes[i].attr for i in needed if graph.nodes[i].op == "input")


def value_and_gradients(module: Callable[..., Any], wanted: tuple[int, ...]) -> Callable[..., Made]:
    """The function that returns what a module does and the gradients of its total by the arguments at these places."""

    def run(*args: Tensor) -> Made:
        def total_of(*leaves: Tensor) -> tuple[Tensor, Any]:
            full = list(args)
            for i, leaf in zip(wanted, leaves):
                # Of an argument of `grad` itself Dynamo does not see that it carries a gradient: functions with a
                # backward of their own would be differentiated through their forward. It does of what is made of it.
                full[i] = leaf.view_as(leaf)
            total, *others = module(*full)
            return total, (total, *others)

        places = tuple(range(len(wanted)))
        gradients, made = torch.func.grad(total_of, argnums=places, has_aux=True)(*(args[i] for i in wanted))
        total, terms, empty, outputs = made
        return Made(total, terms, empty, outputs, gradients)

    # Code of its own: torch limits how often one piece of code may be compiled.
    own = run.__code__.replace(co_name="value_and_gradients")
    return FunctionType(own, run.__globals__, run.__name__, None, run.__closure__)


def with_gradients(
    run: Callable[[Sequence[Tensor], Sequence[float]], Made],
    bound: Sequence[Tensor],
    numbers: Sequence[float],
    wanted: tuple[int, ...],
) -> Made:
    """What a graph makes of its inputs and the numbers of the host, with a total that carries gradients.

    Args:
        run: makes the total and its gradients by the wanted inputs.
        bound: the inputs.
        numbers: the numbers of the host.
        wanted: the places of the inputs that carry gradients.
    """
    kept: list[Any] = []
    total: Tensor = _Evaluated.apply(run, numbers, wanted, kept, *bound)  # type: ignore[no-untyped-call]
    return Made(total, *kept)


class _Evaluated(torch.autograd.Function):
    """The total of a call, whose gradients were made along with it; the rest goes into the list ``kept``."""

    @staticmethod
    def forward(ctx: Any, run: Any, numbers: Any, wanted: tuple[int, ...], kept: list[Any], *bound: Tensor) -> Tensor:
        total, *others, gradients = run(bound, numbers)
        kept += others
        ctx.run, ctx.numbers, ctx.wanted, ctx.gradients = run, numbers, wanted, gradients
        ctx.save_for_backward(*bound)  # freed with the graph, and watched for changes in place
        return total  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        # Gradients of gradients do not exist; what says so costs time, and is only needed where they are asked for.
        return _once(ctx, factor) if torch.is_grad_enabled() else _handed_out(ctx, factor)


def _handed_out(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
    bound = ctx.saved_tensors
    # Handed out rather than copied: the first `backward()` owns them, another one makes them anew.
    gradients, ctx.gradients = ctx.gradients, None
    if gradients is None:
        with torch.no_grad():
            gradients = ctx.run(bound, ctx.numbers).gradients
    if factor.device.type != "cpu" or factor.item() != 1:  # asking a GPU would wait for it
        gradients = [g * factor for g in gradients]
    found: list[Tensor | None] = [None] * (4 + len(bound))
    for i, gradient in zip(ctx.wanted, gradients):
        found[4 + i] = gradient
    return tuple(found)


_once = once_differentiable(_handed_out)
