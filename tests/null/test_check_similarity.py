"""The sign with which a similarity enters a term."""

from __future__ import annotations

import pytest

from splatdsl.dsl.api import check_text
from splatdsl.dsl.diagnostics import Diagnostic, Severity


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


@pytest.mark.parametrize(
    "text",
    [
        "1 - ssim()",
        "-ssim()",
        "0.2 * (1 - ssim(masked))",
        "l1() - 0.2 * ssim()",
        "(1 - ssim()) / 2",
        "-0.01 * psnr()",
        "mean(1 - ssim_map(), masked)",
        "1 - mean(ssim_map())",
        "mix(ssim_loss(), l1(), 0.5)",
        "mix(-ssim(), l1(), w)",
        "-1 * (0.5 * ssim() if after(step, 5) else ssim())",
        "detach(ssim()) * -1",
        "free * ssim()",
        "abs(ssim())",
        "ssim() * ssim()",
        "1 / ssim()",
        "exp(-ssim())",
        "photometric(masked)",
        "linear(step, -1, -0.5, over=10) * ssim()",
    ],
)
def test_similarities_that_are_made_large(text: str) -> None:
    assert codes(f"param w = 0.5 in [0, 1]\nparam free = 1\nterm t = {text}") == []


@pytest.mark.parametrize(
    "text",
    [
        "ssim()",
        "0.2 * ssim(masked)",
        "l1() + 0.2 * ssim(masked)",
        "l1() - -ssim()",
        "-(1 - ssim())",
        "mix(ssim(), l1(), 0.5)",
        "mix(l1(), ssim(), w)",
        "w * ssim()",
        "ssim() / 2",
        "ssim() / -2 * -1",
        "psnr()",
        "mean(ssim_map())",
        "sum(ssim_map(rendered, target).r - 1, masked)",
        "ssim() if after(step, 5) else 1 - ssim()",
        "where(mean(alpha) > 0.5, ssim(), l1())",
        "ramp(step, 100) * ssim()",
        "expdecay(step, 0.1) * ssim()",
        "-ssim_loss()",
        "-l1()",
        "l1() - 0.1 * tv(depth)",
        "0.8 * (1 - l1(masked))",
        "1 - normal_consistency()",
        "1 - photometric()",
    ],
)
def test_similarities_that_are_made_small(text: str) -> None:
    if ".r" in text:
        text = text.replace(".r", "")
    assert codes(f"param w = 0.5 >= 0\nterm t = {text}") == ["SSM001"]


def test_a_similarity_is_reported_once_and_where_it_is_measured() -> None:
    found = only("let s = ssim(masked)\nlet twice = s + s\nterm t = twice + twice")
    assert (found.line, found.column) == (1, 9)
    assert found.help == ("write `1 - ssim(masked)`, or `ssim_loss(masked)`",)
    assert len(check("term t = ssim() + ssim(masked)")) == 2


def test_a_loss_that_is_maximised_is_shown_at_its_call() -> None:
    found = only("term t = 1 - photometric(masked)")
    assert found.source.name == "<loss>"
    assert found.column == 14
    assert "maximises a loss" in found.message


@pytest.mark.parametrize(
    "escape",
    [
        "max(ssim(), 0)",
        "relu(ssim())",
        "clamp(ssim(), 0, 1)",
        "mean(max(ssim_map(), 0))",
        "sqrt(ssim() + 2)",
        "exp(ssim())",
    ],
)
def test_a_rising_function_does_not_hide_a_similarity(escape: str) -> None:
    assert [d.code for d in check_text(f"term t = {escape}")] == ["SSM001"]
    assert check_text(f"term t = -{escape}") == []
