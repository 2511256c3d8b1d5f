"""Gaussians to screen space: centres, inverse covariances, depths and colours, with gsplat's torch functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import renderer_error
from .tiles import ALPHA_MIN

NEAR_PLANE = 0.01
FAR_PLANE = 1e10
# Blur added to the diagonal of the projected covariance, in pixels squared (gsplat's eps2d).
BLUR = 0.3
# gsplat bounds a gaussian at this many standard deviations: where exp(-x * x / 2) is just below 1/255.
_EXTENT = 3.33


@dataclass(frozen=True)
class ScreenGaussians:
    """What B cameras see of N gaussians, in screen space.

    Attributes:
        means2d: `[B, N, 2]`, centres in pixels, 0 for gaussians that are not in front of the camera.
        radii: `[B, N, 2]` int32, half sizes of the bounding box in pixels; 0 where a gaussian is not drawn.
        image_ids: `[M]` int64, camera of each of the M drawn pairs.
        gaussian_ids: `[M]` int64, gaussian of each pair.
        conics: `[M, 3]`, upper triangle of the inverse of the projected covariance.
        depths: `[M]`, z in camera coordinates.
        colors: `[M, 3]`, at least 0.
        log_opacities: `[M]`.
    """

    means2d: Tensor
    radii: Tensor
    image_ids: Tensor
    gaussian_ids: Tensor
    conics: Tensor
    depths: Tensor
    colors: Tensor
    log_opacities: Tensor


def project(
    params: Mapping[str, Tensor], cam_to_worlds: Tensor, Ks: Tensor, width: int, height: int, sh_degree: int
) -> ScreenGaussians:
    """Project raw gaussian parameters into B pinhole cameras (EWA splatting, as gsplat's `rasterization` does it).

    Gaussians outside 0.01 <= z <= 1e10, with opacity below 1/255, or so large that their projection overflows, are left
    out before anything is differentiated, so they cannot give NaN gradients.

    Args:
        params: raw parameters by name, see `base.raw_parameters`.
        cam_to_worlds: `[B, 4, 4]`, OpenCV axes.
        Ks: `[B, 3, 3]` in pixels.
        width: pixels.
        height: pixels.
        sh_degree: highest band to evaluate.

    Raises:
        LossError: gsplat, whose functions are used, cannot be imported (RUN010).
    """
    try:
        from gsplat.cuda._torch_impl import (
            _fully_fused_projection,
            _quat_scale_to_covar_preci,
            _spherical_harmonics,
        )
    except ImportError as error:
        raise renderer_error(
            f"renderer 'reference' needs the package gsplat, which cannot be imported: {error}",
            "install it: pip install 'splatdsl[train]'",
        ) from error

    def screen_of(ids: Tensor, viewmat: Tensor, K: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        centres, quats, scales = (params[name].index_select(0, ids) for name in ("means", "quats", "scales"))
        covariances, _ = _quat_scale_to_covar_preci(quats, torch.exp(scales), compute_preci=False)
        _, screen, depths, conics, _ = _fully_fused_projection(
            centres, covariances, viewmat[None], K[None], width, height, eps2d=BLUR, near_plane=0.0
        )
        return centres, screen[0], depths[0], conics[0]

    n, bands = params["means"].shape[0], (sh_degree + 1) ** 2
    viewmats = torch.linalg.inv(cam_to_worlds)
    log_opacities = F.logsigmoid(params["opacities"])
    means2d, radii = [], []
    parts: list[tuple[Tensor, ...]] = []
    for image, (viewmat, K) in enumerate(zip(viewmats, Ks)):
        with torch.no_grad():
            z = params["means"] @ viewmat[2, :3] + viewmat[2, 3]
            opaque = log_opacities >= math.log(ALPHA_MIN)
            front = ((z >= NEAR_PLANE) & (z <= FAR_PLANE) & opaque).nonzero().squeeze(-1)
        centres, screen, depths, conics = screen_of(front, viewmat, K)
        regular = _determinant(conics.detach()) > 0.0
        if not regular.all():
            # overflow or NaN: zero times infinity in the backward pass would spoil the gradients of all others
            front = front[regular]
            centres, screen, depths, conics = screen_of(front, viewmat, K)
        with torch.no_grad():
            box = _bounding_box(screen, conics, log_opacities[front], width, height)
            drawn = (box > 0).all(dim=-1).nonzero().squeeze(-1)
            radii.append(box.new_zeros(n, 2).index_copy_(0, front[drawn], box[drawn]))
        ids = front[drawn]
        means2d.append(screen.new_zeros(n, 2).index_copy(0, front, screen))
        # also with no band above the first, so that shN gets a gradient of zeros, as it does from gsplat
        coefficients = torch.cat([params["sh0"], params["shN"][:, : bands - 1]], dim=1).index_select(0, ids)
        directions = centres.index_select(0, drawn) - cam_to_worlds[image, :3, 3]
        colors = (_spherical_harmonics(sh_degree, directions, coefficients) + 0.5).clamp_min(0.0)
        conics, depths = conics.index_select(0, drawn), depths.index_select(0, drawn)
        parts.append((torch.full_like(ids, image), ids, conics, depths, colors, log_opacities.index_select(0, ids)))
    return ScreenGaussians(torch.stack(means2d), torch.stack(radii), *(torch.cat(list(p)) for p in zip(*parts)))


def _bounding_box(means2d: Tensor, conics: Tensor, log_opacities: Tensor, width: int, height: int) -> Tensor:
    """`[M, 2]` int32, half sizes of the box in which alpha can reach 1/255; 0 where it misses the image.

    The extent narrows with the opacity, as in gsplat's CUDA kernel (StopThePop, arXiv:2402.00525, section B.2).
    """
    a, c = conics[:, 0], conics[:, 2]
    determinant = _determinant(conics)
    extent = (2.0 * (log_opacities - math.log(ALPHA_MIN)).clamp(min=0.0)).sqrt().clamp(max=_EXTENT)
    radius = torch.ceil(extent[:, None] * (torch.stack([c, a], dim=-1) / determinant[:, None]).sqrt())
    size = torch.tensor([width, height], dtype=means2d.dtype, device=means2d.device)
    inside = ((means2d + radius > 0) & (means2d - radius < size)).all(dim=-1)
    return torch.where(inside[:, None], radius, torch.zeros_like(radius)).to(torch.int32)


def _determinant(conics: Tensor) -> Tensor:
    """`[M]`; positive where the projected covariance could be inverted."""
    a, b, c = conics.unbind(-1)
    return a * c - b * b
