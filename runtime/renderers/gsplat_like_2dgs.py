"""`gsplat.rasterization_2dgs` in plain torch: same arguments, same results, for small scenes on a CPU."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ..extras import require
from .gsplat_request import Request, finish, make_request, refuse, refuse_options
from .surfels import Discs, composite_discs, project_discs

Outputs2DGS = tuple[Tensor, Tensor, Tensor, "Tensor | None", Tensor, Tensor, dict[str, Any]]


def rasterization_2dgs(
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
    packed: bool = False,
    tile_size: int = 16,
    backgrounds: Tensor | None = None,
    render_mode: Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"] = "RGB",
    sparse_grad: bool = False,
    absgrad: bool = False,
    distloss: bool = False,
    depth_mode: Literal["expected", "median"] = "expected",
) -> Outputs2DGS:
    """Draw 2D gaussians as `gsplat.rasterization_2dgs` 1.5.3 does. The third scale is not used.

    Args:
        means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane, far_plane, radius_clip,
            sh_degree, backgrounds, render_mode: see `gsplat_like.rasterization`.
        eps2d: without meaning, as in gsplat.
        packed: only False; gsplat 1.5.3 cannot draw spherical harmonics packed either.
        tile_size: pixels; discs much smaller than a pixel are drawn only in the tiles that their box meets.
        sparse_grad, absgrad: only False.
        distloss: asks for distortion, for which the mode must have a depth.
        depth_mode: which depth the normals of the surface are made from.

    Returns:
        What gsplat returns: render `[..., C, H, W, X]`; alphas `[..., C, H, W, 1]`; normals `[..., C, H, W, 3]`, world
        axes, towards the camera, not divided by alpha; normals of the surface in the depth map (None in modes without
        colour and depth; a leading dimension of 1 is dropped, as in gsplat); distortion and median depth
        `[..., C, H, W, 1]`; metadata. Depth is the z of a disc's centre. Without a depth in the mode distortion and
        median are made from the last colour instead, and mean nothing.

        ``gradient_2dgs`` in the metadata gets, in the backward pass, the gradient of the centres on the screen through
        the ray-disc intersection, in pixels: what densification reads.

    Raises:
        LossError: RUN020, shapes do not fit, or an option is on that this function does not have.
    """
    refuse_options("rasterization_2dgs", {"packed": packed, "sparse_grad": sparse_grad, "absgrad": absgrad})
    if distloss and render_mode == "RGB":
        raise refuse("`distloss` needs a depth, and the mode is 'RGB'", 'use render_mode="RGB+ED"')
    if depth_mode not in ("expected", "median"):
        raise refuse(f"there is no depth mode {depth_mode!r}", "choose one of: expected, median")
    request = make_request(
        means, quats, scales, opacities, colors, viewmats, Ks, backgrounds, width, height, near_plane, far_plane,
        sh_degree, render_mode,
    )  # fmt: skip
    shots = [project_discs(request, image, radius_clip) for image in range(request.images)]
    meta = _metadata(request, shots)
    drawn = [(s.radii > 0).all(-1).nonzero().squeeze(-1) for s in shots]
    rows = [s.rows[d] for s, d in zip(shots, drawn)]
    n = request.gaussians
    image_ids = torch.cat([torch.full_like(r, image) for image, r in enumerate(rows)])
    places = image_ids * n + torch.cat(rows)

    def of(name: str) -> Tensor:
        tensor: Tensor = meta[name]
        return tensor.flatten(0, len(request.batch) + 1).index_select(0, places)

    depths, transforms = of("depths"), of("ray_transforms")
    # A shift of the screen by d moves the last column of the matrix by z d; a tensor of zeros in that place gets the
    # gradient of the shift.
    shift = of("gradient_2dgs") * depths.detach()[:, None]
    column = torch.cat([shift, torch.zeros_like(shift[:, :1])], dim=-1)[..., None]
    transforms = torch.cat([transforms[..., :2], transforms[..., 2:] + column], dim=-1)
    features = [depths[:, None]] if request.with_depth else []
    if "RGB" in request.mode:
        features.insert(0, torch.cat([request.colors_of(image, r) for image, r in enumerate(rows)]))
    sums = composite_discs(
        request,
        of("means2d"),
        transforms,
        of("opacities"),
        torch.cat(features, dim=-1),
        of("normals"),
        of("radii"),
        depths.detach(),
        image_ids,
        tile_size,
    )
    renders, median = finish(request, sums.features, sums.alphas), request.unflatten(sums.median)
    surface = None
    if request.mode in ("RGB+D", "RGB+ED"):
        depth = renders[..., -1:] if depth_mode == "expected" else median
        surface = require("gsplat.utils").depth_to_normal(depth, torch.linalg.inv(viewmats), Ks).squeeze(0)
    rotations = torch.linalg.inv(viewmats)[..., :3, :3]
    normals = torch.einsum("...ij,...hwj->...hwi", rotations, request.unflatten(sums.normals))
    distortion = request.unflatten(sums.distortion)
    meta.update(request.tiles(tile_size), render_distort=distortion)
    return renders, request.unflatten(sums.alphas), normals, surface, distortion, median, meta


def _metadata(request: Request, shots: list[Discs]) -> dict[str, Any]:
    """The metadata of the projection, `[..., C, N, ...]`, 0 for what is not in front of the camera."""
    n = request.gaussians
    meta: dict[str, Any] = {"camera_ids": None, "gaussian_ids": None}
    for name, field in (
        ("radii", "radii"),
        ("means2d", "means2d"),
        ("depths", "depths"),
        ("ray_transforms", "transforms"),
        ("normals", "normals"),
    ):
        parts = [getattr(s, field) for s in shots]
        full = [p.new_zeros(n, *p.shape[1:]).index_copy(0, s.rows, p) for s, p in zip(shots, parts)]
        meta[name] = request.unflatten(torch.stack(full))
    opacities = request.opacities[:, None].expand(-1, request.cameras, -1)
    meta["opacities"] = opacities.reshape(*request.batch, request.cameras, n)
    meta["gradient_2dgs"] = torch.zeros_like(meta["means2d"], requires_grad=True)
    return meta
