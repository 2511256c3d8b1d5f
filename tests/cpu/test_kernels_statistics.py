"""Kernels of statistics, depth fits, histograms, classes and chance against their formulas, in float64 with loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from splatdsl.compiler.kernels import chances, classification, depth, statistics

B, H, W = 2, 5, 4
Weighted = list[tuple[Tensor, float]]


def rand(*shape: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed + sum(shape))
    return torch.rand(*shape, generator=g, dtype=torch.float64)


def region(*shape: int, seed: int = 1) -> Tensor:
    """Zeros, ones and fractions."""
    r = rand(*shape, seed=seed)
    return torch.where(r < 0.4, 0.0, torch.where(r > 0.7, 1.0, r))


def holes(x: Tensor, r: Tensor) -> Tensor:
    """x with values that are not finite outside the region."""
    bad = torch.where(rand(*x.shape, seed=9) < 0.5, torch.nan, torch.inf)
    return torch.where(r.expand(x.shape) > 0, x, bad)


# Formulas, one value after the other


def pooled(x: Tensor, r: Tensor | None) -> Weighted:
    """The values inside the region with their weights."""
    weights = torch.ones_like(x) if r is None else r.expand(x.shape)
    return [(v, float(w)) for v, w in zip(x.reshape(-1), weights.reshape(-1)) if w > 0]


def each_image(f: Callable[[Weighted], Tensor], x: Tensor, r: Tensor | None) -> Tensor:
    found = [f(pooled(x[i], None if r is None else r[i])) for i in range(x.shape[0])]
    return torch.stack(found)[:, None]


def over(f: Callable[[Weighted], Tensor], dim: int) -> Callable[[Tensor, Tensor | None], Tensor]:
    def reference(x: Tensor, r: Tensor | None) -> Tensor:
        weights = torch.ones_like(x) if r is None else r.expand(x.shape)
        rows, inside = x.movedim(dim, -1), weights.movedim(dim, -1)
        n = rows.shape[-1]
        found = [f(pooled(a, b)) for a, b in zip(rows.reshape(-1, n), inside.reshape(-1, n))]
        return torch.stack(found).reshape(rows.shape[:-1]).reshape(*rows.shape[:-1], *([1] if dim == -1 else []))

    return reference


def zero() -> Tensor:
    return torch.zeros((), dtype=torch.float64)


def variance(values: Weighted) -> Tensor:
    total = math.fsum(w for _, w in values)
    if not values:
        return zero()
    mean = sum((v * w for v, w in values), zero()) / total
    return sum((w * (v - mean) ** 2 for v, w in values), zero()) / total


def deviation(values: Weighted) -> Tensor:
    v = variance(values)
    return v.sqrt() if v > 0 else zero()


def ranked(q: float) -> Callable[[Weighted], Tensor]:
    def reference(values: Weighted) -> Tensor:
        if not values:
            return zero()
        ordered = sorted((v for v, _ in values), key=float)
        at = q * (len(ordered) - 1)
        low = math.floor(at)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] * (1 - (at - low)) + ordered[high] * (at - low)

    return reference


def scaled(values: Weighted, x: Tensor) -> Tensor:
    low, high = (f([float(v) for v, _ in values], default=0.0) for f in (min, max))
    rows = [(float(v) - low) / (high - low) if high > low else 0.0 for v in x.reshape(-1)]
    return torch.tensor([min(max(v, 0.0), 1.0) for v in rows], dtype=torch.float64).reshape(x.shape)


def pearson(a: Tensor, b: Tensor, r: Tensor | None) -> Tensor:
    losses = []
    for i in range(a.shape[0]):
        one, other = (pooled(x[i], None if r is None else r[i]) for x in (a, b))
        pixels = a.shape[1] * a.shape[2] if r is None else int((r[i] > 0).any(-1).sum())
        if pixels < 2:
            continue
        total = math.fsum(w for _, w in one)
        ma, mb = (sum(v * w for v, w in values) / total for values in (one, other))
        cov = sum(w * (v - ma) * (u - mb) for (v, w), (u, _) in zip(one, other)) / total
        va, vb = variance(one), variance(other)
        losses.append(1 - cov / (va * vb).sqrt() if float(va) > 1e-25 and float(vb) > 1e-25 else zero() + 1)
    return sum(losses, zero()) / max(len(losses), 1)


def fitted(x: Tensor, to: Tensor, r: Tensor | None) -> Tensor:
    """By the normal equations of scale and shift, solved with Cramer's rule."""
    found = []
    for i in range(x.shape[0]):
        a, b = (pooled(v[i].detach(), None if r is None else r[i]) for v in (x, to))
        s0, sx, sy = (math.fsum(v) for v in ([w for _, w in a], [w * v for v, w in a], [w * v for v, w in b]))
        sxx, sxy = math.fsum(w * v * v for v, w in a), math.fsum(w * v * u for (v, w), (u, _) in zip(a, b))
        determinant = s0 * sxx - sx * sx
        if abs(determinant) > 1e-12:
            scale, shift = (s0 * sxy - sx * sy) / determinant, (sxx * sy - sx * sxy) / determinant
        else:
            scale, shift = (0.0, sy / s0) if a else (1.0, 0.0)
        found.append(x[i] * scale + shift)
    return torch.stack(found)


def mix(x: int) -> int:
    x ^= x >> 16
    x = x * 0x21F0AAAD % 2**32
    x ^= x >> 15
    x = x * 0x735A2D97 % 2**32
    return x ^ (x >> 15)


def u(i: int, key: int) -> float:
    return (mix((mix(i) + 256 * key) % 2**32) >> 8) / 2**24


def ranks(a: Tensor, b: Tensor, r: Tensor | None, margin: float, pairs: int, key: int) -> Tensor:
    total, weights = zero(), 0.0
    for n in range(a.shape[0]):
        va, vb = a[n].reshape(-1), b[n].reshape(-1)
        vr = torch.ones_like(vb) if r is None else r[n].reshape(-1)
        for i in range(pairs):
            p, q = (math.floor(u(2 * (n * pairs + i) + k, key) * len(vb)) for k in (0, 1))
            if float(vr[p] * vr[q]) == 0 or vb[p] == vb[q]:
                continue
            low, high = (p, q) if vb[p] < vb[q] else (q, p)
            total = total + vr[p] * vr[q] * (va[low] - va[high] + margin).clamp(min=0)
            weights += float(vr[p] * vr[q])
    return total / weights if weights else total


def counted(x: Tensor, r: Tensor | None, bins: int, lo: float, hi: float) -> Tensor:
    counts = torch.zeros(bins, 1, dtype=torch.float64)
    for v, w in pooled(x, r):
        if not math.isnan(v):
            counts[min(max(math.floor((min(max(float(v), lo - 1), hi + 1) - lo) / (hi - lo) * bins), 0), bins - 1)] += w
    return counts


def classes(a: Tensor, b: Tensor, r: Tensor | None) -> Tensor:
    total, weights = zero(), 0.0
    flat = torch.ones(a.shape[:-1], dtype=a.dtype).reshape(-1) if r is None else r.reshape(-1)
    for scores, right, w in zip(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]), flat):
        if w == 0:
            continue
        logs = scores - scores.exp().sum().log()
        share = right if len(right) > 1 else [float(c == int(right)) for c in range(len(scores))]
        total = total - w * sum(p * q for p, q in zip(share, logs))
        weights += float(w)
    return total / weights if weights else total


# The table


class Case(NamedTuple):
    kernel: Callable[..., Tensor]
    reference: Callable[..., Tensor]
    x: tuple[Tensor, ...]
    """Tensors that may carry a gradient."""
    r: Tensor | None = None
    smooth: bool = True


IMAGE, OTHER, MASK = rand(B, H, W, 3), rand(B, H, W, 3, seed=3), region(B, H, W, 1)
DEPTH, PRIOR = rand(B, H, W, 1, seed=4), rand(B, H, W, 1, seed=5)
HALF = MASK.clone()
HALF[1] = 0  # one image has nothing inside
SINGLE = torch.zeros_like(MASK)
SINGLE[0, 1, 2] = 1.0
EMPTY, FLAT = torch.zeros_like(MASK), torch.full_like(DEPTH, 0.1)
POINTS, NONE = rand(7, 3), rand(0, 3)
GROUPS, GROUP_MASK = rand(3, 4, 2), region(3, 4, 1)
GROUP_MASK[1] = 0


MASKS = {"everywhere": None, "mask": MASK, "half": HALF, "single": SINGLE, "empty": EMPTY}


def statistic(name: str, kernel: Callable[..., Tensor], formula: Callable[[Weighted], Tensor]) -> dict[str, Case]:
    """A kernel over images, gaussians and one dimension, with every kind of region."""
    images = partial(kernel, per_image=True)

    def by_image(x: Tensor, r: Tensor | None) -> Tensor:
        return each_image(formula, x, r)

    def whole(x: Tensor, r: Tensor | None) -> Tensor:
        return formula(pooled(x, r))

    found = {f"images, {n}": Case(images, by_image, (IMAGE,), r) for n, r in MASKS.items()}
    found["images, mask of each channel"] = Case(images, by_image, (IMAGE,), region(B, H, W, 3))
    found["images, holes"] = Case(images, by_image, (holes(IMAGE, HALF),), HALF, False)
    found["gaussians"] = Case(kernel, whole, (POINTS,))
    found["gaussians, mask"] = Case(kernel, whole, (POINTS,), region(7, 1))
    found["no gaussians"] = Case(kernel, whole, (NONE,), None, False)
    found["no gaussians, mask"] = Case(kernel, whole, (NONE,), rand(0, 1), False)
    found["flat"] = Case(images, by_image, (FLAT,), None, False)
    for dim in (-1, -2):
        along = partial(kernel, over=dim)
        found[f"over {dim}"] = Case(along, over(formula, dim), (GROUPS,))
        found[f"over {dim}, mask"] = Case(along, over(formula, dim), (GROUPS,), GROUP_MASK)
    return {f"{name}: {n}": c for n, c in found.items()}


def minmax_cases() -> dict[str, Case]:
    images = partial(statistics.minmax, per_image=True)

    def by_image(x: Tensor, r: Tensor | None) -> Tensor:
        return torch.stack([scaled(pooled(x[i], None if r is None else r[i]), x[i]) for i in range(B)])

    def whole(x: Tensor, r: Tensor | None) -> Tensor:
        return scaled(pooled(x, r), x)

    found = {n: Case(images, by_image, (IMAGE,), r) for n, r in MASKS.items()}
    found["flat"] = Case(images, by_image, (FLAT,), MASK, False)
    found["gaussians"] = Case(statistics.minmax, whole, (POINTS,), region(7, 1))
    found["no gaussians"] = Case(statistics.minmax, whole, (NONE,), None, False)
    return {f"minmax: {n}": c for n, c in found.items()}


def align(x: Tensor, to: Tensor, r: Tensor | None) -> Tensor:
    return depth.align(x, r, to=to)


def depth_cases() -> dict[str, Case]:
    drawn = {"margin": 0.05, "pairs": 30, "key": 1234567}
    rank, by_pairs = partial(depth.depth_rank, **drawn), partial(ranks, **drawn)
    found: dict[str, Case] = {}
    for n, r in MASKS.items():
        found[f"pearson_loss: {n}"] = Case(depth.pearson_loss, pearson, (DEPTH, PRIOR), r)
        found[f"align: {n}"] = Case(align, fitted, (DEPTH, PRIOR), r, False)
        found[f"depth_rank: {n}"] = Case(rank, by_pairs, (DEPTH, PRIOR), r)
    found["pearson_loss: image"] = Case(depth.pearson_loss, pearson, (IMAGE, OTHER), MASK)
    found["pearson_loss: holes"] = Case(depth.pearson_loss, pearson, (holes(DEPTH, HALF), PRIOR), HALF, False)
    found["pearson_loss: flat"] = Case(depth.pearson_loss, pearson, (FLAT, PRIOR), MASK, False)
    found["pearson_loss: far"] = Case(depth.pearson_loss, pearson, (DEPTH + 1000, 1e9 * PRIOR), MASK, False)
    found["align: image"] = Case(align, fitted, (IMAGE, OTHER), MASK, False)
    found["align: flat"] = Case(align, fitted, (FLAT, PRIOR), MASK, False)
    found["align: holes"] = Case(align, fitted, (DEPTH, holes(PRIOR, HALF)), HALF, False)
    found["depth_rank: ties"] = Case(rank, by_pairs, (DEPTH, (PRIOR * 3).round()), MASK, False)
    return found


def other_cases() -> dict[str, Case]:
    parts = {"bins": 6, "lo": 0.2, "hi": 0.8}
    histogram, by_value = partial(statistics.histogram, **parts), partial(counted, **parts)
    wild = holes(IMAGE, MASK)
    wild[0, 0, 0] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    scores, probabilities = 4 * rand(B, H, W, 5), rand(B, H, W, 5, seed=8).softmax(-1)
    labels = (4.99 * rand(B, H, W, 1, seed=8)).floor()
    known = torch.where(MASK > 0, labels, 255.0)
    chosen = entropy_of(known, classification.cross_entropy), entropy_of(labels, classes)
    points = (3.99 * rand(7, 1)).floor()
    return {
        "histogram": Case(histogram, by_value, (IMAGE,), None, False),
        "histogram: mask": Case(histogram, by_value, (IMAGE,), MASK, False),
        "histogram: not finite": Case(histogram, by_value, (wild,), None, False),
        "histogram: no gaussians": Case(histogram, by_value, (NONE,), None, False),
        "cross_entropy": Case(entropy_of(labels, classification.cross_entropy), chosen[1], (scores,)),
        "cross_entropy: mask": Case(*chosen, (scores,), MASK),
        "cross_entropy: holes": Case(*chosen, (holes(scores, MASK),), MASK, False),
        "cross_entropy: empty": Case(*chosen, (scores,), EMPTY),
        "cross_entropy: probabilities": Case(classification.cross_entropy, classes, (scores, probabilities), MASK),
        "cross_entropy: points": Case(
            entropy_of(points, classification.cross_entropy), entropy_of(points, classes), (rand(7, 4),)
        ),
        "cross_entropy: no points": Case(
            entropy_of(rand(0, 1), classification.cross_entropy), lambda a, r: zero(), (rand(0, 4),), None, False
        ),
    }


def entropy_of(labels: Tensor, f: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A cross entropy as a function of the scores alone."""
    return lambda a, r: f(a, labels, r)


def high(x: Tensor, r: Tensor | None, **more: Any) -> Tensor:
    return statistics.quantile(x, 0.8, r, **more)


CASES = {
    **statistic("std", statistics.std, deviation),
    **statistic("var", statistics.var, variance),
    **statistic("median", statistics.median, ranked(0.5)),
    **statistic("quantile", high, ranked(0.8)),
    **minmax_cases(),
    **depth_cases(),
    **other_cases(),
}


def called(case: Case, *x: Tensor) -> Tensor:
    return case.kernel(*x, r=case.r)


@pytest.mark.parametrize("name", CASES)
def test_the_value_is_that_of_the_formula(name: str) -> None:
    case = CASES[name]
    expected = case.reference(*case.x, case.r)
    torch.testing.assert_close(called(case, *case.x), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.smooth])
def test_the_gradient_is_that_of_the_value(name: str) -> None:
    case = CASES[name]
    x = [v.clone().requires_grad_() for v in case.x]
    needs = called(case, *x).requires_grad
    assert needs, "a gradient flows"
    assert torch.autograd.gradcheck(lambda *v: called(case, *v), x, atol=1e-6)


TRACED = [n for n in CASES if not n.endswith(("no gaussians", "no gaussians, mask", "flat", "over -1", "over -2"))]
"""Without those whose graphs differ from others in nothing but sizes; no gaussians at all have a test below."""


@cache
def graph(kernel: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """One for all regions: where a region is empty makes no difference to the graph."""
    torch._dynamo.reset()
    return torch.compile(lambda *x, r: kernel(*x, r), backend="aot_eager", fullgraph=True, dynamic=False)


@pytest.mark.parametrize("name", TRACED)
def test_the_graph_has_no_break_and_the_same_numbers(name: str) -> None:
    """With its backward; every gradient is finite."""
    case = CASES[name]
    results = []
    for f in (case.kernel, graph(case.kernel)):
        x = [v.clone().requires_grad_() for v in case.x]
        found = f(*x, r=case.r)
        gradients: tuple[Tensor | None, ...] = ()
        if found.requires_grad:
            # Where x is not finite, what is made of it there is not either, and is left out as a region would.
            gradients = torch.autograd.grad(found[found.isfinite()].sum(), x, allow_unused=True)
        results.append((found.detach(), [g for g in gradients if g is not None]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-15, equal_nan=True)
    assert all(g.isfinite().all() for g in results[0][1])


@pytest.mark.parametrize("name", [n for n in CASES if n not in TRACED])
def test_the_gradient_is_finite(name: str) -> None:
    case = CASES[name]
    x = [v.clone().requires_grad_() for v in case.x]
    found = called(case, *x)
    if found.requires_grad:
        gradients = torch.autograd.grad(found.sum(), x, allow_unused=True)
        assert all(g.isfinite().all() for g in gradients if g is not None)


# What the table cannot say


def test_the_gradient_of_a_deviation_of_equal_values_is_zero() -> None:
    x = torch.full((B, H, W, 1), 0.25, requires_grad=True)
    statistics.std(x, per_image=True).sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))
    x = torch.full((B, 40, 30, 1), 0.1, requires_grad=True)  # here the mean is rounded
    statistics.std(x, MASK.new_full((B, 40, 30, 1), 0.3).float(), per_image=True).sum().backward()
    assert float(x.grad.abs().max()) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 3e4])
def test_equal_values_have_no_correlation(value: float, dtype: torch.dtype) -> None:
    a = torch.full((1, 40, 30, 1), value, dtype=dtype, requires_grad=True)
    b = rand(1, 40, 30, 1).to(dtype).requires_grad_()
    loss = depth.pearson_loss(a, b)
    loss.backward()
    assert loss == 1
    assert torch.equal(a.grad, torch.zeros_like(a))
    assert torch.equal(b.grad, torch.zeros_like(b))


def test_correlation_at_its_ends() -> None:
    a = rand(1, H, W, 1)
    torch.testing.assert_close(depth.pearson_loss(a, 3 * a + 2), torch.zeros((), dtype=a.dtype), atol=1e-12, rtol=0)
    torch.testing.assert_close(depth.pearson_loss(a, -a), 2 * torch.ones((), dtype=a.dtype))


def test_what_is_not_a_number_inside_the_region_shows() -> None:
    x = IMAGE.clone()
    x[0, 0, 0, 0] = torch.nan
    for f in (statistics.std, statistics.var, statistics.median):
        found = f(x, torch.ones_like(MASK), per_image=True)
        assert found[0].isnan()
        assert found[1].isfinite()
    assert depth.pearson_loss(x, OTHER).isnan()
    assert statistics.minmax(x, per_image=True)[0].isnan().all()
    labels = torch.full((B, H, W, 1), 5.0)
    assert classification.cross_entropy(IMAGE.float(), labels).isnan()


@pytest.mark.parametrize("q", [0.0, 1 / 3, 0.999, 1.0])
def test_a_quantile_between_its_ends(q: float) -> None:
    x = torch.cat([rand(9, 1), torch.full((1, 1), torch.inf).double()])
    of_finite = statistics.quantile(x[:9], q)
    torch.testing.assert_close(of_finite, ranked(q)([(v, 1.0) for v in x[:9].reshape(-1)]))
    if q == 1 / 3:
        assert statistics.quantile(x, q).isfinite(), "an infinite value elsewhere does not matter"
    torch.testing.assert_close(statistics.quantile(x[:9], torch.tensor(q).double()), of_finite)


def test_a_quantile_of_its_own_for_each_image() -> None:
    q = torch.tensor([[0.1], [0.9]]).double()
    found = statistics.quantile(IMAGE, q, MASK, per_image=True)
    expected = [ranked(float(q[i]))(pooled(IMAGE[i], MASK[i])) for i in range(B)]
    torch.testing.assert_close(found, torch.stack(expected)[:, None])


def test_align_gives_back_what_was_scaled_and_carries_no_gradient_in_the_fit() -> None:
    x = DEPTH.clone().requires_grad_()
    to = (3 * DEPTH - 2).requires_grad_()
    found = depth.align(x, MASK, to=to)
    torch.testing.assert_close(found, to)
    gx, gto = torch.autograd.grad(found.sum(), (x, to), allow_unused=True)
    torch.testing.assert_close(gx, torch.full_like(x, 3.0))
    assert gto is None


COUNTS = torch.tensor([0.0, 2.0, 0.0, 1.0, 1.0, 0.0]).double()[:, None]


@pytest.mark.parametrize(
    ("q", "expected"),
    [(0.0, 1 / 6), (0.25, 1.5 / 6), (0.5, 2 / 6), (0.625, 3.5 / 6), (0.75, 4 / 6), (1.0, 5 / 6)],
)
def test_histogram_quantile_by_hand(q: float, expected: float) -> None:
    assert float(statistics.histogram_quantile(COUNTS, q)) == pytest.approx(expected)
    assert float(statistics.histogram_quantile(COUNTS, torch.tensor(q).double(), lo=-1, hi=5)) == pytest.approx(
        -1 + 6 * expected
    )
    assert float(statistics.histogram_quantile(0 * COUNTS, q, lo=-1, hi=5)) == 5


def test_histogram_quantile_finds_the_quantile_of_many_values() -> None:
    x = rand(40, 50, 1) ** 2
    h = statistics.histogram(x, bins=1000, lo=0.0, hi=1.0)
    compiled = torch.compile(statistics.histogram_quantile, backend="aot_eager", fullgraph=True)
    for q in (0.1, 0.5, 0.9):
        assert float(statistics.histogram_quantile(h, q)) == pytest.approx(float(x.quantile(q)), abs=2e-3)
        torch.testing.assert_close(compiled(h, torch.tensor(q).double()), statistics.histogram_quantile(h, q))


# Chance


@pytest.mark.parametrize("key", [0, 1, 54321, 2**24 - 1])
def test_the_random_numbers_are_the_documented_ones(key: int) -> None:
    index = torch.tensor([0, 1, 2, 1000, 2**31, 2**32 - 1])
    for given in (float(key), torch.tensor(float(key)), torch.tensor(float(key)).double()):
        for dtype in (torch.float32, torch.float64):
            found = chances.uniform(given, index, dtype)
            assert found.tolist() == [u(i, key) for i in index.tolist()]


def test_the_random_numbers_are_even() -> None:
    x = chances.uniform(99.0, torch.arange(2**16), torch.float64)
    other = chances.uniform(100.0, torch.arange(2**16), torch.float64)
    assert x.min() >= 0
    assert x.max() < 1
    assert float(x.mean()) == pytest.approx(0.5, abs=5e-3)
    assert float(x.var()) == pytest.approx(1 / 12, abs=1e-3)
    for a, b in ((x[1:], x[:-1]), (x, other)):
        assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.02


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_bernoulli_counts_through_pixels_and_gaussians(p: float) -> None:
    for like in (IMAGE.float(), IMAGE, POINTS, NONE):
        n = like[..., 0].numel()
        expected = torch.tensor([float(u(i, 77) < p) for i in range(n)], dtype=like.dtype)
        for given in (p, torch.tensor(p)):
            found = chances.bernoulli(given, like, key=torch.tensor(77.0))
            assert found.dtype == like.dtype
            assert torch.equal(found, expected.reshape(*like.shape[:-1], 1))
    shares = chances.bernoulli(DEPTH, key=77.0)
    assert shares.reshape(-1).tolist() == [float(u(i, 77) < v) for i, v in enumerate(DEPTH.reshape(-1).tolist())]


@pytest.mark.parametrize("size", [1, 3, 4, 5, 50])
def test_random_boxes_lie_inside_the_image(size: int) -> None:
    for key in range(40):
        for index in (0, 3):
            found = chances.random_box(IMAGE, size, index, 4, key=float(key))
            top = math.floor(u(2 * index, key) * (max(H - size, 0) + 1))
            left = math.floor(u(2 * index + 1, key) * (max(W - size, 0) + 1))
            expected = torch.zeros(B, H, W, 1, dtype=torch.float64)
            expected[:, top : top + size, left : left + size] = 1
            assert torch.equal(found, expected)
    assert torch.equal(chances.random_box(IMAGE, torch.tensor(size), 3, 4, key=39.0), expected)


def test_chance_has_graphs_without_breaks_that_serve_every_key() -> None:
    def several(pixels: Tensor, key: Tensor) -> tuple[Tensor, ...]:
        rank = depth.depth_rank(pixels[..., :1], pixels[..., 1:2], margin=0.1, pairs=20, key=key)
        return chances.bernoulli(0.4, pixels, key=key), chances.random_box(pixels, 2, 1, 4, key=key), rank

    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    torch._dynamo.reset()
    compiled = torch.compile(several, backend=counter, fullgraph=True)
    for key in (1.0, 2.0, 2.0**24 - 1):
        given = torch.tensor(key)
        torch.testing.assert_close(compiled(IMAGE, given), several(IMAGE, given), rtol=0, atol=0)
    assert counter.frame_count == 1


def test_one_graph_serves_every_number_of_gaussians() -> None:
    def several(x: Tensor, r: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        return (
            statistics.std(x, r),
            statistics.median(x),
            statistics.quantile(x, 0.3, r),
            statistics.minmax(x, r).sum(),
            statistics.histogram(x, r, bins=5, lo=0.0, hi=1.0),
            classification.cross_entropy(x, labels, r),
            chances.bernoulli(0.5, x, key=torch.tensor(5.0)).sum(),
        )

    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    torch._dynamo.reset()
    compiled = torch.compile(several, backend=counter, fullgraph=True)
    for n in (9, 4, 0, 1, 30):
        x, r, labels = rand(n, 3).requires_grad_(), region(n, 1), (2.99 * rand(n, 1)).floor()
        for v in (x, r, labels):
            torch._dynamo.decorators.mark_unbacked(v, 0)
        found, expected = compiled(x, r, labels), several(x, r, labels)
        torch.testing.assert_close(found, expected)
        (gradient,) = torch.autograd.grad(sum(v.sum() for v in found), x)
        assert gradient.isfinite().all()
    assert counter.frame_count == 1
