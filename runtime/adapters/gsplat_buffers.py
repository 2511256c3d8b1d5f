"""What gsplat's rasterisation functions return, as the buffers that a loss reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...dsl.diagnostics import Diagnostic, LossError
from ...dsl.inputs import RENDER_BUFFERS
from ...dsl.source import Source

MODELS = ("3dgs", "2dgs")
"""``rasterization``, and ``rasterization_2dgs``."""

MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")
DEPTHS = frozenset({"depth", "depth.accumulated"})
_ALWAYS = frozenset({"alpha", "radii", "visible"})
# Without a depth gsplat makes the last two from the last channel of the colours.
_SURFACE = frozenset({"normals_from_depth", "distortion", "depth.median"})


def supplied(model: str, mode: str) -> frozenset[str]:
    """The buffers that a model's function supplies in a render mode.

    Args:
        model: one of `MODELS`.
        mode: one of gsplat's render modes.

    Raises:
        LossError: RUN020, there is no such model or mode.
    """
    for what, value, known in (("model", model, MODELS), ("render mode", mode, MODES)):
        if value not in known:
            raise gsplat_error("RUN020", f"there is no {what} {value!r}", f"choose one of: {', '.join(known)}")
    found = _ALWAYS | ({"rendered"} if "RGB" in mode else set())
    with_depth = mode != "RGB"
    if with_depth:
        found |= DEPTHS
    if model == "2dgs":
        found |= {"normals"} | (
            _SURFACE - (set() if "RGB" in mode else {"normals_from_depth"}) if with_depth else set()
        )
    return frozenset(found)


def render_mode(requires: Iterable[str], model: str = "3dgs") -> str:
    """The render mode to ask for, from what a loss requires at a step.

    "RGB" where no depth is read, "RGB+D" where the accumulated one alone is, and "RGB+ED" else: expected depth is
    divided by alpha in gsplat, accumulated depth is not, and either gives the other. A 2DGS model needs a depth also
    for distortion, for the median, and for the normals of the surface, which are made from the expected one then.

    Args:
        requires: names of buffers, as from ``loss_fn.requires(step)``; what is no buffer of a render is passed over.
        model: "3dgs" or "2dgs".

    Raises:
        LossError: RUN008, the model's function makes something that is read in no mode.
    """
    wanted = frozenset(requires) & RENDER_BUFFERS
    missing = sorted(wanted - supplied(model, "RGB+ED"))
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        function = {"3dgs": "rasterization", "2dgs": "rasterization_2dgs"}[model]
        other = not set(missing) - supplied("2dgs", "RGB+ED")
        help_ = "draw with `rasterization_2dgs` and say model='2dgs', or pass" if other else "pass"
        raise gsplat_error(
            "RUN008",
            f"the loss reads {names}, which `gsplat.{function}` does not make",
            f"{help_} it to the loss by name and say so: own=[{', '.join(map(repr, missing))}]",
        )
    if not wanted & (DEPTHS | _SURFACE):
        return "RGB"
    return "RGB+D" if wanted & (DEPTHS | _SURFACE) == {"depth.accumulated"} else "RGB+ED"


def from_rasterization(
    renders: Tensor,
    alphas: Tensor,
    info: Mapping[str, Any],
    render_mode: str,
    gaussians: int,
    wanted: Iterable[str] | None = None,
) -> dict[str, Tensor]:
    """The buffers in what `gsplat.rasterization` returned, images of all cameras (and batches) one after the other.

    Args:
        renders: `[..., C, H, W, X]`.
        alphas: `[..., C, H, W, 1]`.
        info: the metadata; packed or not.
        render_mode: what was asked for.
        gaussians: N, of one scene.
        wanted: names of the buffers to make; None: all.

    Returns:
        By name ``rendered`` `[I, H, W, 3]`, ``alpha``, ``depth`` (expected) and ``depths_accumulated`` `[I, H, W, 1]`,
        ``radii`` (largest over axes and cameras, pixels) and ``visible`` (drawn by any camera) `[N]`, those that there
        are. With batch dimensions the rows of one scene follow those of the one before.

    Raises:
        LossError: RUN020, the channels or the metadata do not fit the mode and the number of gaussians.
    """
    names = supplied("3dgs", render_mode) & (RENDER_BUFFERS if wanted is None else frozenset(wanted))
    return _images(renders, alphas, render_mode, names) | _rows(info, gaussians, names)


def from_rasterization_2dgs(
    renders: Tensor,
    alphas: Tensor,
    normals: Tensor,
    surf_normals: Tensor | None,
    distortion: Tensor,
    median: Tensor,
    info: Mapping[str, Any],
    render_mode: str,
    gaussians: int,
    wanted: Iterable[str] | None = None,
) -> dict[str, Tensor]:
    """The buffers in what `gsplat.rasterization_2dgs` returned, in its order.

    Args:
        renders, alphas, info, render_mode, gaussians, wanted: see `from_rasterization`.
        normals: `[..., C, H, W, 3]`, world axes, sums of weight times normal.
        surf_normals: the same of the depth map, or None; of one camera `[H, W, 3]`, as gsplat returns it.
        distortion: `[..., C, H, W, 1]`; not read in mode "RGB", where it means nothing.
        median: `[..., C, H, W, 1]`, depth; likewise.

    Returns:
        As `from_rasterization`, with ``normals`` and ``normals_from_depth`` `[I, H, W, 3]`, ``distortion`` and
        ``depths_median`` `[I, H, W, 1]`.

    Raises:
        LossError: see `from_rasterization`.
    """
    names = supplied("2dgs", render_mode) & (RENDER_BUFFERS if wanted is None else frozenset(wanted))
    found = _images(renders, alphas, render_mode, names) | _rows(info, gaussians, names)
    for name, field, tensor in (
        ("normals", "normals", normals),
        ("normals_from_depth", "normals_from_depth", surf_normals),
        ("distortion", "distortion", distortion),
        ("depth.median", "depths_median", median),
    ):
        if name in names and tensor is not None:
            found[field] = flat_images(tensor)
    return found


def flat_images(x: Tensor) -> Tensor:
    """`[..., C, H, W, k]` as `[I, H, W, k]`; `[H, W, k]` as one image."""
    return x.reshape(-1, *x.shape[-3:])


def _images(renders: Tensor, alphas: Tensor, mode: str, names: frozenset[str]) -> dict[str, Tensor]:
    alpha, channels = flat_images(alphas), renders.shape[-1]
    with_depth = mode != "RGB"
    least = (3 if "RGB" in mode else 0) + with_depth
    if channels < least:
        raise gsplat_error(
            "RUN020",
            f"the render has {channels} channels, but those of render_mode={mode!r} are at least {least}",
            f"draw with render_mode={mode!r}, or say which mode was drawn: render_mode=",
        )
    found = {"alpha": alpha} if "alpha" in names else {}
    drawn = flat_images(renders)
    if "rendered" in names:
        # Four channels without a depth to read: one that was drawn and is not needed.
        found["rendered"] = drawn[..., :-1] if with_depth else drawn[..., :3] if channels == 4 else drawn
    depth = drawn[..., -1:]
    if mode.endswith("ED"):
        found |= {"depth": depth} if "depth" in names else {}
        found |= {"depths_accumulated": depth * alpha} if "depth.accumulated" in names else {}
    elif with_depth:
        found |= {"depths_accumulated": depth} if "depth.accumulated" in names else {}
        if "depth" in names:  # 0, with zero gradient, where nothing is drawn
            there = alpha > 0
            found["depth"] = torch.where(there, depth, 0.0) / torch.where(there, alpha, 1.0).clamp(min=1e-10)
    return found


def _rows(info: Mapping[str, Any], gaussians: int, names: frozenset[str]) -> dict[str, Tensor]:
    """``radii`` and ``visible`` of each gaussian, `[B * N]`."""
    if not names & {"radii", "visible"}:
        return {}
    radii = info.get("radii")
    ids = info.get("gaussian_ids")
    if not isinstance(radii, Tensor):
        raise gsplat_error("RUN020", "the metadata has no `radii`", "pass the third result of `rasterization` as it is")
    if ids is None:
        if radii.dim() < 3 or radii.shape[-2] != gaussians:
            raise gsplat_error(
                "RUN020",
                f"`radii` in the metadata has shape {list(radii.shape)}, [..., C, {gaussians}, 2] is expected",
                "the metadata must be of the render of these gaussians, and not of all ranks (distributed=True)",
            )
        largest, drawn = radii.amax(-1).amax(-2), (radii > 0).all(-1).any(-2)
        return {"radii": largest.reshape(-1).float(), "visible": drawn.reshape(-1).float()}
    scenes = info.get("batch_ids")
    count = gaussians * int(info.get("n_batches") or 1)
    rows = (ids if scenes is None else scenes * gaussians + ids).long()
    drawn = (radii > 0).all(-1)
    largest = torch.where(drawn, radii.amax(-1), 0).float()
    zeros = largest.new_zeros(count)
    return {
        "radii": zeros.scatter_reduce(0, rows, largest, "amax"),
        "visible": zeros.scatter_reduce(0, rows, drawn.float(), "amax"),
    }


def flat_rows(x: Tensor, batch: int) -> Tensor:
    """A parameter `[..., N, ...]` with its ``batch`` leading dimensions and N made one."""
    return x.flatten(0, batch) if batch else x


def per_image(x: Tensor, images: int, like: Tensor) -> Tensor:
    """A background `[3]`, `[1, 3]` or `[..., C, 3]` for each of the images."""
    x = x.to(like).reshape(-1, x.shape[-1])
    return x.expand(images, -1) if len(x) == 1 else x


def gsplat_error(code: str, message: str, help: str) -> LossError:
    """A finding about a call of gsplat's, which belongs to no place in a program."""
    return LossError([Diagnostic(code, message, Source("", "<gsplat>"), None, help=(help,))])
