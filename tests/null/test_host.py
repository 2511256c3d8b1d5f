"""Values that the host computes: every schedule around its corners, and floats where they end."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from splatdsl.dsl.api import analyse
from splatdsl.dsl.builtins import table
from splatdsl.dsl.host import environment, evaluate
from splatdsl.dsl.source import Source
from splatdsl.dsl.typed import Expr

PARAMS = "param w = 0.5\nparam zero = 0\nparam k: steps = 10\nparam on: flag = true\nparam off: flag = false\n"
VALUES: dict[str, float | bool] = {"w": 0.5, "zero": 0.0, "k": 10.0, "on": True, "off": False}


def host(text: str) -> Expr:
    program, found = analyse(Source(f"{PARAMS}let value = {text}\nterm t = mean(alpha) * value"))
    assert program is not None, [(d.code, d.message) for d in found]
    return program.terms[0].value.args[1]


def value(text: str, step: int = 0, max_steps: int = 1000, **params: float | bool) -> float:
    return float(evaluate(host(text), environment(step, max_steps, {**VALUES, **params})))


def clip(x: float) -> float:
    return min(max(x, 0.0), 1.0)


# Schedules at the step before, at, and after each of their corners, against their formulas in plain Python

SCHEDULES: list[tuple[str, Callable[[int], float], tuple[int, ...]]] = [
    ("after(step, 10)", lambda s: s >= 10, (10,)),
    ("after(step, 9.5)", lambda s: s >= 9.5, (9, 10)),
    ("after(step, inf)", lambda s: False, (1000,)),
    ("before(step, 10)", lambda s: s < 10, (10,)),
    ("between(step, 10, 20)", lambda s: 10 <= s < 20, (10, 20)),
    ("every(step, 5)", lambda s: s % 5 == 0, (5, 10)),
    ("every(step, 5, offset=2)", lambda s: s % 5 == 2, (2, 7)),
    ("every(step, 5, offset=12)", lambda s: s % 5 == 2, (2, 7, 12)),
    ("every(step, k)", lambda s: s % 10 == 0, (10,)),
    ("ramp(step, 10)", lambda s: clip(s / 10), (1, 10)),
    ("ramp(step, 10, 20)", lambda s: clip((s - 10) / 10), (10, 15, 20)),
    ("ramp(step - 5, 10)", lambda s: clip((s - 5) / 10), (5, 15)),
    ("ramp(step, k, k)", lambda s: s >= 10, (10,)),
    ("linear(step, 4, 2, over=10)", lambda s: 4 - 2 * clip(s / 10), (1, 10)),
    ("linear(step, 4, 2, over=10, start=5)", lambda s: 4 - 2 * clip((s - 5) / 10), (5, 15)),
    ("loglinear(step, 1, 0.01, over=10)", lambda s: 10 ** (-2 * clip(s / 10)), (1, 5, 10)),
    ("loglinear(step, 1, 0.01, over=10, start=5)", lambda s: 10 ** (-2 * clip((s - 5) / 10)), (5, 10, 15)),
    ("cosine(step, 3, 1, over=10)", lambda s: 2 + math.cos(math.pi * clip(s / 10)), (1, 5, 10)),
    ("cosine(step, 3, 1, over=10, start=5)", lambda s: 2 + math.cos(math.pi * clip((s - 5) / 10)), (5, 10, 15)),
    ("expdecay(step, 0.1)", lambda s: math.exp(-0.1 * s), (1, 10)),
    ("piecewise(step, (5, 1), (10, 3))", lambda s: 1 + 2 * clip((s - 5) / 5), (5, 10)),
    ('piecewise(step, (5, 1), (10, 100), interp="log")', lambda s: 100 ** clip((s - 5) / 5), (5, 10)),
    ('piecewise(step, (5, 0), (10, 3), interp="log")', lambda s: 3 if s >= 10 else 0, (5, 10)),
    ('piecewise(step, (5, 1), (10, 3), interp="step")', lambda s: 3 if s >= 10 else 1, (5, 10)),
    (
        "piecewise(step, (0, 0), (10, 1), (20, -1))",
        lambda s: s / 10 if s < 10 else 1 - 2 * clip((s - 10) / 10),
        (1, 10, 20),
    ),
    ("1 if after(step, 10) else 2", lambda s: 1 if s >= 10 else 2, (10,)),
    ("clamp(step, 5, 10)", lambda s: min(max(s, 5), 10), (5, 10)),
    ("min(step, 10, 7)", lambda s: min(s, 7), (7, 10)),
    ("max(step, 3)", lambda s: max(s, 3), (3,)),
    ("where(step > 10, 1, 2)", lambda s: 1 if s > 10 else 2, (10,)),
    ("step == 10", lambda s: s == 10, (10,)),
    ("step != 10 and step <= 10 or not on", lambda s: s < 10, (10,)),
    ("after(step, 5) + after(step, 10) * 2", lambda s: (s >= 5) + 2 * (s >= 10), (5, 10)),
    ("-(step - 3) ^ 2", lambda s: -((s - 3) ** 2), (3,)),
    ("progress", lambda s: s / 1000, (1,)),
]


@pytest.mark.parametrize(("text", "formula", "corners"), SCHEDULES, ids=[s[0] for s in SCHEDULES])
def test_schedules_around_their_corners(text: str, formula: Callable[[int], float], corners: tuple[int, ...]) -> None:
    for corner in corners:
        for step in (corner - 1, corner, corner + 1):
            if step >= 0:
                assert value(text, step) == pytest.approx(float(formula(step)), rel=1e-12, abs=1e-15), f"at step {step}"


def test_every_schedule_is_tested() -> None:
    random = {"chance"}  # tested with the ranges of builtins
    scheduled = {n for n, b in table().items() if b.host and not b.kernel and n not in random} | {"piecewise"}
    assert {n for n in scheduled if not any(f"{n}(" in text for text, _, _ in SCHEDULES)} == set()


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("ramp(step, 10, 20)", 0.0, 1.0),
        ("linear(step, 0.1, 0.7, over=10)", 0.1, 0.7),
        ("loglinear(step, 0.3, 0.07, over=10)", 0.3, 0.07),
        ("piecewise(step, (0, 0.1), (10, 0.7))", 0.1, 0.7),
    ],
)
def test_ends_are_exact(text: str, first: float, last: float) -> None:
    assert value(text, 0) == first
    assert value(text, 20) == pytest.approx(last, rel=1e-15)


# Floats


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 / zero", math.inf),
        ("-1 / zero", -math.inf),
        ("zero / zero", math.nan),
        ("inf - inf / (1 - zero)", math.nan),
        ("log(zero)", -math.inf),
        ("log(zero - 1)", math.nan),
        ("sqrt(zero - 1)", math.nan),
        ("sqrt(zero)", 0.0),
        ("exp(1e4)", math.inf),
        ("exp(-1e4)", 0.0),
        ("sigmoid(-1e4)", 0.0),
        ("sigmoid(1e4)", 1.0),
        ("sigmoid(zero)", 0.5),
        ("(w - 0.5) ^ -1", math.inf),
        ("(10 * w) ^ 1e4", math.inf),
        ("(-10 * w) ^ 1001", -math.inf),
        ("(-10 * w) ^ 1002", math.inf),
        ("(-w) ^ 0.5", math.nan),
        ("(-w) ^ 2", 0.25),
        ("zero ^ zero", 1.0),
        ("1e300 * (w * 2e300)", math.inf),
        ("every(step, zero)", 0.0),
        ("linear(step, 1, 2, over=zero + 1e-300)", 1.0),
        ("ramp(step, zero)", 1.0),
        ("ramp(step, inf)", 0.0),
        ("piecewise(step, (0, 1), (zero, 2))", 2.0),
        ("on + on", 2.0),
        ("-on", -1.0),
        ("on - off", 1.0),
        ("not on", 0.0),
        ("relu(-w)", 0.0),
        ("abs(-w)", 0.5),
        ("detach(w)", 0.5),
        ("sq(w)", 0.25),
        ("pi", math.pi),
        ("2 ^ 3 ^ 2", 512.0),
        ("-2 ^ 2", -4.0),
        ("7 - 4 - 2", 1.0),
        ("8 / 4 / 2", 1.0),
        ("true and false or true", 1.0),
    ],
)
def test_floats_where_they_end(text: str, expected: float) -> None:
    found = value(text)
    assert found == expected or (math.isnan(found) and math.isnan(expected))


def test_points_in_the_wrong_order_do_not_raise() -> None:
    """Parameters can put points into an order that the checker could not foresee."""
    for a in (0.0, 5.0, 10.0, 20.0):
        for step in range(25):
            found = value("piecewise(step, (k, 1), (10, 2), (w, 3))", step, k=a, w=a)
            assert 1 <= found <= 3


def test_a_step_past_the_end_and_a_run_of_one_step() -> None:
    assert value("progress", 0, 1) == 0.0
    assert value("step / max_steps", 5, 1) == 5.0


def test_long_and_shared_values() -> None:
    assert value("step" + " + 1" * 3990, 5) == 3995
    lets = ["let a0 = step", *(f"let a{i} = a{i - 1} + a{i - 1}" for i in range(1, 200))]
    program, _ = analyse(Source("\n".join([*lets, "term t = mean(alpha) * a199"])))
    assert program is not None
    assert evaluate(program.terms[0].value.args[1], environment(1, 10, {})) == 2.0**199


def test_a_value_is_computed_once_for_many_readers() -> None:
    e = host("ramp(step, 10)")
    memo: dict[int, object] = {}
    env = environment(5, 10, VALUES)
    assert evaluate(e, env, memo) == 0.5
    known = dict(memo)
    assert evaluate(e, env, memo) == 0.5
    assert memo == known
