"""Differences between neighbours. They keep the shape; reductions leave out borders where there is no neighbour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..interval import NONNEGATIVE, Interval, inf, point
from . import bounds, shapes
from .spec import Builtin, Problem, Ranges, Support

if TYPE_CHECKING:
    from ..typed import Expr

ALL_AROUND: Support = (1, 1, 1, 1)


def _scheme(forward: Support, central: Support) -> Callable[[Mapping[str, Expr]], Support]:
    """The support by scheme; that of central differences where a parameter chooses."""
    return lambda args: forward if shapes.mode(args.get("scheme"), "central") == "forward" else central


def _along(args: Mapping[str, Expr]) -> Support:
    """Of images; grids have no left and right, and leave out what the record's ``exists`` says."""
    if "x" in args and args["x"].type.kind.layout != "pixels":
        return (0, 0, 0, 0)
    return {"x": (1, 1, 0, 0), "y": (0, 0, 1, 1), "?": ALL_AROUND}.get(shapes.mode(args.get("axis"), "?"), (0, 0, 0, 0))


def _check_place(letter: str, at: int) -> shapes.Check:
    """A check that the dimension is where an image has it, counted from the end of the dimensions."""

    def check(args: shapes.Args) -> Problem | None:
        kind = args["x"][0].type.kind
        found = shapes.letters(kind)
        if kind.layout == "pixels" or (len(found) > 1 and found.index(letter) == len(found) + at):
            return None
        name = f"d{letter.lower()}"
        message = f"`{name}` needs a grid whose last dimensions are Y and X, but this is {kind.describe()}"
        help_ = f'declare it so, or write `tv(x, axes="{letter.lower()}")` or `second_difference`'
        return shapes.wrong(args["x"][0], message, help_)

    return check


def _second(r: Ranges) -> Interval:
    return point(2.0) * bounds.difference(r)


def _laplacian(r: Ranges) -> Interval:
    return point(4.0) * bounds.difference(r)


def _tv(r: Ranges) -> Interval:
    """At most one difference for each of three axes, to the first or second power."""
    largest = bounds.difference(r).hi
    return Interval(0.0, 3 * max(largest, largest * largest)) if largest < inf else NONNEGATIVE


DX = Builtin(
    "dx",
    '(x: tensor; scheme: {"forward", "central"} = "forward") -> like x',
    "Difference along x: the right neighbour less this pixel, or half of right less left. Where one is missing it is "
    "0, and reductions leave it out. Of grids whose last dimension is X, along this.",
    good="term smooth = mean(abs(dx(depth)) + abs(dy(depth)), masked)",
    bad="term smooth = mean(abs(dx(state.means)))",
    bad_code="TYP001",
    kernel="stencils:dx",
    range=bounds.difference,
    check=shapes.all_of(shapes.check_axis("X"), _check_place("X", -1)),
    support=_scheme((0, 1, 0, 0), (1, 1, 0, 0)),
)

DY = Builtin(
    "dy",
    '(x: tensor; scheme: {"forward", "central"} = "forward") -> like x',
    "Difference along y: the neighbour below less this pixel, or half of below less above. Where one is missing it is "
    "0, and reductions leave it out. Of grids whose last but one dimension is Y, along this.",
    good="term smooth = mean(abs(dx(depth)) + abs(dy(depth)), masked)",
    bad='term smooth = mean(abs(dy(depth, scheme="backward")))',
    bad_code="TYP001",
    kernel="stencils:dy",
    range=bounds.difference,
    check=shapes.all_of(shapes.check_axis("Y"), _check_place("Y", -2)),
    support=_scheme((0, 0, 0, 1), (0, 0, 1, 1)),
)

SECOND_DIFFERENCE = Builtin(
    "second_difference",
    '(x: tensor; axis: {"x", "y", "z", "t"}) -> like x',
    "Second difference along an axis: the two neighbours less twice this value. Of grids that are declared with "
    "dimensions X, Y, Z or T, along these.",
    good="input planes: list of [C T X]\n"
    'term motion = 1e-4 * sum(mean(sq(second_difference(p, axis="t"))) for p in planes)',
    bad='term motion = mean(sq(second_difference(depth, axis="t")))',
    bad_code="TYP001",
    kernel="stencils:second_difference",
    range=_second,
    check=shapes.check_axes,
    support=_along,
    exists="stencils:has_both_neighbours",
    source="Fridovich-Keil et al., K-Planes, CVPR 2023: smoothness in time",
)

LAPLACIAN = Builtin(
    "laplacian",
    "(x: visual) -> like x",
    "The four neighbours less four times this pixel.",
    good="term curved = mean(abs(laplacian(depth)), masked)",
    bad="term curved = mean(abs(laplacian(step)))",
    bad_code="TYP001",
    kernel="stencils:laplacian",
    range=_laplacian,
    support=ALL_AROUND,
)

SOBEL = Builtin(
    "sobel",
    '(x: map; kernel: {"sobel", "scharr"} = "sobel") -> components 2 x',
    "Smoothed central differences along x and along y, two components, scaled to the difference from pixel to pixel.",
    good="let edge = norm(sobel(gray(target)))\nterm colour = mean(abs(rendered - target) * (1 + edge))",
    bad="term smooth = mean(norm(sobel(rendered)))",
    bad_code="TYP001",
    kernel="stencils:sobel",
    range=bounds.half_difference,
    support=ALL_AROUND,
)

TV = Builtin(
    "tv",
    '(x: tensor, r: region = everywhere; power: whole in [1, 2] = 1, axes: {"yx", "y", "x", "zyx", "z", "t"} = "yx")'
    " -> number >= 0",
    "Total variation: the mean absolute difference between neighbours, or of its square for power 2, over the pixels "
    "of `r` where it exists, summed over the axes. A difference counts as much as the product of `r` at both ends. Of "
    "grids that are declared with dimensions X, Y, Z or T, along these.",
    good="term smooth = 0.01 * tv(depth, masked)",
    bad="term smooth = 0.01 * tv(state.scales)",
    bad_code="TYP001",
    kernel="stencils:tv",
    range=_tv,
    check=shapes.check_axes,
    window=2,
    source="Rudin, Osher and Fatemi, Nonlinear total variation based noise removal algorithms, 1992",
    reduces=True,
)

BUILTINS: tuple[Builtin, ...] = (DX, DY, SECOND_DIFFERENCE, LAPLACIAN, SOBEL, TV)
