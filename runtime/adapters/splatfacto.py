"""What nerfstudio's splatfacto has, as a compiled loss takes it, and a loss as splatfacto's `get_loss_dict` gives it.

Nothing here imports nerfstudio: `nerfstudio.py` beside this module puts these functions into its classes.

Facts of nerfstudio 1.1.5 (`models/splatfacto.py`, `engine/trainer.py`, `data/datamanagers/full_images_datamanager.py`):
the trainer counts steps from 0 and sums the values of the loss dictionary; a batch is one image, `[H, W, 3 or 4]` uint8
or float, with the mask `[H, W, 1]` where there is one; ``gauss_params`` holds logarithms of scales, logits of opacities
`[N, 1]`, ``features_dc`` `[N, 3]` and ``features_rest`` `[N, K - 1, 3]`; images are reduced by averaging blocks, and
where nothing is drawn the depth is the largest one of the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...dsl.diagnostics import Diagnostic, LossError
from ...dsl.files import is_program
from ...dsl.inputs import RENDER_BUFFERS
from ...dsl.live import buffers, where_read
from ...dsl.manifest import RENDERERS
from ...dsl.source import Source
from ...dsl.typed import TypedProgram
from ..compiled import CompiledLossFn
from ..loading import compile, load

TARGET_ALPHA = "target_alpha"
"""The input of programs that lay transparent targets over the background themselves."""

REPLACED = {
    "ssim_lambda": "ssim_lambda",
    "use_scale_regularization": "use_scale_reg",
    "max_gauss_ratio": "max_gauss_ratio",
}
"""Settings of splatfacto's own loss, and the parameters of ``zoo:splatfacto`` in their place."""


HOST_LOSSES = frozenset({"camera_opt_regularizer", "tv_loss"})
"""The losses that stay: of the camera optimiser, and of the bilateral grid."""


def make_loss(
    loss: str, params: Mapping[str, str | float | bool], backend: str = "inductor", kernels: str = "auto"
) -> CompiledLossFn:
    """The loss of a method's settings.

    Args:
        loss: a `.loss` file, ``zoo:NAME``, or the program itself, such as ``0.8*l1(masked) + 0.2*ssim_loss(masked)``.
        params: values of its parameters; texts are read as they are written on a command line.
        backend, kernels: see `splatdsl.load`.

    Raises:
        LossError: the program, a parameter or a setting is wrong.
    """
    make = load if is_program(loss) else compile
    return make(loss, params={n: parsed(v) for n, v in params.items()}, backend=backend, kernels=kernels)


def parsed(value: str | float | bool) -> str | float | bool:
    """A parameter's value from a command line: a flag, a number, or else a text."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        return float(value.replace("_", ""))
    except ValueError:
        return value


def check_replaced(settings: Any, defaults: Any) -> None:
    """Refuse settings of the loss that is no longer there: they would have no effect.

    Raises:
        LossError: RUN003.
    """
    found = []
    for name, param in REPLACED.items():
        value = getattr(settings, name, None)
        if value != getattr(defaults, name, None):
            message = f"`{name}` belongs to splatfacto's own loss, which the program is in the place of"
            shown = str(value).lower() if isinstance(value, bool) else value
            help_ = f"where the program has such a parameter: --pipeline.model.loss-params {param} {shown}"
            found.append(Diagnostic("RUN003", message, Source("", f"<pipeline.model.{name}>"), None, help=[help_]))
    if found:
        raise LossError(found)


# What a run reads


def reads(loss_fn: CompiledLossFn, max_steps: int) -> tuple[frozenset[str], frozenset[str]]:
    """The render buffers and item fields that a run reads for certain, and those that it may read.

    The first leaves out what only a draw of ``chance`` or a flag of the host decides.
    """
    phases = loss_fn.phases(max_steps)
    named = {name for phase in phases for name in phase.terms}
    roots = [t.value for t in loss_fn.program.terms if t.name in named]
    written = buffers(frozenset(str(e.value) for root in roots for e in root.walk() if e.op == "input"))
    try:
        certain = frozenset().union(*(loss_fn.requires(phase.start, max_steps) for phase in phases))
    except LossError:  # it depends on something that only the host knows
        certain = frozenset()
    return certain, certain | written


def check_buffers(loss_fn: CompiledLossFn, max_steps: int) -> None:
    """Refuse a program that reads what splatfacto does not render.

    Raises:
        LossError: RUN008, at the place where it is read.
    """
    certain, _ = reads(loss_fn, max_steps)
    missing = sorted((certain & RENDER_BUFFERS) - BUFFERS - loss_fn.program.inputs.keys())
    if not missing:
        return
    found = []
    for name in missing:
        source, span = where_read(loss_fn.program, name)
        message = f"the loss reads `{name}`, which splatfacto does not render"
        note = "it renders " + ", ".join(f"`{b}`" for b in sorted(BUFFERS))
        found.append(
            Diagnostic("RUN008", message, source, span, notes=[note], help=["leave out the terms that read it"])
        )
    raise LossError(found)


BUFFERS = RENDERERS["gsplat"]
"""What splatfacto renders: it draws with gsplat."""


# Inputs


def gaussians(params: Mapping[str, Tensor], base_colour: Tensor) -> dict[str, Tensor]:
    """The gaussians by gsplat's names, as views of splatfacto's parameters, to which gradients flow.

    Args:
        params: ``gauss_params``.
        base_colour: `[N, 3]`, the constant spherical harmonic (``shs_0``); not ``features_dc`` where the degree is 0,
            since that is then the logit of a colour.
    """
    return {
        **{name: params[name] for name in ("means", "quats", "scales")},
        "opacities": params["opacities"].squeeze(-1),
        "sh0": base_colour.unsqueeze(1),
        "shN": params["features_rest"],
    }


def payload(outputs: Mapping[str, Any], info: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
    """The render beside its image: alpha, radii, and depth if there is one.

    Depth is 0 where nothing is drawn, as with every renderer of this package; splatfacto puts the largest depth there.

    Args:
        outputs: of ``get_outputs``: accumulation and depth `[H, W, 1]`.
        info: what gsplat's rasterisation said of the render.
    """
    alpha = outputs["accumulation"].unsqueeze(0)
    found: dict[str, Tensor] = {"alphas": alpha}
    depth = outputs.get("depth")
    if depth is not None:
        depth = torch.where(alpha > 0, depth.unsqueeze(0), torch.zeros_like(alpha))
        found.update(depths_expected=depth, depths_accumulated=depth * alpha)
    radii = (info or {}).get("radii")
    if radii is not None:
        found["radii"] = radii
    return found


def background_colour(background: Tensor) -> Tensor:
    """`[1, 3]`: splatfacto's background is a colour `[3]` while it trains, and an image of it `[H, W, 3]` else."""
    return background.reshape(-1, 3)[:1]


def camera_of(camera_to_world: Tensor, intrinsics: Tensor, factor: int, index: int | None = None) -> dict[str, Tensor]:
    """The camera of a render, in OpenCV's convention and in pixels of the reduced image.

    Args:
        camera_to_world: `[1, 3, 4]`, OpenGL's convention (y up, z backward), as nerfstudio has it.
        intrinsics: `[1, 3, 3]` of the image as it is stored.
        factor: by which the image was reduced.
        index: the number of the view.
    """
    flip = camera_to_world.new_tensor([1.0, -1.0, -1.0])
    rotation = (camera_to_world[:, :3, :3] * flip).transpose(1, 2)
    shift = -(rotation @ camera_to_world[:, :3, 3:4])
    last = camera_to_world.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(rotation), 1, 4)
    matrix = torch.cat([torch.cat([rotation, shift], dim=2), last], dim=1)
    scale = intrinsics.new_tensor([1.0 / factor, 1.0 / factor, 1.0])
    found = {"intrinsics": (intrinsics * scale[:, None]).to(matrix.device), "extrinsics": matrix}
    if index is not None:
        found["index"] = torch.tensor([float(index)], device=matrix.device)
    return found


def own_inputs(program: TypedProgram, batch: Mapping[str, Any], factor: int, device: torch.device) -> dict[str, Any]:
    """What a program declares, by its names in the batch; maps in the size of the reduced image.

    Images and coverage are averaged over blocks, as splatfacto reduces images. Of depth, normals and other maps each
    block has the value of one of its pixels: an average over a hole or an edge would be the value of no place.
    """
    found = {}
    for name, info in program.inputs.items():
        value = batch.get(name)
        if isinstance(value, Tensor):
            value = value.to(device)
            if info.kind.layout == "pixels" and factor > 1:
                covers = info.facts.get("role") is not None or info.kind.name in ("image", "region")
                value = averaged(value, factor) if covers else picked(value, factor)
        if value is not None:
            found[name] = value
    return found


def averaged(x: Tensor, factor: int) -> Tensor:
    """`[H, W]` or `[H, W, k]` reduced by averaging blocks; borders that make no full block are left out."""
    pixels = x.to(torch.float32) if x.dim() == 3 else x.to(torch.float32).unsqueeze(-1)
    small = F.avg_pool2d(pixels.permute(2, 0, 1), factor).permute(1, 2, 0)
    return small if x.dim() == 3 else small.squeeze(-1)


def picked(x: Tensor, factor: int) -> Tensor:
    """`[H, W]` or `[H, W, k]` reduced to the pixel in the middle of each block."""
    height, width = x.shape[0] // factor, x.shape[1] // factor
    return x[factor // 2 :: factor, factor // 2 :: factor][:height, :width]


def scene_scale(centres: Tensor) -> float:
    """1.1 times the largest distance of a camera from the cameras' mean; `[V, 3]` in scene units, 1.1 for one place."""
    largest = float((centres - centres.mean(dim=0)).norm(dim=-1).max())
    return 1.1 * (largest if largest > 1e-6 else 1.0)


# The dictionary of losses


class _Carried(torch.autograd.Function):
    """A value that is shown, with the gradient of another."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, value: Tensor) -> Tensor:
        ctx.dtype = total.dtype
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].to(ctx.dtype), None


def term_entries(
    loss_fn: CompiledLossFn,
    total: Tensor,
    step: int,
    max_steps: int,
    names: Iterable[str] = (),
    missing: Iterable[str] = (),
) -> dict[str, Tensor]:
    """The loss of the last call by terms, each with its weight, in the program's order.

    Their sum, from the left, is the loss, and its gradient is the gradient of the loss: the first term that exists
    carries it for all, and takes up what their rounding leaves; the others are detached. They are float64 where the
    device has it, so that the sum is exact.

    Args:
        loss_fn: after a call.
        total: what it returned.
        step, max_steps: those of the call.
        names: terms to show as 0 where they do not exist at this step.
        missing: optional inputs that the call did not have.
    """
    wide = torch.float32 if total.device.type == "mps" else torch.float64
    weights = loss_fn.weights(step, max_steps, missing=[*missing])
    shown = {*names, *loss_fn.terms}
    zero = torch.zeros((), dtype=wide, device=total.device)
    values = {
        t.name: loss_fn.terms[t.name].to(total.device, wide) * weights[t.name] if t.name in loss_fn.terms else zero
        for t in loss_fn.program.terms
        if t.name in shown
    }
    if not values:
        return {"loss": total}
    first = next((name for name in values if name in loss_fn.terms), next(iter(values)))
    whole = total.detach().to(wide)
    rest = whole - sum((v for name, v in values.items() if name != first), start=zero)
    # A loss that is no finite number must not spread to the term that carries the gradient.
    shown_first = torch.where(torch.isfinite(whole), rest, values[first])
    values[first] = _Carried.apply(total, shown_first)  # type: ignore[no-untyped-call]
    return {entry_name(name): value for name, value in values.items()}


def entry_name(term: str) -> str:
    """What a term is called in the dictionary: by its name, unless that is the name of a loss that stays."""
    return f"{term}_term" if term in HOST_LOSSES else term
