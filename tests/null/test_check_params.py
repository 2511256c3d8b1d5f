"""Parameters: defaults, limits, and the values given in their place."""

from __future__ import annotations

import math

import pytest

from splatdsl.dsl.api import analyse, check_text
from splatdsl.dsl.diagnostics import Diagnostic, Severity
from splatdsl.dsl.source import Source


def check(text: str, **known: object) -> list[Diagnostic]:
    """The findings of the checker itself; those of rules about well-typed programs have tests of their own."""
    found = check_text(text, **known)  # type: ignore[arg-type]
    return [d for d in found if d.severity is Severity.ERROR or d.code in ("SCH001", "SCH002", "SCH004")]


def codes(text: str, **known: object) -> list[str]:
    return [d.code for d in check(text, **known)]


def only(text: str, **known: object) -> Diagnostic:
    found = check(text, **known)
    assert len(found) == 1, [(d.code, d.message) for d in found]
    return found[0]


def test_values_of_parameters() -> None:
    text = "param a = 2 * 3 in [0, 10]\nparam b: steps = 7_000\nparam c: flag = true\n"
    text += "term t = a * l1() when after(step, b) and c"
    program, found = analyse(Source(text), {"a": 4, "c": False})
    assert found == []
    assert program is not None
    assert {n: (p.default, p.value, p.unit) for n, p in program.params.items()} == {
        "a": (6.0, 4.0, "number"),
        "b": (7000.0, 7000.0, "steps"),
        "c": (True, False, "flag"),
    }


@pytest.mark.parametrize(
    ("declaration", "value", "code"),
    [
        ("w = 0.5 in [0, 1]", 1.5, "RNG002"),
        ("w = 0.5 in [0, 1]", 1.0, None),
        ("w = 0.5 in [0, 1)", 1.0, "RNG002"),
        ("w = 0.5 in (0, 1)", 0.0, "RNG002"),
        ("w = 0.5 > 0", 0, "RNG002"),
        ("w = 0.5 >= 0", 0, None),
        ("w = 0.5 >= 0", -1e-9, "RNG002"),
        ("w = 0.5", "0.5", "RNG002"),
        ("w = 0.5", True, "RNG002"),
        ("w = 0.5", None, "RNG002"),
        ("w = 0.5", [1], "RNG002"),
        ("w = 0.5", math.nan, "RNG002"),
        ("w = 0.5", 10**400, "RNG002"),
        ("w = 0.5 in [0, 1]", math.inf, "RNG002"),
        ("w: steps = 5", -1, "RNG002"),
        ("w: steps = 5", math.inf, None),
        ("w: flag = true", 1, "RNG002"),
        ("w: flag = true", "true", "RNG002"),
        ("w: flag = true", False, None),
    ],
)
def test_given_values(declaration: str, value: object, code: str | None) -> None:
    assert codes(f"param {declaration}\nterm t = w * l1()", params={"w": value}) == ([code] if code else [])


def test_a_value_for_an_unknown_parameter() -> None:
    found = only("param weight = 0.5\nterm t = weight * l1()", params={"wieght": 1})
    assert found.code == "NAM009"
    assert "`weight`" in found.help[0]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("param w = 2 in [0, 1]", "RNG001"),
        ("param w = -1 >= 0", "RNG001"),
        ("param w: steps = -5", "RNG001"),
        ("param w = 0 > 0", "RNG001"),
        ("param w = inf - inf", "RNG001"),
        ("param w = 0.5 in [1, 0]", "RNG004"),
        ("param w = 1 in (1, 1]", "RNG004"),
        ("param w = 0.5 in [inf - inf, 1]", "RNG004"),
        ("param w = step", "TYP001"),
        ("param w = v\nparam v = 1", "TYP001"),
        ("param w = 0.5 in [0, step]", "TYP001"),
        ("param w = w", "TYP007"),
        ("param w = true", "TYP001"),
        ("param w: flag = 1", "TYP001"),
        ("param w = l1()", "TYP001"),
        ("param w = rendered", "TYP001"),
        ("param w: second = 1", "NAM008"),
        ("param w = 1\nparam w = 2", "NAM004"),
        ("param w = 1\nlet w = 2", "NAM004"),
    ],
)
def test_wrong_parameters(text: str, code: str) -> None:
    assert codes(f"{text}\nterm t = w * l1()") == [code]


@pytest.mark.parametrize("limits", ["", "in (-inf, inf)", "in [0, inf)", ">= -1", "in [1, 1]", "in [0.5, 2 * 1]"])
def test_right_limits(limits: str) -> None:
    assert codes(f"param w = 1 {limits}\nterm t = w * l1()") == []


def test_a_default_may_be_computed_from_a_let_wherever_that_stands() -> None:
    program, found = analyse(Source("param w = 2 * half\nlet half = 0.5\nterm t = w * l1()"))
    assert found == []
    assert program is not None
    assert program.params["w"].value == 1.0


def test_a_parameter_that_is_an_error_when_given_is_not_reported_for_its_value_too() -> None:
    assert codes("param w = nothing\nterm t = w * l1()", params={"w": 3}) == ["NAM001"]
