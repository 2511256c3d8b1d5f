"""Well-known spellings of kinds, of the words in their brackets, and of units, and what is written here instead."""

from __future__ import annotations

from collections.abc import Mapping

_REGION = "write `region`: it says which pixels count, 1 = this pixel counts"
_STEPS = "steps of the training are `steps`"
_NUMBER = "write `number`, or leave it out"
_FLAG = "true or false is a `flag`"
_DIMENSIONS = "write its dimensions, as in `[B H W 16]` or `[N 3]`"
_TEXT = 'a mode lists its choices, as in `param net = "alex" in {"alex", "vgg"}`'

UNITS: Mapping[str, str] = {
    **dict.fromkeys(("step", "iteration", "iterations", "iter", "iters", "epochs", "int", "integer"), _STEPS),
    **dict.fromkeys(("float", "float32", "double", "real", "scalar", "weight"), _NUMBER),
    **dict.fromkeys(("bool", "boolean", "switch"), _FLAG),
    **dict.fromkeys(("str", "string", "text", "mode", "enum", "choice"), _TEXT),
}
"""Units of parameters."""

KINDS: Mapping[str, str] = {
    **dict.fromkeys(("mask", "masks", "bool", "validity"), _REGION),
    **dict.fromkeys(("tensor", "array", "Tensor", "features", "feature"), _DIMENSIONS),
    **dict.fromkeys(("disparity", "inverse_depth"), "write `depth[inverse, relative]`, or `depth[inverse, metric]`"),
    **dict.fromkeys(("rgb", "color", "colour", "photo", "img"), "write `image`"),
    **dict.fromkeys(("grayscale", "gray", "channel", "heatmap", "confidence"), "write `map`, with its range"),
    "alpha": "write `map[coverage] in [0, 1]`",
    **dict.fromkeys(("float", "int"), "one number is a `scalar`; one that the host knows before the step a `number`"),
    **dict.fromkeys(("step", "iterations"), _STEPS),
    **dict.fromkeys(("boolean", "switch"), _FLAG),
    **dict.fromkeys(("render", "frame", "viewpoint"), "a second render is a `view`"),
}
"""Kinds of inputs."""

_OPENGL = "`camera` is OpenCV's frame, x right, y down, z forward: turn y and z of the data round where it is read"

FACTS: Mapping[str, Mapping[str, str]] = {
    "depth": {
        **dict.fromkeys(("disparity", "disp", "inv", "reciprocal"), "write `inverse`"),
        **dict.fromkeys(("absolute", "scaled"), "write `metric`"),
        **dict.fromkeys(("monocular", "mono", "affine", "unscaled"), "write `relative`"),
        **dict.fromkeys(("euclidean", "distance", "radial"), "write `ray`"),
        **dict.fromkeys(("planar", "orthogonal"), "write `z`"),
        **dict.fromkeys(("lidar", "sfm", "holes"), "write `sparse`"),
        "mean": "write `expected`",
    },
    "normals": {
        **dict.fromkeys(("opengl", "blender"), _OPENGL),
        "opencv": "write `camera`: it is OpenCV's frame",
        **dict.fromkeys(("view", "local"), "write `camera`"),
        "global": "write `world`",
        **dict.fromkeys(("normalized", "normalised"), "write `unit`"),
    },
    "image": {
        **dict.fromkeys(("rgb", "gamma"), "write `srgb`"),
        **dict.fromkeys(("linear_rgb", "hdr"), "write `linear`"),
    },
    "map": {"alpha": "write `coverage`", "mask": "write `validity`"},
}
"""Words in the brackets of a kind, by kind."""
