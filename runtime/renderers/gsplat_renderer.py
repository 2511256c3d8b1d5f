"""The CUDA renderer: gsplat's rasterisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...dsl.manifest import RENDERERS
from ..payload import SplatRenderPayload
from ..poses import inverse_pose
from .base import (
    SplatRenderer,
    check_views,
    expected_depth,
    raw_parameters,
    renderer_error,
    resolve_sh_degree,
    wants_depth,
)


def _load_rasterization() -> Callable[..., Any]:
    try:
        from gsplat import rasterization
    except ImportError as error:
        raise renderer_error(
            f"renderer 'gsplat' needs the package gsplat, which cannot be imported: {error}",
            "install it: pip install 'splatdsl[train]'",
        ) from error
    return rasterization  # type: ignore[no-any-return]


class GsplatRenderer(SplatRenderer):
    """`gsplat.rasterization` with its defaults, not packed, so that buffers are `[B, N, ...]`.

    Args:
        absgrad: also collect absolute gradients of the projected centres in ``payload.means2d.absgrad`` (AbsGS,
            https://arxiv.org/abs/2404.10484), which gsplat's strategies read when told to.
        antialiased: scale opacities for the screen-space blur (Mip-Splatting, https://arxiv.org/abs/2311.16493).
    """

    name: ClassVar[str] = "gsplat"
    buffers: ClassVar[frozenset[str]] = RENDERERS["gsplat"]

    def __init__(self, absgrad: bool = False, antialiased: bool = False) -> None:
        self.absgrad = absgrad
        self.antialiased = antialiased
        self._rasterization = _load_rasterization()

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
        """See `SplatRenderer.render`. Gradients do not reach the camera intrinsics."""
        params = raw_parameters(splat_state)
        b, h, w = check_views(cam_to_worlds, Ks, width, height, backgrounds)
        with_depth = wants_depth(self, buffers, render_mode)
        degree = resolve_sh_degree(params, sh_degree)
        mode = "RGB"
        if with_depth:
            # One of the two depths comes from the kernel, the other from alpha; asking for the one that is read
            # keeps its rounding that of gsplat.
            mode = render_mode or ("RGB+D" if "depth" not in buffers else "RGB+ED")
        images, alphas, meta = self._rasterization(
            means=params["means"],
            quats=params["quats"],
            scales=torch.exp(params["scales"]),
            opacities=torch.sigmoid(params["opacities"]),
            colors=torch.cat([params["sh0"], params["shN"]], dim=1),
            viewmats=inverse_pose(cam_to_worlds),
            Ks=Ks,
            width=w,
            height=h,
            sh_degree=degree,
            packed=False,
            backgrounds=backgrounds,
            render_mode=mode,
            absgrad=self.absgrad,
            rasterize_mode="antialiased" if self.antialiased else "classic",
        )
        expected = accumulated = None
        if mode == "RGB+ED":
            images, expected = images.split([3, 1], dim=-1)
            accumulated = expected * alphas
        elif mode == "RGB+D":
            images, accumulated = images.split([3, 1], dim=-1)
            expected = expected_depth(accumulated, alphas)
        means2d = meta["means2d"]
        if means2d.requires_grad:
            means2d.retain_grad()
        return images, SplatRenderPayload(
            renders=images,
            alphas=alphas,
            radii=meta["radii"],
            depths=expected,
            n_cameras=b,
            n_batches=1,
            width=w,
            height=h,
            means2d=means2d,
            depths_expected=expected,
            depths_accumulated=accumulated,
        )
