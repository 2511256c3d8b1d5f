"""Differences between neighbours, and losses made of them.

``x`` is `[.., k]`: of images `[B, H, W, k]` x is dimension -2 and y -3, and so it is of grids `[.., Y, X, k]`. The
differences keep the shape; where a neighbour is missing they are 0 without gradient.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .pointwise import Operand

X, Y = -2, -3
SMOOTHING = {"sobel": (1 / 4, 2 / 4, 1 / 4), "scharr": (3 / 16, 10 / 16, 3 / 16)}
"""Weights across the direction of the difference; they sum to 1."""


def _framed(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """``x`` with zeros in front of it and behind it along one dimension, a negative index."""
    return F.pad(x, [0, 0] * (-axis - 1) + [before, after])


def _steps(x: Tensor, axis: int) -> Tensor:
    """Each value but the first less the one before it, along one dimension."""
    size = x.shape[axis]
    return x.narrow(axis, 1, size - 1) - x.narrow(axis, 0, size - 1)


def _nothing(x: Tensor, axis: int) -> Tensor:
    """Zeros of the shape of ``x``, whose gradient is 0, for a dimension that is too short."""
    return _framed(x.narrow(axis, 0, 0), axis, 0, x.shape[axis])


def _difference(x: Tensor, axis: int, scheme: str) -> Tensor:
    if x.shape[axis] < 2:
        return _nothing(x, axis)
    if scheme == "forward":
        return _framed(_steps(x, axis), axis, 0, 1)
    size = x.shape[axis] - 2
    return _framed((x.narrow(axis, 2, size) - x.narrow(axis, 0, size)) / 2, axis, 1, 1)


def dx(x: Tensor, scheme: str = "forward") -> Tensor:
    """The right neighbour less this value, or half of right less left; 0 where one is missing."""
    return _difference(x, X, scheme)


def dy(x: Tensor, scheme: str = "forward") -> Tensor:
    """The neighbour below less this value, or half of below less above; 0 where one is missing."""
    return _difference(x, Y, scheme)


def second_difference(x: Tensor, axis: int) -> Tensor:
    """The two neighbours along a dimension, a negative index, less twice the value; 0 where one is missing."""
    if x.shape[axis] < 2:
        return _nothing(x, axis)
    steps = _steps(x, axis)
    return _framed(_steps(steps, axis), axis, 1, 1)


def has_both_neighbours(x: Tensor, axis: int) -> Tensor:
    """1 where there is a value in front and one behind along a dimension, a negative index, else 0; `[.., 1]`."""
    size = x.shape[axis]
    at = torch.arange(size, device=x.device)
    inner = ((at >= 1) & (at < size - 1)).to(x.dtype)
    return inner.reshape(size, *[1] * (-axis - 1)).expand(*x.shape[:-1], 1)


def laplacian(x: Tensor) -> Tensor:
    """The four neighbours of a pixel `[B, H, W, k]` less four times the pixel; 0 where one is missing."""
    if x.shape[X] < 3 or x.shape[Y] < 3:
        return _nothing(x, X)
    across = x[..., 1:-1, 2:, :] + x[..., 1:-1, :-2, :]
    along = x[..., 2:, 1:-1, :] + x[..., :-2, 1:-1, :]
    return _framed(_framed(across + along - 4 * x[..., 1:-1, 1:-1, :], X, 1, 1), Y, 1, 1)


def _smoothed(x: Tensor, axis: int, weights: tuple[float, float, float]) -> Tensor:
    size = x.shape[axis] - 2
    first, middle, last = (x.narrow(axis, i, size) * w for i, w in enumerate(weights))
    return first + middle + last


def sobel(x: Tensor, kernel: str = "sobel") -> Tensor:
    """Central differences along x and along y, each smoothed across: `[B, H, W, 1]` to `[B, H, W, 2]`.

    A ramp that rises by 1 from pixel to pixel gives 1. 0 where one of the eight neighbours is missing.
    """
    if x.shape[X] < 3 or x.shape[Y] < 3:
        return _nothing(x, X).expand(*x.shape[:-1], 2)
    weights = SMOOTHING[kernel]
    across, along = _smoothed(x, Y, weights), _smoothed(x, X, weights)
    right = (across[..., 2:, :] - across[..., :-2, :]) / 2
    down = (along[..., 2:, :, :] - along[..., :-2, :, :]) / 2
    return _framed(_framed(torch.cat([right, down], -1), X, 1, 1), Y, 1, 1)


def _mean_step(x: Tensor, r: Tensor | None, axis: int, power: Operand) -> Tensor:
    """The mean size of the differences along a dimension, each weighted by the region at both of its ends."""
    size = x.shape[axis]
    if size < 2:
        return x.narrow(axis, 0, 0).sum()
    steps = _steps(x, axis)
    if r is None:
        count: int = torch.sym_max(steps.numel(), 1)  # type: ignore[no-untyped-call]
        return _sized(steps, power).sum() / count
    weight = r.narrow(axis, 0, size - 1) * r.narrow(axis, 1, size - 1)
    # Selected before anything is made of it: the slope of a value that is not finite is not finite either.
    steps = torch.where(weight > 0, steps, torch.zeros((), dtype=x.dtype, device=x.device))
    total = weight.sum() * (x.shape[-1] if r.shape[-1] == 1 else 1)
    safe = torch.where(total > 0, total, torch.ones_like(total))
    return torch.where(total > 0, (_sized(steps, power) * weight).sum() / safe, torch.zeros_like(total))


def _sized(steps: Tensor, power: Operand) -> Tensor:
    if isinstance(power, Tensor):
        return torch.where(power > 1.5, steps * steps, steps.abs())
    return steps * steps if power > 1.5 else steps.abs()


def tv(x: Tensor, r: Tensor | None = None, power: Operand = 1, axes: tuple[int, ...] = (Y, X)) -> Tensor:
    """The mean of |difference|^power (1 or 2) between neighbours, summed over the dimensions; 0 in an empty region.

    A difference counts as much as the product of the region at its two ends, so nothing outside it is read. Rudin,
    Osher and Fatemi 1992, anisotropic.
    """
    total = x[:0].sum()  # 0, and so is its gradient
    for axis in axes:
        total = total + _mean_step(x, r, axis, power)
    return total


def gradient_l1(a: Tensor, b: Tensor, r: Tensor | None = None, scales: Operand = 1) -> Tensor:
    """`tv` of the difference of two images `[B, H, W, k]`, summed over every pixel, every second, every fourth, ...

    Scales at which no two pixels are left add nothing. Li and Snavely 2018, eq. 4, with means in place of sums over
    the number of valid pixels.
    """
    error, scale = a - b, 0
    total = error[:0].sum()  # 0, and so is its gradient
    while max(error.shape[X], error.shape[Y]) >= 2 and (isinstance(scales, Tensor) or scale < scales):
        at_scale = tv(error, r)
        # A number of scales that changes between steps switches them; it must not change the graph.
        total = total + (torch.where(scales > scale, at_scale, 0.0) if isinstance(scales, Tensor) else at_scale)
        error, r, scale = error[:, ::2, ::2], None if r is None else r[:, ::2, ::2], scale + 1
    return total
