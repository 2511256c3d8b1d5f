"""Where gradients go, what renderers and data supply, and declarations that nothing reads."""

from __future__ import annotations

import pytest

from splatdsl.dsl.api import check_text
from splatdsl.dsl.diagnostics import Applicability, Diagnostic
from splatdsl.dsl.fixes import changed
from splatdsl.dsl.manifest import RENDERERS

COLOUR = "term colour = l1()\n"
MONO = "input mono: depth[relative]\n"


def found(text: str, *families: str, **options) -> list[Diagnostic]:
    """What the rules of these families find in a program."""
    return [d for d in check_text(text, **options) if d.code.startswith(families)]


def codes(text: str, *families: str, **options) -> list[str]:
    return [d.code for d in found(text, *families, **options)]


# Terms that train nothing


@pytest.mark.parametrize(
    "value",
    [
        "mean(radii)",
        "mean(1 * visible)",
        "mean(target)",
        "mean(target * masked)",
        "mean(detach(alpha))",
        "l1(detach(rendered), target)",
        "mean(sign(rendered - target))",
        "mean(floor(alpha))",
        "mean(1 * (alpha > 0.5))",
        "mean(where(alpha > 0.5, target, background))",
        "detach(l1())",
        "step * 0.001 * mean(target)",
        "sum(mean(v.target) for v in window)",
    ],
)
def test_a_term_that_trains_nothing(value: str) -> None:
    assert codes(f"input window: list of view\n{COLOUR}term odd = {value}", "GRD001") == ["GRD001"]


@pytest.mark.parametrize(
    "value",
    [
        "mean(alpha)",
        "l1(rendered, detach(target))",
        "mean(detach(alpha) * abs(rendered - target))",
        "mean(where(alpha > 0.5, rendered, target))",
        "mean(alpha, visible_pixels)",
        "mean(state.scales, visible)",
        "mean(given)",
        "mean(learned(target))",
        "sum(l1(v.rendered, v.target) for v in window)",
        "mean(near.alpha)",
        "photometric()",
        "mean(rendered * given) / max(mean(target), 0.1)",
    ],
)
def test_a_term_that_trains_something(value: str) -> None:
    declared = (
        "input given: map\ninput visible_pixels: region\ninput window: list of view\ninput near: view\n"
        "extern learned(image) -> map\n"
    )
    assert codes(f"{declared}{COLOUR}term even = {value}", "GRD001") == []


def test_a_frozen_function_of_data_trains_nothing() -> None:
    text = "extern features(image) -> map frozen\nterm a = mean(features(IMAGE))"
    assert codes(text.replace("IMAGE", "target"), "GRD001") == ["GRD001"]
    assert codes(text.replace("IMAGE", "rendered"), "GRD001") == []


def test_the_detach_that_stops_it_is_shown() -> None:
    text = f"let cover = detach(alpha)\n{COLOUR}term odd = mean(cover)"
    (diagnostic,) = found(text, "GRD")
    assert diagnostic.source.slice(diagnostic.span) == "detach(alpha)"
    assert "`detach` stops the gradient" in diagnostic.caption


def test_a_term_that_is_switched_off_is_left_alone() -> None:
    assert codes(f"param w = 0.0 >= 0\n{COLOUR}term off = w * mean(target)", "GRD") == []


# Values compared with themselves


@pytest.mark.parametrize(
    "value",
    [
        "l1(alpha, alpha)",
        "l2(rendered, rendered, masked)",
        "ssim_loss(target, target)",
        "bce(state.opacities, state.opacities)",
        "bce(clamp(alpha, 0.01, 0.99), detach(clamp(alpha, 0.01, 0.99)))",
        "l1(depth / 2, depth / 2)",
    ],
)
def test_a_value_that_is_compared_with_itself(value: str) -> None:
    assert codes(f"{COLOUR}term odd = {value}", "GRD004") == ["GRD004"]


@pytest.mark.parametrize(
    "value",
    ["l1(alpha, alpha * masked)", "bce(state.opacities, detach(1 - state.opacities))", "l1(depth, depth.median)"],
)
def test_a_value_that_is_compared_with_another(value: str) -> None:
    assert codes(f"{COLOUR}term even = {value}", "GRD004") == []


def test_both_self_targets_are_told_apart() -> None:
    (entropy,) = found(f"{COLOUR}term odd = bce(alpha, alpha)", "GRD004")
    (nothing,) = found(f"{COLOUR}term odd = bce(alpha, detach(alpha))", "GRD004")
    assert "entropy" in entropy.message
    assert "exactly 0" in nothing.message


# Priors that follow the prediction


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("l1(align(mono, to=depth), depth)", ["GRD005"]),
        ("l1(align(mono, masked, to=depth), depth, masked)", ["GRD005"]),
        ("l1(align(mono, to=detach(depth)), depth)", []),
        ("l1(align(depth, to=mono), mono)", []),
        ("l1(align(depth, to=depth.median), depth.median)", []),
        ("pearson_loss(mono, depth)", []),
    ],
)
def test_a_prior_that_is_aligned(value: str, expected: list[str]) -> None:
    assert codes(f"{MONO}{COLOUR}term t = {value}", "GRD005") == expected


# Runs that only regularise


def test_a_run_without_data() -> None:
    text = "term a = scale_reg(state)\nterm b = opacity_reg(state)"
    buffers = RENDERERS["reference"]
    assert codes(text, "GRD006", renderer_buffers=buffers) == ["GRD006"]
    assert codes(text, "GRD006") == [], "a file of terms for others to use"
    assert codes(f"{COLOUR}{text}", "GRD006", renderer_buffers=buffers) == []
    off = f"param w = 0 >= 0\nterm c = w * l1()\n{text}"
    assert codes(off, "GRD006", renderer_buffers=buffers) == ["GRD006"]


# What renderers and data supply


@pytest.mark.parametrize("name", ["distortion", "normals", "depth.median"])
def test_a_buffer_that_the_renderer_does_not_make(name: str) -> None:
    buffers = RENDERERS["gsplat"]
    assert name not in buffers, "the example needs another buffer"
    text = f"{COLOUR}term odd = mean(abs({name})) + mean(sq({name}))"
    assert codes(text, "BUF", renderer_buffers=buffers) == ["BUF001"], "once for a term, however often it reads"
    assert codes(text, "BUF", renderer_buffers=buffers | {name}) == []
    assert codes(text, "BUF") == [], "no renderer is known"
    off = f"param w = 0.0 >= 0\n{COLOUR}term off = w * mean(abs({name}))"
    assert codes(off, "BUF", renderer_buffers=buffers) == [], "a term that is 0 asks for nothing"
    assert codes(off, "BUF", renderer_buffers=buffers, params={"w": 1.0}) == ["BUF001"]


def test_a_field_that_the_data_lacks() -> None:
    text = f"{MONO}{COLOUR}term odd = pearson_loss(depth, mono)"
    assert codes(text, "BUF", data_fields=frozenset({"target"})) == ["BUF002"]
    assert codes(text, "BUF", data_fields=frozenset({"target", "mono"})) == []
    optional = f"{MONO.replace(']', ']?')}{COLOUR}term odd = pearson_loss(depth, mono) when has(mono)"
    assert codes(optional, "BUF", data_fields=frozenset({"target"})) == ["BUF003"]
    assert codes(optional, "BUF", data_fields=frozenset({"target", "mono"})) == []
    choice = f"{MONO.replace(']', ']?')}term even = l1() + (pearson_loss(depth, mono) if has(mono) else 0)"
    assert codes(choice, "BUF", data_fields=frozenset({"target"})) == []


def test_data_without_photographs_or_masks() -> None:
    assert codes(COLOUR, "BUF", data_fields=frozenset()) == ["BUF002"]
    assert codes("term a = l1(masked)", "BUF", data_fields=frozenset({"target"})) == []
    assert codes("term a = mean(alpha * (1 - mask))", "BUF", data_fields=frozenset({"target"})) == ["BUF002"]


# Declarations that nothing reads


@pytest.mark.parametrize(
    ("code", "declaration"),
    [
        ("USE001", "param w = 0.2 in [0, 1]\n"),
        ("USE002", "input near: view?\n"),
        ("USE003", "let error = abs(rendered - target)\n"),
        ("USE004", "memory level = 0 then 0.9 * level + 0.1 * l1()\n"),
    ],
)
def test_a_declaration_that_nothing_reads(code: str, declaration: str) -> None:
    text = f"{declaration}{COLOUR}"
    (diagnostic,) = found(text, "USE")
    assert diagnostic.code == code
    (fix,) = diagnostic.fixes
    assert (fix.applicability is Applicability.SAFE) == (code == "USE003"), "a config may set the others"
    assert changed(text, fix.edits) == COLOUR


@pytest.mark.parametrize(
    "text",
    [
        "param w = 0.2\nterm a = w * l1()",
        "param w = 0.2\nparam v = 2 * w\nterm a = v * l1()",
        "param n: steps = 5\nterm a = l1() when after(step, n)",
        "param w = 0.2\ndef f(x) = w * x\nterm a = f(l1())",
        "input mono: depth[relative]?\nterm a = l1() when has(mono)",
        "input rows: [M 3]\nterm a = l1() / M",
        "input near: view?\ninput extra: map\nterm a = mean(near.extra * near.alpha) when has(near)",
        "let a = l1()\nlet b = a\nterm c = b",
        "memory level = 1 then l1()\nterm a = l1() / max(level, 1)",
    ],
)
def test_declarations_that_something_reads(text: str) -> None:
    assert codes(text, "USE") == []


def test_a_broken_program_is_not_searched_for_what_it_does_not_read() -> None:
    assert codes("param w = 0.2\nterm a = w * l1(", "USE") == []


# What is said about a term that trains nothing


@pytest.mark.parametrize(
    ("value", "place", "caption", "help_"),
    [
        ("mean(1 * (alpha > 0.5))", "alpha > 0.5", "a comparison has no gradient", "`mean(alpha)`"),
        ("mean(radii)", "mean(radii)", "no gradient for `radii`", "radii > 20"),
        ("mean(1 * visible)", "mean(1 * visible)", "no gradient for `visible`", "mean(state.scales, visible)"),
        ("mean(target)", "mean(target)", "nothing in it is made by the gaussians", "it reads only `target`"),
    ],
)
def test_why_a_term_trains_nothing(value: str, place: str, caption: str, help_: str) -> None:
    (found_,) = found(f"{COLOUR}term odd = {value}", "GRD")
    assert found_.source.slice(found_.span) == place
    assert caption in found_.caption
    assert help_ in found_.help[0]


@pytest.mark.parametrize("value", ["l1(target, target)", "1 - ssim(target, target)"])
def test_a_comparison_with_itself_is_one_finding(value: str) -> None:
    (found_,) = found(f"{COLOUR}term odd = {value}", "GRD")
    assert found_.code == "GRD004"
    assert found_.help == ("compare with `rendered`",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.1 * depth_l1(detach(depth), sensor)", ["GRD001"]),
        ("mean(abs(detach(depth) - sensor))", ["GRD001"]),
        ("l1(detach(rendered), photo)", ["GRD001"]),
        ("depth_l1(depth, sensor)", []),
        ("l1(photo, target)", []),
        ("mean(detach(alpha) * abs(photo - target))", []),
        ("mean(abs(detach(alpha) - grid))", []),
        ("l1(detach(rendered), near.rendered)", []),
    ],
)
def test_data_is_not_trained(value: str, expected: list[str]) -> None:
    declared = "input sensor: depth[metric]\ninput photo: image\ninput grid: [B H W]\ninput near: view[same]\n"
    assert codes(f"{declared}{COLOUR}term odd = {value}", "GRD001") == expected


def test_buffers_that_a_definition_reads_are_missing_at_its_call() -> None:
    buffers = RENDERERS["gsplat"]
    text = "def bend(r) = normal_consistency(r)\nterm a = l1() + normal_consistency() + 2 * normal_consistency(masked)"
    both = found(text, "BUF", renderer_buffers=buffers)
    assert [d.source.slice(d.span) for d in both] == ["normal_consistency()", "normal_consistency(masked)"]
    assert all("`normals` and `normals_from_depth`" in d.message for d in both)
    (own,) = found(text.partition("\n")[0] + "\nterm a = l1() + bend(masked)", "BUF", renderer_buffers=buffers)
    assert own.source.slice(own.span) == "normal_consistency(r)"
    (data,) = found("term a = l1()", "BUF", data_fields=frozenset())
    assert data.source.slice(data.span) == "l1()"
