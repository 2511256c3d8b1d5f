"""A plan run with torch operations, one after the other, in any precision: what the kernels are held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels.blur import BORDER, weights_like, window
from .lanes import Stage
from .plan import WindowPlan

_OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "abs": torch.abs,
    "sqrt": torch.sqrt,
    "exp": torch.exp,
    "log": torch.log,
    "log1p": torch.log1p,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "detach": lambda x: x,
    "min": torch.minimum,
    "max": torch.maximum,
    "floor0": lambda x: x.clamp(min=0),
    "sign": lambda x: (x > 0).to(x.dtype) - (x < 0).to(x.dtype),
    "lt": lambda a, b: (a < b).to(a.dtype),
    "le": lambda a, b: (a <= b).to(a.dtype),
    "gt": lambda a, b: (a > b).to(a.dtype),
    "ge": lambda a, b: (a >= b).to(a.dtype),
    "eq": lambda a, b: (a == b).to(a.dtype),
    "ne": lambda a, b: (a != b).to(a.dtype),
    "where": lambda c, a, b: torch.where(c > 0.5, a, b),
}


def run_portable(
    plan: WindowPlan, inputs: Sequence[Tensor], cotangents: Sequence[float], hosts: Sequence[float], gradient: bool
) -> list[Tensor]:
    """The numbers of a plan `[plan.outputs]`, and with ``gradient`` the gradient of each differentiable input.

    Args:
        plan: what to compute.
        inputs: `[B, H, W, k]`, or for a flat plan `[..., k]`, all of one dtype.
        cotangents: the factor of each reduction in the weighted sum.
        hosts: the numbers of the host.
        gradient: whether gradients of the weighted sum are wanted.
    """
    reference = inputs[0]
    shape = (*reference.shape[:-1], plan.channels)

    def run(stage: Stage, leaves: dict[str, Sequence[Any]]) -> list[Tensor]:
        values: list[Tensor] = []
        for op, args, attr in stage.lanes:
            if op == "input":
                value = inputs[attr].expand(shape)
            elif op == "interior":
                value = _interior(reference, attr, shape)
            elif op == "const":
                value = reference.new_full((), attr)
            elif op in leaves:
                value = torch.as_tensor(leaves[op][attr], dtype=reference.dtype, device=reference.device)
            else:
                value = _OPERATIONS[op](*(values[a] for a in args))
            values.append(value)
        return [values[i].expand(shape) for i in stage.results]

    weights = run(plan.regions, {"host": hosts})
    every = reference.new_ones(()).expand(shape)
    sums = []
    for region, border in plan.normalisers:
        weight = weights[region] if region >= 0 else every
        sums.append((weight * _interior(reference, border, shape) if border else weight).sum())
    factors = []
    for reduction, cotangent in zip(plan.reductions, cotangents):
        divisor = 1.0 if reduction.normaliser < 0 else sums[reduction.normaliser]
        factors.append(cotangent / divisor if divisor > 0 else 0.0)
    leaves: dict[str, Sequence[Any]] = {"host": hosts, "weight": factors}
    images = run(plan.before, leaves)
    statistics: list[Tensor] = []
    for a, b in zip(images[::2], images[1::2]):
        statistics += [_blur(x) for x in (a, b, a * a + b * b, a * b)]
    centre = run(plan.centre, {**leaves, "stat": statistics})
    first = len(plan.centre_reductions())
    spread = [_blur(x) for x in centre[first:]] if gradient else [every] * plan.spreads
    after = run(plan.after, {**leaves, "spread": spread})
    second = len(plan.after_reductions())
    integrands = dict(zip(plan.centre_reductions(), centre)) | dict(zip(plan.after_reductions(), after))
    values = []
    for i, reduction in enumerate(plan.reductions):
        divisor = reference.new_ones(()) if reduction.normaliser < 0 else sums[reduction.normaliser]
        total = integrands[i].sum()
        values.append(torch.where(divisor > 0, total / divisor, torch.zeros_like(total)))
    whole = sum((c * v for c, v in zip(cotangents, values)), torch.zeros_like(values[0]))
    made = [torch.stack([whole, *values, *sums])]
    if gradient:
        for i, g in zip(plan.differentiable, after[second:]):
            made.append(g.sum(-1, keepdim=True) if plan.inputs[i] < plan.channels else g.contiguous())
    return made


def _interior(like: Tensor, border: int, shape: tuple[int, ...]) -> Tensor:
    rows = torch.arange(shape[1], device=like.device)
    columns = torch.arange(shape[2], device=like.device)
    inside_rows = (rows >= border) & (rows < shape[1] - border)
    inside_columns = (columns >= border) & (columns < shape[2] - border)
    return (inside_rows[:, None] & inside_columns).to(like.dtype)[None, :, :, None].expand(shape)


def _blur(x: Tensor) -> Tensor:
    """The window over `[B, H, W, C]`, zero outside."""
    channels = x.shape[-1]
    taps = weights_like(window(), x)
    planes = x.permute(0, 3, 1, 2)
    with torch.autocast(x.device.type, enabled=False):  # a call may be under one that would round images
        planes = F.conv2d(
            planes, taps.reshape(1, 1, 1, -1).expand(channels, 1, 1, -1), padding=(0, BORDER), groups=channels
        )
        planes = F.conv2d(
            planes, taps.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1), padding=(BORDER, 0), groups=channels
        )
    return planes.permute(0, 2, 3, 1)
