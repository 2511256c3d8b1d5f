"""The ranges that builtins promise hold what they give: small versions in plain floats on values inside intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from splatdsl.dsl.builtins import ALL, table
from splatdsl.dsl.builtins.spec import facets
from splatdsl.dsl.facts import facts
from splatdsl.dsl.interval import REALS, UNIT, Interval, inf
from splatdsl.dsl.source import Source, Span
from splatdsl.dsl.typed import Expr
from splatdsl.dsl.types import IMAGE, NORMALS, NUMBER, STEP, TENSOR, Kind, Type, gaussians

Vector = list[float]


def drawn(*values: Any, **named: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Hypothesis with few examples: there are many functions, and most mistakes show at once."""
    return lambda test: settings(max_examples=40, deadline=None)(given(*values, **named)(test))


ENDS = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 2.0, -2.0, 0.5, inf, -inf]),
    st.floats(-20, 20, allow_nan=False).map(lambda x: round(x, 2) + 0.0),
)


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    a, b = sorted((draw(ENDS), draw(ENDS)))
    if a == b:
        assume(math.isfinite(a))
        return Interval(a, b)
    return Interval(a, b, draw(st.booleans()), draw(st.booleans()))


@st.composite
def vectors(draw: st.DrawFn, least: int = 1, most: int = 4) -> tuple[Interval, Vector]:
    """An interval and some finite values in it, ends among them where they are closed."""
    i = draw(intervals())
    lo, hi = max(i.lo, -100.0), min(i.hi, 100.0)
    ends = [x for x in (i.lo, i.hi, 0.0, 1.0, (lo + hi) / 2) if x in i and math.isfinite(x)]
    one = st.one_of(st.sampled_from(ends), st.floats(lo, hi, allow_nan=False).filter(lambda x: x in i))
    return i, draw(st.lists(one, min_size=least, max_size=most))


def holds(i: Interval, value: float) -> bool:
    slack = 1e-9 * max(1.0, abs(value))
    return value in i or (i.lo < value + slack and value - slack < i.hi)


def argument(range_: Interval, kind: Kind, **said: str) -> Expr:
    stage = TENSOR if kind.is_tensor else STEP
    return Expr("input", (), Type(stage, kind, range_, facts=facts(**said)), Span(0, 0), Source(""), "x")


def result(name: str, known: bool = True, **args: Expr) -> Interval:
    """The range of a call; ``known``: with the number of components."""
    record = table()[name]
    if record.range is None:
        return record.parsed.range
    ranges: dict[str, Interval | None] = {}
    for key, e in args.items():
        ranges[key] = e.type.range
        if known:
            ranges.update(facets(key, e))
    return record.range(ranges)


def norm(x: Sequence[float]) -> float:
    return math.sqrt(math.fsum(v * v for v in x))


# One vector of components in, one number out


COMPONENTS: dict[str, Callable[[Vector], float]] = {
    "component_max": max,
    "component_min": min,
    "component_mean": statistics.fmean,
    "component_sum": math.fsum,
    "component_product": math.prod,
    "norm": norm,
}


@pytest.mark.parametrize("name", COMPONENTS)
@pytest.mark.parametrize("known", [True, False])
@drawn(x=vectors())
def test_functions_of_components(name: str, known: bool, x: tuple[Interval, Vector]) -> None:
    i, values = x
    found = result(name, known, x=argument(i, gaussians(len(values))))
    value = COMPONENTS[name](values)
    assert holds(found, value), f"{name}({values}) = {value} is not in {found}"


@drawn(x=vectors(3, 3), eps=st.floats(0, 5))
def test_norm_with_eps(x: tuple[Interval, Vector], eps: float) -> None:
    i, values = x
    found = result("norm", x=argument(i, IMAGE), eps=argument(Interval(eps, eps), NUMBER))
    assert holds(found, math.sqrt(norm(values) ** 2 + eps**2))


@drawn(x=vectors())
def test_normalize(x: tuple[Interval, Vector]) -> None:
    i, values = x
    found = result("normalize", x=argument(i, gaussians(len(values))))
    length = norm(values)
    for v in values:
        assert holds(found, v / length if length else 0.0)


def quat_mul(a: Vector, b: Vector) -> Vector:
    (w, x, y, z), (s, u, v, t) = a, b
    return [
        w * s - x * u - y * v - z * t,
        w * u + x * s + y * t - z * v,
        w * v - x * t + y * s + z * u,
        w * t + x * v - y * u + z * s,
    ]


def cross(a: Vector, b: Vector) -> Vector:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def rotate(q: Vector, v: Vector) -> Vector:
    length = norm(q)
    if length < 1e-9:
        return v
    unit = [c / length for c in q]
    inverse = [unit[0], -unit[1], -unit[2], -unit[3]]
    return quat_mul(quat_mul(unit, [0.0, *v]), inverse)[1:]


PAIRS: dict[str, tuple[Callable[[Vector, Vector], Vector], tuple[str, int], tuple[str, int]]] = {
    "dot": (lambda a, b: [math.fsum(x * y for x, y in zip(a, b))], ("a", 3), ("b", 3)),
    "cross": (cross, ("a", 3), ("b", 3)),
    "quat_mul": (quat_mul, ("a", 4), ("b", 4)),
    "quat_rotate": (rotate, ("q", 4), ("v", 3)),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("known", [True, False])
@drawn(data=st.data())
def test_functions_of_two_vectors(name: str, known: bool, data: st.DataObject) -> None:
    f, (a, m), (b, n) = PAIRS[name]
    (i, x), (j, y) = data.draw(vectors(m, m)), data.draw(vectors(n, n))
    found = result(name, known, **{a: argument(i, gaussians(m)), b: argument(j, gaussians(n))})
    for value in f(x, y):
        assert holds(found, value), f"{name}({x}, {y}) gives {value}, not in {found}"


@drawn(vectors(3, 3), vectors(3, 3), st.sampled_from(["unit", "weighted"]))
def test_directions_are_at_most_one_long(a: tuple[Interval, Vector], b: tuple[Interval, Vector], word: str) -> None:
    shorter = [[v / max(norm(x), 1.0) for v in x] for _, x in (a, b)]
    i = Interval(-1, 1)
    given_ = {n: argument(i, NORMALS, length=word) for n in ("a", "b")}
    assert result("dot", **given_) == i
    assert holds(result("dot", **given_), math.fsum(p * q for p, q in zip(*shorter)))
    for value in cross(*shorter):
        assert holds(result("cross", **given_), value)
    turned = rotate([0.3, 0.1, -0.5, 0.7], shorter[0])
    assert all(holds(result("quat_rotate", q=argument(REALS, gaussians(4)), v=given_["a"]), v) for v in turned)


def test_what_was_made_longer_is_no_direction() -> None:
    longer = argument(Interval(-2, 2), NORMALS, length="unit")
    assert result("dot", a=longer, b=longer).hi == 12


# Many values in, one out, of which some may lie outside the region


def quantile(x: Vector, q: float) -> float:
    at = q * (len(x) - 1)
    low = math.floor(at)
    s = sorted(x)
    return s[low] + (at - low) * (s[min(low + 1, len(s) - 1)] - s[low])


REDUCTIONS: dict[str, Callable[[Vector], float]] = {
    "mean": statistics.fmean,
    "sum": math.fsum,
    "max_over": max,
    "min_over": min,
    "std": statistics.pstdev,
    "var": statistics.pvariance,
    "median": statistics.median,
    "quantile": lambda x: quantile(x, 0.3),
    "smallest_mean": lambda x: statistics.fmean(sorted(x)[:2]),
    "largest_mean": lambda x: statistics.fmean(sorted(x)[-2:]),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@drawn(x=vectors(1, 6))
def test_reductions(name: str, x: tuple[Interval, Vector]) -> None:
    i, values = x
    value = REDUCTIONS[name](values)
    everything = result(name, x=argument(i, IMAGE))
    assert holds(everything, value), f"{name}({values}) = {value} is not in {everything}"
    region = argument(UNIT, Kind("region", "pixels"))
    inside = result(name, x=argument(i, IMAGE), r=region)
    assert holds(inside, value)
    assert 0.0 in inside, "a region can be empty"


@drawn(vectors(1, 6), st.floats(0, 1))
def test_every_quantile_lies_between_the_values(x: tuple[Interval, Vector], q: float) -> None:
    i, values = x
    assert holds(result("quantile", x=argument(i, IMAGE)), quantile(values, q))


# Neighbours


STENCILS: dict[str, Callable[[Vector], list[float]]] = {
    "dx": lambda v: [v[1] - v[0], (v[2] - v[0]) / 2],
    "dy": lambda v: [v[1] - v[0], (v[2] - v[0]) / 2],
    "second_difference": lambda v: [v[0] - 2 * v[1] + v[2]],
    "laplacian": lambda v: [v[0] + v[1] + v[2] + v[3] - 4 * v[4]],
    "sobel": lambda v: [
        (v[0] + 2 * v[1] + v[2] - v[3] - 2 * v[4] - v[5]) / 8,
        (3 * v[0] - 3 * v[1] + 10 * v[2] - 10 * v[3]) / 32,
    ],
    "tv": lambda v: [
        abs(v[0] - v[1]) + abs(v[2] - v[3]) + abs(v[4] - v[5]),
        (v[0] - v[1]) ** 2 + (v[2] - v[3]) ** 2 + (v[4] - v[5]) ** 2,
    ],
    "blur": lambda v: [0.2 * v[0] + 0.3 * v[1] + 0.5 * v[2]],
    "box": lambda v: [statistics.fmean(v)],
    "shift": lambda v: [v[0]],
    "resize": lambda v: [0.25 * v[0] + 0.75 * v[1]],
    "block_mean": lambda v: [statistics.fmean(v)],
    "block_median": lambda v: [statistics.median(v)],
    "pool": lambda v: [max(v), min(v), statistics.fmean(v)],
    "minmax": lambda v: [(v[0] - min(v)) / (max(v) - min(v)) if max(v) > min(v) else 0.0],
    "sample_at": lambda v: [0.1 * v[0] + 0.2 * v[1] + 0.3 * v[2] + 0.4 * v[3]],
    "gather": lambda v: [v[2]],
    "patches": lambda v: [v[3]],
    "raw": lambda v: [v[0]],
}


@pytest.mark.parametrize("name", STENCILS)
@drawn(x=vectors(6, 6))
def test_neighbours(name: str, x: tuple[Interval, Vector]) -> None:
    i, values = x
    found = result(name, x=argument(i, IMAGE))
    for value in STENCILS[name](values):
        assert holds(found, value), f"{name} gives {value} of {values}, not in {found}"


@pytest.mark.parametrize("name", ["pool", "block_mean", "block_median"])
def test_a_window_without_any_of_the_region_gives_zero(name: str) -> None:
    region = argument(UNIT, Kind("region", "pixels"))
    assert 0.0 in result(name, x=argument(Interval(2, 3), IMAGE), region=region)
    assert 0.0 not in result(name, x=argument(Interval(2, 3), IMAGE))


@drawn(vectors(4, 4))
def test_haar(x: tuple[Interval, Vector]) -> None:
    i, (a, b, c, d) = x
    kind = table()["haar"].kind
    assert kind is not None
    fields = dict(kind({"x": argument(i, IMAGE)}).fields)
    values = {
        "ll": (a + b + c + d) / 2,
        "lh": (c + d - a - b) / 2,
        "hl": (b + d - a - c) / 2,
        "hh": (a + d - b - c) / 2,
    }
    assert set(fields) == set(values)
    for name, value in values.items():
        assert holds(fields[name].range, value), f"{name} = {value} is not in {fields[name].range}"


# Choices, curves and chances


@drawn(vectors(1, 1), vectors(1, 1), st.sampled_from([math.nan, inf, -inf, 1.0]))
def test_finite_or(x: tuple[Interval, Vector], other: tuple[Interval, Vector], replaced: float) -> None:
    host = table()["finite_or"].host
    assert host is not None
    found = result("finite_or", x=argument(x[0], NUMBER), other=argument(other[0], NUMBER))
    value = x[1][0] if replaced == 1.0 else replaced
    assert holds(found, float(host(x=value, other=other[1][0])))


@drawn(st.lists(vectors(1, 1), min_size=2, max_size=4))
def test_least_and_largest(values: list[tuple[Interval, Vector]]) -> None:
    for name, f in (("min", min), ("max", max)):
        record = table()[name].range
        assert record is not None
        ranges: dict[str, Interval | None] = {}
        for k, (i, _) in enumerate(values):
            key = "x" if k == 0 else f"x.{k}"
            ranges[key] = i
            ranges.update(facets(key, argument(i, IMAGE)))
        assert holds(record(ranges), f(x for _, (x,) in values))


@drawn(
    st.lists(vectors(1, 1), min_size=2, max_size=4),
    st.floats(-5, 25),
    st.sampled_from(["linear", "log", "step"]),
)
def test_piecewise(values: list[tuple[Interval, Vector]], x: float, interp: str) -> None:
    record = table()["piecewise"]
    assert record.host is not None
    assert record.range is not None
    ranges: dict[str, Interval | None] = {"x": REALS}
    for k, (i, _) in enumerate(values):
        ranges[f"points.{k}"] = None
        pair = (argument(Interval(k, k), NUMBER), argument(i, NUMBER))
        ranges.update(facets(f"points.{k}", Expr("tuple", pair, Type(STEP, Kind("tuple")), Span(0, 0), Source(""))))
    points = [(10.0 * k, v) for k, (_, (v,)) in enumerate(values)]
    assert holds(record.range(ranges), float(record.host(x=x, points=points, interp=interp)))
    assert record.range({"x": UNIT}) == REALS, "nothing is known of the points"


@drawn(vectors(1, 1), st.integers(0, 10_000))
def test_chance(p: tuple[Interval, Vector], step: int) -> None:
    host = table()["chance"].host
    assert host is not None
    value = float(host(x=float(step), p=p[1][0]))
    assert value in result("chance", x=argument(REALS, NUMBER), p=argument(p[0], NUMBER))


def test_chances_are_reproducible_and_as_frequent_as_they_say() -> None:
    host = table()["chance"].host
    assert host is not None
    steps = range(4000)
    found = [bool(host(x=float(s), p=0.4)) for s in steps]
    assert found == [bool(host(x=float(s), p=0.4)) for s in steps]
    assert 0.37 < statistics.fmean(found) < 0.43
    elsewhere = [bool(host(x=float(s), p=0.4, seed=1)) for s in steps]
    assert 0.45 < statistics.fmean(a == b for a, b in zip(found, elsewhere)) < 0.6, "places are independent"
    assert sum(a and b for a, b in pairwise(found)) / 4000 < 0.2, "and so are steps"


@drawn(vectors(1, 1), vectors(1, 1), st.floats(0, 1))
def test_histogram_quantile(lo: tuple[Interval, Vector], hi: tuple[Interval, Vector], q: float) -> None:
    (i, (a,)), (j, (b,)) = lo, hi
    found = result("histogram_quantile", h=argument(UNIT, NUMBER), lo=argument(i, NUMBER), hi=argument(j, NUMBER))
    assert holds(found, a + q * (b - a))


# Ranges that signatures state


@drawn(vectors(2, 6), vectors(6, 6))
def test_pearson(x: tuple[Interval, Vector], y: tuple[Interval, Vector]) -> None:
    a, b = x[1], y[1][: len(x[1])]
    assume(statistics.pstdev(a) > 1e-6 and statistics.pstdev(b) > 1e-6)
    assert holds(result("pearson_loss"), 1 - statistics.correlation(a, b))


@drawn(st.lists(st.floats(-30, 30), min_size=2, max_size=5))
def test_softmax(x: Vector) -> None:
    total = math.fsum(math.exp(v) for v in x)
    assert all(holds(result("softmax"), math.exp(v) / total) for v in x)


def test_every_range_is_tested() -> None:
    """A builtin with a range function is drawn here, or by the tests of intervals, or its range is exact."""
    others = {"haar", "normalize", "finite_or", "min", "max", "piecewise", "chance", "histogram_quantile"}
    here = {*COMPONENTS, *PAIRS, *REDUCTIONS, *STENCILS, *others}
    schedules = {"after", "before", "between", "every", "ramp", "linear", "loglinear", "cosine", "expdecay"}
    unary = {b.name for b in ALL if b.host and [p.name for p in b.parsed.params] == ["x"]}
    assert {b.name for b in ALL if b.range} <= here | schedules | unary | {"clamp", "where"}
