"""Regions: made of values, of the image's border, and of other regions."""

from __future__ import annotations

import math

from . import shapes
from .spec import Builtin

REGION = Builtin(
    "region",
    "(x: tensor in [0, 1]) -> region x",
    "A value in 0..1 as a region: how much each pixel or gaussian counts.",
    good="term colour = l1(region(detach(alpha)))",
    bad="term colour = l1(region(alpha + 2))",
    bad_code="RNG003",
    kernel="pointwise:raw",
    keeps=("x",),
)

INSIDE = Builtin(
    "inside",
    "(; border: whole >= 0 = 0, multiple_of: whole >= 1 = 1) -> region",
    "The pixels that are at least `border` pixels from every edge of the image; with `multiple_of`, of the largest "
    "rectangle in the middle whose sides are multiples of it; of an odd rest, one pixel more is left out at the bottom "
    "and at the right.",
    good="term colour = l1(inside(border=5) and masked)",
    bad="term colour = l1(inside(border=-5))",
    bad_code="RNG003",
    kernel="morphology:inside",
    needs=("pixels",),
    stops=True,
)

ERODE = Builtin(
    "erode",
    "(r: region, px: whole >= 0) -> region r",
    "The region less everything within `px` pixels of its outside: the least value in a square of 2 px + 1. The edge "
    "of the image is not outside; where the region has no value, as at the border of a difference, it is.",
    good="term colour = l1(erode(masked, 4))",
    bad="term colour = l1(erode(visible, 4))",
    bad_code="TYP001",
    kernel="morphology:erode",
    check=shapes.pixels_only("r"),
)

DILATE = Builtin(
    "dilate",
    "(r: region, px: whole >= 0) -> region r",
    "The region and everything within `px` pixels of it: the largest value in a square of 2 px + 1. "
    "Where the region has no value, as at the border of a difference, is outside.",
    good="term empty = mean(alpha, not dilate(masked, 4))",
    bad="term empty = mean(alpha, dilate(alpha, 4))",
    bad_code="TYP001",
    kernel="morphology:dilate",
    check=shapes.pixels_only("r"),
)

VALID = Builtin(
    "valid",
    "(x: tensor) -> region x",
    "Where a value is finite and above 0: where data with holes has something to say.",
    good="input lidar: depth[metric, sparse]\nterm depth = depth_l1(depth, lidar, valid(lidar))",
    bad="term depth = mean(depth, valid(0.5))",
    bad_code="TYP001",
    kernel="pointwise:valid",
    stops=True,
)

FINITE = Builtin(
    "finite",
    "(x: value) -> region x",
    "Where a value is neither NaN nor infinite.",
    good="input prior: depth[metric]\nterm depth = depth_l1(depth, prior, finite(prior))",
    bad="term rough = mean(depth, finite(state))",
    bad_code="TYP001",
    kernel="pointwise:finite",
    host=lambda x: math.isfinite(x),
    stops=True,
    needs=("holes",),
)

BUILTINS: tuple[Builtin, ...] = (REGION, INSIDE, ERODE, DILATE, VALID, FINITE)
