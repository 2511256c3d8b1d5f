"""Memories: of pixels, that only grow, and that do not average."""

from __future__ import annotations

import pytest

from splatdsl.dsl.api import check_text
from splatdsl.dsl.diagnostics import Diagnostic


def found(text: str, pedantic: bool = True) -> list[Diagnostic]:
    """What is found in a program about its memories."""
    return [d for d in check_text(text, pedantic=pedantic) if d.code.startswith("MEM")]


def codes(text: str, pedantic: bool = True) -> list[str]:
    return [d.code for d in found(text, pedantic)]


TERM = "term colour = l1() / max(m, 0.1)"


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ("0.9 * m + 0.1 * abs(rendered - target)", ["MEM001"]),
        ("max(m, alpha)", ["MEM001"]),
        ("0.9 * m + 0.1 * (alpha > 0.5)", ["MEM001"]),
        ("0.9 * m + 0.1 * mean(abs(rendered - target))", []),
        ("max(m, visible)", []),
        ("0.9 * m + histogram(alpha, bins=10, lo=0, hi=1)", []),
        ("where(camera.index > 5, alpha, m)", []),
    ],
)
def test_a_memory_of_pixels(update: str, expected: list[str]) -> None:
    text = f"memory m = 0 then {update}\nterm a = mean(detach(m))"
    assert codes(text, pedantic=False) == expected


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ("m + l1()", ["MEM002"]),
        ("l1() + m", ["MEM002"]),
        ("m - l1()", ["MEM002"]),
        ("m + l1() + 2 * l2()", ["MEM002"]),
        ("m + l1() when before(step, 500)", []),
        ("m + l1() - l2()", []),
        ("m + mean(rendered - target)", []),
        ("m + 1", []),
        ("min(m + l1(), 5)", []),
        ("0.9 * m + l1()", []),
        ("l1()", []),
    ],
)
def test_a_memory_that_grows(memory: str, expected: list[str]) -> None:
    text = f"memory m = 0 then {memory}\n{TERM}"
    assert codes(text) == expected
    assert codes(text, pedantic=False) == []


def test_a_total_beside_a_count() -> None:
    text = "memory m = 0 then m + l1()\nmemory n = 0 then n + 1\nterm colour = l1() / max(m / max(n, 1), 0.1)"
    assert codes(text) == []


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ("0.9 * m + 0.2 * l1()", ["MEM003"]),
        ("l1() * 0.2 + m * 0.9", ["MEM003"]),
        ("keep * m + 0.2 * l1()", ["MEM003"]),
        ("keep * m + (1 - keep) * l1()", []),
        ("mix(m, l1(), 0.1)", []),
        ("0.95 * m + 0.05 * l1() / max(l2(), 1e-8)", []),
        ("0.95 * m + l1()", []),
        ("0.9 * m + ramp(step, 500) * l1()", []),
        ("0.9 * m + 0.2 * l1() + 0.3 * l2()", []),
        ("2 * m + 0.2 * l1()", []),
    ],
)
def test_weights_that_do_not_average(update: str, expected: list[str]) -> None:
    text = f"param keep = 0.9 in [0, 1]\nmemory m = 1 then {update}\n{TERM}"
    assert codes(text) == expected
    assert codes(text, pedantic=False) == []


def test_where_it_settles_is_said() -> None:
    (diagnostic,) = found(f"memory m = 1 then 0.9 * m + 0.2 * l1()\n{TERM}")
    assert "sum to 1.1" in diagnostic.message
    assert "2 times what it follows" in diagnostic.message
