"""Which gaussians touch which tile, in drawing order. No gradients pass through here."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# gsplat skips a gaussian in a pixel where its alpha is below this (ALPHA_THRESHOLD in gsplat's Common.h).
ALPHA_MIN = 1.0 / 255.0
# Added to the bound on the exponent, so that rounding never culls what the compositor would still draw.
_SLACK = 1e-3


@dataclass(frozen=True)
class TileGrid:
    """The tiles of B images: tile ``(b * rows + y) * columns + x`` covers ``size`` x ``size`` pixels of image b."""

    images: int
    height: int
    width: int
    size: int

    @property
    def rows(self) -> int:
        """Rows of tiles in an image; the last may reach over its edge."""
        return -(-self.height // self.size)

    @property
    def columns(self) -> int:
        """Columns of tiles in an image."""
        return -(-self.width // self.size)

    @property
    def count(self) -> int:
        """Tiles in all images."""
        return self.images * self.rows * self.columns

    def centres(self, tiles: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """x and y of the centres of tiles, in pixels, each with the shape of ``tiles``."""
        x = tiles % self.columns
        y = torch.div(tiles, self.columns, rounding_mode="floor") % self.rows
        return (x.to(dtype) + 0.5) * self.size, (y.to(dtype) + 0.5) * self.size

    def pixel_offsets(self, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        """x and y of pixel centres relative to their tile's centre, each `[size * size]`, row by row."""
        axis = torch.arange(self.size, dtype=dtype, device=device) + (0.5 - 0.5 * self.size)
        return axis.repeat(self.size), axis.repeat_interleave(self.size)

    def to_images(self, tiles: Tensor) -> Tensor:
        """`[count, size * size, F]` to `[B, H, W, F]`."""
        s, channels = self.size, tiles.shape[-1]
        grid = tiles.reshape(self.images, self.rows, self.columns, s, s, channels).permute(0, 1, 3, 2, 4, 5)
        return grid.reshape(self.images, self.rows * s, self.columns * s, channels)[:, : self.height, : self.width]

    def from_images(self, images: Tensor) -> Tensor:
        """`[B, H, W, F]` to `[count, size * size, F]`, zero outside the image."""
        s, channels = self.size, images.shape[-1]
        padded = images.new_zeros(self.images, self.rows * s, self.columns * s, channels)
        padded[:, : self.height, : self.width] = images
        grid = padded.view(self.images, self.rows, s, self.columns, s, channels).permute(0, 1, 3, 2, 4, 5)
        return grid.reshape(self.count, s * s, channels)


@dataclass(frozen=True)
class Intersections:
    """Pairs of a gaussian and a tile that it reaches, sorted by tile, then front to back.

    Attributes:
        gaussians: `[I]` int64, row of the gaussian.
        tiles: `[I]` int64, ascending.
        counts: pairs of each tile, as a list of `grid.count` numbers.
    """

    gaussians: Tensor
    tiles: Tensor
    counts: list[int]


def intersect(
    grid: TileGrid, image_ids: Tensor, means2d: Tensor, conics: Tensor, log_opacities: Tensor, depths: Tensor
) -> Intersections:
    """All pairs in which some pixel centre of the tile may see the gaussian with alpha >= 1/255.

    The test is exact for the ellipse on which alpha is 1/255: the largest alpha over the rectangle of the tile's
    pixel centres decides, not a bounding box (the idea is that of tile culling in StopThePop, arXiv:2402.00525).

    Args:
        grid: the tiles.
        image_ids: `[M]` int64, which image a gaussian is drawn into.
        means2d: `[M, 2]` in pixels.
        conics: `[M, 3]`, upper triangle (a, b, c) of the inverse covariance, positive definite.
        log_opacities: `[M]`, at least log(1/255).
        depths: `[M]`, the drawing order, nearest first; equal depths keep their order.
    """
    order = torch.argsort(depths, stable=True)
    mean_x, mean_y = means2d[order].unbind(-1)
    a, b, c = conics[order].unbind(-1)
    # alpha >= 1/255 where the quadratic form sigma is at most this
    limit = (log_opacities[order] - math.log(ALPHA_MIN)).clamp(min=0.0) + _SLACK
    scale = 2.0 * limit / (a * c - b * b)
    half_x, half_y = (scale * c).sqrt(), (scale * a).sqrt()
    left, right = _span(mean_x, half_x, grid.width, grid.size)
    top, bottom = _span(mean_y, half_y, grid.height, grid.size)
    across = (right - left + 1).clamp(min=0)
    boxes = across * (bottom - top + 1).clamp(min=0)

    pair = torch.repeat_interleave(boxes)
    corner = torch.stack([left, top, across, boxes.cumsum(0) - boxes]).index_select(1, pair)
    within = torch.arange(pair.shape[0], device=pair.device) - corner[3]
    down = torch.div(within, corner[2], rounding_mode="floor")
    tile_x = corner[0] + (within - down * corner[2])
    tile_y = corner[1] + down

    shape = torch.stack([mean_x, mean_y, a, b, c, b / c, b / a, limit]).index_select(1, pair)
    mean_x, mean_y, a, b, c, b_over_c, b_over_a, limit = shape.unbind(0)
    first_x = tile_x.to(a.dtype) * grid.size + 0.5 - mean_x
    first_y = tile_y.to(a.dtype) * grid.size + 0.5 - mean_y
    last_x, last_y = first_x + (grid.size - 1), first_y + (grid.size - 1)
    # The smallest sigma over a rectangle lies at the mean when that is inside, else on one of the two edges that
    # face the mean; on each edge sigma is a parabola, clamped to the edge.
    edge_x, edge_y = _nearest_to_zero(first_x, last_x), _nearest_to_zero(first_y, last_y)
    best_y = torch.minimum(torch.maximum(-b_over_c * edge_x, first_y), last_y)
    best_x = torch.minimum(torch.maximum(-b_over_a * edge_y, first_x), last_x)
    sigma = torch.minimum(_quadratic(a, b, c, edge_x, best_y), _quadratic(a, b, c, best_x, edge_y))

    reached = (sigma <= limit).nonzero().squeeze(-1)
    pair = pair[reached]
    gaussians = order[pair]
    tiles = (image_ids[gaussians] * grid.rows + tile_y[reached]) * grid.columns + tile_x[reached]
    tiles, by_tile = torch.sort(tiles, stable=True)
    counts = torch.bincount(tiles, minlength=grid.count).tolist()
    return Intersections(gaussians[by_tile], tiles, counts)


def _span(mean: Tensor, half: Tensor, length: int, size: int) -> tuple[Tensor, Tensor]:
    """First and last tile along one axis with a pixel centre in mean ± half; last < first when there is none."""
    first = torch.ceil(mean - half - 0.5).clamp(0, length)
    last = torch.floor(mean + half - 0.5).clamp(-1, length - 1)
    empty = last < first
    first = torch.div(first.to(torch.int64), size, rounding_mode="floor")
    last = torch.div(last.to(torch.int64), size, rounding_mode="floor")
    return first, torch.where(empty, first - 1, last)


def _nearest_to_zero(first: Tensor, last: Tensor) -> Tensor:
    """The point of [first, last] that is nearest to 0."""
    return torch.maximum(first, last.clamp(max=0.0))


def _quadratic(a: Tensor, b: Tensor, c: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return 0.5 * (a * x * x + c * y * y) + b * x * y
