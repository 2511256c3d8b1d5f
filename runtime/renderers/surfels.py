"""2D gaussians (discs) in plain torch: projection, ray-disc intersection, and compositing tile by tile.

Formulas: Huang et al., 2D Gaussian Splatting for Geometrically Accurate Radiance Fields, SIGGRAPH 2024
(arXiv:2403.17888), equations 2 to 11; conventions (low-pass filter, limits, what depth means) are gsplat's 1.5.3.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .compositing import ALPHA_MAX, TRANSMITTANCE_MIN
from .gsplat_request import Request, torch_functions
from .tiles import ALPHA_MIN, TileGrid

_EXTENT = 3.33  # standard deviations inside the bounding box
_LEAST = 1e-4  # square of the least half size of a disc on the screen, pixels squared
_FILTER = 2.0  # 1 / variance of the low-pass filter: 1 / (sqrt(2) / 2)^2, in pixels
_MEDIAN = 0.5  # transmittance


class Discs(NamedTuple):
    """What one image sees of the discs in front of its camera."""

    rows: Tensor  # [M] int64, rows of the gaussians
    means2d: Tensor  # [M, 2], centre of the bounding box in pixels
    depths: Tensor  # [M], z of the centre
    transforms: Tensor  # [M, 3, 3], from (u, v, 1) on the disc to (x z, y z, z) on the screen
    normals: Tensor  # [M, 3], camera axes, towards the camera
    radii: Tensor  # [M, 2] int32, 0 where nothing is drawn


def project_discs(request: Request, image: int, radius_clip: float) -> Discs:
    """The discs of a scene in one of its images.

    A point of a disc is ``p + u s_u t_u + v s_v t_v``; with the camera's matrices this is linear in (u, v, 1), which
    gives the matrix ``transforms`` (equation 7). The bounding box is that of the ellipse at 3.33 standard deviations,
    by the quadric of Sigg et al. (2006), as the paper's.
    """
    scene, camera = divmod(image, request.cameras)
    view, K = request.viewmats[scene, camera], request.Ks[scene, camera]
    with torch.no_grad():
        z = request.means[scene] @ view[2, :3] + view[2, 3]
        rows = ((z > request.near) & (z < request.far)).nonzero().squeeze(-1)
    transforms, normals, centres = _transforms(request, scene, rows, view, K)
    with torch.no_grad():
        regular = (_apart(transforms) != 0) & transforms.isfinite().all(-1).all(-1)
    if not regular.all():
        rows = rows[regular]
        transforms, normals, centres = _transforms(request, scene, rows, view, K)
    u, v, w = transforms.unbind(1)
    signs = torch.tensor([1.0, 1.0, -1.0], dtype=w.dtype, device=w.device)
    f = signs / _apart(transforms)[:, None]
    means2d = torch.stack([(f * u * w).sum(-1), (f * v * w).sum(-1)], dim=-1)
    with torch.no_grad():
        squares = torch.stack([(f * u * u).sum(-1), (f * v * v).sum(-1)], dim=-1)
        radius = torch.ceil(_EXTENT * (means2d.square() - squares).clamp(min=_LEAST).sqrt())
        size = torch.tensor([request.width, request.height], dtype=radius.dtype, device=radius.device)
        inside = ((means2d + radius > 0) & (means2d - radius < size)).all(-1) & (radius > radius_clip).any(-1)
        radii = torch.where(inside[:, None], radius, torch.zeros_like(radius)).clamp(max=2**30).to(torch.int32)
    return Discs(rows, means2d, centres[:, 2], transforms, normals, radii)


def _transforms(request: Request, scene: int, rows: Tensor, view: Tensor, K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices `[M, 3, 3]`, normals `[M, 3]` and centres `[M, 3]` in camera axes."""
    means, quats, scales = (x[scene].index_select(0, rows) for x in (request.means, request.quats, request.scales))
    centres = means @ view[:3, :3].T + view[:3, 3]
    axes = view[:3, :3] @ torch_functions()._quat_to_rotmat(quats)
    tangents = axes[..., :2] * scales[:, None, :2]
    normals = axes[..., 2]
    away = ((normals * centres).sum(-1, keepdim=True) >= 0).to(normals.dtype)
    return K @ torch.cat([tangents, centres[..., None]], dim=-1), normals * (1.0 - 2.0 * away), centres


def _apart(transforms: Tensor) -> Tensor:
    """`[M]`, 0 where the camera's plane touches the disc's unit circle."""
    w = transforms[:, 2]
    return w[:, 0].square() + w[:, 1].square() - w[:, 2].square()


class Sums(NamedTuple):
    """What the discs of all images sum up to, each `[B * C, H, W, k]`."""

    features: Tensor
    alphas: Tensor
    normals: Tensor  # camera axes
    distortion: Tensor
    median: Tensor


def composite_discs(
    request: Request,
    means2d: Tensor,
    transforms: Tensor,
    opacities: Tensor,
    features: Tensor,
    normals: Tensor,
    radii: Tensor,
    depths: Tensor,
    image_ids: Tensor,
    tile_size: int,
) -> Sums:
    """Composite discs front to back.

    The weight of a disc in a pixel is ``alpha * T`` with ``alpha = min(0.999, opacity * exp(-g / 2))``, where g is the
    smaller of u² + v² at the ray's intersection with the disc and twice the squared distance in pixels from the
    projected centre (equation 11). Below 1/255 a disc is left out; a pixel ends before its transmittance T would fall
    to 1e-4. A disc is drawn in the tiles that its bounding box meets, so for discs much smaller than a pixel the
    picture depends on ``tile_size``, as in gsplat.

    Distortion is ``2 Σ_i w_i (m_i Σ_{j<i} w_j - Σ_{j<i} w_j m_j)`` and the median the m of the last disc before which T
    is above 1/2; m is the last feature, the z of a disc's centre if there is a depth.

    Args:
        request: says how large the images are.
        means2d: `[M, 2]`.
        transforms: `[M, 3, 3]`.
        opacities: `[M]`.
        features: `[M, F]`.
        normals: `[M, 3]`.
        radii: `[M, 2]`, > 0.
        depths: `[M]`, the drawing order.
        image_ids: `[M]` int64.
        tile_size: pixels.
    """
    grid = TileGrid(request.images, request.height, request.width, tile_size)
    with torch.no_grad():
        order = torch.argsort(depths, stable=True)
        low, high = (means2d - radii) / tile_size, (means2d + radii) / tile_size
        limit = torch.tensor([grid.columns, grid.rows], dtype=low.dtype, device=low.device)
        first, end = low.floor().clamp(min=0).minimum(limit)[order], high.ceil().clamp(min=0).minimum(limit)[order]
        images = image_ids[order]
    offset_x, offset_y = grid.pixel_offsets(means2d.dtype, means2d.device)
    tiles = torch.arange(grid.count, device=means2d.device)
    centre_x, centre_y = grid.centres(tiles, means2d.dtype)
    drawn = []
    for tile in range(grid.count):
        image, place = divmod(tile, grid.rows * grid.columns)
        y, x = divmod(place, grid.columns)
        with torch.no_grad():
            meets = (images == image) & (first[:, 0] <= x) & (x < end[:, 0]) & (first[:, 1] <= y) & (y < end[:, 1])
            ids = order[meets]
        centre = torch.stack([centre_x[tile], centre_y[tile]])
        # Everything relative to the tile's centre, where pixel coordinates are small and round little.
        local = transforms.index_select(0, ids)
        local = torch.cat([local[:, :2] - centre[None, :, None] * local[:, 2:], local[:, 2:]], dim=1)
        weight, passed = _weights(
            offset_x, offset_y, means2d.index_select(0, ids) - centre, local, opacities.index_select(0, ids)
        )
        drawn.append(_sums(weight, passed, features.index_select(0, ids), normals.index_select(0, ids)))
    f = features.shape[1]
    sums = grid.to_images(torch.stack(drawn))
    return Sums(sums[..., :f], *(sums[..., f + a : f + b] for a, b in ((0, 1), (1, 4), (4, 5), (5, 6))))


def _weights(x: Tensor, y: Tensor, means2d: Tensor, transforms: Tensor, opacities: Tensor) -> tuple[Tensor, Tensor]:
    """Weights `[P, K]` of K sorted discs in P pixels, and the transmittance before each.

    The planes x and y of a pixel's ray are, on the disc, ``x w - u`` and ``y w - v`` with the rows u, v, w of the
    matrix; their cross product ``u × v + x (v × w) + y (w × u)`` is the intersection in homogeneous coordinates
    (equations 8 to 10).
    """
    u, v, w = transforms.unbind(1)
    parts = torch.stack([torch.linalg.cross(u, v), torch.linalg.cross(v, w), torch.linalg.cross(w, u)])
    rays = torch.stack([torch.ones_like(x), x, y], dim=-1)
    hit_x, hit_y, hit_z = (rays @ parts[..., i] for i in range(3))
    near = _FILTER * ((means2d[:, 0] - x[:, None]).square() + (means2d[:, 1] - y[:, None]).square())
    with torch.no_grad():
        there = hit_z != 0
        on_disc = there & ((hit_x / hit_z).square() + (hit_y / hit_z).square() <= near)
    z = torch.where(on_disc, hit_z, 1.0)  # the branch that is not taken must not give NaN gradients
    far = torch.where(on_disc, hit_x / z, 0.0).square() + torch.where(on_disc, hit_y / z, 0.0).square()
    alpha = (opacities * torch.exp(-0.5 * torch.where(on_disc, far, near))).clamp(max=ALPHA_MAX)
    alpha = torch.where(there & (alpha >= ALPHA_MIN), alpha, 0.0)
    after = torch.cumprod(1.0 - alpha, dim=-1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=-1) if len(u) else after
    return alpha * before * (after.detach() > TRANSMITTANCE_MIN), before


def _sums(weight: Tensor, before: Tensor, features: Tensor, normals: Tensor) -> Tensor:
    """`[P, F + 6]`: features, alpha, normals, distortion and median of P pixels with weights `[P, K]`."""
    if not features.shape[0]:  # with a gradient of nothing, so that backward() works where nothing at all is drawn
        return weight.new_zeros(weight.shape[0], features.shape[1] + 6) + weight.sum()
    m = features[:, -1]
    moments = weight * m
    inner = m * (weight.cumsum(-1) - weight) - (moments.cumsum(-1) - moments)
    distortion = 2.0 * (weight * inner).sum(-1, keepdim=True)
    with torch.no_grad():
        counts = (weight > 0) & (before > _MEDIAN)
        last = (counts * torch.arange(1, len(m) + 1, device=m.device)).amax(-1, keepdim=True)
    median = torch.where(last > 0, m[(last - 1).clamp(min=0)], 0.0)
    return torch.cat([weight @ features, weight.sum(-1, keepdim=True), weight @ normals, distortion, median], dim=-1)
