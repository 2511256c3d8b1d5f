"""Structural similarity and signal-to-noise ratio of images `[B, H, W, C]`."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import reductions
from .blur import BORDER as BORDER
from .blur import blur, blur_plain, spread, statistics, traceable
from .blur import window as window

C1 = 0.01**2
C2 = 0.03**2


class _Parts(NamedTuple):
    """The four factors of SSIM, C*D / (A*B)."""

    a: Tensor
    b: Tensor
    c: Tensor
    d: Tensor


def _parts(mu_a: Tensor, mu_b: Tensor, squares: Tensor, product: Tensor) -> _Parts:
    both, apart = mu_a * mu_a + mu_b * mu_b, mu_a * mu_b
    # The variances only enter as a sum. Rounding can make it negative on flat images.
    variances = (squares - both).clamp(min=0)
    return _Parts(both + C1, variances + C2, 2 * apart + C1, 2 * (product - apart) + C2)


class _SsimMap(torch.autograd.Function):
    """SSIM with an analytic backward: 4 blurs forward and 3 for each image that carries a gradient."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        mu_a, mu_b, squares, product = statistics(a, b)
        ctx.save_for_backward(a, b, mu_a, mu_b, squares, product)
        p = _parts(mu_a, mu_b, squares, product)
        return p.c * p.d / (p.a * p.b)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (g,) = grads
        a, b, mu_a, mu_b, squares, product = ctx.saved_tensors
        p = _parts(mu_a, mu_b, squares, product)
        inverse = 1 / (p.a * p.b)
        value = p.c * p.d * inverse
        to_squares = -g * value * p.a * inverse
        to_product = 2 * g * p.c * inverse
        common, shared = 2 * g * (p.d - p.c) * inverse, 2 * g * value * (p.b - p.a) * inverse
        result: list[Tensor | None] = []
        for needed, x, other, mu_x, mu_other in (
            (ctx.needs_input_grad[0], a, b, mu_a, mu_b),
            (ctx.needs_input_grad[1], b, a, mu_b, mu_a),
        ):
            if not needed:
                result.append(None)
                continue
            to_mu = common * mu_other - shared * mu_x
            first, second, third = blur_plain(to_mu, to_squares, to_product)
            result.append(first + 2 * x * second + other * third)
        return result[0], result[1]


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """SSIM around each pixel, per channel, `[B, H, W, C]`, in [-1, 1]; outside the image both are 0.

    Wang et al. 2004, eq. 13. It can be differentiated once.
    """
    result: Tensor = _SsimMap.apply(traceable(a), traceable(b))  # type: ignore[no-untyped-call]
    return result


def _ssim_map_within(a: Tensor, b: Tensor, r: Tensor) -> Tensor:
    """SSIM with the statistics of each window taken from the region alone: blurs divided by the blurred region."""
    a, b = reductions.inside(a, torch.sign(r)), reductions.inside(b, torch.sign(r))
    *blurred, weight = blur(a * r, b * r, (a * a + b * b) * r, a * b * r, r)
    safe = torch.where(weight > 0, weight, torch.ones_like(weight))
    p = _parts(*(x / safe for x in blurred))
    return p.c * p.d / (p.a * p.b)


def ssim(
    a: Tensor, b: Tensor, r: Tensor | None = None, padding: str = "same", window_mask: bool | float = False
) -> Tensor:
    """Mean SSIM over the region, of images that are zeroed outside it; 1 for an empty region (nothing differs).

    Padding "valid" keeps only pixels whose window lies inside the image. With ``window_mask`` nothing outside the
    region enters a window at all.
    """
    r = None if r is None else spread(r, a)
    if r is None:
        # Zeros beyond the image's border are outside every region.
        values = _ssim_map_within(a, b, spread(torch.ones_like(a[..., :1]), a)) if window_mask else ssim_map(a, b)
    elif window_mask:
        values = _ssim_map_within(a, b, r)
    else:
        values = ssim_map(reductions.inside(a, r), reductions.inside(b, r))
    if padding == "valid":
        values = values[:, BORDER:-BORDER, BORDER:-BORDER]
        r = None if r is None else r[:, BORDER:-BORDER, BORDER:-BORDER]
    return 1 - reductions.mean(1 - values, r)


def psnr(a: Tensor, b: Tensor, r: Tensor | None = None) -> Tensor:
    """-10 log10 of the mean squared difference, which is floored at 1e-10: at most 100 dB."""
    error = reductions.mean((a - b) * (a - b), r)
    return -10 / math.log(10) * torch.log(error.clamp(min=1e-10))
