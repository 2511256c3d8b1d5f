"""The inputs that every program has, each declared once."""

from __future__ import annotations

from typing import NamedTuple

from .facts import facts
from .interval import NONNEGATIVE, POSITIVE, REALS, UNIT, Interval, inf
from .types import (
    CAMERA,
    DEPTH,
    GAUSSIAN_REGION,
    IMAGE,
    MAP,
    NO_FACTS,
    NORMALS,
    NUMBER,
    PIXEL,
    REGION,
    STATE,
    STEP,
    TENSOR,
    VARIES,
    Facts,
    Kind,
    gaussians,
    per_image,
)


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
        facts: what it means; see `facts.py`.
    """

    name: str
    kind: Kind
    range: Interval
    buffer: str
    doc: str
    stage: int = TENSOR
    raw: tuple[str, str] = ("", "")
    facts: Facts = NO_FACTS


def _depth(field: str, doc: str, **said: str) -> InputSpec:
    name = f"depth.{field}" if field else "depth"
    stated = {"measure": "expected", "form": "direct", "unit": "metric", "along": "z", **said}
    return InputSpec(name, DEPTH, NONNEGATIVE, name, doc, facts=facts(**stated))


INPUTS: tuple[InputSpec, ...] = (
    InputSpec(
        "rendered",
        IMAGE,
        REALS,
        "rendered",
        "The rendered image; 0..1, but it may overshoot.",
        facts=facts(encoding="srgb"),
    ),
    InputSpec("target", IMAGE, UNIT, "target", "The photograph, 0..1.", facts=facts(encoding="srgb")),
    InputSpec(
        "mask",
        REGION,
        UNIT,
        "mask",
        "The item's mask, 1 = this pixel counts; `masked` also works without one.",
        facts=facts(role="validity"),
    ),
    InputSpec("alpha", MAP, UNIT, "alpha", "Accumulated opacity of the render.", facts=facts(role="coverage")),
    _depth("", "Expected depth along z in scene units; 0 where nothing is drawn."),
    _depth("accumulated", "Depth weighted by opacity, not divided by alpha.", measure="accumulated"),
    _depth("median", "Depth at which half of the light is absorbed; 0 where nothing is drawn.", measure="median"),
    _depth("inverse", "1 / expected depth; 0 where nothing is drawn.", form="inverse"),
    InputSpec(
        "normals",
        NORMALS,
        Interval(-1, 1),
        "normals",
        "Normals of the render in the camera's frame, weighted by coverage: shorter where it is not opaque.",
        facts=facts(frame="camera", length="weighted"),
    ),
    InputSpec(
        "normals_from_depth",
        NORMALS,
        Interval(-1, 1),
        "normals_from_depth",
        "Unit normals of the rendered depth's surface in the camera's frame; 0 where there is none.",
        facts=facts(frame="camera", length="unit"),
    ),
    InputSpec("distortion", MAP, NONNEGATIVE, "distortion", "Depth distortion along each ray, as 2DGS defines it."),
    InputSpec(
        "background",
        per_image(3),
        UNIT,
        "background",
        "The colour that the render was composited on, one for each image.",
        facts=facts(encoding="srgb"),
    ),
    InputSpec("visible", GAUSSIAN_REGION, UNIT, "visible", "Gaussians drawn in any view of the batch."),
    InputSpec("radii", gaussians(1), NONNEGATIVE, "radii", "Largest radius of each gaussian on the screen in pixels."),
    InputSpec("state", STATE, REALS, "state", "The gaussians; a record with the fields below."),
    InputSpec("state.means", gaussians(3), REALS, "state", "Centres in world space.", raw=("means", "")),
    InputSpec(
        "state.scales",
        gaussians(3),
        POSITIVE,
        "state",
        "Standard deviations.",
        raw=("scales", "exp"),
        facts=facts(parameter="activated"),
    ),
    InputSpec(
        "state.log_scales",
        gaussians(3),
        REALS,
        "state",
        "Raw scales.",
        raw=("scales", ""),
        facts=facts(parameter="log"),
    ),
    InputSpec(
        "state.opacities",
        gaussians(1),
        Interval(0, 1),
        "state",
        "Opacities, 0..1.",
        raw=("opacities", "sigmoid"),
        facts=facts(parameter="activated"),
    ),
    InputSpec(
        "state.opacity_logits",
        gaussians(1),
        REALS,
        "state",
        "Raw opacities.",
        raw=("opacities", ""),
        facts=facts(parameter="logit"),
    ),
    InputSpec("state.quats", gaussians(4), REALS, "state", "Rotations as wxyz quaternions.", raw=("quats", "")),
    InputSpec("state.sh0", gaussians(3), REALS, "state", "Base colour, SH degree 0.", raw=("sh0", "")),
    InputSpec("state.shN", gaussians(VARIES), REALS, "state", "Higher SH coefficients.", raw=("shN", "")),
    InputSpec("camera", CAMERA, REALS, "camera", "The camera of each image; a record with the fields below."),
    InputSpec("camera.index", per_image(), NONNEGATIVE, "camera", "Number of the image in the data set."),
    InputSpec("camera.fx", per_image(), POSITIVE, "camera", "Focal length in x in pixels."),
    InputSpec("camera.fy", per_image(), POSITIVE, "camera", "Focal length in y in pixels."),
    InputSpec("camera.cx", per_image(), REALS, "camera", "Principal point in x in pixels."),
    InputSpec("camera.cy", per_image(), REALS, "camera", "Principal point in y in pixels."),
    InputSpec("camera.position", per_image(3), REALS, "camera", "Centre of the camera in world space."),
    InputSpec("camera.intrinsics", Kind("tensor", "B 3", 3), REALS, "camera", "Intrinsic matrices `[B 3 3]`."),
    InputSpec(
        "camera.extrinsics", Kind("tensor", "B 4", 4), REALS, "camera", "World-to-camera matrices `[B 4 4]`, OpenCV."
    ),
    InputSpec("pixel", PIXEL, REALS, "", "Where each pixel is in its image; a record with the fields below."),
    InputSpec("pixel.x", MAP, UNIT, "", "From 0 at the left border to 1 at the right."),
    InputSpec("pixel.y", MAP, UNIT, "", "From 0 at the upper border to 1 at the lower."),
    InputSpec("step", NUMBER, Interval(0, inf), "", "The training step, counted from 0.", STEP),
    InputSpec("max_steps", NUMBER, Interval(1, inf), "", "Length of the run in steps.", STEP),
    InputSpec("progress", NUMBER, Interval(0, 1, hi_open=True), "", "step / max_steps.", STEP),
)

BY_NAME: dict[str, InputSpec] = {spec.name: spec for spec in INPUTS}

FIELDS: dict[str, tuple[str, ...]] = {
    record: tuple(name.split(".", 1)[1] for name in BY_NAME if name.startswith(f"{record}."))
    for record in ("state", "depth", "camera", "pixel")
}

REGIONS: dict[str, str] = {
    "everywhere": "Every pixel, or every gaussian.",
    "masked": "The mask; everywhere when the item has none.",
    "unmasked": "The complement of the mask; nowhere when the item has none.",
}

VIEW_FIELDS: tuple[str, ...] = ("rendered", "target", "depth", "alpha", "normals", "mask", "masked", "state")
"""What every second render has; `near.NAME` also reads a declared input of its item."""

HOST_SIZES: dict[str, str] = {
    "B": "images in the batch",
    "H": "height of the images in pixels",
    "W": "width of the images in pixels",
    "N": "gaussians",
}
"""Dimensions that every program has; they can be read as numbers."""

COMPONENTS: dict[str, int] = {"r": 0, "g": 1, "b": 2, "x": 0, "y": 1, "z": 2}


def buffer_of(name: str) -> str:
    """The render buffer or item field behind an input: that of a fixed one, else the declared input or view itself."""
    spec = BY_NAME.get(name)
    return spec.buffer if spec is not None else name.partition(".")[0]


RENDER_BUFFERS = frozenset(
    {"rendered", "alpha", "normals", "normals_from_depth", "distortion", "visible", "radii"}
    | {name for name in BY_NAME if name.partition(".")[0] == "depth"}
)
"""What a renderer makes; the rest comes with the item, the state or the trainer."""

PAYLOAD_FIELDS: dict[str, tuple[str, ...]] = {
    "alpha": ("alpha", "alphas", "render_alphas"),
    "depth": ("depth", "depths_expected", "depths"),
    "depth.accumulated": ("depths_accumulated",),
    "depth.median": ("depths_median", "render_median"),
    "depth.inverse": ("depths_inverse",),
    "normals": ("normals", "render_normals"),
    "normals_from_depth": ("normals_from_depth", "surf_normals"),
    "distortion": ("distortion", "render_distort"),
    "radii": ("radii",),
    "visible": ("visible",),
}
"""What the fields of a renderer's payload may be called, by the names of the buffers in them."""

RENDERED: tuple[str, ...] = ("rendered", "renders", "rgb")
"""What a payload may call the image."""

CAMERA_FIELDS: dict[str, tuple[str, ...]] = {
    "intrinsics": ("intrinsics", "Ks", "K"),
    "extrinsics": ("extrinsics", "viewmats", "world_to_camera"),
}
"""What a record of a camera may call its matrices."""

LENS: dict[str, tuple[int, int]] = {"fx": (0, 0), "fy": (1, 1), "cx": (0, 2), "cy": (1, 2)}
"""Numbers of a camera, by their row and column in the intrinsics."""
