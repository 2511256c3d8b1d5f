"""Images `[B, H, W, k]` at other sizes, in patches, and compared over several scales."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ...dsl.builtins.perceptual import SCALES
from . import photometric, reductions
from .blur import blur
from .pointwise import Operand

TINY = 1e-30
"""Below it a factor of MS-SSIM counts as 0: the slope of its power would not be finite."""


def resize(x: Tensor, like: Tensor | None = None, scale: Operand | None = None, mode: str = "bilinear") -> Tensor:
    """The image at the height and width of ``like`` `[.., H, W, k]`, or at ``scale`` times its own, rounded up.

    The corners of both images meet, so pixel centres are at (i + 0.5) / size. "bilinear" reads the four pixels around
    a centre and repeats the edge, "nearest" the one pixel, and "area" is the mean of all pixels that a new one touches.
    """
    size = (scaled(x.shape[1], scale), scaled(x.shape[2], scale)) if like is None else (like.shape[-3], like.shape[-2])
    if 0 in size:
        return x.new_zeros((x.shape[0], *size, x.shape[3]))
    planes = x.permute(0, 3, 1, 2)
    if mode == "area":
        planes = F.adaptive_avg_pool2d(planes, size)
    elif mode == "nearest":
        planes = F.interpolate(planes, size, mode="nearest-exact")
    else:
        planes = F.interpolate(planes, size, mode="bilinear", align_corners=False)
    return planes.permute(0, 2, 3, 1)


def scaled(size: int, scale: Operand | None) -> int:
    """A side of a resized image. Rounded up, so that half of a half is a quarter, and half is what `haar` gives."""
    assert isinstance(scale, (int, float))
    return max(math.ceil(size * float(scale) - 1e-6), 1)


def _even(x: Tensor) -> Tensor:
    """An odd last row or column twice."""
    if x.shape[1] % 2:
        x = torch.cat([x, x[:, -1:]], 1)
    if x.shape[2] % 2:
        x = torch.cat([x, x[:, :, -1:]], 2)
    return x


def haar(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One level of the orthonormal Haar transform: ll, lh (below less above), hl (right less left), hh.

    Each `[B, ceil(H/2), ceil(W/2), k]`; an odd last row or column is repeated.
    """
    x = _even(x)
    above, below = x[:, ::2], x[:, 1::2]
    a, b, c, d = above[:, :, ::2], above[:, :, 1::2], below[:, :, ::2], below[:, :, 1::2]
    return (a + b + c + d) / 2, (c + d - a - b) / 2, (b + d - a - c) / 2, (a + d - b - c) / 2


def patches(x: Tensor, px: Operand, stride: Operand | None = None) -> Tensor:
    """The patches of px by px pixels, row by row: `[B, P, px * px, k]`, the pixels of each row by row too.

    They begin every ``stride`` pixels, px without it; what no whole patch holds is left out, so P can be 0.
    """
    px = int(px)
    step = px if stride is None else int(stride)
    batch, height, width, components = x.shape
    if height < px or width < px:
        return x.new_zeros((batch, 0, px * px, components))
    if step == px:
        down, across = height // px, width // px
        blocks = x[:, : down * px, : across * px].reshape(batch, down, px, across, px, components)
        return blocks.transpose(2, 3).reshape(batch, down * across, px * px, components)
    found = x.unfold(1, px, step).unfold(2, px, step).permute(0, 1, 2, 4, 5, 3)
    return found.reshape(batch, found.shape[1] * found.shape[2], px * px, components)


def _halved(x: Tensor) -> Tensor:
    """The mean of each 2 by 2 pixels; of those that there are in an odd last row or column."""
    return haar(x)[0] / 2


def _factor(values: Tensor, r: Tensor | None) -> Tensor:
    """The mean of a map over the region, by image and component `[B, k]`; 1 where it is empty."""
    if r is None:
        return values.mean((1, 2))
    weight = r.sum((1, 2))
    safe = torch.where(weight > 0, weight, torch.ones_like(weight))
    return 1 - ((1 - values) * r).sum((1, 2)) / safe


def _power(x: Tensor, exponent: float) -> Tensor:
    """x to the exponent; 0, with gradient 0, where x is not positive."""
    positive = x > TINY
    return torch.where(positive, torch.where(positive, x, torch.ones_like(x)) ** exponent, torch.zeros_like(x))


def ms_ssim(a: Tensor, b: Tensor, r: Tensor | None = None, padding: str = "same") -> Tensor:
    """MS-SSIM of images of 161 pixels or more a side; 1 for an empty region.

    Wang, Simoncelli and Bovik 2003, eq. 7, with the window and constants of `photometric.ssim`: the product over five
    scales of the mean of contrast times structure, that of the coarsest with luminance, to the power of its exponent.
    Products are by image and component, as in published implementations, and the mean is over those images in which
    the region is not empty. Both images are zeroed outside it first; images and region are halved together.
    """
    kept = None
    if r is not None:
        a, b = reductions.inside(a, r), reductions.inside(b, r)
        kept = (r.sum((1, 2)) > 0).to(a.dtype)
    result = torch.ones_like(a[:, 0, 0])
    for i, exponent in enumerate(SCALES):
        if i:
            a, b = _halved(a), _halved(b)
            r = None if r is None else _halved(r)
        p = photometric._parts(*blur(a, b, a * a + b * b, a * b))
        values = p.d / p.b if i < len(SCALES) - 1 else p.c * p.d / (p.a * p.b)
        within = r
        if padding == "valid":
            inner = slice(photometric.BORDER, -photometric.BORDER)
            values, within = values[:, inner, inner], None if r is None else r[:, inner, inner]
        result = result * _power(_factor(values, within), exponent)
    if kept is None:
        return result.mean()
    kept = kept.expand(result.shape)
    count = kept.sum()
    return 1 - ((1 - result) * kept).sum() / torch.where(count > 0, count, torch.ones_like(count))
