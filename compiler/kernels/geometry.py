"""Values at other places than where they were made: projected points, samples of images, rows of other gaussians."""

from __future__ import annotations

import torch
from torch import Tensor

from . import vectors

NEAREST = 1e-6
"""Depth from which a point is in front of a camera."""


def project(x: Tensor, camera: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Pixels `[B, .., 2]` and depth along z `[B, .., 1]` of points in the world, in each camera of the batch.

    ``x`` is `[M, 3]`, points for all cameras, or `[B, .., 3]`, points for each. A point that is not in front of the
    camera is at the pixel (-1, -1), outside the image, with zero gradient; its depth is what it is.
    """
    intrinsics, view = camera
    if x.dim() == 2:
        x = x.unsqueeze(0)
    lengths = (view.shape[0], *(1,) * (x.dim() - 2))
    seen = _turned(x, view[:, :3, :3].reshape(*lengths, 3, 3)) + view[:, :3, 3].reshape(*lengths, 3)
    depth = seen[..., 2:]
    front = depth > NEAREST
    on_plane = seen / torch.where(front, depth, torch.ones_like(depth))
    # The third component of a point over its depth is 1.
    flat = _turned(on_plane, intrinsics[:, :2].reshape(*lengths, 2, 3))
    return torch.where(front, flat, torch.full_like(flat, -1.0)), depth


def _turned(x: Tensor, matrix: Tensor) -> Tensor:
    """matrix @ x; as sums of products, which stay in full precision on every device."""
    return (matrix * x.unsqueeze(-2)).sum(-1)


def _points(pixels: Tensor) -> Tensor:
    """Points of one image or of each as `[B, P, 2]`."""
    return pixels.unsqueeze(0) if pixels.dim() == 2 else pixels.flatten(1, -2)


def _within(x: Tensor, pixels: Tensor) -> Tensor:
    across, down = pixels[..., :1], pixels[..., 1:]
    return (across >= 0) & (across <= x.shape[2]) & (down >= 0) & (down <= x.shape[1])


def inside_at(x: Tensor, pixels: Tensor) -> Tensor:
    """1 for the points `[.., 2]` that are on the image `[B, H, W, k]`, 0 <= x <= W and 0 <= y <= H, else 0; `[.., 1]`.

    Points that are NaN are not.
    """
    return _within(x, pixels.detach()).to(x.dtype)


def sample_at(x: Tensor, pixels: Tensor) -> Tensor:
    """Values of an image at points in pixels (x, y), centres at integers + 0.5, between the four nearest centres.

    Points `[B, .., 2]` are of the images in their order; points `[M, 2]` are of the first image, the only one. Between
    the outermost centres and the edge the outermost pixels go on. Points outside the image have 0, with zero gradient.
    """
    points = _points(pixels)
    height, width, components = x.shape[1], x.shape[2], x.shape[3]
    image = x[: points.shape[0]] if pixels.dim() == 2 else x
    flat = image.flatten(1, 2)
    inside = _within(x, points)
    place = torch.where(inside, points, torch.full_like(points, 0.5)) - 0.5
    corner = place.detach().floor()
    part = place - corner
    result = torch.zeros(1, dtype=x.dtype, device=x.device)
    for down in (0, 1):
        row = (corner[..., 1] + down).clamp(0, height - 1).to(torch.int64)
        share_y = part[..., 1:] if down else 1 - part[..., 1:]
        for right in (0, 1):
            column = (corner[..., 0] + right).clamp(0, width - 1).to(torch.int64)
            share = share_y * (part[..., :1] if right else 1 - part[..., :1])
            index = (row * width + column).unsqueeze(-1).expand(-1, -1, components)
            value = flat.gather(1, index)
            # A neighbour with no share does not matter, even where it is a hole in the data.
            value = torch.where((share > 0) | value.isfinite(), value, torch.zeros_like(value))
            result = result + value * share
    result = torch.where(inside, result, torch.zeros_like(result))
    return result.reshape(*pixels.shape[:-1], components)


def gather(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x `[N, k]` by an index `[N, K]`: `[N, K, k]`."""
    return x.index_select(0, index.reshape(-1)).reshape(*index.shape, x.shape[-1])


def gaussian_normals(quats: Tensor, scales: Tensor) -> Tensor:
    """The shortest axis of each gaussian in the world, `[N, 3]`: a column of its rotation; the first of equal ones.

    The quaternions are normalised here; no gradient goes to the scales.
    """
    shortest = scales.detach().argmin(-1, keepdim=True)
    axis = (torch.arange(3, device=scales.device) == shortest).to(quats.dtype)
    return vectors.quat_rotate(quats, axis)
