"""Losses of classes."""

from __future__ import annotations

import torch
from torch import Tensor

from . import reductions


def cross_entropy(a: Tensor, b: Tensor, r: Tensor | None = None) -> Tensor:
    """Mean over the region of -sum_c b_c * log softmax(a)_c.

    ``a`` holds scores `[.., C]` before the softmax; ``b`` the number of the right class `[.., 1]`, from 0, or a
    probability for each class `[.., C]`. The number of no class makes the result NaN where it is inside the region.
    """
    inside = None if r is None else (r > 0).any(-1, keepdim=True)
    if inside is not None:
        # The softmax would carry what is not finite outside the region into the gradient.
        a = torch.where(inside, a, torch.zeros((), dtype=a.dtype, device=a.device))
        b = torch.where(inside, b, torch.zeros((), dtype=b.dtype, device=b.device))
    likely = a.log_softmax(-1)
    if b.shape[-1] != 1:
        return reductions.mean(-(b * likely).sum(-1, keepdim=True), r)
    number = b.detach().round()
    known = (number >= 0) & (number < a.shape[-1])
    picked = likely.gather(-1, torch.where(known, number, torch.zeros_like(number)).to(torch.int64))
    return reductions.mean(torch.where(known, -picked, torch.full_like(picked, torch.nan)), r)
