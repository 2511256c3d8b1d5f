"""Depth maps `[B, H, W, 1]` against others of unknown scale, and the normals of their surfaces."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import vectors
from .chances import numbers
from .pointwise import is_true

CONSTANT = 16.0
"""Values whose deviation is below so many roundings of their size are taken as equal."""


class _Weighted:
    """Values of each image as rows `[B, n]`, their weights, and means under these."""

    def __init__(self, a: Tensor, b: Tensor, r: Tensor | None) -> None:
        shape = torch.broadcast_shapes(a.shape, b.shape)  # type: ignore[no-untyped-call]
        self.weights = torch.ones(1, dtype=a.dtype, device=a.device) if r is None else r
        self.weights = self.weights.expand(shape).flatten(1)
        inside = self.weights > 0
        zero = torch.zeros((), dtype=a.dtype, device=a.device)
        # Selecting first keeps what is outside away from values and gradients, even where it is not finite.
        self.a = torch.where(inside, a.expand(shape).flatten(1), zero)
        self.b = torch.where(inside, b.expand(shape).flatten(1), zero)
        total = self.weights.sum(1, keepdim=True)
        self.total = torch.where(total > 0, total, torch.ones_like(total))
        self.mean_a, self.mean_b = self.mean(self.a), self.mean(self.b)
        self.empty = total <= 0

    def mean(self, x: Tensor) -> Tensor:
        """`[B, 1]`"""
        return (x * self.weights).sum(1, keepdim=True) / self.total

    def varies(self, x: Tensor, variance: Tensor) -> Tensor:
        """Whether a variance is more than what rounding makes of equal values."""
        least = (CONSTANT * torch.finfo(x.dtype).eps) ** 2
        return ~(variance <= least * self.mean((x * x).detach()))


def pearson_loss(a: Tensor, b: Tensor, r: Tensor | None = None) -> Tensor:
    """1 - cov(a, b) / (std(a) * std(b)) of the values inside the region, averaged over the images.

    An image without variation has correlation 0, with zero gradient. Images with fewer than two pixels inside are
    left out; 0 with none left.
    """
    w = _Weighted(a, b, r)
    centred_a, centred_b = w.a - w.mean_a, w.b - w.mean_b
    variance_a, variance_b = w.mean(centred_a * centred_a), w.mean(centred_b * centred_b)
    defined = w.varies(w.a, variance_a) & w.varies(w.b, variance_b)
    one = torch.ones_like(variance_a)
    # One after the other: the product of two variances leaves the range of float32 before either does.
    scale_a = torch.where(defined, variance_a, one).rsqrt()
    scale_b = torch.where(defined, variance_b, one).rsqrt()
    rho = w.mean((centred_a * scale_a) * (centred_b * scale_b))
    loss = 1 - torch.where(defined, rho.clamp(-1, 1), torch.zeros_like(rho))
    if r is None:
        pixels = torch.full_like(loss, a.shape[1] * a.shape[2], dtype=torch.int64)
    else:
        pixels = (r > 0).any(-1).flatten(1).sum(1, keepdim=True).expand(loss.shape)
    counted = pixels >= 2
    return torch.where(counted, loss, torch.zeros_like(loss)).sum() / counted.sum().clamp(min=1)


def align(x: Tensor, r: Tensor | None = None, *, to: Tensor) -> Tensor:
    """scale * x + shift, with the numbers for each image that bring it closest to ``to`` inside the region.

    They minimise sum(r * (scale * x + shift - to)^2) and carry no gradient. Where x does not vary inside, the scale
    is 0 and the shift is the mean of ``to``; where nothing is inside, x is returned as it is.
    """
    w = _Weighted(x.detach(), to.detach(), r)
    centred = w.a - w.mean_a
    variance = w.mean(centred * centred)
    defined = w.varies(w.a, variance)
    slope = w.mean(centred * (w.b - w.mean_b)) / torch.where(defined, variance, torch.ones_like(variance))
    slope = torch.where(defined, slope, torch.zeros_like(slope))
    shift = w.mean_b - slope * w.mean_a
    slope = torch.where(w.empty, torch.ones_like(slope), slope)
    shift = torch.where(w.empty, torch.zeros_like(shift), shift)
    return x * slope[:, :, None, None] + shift[:, :, None, None]


def depth_rank(
    a: Tensor,
    b: Tensor,
    r: Tensor | None = None,
    *,
    margin: float | Tensor = 1e-4,
    pairs: int = 4096,
    key: float | Tensor,
) -> Tensor:
    """Mean of max(a_low - a_high + margin, 0) over random pairs of pixels, where b_low < b_high.

    Each image has ``pairs`` pairs. Pair i of image n is made of the pixels floor(u * H * W), row by row, for the
    random numbers 2 * (n * pairs + i) and the one after it. Pairs that are not both inside the region, and pairs
    with equal b, are left out; the others are weighted by the product of their regions.
    """
    batch, height, width = a.shape[0], a.shape[1], a.shape[2]
    index = torch.arange(batch * pairs * 2, device=a.device)
    pixels = ((numbers(key, index) * (height * width)) >> 24).reshape(batch, pairs * 2)

    def at(x: Tensor) -> tuple[Tensor, Tensor]:
        picked = x[..., 0].flatten(1).gather(1, pixels).reshape(batch, pairs, 2)
        return picked[..., 0], picked[..., 1]

    first, second = at(b.detach())
    first_a, second_a = at(a)
    weight = torch.ones_like(first)
    if r is not None:
        one, other = at(r.detach().expand(*a.shape[:3], r.shape[-1]))
        weight = one * other
    weight = torch.where(first != second, weight, torch.zeros_like(weight))
    counted = weight > 0
    rise = torch.where(first < second, first_a - second_a, second_a - first_a)
    rise = torch.where(first.isnan() | second.isnan(), torch.full_like(rise, torch.nan), rise)
    total = weight.sum()
    hinge = torch.where(counted, (rise + margin).relu(), torch.zeros_like(rise))
    return (hinge * weight).sum() / torch.where(total > 0, total, torch.ones_like(total))


def depth_normals(
    d: Tensor,
    *,
    valid: Tensor | None = None,
    frame: str = "camera",
    camera: tuple[Tensor, Tensor],
) -> Tensor:
    """Unit normals `[B, H, W, 3]` of the surface of a depth along z, towards the camera.

    Cross product of the central differences of the back-projected pixel centres (x + 0.5, y + 0.5). 0, with zero
    gradient, at the border, and where the pixel or one of its four neighbours has no depth (not finite, or not above
    0) or is not in ``valid``.
    """
    intrinsics, view = camera
    there = d.detach().isfinite() & (d.detach() > 0)
    if valid is not None:
        there = there & torch.as_tensor(is_true(valid), device=d.device)
    safe = torch.where(there, d, torch.ones_like(d))
    # A frame of pixels without depth around the image has the same effect as leaving out the border.
    there = F.pad(there, (0, 0, 1, 1, 1, 1))
    complete = (
        there[:, 1:-1, 1:-1] & (there[:, 1:-1, 2:] & there[:, 1:-1, :-2]) & (there[:, 2:, 1:-1] & there[:, :-2, 1:-1])
    )
    points = safe * _rays(d, intrinsics)
    around = F.pad(points, (0, 0, 1, 1, 1, 1))
    # Normals do not depend on the unit of length; in units of the depth the products keep in the range of float32.
    unit = safe.detach()
    along_x = (around[:, 1:-1, 2:] - around[:, 1:-1, :-2]) / unit
    along_y = (around[:, 2:, 1:-1] - around[:, :-2, 1:-1]) / unit
    nothing = torch.zeros((), dtype=d.dtype, device=d.device)
    normals = vectors.normalize(torch.where(complete, vectors.cross(along_x, along_y), nothing))
    away = vectors.dot(normals, points).detach() > 0
    normals = torch.where(away, -normals, normals)
    if frame == "world":
        # The transpose of world-to-camera: sums over its rows.
        rotation = view[:, None, None, :3, :3]
        normals = (normals[..., :, None] * rotation).sum(-2)
    return normals


def _rays(d: Tensor, intrinsics: Tensor) -> Tensor:
    """The points at depth 1 behind the pixel centres; `[B, H, W, 3]`."""
    v = torch.arange(d.shape[1], dtype=d.dtype, device=d.device)[:, None] + 0.5
    u = torch.arange(d.shape[2], dtype=d.dtype, device=d.device) + 0.5
    fx, skew, cx = (intrinsics[:, 0, i, None, None] for i in range(3))
    fy, cy = intrinsics[:, 1, 1, None, None], intrinsics[:, 1, 2, None, None]
    y = (v - cy) / fy
    x = (u - cx - skew * y) / fx
    y = y.expand_as(x)
    return torch.stack([x, y, torch.ones_like(x)], -1)
