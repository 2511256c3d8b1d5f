"""Points, neighbours and patches: values at other places than where they were made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..facts import facts
from ..interval import REALS
from ..types import TENSOR, Facts, Kind, Type, arithmetic_kind
from . import bounds
from .shapes import Args, check_components, letters, written_out, wrong
from .spec import Builtin, Problem

if TYPE_CHECKING:
    from ..typed import Expr


def _projected(args: Mapping[str, Expr]) -> Kind:
    """Points `[.. 3]` have one pixel and one depth in each image."""
    kind = args["x"].type.kind
    space = " ".join(["B", *(letter for letter in letters(kind) if letter != "B")])
    seen = facts(form="direct", unit="metric", along="z")
    return Kind(
        "record",
        fields=(
            ("pixels", Type(TENSOR, Kind("tensor", space, 2), REALS)),
            ("depth", Type(TENSOR, Kind("tensor", space, 1), REALS, facts=seen)),
        ),
    )


def _check_project(args: Args) -> Problem | None:
    x = args["x"][0]
    found = letters(x.type.kind)
    if len(found) > 1 and found[0] != "B":
        help_ = "give points `[M 3]`, for all cameras of the batch, or `[B M 3]`, for each its own"
        return wrong(x, f"`x` must be a list of points, but this is {x.type.kind.describe()}", help_)
    return check_components(x=3)(args)


def _sampled(args: Mapping[str, Expr]) -> Kind:
    return arithmetic_kind(args["pixels"].type.kind.space, args["x"].type.kind.components)


def _check_sample(args: Args) -> Problem | None:
    pixels = args["pixels"][0]
    kind = pixels.type.kind
    found = letters(kind)
    if kind.layout == "pixels" or kind.components not in (1, 2) or (len(found) > 1 and found[0] != "B"):
        help_ = "give points `[M 2]` or `[B M 2]`, in pixels, such as `project(points).pixels`"
        return wrong(pixels, f"`pixels` must be points on the image, but this is {kind.describe()}", help_)
    return check_components(pixels=2)(args)


def _gathered(args: Mapping[str, Expr]) -> Kind:
    return Kind("tensor", args["index"].type.kind.space, args["x"].type.kind.components)


def _patches(args: Mapping[str, Expr]) -> Kind:
    """`[B P Q k]`: P patches of Q pixels."""
    return Kind("tensor", "B P Q", args["x"].type.kind.components)


def _axes(given: Mapping[str, Facts]) -> Facts:
    return facts(frame="world", length="unit")


PROJECT = Builtin(
    "project",
    "(x: tensor, camera: camera = camera) -> (pixels: like x, depth: like x)",
    "Points in the world `[.. 3]` as each camera of the batch sees them: `pixels` `[B .. 2]`, with pixel centres at "
    "integers + 0.5, and `depth` `[B ..]` along z. Points `[M 3]` are seen by all cameras, `[B M 3]` by their own. A "
    "point that is not in front of the camera is at the pixel (-1, -1), with zero gradient.",
    good="input points: [M 3]\nlet seen = project(points)\n"
    "term sparse = mean(abs(sample_at(depth, seen.pixels) - seen.depth))",
    bad="term sparse = mean(project(state.opacities).depth)",
    bad_code="TYP004",
    kernel="geometry:project",
    kind=_projected,
    check=_check_project,
)

SAMPLE_AT = Builtin(
    "sample_at",
    "(x: visual, pixels: tensor) -> like x",
    "Values of an image at points `[B M 2]` or, in a batch of one, `[M 2]`, in pixels (x, y) with pixel centres at "
    "integers + 0.5; bilinear. Points outside the image have 0, and reductions leave them out.",
    good="input points: [M 2]\ninput lidar: [M]\nterm sparse = mean(abs(sample_at(depth, points) - lidar))",
    bad="term sparse = mean(sample_at(depth, rendered))",
    bad_code="TYP001",
    kernel="geometry:sample_at",
    range=bounds.x,
    keeps=("x",),
    facts=("x",),
    kind=_sampled,
    check=_check_sample,
    exists="geometry:inside_at",
    needs=("one_image",),
)

GATHER = Builtin(
    "gather",
    "(x: gaussians, index: index) -> like x",
    "For each gaussian the values of others: rows of x `[N ..]` by an index `[N K]`, which gives `[N K ..]`.",
    good="input near_by: index [N K]\nterm rigid = mean(norm(gather(state.means, near_by) - state.means))",
    bad="input near_by: index [N K]\nterm rigid = mean(gather(rendered, near_by))",
    bad_code="TYP001",
    kernel="geometry:gather",
    range=bounds.x,
    keeps=("x",),
    facts=("x",),
    kind=_gathered,
)

GAUSSIAN_NORMALS = Builtin(
    "gaussian_normals",
    "(state: state) -> gaussians 3 in [-1, 1]",
    "The direction of each gaussian's shortest axis in the world, unit length; its sign is the axis's own. No gradient "
    "flows through the choice of the axis.",
    good="input up: [N 3]\nterm flat = mean(1 - abs(dot(gaussian_normals(state), up)))",
    bad="term flat = mean(gaussian_normals(state.means))",
    bad_code="TYP001",
    kernel="geometry:gaussian_normals",
    needs=("state.quats", "state.scales"),
    refact=_axes,
    source="Guedon and Lepetit, SuGaR, CVPR 2024: normals of flat gaussians",
)

PATCHES = Builtin(
    "patches",
    "(x: visual, px: whole >= 1; stride: whole >= 1 = none) -> like x",
    "The patches of px by px pixels of each image, `[B P Q k]`: P patches of Q pixels, beginning every `stride` "
    "pixels, side by side without it, row by row as the pixels in them are. Pixels that no whole patch holds are left "
    "out.",
    good='let p = patches(rendered - target, 8)\nterm local = mean(abs(p - mean(p, over="Q")))',
    bad="term local = mean(patches(rendered))",
    bad_code="TYP006",
    kernel="multiscale:patches",
    range=bounds.x,
    keeps=("x",),
    facts=("x",),
    drops=("length",),
    kind=_patches,
    check=written_out("px", "stride", decides="how many patches there are"),
    source="Li et al., DNGaussian, CVPR 2024: depth compared patch by patch",
)

BUILTINS: tuple[Builtin, ...] = (PROJECT, SAMPLE_AT, GATHER, GAUSSIAN_NORMALS, PATCHES)
