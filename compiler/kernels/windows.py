"""Plans of window kernels as operations of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..ir import DIFFERENTIATED, TRACKED, VALUES
from ..windows import routes
from ..windows.fuse import PLANS
from .pointwise import Operand, tensor_like


@torch.library.custom_op(
    "splatdsl::window",
    mutates_args=(),
    schema="(str plan, str route, Tensor scalars, Tensor[] inputs, bool gradient) -> Tensor[]",
)
def _window(plan: str, route: str, scalars: Tensor, inputs: Sequence[Tensor], gradient: bool) -> list[Tensor]:
    return routes.run(PLANS[plan], route, scalars, [x.contiguous() for x in inputs], gradient)


@_window.register_fake
def _(plan: str, route: str, scalars: Tensor, inputs: Sequence[Tensor], gradient: bool) -> list[Tensor]:
    made = PLANS[plan]
    gradients = [inputs[i].new_empty(inputs[i].shape) for i in made.differentiable] if gradient else []
    return [inputs[0].new_empty((made.outputs,)), *gradients]


def _values(plan: str, route: str, scalars: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """The numbers alone."""
    made: list[Tensor] = _window(plan, route, scalars, inputs, False)
    return made[0]


def _full(inputs: Sequence[Tensor]) -> list[Tensor]:
    """The inputs, each with all pixels."""
    lead = torch.broadcast_shapes(*(x.shape[:-1] for x in inputs))  # type: ignore[no-untyped-call]
    return [x.expand(*lead, x.shape[-1]) for x in inputs]


class _Fused(torch.autograd.Function):
    """The numbers of a plan; the first of them, the weighted sum, carries the gradient, which is made along with it."""

    @staticmethod
    def forward(ctx: Any, plan: str, route: str, unit: bool, scalars: Tensor, *inputs: Tensor) -> Tensor:
        made: list[Tensor] = _window(plan, route, scalars, inputs, True)
        out, *gradients = made
        ctx.plan, ctx.unit = plan, unit
        ctx.save_for_backward(*gradients)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        plan = PLANS[ctx.plan]
        found: list[Tensor | None] = [None] * len(plan.inputs)
        for i, gradient in zip(plan.differentiable, ctx.saved_tensors):
            found[i] = gradient if ctx.unit else grads[0][0] * gradient
        return None, None, None, None, *found


def fused(plan: str, route: str, inputs: Sequence[Tensor], scalars: Sequence[Operand], mode: str = TRACKED) -> Tensor:
    """The numbers of a plan `[outputs]`: the weighted sum of its reductions, which alone carries a gradient, each
    reduction, and each normaliser.

    Args:
        plan: the key of the plan.
        route: which implementation runs it.
        inputs: `[B, H, W, k]`, or with 1 in place of B, H or W.
        scalars: the factor of each reduction in the weighted sum, then the numbers of the host.
        mode: what becomes of it: its values alone, autograd watches it, or the sum it goes into is differentiated.
    """
    full = _full(inputs)
    numbers = torch.stack([tensor_like(s, inputs[0]) for s in scalars])
    if mode == VALUES or not PLANS[plan].has_gradient:
        return _values(plan, route, numbers, full)
    return _Fused.apply(plan, route, mode == DIFFERENTIATED, numbers, *full)  # type: ignore[no-any-return, no-untyped-call]


class _Measured(torch.autograd.Function):
    """The numbers of a plan, each of which carries a gradient, which another run makes once its cotangent is known."""

    @staticmethod
    def forward(ctx: Any, plan: str, route: str, hosts: Tensor, *inputs: Tensor) -> Tensor:
        factors = hosts.new_zeros(len(PLANS[plan].reductions))
        ctx.plan, ctx.route = plan, route
        ctx.save_for_backward(hosts, *inputs)
        return _values(plan, route, torch.cat([factors, hosts]), inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hosts, *inputs = ctx.saved_tensors
        plan = PLANS[ctx.plan]
        factors = grads[0][1 : 1 + len(plan.reductions)]
        _, *gradients = _window(ctx.plan, ctx.route, torch.cat([factors, hosts]), inputs, True)
        found: list[Tensor | None] = [None] * len(plan.inputs)
        for i, gradient in zip(plan.differentiable, gradients):
            found[i] = gradient
        return None, None, None, *found


def measured(plan: str, route: str, inputs: Sequence[Tensor], hosts: Sequence[Operand], mode: str = TRACKED) -> Tensor:
    """The numbers of a plan `[outputs]`, as `fused`, where what becomes of each reduction is not known yet.

    Args:
        plan: the key of the plan.
        route: which implementation runs it.
        inputs: `[B, H, W, k]`, or with 1 in place of B, H or W.
        hosts: the numbers of the host.
        mode: what becomes of it, see `fused`.
    """
    full = _full(inputs)
    empty = inputs[0].new_empty(0)
    numbers = torch.stack([tensor_like(s, inputs[0]) for s in hosts]) if hosts else empty
    if mode == VALUES or not PLANS[plan].has_gradient:
        factors = empty.new_zeros(len(PLANS[plan].reductions))
        return _values(plan, route, torch.cat([factors, numbers]), full)
    return _Measured.apply(plan, route, numbers, *full)  # type: ignore[no-any-return, no-untyped-call]
