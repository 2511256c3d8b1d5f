"""What a renderer is, and how one is chosen."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ...dsl.diagnostics import Diagnostic, LossError
from ...dsl.manifest import RENDERERS
from ...dsl.source import Source
from ..modules import SplatBaseModule
from ..payload import SplatRenderPayload

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = ("auto", *sorted(RENDERERS))
PARAMETERS = ("means", "quats", "scales", "opacities", "sh0", "shN")
DEPTH_BUFFERS = frozenset({"depth", "depth.accumulated"})
# The modes that return colours; the buffers decide which of them is used when the caller names none.
RENDER_MODES = ("RGB", "RGB+D", "RGB+ED")


def renderer_error(message: str, *help_lines: str, code: str = "RUN010") -> LossError:
    """A `LossError` with one diagnostic that belongs to no place in a program."""
    return LossError([Diagnostic(code, message, Source("", "<renderer>"), None, help=help_lines)])


class SplatRenderer(SplatBaseModule[SplatRenderPayload]):
    """Draws gaussians into cameras, differentiably.

    Attributes:
        name: the key in `splatdsl.dsl.manifest.RENDERERS`.
        buffers: what it can supply beside the image, a subset of ``rendered alpha depth depth.accumulated visible
            radii``.
    """

    name: ClassVar[str]
    buffers: ClassVar[frozenset[str]]

    @abstractmethod
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
        """Render B views of one set of N gaussians.

        Args:
            splat_state: raw parameters by name (`means quats scales opacities sh0 shN`, log-scales and logit
                opacities), or an object that holds them in ``.params``.
            cam_to_worlds: `[B, 4, 4]`, OpenCV camera axes (x right, y down, z forward).
            Ks: `[B, 3, 3]`, pinhole intrinsics in pixels; pixel (0, 0) has its centre at (0.5, 0.5).
            width: W in pixels.
            height: H in pixels.
            sh_degree: highest band of spherical harmonics to evaluate; all that the parameters have when None.
            backgrounds: `[B, 3]`, blended in with weight 1 - alpha; black when None.
            buffers: names of what the caller reads; depths are computed only when asked for.
            render_mode: ``RGB``, ``RGB+D`` or ``RGB+ED``, overrides what ``buffers`` says about depths.

        Returns:
            The images `[B, H, W, 3]` and the payload, whose ``renders`` are the same images. Either depth mode fills
            both ``depths_expected`` (accumulated / alpha) and ``depths_accumulated``.

        Raises:
            LossError: a parameter is missing, a shape does not fit, or a buffer or mode is unknown.
        """


def make_renderer(kind: str, device: torch.device | str) -> SplatRenderer:
    """The renderer of a kind for a device.

    Args:
        kind: ``gsplat`` (CUDA), ``reference`` (torch, CPU, small scenes), or ``auto``: gsplat on a CUDA device,
            reference elsewhere.
        device: where the parameters live.

    Raises:
        LossError: no such kind, or it cannot run on this device or machine (RUN010).
    """
    target = torch.device(device)
    if kind not in KINDS:
        raise renderer_error(
            f"there is no renderer {kind!r}",
            f"choose one of: {', '.join(KINDS)}",
        )
    if kind == "auto":
        kind = "gsplat" if target.type == "cuda" else "reference"
    if kind == "gsplat":
        if not torch.cuda.is_available():
            raise renderer_error(
                "renderer 'gsplat' needs a CUDA device, and torch sees none on this machine",
                "use renderer 'reference', which draws small scenes on the CPU",
            )
        if target.type != "cuda":
            raise renderer_error(
                f"renderer 'gsplat' draws on CUDA devices only, and the parameters are on {str(target)!r}",
                "set the device to 'cuda', or use renderer 'reference'",
            )
        from .gsplat_renderer import GsplatRenderer

        return GsplatRenderer()
    from .reference import ReferenceRenderer

    return ReferenceRenderer()


def raw_parameters(splat_state: Any) -> Mapping[str, Tensor]:
    """The raw parameters of a training state or of a plain mapping, with their shapes checked.

    Raises:
        LossError: a parameter is missing or its shape does not go with the number of gaussians (RUN020).
    """
    params = getattr(splat_state, "params", splat_state)
    try:
        tensors = {name: params[name] for name in PARAMETERS}
    except (KeyError, TypeError):
        have = [name for name in PARAMETERS if hasattr(params, "keys") and name in params]
        missing = [name for name in PARAMETERS if name not in have]
        raise renderer_error(
            f"the gaussians lack the parameter{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            f"pass raw parameters by name: {', '.join(PARAMETERS)}",
            code="RUN020",
        ) from None
    n = tensors["means"].shape[0]
    bands = tensors["shN"].shape[1] if tensors["shN"].dim() == 3 else -1
    expected: dict[str, tuple[int, ...]] = {
        "means": (n, 3),
        "quats": (n, 4),
        "scales": (n, 3),
        "opacities": (n,),
        "sh0": (n, 1, 3),
        "shN": (n, bands, 3),
    }
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape or min(shape) < 0:
            wanted = "[N, K-1, 3]" if name == "shN" else str(list(shape))
            raise renderer_error(
                f"parameter {name!r} has shape {list(tensors[name].shape)}, {wanted} is expected for {n} gaussians",
                code="RUN020",
            )
    if math.isqrt(bands + 1) ** 2 != bands + 1:
        raise renderer_error(
            f"parameter 'shN' holds {bands} coefficients; with 'sh0' they must make up whole bands (0, 3, 8 or 15)",
            code="RUN020",
        )
    return tensors


def resolve_sh_degree(params: Mapping[str, Tensor], sh_degree: int | None) -> int:
    """The band to evaluate: ``sh_degree``, or the highest that the parameters hold when it is None.

    Raises:
        LossError: it is negative or above what the parameters hold (RUN020).
    """
    highest = math.isqrt(params["shN"].shape[1] + 1) - 1
    if sh_degree is None:
        return highest
    if not 0 <= sh_degree <= highest:
        raise renderer_error(
            f"sh_degree is {sh_degree}, but the gaussians hold bands 0 to {highest}",
            code="RUN020",
        )
    return sh_degree


def check_views(
    cam_to_worlds: Tensor, Ks: Tensor, width: int, height: int, backgrounds: Tensor | None
) -> tuple[int, int, int]:
    """B, H and W of a request whose camera tensors agree with each other.

    Raises:
        LossError: shapes do not fit, or the image is empty (RUN020).
    """
    b = cam_to_worlds.shape[0] if cam_to_worlds.dim() else 0
    shapes: Sequence[tuple[str, Tensor | None, tuple[int, ...]]] = (
        ("cam_to_worlds", cam_to_worlds, (b, 4, 4)),
        ("Ks", Ks, (b, 3, 3)),
        ("backgrounds", backgrounds, (b, 3)),
    )
    for name, tensor, shape in shapes:
        if tensor is not None and (tuple(tensor.shape) != shape or b < 1):
            wanted = ", ".join(["B", *map(str, shape[1:])])
            raise renderer_error(
                f"{name} has shape {list(tensor.shape)}, [{wanted}] is expected with the same B >= 1 for all views",
                code="RUN020",
            )
    if width < 1 or height < 1:
        raise renderer_error(f"an image of {width} x {height} pixels cannot be drawn", code="RUN020")
    return b, int(height), int(width)


def wants_depth(renderer: SplatRenderer, buffers: frozenset[str], render_mode: str | None) -> bool:
    """Whether depths have to be computed for a request.

    Raises:
        LossError: the renderer does not supply a buffer, or the mode is unknown (RUN020).
    """
    unknown = sorted(buffers - renderer.buffers)
    if unknown:
        raise renderer_error(
            f"renderer {renderer.name!r} does not supply {', '.join(map(repr, unknown))}",
            f"it supplies: {', '.join(sorted(renderer.buffers))}",
            code="RUN020",
        )
    if render_mode is None:
        return bool(buffers & DEPTH_BUFFERS)
    if render_mode not in RENDER_MODES:
        raise renderer_error(
            f"there is no render mode {render_mode!r}", f"choose one of: {', '.join(RENDER_MODES)}", code="RUN020"
        )
    return render_mode != "RGB"


def expected_depth(accumulated: Tensor, alphas: Tensor) -> Tensor:
    """Accumulated depth divided by alpha, 0 where nothing was drawn (gsplat clamps alpha at 1e-10)."""
    return accumulated / alphas.clamp(min=1e-10)
