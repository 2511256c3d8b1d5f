"""The inputs that every program has, each declared once."""

from __future__ import annotations

from typing import NamedTuple

from .interval import NONNEGATIVE, POSITIVE, REALS, UNIT, Interval, inf
from .types import DEPTH, GAUSSIAN_REGION, IMAGE, MAP, NUMBER, REGION, STATE, STEP, TENSOR, VARIES, Kind, gaussians


class InputSpec(NamedTuple):
    """One fixed input.

    Attributes:
        name: as written, with its dot for a field.
        kind: what it looks like.
        range: what it can be.
        buffer: the render buffer or item field that it needs; "" for host values.
        doc: one sentence.
        stage: when it is known.
        raw: for activated parameters of the gaussians, the raw tensor of `state.params` and the activation.
    """

    name: str
    kind: Kind
    range: Interval
    buffer: str
    doc: str
    stage: int = TENSOR
    raw: tuple[str, str] = ("", "")


INPUTS: tuple[InputSpec, ...] = (
    InputSpec("rendered", IMAGE, REALS, "rendered", "The rendered image; 0..1, but it may overshoot."),
    InputSpec("target", IMAGE, UNIT, "target", "The photograph, 0..1."),
    InputSpec("mask", REGION, UNIT, "mask", "The item's mask, 1 = this pixel counts; `masked` also works without one."),
    InputSpec("alpha", MAP, UNIT, "alpha", "Accumulated opacity of the render."),
    InputSpec("depth", DEPTH, NONNEGATIVE, "depth", "Expected depth along z in scene units; 0 where nothing is drawn."),
    InputSpec(
        "depth.accumulated", DEPTH, NONNEGATIVE, "depth.accumulated", "Depth weighted by opacity, not divided by alpha."
    ),
    InputSpec("visible", GAUSSIAN_REGION, UNIT, "visible", "Gaussians drawn in any view of the batch."),
    InputSpec("state", STATE, REALS, "state", "The gaussians; a record with the fields below."),
    InputSpec("state.means", gaussians(3), REALS, "state", "Centres in world space.", raw=("means", "")),
    InputSpec("state.scales", gaussians(3), POSITIVE, "state", "Standard deviations.", raw=("scales", "exp")),
    InputSpec("state.log_scales", gaussians(3), REALS, "state", "Raw scales.", raw=("scales", "")),
    InputSpec(
        "state.opacities", gaussians(1), Interval(0, 1), "state", "Opacities, 0..1.", raw=("opacities", "sigmoid")
    ),
    InputSpec("state.opacity_logits", gaussians(1), REALS, "state", "Raw opacities.", raw=("opacities", "")),
    InputSpec("state.quats", gaussians(4), REALS, "state", "Rotations as wxyz quaternions.", raw=("quats", "")),
    InputSpec("state.sh0", gaussians(3), REALS, "state", "Base colour, SH degree 0.", raw=("sh0", "")),
    InputSpec("state.shN", gaussians(VARIES), REALS, "state", "Higher SH coefficients.", raw=("shN", "")),
    InputSpec("step", NUMBER, Interval(0, inf), "", "The training step, counted from 0.", STEP),
    InputSpec("max_steps", NUMBER, Interval(1, inf), "", "Length of the run in steps.", STEP),
    InputSpec("progress", NUMBER, Interval(0, 1, hi_open=True), "", "step / max_steps.", STEP),
)

BY_NAME: dict[str, InputSpec] = {spec.name: spec for spec in INPUTS}

FIELDS: dict[str, tuple[str, ...]] = {
    record: tuple(name.split(".", 1)[1] for name in BY_NAME if name.startswith(f"{record}."))
    for record in ("state", "depth")
}

REGIONS: dict[str, str] = {
    "everywhere": "Every pixel, or every gaussian.",
    "masked": "The mask; everywhere when the item has none.",
    "unmasked": "The complement of the mask; nowhere when the item has none.",
}

COMPONENTS: dict[str, int] = {"r": 0, "g": 1, "b": 2, "x": 0, "y": 1, "z": 2}
