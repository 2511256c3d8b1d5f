"""Random choices. Each place in a program has a key at each step; its numbers follow from the key and their position.

With 32-bit unsigned arithmetic, mix(x) is x ^= x >> 16; x *= 0x21f0aaad; x ^= x >> 15; x *= 0x735a2d97; x ^= x >> 15
(one of the functions that https://github.com/skeeto/hash-prospector found), and the i-th number is
u_i = (mix(mix(i) + 256 * key) >> 8) / 2^24, in 0..1 without 1. It is the same on every device and in every precision.
"""

from __future__ import annotations

import torch
from torch import Tensor

_WORD = 2**32 - 1


def _mix(x: Tensor) -> Tensor:
    # The factors are below 2^31, so no product of 32-bit numbers leaves int64.
    x = x ^ (x >> 16)
    x = (x * 0x21F0AAAD) & _WORD
    x = x ^ (x >> 15)
    x = (x * 0x735A2D97) & _WORD
    return x ^ (x >> 15)


def numbers(key: float | Tensor, index: Tensor) -> Tensor:
    """The random numbers at these positions, times 2^24: whole numbers, int64."""
    whole = key.to(device=index.device, dtype=torch.int64) if isinstance(key, Tensor) else int(key)
    return _mix((_mix(index & _WORD) + 256 * whole) & _WORD) >> 8


def uniform(key: float | Tensor, index: Tensor, dtype: torch.dtype) -> Tensor:
    """The random numbers at these positions; 24 bits, which float32 holds exactly."""
    return numbers(key, index).to(dtype) / 2**24


def bernoulli(p: float | Tensor, like: Tensor | None = None, *, key: float | Tensor, first: int | Tensor = 0) -> Tensor:
    """1 where the i-th random number is below p, else 0, over the pixels or gaussians of p or of ``like``.

    `[.., 1]`; i counts through them in order, from ``first``. No gradient.
    """
    of = p if isinstance(p, Tensor) and p.dim() > 0 else like
    assert of is not None, "the checker asks for `like` where p is a number"
    one = of[..., :1]
    index = torch.arange(one.numel(), device=of.device).reshape(one.shape) + first
    likely = p.detach() if isinstance(p, Tensor) else p
    return (uniform(key, index, of.dtype) < likely).to(of.dtype)


def random_box(
    pixels: Tensor, size: int | Tensor, index: int, count: int | Tensor = 1, *, key: float | Tensor
) -> Tensor:
    """The ``index``-th of ``count`` random squares: 1 inside, 0 outside, `[B, H, W, 1]`, the same in every image.

    Its first row is floor(u * (H - size + 1)) for the random number 2 * index, its first column the same of W for the
    one after it. Where the image is smaller than the square, the square has its whole side.
    """
    height, width = pixels.shape[1], pixels.shape[2]
    drawn = numbers(key, torch.arange(2 * index, 2 * index + 2, device=pixels.device))

    def span(at: int, length: int) -> Tensor:
        places = torch.arange(length, device=pixels.device)
        room = torch.as_tensor(length - size, device=pixels.device).to(torch.int64).clamp(min=0)
        start = (drawn[at] * (room + 1)) >> 24
        return (places >= start) & (places < start + size)

    inside = span(0, height)[:, None] & span(1, width)
    return inside.to(pixels.dtype)[..., None].expand(*pixels.shape[:3], 1)
