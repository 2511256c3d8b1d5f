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


def lift(x: Tensor, count: int) -> Tensor:
    """The value with so many dimensions of length 1 in front of its components."""
    return x.reshape(*x.shape[:-1], *(1,) * count, x.shape[-1])


def spread(r: Tensor, x: Tensor) -> Tensor:
    """A region over the outer dimensions of x, repeated over the others."""
    lifted = lift(r, x.dim() - r.dim())
    return lifted.expand(*x.shape[:-1], r.shape[-1])


def exists(x: Tensor, left: int, right: int, top: int, bottom: int) -> Tensor:
    """1 for the pixels of x `[B, H, W, k]` that are so far from each edge, else 0; `[B, H, W, 1]`."""
    height, width = x.shape[-3], x.shape[-2]
    rows = torch.arange(height, device=x.device)
    columns = torch.arange(width, device=x.device)
    inside_rows = (rows >= top) & (rows < height - bottom)
    inside_columns = (columns >= left) & (columns < width - right)
    both = (inside_rows[:, None] & inside_columns).to(x.dtype)
    return both[..., None].expand(*x.shape[:-1], 1)


def position(x: Tensor, axis: int) -> Tensor:
    """Where each pixel of x is along an axis, 0 at the first and 1 at the last; `[B, H, W, 1]`."""
    count = x.shape[axis]
    places = torch.arange(count, device=x.device, dtype=x.dtype) / max(count - 1, 1)
    along = places if axis == -2 else places[:, None]
    return along[..., None].expand(*x.shape[:-1], 1)
