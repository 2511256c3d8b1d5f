"""Schedules: terms that never exist, weights that are always 0, closed comparisons, fractions, gaps, lost averages."""

from __future__ import annotations

import pytest

from splatdsl.dsl.api import check_text
from splatdsl.dsl.diagnostics import Applicability, Diagnostic
from splatdsl.dsl.fixes import changed

COLOUR = "term colour = l1()\n"
REG = "scale_reg(state)"


def found(text: str, steps: int | None = 7000, pedantic: bool = False, **options) -> list[Diagnostic]:
    """What the schedule rules find in a program; the colour term stands in for one that is right."""
    everything = check_text(COLOUR + text, max_steps=steps, pedantic=pedantic, **options)
    return [d for d in everything if d.code.startswith("SCH")]


def codes(text: str, steps: int | None = 7000, **options) -> list[str]:
    return [d.code for d in found(text, steps, **options)]


# Terms that never exist


@pytest.mark.parametrize(
    "when",
    [
        "after(step, 7_000)",
        "after(step, max_steps)",
        "between(step, 7_000, 9_000)",
        "after(step, 5_000) and before(step, 3_000)",
        "after(step, 5_000) and before(step, 5_000)",
        "step >= 7_000",
        "after(progress, 1)",
        "after(step + 1, 8_000)",
        "after(step, late)",
        "between(step, late, late + 500)",
        "not before(step, 7_000)",
        "every(step, 10_000, offset=9_999)",
        "after(step, 7_000) and every(step, 10)",
        "after(step, 7_000) and switch",
    ],
)
def test_a_term_that_never_exists(when: str) -> None:
    text = f"param late: steps = 7_500\nparam switch: flag = true\nterm odd = 10 * {REG} when {when}"
    assert "SCH002" in codes(text)


@pytest.mark.parametrize(
    "when",
    [
        "after(step, 6_999)",
        "between(step, 6_999, 9_000)",
        "after(step, 3_000) and before(step, 5_000)",
        "step >= 6_999",
        "after(progress, 0.99)",
        "before(step, 1)",
        "after(step, late)",
        "every(step, 10_000)",
        "chance(step, 0.001)",
        "has(mono)",
        "not has(mono)",
        "off",
        'kind == "b"',
        "after(step, 7_000) or has(mono)",
    ],
)
def test_a_term_that_exists_at_some_step_or_is_switched_off(when: str) -> None:
    modes = 'param off: flag = false\nparam kind = "a" in {"a", "b"}\n'
    declared = f"input mono: depth[relative]?\nparam late: steps = 6_500\n{modes}"
    assert "SCH002" not in codes(f"{declared}term even = 10_000 * {REG} when {when}")


def test_nothing_is_said_where_the_length_is_unknown() -> None:
    assert codes(f"term even = {REG} when after(step, 7_000)", steps=None) == []
    assert codes(f"term odd = {REG} when between(step, 900, 500)", steps=None) == ["SCH002"]


def test_the_parameter_that_decides_is_shown() -> None:
    text = f"param late: steps = 3_000\nterm odd = {REG} when after(step, late)"
    assert codes(text) == []
    (diagnostic,) = found(text, params={"late": 9000})
    assert diagnostic.code == "SCH002"
    assert "`odd`" in diagnostic.message
    assert [label.text for label in diagnostic.labels] == ["now 9000"]


# Weights that are always 0


@pytest.mark.parametrize(
    "value",
    [
        f"0 * {REG}",
        f"0.0 * {REG}",
        f"{REG} * 0",
        f"-(0 * {REG})",
        f"0 * {REG} / 3",
        f"(1 - 1) * {REG}",
        f"ramp(step, 8_000, 9_000) * {REG}",
        f"after(step, 7_000) * {REG}",
        f"before(step, 100) * after(step, 100) * {REG}",
        f"before(step, 100) * {REG} when after(step, 100)",
        f"0.1 * ramp(step, 6_999, 9_000) * {REG}",
    ],
)
def test_a_weight_that_is_always_zero(value: str) -> None:
    assert codes(f"term odd = {value}") == ["SCH005"]


@pytest.mark.parametrize(
    "value",
    [
        f"w * {REG}",
        f"ramp(step, 6_000, 9_000) * {REG}",
        f"ramp(step, 6_998, 9_000) * {REG}",
        f"before(step, 100) * {REG}",
        f"before(step, 101) * {REG} when after(step, 100)",
        f"(0.1 * switch) * {REG}",
        f"linear(step, 0, 1, over=7_000) * {REG}",
    ],
)
def test_a_weight_that_is_zero_now_and_then(value: str) -> None:
    assert codes(f"param w = 0.0 >= 0\nparam switch: flag = false\nterm even = {value}") == []


# Closed comparisons


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("step > 7000", "after(step, 7001)"),
        ("7000 < step", "after(step, 7001)"),
        ("step <= 500", "before(step, 501)"),
        ("500 >= step", "before(step, 501)"),
        ("step > start", "after(step, start + 1)"),
        ("step <= 2 * start", "before(step, (2 * start) + 1)"),
        ("has(mask) and step > 7000", "has(mask) and after(step, 7001)"),
    ],
)
def test_a_closed_comparison_is_rewritten(before: str, after: str) -> None:
    text = f"param start: steps = 500\nterm odd = start * {REG} when {before}"
    (diagnostic,) = found(text, steps=None)
    assert diagnostic.code == "SCH006"
    (fix,) = diagnostic.fixes
    assert fix.applicability is Applicability.SAFE, "it means the same"
    assert changed(COLOUR + text, fix.edits) == COLOUR + text.replace(before, after)
    assert codes(text.replace(before, after), steps=None) == []


@pytest.mark.parametrize(
    "when", ["step >= 500", "step < 500", "500 <= step", "progress > 0.5", "step + 1 > 500", "since > 3", "H > 500"]
)
def test_other_comparisons_say_what_they_mean(when: str) -> None:
    assert codes(f"input since: steps\nterm even = {REG} when {when}", steps=None) == []


def test_a_closed_comparison_in_a_value_counts_too() -> None:
    assert codes(f"term odd = {REG} * (2 if step > 10 else 1)") == ["SCH006"]


# Fractions of a step


@pytest.mark.parametrize(
    "schedule",
    [
        "ramp(step, 0.25)",
        "ramp(step, 0, 0.5)",
        "linear(step, 1, 0.1, over=0.75)",
        "after(step, 0.5)",
        "before(step, 0.9)",
        "between(step, 0.1, 0.9)",
    ],
)
def test_a_fraction_of_a_step(schedule: str) -> None:
    assert "SCH007" in codes(f"term odd = {schedule} * {REG}")
    assert "SCH007" not in codes(f"term even = {schedule.replace('step', 'progress')} * {REG}")


def test_whole_steps_may_be_written_in_any_way() -> None:
    for steps in ("1e3", "1000.0", "1_000", "0.25 * max_steps"):
        assert codes(f"term even = ramp(step, {steps}) * {REG}") == []


# Every k-th step


@pytest.mark.parametrize(
    ("value", "fixed"),
    [
        (f"0.1 * {REG}", f"10 * 0.1 * {REG}"),
        (REG, f"10 * {REG}"),
        (f"{REG} + l2()", f"10 * ({REG} + l2())"),
    ],
)
def test_every_loses_the_average(value: str, fixed: str) -> None:
    text = f"term odd = {value} when every(step, 10)"
    (diagnostic,) = found(text)
    assert diagnostic.code == "SCH020"
    (fix,) = diagnostic.fixes
    assert fix.applicability is Applicability.UNSAFE
    after = changed(COLOUR + text, fix.edits)
    assert after == f"{COLOUR}term odd = {fixed} when every(step, 10)"
    assert not [d for d in check_text(after, max_steps=7000) if d.code == "SCH020"]


@pytest.mark.parametrize(
    "text",
    [
        f"term even = 10 * 0.1 * {REG} when every(step, 10)",
        f"term even = 0.1 * 10 * {REG} when every(step, 10) and after(step, 5)",
        f"param k: steps = 10 >= 1\nterm even = 0.1 * k * {REG} when every(step, k)",
        f"let w = 10 * 0.1\nterm even = w * {REG} when every(step, 10)",
        f"term even = {REG} when every(step, 1)",
        f"term even = {REG} when has(mask)",
    ],
)
def test_every_with_its_factor(text: str) -> None:
    assert codes(text) == []


# Terms that take over


def test_a_gap_and_an_overlap() -> None:
    text = "term early = 2 * l2() when before(step, 500)\nterm late = 3 * l2() when after(step, START)"
    for start, says in ((501, "neither is there at step 500"), (499, "both are there at step 499")):
        (diagnostic,) = found(text.replace("START", str(start)))
        assert diagnostic.code == "SCH021"
        assert says in diagnostic.message
    for start in (500, 510, 400):
        assert codes(text.replace("START", str(start))) == []


def test_terms_of_other_things_do_not_take_over() -> None:
    text = f"term early = 2 * l2() when before(step, 500)\nterm late = {REG} when after(step, 501)"
    assert codes(text) == []


# Hard starts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"term odd = 20 * {REG} when after(step, 3_000)", ["SCH022"]),
        (f"param w = 20\nterm odd = w * {REG} when between(step, 3_000, 4_000)", ["SCH022"]),
        (f"term even = 20 * {REG} when before(step, 3_000)", []),
        (f"term even = 9 * {REG} when after(step, 3_000)", []),
        (f"term even = ramp(step, 3_000, 4_000) * 20 * {REG} when after(step, 3_000)", []),
        (f"term even = ramp(step, 3_000, 4_000) * 20 * {REG}", []),
    ],
)
def test_a_large_weight_that_starts_at_once(text: str, expected: list[str]) -> None:
    assert codes(text, pedantic=True) == expected
    assert codes(text) == []
