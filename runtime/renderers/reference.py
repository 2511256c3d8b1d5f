"""The reference renderer: gsplat's picture in plain torch, for machines without CUDA. Small scenes only."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...dsl.manifest import RENDERERS
from ..payload import SplatRenderPayload
from .base import SplatRenderer, check_views, expected_depth, raw_parameters, resolve_sh_degree, wants_depth
from .compositing import composite
from .projection import project
from .tiles import TileGrid, intersect

_log = logging.getLogger(__name__)

# Beyond these a step takes seconds on a CPU; the renderer still draws, after one warning.
MANY_GAUSSIANS = 50_000
LARGE_IMAGE = 512


class ReferenceRenderer(SplatRenderer):
    """Draws what `gsplat.rasterization` draws (pinhole cameras, its defaults), on the CPU, for small scenes only.

    It is meant for tests, for trying out losses, and for scenes of some ten thousand gaussians at a few hundred
    pixels; above 50,000 gaussians or 512 pixels it logs a warning once. Time grows with the number of (pixel,
    gaussian) pairs that share a tile, memory with the number of (tile, gaussian) pairs, since the backward pass
    computes the alphas again. Lists of gaussians have no upper length: none is dropped from a pixel in which gsplat
    would draw it.

    It runs in float32 or float64, is differentiable once in all parameters and in camera poses, and gives the same
    bits for the same inputs and number of threads on a CPU.

    Args:
        tile_size: edge of a tile in pixels. It changes the picture by rounding only; 8 measures best at 160 x 118.
    """

    name: ClassVar[str] = "reference"
    buffers: ClassVar[frozenset[str]] = RENDERERS["reference"]

    def __init__(self, tile_size: int = 8) -> None:
        self.tile_size = tile_size
        self._warned = False

    def render(
        self,
        splat_state: Any,
        cam_to_worlds: Tensor,
        Ks: Tensor,
        width: int,
        height: int,
        sh_degree: int | None = None,
        backgrounds: Tensor | None = None,
        buffers: frozenset[str] = frozenset({"rendered", "alpha"}),
        render_mode: str | None = None,
    ) -> tuple[Tensor, SplatRenderPayload]:
        """See `SplatRenderer.render`."""
        params = raw_parameters(splat_state)
        b, h, w = check_views(cam_to_worlds, Ks, width, height, backgrounds)
        with_depth = wants_depth(self, buffers, render_mode)
        degree = resolve_sh_degree(params, sh_degree)
        self._warn_if_large(params["means"].shape[0], h, w)

        screen = project(params, cam_to_worlds, Ks, w, h, degree)
        if screen.means2d.requires_grad:
            screen.means2d.retain_grad()
        grid = TileGrid(images=b, height=h, width=w, size=self.tile_size)
        n = params["means"].shape[0]
        means2d = screen.means2d.flatten(0, 1).index_select(0, screen.image_ids * n + screen.gaussian_ids)
        with torch.no_grad():
            pairs = intersect(grid, screen.image_ids, means2d, screen.conics, screen.log_opacities, screen.depths)
        channels = [screen.colors, torch.ones_like(screen.depths)[:, None]]
        if with_depth:
            channels.append(screen.depths[:, None])
        sums = composite(means2d, screen.conics, screen.log_opacities, torch.cat(channels, dim=-1), grid, pairs)

        images, alphas = sums[..., :3], sums[..., 3:4]
        if backgrounds is not None:
            images = images + (1.0 - alphas) * backgrounds[:, None, None, :]
        accumulated = sums[..., 4:5] if with_depth else None
        expected = expected_depth(accumulated, alphas) if accumulated is not None else None
        return images, SplatRenderPayload(
            renders=images,
            alphas=alphas,
            radii=screen.radii,
            depths=expected,
            n_cameras=b,
            n_batches=1,
            width=w,
            height=h,
            means2d=screen.means2d,
            depths_expected=expected,
            depths_accumulated=accumulated,
        )

    def _warn_if_large(self, gaussians: int, height: int, width: int) -> None:
        if self._warned or (gaussians <= MANY_GAUSSIANS and max(height, width) <= LARGE_IMAGE):
            return
        self._warned = True
        _log.warning(
            "the reference renderer draws %d gaussians at %d x %d pixels on the CPU; it is made for small scenes "
            "(up to %d gaussians and %d pixels), use gsplat on a CUDA device for this one",
            gaussians,
            width,
            height,
            MANY_GAUSSIANS,
            LARGE_IMAGE,
        )
