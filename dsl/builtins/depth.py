"""Comparing depth with priors of unknown scale, and the normals of a depth's surface."""

from __future__ import annotations

from collections.abc import Mapping

from ..facts import facts, without
from ..types import Fact, Facts
from .shapes import wants, written_out
from .spec import Builtin


def _aligned(given: Mapping[str, Facts]) -> Facts:
    """The fit gives the unit of ``to``, and what else both say; holes stay those of x."""
    own = without(given["x"], "unit", "length", "parameter")
    to = given.get("to", {})
    return {**own, **{n: fact for n, fact in to.items() if n == "unit" or (n in own and n != "density")}}


def _surface(given: Mapping[str, Facts]) -> Facts:
    """Unit normals in the frame that the call asks for."""
    frame = given.get("frame", {}).get("mode", Fact("camera")).value
    density = {name: fact for name, fact in given["d"].items() if name == "density"}
    return {**facts(frame=frame, length="unit"), **density}


PEARSON_LOSS = Builtin(
    "pearson_loss",
    "(a: visual, b: visual, r: region = everywhere) -> number in [0, 2]",
    "1 minus the Pearson correlation of two maps inside `r`, image by image, averaged over the images: 0 where one is "
    "a rising linear function of the other. It does not depend on scale and shift. An image with no variation inside "
    "counts as 1, with zero gradient; images with fewer than two pixels inside are left out.",
    good="input mono: depth[inverse, relative]\nterm depth = 0.05 * pearson_loss(depth.inverse, mono, masked)",
    bad="input mono: depth[inverse, relative]\nterm depth = 0.05 * pearson_loss(depth, mono, masked)",
    bad_code="DEP003",
    kernel="depth:pearson_loss",
    source="Zhu et al., FSGS, ECCV 2024: the correlation of rendered and estimated depth",
    ignores=("unit",),
    reduces=True,
)

ALIGN = Builtin(
    "align",
    "(x: visual, r: region = everywhere; to: visual) -> same x",
    "x brought to the scale and shift of `to`: the least-squares fit a*x + b inside `r`, image by image. The fit "
    "itself carries no gradient. Where x is the same everywhere inside, the result is the mean of `to`.",
    good="input mono: depth[inverse, relative]\nterm depth = l1(align(depth.inverse, masked, to=mono), mono, masked)",
    bad="input mono: depth[inverse, relative]\nterm depth = l1(depth.inverse, align(mono), masked)",
    bad_code="TYP006",
    kernel="depth:align",
    source="Ranftl et al., Towards Robust Monocular Depth Estimation, TPAMI 2022: the least-squares alignment",
    ignores=("unit",),
    refact=_aligned,
)

DEPTH_RANK = Builtin(
    "depth_rank",
    "(a: depth, b: depth, r: region = everywhere; margin: host >= 0 = 1e-4, pairs: whole >= 1 = 4096) -> number >= 0",
    "How far `a` breaks the order of `b`: over random pairs of pixels, the mean of max(low - high + margin, 0), where "
    "low is the value of `a` at the pixel where `b` is smaller. So many pairs are drawn in each image, anew at each "
    "step, reproducibly; those that are not both inside `r`, or are equal in `b`, are left out.",
    good="input mono: depth[relative]\nterm depth = 0.1 * depth_rank(depth, mono, masked)",
    bad="input mono: depth[relative]\nterm depth = 0.1 * depth_rank(rendered, mono, masked)",
    bad_code="TYP001",
    kernel="depth:depth_rank",
    check=written_out("pairs", decides="how many pixels are compared"),
    needs=("key",),
    source="Wang et al., SparseNeRF, ICCV 2023: the depth ranking loss",
    ignores=("unit",),
    reduces=True,
)

DEPTH_NORMALS = Builtin(
    "depth_normals",
    '(d: depth; valid: region = none, frame: {"camera", "world"} = "camera", camera: camera = camera)'
    " -> normals in [-1, 1]",
    "Unit normals of the surface that a depth describes: the cross product of central differences of the points, "
    "turned towards the camera. The depth is along z. Pixels that have no depth or lie outside `valid`, or one of "
    "whose four neighbours does, get 0.",
    good="term bend = normal_cosine(normals, depth_normals(depth.median), masked)",
    bad="term bend = normal_cosine(normals, depth_normals(depth.inverse), masked)",
    bad_code="DEP003",
    kernel="depth:depth_normals",
    source="Huang et al., 2D Gaussian Splatting for Geometrically Accurate Radiance Fields, SIGGRAPH 2024, eq. 15",
    check=wants("d", form=("direct",), measure=("expected", "median"), unit=("metric",), along=("z",)),
    refact=_surface,
    support=(1, 1, 1, 1),
)

BUILTINS: tuple[Builtin, ...] = (PEARSON_LOSS, ALIGN, DEPTH_RANK, DEPTH_NORMALS)
