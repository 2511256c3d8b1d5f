"""Means by hand, activations, and what is compared with what: found where it is wrong, silent where it is right."""

from __future__ import annotations

import pytest

from splatdsl.dsl.api import check_text
from splatdsl.dsl.diagnostics import Diagnostic
from splatdsl.dsl.fixes import changed

ERR = "let err = abs(rendered - target)\n"
COLOUR = "term colour = photometric()\n"
PRIOR = "input prior: normals[camera]\n"
WORLD = "input prior: normals[world]\n"


def found(text: str, **options: object) -> list[Diagnostic]:
    return check_text(text, **options)


def codes(text: str, **options: object) -> list[str]:
    return [d.code for d in found(text, **options)]


# Means by hand


@pytest.mark.parametrize(
    "text",
    [
        "term c = mean(err * masked) / max(mean(masked), 1e-6)",
        "let m = max(mean(masked), 1e-6)\nlet e = mean(err * masked)\nterm c = e / m",
        "term c = 0.8 * mean(err * masked) / (mean(masked) + 1e-6) + 0.2 * ssim_loss(masked)",
        "let m = 1 * masked\nterm c = mean(err * m) / max(mean(m), 1e-6)",
        "term c = mean(err * masked) * (1 / max(mean(masked), 1e-6))",
        "term c = l1(rendered * masked, target * masked) / max(mean(masked), 1e-6)",
        "term c = mean(where(alpha > 0, 1 / depth, 0)) + l1()",
        "term c = mean(where(depth > 0, 1 / depth, 0)) + l1()",
        "term c = sum(err, masked) / (3 * B * H * W)",
        "term c = sum(err * masked, everywhere) / (3 * B * H * W)",
        "term c = sum(err * masked) / max(3 * sum(masked), 1e-6)",
        "term c = sum(err * masked) / 3 / max(sum(masked), 1e-6)",
        "term c = sum(err * masked) / max(sum(masked), 1e-6) / 3",
        "term c = 1 / 3 * sum(err * masked) / max(sum(masked), 1e-6)",
        "term c = sum(component_mean(err) * masked) / max(sum(masked), 1e-6)",
        "term c = sum(component_sum(err) * masked) / max(sum(masked), 1e-6)",
        "term c = sum(err * masked) / max(sum(alpha), 1e-6)",
        "term c = l1() + sum(sq(state.means), visible) / max(sum(visible), 1)",
        "term c = l1() + sum(state.opacities) / N",
        "term c = sum(err / max(sum(err), 1e-6)) / N + l1()",
        "let w = (1 - sq(2 * pixel.x - 1)) * (1 - sq(2 * pixel.y - 1))\nterm c = mean(w * err) / mean(w)",
    ],
)
def test_a_mean_by_hand_that_is_right(text: str) -> None:
    unused = "" if "err" not in text else ERR
    assert codes(unused + text) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("term c = mean(err * masked) / mean(masked)", "MSK002"),
        ("term c = mean(err * masked) / max(mean(alpha), 1e-6)", "MSK001"),
        ("term c = mean(where(masked, err, 0))", "MSK001"),
        ("term c = sum(err * masked) / (H * W)", "MSK001"),
        ("term c = 0.5 * sum(err * masked) / (3 * B * H * W)", "MSK001"),
        ("term c = sum(err * masked) / max(sum(masked), 1)", "RED027"),
        ("term c = 0.1 * sum(err * masked) / max(sum(masked), 1)", "RED027"),
        ("term c = sum(err, masked) / (sum(masked) + 1e-6)", "RED027"),
        ("input w: map in [0, 1]\nterm c = sum(w * err) / max(sum(w), 1e-6)", "RED027"),
        ("term c = sum(err) / N", "RED001"),
        ("term c = mean(err) + 0.01 * sum(state.opacities) / (H * W)", "RED001"),
        ("let w = alpha * (1 - pixel.x)\nterm c = mean(w * err) / mean(w)", "NAN008"),
    ],
)
def test_a_mean_by_hand_that_is_wrong(text: str, code: str) -> None:
    assert codes(ERR + text) == [code]


def test_the_fix_of_a_sum_over_components_takes_the_mean() -> None:
    text = "term c = sum(abs(rendered - target) * masked) / max(sum(masked), 1)"
    (diagnostic,) = found(text)
    assert "3 times the mean" in diagnostic.message
    assert changed(text, diagnostic.fixes[0].edits) == "term c = mean(abs(rendered - target), masked)"


def test_divisors_upon_divisors_are_checked_in_time() -> None:
    lines = ["let x0 = l1()"] + [f"let x{i + 1} = mean(alpha * masked, everywhere) / (1 + x{i})" for i in range(300)]
    assert codes("\n".join([*lines, "term c = x300 + l1()"])) == []


# Activations


@pytest.mark.parametrize(
    ("value", "better"),
    [
        ("exp(state.scales)", "state.scales"),
        ("exp(detach(state.scales).x) * state.scales.x", "state.scales"),
        ("sigmoid(state.opacities)", "state.opacities"),
        ("exp(exp(state.log_scales))", "state.scales"),
        ("exp(state.opacity_logits)", "state.opacities"),
        ("sigmoid(state.log_scales)", "state.scales"),
    ],
)
def test_a_wrong_activation(value: str, better: str) -> None:
    (diagnostic,) = found(f"{COLOUR}term odd = 0.01 * mean({value})")
    assert diagnostic.code == "ACT020"
    assert f"`{better}`" in diagnostic.help[0]


@pytest.mark.parametrize(
    "value",
    [
        "exp(state.log_scales)",
        "sigmoid(state.opacity_logits)",
        "exp(-2 * state.scales)",
        "sigmoid(10 * (state.opacities - 0.5))",
        "exp(-state.opacities)",
        "exp(component_sum(state.log_scales))",
    ],
)
def test_a_right_activation(value: str) -> None:
    assert codes(f"{COLOUR}term even = 0.01 * mean({value})") == []


# What is compared


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("l1(depth, alpha)", "DEP021"),
        ("l1(depth, masked)", "DEP021"),
        ("l1(depth, gray(target), masked)", "DEP021"),
        ("l1(depth, distortion)", "DEP021"),
        ("mean(abs(depth - alpha))", "DEP021"),
        ("mean(sq(blur(depth, sigma=2) - rendered.r))", "DEP021"),
        ("mean(1 - dot(normals, rendered))", "DEP021"),
        ("l1(distortion, alpha)", "DEP021"),
        ("bce(masked, alpha)", "GRD021"),
        ("bce(0.5, alpha)", "GRD021"),
        ("bce(detach(alpha), alpha * 0.9)", "GRD021"),
    ],
)
def test_values_that_should_not_meet(text: str, code: str) -> None:
    assert codes(f"{COLOUR}term odd = 0.1 * {text}") == [code]


@pytest.mark.parametrize(
    "text",
    [
        "l1(alpha, gray(target))",
        "l1(raw(depth), alpha)",
        "mean(abs(depth - mean(depth)))",
        "mean(depth * alpha)",
        "mean(abs(depth - 1), alpha > 0.5)",
        "mean(abs(depth.accumulated - depth * alpha))",
        "mean(abs(depth.accumulated - 2 * alpha))",
        "l1(minmax(depth), gray(target))",
        "l1(0.5 * normals + 0.5, target)",
        "bce(alpha, masked)",
        "bce(alpha, detach(alpha) > 0.5)",
    ],
)
def test_values_that_may_meet(text: str) -> None:
    assert [c for c in codes(f"{COLOUR}term even = 0.1 * {text}") if c in ("DEP021", "GRD021", "NRM020")] == []


def test_data_is_no_prediction() -> None:
    program = f"input given: {{}}\n{COLOUR}term cover = 0.1 * bce(given, alpha)"
    assert codes(program.format("map[coverage] in [0, 1]")) == ["GRD021"]
    assert codes(program.format("region")) == ["GRD021"]
    assert codes(program.format("[B H W 1] in [0, 1]")) == [], "the host may train it"


def test_a_region_in_the_place_of_an_operand() -> None:
    (diagnostic,) = found(f"{COLOUR}term depth = 0.1 * l1(depth, masked)")
    assert "`l1(depth, other, masked)`" in diagnostic.help[0]


# Normals


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("input prior: normals in [0, 1]\nterm odd = normal_cosine(normals, prior)", "NRM020"),
        ("input prior: image\nterm odd = l1(normals, prior)", "NRM020"),
        ("input prior: image in [0, 1]\nterm odd = mean(1 - dot(normals, prior))", "NRM020"),
        (f"{PRIOR}term odd = 0.05 * mean(dot(normals, prior))", "NRM021"),
        (f"{PRIOR}term odd = 0.05 * mean(dot(normals, prior), masked)", "NRM021"),
        (f"{PRIOR}term odd = 0.05 * mean(detach(alpha) * dot(normals, prior))", "NRM021"),
        (f"{PRIOR}term odd = 0.05 * mean(component_sum(normals * prior))", "NRM021"),
        (f"{PRIOR}let c = dot(normalize(normals), prior)\nterm odd = 1 + mean(c)", "NRM021"),
        (f"{WORLD}term odd = mean(1 - component_sum(normalize(normals) * prior))", "NRM001"),
    ],
)
def test_directions_that_are_compared_wrongly(text: str, code: str) -> None:
    assert codes(COLOUR + text) == [code]


@pytest.mark.parametrize(
    "text",
    [
        "input prior: normals in [0, 1]\nterm even = normal_cosine(normals, prior * 2 - 1)",
        "input prior: image\nterm even = l1(normals, prior * 2 - 1)",
        "input prior: image in [-1, 1]\nterm even = l1(normals, prior)",
        "input prior: image\nterm even = l1(normals * 0.5 + 0.5, prior)",
        f"{PRIOR}term even = -0.05 * mean(dot(normals, prior))",
        f"{PRIOR}term even = 0.05 * (1 - mean(dot(normals, prior)))",
        f"{PRIOR}term even = 0.05 * mean(abs(dot(normals, prior)))",
        f"{PRIOR}term even = mean(1 - component_sum(normalize(normals) * prior))",
        "input flow: [N 3]\nterm even = 0.1 * mean(dot(state.means, flow))",
    ],
)
def test_directions_that_are_compared_rightly(text: str) -> None:
    assert codes(COLOUR + text) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("l1(normals, prior)", "l1(normals, prior * 2 - 1)"),
        ("mean(abs(normals - prior))", "mean(abs(normals - (prior * 2 - 1)))"),
    ],
)
def test_the_fix_decodes_normals(before: str, after: str) -> None:
    text = f"input prior: image\n{COLOUR}term odd = {{}}"
    (diagnostic,) = found(text.format(before))
    assert changed(text.format(before), diagnostic.fixes[0].edits) == text.format(after)


# Small numbers, colours that are divided twice, runs without data


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1 / max(depth, 1e-46)", ["NAN009"]),
        ("1 / max(depth, 1e-40)", ["NAN009"]),
        ("1 / (depth + 1e-46)", ["NAN009"]),
        ("log(clamp(state.opacities, 1e-46, 1))", ["NAN009"]),
        ("binary_entropy(alpha, eps=1e-46)", ["NAN009"]),
        ("1 / max(depth, 1e-30)", []),
    ],
)
def test_a_floor_that_is_0_in_single_precision(value: str, expected: list[str]) -> None:
    assert codes(f"{COLOUR}term near = 0.1 * mean({value})") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("term c = l1(rendered, target / 255)", ["RNG021"]),
        ("term c = mean(sq(rendered / 255 - target))", ["RNG021"]),
        ("input photo: image in [0, 255]\nterm c = l1(rendered, photo / 255)", []),
    ],
)
def test_colours_that_are_divided_twice(text: str, expected: list[str]) -> None:
    assert codes(text) == expected


def test_a_run_is_known_by_its_renderer_or_its_data() -> None:
    text = "term small = 0.01 * reg(state)"
    assert codes(text) == []
    assert codes(text, data_fields=frozenset({"target"})) == ["GRD006"]
    assert codes(text, renderer_buffers=frozenset({"rendered"})) == ["GRD006"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("term c = huber(delta=0.05) / 0.05", []),
        ("term c = where(step < 100, 0.1, 1) * l1()", []),
        ("term c = 20 * l1()", ["RED005"]),
        ("term c = 20 * huber(delta=0.5)", ["RED005"]),
    ],
)
def test_the_weight_of_photometric_terms(text: str, expected: list[str]) -> None:
    assert [c for c in codes(text, pedantic=True) if c == "RED005"] == expected


# Components alone


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('norm(state.means - mean(state.means, over="N"))', []),
        ('state.opacities * mean(state.means, over="N")', []),
        ('sq(mean(state.means, over="N") - mean(state.scales, over="N"))', []),
        ('rendered * mean(state.means, over="N")', []),
        ('state.sh0 * mean(state.quats, over="N")', ["TYP004"]),
        ('mean(state.quats, over="N") - mean(state.scales, over="N")', ["TYP004"]),
    ],
)
def test_components_alone_go_with_any_that_have_as_many(value: str, expected: list[str]) -> None:
    assert codes(f"{COLOUR}term odd = 0.1 * mean({value})") == expected
