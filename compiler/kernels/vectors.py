"""Vectors and quaternions wxyz: functions of the last dimension."""

from __future__ import annotations

import torch
from torch import Tensor


def _squares(x: Tensor) -> Tensor:
    return (x * x).sum(dim=-1, keepdim=True)


def _least(x: Tensor, power: float) -> float:
    """From where on a number to the minus ``power`` is in the range of its type."""
    return float(torch.finfo(x.dtype).tiny ** (1 / power))


def norm(x: Tensor, eps: float | Tensor = 0.0) -> Tensor:
    """sqrt(sum(x^2) + eps^2), keeping a trailing 1; gradient 0 at 0."""
    squares = _squares(x) + eps * eps
    positive = squares > 0
    root = torch.where(positive, squares, torch.ones_like(squares)).sqrt()
    return torch.where(positive, root, torch.zeros_like(root))


def normalize(x: Tensor) -> Tensor:
    """x over its length; 0, with zero gradient, for 0, which in float32 is what is shorter than 2.3e-13."""
    squares = _squares(x)
    positive = ~(squares <= _least(x, 1.5))  # the slope of rsqrt; NaN stays NaN
    inverse = torch.where(positive, squares, torch.ones_like(squares)).rsqrt()
    return x * torch.where(positive, inverse, torch.zeros_like(inverse))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of products of components, keeping a trailing 1."""
    return (a * b).sum(dim=-1, keepdim=True)


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Cross product of vectors with three components."""
    (ax, ay, az), (bx, by, bz) = a.unbind(-1), b.unbind(-1)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -1)


def softmax(x: Tensor) -> Tensor:
    """exp of each component over the sum of all."""
    return x.softmax(dim=-1)


def quat_mul(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product."""
    (aw, ax, ay, az), (bw, bx, by, bz) = a.unbind(-1), b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def quat_inverse(q: Tensor) -> Tensor:
    """Conjugate over squared length; 0 for 0, which in float32 is what is shorter than 3.3e-10."""
    squares = _squares(q)
    positive = ~(squares <= _least(q, 2))  # the slope of 1 / x; NaN stays NaN
    conjugate = torch.cat([q[..., :1], -q[..., 1:]], -1)
    inverse = 1 / torch.where(positive, squares, torch.ones_like(squares))
    return conjugate * torch.where(positive, inverse, torch.zeros_like(inverse))


def quat_rotate(q: Tensor, v: Tensor) -> Tensor:
    """The vectors turned by the quaternions, which are normalised first; not turned by 0.

    One of the two can have a dimension more, as `[N, K, 3]` has for `[N, 4]`: the other is the same all along it.
    """
    missing = v.dim() - q.dim()
    unit = normalize(q[(..., *(None,) * missing, slice(None))])
    v = v[(..., *(None,) * -missing, slice(None))]
    w, axis = unit[..., :1], unit[..., 1:]
    twice = 2 * cross(axis, v)
    return v + w * twice + cross(axis, twice)


def identity_like(x: Tensor, rows: int = 3) -> Tensor:
    """The entries of the identity matrix of so many rows, row after row, for each `[.., rows * columns]` of ``x``."""
    entries = torch.eye(rows, x.shape[-1] // rows, dtype=x.dtype, device=x.device)
    return entries.reshape(-1).expand(x.shape)
