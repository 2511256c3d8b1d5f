"""Alpha compositing of sorted gaussians over tiles, with an analytic backward pass.

Within a tile, the exponent of a gaussian is a quadratic polynomial of the pixel's offset from the tile's centre, so
one small matrix product gives the exponents of all pixels and gaussians at once. Its six coefficients are computed
here, and so are the gradients with respect to them; everything before is left to autograd.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .tiles import ALPHA_MIN, Intersections, TileGrid

# gsplat's limits: alpha never exceeds this, and a pixel is finished before its transmittance would fall to that.
ALPHA_MAX = 0.999
TRANSMITTANCE_MIN = 1e-4
# Elements of one pass: its buffers (0.5 MiB each in float32) stay in the caches of a core. Twice or half as many
# measure the same; with fewer, calling the operators costs more than what they compute.
_PASS_ELEMENTS = 1 << 17
# Exponent of the slots that fill up a tile's list: exp() of it is 0 in float32 and in float64.
_NOTHING = -1e4


@dataclass(frozen=True)
class _Pass:
    """Tiles with similar numbers of gaussians, composited together: n tiles with k slots each."""

    tiles: slice  # of _Slots.order
    slots: slice  # of the slots, n * k
    n: int
    k: int


@dataclass(frozen=True)
class _Slots:
    """The lists of all tiles, the fullest tile first, each filled up to the length that its pass has.

    Attributes:
        order: `[T]` int64, tiles that are not empty, by falling number of gaussians.
        tiles: `[S]` int64, tile of each slot.
        gaussians: `[S]` int64, gaussian of each slot; M, one past the last gaussian, in slots that fill up a list.
        passes: they cover all slots, so no intersection is left out.
    """

    order: Tensor
    tiles: Tensor
    gaussians: Tensor
    passes: list[_Pass]


def _slots(pairs: Intersections, pixels: int, gaussians: int) -> _Slots:
    """Split the tiles into passes of about `_PASS_ELEMENTS` exponents; ``gaussians`` is M."""
    device = pairs.gaussians.device
    counts = pairs.counts
    ordered = sorted((t for t, n in enumerate(counts) if n), key=lambda t: -counts[t])
    passes, lengths, at, slot = [], [], 0, 0
    while at < len(ordered):
        k = counts[ordered[at]]
        n = min(max(1, _PASS_ELEMENTS // (k * pixels)), len(ordered) - at)
        passes.append(_Pass(slice(at, at + n), slice(slot, slot + n * k), n, k))
        lengths += [k] * n
        at, slot = at + n, slot + n * k
    order = torch.tensor(ordered, dtype=torch.int64, device=device)
    length = torch.tensor(lengths, dtype=torch.int64, device=device)
    count = torch.tensor(counts, dtype=torch.int64, device=device)
    row = torch.repeat_interleave(length)
    rank = torch.arange(slot, device=device) - (length.cumsum(0) - length).index_select(0, row)
    pair = (count.cumsum(0) - count).index_select(0, order).index_select(0, row) + rank
    used = rank < count.index_select(0, order).index_select(0, row)
    listed = torch.cat([pairs.gaussians, pairs.gaussians.new_full((1,), gaussians)])
    ids = listed.index_select(0, torch.where(used, pair, len(pairs.gaussians)))
    return _Slots(order, order.index_select(0, row), ids, passes)


class _Workspace:
    """Buffers that all passes share, so that they are touched while still in cache."""

    def __init__(self, like: Tensor, slots: _Slots, pixels: int, buffers: int) -> None:
        largest = max((p.n * pixels * (p.k + 1) for p in slots.passes), default=0)
        self._buffers = [like.new_empty(largest) for _ in range(buffers)]

    def get(self, which: int, *shape: int) -> Tensor:
        """An uninitialised tensor of a shape, in buffer ``which``."""
        return self._buffers[which][: math.prod(shape)].view(shape)


def _weigh(p: _Pass, q: Tensor, basis: Tensor, clamp: bool, space: _Workspace) -> tuple[Tensor, Tensor, Tensor | None]:
    """Weights of a pass, the transmittance behind each gaussian, and 0 where alpha was clamped (None: nowhere), else 1.

    All are `[n, pixels, k]`. Where a pixel has ended the weight is 0 and the transmittance may be 0 too.
    """
    pixels = basis.shape[0]
    alpha, keep = space.get(0, p.n, pixels, p.k), space.get(2, p.n, pixels, p.k)
    exponents = q[p.slots].view(p.n, p.k, 6).transpose(1, 2)
    torch.bmm(basis.expand(p.n, pixels, 6), exponents, out=alpha)
    alpha.exp_()
    free = None
    if clamp:
        free = torch.le(alpha, ALPHA_MAX, out=torch.empty_like(alpha))
    # also without opacities that high: rounding must not bring 1 - alpha below 0
    alpha.clamp_max_(ALPHA_MAX)
    # threshold_ keeps what is above its bound; gsplat keeps what is at least 1/255
    torch.threshold_(alpha, math.nextafter(ALPHA_MIN, 0.0), 0.0)
    passed = space.get(1, p.n, pixels, p.k + 1)
    passed[..., 0] = 1.0
    behind = passed[..., 1:]
    torch.sub(1.0, alpha, out=behind)
    torch.cumprod(behind, dim=-1, out=behind)
    # a comparison into floats and a product are ten times faster than masked_fill_ here
    torch.gt(behind, TRANSMITTANCE_MIN, out=keep)
    return alpha.mul_(passed[..., :-1]).mul_(keep), behind, free


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means2d: Tensor,
        conics: Tensor,
        log_opacities: Tensor,
        features: Tensor,
        grid: TileGrid,
        pairs: Intersections,
    ) -> Tensor:
        ux, uy = grid.pixel_offsets(means2d.dtype, means2d.device)
        basis = torch.stack([torch.ones_like(ux), ux, uy, ux * ux, ux * uy, uy * uy], dim=-1)
        pixels, channels = basis.shape[0], features.shape[1]
        slots = _slots(pairs, pixels, means2d.shape[0])
        q = _coefficients(means2d, conics, log_opacities, grid, slots)
        values = _padded(features).index_select(0, slots.gaussians)
        clamp = bool(log_opacities.numel()) and log_opacities.max().item() > math.log(ALPHA_MAX)
        space = _Workspace(means2d, slots, pixels, 3)
        # The small matrix stands on the left of every product: MKL is several times slower the other way round.
        drawn = means2d.new_empty(slots.order.shape[0], channels, pixels)
        for p in slots.passes:
            weight, _, _ = _weigh(p, q, basis, clamp, space)
            of_pass = values[p.slots].view(p.n, p.k, channels).transpose(1, 2)
            torch.bmm(of_pass, weight.transpose(1, 2), out=drawn[p.tiles])
        ctx.save_for_backward(means2d, conics, basis, q, values, drawn)
        ctx.grid, ctx.slots, ctx.clamp = grid, slots, clamp
        out = means2d.new_zeros(grid.count, channels, pixels).index_copy_(0, slots.order, drawn)
        return grid.to_images(out.transpose(1, 2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        means2d, conics, basis, q, values, drawn = ctx.saved_tensors
        grid, slots = ctx.grid, ctx.slots
        pixels, channels = basis.shape[0], values.shape[1]
        v = grid.from_images(grad_out).index_select(0, slots.order)
        of_pixels = (drawn.transpose(1, 2) * v).sum(dim=-1).neg_()  # minus the sum of weight * g of each pixel
        space = _Workspace(means2d, slots, pixels, 4)
        grad_q, grad_values = torch.empty_like(q), torch.empty_like(values)
        for p in slots.passes:
            # Computed again, which costs less than keeping it: it would not stay in cache until now.
            weight, behind, free = _weigh(p, q, basis, ctx.clamp, space)
            v_pass = v[p.tiles]
            of_values = torch.bmm(v_pass.transpose(1, 2), weight)
            grad_values[p.slots].view(p.n, p.k, channels).copy_(of_values.transpose(1, 2))
            # With g the gradient of a weight and S the sum of weight * g behind this gaussian,
            # d/d(exponent) = weight * g - S * alpha / (1 - alpha) = weight * (g - S / transmittance behind it).
            g, sums = space.get(2, p.n, pixels, p.k), space.get(3, p.n, pixels, p.k + 1)
            torch.bmm(v_pass, values[p.slots].view(p.n, p.k, channels).transpose(1, 2), out=g)
            sums[..., 0] = of_pixels[p.tiles]
            torch.mul(weight, g, out=sums[..., 1:])
            torch.cumsum(sums, dim=-1, out=sums)  # now -S
            g.addcdiv_(sums[..., 1:], behind.clamp_min_(TRANSMITTANCE_MIN)).mul_(weight)
            if free is not None:
                g.mul_(free)
            of_q = torch.bmm(basis.t().expand(p.n, 6, pixels), g)
            grad_q[p.slots].view(p.n, p.k, 6).copy_(of_q.transpose(1, 2))
        return (*_scatter(means2d, conics, grad_q, grad_values, grid, slots), None, None)


def _padded(rows: Tensor) -> Tensor:
    """Rows of gaussians with a row of zeros after the last, for the slots that fill up a list."""
    return torch.cat([rows, rows.new_zeros(1, *rows.shape[1:])])


def _geometry(means2d: Tensor, conics: Tensor, grid: TileGrid, slots: _Slots) -> tuple[Tensor, ...]:
    """Per slot `[S]`: tile centre minus gaussian centre (x, y), then the conic (a, b, c)."""
    rows = _padded(torch.cat([means2d, conics], dim=-1)).t().contiguous().index_select(1, slots.gaussians)
    mx, my, a, b, c = rows.unbind(0)
    cx, cy = grid.centres(slots.tiles, means2d.dtype)
    return cx - mx, cy - my, a, b, c


def _coefficients(means2d: Tensor, conics: Tensor, log_opacities: Tensor, grid: TileGrid, slots: _Slots) -> Tensor:
    """`[S, 6]`, log(opacity) - sigma as a polynomial in (1, x, y, xx, xy, yy) of the offset from the tile's centre."""
    dx, dy, a, b, c = _geometry(means2d, conics, grid, slots)
    px, py = a * dx + b * dy, b * dx + c * dy
    logs = torch.cat([log_opacities, log_opacities.new_full((1,), _NOTHING)]).index_select(0, slots.gaussians)
    return torch.stack([logs - 0.5 * (px * dx + py * dy), -px, -py, -0.5 * a, -b, -0.5 * c], dim=-1)


def _scatter(
    means2d: Tensor, conics: Tensor, grad_q: Tensor, grad_values: Tensor, grid: TileGrid, slots: _Slots
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of the gaussians from those of their slots; the transpose of `_coefficients`."""
    dx, dy, a, b, c = _geometry(means2d, conics, grid, slots)
    q0, qx, qy, qxx, qxy, qyy = grad_q.unbind(-1)
    of_slots = torch.stack(
        [
            q0 * (a * dx + b * dy) + qx * a + qy * b,
            q0 * (b * dx + c * dy) + qx * b + qy * c,
            -(0.5 * q0 * dx + qx) * dx - 0.5 * qxx,
            -(q0 * dy + qy) * dx - qx * dy - qxy,
            -(0.5 * q0 * dy + qy) * dy - 0.5 * qyy,
            q0,
            *grad_values.unbind(-1),
        ],
        dim=-1,
    )
    # index_add_ adds in the order of the index on the CPU, so the sums are the same bits in every run
    sums = means2d.new_zeros(means2d.shape[0] + 1, of_slots.shape[1]).index_add_(0, slots.gaussians, of_slots)[:-1]
    return sums[:, :2], sums[:, 2:5], sums[:, 5], sums[:, 6:]


def composite(
    means2d: Tensor,
    conics: Tensor,
    log_opacities: Tensor,
    features: Tensor,
    grid: TileGrid,
    pairs: Intersections,
) -> Tensor:
    """Front-to-back compositing of features, as in gsplat's ``rasterize_to_pixels``.

    alpha = min(0.999, opacity * exp(-sigma)), left out below 1/255; a pixel ends before the gaussian that would bring
    its transmittance to 1e-4 or less (3D Gaussian Splatting, arXiv:2308.04079, equation 3).

    Args:
        means2d: `[M, 2]` in pixels.
        conics: `[M, 3]`, upper triangle of the inverse covariance in pixels, positive definite.
        log_opacities: `[M]`.
        features: `[M, F]`; a column of ones gives alpha.
        grid: the tiles of the images.
        pairs: from `tiles.intersect` for the same gaussians.

    Returns:
        `[B, H, W, F]`, sums of weight * feature; zero where nothing is drawn. Differentiable once in the first four
        arguments.
    """
    result: Tensor = _Composite.apply(means2d, conics, log_opacities, features, grid, pairs)  # type: ignore[no-untyped-call]
    return result
