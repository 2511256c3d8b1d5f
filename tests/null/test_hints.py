"""What is said to those who write a name of another library: each answer must be true."""

from __future__ import annotations

import re

import pytest

from splatdsl.dsl.api import check_text
from splatdsl.dsl.check import hints
from splatdsl.dsl.check.functions import library, library_names
from splatdsl.dsl.inputs import BY_NAME, FIELDS, HOST_SIZES, REGIONS

TABLES = {
    "function": hints.FUNCTIONS,
    "value": hints.VALUES,
    "argument": hints.ARGUMENTS,
    "field": hints.FIELDS,
    "state": hints.STATE_FIELDS,
}
ENTRIES = [(table, name, text) for table, entries in TABLES.items() for name, text in entries.items()]
KNOWN = {*BY_NAME, *REGIONS, *HOST_SIZES, "near"}


@pytest.mark.parametrize(("table", "name", "text"), ENTRIES, ids=[f"{t}-{n}" for t, n, _ in ENTRIES])
def test_an_entry_names_what_exists(table: str, name: str, text: str) -> None:
    written = re.findall(r"`([^`]+)`", text)
    for snippet in written:
        called = re.findall(r"(?<![.\w])([A-Za-z_]\w*)\(", snippet)
        assert [f for f in called if library(f) is None] == [], f"{snippet!r} calls what does not exist"
        for record, field in re.findall(r"\b(state|depth)\.(\w+)", snippet):
            assert field in FIELDS[record], f"{snippet!r} reads a field that does not exist"
        if re.fullmatch(r"[a-z_]+", snippet):
            fields = {f for several in FIELDS.values() for f in several}
            assert snippet in KNOWN | fields | set(library_names()) | {"def", "input", "true", "false"}, snippet


def test_no_entry_is_a_name_of_the_language() -> None:
    assert [n for n in hints.FUNCTIONS if library(n) is not None] == []
    assert [n for n in hints.VALUES if n in KNOWN] == []
    assert [n for n in hints.STATE_FIELDS if n in FIELDS["state"]] == []


@pytest.mark.parametrize(
    ("text", "code", "help_"),
    [
        ("term a = masked_mean(abs(rendered - target), mask)", "NAM002", "mean(x, masked)"),
        ("term a = dssim(rendered, target)", "NAM002", "ssim_loss(masked)"),
        ("term a = mean(squeeze(depth))", "NAM002", "leave it out"),
        ("term a = mean(clip(alpha, 0, 1))", "NAM002", "clamp(x, lo, hi)"),
        ("term a = l1(rendered, gt)", "NAM001", "`target`"),
        ("term a = l1(pred, target)", "NAM001", "`rendered`"),
        ("term a = ramp(iteration, 100) * l1()", "NAM001", "`step`"),
        ("term a = mean(abs(rendered - target), dim=1)", "NAM006", "component_mean(x)"),
        ("term a = l1(rendered, target, mask=masked)", "NAM006", "last operand"),
        ("term a = 1 - ssim(data_range=1)", "NAM006", "0..1"),
        ("term a = mean(state.xyz)", "NAM003", "state.means"),
        ("term a = l1(rendered.rgb, target)", "NAM003", "leave `.rgb` out"),
        ("term a = lpips(rendered.rays, target)", "NAM003", "no rays"),
    ],
)
def test_foreign_spellings_are_answered(text: str, code: str, help_: str) -> None:
    found = check_text(text)
    assert [d.code for d in found] == [code]
    assert help_ in " ".join(found[0].help)


@pytest.mark.parametrize(
    ("text", "help_"),
    [
        ("let images = target\nterm a = l1(rendered, image) + l1(rendered, images)", "`images`"),
        ("def masked_mean2(x) = mean(x, masked)\nterm a = masked_mean(alpha) + masked_mean2(alpha)", "`masked_mean2`"),
        ("term a = l1(maskd)", "`masked`"),
        ("term a = mean(abss(alpha))", "`abs`"),
    ],
)
def test_a_slip_of_the_pen_is_answered_by_the_closest_name(text: str, help_: str) -> None:
    found = check_text(text)
    assert found[0].code in ("NAM001", "NAM002")
    assert "did you mean" in found[0].help[0]
    assert help_ in found[0].help[0]


def test_arguments_of_own_functions_are_not_answered_by_other_libraries() -> None:
    found = check_text("def f(x, m) = mean(x, m)\nterm a = f(alpha, mask=masked)")
    assert [d.code for d in found] == ["NAM006"]
    assert "last operand" not in " ".join(found[0].help)


def test_fields_of_maps_have_no_colours() -> None:
    found = check_text("term a = mean(alpha.rgb)")
    assert [d.code for d in found] == ["NAM003"]
