"""Statistics of values: one for each image, one of everything, or along one dimension.

``x`` is `[B, H, W, k]`, `[N, k]` or has other dimensions; a region ``r`` has the same leading dimensions and 1 or k
components, values 0..1. With ``over``, a negative index, only that dimension goes (that of the components keeps a 1);
else with ``per_image`` the result is `[B, 1]`, and else it is 0-d. N can be 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """Values in rows: one statistic is made of each row. Weights are None where all count alike."""

    values: Tensor
    weights: Tensor | None
    restore: Callable[[Tensor], Tensor]


def _rows(x: Tensor, r: Tensor | None, over: int | None, per_image: bool) -> Rows:
    """The values and weights of each statistic along the last dimension, and the way back to the result's shape."""
    weights = None if r is None else r.expand(x.shape)
    if over is not None:
        moved = None if weights is None else weights.movedim(over, -1)
        return Rows(x.movedim(over, -1), moved, lambda s: s.unsqueeze(-1) if over == -1 else s)
    if per_image:
        flat = None if weights is None else weights.flatten(1)
        return Rows(x.flatten(1), flat, lambda s: s.unsqueeze(-1))
    return Rows(x.reshape(-1), None if weights is None else weights.reshape(-1), lambda s: s)


def _selected(x: Tensor, chosen: Tensor, otherwise: float = 0.0) -> Tensor:
    """x where it is chosen; what is elsewhere does not matter, not even to the gradient."""
    return torch.where(chosen, x, torch.full((), otherwise, dtype=x.dtype, device=x.device))


def _moments(x: Tensor, r: Tensor | None, over: int | None, per_image: bool) -> tuple[Tensor, Callable[..., Tensor]]:
    """The variance of each row, and the way back; 0 with zero gradient for an empty row."""
    values, weights, restore = _rows(x, r, over, per_image)
    if weights is None:
        count = torch.sym_max(values.shape[-1], 1)  # type: ignore[no-untyped-call]
        centred = values - values.sum(-1, keepdim=True) / count
        return (centred * centred).sum(-1) / count, restore
    values = _selected(values, weights > 0)
    total = weights.sum(-1, keepdim=True)
    safe = torch.where(total > 0, total, torch.ones_like(total))
    centred = values - (values * weights).sum(-1, keepdim=True) / safe
    return (centred * centred * weights).sum(-1) / safe.squeeze(-1), restore


def var(x: Tensor, r: Tensor | None = None, over: int | None = None, per_image: bool = False) -> Tensor:
    """sum(r * (x - mean)^2) / sum(r), the variance of the population; 0 for an empty region."""
    variance, restore = _moments(x, r, over, per_image)
    return restore(variance)


def std(x: Tensor, r: Tensor | None = None, over: int | None = None, per_image: bool = False) -> Tensor:
    """Square root of `var`; its gradient at 0 is 0."""
    variance, restore = _moments(x, r, over, per_image)
    varied = variance > 0
    root = torch.where(varied, variance, torch.ones_like(variance)).sqrt()
    # A NaN variance is not above 0, and must stay one.
    return restore(torch.where(varied, root, variance))


def quantile(
    x: Tensor, q: float | Tensor, r: Tensor | None = None, over: int | None = None, per_image: bool = False
) -> Tensor:
    """The value at q * (count - 1) in the order of the values inside the region, linear between neighbours.

    Whatever is inside at all counts as one value. The gradient goes to the one or two values in question. 0 for an
    empty region; NaN where a value inside is NaN. ``q`` is one number, or `[B, 1]`.
    """
    values, weights, restore = _rows(x, r, over, per_image)
    chosen = torch.ones_like(values, dtype=torch.bool) if weights is None else weights > 0
    if over is not None or not per_image:
        # A row can have length 0, with nothing to pick: each gets one more place, which is outside.
        end = values.new_zeros((*values.shape[:-1], 1))
        values = torch.cat([values, end], -1)
        chosen = torch.cat([chosen, torch.zeros_like(end, dtype=torch.bool)], -1)
    # Only the order is needed of the sort, so the gradient touches no more than the values that are picked.
    order = _selected(values.detach(), chosen, torch.inf).sort(dim=-1, stable=True).indices
    last = (chosen.sum(-1) - 1).clamp(min=0)
    if isinstance(q, Tensor) and q.dim() > 0:
        q = q.reshape(-1)
    at = q * last.to(x.dtype)
    below = torch.minimum(at.detach().floor().to(torch.int64), last)
    above = torch.minimum(below + 1, last)
    part = at - below.to(x.dtype)
    empty = ~chosen.any(-1)
    low, high = (
        _selected(values.gather(-1, order.gather(-1, place.unsqueeze(-1))).squeeze(-1), ~empty)
        for place in (below, above)
    )
    # With nothing between them the second value does not matter, and may be infinite.
    result = torch.where(part > 0, low + (high - low) * part, low)
    undefined = (chosen & values.isnan()).any(-1)
    return restore(torch.where(undefined, torch.full_like(result, torch.nan), result))


def median(x: Tensor, r: Tensor | None = None, over: int | None = None, per_image: bool = False) -> Tensor:
    """The middle value inside the region, or the mean of the middle two; 0 for an empty region."""
    return quantile(x, 0.5, r, over, per_image)


def minmax(x: Tensor, r: Tensor | None = None, per_image: bool = False) -> Tensor:
    """(x - least) / (largest - least), of the values inside the region, as large as x; cut to 0..1 outside it.

    0, with zero gradient, where all are equal or nothing is inside.
    """
    values, weights, _ = _rows(x, r, None, per_image)
    if weights is not None:
        outside = ~(weights > 0)
        # Outside, what is not finite would reach the least and the largest value through the gradient.
        values = _selected(values, ~(outside & ~values.isfinite()))
        lows, highs = _selected(values, ~outside, torch.inf), _selected(values, ~outside, -torch.inf)
    else:
        lows = highs = values
    if not per_image:  # there may be nothing at all
        end = values.new_full((1,), torch.inf)
        lows, highs = torch.cat([lows, end]), torch.cat([highs, -end])
    least, largest = lows.amin(-1, keepdim=True), highs.amax(-1, keepdim=True)
    span = largest - least
    flat = span <= 0
    some = torch.where(flat, torch.ones_like(span), span)
    start = torch.where(flat, torch.zeros_like(least), least)
    scaled = ((values - start) / some).clamp(0, 1)
    return torch.where(flat, torch.zeros_like(scaled), scaled).reshape(x.shape)


def histogram(
    x: Tensor, r: Tensor | None = None, bins: int = 1, lo: float | Tensor = 0.0, hi: float | Tensor = 1.0
) -> Tensor:
    """How much of the region has its value in each of ``bins`` equal parts of lo..hi; `[bins, 1]`, no gradient.

    A part holds its lower end. Values outside lo..hi count in the first or the last part, NaN in none.
    """
    x = x.detach()
    weights = torch.ones_like(x) if r is None else r.detach().expand(x.shape)
    counted = (weights > 0) & ~x.isnan()
    place = ((_selected(x, counted) - lo) * (bins / (hi - lo))).clamp(0, bins - 1)
    counts = torch.zeros(bins, dtype=x.dtype, device=x.device)
    weight = _selected(weights, counted).reshape(-1)
    return counts.scatter_add(0, place.reshape(-1).to(torch.int64), weight).unsqueeze(-1)


def histogram_quantile(h: Tensor, q: float | Tensor, lo: float | Tensor = 0.0, hi: float | Tensor = 1.0) -> Tensor:
    """Where the share q of a histogram `[bins, 1]` is reached, as if values were spread evenly within each part.

    ``hi`` for an empty histogram; 0-d, no gradient.
    """
    counts = h.detach().reshape(-1)
    reached = counts.cumsum(0)
    wanted = reached[-1] * (q.detach() if isinstance(q, Tensor) else q)
    # The part where the sum first gets there; empty parts have no share to divide.
    place = ((reached >= wanted) & (counts > 0)).to(torch.int64).argmax(0, keepdim=True)
    here = counts.gather(0, place)
    before = reached.gather(0, place) - here
    within = ((wanted - before) / torch.where(here > 0, here, torch.ones_like(here))).clamp(0, 1)
    value = lo + (hi - lo) * (place.to(h.dtype) + within) / counts.shape[0]
    end = torch.zeros_like(value) + hi
    return torch.where(reached[-1:] > 0, value, end).squeeze(0)
