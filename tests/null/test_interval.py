"""Every operation on intervals is sound: points inside go to points inside."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from splatdsl.dsl.builtins import table
from splatdsl.dsl.interval import NONNEGATIVE, POSITIVE, REALS, UNIT, ZERO, Interval, inf, point, show

ENDS = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 3.0, inf, -inf]),
    st.floats(-50, 50, allow_nan=False).map(lambda x: round(x, 3) + 0.0),
)


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    a, b = sorted((draw(ENDS), draw(ENDS)))
    if a == b:
        assume(math.isfinite(a))
        return Interval(a, b)
    return Interval(a, b, draw(st.booleans()), draw(st.booleans()))


@st.composite
def inside(draw: st.DrawFn) -> tuple[Interval, float]:
    """An interval and a finite value in it, its ends included where they are closed."""
    i = draw(intervals())
    lo, hi = max(i.lo, -1e3), min(i.hi, 1e3)
    candidates = [x for x in (i.lo, i.hi, 0.0, 1.0, -1.0, (lo + hi) / 2) if x in i and math.isfinite(x)]
    x = draw(st.one_of(st.sampled_from(candidates), st.floats(lo, hi, allow_nan=False)))
    assume(x in i and math.isfinite(x))
    return i, x


def holds(i: Interval, value: float) -> bool:
    """Whether a computed value is in the interval, give or take rounding at closed or open ends."""
    if value in i:
        return True
    slack = 1e-9 * max(1.0, abs(value))
    return math.isfinite(value) and (i.lo < value + slack and value - slack < i.hi)


@given(inside(), inside())
@example((ZERO, 0.0), (Interval(0, inf), 5.0))
@settings(max_examples=200)
def test_arithmetic(a: tuple[Interval, float], b: tuple[Interval, float]) -> None:
    (i, x), (j, y) = a, b
    assert x + y in i + j or holds(i + j, x + y)
    assert holds(i - j, x - y)
    assert holds(i * j, x * y)
    assert -x in -i
    assert abs(x) in i.abs()
    assert min(x, y) in i.least(j)
    assert max(x, y) in i.greatest(j)
    assert x in i.hull(j)
    assert y in i.hull(j)
    if y != 0:
        assert holds(i / j, x / y), f"{x} / {y} is not in {i} / {j} = {i / j}"
        assert holds(j.reciprocal(), 1 / y)


@st.composite
def whole(draw: st.DrawFn) -> tuple[Interval, float]:
    """An interval between integers with half an integer in it: sums and products of these are exact."""
    lo, hi = sorted((draw(st.integers(-4, 4)), draw(st.integers(-4, 4))))
    if lo == hi:
        return Interval(lo, hi), float(lo)
    i = Interval(lo, hi, draw(st.booleans()), draw(st.booleans()))
    return i, draw(st.sampled_from([v / 2 for v in range(2 * lo, 2 * hi + 1) if v / 2 in i]))


@given(whole(), whole())
@settings(max_examples=200)
def test_open_ends_are_exact(a: tuple[Interval, float], b: tuple[Interval, float]) -> None:
    (i, x), (j, y) = a, b
    assert x + y in i + j
    assert x - y in i - j
    assert x * y in i * j


@given(inside(), inside())
@settings(max_examples=200)
def test_powers(a: tuple[Interval, float], b: tuple[Interval, float]) -> None:
    (i, x), (j, y) = a, b
    assume(abs(y) < 8)
    for exponent, p in ((j, y), (point(y), y), (point(float(round(y))), float(round(y))), (point(0.5), 0.5)):
        try:
            value = x**p
        except (ZeroDivisionError, OverflowError):
            continue
        if isinstance(value, complex):
            continue
        assert holds(i.power(exponent), value), f"{x} ** {p} = {value} is not in {i.power(exponent)}"


@given(inside(), st.floats(-20, 20), st.floats(0, 20))
def test_clip(a: tuple[Interval, float], lo: float, width: float) -> None:
    i, x = a
    assert min(max(x, lo), lo + width) in i.clip(lo, lo + width)


@given(intervals(), inside())
def test_order(i: Interval, b: tuple[Interval, float]) -> None:
    j, y = b
    if j.within(i):
        assert y in i
    if j.disjoint(i):
        assert y not in i
        assert i.disjoint(j)
    assert i.within(i)
    assert i.within(REALS)
    assert i.within(i.hull(j))
    if i.sign == 1:
        assert i.lo >= 0
    if j.sign == -1:
        assert y <= 0
    if j.sign == 0:
        assert y == 0


UNARY = [
    name
    for name, b in table().items()
    if b.host and b.range and [(p.name, p.variadic) for p in b.parsed.params] == [("x", False)]
]


@pytest.mark.parametrize("name", UNARY)
@given(a=inside())
def test_the_range_of_a_function(name: str, a: tuple[Interval, float]) -> None:
    record, (i, x) = table()[name], a
    assert record.host is not None
    assert record.range is not None
    value = record.host(x)
    if not math.isnan(value):
        assert holds(record.range({"x": i}), value), f"{name}({x}) = {value} is not in {record.range({'x': i})}"


def test_the_functions_that_the_test_above_covers() -> None:
    assert {"abs", "sq", "sqrt", "exp", "log", "sigmoid", "relu", "detach"} <= set(UNARY)


SCHEDULES = {
    "after": ("x", "a"),
    "before": ("x", "b"),
    "between": ("x", "a", "b"),
    "ramp": ("x", "a", "b"),
    "linear": ("x", "v0", "v1", "over", "start"),
    "cosine": ("x", "v0", "v1", "over", "start"),
    "expdecay": ("x", "rate"),
    "clamp": ("x", "lo", "hi"),
    "where": ("c", "a", "b"),
}


@pytest.mark.parametrize("name", SCHEDULES)
@given(data=st.data())
def test_the_range_of_a_schedule(name: str, data: st.DataObject) -> None:
    record = table()[name]
    drawn = {n: data.draw(inside()) for n in SCHEDULES[name]}
    if "over" in drawn:
        assume(drawn["over"][1] > 0)
    if name == "ramp":
        assume(drawn["a"][1] < drawn["b"][1])
    if name == "clamp":
        assume(drawn["lo"][1] <= drawn["hi"][1])
    ranges = {n: i for n, (i, _) in drawn.items()}
    assert record.host is not None
    assert record.range is not None
    value = float(record.host(**{n: x for n, (_, x) in drawn.items()}))
    assert holds(record.range(ranges), value), f"{name} gives {value}, not in {record.range(ranges)}"


# Cases that were worth a thought


def test_infinite_ends() -> None:
    assert Interval(0, inf) + Interval(-inf, 0) == REALS
    assert point(inf) - Interval(0, inf) == Interval(-inf, inf, True, True), "inf - inf has no value, inf - 1 is inf"
    assert inf in NONNEGATIVE, "a parameter may be inf"
    assert Interval(0, 1) * Interval(1, inf) == NONNEGATIVE
    assert Interval(0, 1, lo_open=True) * Interval(1, inf) == POSITIVE


def test_zero() -> None:
    assert ZERO * REALS == ZERO
    assert ZERO.sign == 0
    assert UNIT.sign == 1
    assert (-UNIT).sign == -1
    assert Interval(-1, 1).sign is None
    assert Interval(-1, 1).reciprocal() == REALS
    assert UNIT.reciprocal() == Interval(1, inf)
    assert POSITIVE.reciprocal() == POSITIVE


def test_a_root_of_what_is_partly_negative_can_be_zero() -> None:
    assert 0.0 in Interval(-1, 4, lo_open=True).power(point(0.5))
    assert 0.0 in table()["sqrt"].range({"x": Interval(-1, 4, lo_open=True)})  # type: ignore[misc]


def test_clipping_what_lies_outside_gives_the_end() -> None:
    assert Interval(5, 7, lo_open=True).clip(0, 5) == point(5)
    assert Interval(-7, -5, hi_open=True).clip(-5, 0) == point(-5)
    assert 5.0 in Interval(5, 7, lo_open=True).clip(0, 5)


def test_integers_are_accepted_as_ends() -> None:
    assert Interval(-3, 2).power(Interval(2, 2)) == Interval(0, 9)


def test_membership_of_open_and_closed_ends() -> None:
    i = Interval(0, 1, lo_open=True)
    assert 0.0 not in i
    assert 1.0 in i
    assert math.nan not in REALS
    assert Interval(0, 1, True, True).within(UNIT)
    assert not UNIT.within(Interval(0, 1, True, True))
    assert Interval(0, 1, hi_open=True).disjoint(Interval(1, 2))
    assert not UNIT.disjoint(Interval(1, 2))


@pytest.mark.parametrize(
    ("x", "text"),
    [(1.0, "1"), (0.1, "0.1"), (-2.5, "-2.5"), (inf, "inf"), (-inf, "-inf"), (math.nan, "nan"), (1e-7, "1e-07")],
)
def test_numbers_as_a_user_writes_them(x: float, text: str) -> None:
    assert show(x) == text


def test_an_interval_as_text() -> None:
    assert repr(Interval(0, inf)) == "[0, inf)"
    assert repr(Interval(0, 1, lo_open=True)) == "(0, 1]"


def test_a_power_of_what_is_above_zero_is_above_zero() -> None:
    assert 0.0 not in point(0.9).power(NONNEGATIVE)
    assert 0.0 not in POSITIVE.power(Interval(-2, 3))
    assert 0.0 in UNIT.power(Interval(1, 2))
