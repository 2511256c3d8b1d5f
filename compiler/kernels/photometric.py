"""Structural similarity and signal-to-noise ratio of images `[B, H, W, C]`."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...dsl.builtins.photometric import WINDOW
from . import reductions

SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2
BORDER = WINDOW // 2


def window() -> list[float]:
    """The taps of the separable gaussian window; they sum to 1."""
    taps = [math.exp(-((i - BORDER) ** 2) / (2 * SIGMA**2)) for i in range(WINDOW)]
    total = math.fsum(taps)
    return [t / total for t in taps]


@torch.library.custom_op("splatdsl::blur", mutates_args=(), schema="(Tensor x) -> Tensor")
def _blur(x: Tensor) -> Tensor:
    """Gaussian blur of every channel of `[B, H, W, K]` with zero padding.

    Depth-wise, on all channels at once and in the memory order of the images: several times faster on CPUs than one
    plane after the other. An operator of its own, because Inductor ties convolutions in this order to one image size.
    """
    channels = x.shape[-1]
    taps = torch.tensor(window(), dtype=x.dtype, device=x.device)
    planes = x.permute(0, 3, 1, 2)
    row, column = taps.reshape(1, 1, 1, WINDOW), taps.reshape(1, 1, WINDOW, 1)
    with torch.autocast(x.device.type, enabled=False):  # it reaches here from a `backward()` inside of it
        planes = F.conv2d(planes, row.expand(channels, 1, 1, WINDOW), padding=(0, BORDER), groups=channels)
        planes = F.conv2d(planes, column.expand(channels, 1, WINDOW, 1), padding=(BORDER, 0), groups=channels)
    return planes.permute(0, 2, 3, 1).contiguous()


@_blur.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


# The window is symmetric and the padding is zero, so the adjoint of the blur is the blur.
_blur.register_autograd(lambda _, gradient: _blur(gradient))


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
        mu_a, mu_b, squares, product = _blur(torch.cat([a, b, a * a + b * b, a * b], -1)).chunk(4, -1)
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
            first, second, third = _blur(torch.cat([to_mu, to_squares, to_product], -1)).chunk(3, -1)
            result.append(first + 2 * x * second + other * third)
        return result[0], result[1]


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """SSIM around each pixel, per channel, `[B, H, W, C]`, in [-1, 1]; outside the image both are 0.

    Wang et al. 2004, eq. 13. It can be differentiated once.
    """
    result: Tensor = _SsimMap.apply(a, b)  # type: ignore[no-untyped-call]
    return result


def _ssim_map_within(a: Tensor, b: Tensor, r: Tensor) -> Tensor:
    """SSIM with the statistics of each window taken from the region alone: blurs divided by the blurred region."""
    a, b = reductions.inside(a, torch.sign(r)), reductions.inside(b, torch.sign(r))
    channels = a.shape[-1]
    blurred = _blur(torch.cat([a * r, b * r, (a * a + b * b) * r, a * b * r, r], -1))
    weight = blurred[..., 4 * channels :]
    safe = torch.where(weight > 0, weight, torch.ones_like(weight))
    mu_a, mu_b, squares, product = (blurred[..., : 4 * channels] / safe).chunk(4, -1)
    p = _parts(mu_a, mu_b, squares, product)
    return p.c * p.d / (p.a * p.b)


def ssim(
    a: Tensor, b: Tensor, r: Tensor | None = None, padding: str = "same", window_mask: bool | float = False
) -> Tensor:
    """Mean SSIM over the region, of images that are zeroed outside it; 1 for an empty region (nothing differs).

    Padding "valid" keeps only pixels whose window lies inside the image. With ``window_mask`` nothing outside the
    region enters a window at all.
    """
    if r is None:
        # Zeros beyond the image's border are outside every region.
        values = _ssim_map_within(a, b, torch.ones_like(a[..., :1])) if window_mask else ssim_map(a, b)
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
