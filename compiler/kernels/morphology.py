"""Regions that grow and shrink, and regions of the image's frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .pointwise import Operand


def largest_around(x: Tensor, px: Operand) -> Tensor:
    """The largest value in the square of 2 px + 1 pixels around each pixel of `[B, H, W, k]`, inside the image.

    px is a whole number, or a 0-d tensor where it changes between steps.
    """
    if isinstance(px, Tensor):
        return _largest_along(_largest_along(x, 2, px), 1, px)
    px = int(px)
    if px == 0:
        return x
    planes = x.permute(0, 3, 1, 2)
    planes = F.max_pool2d(planes, (1, 2 * px + 1), stride=1, padding=(0, px))
    return F.max_pool2d(planes, (2 * px + 1, 1), stride=1, padding=(px, 0)).permute(0, 2, 3, 1)


def _largest_along(x: Tensor, axis: int, px: Tensor) -> Tensor:
    after = _largest_after(x, axis, px)
    return torch.maximum(after, _largest_after(x.flip(axis), axis, px).flip(axis))


def _largest_after(x: Tensor, axis: int, px: Tensor) -> Tensor:
    """The largest of each value and the px behind it along a dimension; the work does not depend on px.

    px + 1 values are a sum of powers of two: windows of 1, 2, 4, ... are put in front of each other where the binary
    digit of px + 1 is 1.
    """
    size, step = x.shape[axis], 1
    count = (px + 1.25).clamp(max=size)  # digits of the floor: rounding does not matter
    found, window = torch.full_like(x, -torch.inf), x
    while step <= size:
        joined = torch.maximum(window, _earlier(found, axis, step))
        found = torch.where(torch.floor(count / step) % 2 > 0.5, joined, found)
        window = torch.maximum(window, _earlier(window, axis, step))
        step *= 2
    return found


def _earlier(x: Tensor, axis: int, by: int) -> Tensor:
    """The values moved towards the front of a dimension of `[B, H, W, k]`."""
    behind = [0, 0] * (3 - axis) + [0, by]
    return F.pad(x.narrow(axis, by, x.shape[axis] - by), behind, value=-torch.inf)


def _uniform(r: Operand) -> bool:
    """Whether a region is everywhere the same: a number."""
    return not isinstance(r, Tensor) or r.dim() < 4


def dilate(r: Operand, px: Operand) -> Operand:
    """The largest value of the region `[B, H, W, k]` in the square of 2 px + 1 pixels around each pixel."""
    return r if _uniform(r) else largest_around(r, px)  # type: ignore[arg-type]


def erode(r: Operand, px: Operand) -> Operand:
    """The least value of the region `[B, H, W, k]` in the square of 2 px + 1 pixels around each pixel.

    What is beyond the edge of the image does not count.
    """
    return r if _uniform(r) else -largest_around(-r, px)  # type: ignore[arg-type]


def inside(pixels: Tensor, border: Operand = 0, multiple_of: Operand = 1) -> Tensor:
    """1 in a rectangle in the middle of the image, 0 around it: a region `[B, H, W, 1]` of the size of ``pixels``.

    It is ``border`` pixels or more from every edge, and its sides are the largest multiples of ``multiple_of`` that
    fit; of an odd number of pixels that remain, one more is left at the bottom and at the right.
    """
    batch, height, width, _ = pixels.shape
    rows = _middle(height, pixels.device, border, multiple_of)[:, None]
    columns = _middle(width, pixels.device, border, multiple_of)[None, :]
    return (rows & columns).to(pixels.dtype)[None, :, :, None].expand(batch, height, width, 1)


def _middle(size: int, device: torch.device, border: Operand, multiple_of: Operand) -> Tensor:
    left = size - 2 * border
    side = left // multiple_of * multiple_of
    start = border + (left - side) // 2
    at = torch.arange(size, device=device)
    return (at >= start) & (at < start + side)
