"""Programs of great size and depth end quickly, and never in a traceback."""

from __future__ import annotations

import time

import pytest

from splatdsl.dsl.api import analyse, check_text
from splatdsl.dsl.diagnostics import Diagnostic, Severity
from splatdsl.dsl.live import Zeros
from splatdsl.dsl.source import Source


def check(text: str, **known: object) -> list[Diagnostic]:
    """The findings of the checker itself; those of rules about well-typed programs have tests of their own."""
    found = check_text(text, **known)  # type: ignore[arg-type]
    return [d for d in found if d.severity is Severity.ERROR or d.code in ("SCH001", "SCH002", "SCH004")]


def codes(text: str, **known: object) -> list[str]:
    return [d.code for d in check(text, **known)]


def quick(text: str, seconds: float = 5.0) -> list[str]:
    started = time.perf_counter()
    found = codes(text)
    assert time.perf_counter() - started < seconds
    return found


def test_a_sum_of_four_thousand_operands() -> None:
    assert quick("term t = l1()" + " + mean(alpha)" * 3990) == []


def test_a_chain_of_every_left_operator() -> None:
    assert quick("term t = mean(alpha)" + " - 1 * 2 / 3" * 1300) == []
    assert quick("term t = l1(masked" + " and masked or masked" * 1900 + ")") == []


@pytest.mark.parametrize(
    "text",
    [
        "(" * 99 + "l1()" + ")" * 99,
        "-" * 98 + "l1()",
        "abs(" * 98 + "l1()" + ")" * 98,
        "mix(" * 98 + "l1()" + ", l1(), 0.5)" * 98,
        "l1() * " + "2 ^ " * 95 + "2",
        "l1() * (" + "1 if after(step, 5) else " * 95 + "2)",
        "l1() when " + "not " * 99 + "after(step, 5)",
    ],
)
def test_the_deepest_nesting_that_the_parser_allows(text: str) -> None:
    assert quick(f"term t = {text}") == []


@pytest.mark.parametrize("order", [1, -1])
def test_a_thousand_lets_that_read_each_other(order: int) -> None:
    lets = ["let a0 = l1()", *(f"let a{i} = a{i - 1} + {i}" for i in range(1, 1000))][::order]
    text = "\n".join([*lets, "term t = a999"])
    assert quick(text) == []
    program, _ = analyse(Source(text))
    assert program is not None
    assert not Zeros({}).is_zero(program.terms[0].value)


def test_a_cycle_of_a_thousand_lets() -> None:
    assert quick("\n".join([*(f"let a{i} = a{(i + 1) % 1000}" for i in range(1000)), "term t = a0 * l1()"])) == [
        "TYP007"
    ]


def test_doubling_lets_are_cheap() -> None:
    for start in ("l1()", "ssim()", "step", "0.5"):
        text = "\n".join([f"let a0 = {start}", *(f"let a{i} = a{i - 1} * a{i - 1}" for i in range(1, 60))])
        assert quick(f"{text}\nterm t = a59 * l1()") == []
    text = "\n".join(["let a0 = ssim()", *(f"let a{i} = a{i - 1} + a{i - 1}" for i in range(1, 60)), "term t = a59"])
    assert quick(text) == ["SSM001"]


def test_doubling_definitions_end_in_a_diagnostic() -> None:
    defs = ["def f0(x) = x", *(f"def f{i}(x) = f{i - 1}(x) + f{i - 1}(x)" for i in range(1, 60))]
    assert quick("\n".join([*defs, "term t = f59(l1())"])) == ["TYP008"]
    assert quick("\n".join([*defs, "term t = l1()"])) == [], "unused definitions are not expanded"


def test_a_long_chain_of_definitions_ends_in_a_diagnostic_or_none() -> None:
    for length in (50, 2000):
        defs = ["def f0(x) = x", *(f"def f{i}(x) = f{i - 1}(x)" for i in range(1, length))]
        assert quick("\n".join([*defs, f"term t = f{length - 1}(l1())"])) == ([] if length == 50 else ["TYP008"])
