"""Comparisons and region algebra. A region is a tensor of 0..1 in the dtype of the graph."""

from __future__ import annotations

import operator
from collections.abc import Callable

import torch
from torch import Tensor

from .pointwise import Operand, is_true, tensor_like

_COMPARE: dict[str, Callable[[Operand, Operand], Tensor]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
}


def compare(a: Operand, b: Operand, op: str) -> Tensor:
    """1 where the comparison holds, else 0."""
    reference = a if isinstance(a, Tensor) else b
    assert isinstance(reference, Tensor)
    return _COMPARE[op](a, b).to(reference.dtype)


def intersection(a: Operand, b: Operand) -> Operand:
    """a and b: a * b."""
    return a * b


def union(a: Operand, b: Operand) -> Operand:
    """a or b: 1 - (1-a)(1-b)."""
    return 1 - (1 - a) * (1 - b)


def complement(a: Operand) -> Operand:
    """not a: 1 - a."""
    return 1 - a


def guard(x: Operand, c: Operand) -> Operand:
    """x where the condition holds, else 1: keeps singular operations away from values that nobody will read."""
    condition = is_true(c)
    if not isinstance(condition, Tensor):
        return x if condition else torch.ones_like(x) if isinstance(x, Tensor) else 1.0
    reference = x if isinstance(x, Tensor) else c
    assert isinstance(reference, Tensor)
    return torch.where(
        condition, tensor_like(x, reference), torch.ones((), dtype=reference.dtype, device=reference.device)
    )


def select(c: Operand, a: Operand, b: Operand) -> Operand:
    """One of two values by a number from the host; as wide as both."""
    reference = next((v for v in (c, a, b) if isinstance(v, Tensor)), None)
    if reference is None:
        return a if c > 0.5 else b
    return torch.where(tensor_like(c, reference) > 0.5, tensor_like(a, reference), tensor_like(b, reference))


def component(x: Tensor, index: int) -> Tensor:
    """One component, keeping a trailing 1."""
    return x[..., index : index + 1]
