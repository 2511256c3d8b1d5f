"""Schedules: terms that never exist, weights that are always 0, closed comparisons, fractions, gaps, lost averages."""

from __future__ import annotations

import pytest

from splatdsl.dsl.api import check_text
from splatdsl.dsl.diagnostics import Applicability, Diagnostic, Severity
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


@pytest.mark.parametrize(
    "when",
    [
        "after(step, 9_000) and before(step, 7_000)",
        "after(step, late) and before(step, 7_000)",
        "step >= max_steps",
        "step + 1 > max_steps",
        "max_steps <= step",
        "after(step, max_steps + 5)",
        "step / max_steps > 1",
        "step / max_steps >= 1",
        "progress * max_steps >= max_steps",
        "after(progress, 0.7) and before(progress, 0.5)",
        "after(progress, 0.7) and before(2 * progress, 1)",
        "after(step, 0.7 * max_steps) and before(step, 0.5 * max_steps)",
        "not (step < max_steps)",
        "not (before(step, 9_000) or after(step, 7_000))",
        "has(mono) and not has(mono)",
        "on and after(step, 5) and not on",
        "not (has(mono) or on) and on",
        "step == 1.5",
        "not (step != 1.5)",
        "step == 2 * step + 1",
        "every(step, 10) and every(step, 10, 5)",
        "every(step, 4, 1) and every(step, 6)",
        "between(step, late, 500)",
        "between(progress, 0.9, 0.2)",
    ],
)
@pytest.mark.parametrize("steps", [None, 30_000])
def test_a_condition_that_no_run_is_long_enough_for(when: str, steps: int | None) -> None:
    declared = "input mono: depth[relative]?\nparam late: steps = 9_000\nparam on: flag = true\n"
    text = f"{declared}term odd = {REG} when {when}"
    (diagnostic,) = [d for d in found(text, steps) if d.code == "SCH002"]
    assert "within" not in diagnostic.message, "the length of the run has nothing to do with it"


@pytest.mark.parametrize(
    "when",
    [
        "after(step, 7_000) and before(step, 9_000)",
        "step >= max_steps - 1",
        "step + 1 >= max_steps",
        "step / max_steps > 0.99",
        "after(progress, 0.5) and before(progress, 0.7)",
        "after(step, 0.5 * max_steps) and before(step, 0.7 * max_steps)",
        "after(step, 500) and before(progress, 0.1)",
        "7 * step >= 21 and step <= 3 + 0",
        "step == 3",
        "step == max_steps / 2",
        "2 * step == 3 * late",
        "has(mono) and not on",
        "chance(step, 0.5) and not chance(step, 0.5)",
        "every(step, 4, 1) and every(step, 6, 3)",
        "late > 10_000",
        "max_steps > 40_000",
        "since > 5 and since < 3 * step",
    ],
)
def test_a_condition_that_some_run_is_long_enough_for(when: str) -> None:
    declared = "input mono: depth[relative]?\nparam late: steps = 9_000\nparam on: flag = true\ninput since: steps\n"
    assert "SCH002" not in codes(f"{declared}term even = {REG} when {when}", steps=None)


def test_what_is_backwards_is_said() -> None:
    (diagnostic,) = found(f"term odd = {REG} when between(step, 9_000, 7_000)", steps=7000)
    assert "ends at step 7,000, before it begins at step 9,000" in diagnostic.message
    (fix,) = diagnostic.fixes
    assert "between(step, 7_000, 9_000)" in fix.title
    assert fix.applicability is Applicability.UNSAFE
    (diagnostic,) = found(f"term odd = {REG} when between(step, 500, 500)", steps=7000)
    assert "where it begins" in diagnostic.message
    assert not diagnostic.fixes


def test_the_parts_of_a_condition_say_when_they_hold() -> None:
    (diagnostic,) = found(f"term odd = {REG} when after(step, 5_000) and before(step, 3_000)")
    assert [label.text for label in diagnostic.labels] == ["holds from step 5,000", "holds up to step 2,999"]


def test_a_memory_that_is_never_renewed() -> None:
    memory = "memory level = 1 then 0.9 * level + 0.1 * l1() when {}\nterm even = l1() / max(level, 0.01)"
    (diagnostic,) = found(memory.format("between(step, 900, 500)"))
    assert (diagnostic.code, "memory `level`" in diagnostic.message) == ("SCH002", True)
    assert codes(memory.format("after(step, 500)")) == []
    assert codes(memory.format("after(step, 9_000)")) == [], "a shorter run does not reach the phase"


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
        f"{REG} if after(step, 7_000) else 0",
        f"0.1 * ({REG} if after(step, 7_000) else 0)",
        f"0 if before(step, 7_000) else {REG}",
        f"(0.1 if after(step, 7_000) else 0) * {REG}",
        f"({REG} if after(step, 500) else 0) when before(step, 500)",
        f"before(step, 100) * ({REG} if after(step, 100) else 0)",
        f"({REG} if before(step, 10) else 0) if after(step, 10) else 0",
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
        f"{REG} if after(step, 6_999) else 0",
        f"{REG} if after(step, 500) and switch else 0",
        f"{REG} if after(step, 7_000) else l2()",
        f"0 if before(step, 6_999) else {REG}",
        f"after(step, 100) * switch * {REG}",
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


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("loglinear(step, 1, 0.1, over=0.01)", "loglinear(progress, 1, 0.1, over=0.01)"),
        ("ramp(  step,\n  0.25 )", "ramp( progress, 0.25 )"),
    ],
)
def test_the_call_for_a_part_of_the_run_is_shown(wrong: str, right: str) -> None:
    (diagnostic,) = found(f"term odd = {wrong} * {REG}")
    assert list(diagnostic.help) == [f"for a part of the run write `{right}`"]


@pytest.mark.parametrize(
    "schedule",
    [
        "ramp(progress, 7_000)",
        "ramp(progress, 0, 7_000)",
        "ramp(progress, n)",
        "ramp(progress, max_steps)",
        "ramp(step / max_steps, 7_000)",
        "linear(progress, 1, 0.1, over=7_000)",
        "loglinear(progress, 1, 0.1, over=0.5, start=500)",
        "cosine(progress, 1, 0, over=7_000)",
        "before(progress, 7_000)",
        "after(progress, 7_000)",
    ],
)
def test_steps_against_progress(schedule: str) -> None:
    declared = "param n: steps = 7_000 > 0\n"
    assert "SCH024" in codes(f"{declared}term odd = n * {schedule} * {REG}", steps=None)
    if schedule.startswith(("after", "before")):
        assert codes(f"term odd = {REG} when {schedule}") == ["SCH024"]
    (diagnostic,) = [d for d in found(f"{declared}term odd = n * {schedule} * {REG}") if d.code == "SCH024"]
    for fix in diagnostic.fixes:
        after = changed(COLOUR + f"{declared}term odd = n * {schedule} * {REG}", fix.edits)
        assert schedule.replace("progress", "step") in after


def test_parts_of_the_run_against_progress() -> None:
    for arguments in ("progress, 1", "progress, 1.25", "progress * max_steps, 700", "progress, s"):
        assert codes(f"param s = 0.5 > 0\nterm even = s * ramp({arguments}) * {REG}") == []


# Schedules that are backwards with the values in force


@pytest.mark.parametrize("schedule", ["ramp(step, a, b)", "ramp(step, b - a)", "piecewise(step, (a, 0.1), (b, 1))"])
def test_a_schedule_that_is_backwards_with_these_values(schedule: str) -> None:
    text = f"param a: steps = 3_000\nparam b: steps = 9_000\nterm odd = {schedule} * {REG}"
    assert codes(text) == []
    (diagnostic,) = found(text, params={"a": 9_000, "b": 3_000})
    assert (diagnostic.code, diagnostic.severity) == ("SCH003", Severity.WARNING)
    assert sorted(label.text for label in diagnostic.labels) == ["now 3000", "now 9000"]
    assert codes(text, params={"a": 5_000, "b": 5_001}) == []


def test_a_schedule_that_ends_with_the_run() -> None:
    text = f"term odd = ramp(step, 9_000, max_steps) * {REG}"
    assert codes(text, steps=30_000) == codes(text, steps=None) == []
    assert codes(text, steps=7_000) == ["SCH003"]


def test_numbers_that_are_backwards_are_found_once() -> None:
    (diagnostic,) = found(f"term odd = ramp(step, 9_000, 3_000) * {REG}")
    assert (diagnostic.code, diagnostic.severity) == ("SCH003", Severity.ERROR)


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
