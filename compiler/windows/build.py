"""Reductions of lanes to a plan: SSIM's formula, the split into stages, and all derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..kernels.photometric import C1, C2
from .lanes import Lane, Lanes
from .plan import STATISTICS, Normaliser, Reduction, Window, WindowPlan


class Pair(NamedTuple):
    """Two images under a window: values of lanes, and the value that SSIM has at each lane."""

    a: int
    b: int
    ssim: int


class Wanted(NamedTuple):
    """A reduction: the mean, or the sum, of a value over a region (a value of lanes; None: everywhere).

    Pixels closer than ``border`` to an edge are left out.
    """

    value: int
    region: int | None
    border: int = 0
    mean: bool = True


def ssim_of(lanes: Lanes, window: int) -> int:
    """SSIM from the statistics of a window. Wang et al. 2004, eq. 13; variances that rounding made negative are 0."""
    a, b, c, d = _factors(lanes, window)
    return lanes.add("mul", lanes.add("mul", c, d), _inverse(lanes, a, b))


def _inverse(lanes: Lanes, a: int, b: int) -> int:
    """1 / (A*B), which value and gradient share: divisions are slow."""
    return lanes.add("div", lanes.const(1.0), lanes.add("mul", a, b))


def _factors(lanes: Lanes, window: int) -> tuple[int, int, int, int]:
    """SSIM is C*D / (A*B)."""
    mu_a, mu_b, squares, product = (lanes.add("stat", attr=STATISTICS * window + k) for k in range(STATISTICS))
    both = lanes.add("add", lanes.add("mul", mu_a, mu_a), lanes.add("mul", mu_b, mu_b))
    apart, two = lanes.add("mul", mu_a, mu_b), lanes.const(2.0)
    variances = lanes.add("floor0", lanes.add("sub", squares, both))
    covariance = lanes.add("sub", product, apart)
    c1, c2 = lanes.const(C1), lanes.const(C2)
    return (
        lanes.add("add", both, c1),
        lanes.add("add", variances, c2),
        lanes.add("add", lanes.add("mul", two, apart), c1),
        lanes.add("add", lanes.add("mul", two, covariance), c2),
    )


def _spread(lanes: Lanes, window: int, g: int, both: bool) -> list[int]:
    """The cotangents of a window's statistics, from that of its SSIM."""
    mu_a, mu_b = (lanes.add("stat", attr=STATISTICS * window + k) for k in range(2))
    a, b, c, d = _factors(lanes, window)
    two = lanes.const(2.0)
    inverse = _inverse(lanes, a, b)
    value = lanes.add("mul", lanes.add("mul", c, d), inverse)
    scaled = lanes.add("mul", g, inverse)
    to_squares = lanes.add("neg", lanes.add("mul", lanes.add("mul", scaled, value), a))
    to_product = lanes.add("mul", lanes.add("mul", two, scaled), c)
    common = lanes.add("mul", lanes.add("mul", two, scaled), lanes.add("sub", d, c))
    shared = lanes.add("mul", lanes.add("mul", lanes.add("mul", two, scaled), value), lanes.add("sub", b, a))

    def to_mean(own: int, other: int) -> int:
        return lanes.add("sub", lanes.add("mul", common, other), lanes.add("mul", shared, own))

    means = [to_mean(mu_a, mu_b), *([to_mean(mu_b, mu_a)] if both else [])]
    return [*means, to_squares, to_product]


def inside(lanes: Lanes, value: int, region: int) -> int:
    """The value times the region's weight, and 0 outside whatever the value is there."""
    zero = lanes.const(0.0)
    kept = lanes.add("where", lanes.add("gt", region, zero), value, zero)
    return lanes.add("mul", kept, region)


def build(
    lanes: Lanes,
    channels: int,
    inputs: Sequence[int],
    differentiable: Sequence[int],
    hosts: int,
    pairs: Sequence[Pair],
    wanted: Sequence[Wanted],
) -> tuple[WindowPlan, tuple[int, ...]]:
    """The plan, and the place of each wanted reduction among those of the plan.

    Args:
        lanes: where the values of the others are.
        channels: lanes per pixel.
        inputs: components of each input, 1 or ``channels``.
        differentiable: the inputs that carry gradients; regions must not depend on them.
        hosts: how many numbers of the host there are.
        pairs: the windows.
        wanted: what comes out.
    """
    regions: list[int] = []
    normalisers: list[Normaliser] = []
    carriers = [Lane("input", (), i) for i in differentiable]
    ssims = [lanes.lanes[p.ssim] for p in pairs]
    weighted: list[int] = []
    divisors: list[int] = []
    for w in wanted:
        region = -1
        if w.region is not None:
            if w.region not in regions:
                regions.append(w.region)
            region = regions.index(w.region)
        value = w.value if w.region is None else inside(lanes, w.value, w.region)
        if w.border:
            interior = lanes.add("interior", attr=w.border)
            value = lanes.add("where", interior, value, lanes.const(0.0))
        weighted.append(value)
        divisor = Normaliser(region, w.border)
        if w.mean and divisor not in normalisers:
            normalisers.append(divisor)
        divisors.append(normalisers.index(divisor) if w.mean else -1)
    normalisers += [Normaliser(i, 0) for i in range(len(regions)) if Normaliser(i, 0) not in normalisers]
    stages = ["centre" if lanes.depends(v, ssims) else "after" for v in weighted]
    order = sorted(range(len(wanted)), key=lambda i: (stages[i] != "centre", i))
    seeds = {i: lanes.add("weight", attr=place) for place, i in enumerate(order)}

    centre_seeds = _seeds(lanes, [(weighted[i], seeds[i]) for i in order if stages[i] == "centre"])
    to_ssims = lanes.gradients(centre_seeds, [p.ssim for p in pairs])
    windows: list[Window] = []
    spread: list[int] = []
    after_seeds: dict[int, int] = {}
    for number, (pair, g) in enumerate(zip(pairs, to_ssims)):
        a_carries, b_carries = lanes.depends(pair.a, carriers), lanes.depends(pair.b, carriers)
        if not (a_carries or b_carries) or lanes.number(g) == 0:
            windows.append(Window(0))
            continue
        cotangents = _spread(lanes, number, g, b_carries)
        leaves = [lanes.add("spread", attr=len(spread) + k) for k in range(len(cotangents))]
        windows.append(Window(len(cotangents)))
        spread += cotangents
        for own, other, to_mean in ((pair.a, pair.b, leaves[0]), (pair.b, pair.a, leaves[1] if b_carries else -1)):
            if to_mean >= 0 and lanes.depends(own, carriers):
                total = _through_statistics(lanes, own, other, to_mean, leaves[-2], leaves[-1])
                after_seeds[own] = lanes.add("add", after_seeds[own], total) if own in after_seeds else total
    for i in order:
        if stages[i] == "after":
            known = after_seeds.get(weighted[i])
            after_seeds[weighted[i]] = seeds[i] if known is None else lanes.add("add", known, seeds[i])
    leaves = [lanes.add("input", attr=i) for i in differentiable]
    gradients = lanes.gradients(after_seeds, leaves)

    plan = WindowPlan(
        channels,
        tuple(inputs),
        tuple(differentiable),
        hosts,
        tuple(windows),
        tuple(normalisers),
        tuple(Reduction(stages[i], divisors[i]) for i in order),
        lanes.stage(regions),
        lanes.stage([x for p in pairs for x in (p.a, p.b)]),
        lanes.stage([*(weighted[i] for i in order if stages[i] == "centre"), *spread]),
        lanes.stage([*(weighted[i] for i in order if stages[i] == "after"), *gradients]),
    )
    return plan, tuple(order.index(i) for i in range(len(wanted)))


def _seeds(lanes: Lanes, pairs: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Cotangents by value; two of one value are added."""
    found: dict[int, int] = {}
    for value, seed in pairs:
        found[value] = lanes.add("add", found[value], seed) if value in found else seed
    return found


def _through_statistics(lanes: Lanes, own: int, other: int, to_mean: int, to_squares: int, to_product: int) -> int:
    """The cotangent of an image from the blurred ones of the mean, the squares and the product."""
    square = lanes.add("mul", lanes.add("mul", lanes.const(2.0), own), to_squares)
    return lanes.add("add", lanes.add("add", to_mean, square), lanes.add("mul", other, to_product))
