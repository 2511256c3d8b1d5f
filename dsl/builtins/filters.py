"""Filters, blocks and other sizes of images: they keep what the values mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..facts import without
from ..interval import ZERO, Interval, point
from ..types import Facts, Kind, Type
from . import bounds, shapes
from .shapes import Args, wrong
from .spec import Builtin, Problem, Ranges, Support

if TYPE_CHECKING:
    from ..typed import Expr


def _pooled(r: Ranges) -> Interval:
    """A window can hold nothing of a region, and then it gives 0."""
    return bounds.x(r) if r.get("region") is None else bounds.x(r).hull(ZERO)


def _moved(args: Mapping[str, Expr]) -> Support:
    right, down = shapes.whole(args.get("right")), shapes.whole(args.get("down"))
    return max(right, 0), max(-right, 0), max(down, 0), max(-down, 0)


def _resized(args: Mapping[str, Expr]) -> Kind:
    kind = args["x"].type.kind
    if "like" in args:
        return Kind(kind.name, args["like"].type.kind.space, kind.components)
    return shapes.rescaled(kind, shapes.written(args["scale"])) if "scale" in args else kind


def _check_resize(args: Args) -> Problem | None:
    if ("like" in args) != ("scale" in args):
        return shapes.written_out("scale", decides="the size of the result")(args)
    help_ = "write `resize(x, like=y)` for the size of y, or `resize(x, scale=0.5)`"
    return wrong(args["x"][0], "`resize` needs the size to give: either `like=` or `scale=`", help_, "TYP006")


def _haar(args: Mapping[str, Expr]) -> Kind:
    """Four images of half the size: sums of four pixels over two, and differences over two."""
    x = args["x"].type
    kind = shapes.rescaled(x.kind, "0.5")
    kind = Kind("image" if kind.components == 3 else "map", kind.space, kind.components)
    low, high = point(2.0) * x.range, x.range - x.range
    ranges = {"ll": low, "lh": high, "hl": high, "hh": high}
    return Kind("record", fields=tuple((name, Type(x.stage, kind, range_)) for name, range_ in ranges.items()))


def _minmax_facts(given: Mapping[str, Facts]) -> Facts:
    """What is measured does not matter after it, but the direction in which it grows does."""
    return without(given["x"], "unit", "measure", "along", "length", "parameter", "encoding", "role")


BLUR = Builtin(
    "blur",
    "(x: visual, sigma: host > 0 = 1.5) -> like x",
    "Gaussian blur with a standard deviation of `sigma` pixels, cut at 3 sigma to the nearest pixel: 11 pixels for "
    "1.5. At the border the weights of the pixels inside the image are scaled up to sum to 1.",
    good="term coarse = l1(blur(rendered, 2), blur(target, 2), masked)",
    bad="term coarse = l1(blur(rendered, 0), blur(target, 2), masked)",
    bad_code="RNG003",
    kernel="filters:blur",
    range=bounds.x,
    keeps=("x",),
    facts=("x",),
    drops=("length",),
)

BOX = Builtin(
    "box",
    "(x: visual, px: whole >= 0) -> like x",
    "Mean over the square of 2 px + 1 pixels around each pixel; at the border, over the pixels inside the image.",
    good="let error = detach(component_mean(abs(rendered - target)))\nterm robust = l1(box(error < 0.1, 1) > 0.5)",
    bad="term robust = mean(box(depth, 1.5))",
    bad_code="RNG003",
    kernel="filters:box",
    range=bounds.x,
    keeps=("x",),
    facts=("x",),
    drops=("length",),
)

SHIFT = Builtin(
    "shift",
    "(x: visual; right: whole = 0, down: whole = 0) -> same x",
    "The image moved by whole pixels. Reductions leave out the pixels that nothing was moved to; there the edge is "
    "repeated.",
    good="term smooth = mean(abs(depth - shift(depth, right=2)), masked)",
    bad="term smooth = mean(abs(depth - shift(depth, left=2)), masked)",
    bad_code="NAM006",
    kernel="filters:shift",
    range=bounds.x,
    keeps=("x",),
    facts=("x",),
    support=_moved,
    check=shapes.written_out("right", "down"),
)

POOL = Builtin(
    "pool",
    '(x: visual, px: whole >= 0; mode: {"mean", "max", "min"} = "mean", region: region = none) -> like x',
    "Mean, maximum or minimum over the square of 2 px + 1 pixels around each pixel, same size; with `region`, of the "
    "pixels inside it alone, and 0 where there are none.",
    good='term near = mean(depth - pool(depth, 3, mode="min"), masked)',
    bad='term near = mean(depth - pool(depth, 3, mode="median"), masked)',
    bad_code="TYP001",
    kernel="filters:pool",
    range=_pooled,
    keeps=("x",),
    facts=("x",),
    drops=("length",),
)

BLOCK_MEAN = Builtin(
    "block_mean",
    "(x: visual, px: whole >= 1, region: region = none) -> like x",
    "The image in blocks of px by px pixels, from the top left: each pixel gets the mean of its block, weighted by "
    "`region` if one is given, and 0 where nothing is inside it.",
    good="term even = mean(abs(depth - block_mean(depth, 8)), masked)",
    bad="term even = mean(abs(depth - block_mean(depth)), masked)",
    bad_code="TYP006",
    kernel="filters:block_mean",
    range=_pooled,
    keeps=("x",),
    facts=("x",),
    drops=("length",),
)

BLOCK_MEDIAN = Builtin(
    "block_median",
    "(x: visual, px: whole >= 1, region: region = none) -> like x",
    "The image in blocks of px by px pixels, from the top left: each pixel gets the median of its block, component by "
    "component, of the pixels inside `region` alone if one is given, and 0 where there are none. Of an even number it "
    "is the mean of the two in the middle.",
    good='let edge = norm(sobel(gray(target), kernel="scharr"))\nterm colour = l1(edge > 1.1 * block_median(edge, 32))',
    bad="term colour = l1(block_median(edge, 32))",
    bad_code="NAM001",
    kernel="filters:block_median",
    range=_pooled,
    keeps=("x",),
    facts=("x",),
    drops=("length",),
    check=shapes.written_out("px", decides="the size of the blocks"),
    source="Matsuki et al., Gaussian Splatting SLAM, CVPR 2024, released code: the gradient mask of tracking",
)

RESIZE = Builtin(
    "resize",
    '(x: visual; like: tensor = none, scale: host > 0 = none, mode: {"bilinear", "area", "nearest"} = "bilinear")'
    " -> same x",
    "The image at the size of another one, or at a multiple of its own size, rounded up. The corners of both images "
    "meet; bilinear reads four pixels and repeats the edge, and `area` takes means and is right for making images "
    "smaller.",
    good="term coarse = l1(resize(rendered, scale=0.5), resize(target, scale=0.5))",
    bad="term coarse = mean(resize(rendered))",
    bad_code="TYP006",
    kernel="multiscale:resize",
    range=bounds.x,
    keeps=("x",),
    facts=("x",),
    drops=("length",),
    kind=_resized,
    check=_check_resize,
)

HAAR = Builtin(
    "haar",
    "(x: visual) -> (ll: like x, lh: like x, hl: like x, hh: like x)",
    "One level of the orthonormal Haar wavelet transform, at half size: `ll` is the sum of each 2 by 2 pixels over 2, "
    "`lh` what is below less above, `hl` right less left, `hh` the diagonals. An odd last row or column is repeated.",
    good="let a = haar(rendered)\nlet b = haar(target)\nterm waves = l1(a.lh, b.lh) + l1(a.hl, b.hl)",
    bad="term waves = l1(haar(rendered).lh, target)",
    bad_code="TYP011",
    kernel="multiscale:haar",
    kind=_haar,
    window=2,
    source="Haar, Zur Theorie der orthogonalen Funktionensysteme, 1910; Mallat, A Theory for Multiresolution Signal "
    "Decomposition, 1989",
)

FFT_MAGNITUDE = Builtin(
    "fft_magnitude",
    "(x: visual) -> like x >= 0",
    "Magnitude of the two-dimensional Fourier transform of each component, divided by the square root of the number of "
    "pixels; zero frequency first. Its gradient at 0 is 0. The transform of a difference is the difference of the "
    "transforms.",
    good="term waves = 0.01 * mean(fft_magnitude(rendered - target))",
    bad="term waves = 0.01 * fft_magnitude(rendered - target)",
    bad_code="TYP002",
    kernel="filters:fft_magnitude",
)

MINMAX = Builtin(
    "minmax",
    "(x: tensor, r: region = everywhere) -> like x in [0, 1]",
    "The values brought to 0..1 by their least and largest in `r`, image by image; cut there outside `r`, and 0 where "
    "all are equal.",
    good="input mono: depth[relative]\nterm depth = mean(abs(minmax(depth) - minmax(mono)), masked)",
    bad="term depth = mean(abs(minmax(depth, 0.5)))",
    bad_code="TYP001",
    kernel="statistics:minmax",
    needs=("per_image",),
    refact=_minmax_facts,
)

BUILTINS: tuple[Builtin, ...] = (
    BLUR,
    BOX,
    SHIFT,
    POOL,
    BLOCK_MEAN,
    BLOCK_MEDIAN,
    RESIZE,
    HAAR,
    FFT_MAGNITUDE,
    MINMAX,
)
