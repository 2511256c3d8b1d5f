"""What calls of builtins look like, what they mean, where they have no value, and which mistakes they find."""

from __future__ import annotations

import pytest

from splatdsl.dsl.api import analyse, check_text
from splatdsl.dsl.builtins import shapes, table
from splatdsl.dsl.check.functions import prelude
from splatdsl.dsl.source import Source
from splatdsl.dsl.typed import Expr
from splatdsl.dsl.types import Kind, Type

INPUTS = """param size = 0.5 in (0, 1]
param count: steps = 100 in [10, 1000]
input mono: depth[inverse, relative]
input other: depth[relative]
input lidar: depth[metric, sparse]
input scores: [B H W 16]
input points: [M 3]
input pixels: [M 2]
input grid: [C Y X]
input turned: [X Y]
input before: [N 4]
input close: index [N K]
input near: view
"""


def value(text: str) -> Expr:
    program, found = analyse(Source(f"{INPUTS}let v = {text}\nterm t = l1(masked)"))
    assert program is not None, [(d.code, d.message) for d in found]
    return program.lets["v"]


def typed(text: str) -> Type:
    return value(text).type


KINDS = {
    "mean(depth)": ("number", ""),
    'mean(gather(state.means, close), over="K")': ("gaussians", "[N 3]"),
    'sum(grid, over="Y")': ("tensor", "[C X]"),
    'median(gather(state.scales, close), over="K")': ("gaussians", "[N 3]"),
    "median(depth)": ("images", "[B]"),
    "std(rendered, masked)": ("images", "[B]"),
    "quantile(state.opacities, 0.5)": ("number", ""),
    "var(near.depth)": ("images", "[B]"),
    "smallest_mean(depth, 0.5)": ("number", ""),
    "component_sum(state.scales)": ("gaussians", "[N]"),
    "component_max(scores)": ("map", "[B H W 1]"),
    "detach(depth)": ("depth", "[B H W 1]"),
    "raw(normals)": ("normals", "[B H W 3]"),
    "norm(state.means)": ("gaussians", "[N]"),
    "normalize(normals)": ("normals", "[B H W 3]"),
    "dot(normals, normals_from_depth)": ("map", "[B H W 1]"),
    "dot(state.means, gather(state.means, close))": ("tensor", "[N K]"),
    "cross(normals, normals_from_depth)": ("image", "[B H W 3]"),
    "quat_rotate(before, state.means)": ("gaussians", "[N 3]"),
    "quat_inverse(before)": ("gaussians", "[N 4]"),
    "identity_like(before, rows=2)": ("gaussians", "[N 4]"),
    "gray(rendered)": ("map", "[B H W 1]"),
    "region(alpha)": ("region", "[B H W 1]"),
    "inside(border=5)": ("region", "[B H W 1]"),
    "dilate(near.masked, 4)": ("region", "[B H W 1]"),
    "valid(state.opacities)": ("region", "[N]"),
    "sobel(depth)": ("map", "[B H W 2]"),
    'second_difference(grid, axis="x")': ("tensor", "[C Y X]"),
    "resize(rendered, scale=0.5)": ("image", "[B H W 3]"),
    "resize(near.rendered, like=target)": ("image", "[B H W 3]"),
    "resize(masked, scale=2)": ("region", "[B H W 1]"),
    "haar(rendered).hh": ("image", "[B H W 3]"),
    "depth_normals(depth)": ("normals", "[B H W 3]"),
    "align(depth, to=other)": ("depth", "[B H W 1]"),
    "project(points).pixels": ("tensor", "[B M 2]"),
    "project(points).depth": ("tensor", "[B M]"),
    "sample_at(depth, pixels)": ("tensor", "[M]"),
    "sample_at(rendered, project(points).pixels)": ("tensor", "[B M 3]"),
    "gather(state.scales, close)": ("tensor", "[N K 3]"),
    "gaussian_normals(state)": ("gaussians", "[N 3]"),
    "patches(rendered, 8)": ("tensor", "[B P Q 3]"),
    'mean(patches(rendered, 8), over="Q")': ("tensor", "[B P 3]"),
    "random_boxes(size=8, count=2)": ("list", ""),
    "bernoulli(0.5, like=state.opacities)": ("region", "[N]"),
    "bernoulli(alpha)": ("region", "[B H W 1]"),
    "histogram(alpha, bins=100, lo=0, hi=1)": ("tensor", "[100]"),
    "histogram_quantile(histogram(alpha, bins=100, lo=0, hi=1), 0.5)": ("number", ""),
    "softmax(scores)": ("map", "[B H W 16]"),
    "binary_entropy(alpha)": ("map", "[B H W 1]"),
    "anisotropy(state)": ("gaussians", "[N]"),
    "effective_rank(state)": ("gaussians", "[N]"),
}


@pytest.mark.parametrize("text", KINDS)
def test_kinds(text: str) -> None:
    kind = typed(text).kind
    assert (kind.name, kind.dims) == KINDS[text]


def test_what_was_made_smaller_is_of_another_size() -> None:
    half = typed("haar(rendered).ll").kind
    assert half.space != typed("rendered").kind.space
    assert typed("resize(rendered, scale=0.5)").kind.space == half.space
    assert typed("haar(haar(rendered).ll).ll").kind.space == typed("resize(rendered, scale=0.25)").kind.space
    assert typed("resize(haar(rendered).ll, scale=2)").kind == typed("rendered").kind
    assert typed("resize(haar(rendered).ll, like=target)").kind.space == typed("target").kind.space
    assert typed("resize(haar(rendered).ll, scale=0.4)").kind.space == "scale 0.2:pixels"
    near = typed("haar(near.rendered).ll").kind
    assert near.space not in (half.space, typed("near.rendered").kind.space)


def test_dimensions_are_counted_from_the_components() -> None:
    grid, scores = typed("grid").kind, typed("scores").kind
    assert [shapes.axis(grid, letter) for letter in "CYX"] == [-4, -3, -2]
    assert shapes.axis(scores, "H") == -3
    assert [shapes.axis(typed("depth").kind, letter) for letter in "YX"] == [-3, -2]
    assert shapes.axis(Kind("tensor", "M", "K"), "K") == -1
    assert shapes.dimensions(Kind("tensor", "M", "K")) == ["M", "K"]


RANGES = {
    "binary_entropy(alpha)": "[0, 0.693147]",
    "anisotropy(state)": "[1, inf)",
    "effective_rank(state)": "[1, 3]",
    "softmax(scores)": "(0, 1)",
    "gray(target)": "[0, 1]",
    "component_sum(target)": "[0, 3]",
    "component_product(state.scales)": "(0, inf)",
    "dot(normals, normals_from_depth)": "[-1, 1]",
    "norm(normals)": "[0, 1]",
    "std(target)": "[0, 0.5]",
    "dx(target)": "[-1, 1]",
    "tv(target)": "[0, 3]",
    "pearson_loss(depth, other)": "[0, 2]",
    "blur(target, 2)": "[0, 1]",
    "box(masked, 2)": "[0, 1]",
    "minmax(depth)": "[0, 1]",
    "piecewise(alpha, (0, 0.1), (1, 0.5))": "[0.1, 0.5]",
    "floor(4 * alpha)": "[0, 4]",
    "acos(alpha)": "[0, 1.5708]",
    "sign(state.scales)": "[1, 1]",
}


@pytest.mark.parametrize("text", RANGES)
def test_ranges(text: str) -> None:
    found = typed(text).range
    shown = f"{'(' if found.lo_open else '['}{found.lo + 0.0:g}, {found.hi:g}{')' if found.hi_open else ']'}"
    assert shown == RANGES[text]


FACTS = {
    "detach(state.scales)": {"parameter": "activated"},
    "raw(state.scales)": {},
    "clamp(depth, 0, 10)": {"measure": "expected", "form": "direct", "unit": "metric", "along": "z"},
    "max(1e-3, depth.inverse)": {"measure": "expected", "form": "inverse", "unit": "metric", "along": "z"},
    "where(alpha > 0.5, depth, depth.median)": {"form": "direct", "unit": "metric", "along": "z"},
    "max(state.scales, 0.1)": {},
    "exp(state.log_scales)": {"parameter": "activated"},
    "exp(state.scales)": {},
    "log(state.scales)": {"parameter": "log"},
    "log(state.log_scales)": {},
    "sigmoid(state.opacity_logits)": {"parameter": "activated"},
    "sigmoid(state.log_scales)": {},
    "log(depth)": {"measure": "expected", "unit": "metric", "along": "z"},
    "normalize(normals)": {"frame": "camera", "length": "unit"},
    "depth_normals(depth)": {"frame": "camera", "length": "unit"},
    'depth_normals(depth, frame="world")': {"frame": "world", "length": "unit"},
    "gaussian_normals(state)": {"frame": "world", "length": "unit"},
    "align(depth, to=other)": {"measure": "expected", "form": "direct", "unit": "relative", "along": "z"},
    "minmax(depth)": {"form": "direct"},
    "blur(normals, 2)": {"frame": "camera"},
    "shift(depth, right=1)": {"measure": "expected", "form": "direct", "unit": "metric", "along": "z"},
    "dx(depth)": {},
    "laplacian(depth)": {},
    "std(depth)": {},
    "mean(depth)": {},
    'mean(gather(state.log_scales, close), over="K")': {"parameter": "log"},
    "max_over(depth)": {"measure": "expected", "form": "direct", "unit": "metric", "along": "z"},
    "project(points).depth": {"form": "direct", "unit": "metric", "along": "z"},
}


@pytest.mark.parametrize("text", FACTS)
def test_facts(text: str) -> None:
    assert {name: fact.value for name, fact in typed(text).facts.items()} == FACTS[text]


SUPPORTS = {
    "dx(depth)": (0, 1, 0, 0),
    'dx(depth, scheme="central")': (1, 1, 0, 0),
    "dy(depth)": (0, 0, 0, 1),
    'dy(depth, scheme="central")': (0, 0, 1, 1),
    'second_difference(depth, axis="x")': (1, 1, 0, 0),
    'second_difference(depth, axis="y")': (0, 0, 1, 1),
    "laplacian(depth)": (1, 1, 1, 1),
    "sobel(depth)": (1, 1, 1, 1),
    "depth_normals(depth)": (1, 1, 1, 1),
    "shift(depth, right=3)": (3, 0, 0, 0),
    "shift(depth, right=-2, down=1)": (0, 2, 1, 0),
    "blur(depth)": (0, 0, 0, 0),
}


@pytest.mark.parametrize("text", SUPPORTS)
def test_support(text: str) -> None:
    """Left, right, top, bottom."""
    e = value(text)
    assert e.builtin.support_of(dict(zip(e.names, e.args))) == SUPPORTS[text]


WRONG = {
    'mean(depth, over="K")': "TYP001",
    "resize(depth, like=alpha, scale=2)": "TYP006",
    "softmax(alpha)": "TYP004",
    "cross_entropy(scores, state.opacities)": "TYP003",
    "cross_entropy(scores, rendered)": "TYP004",
    "sample_at(depth, points)": "TYP001",
    "sample_at(depth, state.scales.x)": "TYP004",
    "histogram(alpha, bins=10, lo=1, hi=1)": "RNG003",
    "histogram(alpha, bins=count, lo=0, hi=1)": "TYP001",
    "depth_rank(depth, depth, pairs=count)": "TYP001",
    "bernoulli(rendered)": "TYP004",
    "project(gather(state.means, close))": "TYP001",
    "histogram_quantile(alpha, 0.5)": "TYP001",
    "bernoulli(0.5)": "TYP001",
    "bernoulli(alpha, like=state.opacities)": "TYP003",
    "quat_mul(state.quats, state.means)": "TYP004",
    "quat_rotate(state.quats, normals)": "TYP003",
    "cross(state.quats, state.quats)": "TYP004",
    "dy(state.means)": "TYP001",
    'second_difference(depth, axis="t")': "TYP001",
    'tv(grid, axes="zyx")': "TYP001",
    "depth_normals(depth.accumulated)": "DEP001",
    "depth_normals(depth.inverse)": "DEP003",
    "depth_normals(other)": "DEP005",
    "erode(visible, 2)": "TYP001",
    "project(pixels)": "TYP004",
    "every(step, 2.5)": "RNG003",
    "shift(depth, right=step)": "TYP001",
    "gather(rendered, close)": "TYP001",
    "resize(depth, scale=size)": "TYP001",
    "block_median(depth, count)": "TYP001",
    "patches(depth, count)": "TYP001",
    "patches(depth, 8, stride=count)": "TYP001",
    "dx(turned)": "TYP001",
    "dy(turned)": "TYP001",
}


@pytest.mark.parametrize("text", WRONG)
def test_mistakes(text: str) -> None:
    found = [d.code for d in check_text(f"{INPUTS}let v = {text}\nterm t = l1(masked) + 0 * mean(v)")]
    assert [c for c in found if c == WRONG[text]] == [WRONG[text]], found


REDUCE = [
    "l1",
    "l2",
    "huber",
    "charbonnier",
    "log_l1",
    "gradient_l1",
    "ms_ssim",
    "psnr",
    "lpips",
    "ssim",
    "ssim_loss",
    "photometric",
    "depth_l1",
    "disparity_l1",
    "pearson_loss",
    "depth_rank",
    "tv",
    "edge_aware_smoothness",
    "normal_consistency",
    "normal_cosine",
    "opacity_reg",
    "scale_reg",
    "reg",
    "opacity_entropy",
    "flatten",
    "background_alpha",
    "bce",
    "cross_entropy",
    "mean",
    "sum",
    "std",
    "var",
    "median",
    "quantile",
    "max_over",
    "min_over",
    "smallest_mean",
    "largest_mean",
]


def test_what_reduces() -> None:
    """The reductions, the comparing losses, the smoothness losses and the regularisers; nothing else."""
    assert {n for n, b in table().items() if b.reduces} == set(REDUCE) & set(table())
    assert set(REDUCE) <= {*table(), *prelude()[1]}


def test_measures_that_are_better_when_larger() -> None:
    assert {n for n, b in table().items() if b.similarity} == {"ssim", "ssim_map", "ms_ssim", "psnr"}
