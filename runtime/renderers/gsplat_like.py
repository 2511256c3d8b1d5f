"""`gsplat.rasterization` in plain torch: same arguments, same results, for machines without CUDA. Small scenes only.

A training loop that is written against gsplat runs on a CPU with the functions of this module in place of gsplat's,
and unchanged with gsplat's on CUDA; `functions` chooses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..extras import require
from .compositing import composite
from .gsplat_like_2dgs import rasterization_2dgs
from .gsplat_request import Request, finish, make_request, refuse_options, torch_functions
from .projection import _bounding_box, _determinant
from .tiles import ALPHA_MIN, TileGrid, intersect

__all__ = ["functions", "rasterization", "rasterization_2dgs"]

_TILE = 8  # of the compositor here; the picture does not depend on it


def functions(device: torch.device | str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``rasterization`` and ``rasterization_2dgs``: gsplat's own for a CUDA device, those in torch elsewhere.

    Raises:
        LossError: DAT001, gsplat is not installed.
    """
    if torch.device(device).type == "cuda":
        gsplat = require("gsplat")
        return gsplat.rasterization, gsplat.rasterization_2dgs
    return rasterization, rasterization_2dgs


def rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    packed: bool = True,
    tile_size: int = 16,
    backgrounds: Tensor | None = None,
    render_mode: Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"] = "RGB",
    sparse_grad: bool = False,
    absgrad: bool = False,
    rasterize_mode: Literal["classic", "antialiased"] = "classic",
    channel_chunk: int = 32,
    **options: Any,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Draw 3D gaussians as `gsplat.rasterization` 1.5.3 does, pinhole cameras alone.

    Args:
        means: `[..., N, 3]`, scene units. ``...`` are batch dimensions, the same for all inputs, or none.
        quats: `[..., N, 4]`, w, x, y, z.
        scales: `[..., N, 3]`, standard deviations (not their logarithms).
        opacities: `[..., N]`, 0..1.
        colors: `[..., N, D]` or `[..., C, N, D]`; with ``sh_degree`` coefficients `[..., N, K, 3]` or
            `[..., C, N, K, 3]`.
        viewmats: `[..., C, 4, 4]`, world to camera.
        Ks: `[..., C, 3, 3]`, pixels.
        width, height: pixels.
        near_plane, far_plane: gaussians whose centre lies outside are not drawn.
        radius_clip: gaussians whose radii are at most this, in pixels, are not drawn.
        eps2d: blur added to the projected covariance, pixels squared.
        sh_degree: highest band of spherical harmonics; None: ``colors`` are colours.
        packed: whether metadata holds only what is drawn, `[nnz, ...]`, instead of `[..., C, N, ...]`.
        tile_size: noted in the metadata; the picture does not depend on it.
        backgrounds: `[..., C, D]`.
        render_mode: what the channels of the render are; depth is the last one.
        sparse_grad, absgrad: only False.
        rasterize_mode: "antialiased" scales opacities for the blur (Mip-Splatting, arXiv:2311.16493).
        channel_chunk: without meaning here.
        **options: gsplat's further options, refused unless they are off.

    Returns:
        The render `[..., C, H, W, X]`, alphas `[..., C, H, W, 1]`, and the metadata that strategies and losses read:
        ``means2d`` (part of the graph, in pixels), ``radii``, ``depths``, ``conics``, ``opacities``, ``batch_ids``,
        ``camera_ids``, ``gaussian_ids`` (None unless packed), ``width``, ``height``, ``n_cameras``, ``n_batches`` and
        the size of the tiles. Lists of intersections are left out.

    Raises:
        LossError: RUN020, shapes do not fit, or an option is on that only CUDA has.
    """
    refuse_options("rasterization", {"sparse_grad": sparse_grad, "absgrad": absgrad, **options})
    if rasterize_mode not in ("classic", "antialiased"):
        refuse_options("rasterization", {"rasterize_mode": rasterize_mode})
    request = make_request(
        means, quats, scales, opacities, colors, viewmats, Ks, backgrounds, width, height, near_plane, far_plane,
        sh_degree, render_mode,
    )  # fmt: skip
    antialiased = rasterize_mode == "antialiased"
    shots = [_shot(request, image, eps2d, radius_clip, antialiased) for image in range(request.images)]
    meta, means2d = _metadata(request, shots, packed)

    conics = torch.cat([s.conics[s.drawn] for s in shots])
    depths = torch.cat([s.depths[s.drawn] for s in shots])
    log_opacities = torch.cat([s.opacities[s.drawn] for s in shots]).log()
    image_ids = torch.cat([torch.full_like(s.drawn, image) for image, s in enumerate(shots)])
    drawn = (
        [request.colors_of(image, s.rows[s.drawn]) for image, s in enumerate(shots)] if "RGB" in request.mode else []
    )
    features = [*([torch.cat(drawn)] if drawn else []), *([depths[:, None]] if request.with_depth else [])]
    grid = TileGrid(request.images, request.height, request.width, _TILE)
    with torch.no_grad():
        pairs = intersect(grid, image_ids, means2d, conics, log_opacities, depths)
    columns = torch.cat([*features, torch.ones_like(depths)[:, None]], dim=-1)
    sums = composite(means2d, conics, log_opacities, columns, grid, pairs)
    alphas = sums[..., -1:]
    meta.update(request.tiles(tile_size), n_batches=request.means.shape[0])
    return finish(request, sums[..., :-1], alphas), request.unflatten(alphas), meta


class _Shot(NamedTuple):
    """What one image sees: M gaussians in front of its camera, of which ``drawn`` reach a pixel."""

    rows: Tensor  # [M] int64, rows of the gaussians
    means2d: Tensor  # [M, 2]
    conics: Tensor  # [M, 3]
    depths: Tensor  # [M]
    opacities: Tensor  # [M]
    radii: Tensor  # [M, 2] int32
    drawn: Tensor  # [K] int64, places in the above


def _shot(request: Request, image: int, eps2d: float, radius_clip: float, antialiased: bool) -> _Shot:
    scene, camera = divmod(image, request.cameras)
    means, viewmat, K = request.means[scene], request.viewmats[scene, camera], request.Ks[scene, camera]
    with torch.no_grad():
        z = means @ viewmat[2, :3] + viewmat[2, 3]
        front = (z >= request.near) & (z <= request.far) & (request.opacities[scene] >= ALPHA_MIN)
        rows = front.nonzero().squeeze(-1)
    found = _project(request, scene, rows, viewmat, K, eps2d, antialiased)
    regular = _determinant(found[1].detach()) > 0.0
    if not regular.all():  # overflow or NaN, which would spoil the gradients of all others
        rows = rows[regular]
        found = _project(request, scene, rows, viewmat, K, eps2d, antialiased)
    means2d, conics, depths, opacities = found
    with torch.no_grad():
        visible = opacities >= ALPHA_MIN
        radii = _bounding_box(means2d, conics, opacities.clamp(min=ALPHA_MIN).log(), request.width, request.height)
        large = (radii > 0).all(-1) & (radii > math.floor(max(radius_clip, 0.0))).any(-1)
        radii = torch.where((visible & large)[:, None], radii, torch.zeros_like(radii))
        drawn = (radii > 0).all(-1).nonzero().squeeze(-1)
    return _Shot(rows, means2d, conics, depths, opacities, radii, drawn)


def _project(
    request: Request, scene: int, rows: Tensor, viewmat: Tensor, K: Tensor, eps2d: float, antialiased: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centres `[M, 2]`, conics `[M, 3]`, depths `[M]` and opacities `[M]` of some gaussians in an image."""
    gsplat = torch_functions()
    means, quats, scales, opacities = (
        x[scene].index_select(0, rows) for x in (request.means, request.quats, request.scales, request.opacities)
    )
    covariances, _ = gsplat._quat_scale_to_covar_preci(quats, scales, compute_preci=False)
    _, means2d, depths, conics, compensations = gsplat._fully_fused_projection(
        means,
        covariances,
        viewmat[None],
        K[None],
        request.width,
        request.height,
        eps2d=eps2d,
        near_plane=0.0,
        calc_compensations=antialiased,
    )
    if compensations is not None:
        opacities = opacities * compensations[0]
    return means2d[0], conics[0], depths[0], opacities


def _metadata(request: Request, shots: list[_Shot], packed: bool) -> tuple[dict[str, Any], Tensor]:
    """The metadata of the projection, and the centres of what is drawn `[K, 2]`, which are made from its ``means2d``.

    Whoever retains the gradient of ``means2d`` gets that of the image, since all drawing goes through it.
    """
    names = ("radii", "means2d", "depths", "conics", "opacities")
    if packed:
        images = torch.cat([torch.full_like(s.drawn, image) for image, s in enumerate(shots)])
        meta: dict[str, Any] = {name: torch.cat([getattr(s, name)[s.drawn] for s in shots]) for name in names}
        meta["batch_ids"] = torch.div(images, request.cameras, rounding_mode="floor")
        meta["camera_ids"] = images % request.cameras
        meta["gaussian_ids"] = torch.cat([s.rows[s.drawn] for s in shots])
        return meta, meta["means2d"]
    n = request.gaussians
    meta = {"batch_ids": None, "camera_ids": None, "gaussian_ids": None}
    for name in names:
        parts = [getattr(s, name) for s in shots]
        full = [p.new_zeros(n, *p.shape[1:]).index_copy(0, s.rows, p) for s, p in zip(shots, parts)]
        meta[name] = request.unflatten(torch.stack(full))
    flat = meta["means2d"].reshape(-1, 2)
    return meta, flat.index_select(0, torch.cat([image * n + s.rows[s.drawn] for image, s in enumerate(shots)]))
