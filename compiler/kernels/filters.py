"""Filters and blocks of images `[B, H, W, k]`, component by component, and their spectrum. All keep the shape.

Sizes are whole numbers in the text of a program, except where a docstring says that a 0-d tensor is accepted: a number
that changes between steps. Such a filter is a product with a matrix `[H, H]` from the left and one `[W, W]` from the
right, whose shapes do not depend on it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import reductions
from .blur import traceable, weights_like
from .morphology import largest_around
from .pointwise import Operand, filled

CUT = 3.0
"""Where the gaussian ends, in standard deviations."""


def _divided(sums: Tensor, weights: Tensor) -> Tensor:
    """Sums over weights, 0 where there is no weight."""
    safe = torch.where(weights > 0, weights, torch.ones_like(weights))
    return torch.where(weights > 0, sums / safe, torch.zeros((), dtype=sums.dtype, device=sums.device))


def _within(x: Tensor, region: Operand | None) -> tuple[Tensor, Tensor]:
    """The values times the region, 0 outside, and the region `[B, H, W, 1]` or `[B, H, W, k]`."""
    if region is None:
        return x, torch.ones_like(x[..., :1])
    if not isinstance(region, Tensor) or region.dim() == 0:
        region = filled(region, x, 1)
    return reductions.inside(x, region), region


def _weighted(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """For each pixel the sum over all, weighted by `[H, H]` and `[W, W]`."""
    batch, height, width, components = x.shape
    across = torch.matmul(columns, x).reshape(batch, height, width * components)
    return torch.matmul(rows, across).reshape(batch, height, width, components)


def _places(size: int, x: Tensor) -> Tensor:
    return torch.arange(size, device=x.device, dtype=x.dtype)


# Windows around each pixel


@torch.library.custom_op("splatdsl::filter", mutates_args=(), schema="(Tensor x, float[] taps) -> Tensor")
def _filter(x: Tensor, taps: list[float]) -> Tensor:
    """Separable filter of `[B, H, W, K]` with symmetric taps and zero padding, in the memory order of the images.

    An operator of its own, because Inductor ties convolutions in this order to one image size.
    """
    channels, border = x.shape[-1], len(taps) // 2
    weights = weights_like(taps, x)
    planes = x.permute(0, 3, 1, 2)
    row = weights.reshape(1, 1, 1, -1).expand(channels, 1, 1, len(taps))
    column = weights.reshape(1, 1, -1, 1).expand(channels, 1, len(taps), 1)
    with torch.autocast(x.device.type, enabled=False):  # it reaches here from a `backward()` inside of it
        planes = F.conv2d(planes, row, padding=(0, border), groups=channels)
        planes = F.conv2d(planes, column, padding=(border, 0), groups=channels)
    return planes.permute(0, 2, 3, 1).contiguous()


@_filter.register_fake
def _(x: Tensor, taps: list[float]) -> Tensor:
    return x.new_empty(x.shape)


class _Filter(torch.autograd.Function):
    """The filter with its gradient: the taps are symmetric and the padding is zero, so it is its own adjoint."""

    @staticmethod
    def forward(x: Tensor, taps: list[float]) -> Tensor:
        made: Tensor = _filter(x, taps)
        return made

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, list[float]], output: Tensor) -> None:
        ctx.taps = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _filtered(grads[0], ctx.taps), None


def _filtered(x: Tensor, taps: list[float]) -> Tensor:
    result: Tensor = _Filter.apply(traceable(x), taps)  # type: ignore[no-untyped-call]
    return result


def blur_taps(sigma: float) -> list[float]:
    """The weights of `blur` along one dimension: exp(-d^2 / (2 sigma^2)) up to 3 sigma, to the nearest pixel."""
    border = math.floor(_reach(sigma))
    return [math.exp(-(d * d) / (2 * sigma * sigma)) for d in range(-border, border + 1)]


def _reach(sigma: Any) -> Any:
    # A little more, so that 3 sigma = 4.5 does not hang on rounding.
    return CUT * sigma + 0.5 + 1e-4


def blur(x: Tensor, sigma: Operand = 1.5) -> Tensor:
    """Gaussian blur; at the border the weights inside the image are scaled up to sum to 1.

    ``sigma``, in pixels, can be a 0-d tensor. A window of sigma 1.5 has 11 pixels, as in SSIM.
    """
    height, width = x.shape[1], x.shape[2]
    if isinstance(sigma, Tensor):
        rows, columns = _gaussian(_places(height, x), sigma), _gaussian(_places(width, x), sigma)
        return _weighted(x, rows, columns)
    taps = blur_taps(float(sigma))
    total: Tensor = _filtered(torch.ones_like(x[:1, :, :, :1]), taps)
    blurred: Tensor = _filtered(x, taps)
    return blurred / total


def _gaussian(at: Tensor, sigma: Tensor) -> Tensor:
    distance = (at[:, None] - at[None, :]).abs()
    inside = distance <= torch.floor(_reach(sigma)) + 0.5
    weights = torch.where(inside, torch.exp(-distance * distance / (2 * sigma * sigma)), torch.zeros_like(distance))
    return weights / weights.sum(1, keepdim=True)


def box(x: Tensor, px: Operand) -> Tensor:
    """Mean over the square of 2 px + 1 pixels around each pixel, inside the image; px can be a 0-d tensor."""
    at_rows, at_columns = _places(x.shape[1], x), _places(x.shape[2], x)
    if isinstance(px, Tensor):
        rows, columns = _band(at_rows, px), _band(at_columns, px)
        sums, high, wide = _weighted(x, rows, columns), rows.sum(1), columns.sum(1)
    else:
        planes, side = x.permute(0, 3, 1, 2), 2 * int(px) + 1
        planes = F.avg_pool2d(planes, (1, side), stride=1, padding=(0, side // 2), divisor_override=1)
        planes = F.avg_pool2d(planes, (side, 1), stride=1, padding=(side // 2, 0), divisor_override=1)
        sums, high, wide = planes.permute(0, 2, 3, 1), _around(at_rows, int(px)), _around(at_columns, int(px))
    # Divided once: the share of a window that is in a region is then exact where a threshold meets it.
    return sums / (high[:, None] * wide)[..., None]


def _around(at: Tensor, px: int) -> Tensor:
    """How many places are within px of each one."""
    return (at + px).clamp(max=at.shape[0] - 1) - (at - px).clamp(min=0) + 1


def _band(at: Tensor, px: Tensor) -> Tensor:
    return ((at[:, None] - at[None, :]).abs() <= torch.floor(px) + 0.5).to(at.dtype)


def pool(x: Tensor, px: Operand, mode: str = "mean", region: Operand | None = None) -> Tensor:
    """Mean, maximum or minimum over the square of 2 px + 1 pixels around each pixel, inside the image.

    With a region the mean is weighted by it, the maximum and minimum are of where it is above 0, and windows that hold
    nothing of it give 0. px can be a 0-d tensor.
    """
    if mode == "mean":
        if region is None:
            return box(x, px)
        values, weights = _within(x, region)
        # Both are divided by the number of pixels in the window.
        return _divided(box(values, px), box(weights, px))
    sign = 1 if mode == "max" else -1
    if region is None:
        return sign * largest_around(sign * x, px)
    lowest = torch.full((), -torch.inf, dtype=x.dtype, device=x.device)
    found = largest_around(torch.where(_within(x, region)[1] > 0, sign * x, lowest), px)
    return torch.where(found == -torch.inf, torch.zeros_like(found), sign * found)


# Blocks


def _in_blocks(x: Tensor, px: int) -> Tensor:
    """`[B, h, px, w, px, k]`, filled up with zeros below and at the right."""
    batch, height, width, components = x.shape
    filled = F.pad(x, (0, 0, 0, -width % px, 0, -height % px))
    return filled.reshape(batch, (height + px - 1) // px, px, (width + px - 1) // px, px, components)


def _spread(blocks: Tensor, px: int, like: Tensor) -> Tensor:
    """Values of blocks `[B, h, w, k]` over their pixels."""
    batch, down, across, components = blocks.shape
    wide = blocks[:, :, None, :, None].expand(batch, down, px, across, px, components)
    return wide.reshape(batch, down * px, across * px, components)[:, : like.shape[1], : like.shape[2]]


def block_mean(x: Tensor, px: Operand, region: Operand | None = None) -> Tensor:
    """Each pixel gets the mean of its block of px by px pixels from the top left; px can be a 0-d tensor.

    With a region the mean is weighted by it; blocks that hold nothing of it give 0.
    """
    values, weights = _within(x, region)
    if isinstance(px, Tensor):
        rows, columns = (_same_block(_places(size, x), px) for size in x.shape[1:3])
        return _divided(_weighted(values, rows, columns), _weighted(weights, rows, columns))
    px = int(px)
    means = _divided(_in_blocks(values, px).sum((2, 4)), _in_blocks(weights, px).sum((2, 4)))
    return _spread(means, px, x)


def _same_block(at: Tensor, px: Tensor) -> Tensor:
    # From the middle of the pixel, so that the quotient is never at a whole number.
    block = torch.floor((at + 0.5) / torch.floor(px))
    return (block[:, None] == block[None, :]).to(at.dtype)


def block_median(x: Tensor, px: Operand, region: Operand | None = None) -> Tensor:
    """Each pixel gets the median of its block of px by px pixels from the top left, of where the region is above 0.

    The median of an even number of values is the mean of the two in the middle; blocks that hold nothing give 0.
    """
    px = int(px)
    values, weights = _in_blocks(x, px), _in_blocks(_within(x, region)[1], px)
    chosen = (weights > 0).expand(values.shape)
    beyond = torch.full((), torch.inf, dtype=x.dtype, device=x.device)
    ordered = torch.where(chosen, values, beyond).permute(0, 1, 3, 5, 2, 4).flatten(-2).sort(-1).values
    count = chosen.sum((2, 4))[..., None]
    low, high = ((count - 1) // 2).clamp(min=0), count // 2
    high = torch.minimum(high, (count - 1).clamp(min=0))
    middle = ordered.gather(-1, torch.cat([low, high], -1))
    # What is beyond is never averaged: an infinite number has no slope.
    middle = torch.where(count > 0, middle, torch.zeros_like(middle)).mean(-1)
    # Sorting puts NaN last, where it would be left out.
    missing = (chosen & values.isnan()).any(4).any(2)
    return _spread(torch.where(missing, torch.full_like(middle, torch.nan), middle), px, x)


# Other places


def shift(x: Tensor, right: Operand = 0, down: Operand = 0) -> Tensor:
    """The image moved by whole pixels; where nothing was moved to, the edge is repeated."""
    return _moved(_moved(x, 2, int(right)), 1, int(down))


def _moved(x: Tensor, axis: int, by: int) -> Tensor:
    size = x.shape[axis]
    if by == 0:
        return x
    shape = list(x.shape)
    shape[axis] = min(abs(by), size)
    kept = size - shape[axis]
    edge = x.narrow(axis, 0 if by > 0 else size - 1, 1).expand(shape)
    if by > 0:
        return torch.cat([edge, x.narrow(axis, 0, kept)], axis)
    return torch.cat([x.narrow(axis, size - kept, kept), edge], axis)


# The spectrum. Real numbers go in and out of these operators: Inductor has no complex ones.


@torch.library.custom_op("splatdsl::spectrum", mutates_args=(), schema="(Tensor x) -> Tensor")
def _spectrum(x: Tensor) -> Tensor:
    """The orthonormal Fourier transform over H and W of `[B, H, W, k]`: real and imaginary part, `[B, H, W, k, 2]`."""
    return torch.view_as_real(torch.fft.fft2(x, dim=(1, 2), norm="ortho")).contiguous()


@_spectrum.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty((*x.shape, 2))


@torch.library.custom_op("splatdsl::spectrum_adjoint", mutates_args=(), schema="(Tensor x) -> Tensor")
def _spectrum_adjoint(x: Tensor) -> Tensor:
    """The adjoint of `_spectrum`: the real part of the inverse transform, as the transform is unitary."""
    image: Tensor = torch.fft.ifft2(torch.view_as_complex(x.contiguous()), dim=(1, 2), norm="ortho")
    return image.real.contiguous()


@_spectrum_adjoint.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[:-1])


class _Spectrum(torch.autograd.Function):
    """The transform with its gradient."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        made: Tensor = _spectrum(x)
        return made

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        made: Tensor = _spectrum_adjoint(grads[0].contiguous())
        return made


def fft_magnitude(x: Tensor) -> Tensor:
    """|F(x)| / sqrt(H W) of each component, zero frequency first; gradient 0 where it is 0."""
    squares = _Spectrum.apply(traceable(x)).square().sum(-1)  # type: ignore[no-untyped-call]
    safe = torch.where(squares > 0, squares, torch.ones_like(squares))
    return torch.where(squares > 0, safe.sqrt(), torch.zeros_like(squares))
