"""Terms that exist at every k-th step or by chance, and what makes up for the other steps."""

from __future__ import annotations

import pytest

from splatdsl.dsl.api import check_text
from splatdsl.dsl.builtins.schedules import every
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


@pytest.mark.parametrize(
    ("value", "fixed"),
    [
        (f"0.5 * {REG} when chance(step, 0.1)", f"0.5 * {REG} / 0.1 when chance(step, 0.1)"),
        (f"{REG} + l2() when chance(step, p)", f"({REG} + l2()) / p when chance(step, p)"),
        (f"{REG} if every(step, 10) else 0", f"10 * ({REG} if every(step, 10) else 0)"),
        (f"0 if not every(step, 10) else {REG}", f"10 * (0 if not every(step, 10) else {REG})"),
        (f"every(step, 10) * {REG}", f"10 * every(step, 10) * {REG}"),
        (f"5 * 0.1 * {REG} when every(step, 10)", f"10 * 0.1 * {REG} when every(step, 10)"),
        (f"5 * {REG} when chance(step, 0.1)", f"10 * {REG} when chance(step, 0.1)"),
    ],
)
def test_what_makes_up_for_the_steps_between(value: str, fixed: str) -> None:
    text = f"param p = 0.3 in (0, 1]\nterm odd = {value}\nterm more = 0.1 * l2() / p"
    (diagnostic,) = found(text)
    assert diagnostic.code == "SCH020"
    (fix,) = diagnostic.fixes
    assert fix.applicability is Applicability.UNSAFE
    after = changed(COLOUR + text, fix.edits)
    assert after == COLOUR + text.replace(value, fixed)
    assert not [d for d in check_text(after, max_steps=7000) if d.code == "SCH020"]


def test_a_factor_that_falls_short() -> None:
    (diagnostic,) = found(f"term odd = 5 * 0.1 * {REG} when every(step, 10)")
    assert "nothing" not in diagnostic.message
    assert "makes up for 5 of 10" in diagnostic.message
    assert [label.text for label in diagnostic.labels] == ["weighs 2 times less on average"]
    (diagnostic,) = found(f"let w = 2 * 2\nterm odd = w * {REG} when every(step, 10)")
    assert "makes up for 4 of 10" in diagnostic.message
    assert not diagnostic.fixes, "it would be stacked on what is there"


@pytest.mark.parametrize(
    "text",
    [
        f"term even = 0.1 / 0.4 * {REG} when chance(step, 0.4)",
        f"param p = 0.4 in (0, 1]\nterm even = 0.1 * (1 / p) * {REG} when chance(step, p)",
        f"term even = 2.5 * 0.1 * {REG} when chance(step, 0.4)",
        f"term even = 20 * {REG} when every(step, 10)",
        f"term even = (100 / 10) * {REG} when every(step, 10)",
        f"term even = {REG} / 0.1 when every(step, 10)",
        f"term even = 10 * ({REG} if every(step, 10) else 0)",
        f"term even = 0.1 * {REG} if every(step, 10) else 0.2 * {REG}",
        f"param k: steps = 1 >= 1\nterm even = {REG} when every(step, k)",
        f"term even = 0.1 * {REG} when every(step, 2)\nterm odd = 0.2 * l2() when not every(step, 2)",
        f"term even = 0.1 * {REG} when every(step, 2)\nterm odd = 0.2 * l2() when every(step, 2, 1)",
        f"term even = 0.1 * {REG} if every(step, 2) else 0\nterm odd = 0.2 * l2() if not every(step, 2) else 0",
        "let warp = after(step, 50) and chance(step, 0.4)\n"
        f"term even = 0.1 * {REG} when warp\nterm odd = l2() when not warp",
    ],
)
def test_an_average_that_is_kept(text: str) -> None:
    assert codes(text) == []


def test_turns_that_leave_steps_out() -> None:
    text = f"term one = 0.1 * {REG} when every(step, 3)\nterm two = 0.2 * l2() when every(step, 3, 1)"
    assert codes(text) == ["SCH020", "SCH020"]
    assert codes(text + "\nterm three = 0.3 * huber() when every(step, 3, 2)") == []


def test_an_offset_of_whole_periods() -> None:
    assert codes(f"term odd = 10 * {REG} when every(step, 10, 10)") == ["SCH023"]
    assert codes(f"term odd = 10 * {REG} when every(step, 10, 25)") == ["SCH023"]
    assert codes(f"term even = 10 * {REG} when every(step, 10, 9)") == []
    assert every(20, 10, 10), "an offset counts within the period"
