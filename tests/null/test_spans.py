"""Spans of steps against the plain answer: the condition evaluated at every step."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splatdsl.dsl.api import analyse
from splatdsl.dsl.curves import Curve
from splatdsl.dsl.host import environment, evaluate
from splatdsl.dsl.objective import Objective, objective
from splatdsl.dsl.source import Source
from splatdsl.dsl.spans import Timeline
from splatdsl.dsl.steps import Existence, Steps

STEPS = 300


def _program(text: str, max_steps: int | None = None):
    program, found = analyse(Source(text), None, max_steps)
    assert program is not None, found
    return program


def _when(condition: str, max_steps: int | None, params: str = "") -> Existence:
    program = _program(f"{params}\nterm a = l1() when {condition}", max_steps)
    values = {name: info.value for name, info in program.params.items()}
    return Timeline(values, max_steps).nonzero(program.terms[0].when)


def _objective(text: str, max_steps: int | None = None) -> Objective:
    return objective(_program(text, max_steps), max_steps)


STEP_NUMBERS = st.integers(min_value=-3, max_value=STEPS + 5)
GATES = st.one_of(
    st.builds("after(step, {})".format, STEP_NUMBERS),
    st.builds("before(step, {})".format, STEP_NUMBERS),
    st.builds("between(step, {}, {})".format, STEP_NUMBERS, STEP_NUMBERS),
    st.builds("step {} {}".format, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), STEP_NUMBERS),
    st.builds("progress {} {}".format, st.sampled_from(["<", ">="]), st.sampled_from(["0.25", "0.5", "0.71"])),
    st.builds("ramp(step, {}, {}) > 0.5".format, st.integers(0, 100), st.integers(101, 250)),
    st.builds("linear(step, 1, 0, over={}) < 0.3".format, st.integers(1, STEPS)),
    st.builds("expdecay(step, 0.01) > {}".format, st.sampled_from(["0.9", "0.2"])),
    st.builds("piecewise(step, (10, 1), (50, 0), (90, 2)) {} 0.5".format, st.sampled_from(["<", ">="])),
    st.builds("step ^ 2 - {} * step < 100".format, st.integers(0, 200)),
    st.builds("every(step, {}, offset={})".format, st.integers(1, 9), st.integers(0, 12)),
)
CONDITIONS = st.recursive(
    GATES,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=4,
)


@settings(max_examples=80, deadline=None)
@given(CONDITIONS)
def test_spans_are_the_steps_at_which_the_condition_holds(condition: str) -> None:
    program = _program(f"term a = l1() when {condition}", STEPS)
    when = program.terms[0].when
    found = Timeline({}, STEPS).nonzero(when)
    assert found.exact
    truth = [bool(evaluate(when, environment(step, STEPS, {}))) for step in range(STEPS)]
    assert [found.holds(step) for step in range(STEPS)] == truth
    if len(found.gates) <= 1:
        assert found.total() == sum(truth)


def test_spans_are_as_few_as_possible_and_in_order() -> None:
    found = _when("between(step, 50, 100) or between(step, 100, 120) or after(step, 200)", STEPS)
    assert found.spans == (Steps(50, 120), Steps(200, STEPS))


@pytest.mark.parametrize(
    ("condition", "max_steps", "text"),
    [
        ("after(step, 7_000)", None, "from step 7,000"),
        ("after(step, 7_000)", 30_000, "from step 7,000"),
        ("between(step, 500, 9_500)", None, "steps 500 to 9,499"),
        ("before(step, 100)", 30_000, "up to step 99"),
        ("after(step, 0)", 30_000, "always"),
        ("step == 12", 30_000, "step 12 only"),
        ("between(step, 100, 300) or between(step, 500, 800)", None, "steps 100 to 299 and 500 to 799"),
        ("every(step, 10)", None, "every 10 steps"),
        ("after(step, 500) and every(step, 10)", 30_000, "from step 500, every 10 steps"),
        ("every(step, 10, offset=3)", 30_000, "every 10 steps (3, 13, ...)"),
        ("progress >= 0.5", 30_000, "from step 15,000"),
        ("progress >= 0.5", None, "while progress >= 0.5"),
        ("after(step, start)", None, "from step 800"),
        ("chance(step, 0.25) and after(step, 10)", None, "from step 10, with chance(step, 0.25)"),
    ],
)
def test_spans_in_words(condition: str, max_steps: int | None, text: str) -> None:
    assert _when(condition, max_steps, "param start: steps = 800").describe(max_steps) == text


def test_a_condition_of_a_missing_input_is_a_gate() -> None:
    text = "input mono: depth[inverse, relative]?\nterm a = mean(mono) when has(mono) and after(step, 20)"
    term = _objective(text, 100).terms[0]
    assert term.exists.spans == (Steps(20, 100),)
    assert [gate.kind for gate in term.exists.gates] == ["has"]
    assert term.guards == ("mono",)
    assert term.parts[0].optional == ("mono",)


def test_millions_of_steps_take_no_longer_than_hundreds() -> None:
    found = _when("between(step, 1_000_000_007, 2_000_000_011) and step != 1_500_000_000", 4_000_000_000)
    assert found.spans == (Steps(1_000_000_007, 1_500_000_000), Steps(1_500_000_001, 2_000_000_011))


def test_a_condition_that_never_settles_ends_and_says_that_it_is_inexact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splatdsl.dsl.spans.BUDGET", 2_000)
    found = _when("not every(step, 3)", 1_000_000)
    assert not found.exact
    assert found.total() is None
    assert found.describe(1_000_000).startswith("about ")


WEIGHTS = [
    ("ramp(step, 100)", [(0, 100, 0.0, 1.0, "rises"), (100, 299, 1.0, 1.0, "constant")]),
    (
        "linear(step, 1, 0, over=50, start=100)",
        [(0, 100, 1, 1, "constant"), (100, 150, 1, 0, "falls"), (150, 299, 0, 0, "constant")],
    ),
    ("(2 if after(step, 30) else 1)", [(0, 29, 1, 1, "constant"), (30, 299, 2, 2, "constant")]),
    (
        'piecewise(step, (100, 0), (200, 0.5), interp="step")',
        [(0, 199, 0, 0, "constant"), (200, 299, 0.5, 0.5, "constant")],
    ),
    ("max(0, 1 - step / 60)", [(0, 60, 1, 0, "falls"), (60, 299, 0, 0, "constant")]),
    ("0.5", [(0, 299, 0.5, 0.5, "constant")]),
]


@pytest.mark.parametrize(("weight", "pieces"), WEIGHTS)
def test_pieces_of_a_weight(weight: str, pieces: list[tuple[int, int, float, float, str]]) -> None:
    part = _objective(f"term a = {weight} * l1()", STEPS).terms[0].parts[0]
    found = [(p.first, p.last, p.start, p.end, p.shape) for p in part.weight.pieces]
    assert [(a, b, shape) for a, b, _, _, shape in found] == [(a, b, shape) for a, b, _, _, shape in pieces]
    assert [v for _, _, a, b, _ in found for v in (a, b)] == pytest.approx(
        [v for _, _, a, b, _ in pieces for v in (a, b)]
    )


@pytest.mark.parametrize(
    "weight", [w for w, _ in WEIGHTS] + ["cosine(step, 0.1, 0, over=40) * 3", "-expdecay(step, 0.1)"]
)
def test_a_weight_at_every_step_and_where_it_is_not_0(weight: str) -> None:
    program = _program(f"term a = {weight} * opacity_reg(state) / 4", STEPS)
    part = objective(program, STEPS).terms[0].parts[0]
    host = _program(f"param unused = 1\nterm a = l1() when {weight} != 0", STEPS).terms[0].when
    for step in range(STEPS):
        expected = float(evaluate(host.args[0], environment(step, STEPS, {}))) / 4
        assert part.weight.curve.at(step) == pytest.approx(expected, rel=1e-12, abs=0)
        assert part.weight.nonzero.holds(step) == (expected != 0)


def test_a_weight_that_needs_the_length_of_the_run_says_so() -> None:
    weight = _objective("term a = linear(step, 1, 0, over=max_steps) * l1()").terms[0].parts[0].weight
    assert weight.unknown == ("max_steps",)
    assert weight.pieces == ()


def test_turns_are_found_on_affine_functions_of_the_step() -> None:
    program = _program("term a = ramp(2 * step - 40, 100) * l1()", STEPS)
    factor = program.terms[0].value.args[0]
    assert Curve([(False, factor)], Timeline({}, STEPS)).turns() == [20, 70]
