"""Kernels of images, stencils, windows, blocks, other sizes, against their formulas as loops over pixels in float64."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import splatdsl
from splatdsl.compiler.interpret import Interpreter
from splatdsl.compiler.kernels import filters, morphology, multiscale, stencils
from splatdsl.dsl.api import analyse
from splatdsl.dsl.builtins import table
from splatdsl.dsl.source import Source

B, H, W, K = 2, 7, 6, 2
SHAPE = (B, H, W, K)
Where = tuple[int, int, int]


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def region(seed: int = 1, shape: Sequence[int] = (B, H, W, 1)) -> Tensor:
    """Zeros, ones and fractions."""
    u = rand(*shape, seed=seed)
    return torch.where(u < 0.4, 0.0, torch.where(u > 0.7, 1.0, u))


# Formulas, pixel by pixel


def made(x: Tensor, of: Callable[[int, int, int], Tensor], height: int = 0, width: int = 0) -> Tensor:
    height, width = height or x.shape[1], width or x.shape[2]
    values = [of(b, i, j) for b in range(x.shape[0]) for i in range(height) for j in range(width)]
    return torch.stack(values).reshape(x.shape[0], height, width, -1)


def near(x: Tensor, b: int, i: int, j: int, px: int) -> list[Where]:
    return [
        (b, y, z)
        for y in range(max(i - px, 0), min(i + px, x.shape[1] - 1) + 1)
        for z in range(max(j - px, 0), min(j + px, x.shape[2] - 1) + 1)
    ]


def block(x: Tensor, b: int, i: int, j: int, px: int) -> list[Where]:
    rows, columns = range(x.shape[1]), range(x.shape[2])
    return [(b, y, z) for y in rows for z in columns if y // px == i // px and z // px == j // px]


def average(x: Tensor, r: Tensor | None, places: list[Where]) -> Tensor:
    if r is None:
        return sum(x[p] for p in places) / len(places)
    weight = sum(float(r[p]) for p in places)
    return sum(x[p] * r[p] for p in places if r[p] > 0) / weight if weight else torch.zeros_like(x[0, 0, 0])


def chosen(x: Tensor, r: Tensor | None, places: list[Where], how: str) -> Tensor:
    """The largest, least or middle of the values inside, component by component."""
    values = [x[p] for p in places if r is None or r[p] > 0]
    if not values:
        return torch.zeros_like(x[0, 0, 0])
    result = []
    for c in range(x.shape[-1]):
        ordered = sorted((v[c] for v in values), key=lambda v: float(v.detach()))
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        result.append({"min": ordered[0], "max": ordered[-1], "median": middle}[how])
    return torch.stack(result)


def pick(x: Tensor, b: int, i: int, j: int) -> Tensor | None:
    return x[b, i, j] if 0 <= i < x.shape[1] and 0 <= j < x.shape[2] else None


def combination(x: Tensor, weights: dict[tuple[int, int], float]) -> Tensor:
    """A weighted sum of neighbours by (down, right); 0 where one is missing."""

    def at(b: int, i: int, j: int) -> Tensor:
        found = [(pick(x, b, i + y, j + z), w) for (y, z), w in weights.items()]
        if any(v is None for v, _ in found):
            return torch.zeros_like(x[b, i, j])
        return sum(v * w for v, w in found)

    return made(x, at)


def stencil(rows: list[list[float]], total: float) -> dict[tuple[int, int], float]:
    return {(y - 1, z - 1): w / total for y, row in enumerate(rows) for z, w in enumerate(row) if w}


def sobel(x: Tensor, row: list[float]) -> Tensor:
    """Smoothed across by (a, b, a): the differences of the outer rows of the 3 by 3 kernel."""
    across = [[-w, 0, w] for w in row]
    along = [list(column) for column in zip(*across)]
    return torch.cat([combination(x, stencil(k, 2 * sum(row))) for k in (across, along)], -1)


def variation(x: Tensor, r: Tensor | None, power: int, axes: Sequence[int], stride: int = 1) -> Tensor:
    total = torch.zeros((), dtype=x.dtype)
    index = [range(0, n, stride if 0 < d < 3 else 1) for d, n in enumerate(x.shape)]
    for axis in axes:
        values, weights = [], []
        for p in [(b, i, j, k) for b in index[0] for i in index[1] for j in index[2] for k in index[3]]:
            q = tuple(n + stride * (d == axis % 4) for d, n in enumerate(p))
            if q[axis] >= x.shape[axis]:
                continue
            weight = 1.0 if r is None else float(r[p[:3]] * r[q[:3]])
            if weight:
                values.append((x[q] - x[p]).abs() ** power * weight)
                weights.append(weight)
        total = total + (sum(values) / sum(weights) if values else 0)
    return total


def blurred(x: Tensor, sigma: float) -> Tensor:
    reach = math.floor(3 * sigma + 0.5)

    def at(b: int, i: int, j: int) -> Tensor:
        places = near(x, b, i, j, reach)
        weights = [math.exp(-((y - i) ** 2 + (z - j) ** 2) / (2 * sigma**2)) for _, y, z in places]
        return sum(x[p] * w for p, w in zip(places, weights)) / sum(weights)

    return made(x, at)


def bilinear(x: Tensor, height: int, width: int) -> Tensor:
    def at(b: int, i: int, j: int) -> Tensor:
        total = torch.zeros_like(x[0, 0, 0])
        y = max((i + 0.5) * x.shape[1] / height - 0.5, 0)
        z = max((j + 0.5) * x.shape[2] / width - 0.5, 0)
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(z), math.floor(z) + 1):
                weight = (1 - abs(y - row)) * (1 - abs(z - column))
                total = total + weight * x[b, min(row, x.shape[1] - 1), min(column, x.shape[2] - 1)]
        return total

    return made(x, at, height, width)


def nearest(x: Tensor, height: int, width: int) -> Tensor:
    def at(b: int, i: int, j: int) -> Tensor:
        return x[b, math.floor((i + 0.5) * x.shape[1] / height), math.floor((j + 0.5) * x.shape[2] / width)]

    return made(x, at, height, width)


def area(x: Tensor, height: int, width: int) -> Tensor:
    def touched(i: int, size: int, of: int) -> range:
        return range(math.floor(i * of / size), math.ceil((i + 1) * of / size))

    def at(b: int, i: int, j: int) -> Tensor:
        rows, columns = touched(i, height, x.shape[1]), touched(j, width, x.shape[2])
        return average(x, None, [(b, y, z) for y in rows for z in columns])

    return made(x, at, height, width)


def moved(x: Tensor, right: int, down: int) -> Tensor:
    return made(x, lambda b, i, j: x[b, min(max(i - down, 0), H - 1), min(max(j - right, 0), W - 1)])


def wavelets(x: Tensor) -> Tensor:
    """All four bands, one after the other in the components."""

    def band(signs: tuple[int, int, int, int]) -> Tensor:
        def at(b: int, i: int, j: int) -> Tensor:
            places = [(2 * i, 2 * j), (2 * i, 2 * j + 1), (2 * i + 1, 2 * j), (2 * i + 1, 2 * j + 1)]
            four = [x[b, min(y, x.shape[1] - 1), min(z, x.shape[2] - 1)] for y, z in places]
            return sum(s * v for s, v in zip(signs, four)) / 2

        return made(x, at, (x.shape[1] + 1) // 2, (x.shape[2] + 1) // 2)

    bands = [(1, 1, 1, 1), (-1, -1, 1, 1), (-1, 1, -1, 1), (1, -1, -1, 1)]
    return torch.cat([band(s) for s in bands], -1)


def magnitude(x: Tensor) -> Tensor:
    def at(b: int, u: int, v: int) -> Tensor:
        total: Any = 0
        for i in range(H):
            for j in range(W):
                total = total + x[b, i, j] * cmath.exp(-2j * math.pi * (u * i / H + v * j / W))
        return total.abs() / math.sqrt(H * W)

    return made(x, at)


def cut(x: Tensor, px: int, stride: int) -> Tensor:
    corners = [(i, j) for i in range(0, H - px + 1, stride) for j in range(0, W - px + 1, stride)]
    inner = [(i, j) for i in range(px) for j in range(px)]
    rows = [[[x[b, i + y, j + z] for y, z in inner] for i, j in corners] for b in range(B)]
    return torch.stack([torch.stack([torch.stack(q) for q in p]) for p in rows])


def frame(border: int, multiple: int) -> Tensor:
    def kept(size: int) -> list[float]:
        side = max((size - 2 * border) // multiple, 0) * multiple
        start = border + (size - 2 * border - side) // 2
        return [float(side > 0 and start <= i < start + side) for i in range(size)]

    rows, columns = (torch.tensor(kept(n), dtype=torch.float64) for n in (H, W))
    return (rows[:, None] * columns)[None, :, :, None].expand(B, H, W, 1)


class Case(NamedTuple):
    kernel: Callable[[Tensor, Tensor | None], Tensor]
    formula: Callable[[Tensor, Tensor | None], Tensor]
    masked: bool = False
    smooth: bool = True


R3 = torch.tensor(3.0, dtype=torch.float64)


def over_masks(name: str, kernel: Any, formula: Any, smooth: bool = True) -> dict[str, Case]:
    return {name: Case(kernel, formula, False, smooth), f"{name}, region": Case(kernel, formula, True, smooth)}


def windows(px: int, changing: bool) -> dict[str, Case]:
    """Windows and blocks whose size is written out, and those that change between steps."""
    size: Any = torch.tensor(float(px), dtype=torch.float64) if changing else px
    of = f"{px}, changing" if changing else f"{px}"
    return {
        f"box {of}": Case(
            lambda x, r: filters.box(x, size),
            lambda x, r: made(x, lambda *p: average(x, None, near(x, *p, px))),
        ),
        f"dilate {of}": Case(
            lambda x, r: morphology.dilate(x, size),
            lambda x, r: made(x, lambda *p: chosen(x, None, near(x, *p, px), "max")),
        ),
        f"erode {of}": Case(
            lambda x, r: morphology.erode(x, size),
            lambda x, r: made(x, lambda *p: chosen(x, None, near(x, *p, px), "min")),
        ),
        **over_masks(
            f"pool mean {of}",
            lambda x, r: filters.pool(x, size, region=r),
            lambda x, r: made(x, lambda *p: average(x, r, near(x, *p, px))),
        ),
        **over_masks(
            f"pool max {of}",
            lambda x, r: filters.pool(x, size, mode="max", region=r),
            lambda x, r: made(x, lambda *p: chosen(x, r, near(x, *p, px), "max")),
        ),
        **over_masks(
            f"pool min {of}",
            lambda x, r: filters.pool(x, size, mode="min", region=r),
            lambda x, r: made(x, lambda *p: chosen(x, r, near(x, *p, px), "min")),
        ),
        **over_masks(
            f"block_mean {of}",
            lambda x, r: filters.block_mean(x, max(px, 1) if not changing else size.clamp(min=1), region=r),
            lambda x, r: made(x, lambda *p: average(x, r, block(x, *p, max(px, 1)))),
        ),
    }


def at_size(mode: str, formula: Any, height: int, width: int) -> dict[str, Case]:
    like = torch.zeros(1, height, width, 5)
    kernel = lambda x, r: multiscale.resize(x, like=like, mode=mode)  # noqa: E731
    return {f"resize {mode} {height}x{width}": Case(kernel, lambda x, r: formula(x, height, width))}


CASES: dict[str, Case] = {
    "dx": Case(lambda x, r: stencils.dx(x), lambda x, r: combination(x, {(0, 0): -1, (0, 1): 1})),
    "dy": Case(lambda x, r: stencils.dy(x), lambda x, r: combination(x, {(0, 0): -1, (1, 0): 1})),
    "dx central": Case(
        lambda x, r: stencils.dx(x, scheme="central"), lambda x, r: combination(x, {(0, -1): -0.5, (0, 1): 0.5})
    ),
    "dy central": Case(
        lambda x, r: stencils.dy(x, scheme="central"), lambda x, r: combination(x, {(-1, 0): -0.5, (1, 0): 0.5})
    ),
    "second_difference x": Case(
        lambda x, r: stencils.second_difference(x, axis=-2),
        lambda x, r: combination(x, {(0, -1): 1, (0, 0): -2, (0, 1): 1}),
    ),
    "second_difference y": Case(
        lambda x, r: stencils.second_difference(x, axis=-3),
        lambda x, r: combination(x, {(-1, 0): 1, (0, 0): -2, (1, 0): 1}),
    ),
    "laplacian": Case(
        lambda x, r: stencils.laplacian(x),
        lambda x, r: combination(x, stencil([[0, 1, 0], [1, -4, 1], [0, 1, 0]], 1)),
    ),
    "sobel": Case(lambda x, r: stencils.sobel(x[..., :1]), lambda x, r: sobel(x[..., :1], [1, 2, 1])),
    "scharr": Case(
        lambda x, r: stencils.sobel(x[..., :1], kernel="scharr"), lambda x, r: sobel(x[..., :1], [3, 10, 3])
    ),
    **over_masks("tv", lambda x, r: stencils.tv(x, r), lambda x, r: variation(x, r, 1, (-3, -2))),
    **over_masks("tv 2", lambda x, r: stencils.tv(x, r, power=2), lambda x, r: variation(x, r, 2, (-3, -2))),
    **over_masks(
        "tv 2, changing", lambda x, r: stencils.tv(x, r, power=R3 - 1), lambda x, r: variation(x, r, 2, (-3, -2))
    ),
    **over_masks(
        "tv of a grid", lambda x, r: stencils.tv(x, r, power=2, axes=(-4, -2)), lambda x, r: variation(x, r, 2, (0, 2))
    ),
    **over_masks(
        "gradient_l1", lambda x, r: stencils.gradient_l1(x, -x / 2, r), lambda x, r: variation(1.5 * x, r, 1, (-3, -2))
    ),
    **over_masks(
        "gradient_l1 3",
        lambda x, r: stencils.gradient_l1(x, -x / 2, r, scales=3),
        lambda x, r: sum(variation(1.5 * x, r, 1, (-3, -2), stride) for stride in (1, 2, 4)),
    ),
    **over_masks(
        "gradient_l1 3, changing",
        lambda x, r: stencils.gradient_l1(x, -x / 2, r, scales=R3),
        lambda x, r: sum(variation(1.5 * x, r, 1, (-3, -2), stride) for stride in (1, 2, 4)),
    ),
    "blur": Case(lambda x, r: filters.blur(x), lambda x, r: blurred(x, 1.5)),
    "blur 0.5": Case(lambda x, r: filters.blur(x, 0.5), lambda x, r: blurred(x, 0.5)),
    "blur, changing": Case(lambda x, r: filters.blur(x, R3 / 2), lambda x, r: blurred(x, 1.5)),
    "blur 0.5, changing": Case(lambda x, r: filters.blur(x, R3 / 6), lambda x, r: blurred(x, 0.5)),
    **windows(0, False),
    **windows(2, False),
    **windows(2, True),
    **windows(9, True),
    **over_masks(
        "block_median",
        lambda x, r: filters.block_median(x, 3, region=r),
        lambda x, r: made(x, lambda *p: chosen(x, r, block(x, *p, 3), "median")),
    ),
    "shift": Case(lambda x, r: filters.shift(x, right=2, down=-1), lambda x, r: moved(x, 2, -1)),
    "shift away": Case(lambda x, r: filters.shift(x, right=-20), lambda x, r: moved(x, -20, 0)),
    **at_size("bilinear", bilinear, 4, 9),
    **at_size("bilinear", bilinear, 15, 3),
    **at_size("nearest", nearest, 5, 11),
    **at_size("area", area, 4, 3),
    **at_size("area", area, 9, 6),
    "resize to 0.4": Case(lambda x, r: multiscale.resize(x, scale=0.4), lambda x, r: bilinear(x, 3, 3)),
    "haar": Case(lambda x, r: torch.cat(multiscale.haar(x), -1), lambda x, r: wavelets(x)),
    "fft_magnitude": Case(lambda x, r: filters.fft_magnitude(x), lambda x, r: magnitude(x)),
    "patches": Case(lambda x, r: multiscale.patches(x, 3), lambda x, r: cut(x, 3, 3)),
    "patches by stride": Case(lambda x, r: multiscale.patches(x, 4, stride=2), lambda x, r: cut(x, 4, 2)),
    "inside": Case(lambda x, r: x * morphology.inside(x, 2), lambda x, r: x * frame(2, 1)),
    "inside multiples": Case(lambda x, r: x * morphology.inside(x, multiple_of=4), lambda x, r: x * frame(0, 4)),
    "inside, changing": Case(lambda x, r: x * morphology.inside(x, R3 - 2, R3 - 1), lambda x, r: x * frame(1, 2)),
    "inside nothing": Case(lambda x, r: x * morphology.inside(x, 4), lambda x, r: x * frame(4, 1)),
}
MASKED = [name for name in CASES if CASES[name].masked]
ALIKE = ("erode", "pool min", "pool max", "box")
"""With a size that changes they are made like `dilate` and `pool mean`, which are traced."""
TRACED = [
    n for n in CASES if " 9" not in n and not (n.startswith(ALIKE) and "changing" in n) and f"{n}, region" not in CASES
]


def with_gradient(f: Any, x: Tensor, r: Tensor | None) -> tuple[Tensor, Tensor]:
    """The result, and the gradient of its product with random weights."""
    x = x.clone().requires_grad_(True)
    y = f(x, r)
    weights = rand(*y.shape, seed=5).to(x.dtype)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x, allow_unused=True, materialize_grads=True)
    return y.detach(), gradient


def run(case: Case, x: Tensor, r: Tensor | None) -> tuple[Tensor, Tensor]:
    return with_gradient(case.kernel, x, r if case.masked else None)


@pytest.mark.parametrize("name", CASES)
def test_the_formula_and_its_gradient(name: str) -> None:
    case, x, r = CASES[name], rand(*SHAPE), region()
    expected = with_gradient(case.formula, x, r if case.masked else None)
    found = run(case, x, r)
    assert found[0].shape == expected[0].shape
    for mine, formula in zip(found, expected):
        torch.testing.assert_close(mine, formula, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", TRACED)
def test_it_traces_and_gives_the_same_numbers(name: str) -> None:
    case, x, r = CASES[name], rand(*SHAPE), region()
    torch._dynamo.reset()
    traced = torch.compile(case.kernel, backend="aot_eager", fullgraph=True)
    for mine, eager in zip(run(case._replace(kernel=traced), x, r), run(case, x, r)):
        torch.testing.assert_close(mine, eager, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", TRACED)
def test_single_precision_stays_single(name: str) -> None:
    case, x, r = CASES[name], rand(*SHAPE), region()
    single = run(case, x.float(), r.float())
    for mine, double in zip(single, run(case, x, r)):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine.double(), double, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MASKED)
def test_nothing_outside_the_region_is_read(name: str) -> None:
    case, x, r = CASES[name], rand(*SHAPE), region()
    for hidden in (torch.nan, torch.inf):
        beyond = run(case, torch.where(r > 0, x, hidden), r)
        for mine, plain in zip(beyond, run(case, x, r)):
            torch.testing.assert_close(mine, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MASKED)
def test_an_empty_region_gives_0_without_gradient(name: str) -> None:
    for x in (rand(*SHAPE), torch.full(SHAPE, torch.nan, dtype=torch.float64)):
        for mine in run(CASES[name], x, torch.zeros(B, H, W, 1, dtype=torch.float64)):
            assert not mine.any()


@pytest.mark.parametrize("name", MASKED)
def test_a_region_of_ones_is_none(name: str) -> None:
    case, x = CASES[name], rand(*SHAPE)
    for r in (torch.ones(B, H, W, 1, dtype=torch.float64), torch.ones(SHAPE, dtype=torch.float64)):
        for mine, plain in zip(run(case, x, r), with_gradient(case.kernel, x, None)):
            torch.testing.assert_close(mine, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_equal_values_have_a_finite_gradient(name: str) -> None:
    for value in (0.0, 0.5):
        for mine in run(CASES[name], torch.full(SHAPE, value, dtype=torch.float64), region()):
            assert mine.isfinite().all()


@pytest.mark.parametrize("name", [n for n in CASES if not n.startswith(("patches", "inside"))])
def test_images_of_few_pixels(name: str) -> None:
    for height, width in ((1, 1), (1, 4), (3, 1), (2, 2)):
        half = torch.full((1, height, width, 1), 0.5, dtype=torch.float64)
        for mine in run(CASES[name], rand(1, height, width, K), half):
            assert mine.isfinite().all()


SMOOTH = ["dx", "laplacian", "sobel", "tv 2, region", "blur", "blur, changing", "pool mean 2, region", "fft_magnitude"]


@pytest.mark.parametrize("name", [*SMOOTH, "block_mean 2, region", "block_median, region", "haar", "resize area 4x3"])
def test_gradients_by_finite_differences(name: str) -> None:
    case, r = CASES[name], region()[:1] if CASES[name].masked else None
    x = rand(1, H, W, K).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: case.kernel(x, r), (x,), fast_mode=True)


def test_a_region_that_is_a_number() -> None:
    x = rand(*SHAPE)
    for call in (
        lambda r: filters.pool(x, 1, region=r),
        lambda r: filters.pool(x, 1, mode="max", region=r),
        lambda r: filters.block_mean(x, 2, region=r),
        lambda r: filters.block_median(x, 2, region=r),
    ):
        torch.testing.assert_close(call(1.0), call(None))
        torch.testing.assert_close(call(torch.tensor(0.5, dtype=torch.float64)), call(None))
        assert not call(0.0).any()
    assert morphology.erode(1.0, 2) == 1.0


def test_the_spectrum_keeps_the_energy() -> None:
    x = rand(*SHAPE)
    torch.testing.assert_close(filters.fft_magnitude(x).square().sum(), x.square().sum())


def test_the_median_of_a_block_with_nan() -> None:
    x = rand(1, 4, 4, 1)
    x[0, 0, 0] = torch.nan
    medians = filters.block_median(x, 2)
    assert medians[0, :2, :2].isnan().all()
    assert medians[0, 2:].isfinite().all()


def test_patches_larger_than_the_image_are_none() -> None:
    assert multiscale.patches(rand(*SHAPE), 7).shape == (B, 0, 49, K)


def test_sizes_of_resized_images() -> None:
    assert [multiscale.scaled(n, s) for n, s in ((10, 0.1), (7, 0.5), (100, 0.29), (3, 0.01), (5, 2))] == [
        1,
        4,
        29,
        1,
        10,
    ]
    assert multiscale.haar(rand(1, 7, 5, 1))[0].shape == multiscale.resize(rand(1, 7, 5, 1), scale=0.5).shape


# MS-SSIM: the windows as one convolution with 11 by 11 weights, scales by average pooling

SIDE = 161


def maps(a: Tensor, b: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast times structure, of images `[C, 1, H, W]`."""
    at = torch.arange(11, dtype=torch.float64) - 5
    window = torch.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * 1.5**2))
    window = (window / window.sum())[None, None]

    def smooth(x: Tensor) -> Tensor:
        return F.conv2d(x, window, padding=padding)

    ma, mb, c1, c2 = smooth(a), smooth(b), 0.01**2, 0.03**2
    va, vb, cov = smooth(a * a) - ma**2, smooth(b * b) - mb**2, smooth(a * b) - ma * mb
    return (2 * ma * mb + c1) / (ma**2 + mb**2 + c1), (2 * cov + c2) / (va + vb + c2)


def multiscale_similarity(a: Tensor, b: Tensor, r: Tensor, padding: str) -> Tensor:
    found = []
    for image in range(a.shape[0]):
        if not r[image].any():
            continue
        for c in range(a.shape[-1]):
            w = r[image, None, None, :, :, 0]
            x, y = a[image, None, None, :, :, c] * w, b[image, None, None, :, :, c] * w
            value = torch.ones((), dtype=a.dtype)
            for i, exponent in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
                if i:
                    x, y, w = (F.avg_pool2d(t, 2, ceil_mode=True) for t in (x, y, w))
                luminance, rest = maps(x, y, 5 if padding == "same" else 0)
                values = rest * luminance if i == 4 else rest
                inner = w if padding == "same" else w[..., 5:-5, 5:-5]
                if inner.any():
                    value = value * ((values * inner).sum() / inner.sum()).clamp(min=0) ** exponent
            found.append(value)
    return sum(found) / len(found) if found else torch.ones((), dtype=a.dtype)


def pair() -> tuple[Tensor, Tensor]:
    a = rand(2, SIDE, SIDE + 2, 2)
    return a.requires_grad_(True), 0.7 * a.detach() + 0.3 * rand(2, SIDE, SIDE + 2, 2, seed=3)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_ms_ssim(padding: str) -> None:
    a, b = pair()
    r = region(4, (2, SIDE, SIDE + 2, 1))
    r[:, 40:] *= (rand(2, SIDE - 40, SIDE + 2, 1, seed=6) > 0.5).double()
    for weights in (None, r):
        expected = multiscale_similarity(a, b, torch.ones_like(r) if weights is None else r, padding)
        found = multiscale.ms_ssim(a, b, weights, padding)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        mine, formula = (torch.autograd.grad(value, a)[0] for value in (found, expected))
        torch.testing.assert_close(mine, formula, rtol=1e-6, atol=1e-12)


def test_ms_ssim_leaves_out_images_in_which_the_region_is_empty() -> None:
    a, b = pair()
    r = region(4, (2, SIDE, SIDE + 2, 1))
    r[1] = 0
    hidden = torch.where(r > 0, b, torch.nan)
    found = multiscale.ms_ssim(a, hidden, r)
    torch.testing.assert_close(found, multiscale.ms_ssim(a[:1], b[:1], r[:1]))
    (gradient,) = torch.autograd.grad(found, a)
    assert gradient.isfinite().all()
    assert not gradient[1].any()
    empty = multiscale.ms_ssim(a, hidden, torch.zeros_like(r))
    assert empty == 1
    assert not torch.autograd.grad(empty, a)[0].any()


def test_ms_ssim_of_equal_and_of_opposite_images() -> None:
    a, _ = pair()
    same = multiscale.ms_ssim(a, a.detach())
    torch.testing.assert_close(same, torch.ones_like(same))
    opposite = multiscale.ms_ssim(a, 1 - a.detach())
    assert opposite == 0, "contrast and structure are negative at the finest scale"
    assert not torch.autograd.grad(opposite, a)[0].any()
    flat = torch.full_like(a, 0.5).requires_grad_(True)
    assert torch.autograd.grad(multiscale.ms_ssim(flat, flat.detach()), flat)[0].isfinite().all()


def test_ms_ssim_traces() -> None:
    a, b = (x.detach()[..., :1] for x in pair())
    r = region(4, (2, SIDE, SIDE + 2, 1))
    torch._dynamo.reset()
    traced = torch.compile(multiscale.ms_ssim, backend="aot_eager", fullgraph=True)(a, b, r)
    torch.testing.assert_close(traced, multiscale.ms_ssim(a, b, r), rtol=1e-12, atol=1e-12)


# Programs, compiled and interpreted

KERNELS = ("stencils", "filters", "morphology", "multiscale")
MADE_HERE = [b.name for b in table().values() if b.kernel.partition(":")[0] in KERNELS]
GRIDS = "second_difference"
"""Its example reads a list of grids, which has no interpreter: see the second of the programs below."""
PROGRAMS = {
    **{name: table()[name].good for name in MADE_HERE if name != GRIDS},
    "second_difference of a map": 'term t = mean(sq(second_difference(depth, axis="y")), masked)',
    "tv along x": 'term t = tv(rendered, masked, power=2, axes="x")',
    "sizes that are parameters": "param px = 3\nterm t = mean(pool(depth, px, region=masked) + box(depth, px))"
    ' + mean(pool(depth, px, mode="max")) + mean(block_mean(depth, px, region=masked))',
    "a blur that changes": "param sigma = 1.2 > 0\nterm t = mean(blur(rendered, sigma), masked)",
    "a border that changes": "param border = 3\nterm t = l1(inside(border=border))",
    "scales that change": "param scales = 2\nterm t = gradient_l1(masked, scales=scales)",
    "half of two kinds": "term t = l1(haar(rendered).ll / 2, resize(target, scale=0.5))",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_compiled_and_interpreted(name: str) -> None:
    side = SIDE if name == "ms_ssim" else 21
    size = (1, side, side + 2)
    buffers = {n: rand(*size, k, seed=i) for i, (n, k) in enumerate((("rendered", 3), ("target", 3), ("alpha", 1)))}
    buffers["depth"] = rand(*size, 1, seed=4) + 0.2
    buffers["rendered"].requires_grad_(True)
    mask = (rand(*size, seed=7) > 0.3).double()
    mask[:, 3:14, 4:16] = 1
    program, found = analyse(Source(PROGRAMS[name]))
    assert program is not None, found
    compiled = splatdsl.compile(PROGRAMS[name], backend="eager")(**buffers, mask=mask)
    expected, _ = Interpreter(program, {**buffers, "mask": mask[..., None]}, 0, 100).run()
    torch.testing.assert_close(compiled, expected, rtol=1e-10, atol=1e-12)
    assert compiled.isfinite()
    if expected.requires_grad:
        gradients = (torch.autograd.grad(value, buffers["rendered"])[0] for value in (compiled, expected))
        torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_a_program_over_grids() -> None:
    planes = [rand(4, 5, 6), rand(4, 7, 6, seed=3)]
    found = splatdsl.compile(table()[GRIDS].good, backend="eager")(planes=planes)
    steps = [p[..., 2:] - 2 * p[..., 1:-1] + p[..., :-2] for p in (q.transpose(1, 2) for q in planes)]
    torch.testing.assert_close(found, 1e-4 * sum((s**2).mean() for s in steps))


def test_differences_in_grids_leave_out_their_borders() -> None:
    grid = rand(4, 5, 6)
    for term, expected in {
        "mean(sq(dx(g)))": (grid[..., 1:] - grid[..., :-1]).square().mean(),
        'mean(abs(dy(g, scheme="central")))': ((grid[:, 2:] - grid[:, :-2]) / 2).abs().mean(),
        'mean(abs(second_difference(g, axis="x")))': grid.diff(n=2, dim=2).abs().mean(),
        'tv(g, power=2, axes="y")': grid.diff(dim=1).square().mean(),
    }.items():
        found = splatdsl.compile(f"input g: [C Y X]\nterm t = {term}", backend="eager")(g=grid)
        torch.testing.assert_close(found, expected)
