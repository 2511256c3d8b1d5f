"""What is said to those who write a name of another library: each answer must be true."""

from __future__ import annotations

import re

import pytest

from splatdsl.dsl import facts
from splatdsl.dsl.api import check_text
from splatdsl.dsl.check import hints, hints_kinds, kinds
from splatdsl.dsl.check.functions import library, library_names
from splatdsl.dsl.inputs import BY_NAME, FIELDS, HOST_SIZES, REGIONS

TABLES = {
    "unit": hints_kinds.UNITS,
    "kind": hints_kinds.KINDS,
    **{f"fact of {kind}": words for kind, words in hints_kinds.FACTS.items()},
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
            words = {"def", "input", "true", "false", *facts.WORDS, *kinds.NAMED, *kinds.HOST}
            assert snippet in KNOWN | fields | set(library_names()) | words, snippet


def test_no_entry_is_a_name_of_the_language() -> None:
    assert [n for n in hints.FUNCTIONS if library(n) is not None] == []
    assert [n for n in hints.VALUES if n in KNOWN] == []
    assert [n for n in hints.STATE_FIELDS if n in FIELDS["state"]] == []
    assert [n for n in hints_kinds.KINDS if n in kinds.NAMED or n in kinds.HOST] == []
    assert [n for words in hints_kinds.FACTS.values() for n in words if n in facts.WORDS] == []


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


INPUTS = "input feat: [B H W 16]\ninput sensor: depth[metric]\ninput mono: depth[relative]?\n"
INPUTS += "extern net(image) -> (noise: map, seen: region)\n"


@pytest.mark.parametrize(
    ("text", "code", "help_"),
    [
        ("input m: mask\nl1(m)", "NAM014", "write `region`"),
        ("input m: depth[disparity]\nl1()", "NAM014", "write `inverse`"),
        ("input m: normals[opengl]\nl1()", "NAM014", "OpenCV"),
        ("param n: step = 3\nl1()", "NAM008", "`steps`"),
        ("param n: iterations = 3\nl1()", "NAM008", "`steps`"),
        ("param n: float = 3\nl1()", "NAM008", "`number`"),
        ("l1() * cosine_annealing(step, 1, 0)", "NAM002", "cosine(step, v0, v1, over=n)"),
        ("l1() * ramp(step, num_iterations)", "NAM001", "`max_steps`"),
        ('tv(rendered, axes="xy")', "TYP001", 'write `axes="yx"`'),
        ("l1", "NAM001", "call it: l1()"),
        ("def f(a) = l1(a)\nterm t = f", "NAM001", "call it: f(a)"),
        # regions of what is reduced
        ("mean(state.scales, masked)", "TYP003", "for gaussians use `visible`"),
        ("l1(visible)", "TYP003", "for pixels use `masked`"),
        ("mean(median(alpha), masked)", "TYP012", "write `mean(median(alpha))`"),
        # what is not reduced
        ("median(alpha)", "TYP002", "`mean(median(alpha))`"),
        ("0.8*abs(rendered - target) + 0.2*ssim_loss()", "TYP002", "`mean(abs(rendered - target))`"),
        # arguments
        ("max(state.scales)", "TYP006", "`component_max(state.scales)`"),
        ("min(state.scales)", "TYP006", "`min_over(state.scales)`"),
        ("l1(inside(5))", "TYP006", "name it: `border=5`"),
        ("l1(random_boxes(3, 4))", "TYP006", "name them: `size=3`, `count=4`"),
        ("huber(rendered, target, 0.1)", "TYP001", "name it: `delta=0.1`"),
        ("tv(rendered, 2)", "TYP001", "name it: `power=2`"),
        ("ssim_loss(rendered, target, 11)", "TYP001", "a region such as `masked`"),
        ("mean(rendered, 0)", "TYP001", "`component_mean(x)`"),
        ("ssim_loss(target)", "TYP010", "`ssim_loss(rendered, target)`"),
        ("l1(rendered)", "TYP010", "`l1(rendered, target)`"),
        ("l1(alpha)", "TYP010", "for those that are drawn `alpha > 0.5`"),
        # kinds
        ("param on: flag = 1\nl1() when on", "TYP001", "write `true`"),
        ("param on = 1\nterm a = l1() when on", "TYP001", "`param on: flag = true`"),
        (INPUTS + "mean(net(rendered))", "TYP001", "`net(rendered).noise` or `net(rendered).seen`"),
        (INPUTS + "l1(rendered, feat)", "TYP004", "another value of 16 components"),
        (INPUTS + "term a = l1() when mono", "TYP005", "`has(mono)`"),
        ("term a = l1() when mask", "TYP005", "`has(mask)`"),
        # facts
        (INPUTS + "depth_l1(depth.accumulated, sensor)", "DEP001", "only if the two are known to agree"),
        ("mean(log(state.log_scales))", "NAN006", "is a logarithm already: leave `log` out"),
    ],
)
def test_the_help_can_be_followed(text: str, code: str, help_: str) -> None:
    found = [d for d in check_text(text) if not d.code.startswith(("USE", "SYN"))]
    assert [d.code for d in found] == [code]
    assert help_ in " ".join(found[0].help)


def test_the_summand_that_is_not_reduced_is_the_place() -> None:
    (found,) = check_text("0.8*abs(rendered - target) + 0.2*ssim_loss()")
    assert found.source.slice(found.span) == "abs(rendered - target)"
    (found,) = check_text("abs(rendered - target) + alpha")
    assert found.source.slice(found.span) == "abs(rendered - target) + alpha", "neither of the two is reduced"


def test_data_does_not_depend_on_the_render() -> None:
    (found,) = check_text("input m: map\nterm a = l1() when m")
    assert "depends on the render" not in found.message
    (found,) = check_text("term a = l1() when alpha")
    assert "depends on the render" in found.message


def test_a_fact_that_nobody_wrote_is_explained_at_the_declaration() -> None:
    (found,) = check_text("input sensor: depth[metric]\nterm a = depth_l1(depth.accumulated, sensor)")
    assert "accumulated depth (too small where the render is not opaque) with expected depth" in found.message
    assert "`sensor` is expected depth: nothing else is said" in [label.text for label in found.labels]
    (found,) = check_text("input mono: depth[inverse, relative]\nterm a = pearson_loss(depth, mono)")
    assert "inverse is said here" in [label.text for label in found.labels]


def test_one_disagreement_is_one_finding() -> None:
    text = "input mono: depth[inverse, relative]\nlet a = align(depth, to=mono)\nterm t = l1(a, mono)"
    assert [d.code for d in check_text(text)] == ["DEP003"]
