"""Reductions over pixels or gaussians, and over components.

``x`` is `[B, H, W, k]` or `[N, k]`; a region ``r`` has the same leading dimensions and 1 or k components, values 0..1.
N can be 0, so nothing here divides by it or takes the maximum of nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .blur import spread


def inside(x: Tensor, r: Tensor) -> Tensor:
    """x times r, and 0 outside r whatever x is there."""
    r = spread(r, x)
    # Selecting before multiplying keeps what is outside out of the sum even where it is not finite.
    return torch.where(r > 0, x, torch.zeros((), dtype=x.dtype, device=x.device)) * r


def mean(x: Tensor, r: Tensor | None = None, over: int | None = None) -> Tensor:
    """sum(x*r) / (components * sum(r)); 0 with zero gradient when the region is empty.

    With ``over``, a negative index, only that dimension is reduced; that of the components keeps a 1.
    """
    if over is not None:
        return _mean_over(x, r, over)
    if r is None:
        if x.dim() == 4 and x.numel() > 0:
            return x.mean()
        return x.sum() / torch.sym_max(x.numel(), 1)  # type: ignore[no-any-return, no-untyped-call]
    components = x.shape[-1] if r.shape[-1] == 1 else 1
    weight = r.sum() * components
    empty = weight <= 0
    safe = torch.where(empty, torch.ones_like(weight), weight)
    return torch.where(empty, torch.zeros_like(weight), inside(x, r).sum() / safe)


def _mean_over(x: Tensor, r: Tensor | None, over: int) -> Tensor:
    if r is None:
        return sum(x, None, over) / max(x.shape[over], 1)
    weight = sum(r.expand(x.shape), None, over)
    empty = weight <= 0
    safe = torch.where(empty, torch.ones_like(weight), weight)
    return torch.where(empty, torch.zeros_like(weight), sum(x, r, over) / safe)


def sum(x: Tensor, r: Tensor | None = None, over: int | None = None) -> Tensor:
    """Sum of x*r over everything, or over one dimension, a negative index; that of the components keeps a 1."""
    counted = x if r is None else inside(x, r)
    return counted.sum() if over is None else counted.sum(dim=over, keepdim=over == -1)


def smallest_mean(x: Tensor, fraction: float | Tensor, r: Tensor | None = None) -> Tensor:
    """Mean of the smallest values inside the region, this fraction of them and at least one; 0 when it is empty."""
    chosen = torch.ones_like(x, dtype=torch.bool) if r is None else (r > 0).expand(x.shape)
    beyond = torch.full((), torch.inf, dtype=x.dtype, device=x.device)
    values = torch.where(chosen, x, beyond).reshape(-1).sort().values
    present = chosen.sum()
    few = torch.floor(present.to(x.dtype) * fraction).clamp(min=1)
    within = torch.arange(values.shape[0], device=x.device) < torch.minimum(few, present)
    result = torch.where(within, values, torch.zeros_like(values)).sum() / few
    # Sorting puts NaN last, where it would be left out.
    return torch.where((chosen & x.isnan()).any(), torch.full_like(result, torch.nan), result)


def largest_mean(x: Tensor, fraction: float | Tensor, r: Tensor | None = None) -> Tensor:
    """Mean of the largest values inside the region, this fraction of them and at least one; 0 when it is empty."""
    return -smallest_mean(-x, fraction, r)


def max_over(x: Tensor, r: Tensor | None = None) -> Tensor:
    """The largest value inside the region; 0 with zero gradient when it is empty."""
    lowest = torch.full((1,), -torch.inf, dtype=x.dtype, device=x.device)
    candidates = x if r is None else torch.where(r > 0, x, lowest)
    largest = torch.cat([candidates.reshape(-1), lowest]).amax()
    return torch.where(largest == -torch.inf, torch.zeros_like(largest), largest)


def min_over(x: Tensor, r: Tensor | None = None) -> Tensor:
    """The smallest value inside the region; 0 with zero gradient when it is empty."""
    return -max_over(-x, r)


def component_max(x: Tensor) -> Tensor:
    """The largest component; keeps a trailing 1."""
    return x.amax(dim=-1, keepdim=True)


def component_min(x: Tensor) -> Tensor:
    """The smallest component; keeps a trailing 1."""
    return x.amin(dim=-1, keepdim=True)


def component_mean(x: Tensor) -> Tensor:
    """The mean of the components; keeps a trailing 1."""
    return x.mean(dim=-1, keepdim=True)


def component_sum(x: Tensor) -> Tensor:
    """The sum of the components; keeps a trailing 1."""
    return x.sum(dim=-1, keepdim=True)


def component_product(x: Tensor) -> Tensor:
    """The product of the components; keeps a trailing 1."""
    # The backward of torch's own product looks for zeros, which no graph can do for any number of gaussians.
    first, *others = x.unbind(-1)
    for component in others:
        first = first * component
    return first.unsqueeze(-1)


def is_empty(r: Tensor) -> Tensor:
    """Whether the region holds nothing, as a 0-d int32 tensor."""
    return (r.sum() <= 0).to(torch.int32)
