"""What the stand-ins for gsplat's rasterisation functions are asked for, checked and with the batch flattened."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..extras import require
from .base import renderer_error

MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")


def refuse(message: str, help: str = "") -> Exception:
    """RUN020, for the caller to raise."""
    return renderer_error(message, *([help] if help else []), code="RUN020")


@dataclass(frozen=True)
class Request:
    """B scenes of N gaussians, each seen by C cameras; image ``b * C + c`` is camera c of scene b.

    Attributes:
        batch: the leading dimensions of all inputs, whose product is B.
        means: `[B, N, 3]`.
        quats: `[B, N, 4]`, not necessarily of unit length.
        scales: `[B, N, 3]`, > 0.
        opacities: `[B, N]`.
        colors: `[B, C or 1, N, D]`, or `[B, C or 1, N, K, 3]` if ``sh_degree`` is given.
        viewmats: `[B, C, 4, 4]`, world to camera.
        Ks: `[B, C, 3, 3]`.
        backgrounds: `[B * C, D]` or None.
        width, height: pixels.
        near, far: what lies outside is not drawn.
        sh_degree: highest band, or None for colours.
        mode: one of `MODES`.
    """

    batch: tuple[int, ...]
    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor
    backgrounds: Tensor | None
    width: int
    height: int
    near: float
    far: float
    sh_degree: int | None
    mode: str

    @property
    def cameras(self) -> int:
        """C."""
        return self.viewmats.shape[1]

    @property
    def images(self) -> int:
        """B times C."""
        return self.viewmats.shape[0] * self.viewmats.shape[1]

    @property
    def gaussians(self) -> int:
        """N."""
        return self.means.shape[1]

    @property
    def with_depth(self) -> bool:
        """Whether the depth is the last channel of what is drawn."""
        return self.mode != "RGB"

    def colors_of(self, image: int, rows: Tensor) -> Tensor:
        """`[M, D]`, colours of gaussians as a camera sees them; spherical harmonics give at least 0."""
        scene, camera = divmod(image, self.cameras)
        colors = self.colors[scene, camera if self.colors.shape[1] > 1 else 0].index_select(0, rows)
        if self.sh_degree is None:
            return colors
        eye = torch.linalg.inv(self.viewmats[scene, camera])[:3, 3]
        directions = self.means[scene].index_select(0, rows) - eye
        harmonics: Tensor = torch_functions()._spherical_harmonics(self.sh_degree, directions, colors)
        return (harmonics + 0.5).clamp_min(0.0)

    def unflatten(self, x: Tensor) -> Tensor:
        """`[B * C, ...]` with the batch dimensions of the inputs: `[..., C, ...]`."""
        return x.reshape(*self.batch, self.cameras, *x.shape[1:])

    def tiles(self, size: int) -> dict[str, int]:
        """The part of the metadata that says how large the image and its tiles are."""
        return {
            "tile_width": -(-self.width // size),
            "tile_height": -(-self.height // size),
            "width": self.width,
            "height": self.height,
            "tile_size": size,
            "n_cameras": self.cameras,
        }


def torch_functions() -> Any:
    """gsplat's functions in torch.

    Raises:
        LossError: DAT001, gsplat is not installed.
    """
    return require("gsplat.cuda._torch_impl")


def make_request(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    backgrounds: Tensor | None,
    width: int,
    height: int,
    near: float,
    far: float,
    sh_degree: int | None,
    mode: str,
) -> Request:
    """Check the arguments that both functions have, shapes as in gsplat.

    Raises:
        LossError: RUN020, a shape does not fit, or there is no such mode.
    """
    batch, n = tuple(means.shape[:-2]), means.shape[-2] if means.dim() > 1 else 0
    c = viewmats.shape[-3] if viewmats.dim() > 2 else 0
    for name, tensor, shape in (
        ("means", means, (n, 3)),
        ("quats", quats, (n, 4)),
        ("scales", scales, (n, 3)),
        ("opacities", opacities, (n,)),
        ("viewmats", viewmats, (c, 4, 4)),
        ("Ks", Ks, (c, 3, 3)),
    ):
        if tuple(tensor.shape) != (*batch, *shape):
            raise refuse(f"`{name}` has shape {list(tensor.shape)}, {[*batch, *shape]} is expected")
    if mode not in MODES:
        raise refuse(f"there is no render mode {mode!r}", f"choose one of: {', '.join(MODES)}")
    if width < 1 or height < 1 or c < 1:
        raise refuse(f"{c} images of {width} x {height} pixels cannot be drawn")
    own = 1 if sh_degree is None else 2  # dimensions of a gaussian's colours
    head = tuple(colors.shape[: colors.dim() - own])
    if head not in ((*batch, n), (*batch, c, n)) or (sh_degree is not None and colors.shape[-1] != 3):
        wanted = "[..., N, D] or [..., C, N, D]" if sh_degree is None else "[..., N, K, 3] or [..., C, N, K, 3]"
        raise refuse(f"`colors` has shape {list(colors.shape)}, {wanted} is expected for {n} gaussians")
    if sh_degree is not None and (sh_degree < 0 or (sh_degree + 1) ** 2 > colors.shape[-2]):
        raise refuse(f"sh_degree is {sh_degree}, but `colors` holds {colors.shape[-2]} coefficients")
    channels = colors.shape[-1]
    if backgrounds is not None and tuple(backgrounds.shape) != (*batch, c, channels):
        raise refuse(f"`backgrounds` has shape {list(backgrounds.shape)}, {[*batch, c, channels]} is expected")
    b, tail = math.prod(batch), tuple(colors.shape[colors.dim() - own :])
    return Request(
        batch,
        means.reshape(b, n, 3),
        quats.reshape(b, n, 4),
        scales.reshape(b, n, 3),
        opacities.reshape(b, n),
        colors.reshape(b, c if head == (*batch, c, n) else 1, n, *tail),
        viewmats.reshape(b, c, 4, 4),
        Ks.reshape(b, c, 3, 3),
        None if backgrounds is None else backgrounds.reshape(b * c, channels),
        int(width),
        int(height),
        near,
        far,
        sh_degree,
        mode,
    )


def refuse_options(function: str, options: Mapping[str, Any]) -> None:
    """Refuse options of gsplat's that only its CUDA functions have, unless they are off.

    Raises:
        LossError: RUN020, one is on.
    """
    for name, value in options.items():
        if value is None or value is False or value in ("pinhole", "classic"):
            continue
        if getattr(value, "name", "") == "GLOBAL":  # no rolling shutter
            continue
        raise refuse(
            f"`{function}` in torch does not have `{name}={value!r}`", "leave it out, or draw with gsplat on CUDA"
        )


def finish(request: Request, sums: Tensor, alphas: Tensor) -> Tensor:
    """What is drawn, `[..., C, H, W, X]`: background behind the colours, and depth divided by alpha in ``ED`` modes.

    Args:
        request: the request.
        sums: `[B * C, H, W, X]`, sums of weight times feature, the depth last if there is one.
        alphas: `[B * C, H, W, 1]`.
    """
    colors = sums if request.mode == "RGB" else sums[..., :-1]
    if request.backgrounds is not None and colors.shape[-1]:
        colors = colors + (1.0 - alphas) * request.backgrounds[:, None, None, :]
    if not request.with_depth:
        return request.unflatten(colors)
    depth = sums[..., -1:]
    if request.mode.endswith("ED"):
        depth = depth / alphas.clamp(min=1e-10)
    return request.unflatten(torch.cat([colors, depth], dim=-1))
