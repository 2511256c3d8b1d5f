"""Values and gradients that become infinite or NaN: what is found, and what is rightly guarded."""

from __future__ import annotations

import time

import pytest

from splatdsl.dsl.api import analyse, check_text
from splatdsl.dsl.check.ranges import Ranges
from splatdsl.dsl.diagnostics import Applicability, Diagnostic
from splatdsl.dsl.fixes import best
from splatdsl.dsl.interval import Interval, inf
from splatdsl.dsl.source import Source

HAZARDS = ("NAN", "DTP", "MSK002", "ACT003")


def hazards(text: str, half: bool = False) -> list[Diagnostic]:
    found = check_text(text, half=half)
    assert not any(d.code[:3] in ("SYN", "NAM", "TYP", "RNG") for d in found), [str(d) for d in found]
    return [d for d in found if d.code.startswith(HAZARDS)]


def codes(text: str, half: bool = False) -> list[str]:
    return [d.code for d in hazards(text, half)]


# Conditions that guard, written in many ways

GUARDED = [
    "where(depth > 0, 1 / depth, 0)",
    "where(0 < depth, 1 / depth, 0)",
    "where(depth <= 0, 0, 1 / depth)",
    "where(not (depth <= 0), 1 / depth, 0)",
    "where(depth > 0 and masked, 1 / depth, 0)",
    "where(depth > 0.1 or depth > 0.2, 1 / depth, 0)",
    "where(depth <= 0 or alpha < 0.5, 0, 1 / depth)",
    "where(2 * depth - 1 > 0.5, 1 / depth, 0)",
    "where(-depth < 0, 1 / depth, 0)",
    "where(sqrt(depth) > 0.1, 1 / depth, 0)",
    "where(detach(depth) > 0, 1 / depth, 0)",
    "where(depth > 0, 1 / detach(depth), 0)",
    "where(min(depth, 10) > 0, 1 / depth, 0)",
    "where(relu(depth - 1) > 0, 1 / (depth - 1), 0)",
    "where(clamp(depth, 0, 10) > 0, 1 / depth, 0)",
    "where(depth != 0, 1 / depth, 0)",
    "where(depth == 0, 0, 1 / depth)",
    "where(valid(depth), 1 / depth, 0)",
    "where(erode(depth > 0, 2), 1 / depth, 0)",
    "where(alpha > 0, 1 / depth, 0)",
    "where(alpha > 0.5, 1 / depth.median, 0)",
    "where(depth > 0, depth.accumulated / alpha, depth)",
    "where(component_min(rendered) > 0, 1 / rendered, 0)",
    "where(norm(normals) > 0, normals / norm(normals), 0)",
    "where(abs(rendered - target) > 0.1, 1 / (rendered - target), 0)",
    "where(sq(rendered - target) > 0, 1 / (rendered - target), 0)",
    "where(rendered > target, sqrt(rendered - target + 1e-6), 0)",
    "where(target < rendered, 1 / (rendered - target), 0)",
    "where(rendered != target, 1 / (rendered - target), 0)",
    "where(alpha > 0.2, where(alpha < 0.8, log(alpha) + log(1 - alpha), 0), 0)",
    "where(alpha < 1, -log(1 - alpha), 0)",
    "where(alpha > 0, sqrt(alpha), 0)",
    "1 / where(depth > 0, depth, 1)",
    "1 / max(depth, 1e-3)",
    "1 / (depth + 1e-6)",
    "1 / clamp(depth, 0.1, 10)",
    "1 / (1 + sq(depth))",
    "log(1 + exp(alpha))",
    "alpha / (alpha + 1e-6)",
    "sqrt(sq(rendered - target) + 1e-6)",
    "sqrt(dot(rendered - target, rendered - target) + 1e-6)",
    "sqrt((rendered - target) * (rendered - target) + 1e-6)",
    "sqrt(detach(alpha))",
    "sqrt(target) * alpha",
    "rendered ^ 2.2",
    "rendered / (1 + rendered)",
    "log(rendered + 1e-3)",
    "normalize(normals)",
    "norm(rendered - target)",
    "exp(-1 / max(depth, 1e-2))",
    "acos(clamp(dot(normals, normals_from_depth), -0.9999, 0.9999))",
    "abs(min(1 / target, 100) - alpha)",
    "finite_or(1 / target, 0) * alpha",
    "sigmoid(-1 / target) * alpha",
    "(alpha > 0.5) * (1 / alpha > 1.5) * depth",
    "alpha / 0.9 ^ floor(step / 1000)",
]


@pytest.mark.parametrize("value", GUARDED)
def test_a_guarded_value_is_silent(value: str) -> None:
    assert codes(f"term a = mean({value}, everywhere)") == []


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("1 / depth", "NAN008"),
        ("depth ^ -1", "NAN008"),
        ("alpha / std(depth)", "NAN008"),
        ("where(depth >= 0, 1 / depth, 0)", "NAN001"),
        ("where(depth > -1, 1 / depth, 0)", "NAN001"),
        ("where(depth < 5, 1 / depth, 0)", "NAN001"),
        ("where(depth > 0, 0, 1 / depth)", "NAN001"),
        ("where(depth > 0 or alpha < 0.5, 1 / depth, 0)", "NAN001"),
        ("where(depth > 0, 1 / alpha + 1 / normals.z, 0)", "NAN001"),
        ("where(masked, 1 / depth, 0)", "NAN001"),
        ("where(rendered >= target, 1 / (rendered - target), 0)", "NAN001"),
        ("where(alpha > 0.5, alpha / mean(depth), 0)", "NAN001"),
        ("where(alpha > mean(depth), alpha / mean(depth), 0)", "NAN001"),
        ("where(rendered > 0.5, 1 / rendered.r, 0)", "NAN001"),
        ("where(depth > 0, blur(1 / depth), 0)", "NAN008"),
        ("where(depth > 0, mean(1 / depth), 0)", "NAN008"),
        ("masked * detach(1 / depth) * alpha", "NAN008"),
        ("min(1 / depth, 100)", "NAN008"),
        ("sqrt(alpha)", "NAN003"),
        ("alpha ^ 0.5", "NAN003"),
        ("sqrt(sq(rendered - target))", "NAN003"),
        ("acos(dot(normals, normals_from_depth))", "NAN003"),
        ("charbonnier(rendered, target, eps=0) + alpha", "NAN003"),
        ("normals / norm(normals)", "NAN004"),
        ("normals / sqrt(dot(normals, normals))", "NAN004"),
        ("log(alpha)", "NAN006"),
        ("log(sigmoid(state.opacity_logits))", "NAN006"),
        ("log(1 - tanh(abs(state.means)))", "NAN006"),
        ("clamp(log(alpha), -10, 0)", "NAN006"),
        ("log(rendered - target)", "NAN006"),
        ("sqrt(alpha) + 1e-8", "NAN009"),
        ("depth / (sqrt(alpha) + 1e-8)", "NAN009"),
        ("sqrt(rendered - target)", "NAN020"),
        ("(alpha - 0.5) ^ 0.3", "NAN020"),
        ("acos(2 * normals.z)", "NAN020"),
    ],
)
def test_a_hazard_is_found(value: str, code: str) -> None:
    assert codes(f"term a = mean({value}, everywhere)")[:1] == [code]


# What the value and what the gradient needs


def test_a_region_keeps_a_bad_value_out_but_not_its_gradient() -> None:
    (found,) = hazards("term a = mean(1 / depth, alpha > 0.5)")
    assert "the gradient" in found.message
    assert "the region leaves that out" in found.message
    assert codes("term a = mean(1 / detach(depth), alpha > 0.5)") == []
    assert codes("term a = mean(1 / detach(depth), masked)") == ["NAN008"]


def test_a_product_with_a_region_stops_nothing() -> None:
    (found,) = hazards("term a = mean(masked * log(alpha), everywhere)")
    assert found.notes == ("multiplying by a region does not stop it: 0 times infinity is NaN",)


def test_a_gradient_that_does_not_flow_is_no_hazard() -> None:
    assert codes("term a = mean(abs(alpha - sqrt(target.r)))") == []
    assert codes("term a = mean(abs(alpha - detach(sqrt(depth))))") == []
    assert codes("memory m = 0 then mean(sqrt(alpha))\nterm a = m * mean(alpha)") == []
    assert codes("memory m = 0 then mean(1 / depth)\nterm a = m * mean(alpha)") == ["NAN008"]


def test_data_is_not_assumed_to_carry_gradient() -> None:
    assert codes("input prior: map in [0, 1]\nterm a = mean(abs(sqrt(prior) - alpha))") == []
    assert codes("input near: view\nterm a = mean(sqrt(near.alpha))") == ["NAN003"]


# Numbers of the host


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("term a = reg(state) / step", ["NAN008"]),
        ("term a = reg(state) / step when after(step, 1)", []),
        ("term a = reg(state) / step when step != 0", []),
        ("term a = reg(state) / step when not before(step, 10)", []),
        ("term a = reg(state) * (1 / step if after(step, 1) else 1)", []),
        ("term a = reg(state) * (1 if step < 1 else 1 / step)", []),
        ("term a = reg(state) * (1 / step if after(progress, 0.1) else 1)", ["NAN008"]),
        ("term a = reg(state) * log(step)", ["NAN006"]),
        ("term a = reg(state) * log(step + 1) / log(max_steps)", []),
        ("term a = (step / (max_steps - 1)) * reg(state)", []),
        ("param w = 0.1 >= 0\nterm a = reg(state) / w", ["NAN008"]),
        ("param w = 0.1 > 0\nterm a = reg(state) / w", []),
        ("param w = 0.1\nterm a = reg(state) / w", []),
        ("param w = 0.1 in [-1, 1]\nterm a = reg(state) / w when w > 0", []),
        ("param near = 0.1 > 0\nparam far = 9 > 0\nterm a = mean(depth) / (far - near)", []),
        ("input s: number\nterm a = mean(depth) / s", []),
        ("input s: number in [0, 1]\nterm a = mean(depth) / s", ["NAN008"]),
        ("param gamma = 2.2 > 0\nterm a = mean(rendered ^ gamma)", ["NAN003"]),
        ("param gamma = 2.2 >= 1\nterm a = mean(rendered ^ gamma)", []),
    ],
)
def test_numbers_of_the_host(text: str, expected: list[str]) -> None:
    assert codes(text) == expected


def test_a_parameter_without_limits_counts_at_its_value_in_force() -> None:
    text = "param w = 0.1\nterm a = reg(state) / w"
    assert [d.code for d in check_text(text, params={"w": 0.0})] == ["NAN008"]


def test_a_term_with_weight_0_is_not_computed() -> None:
    assert codes("param w = 0 >= 0\nterm a = w * mean(1 / depth)\nterm b = reg(state)") == []
    assert codes("param w = 1 >= 0\nterm a = w * mean(1 / depth)\nterm b = reg(state)") == ["NAN008"]


def test_a_running_average_is_what_it_starts_as() -> None:
    text = "memory m = {} then 0.9 * m + 0.1 * mean(depth)\nterm a = mean(alpha) / m"
    assert codes(text.format(1)) == []
    assert codes(text.format(0)) == ["NAN008"]


def test_two_images_are_not_equal_everywhere() -> None:
    assert codes("term a = sqrt(mean(sq(rendered - target)))") == []
    assert codes("term a = mean(log(mean(sq(rendered - target))) * alpha)") == []


# Views, lists and definitions


def test_what_is_drawn_in_one_view_says_nothing_of_another() -> None:
    text = "input near: view[same]\nterm a = mean(where({}alpha > 0, 1 / near.depth, 0))"
    assert codes(text.format("near.")) == []
    assert codes(text.format("")) == ["NAN001"]


def test_gaussians_that_are_visible_have_a_radius() -> None:
    assert codes("term a = mean(detach(state.opacities) / radii, visible) + reg(state)") == []
    assert codes("term a = mean(where(visible, state.opacities / radii, 0)) + reg(state)") == []
    assert codes("term a = mean(detach(state.opacities) / radii) + reg(state)") == ["NAN008"]


def test_random_choices_at_two_places_differ() -> None:
    lets = "let a = bernoulli(0.5, like=alpha) * 2 - 1\nlet b = bernoulli(0.5, like=alpha) * 2 - 1\n"
    assert codes(lets + "term t = mean(sqrt(detach(a * a * depth)) * alpha)") == []
    assert codes(lets + "term t = mean(sqrt(detach(a * b * depth)) * alpha)") == ["NAN020"]


def test_a_definition_is_reported_once_where_it_is_written() -> None:
    text = "def disparity(d) = 1 / d\nterm a = mean(abs(disparity(depth) - disparity(depth.median)))"
    (found,) = hazards(text)
    assert found.line == 1
    assert "`1 / d` is infinite" in found.message
    assert [label.text for label in found.labels] == ["`depth` is 0 where nothing is drawn"]


def test_what_a_definition_of_the_language_does_is_reported_at_the_call() -> None:
    (found,) = hazards("term a = charbonnier(masked, eps=0)")
    assert (found.line, found.column) == (1, 10)
    assert found.source.slice(found.span) == "charbonnier(masked, eps=0)"
    assert found.help == ("give an `eps` above 0",)
    assert found.fixes == ()


def test_labels_lead_from_the_origin_to_the_operation() -> None:
    text = "param w = 0.1 >= 0\nlet scaled = 2 * w\nterm a = mean(depth) / scaled"
    (found,) = hazards(text)
    places = [(label.source.position(label.span.start)[0], label.text) for label in found.labels if label.source]
    assert (2, "`w` may be 0") in places
    assert (1, "declared in [0, inf)") in places


# Formulas


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("mean(1 / depth)", "mean(1 / max(depth, 1e-6))"),
        ("mean(1 / (depth))", "mean(1 / max(depth, 1e-6))"),
        ("mean(alpha / (1 - alpha))", "mean(alpha / max(1 - alpha, 1e-6))"),
        ("mean(log(1 - alpha))", "mean(log(max(1 - alpha, 1e-6)))"),
        ("mean(sqrt((rendered - target)^2))", "mean(abs(rendered - target))"),
        ("mean(sqrt(component_sum(sq(rendered - target))))", "mean(norm(rendered - target))"),
        ("mean(abs(normals / norm(normals)))", "mean(abs(normalize(normals)))"),
        ("mean(sqrt(alpha) + 1e-8)", "mean(sqrt(alpha + 1e-8))"),
        ("-mean(alpha*log(alpha) + (1 - alpha)*log(1 - alpha))", "mean(binary_entropy(alpha))"),
        ("mean(-(alpha*log(alpha) + (1 - alpha)*log(1 - alpha)))", "mean(binary_entropy(alpha))"),
        ("mean(-alpha*log(alpha) - (1 - alpha)*log(1 - alpha))", "mean(binary_entropy(alpha))"),
        ("1 - mean(log(alpha)*alpha + log(1 - alpha)*(1 - alpha))", "1 - mean(-binary_entropy(alpha))"),
        ("sum(depth * masked) / sum(masked)", "mean(depth, masked)"),
        ("sum(depth, alpha > 0.5) / sum(alpha > 0.5)", "mean(depth, alpha > 0.5)"),
        ("mean(relu(log(state.opacities / (1 - state.opacities)) - 4))", "mean(relu(state.opacity_logits - 4))"),
        ("mean(rendered ^ 0.5)", "mean(max(rendered, 1e-6) ^ 0.5)"),
    ],
)
def test_the_fix(text: str, fixed: str) -> None:
    (found,) = hazards(f"term a = {text}")
    fix = best(found, unsafe=True)
    assert fix is not None
    assert fix.applicability is Applicability.UNSAFE
    made = found.source.text
    for edit in sorted(fix.edits, key=lambda e: -e.span.start):
        made = made[: edit.span.start] + edit.text + made[edit.span.end :]
    assert made == f"term a = {fixed}"
    assert hazards(made) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("mean(abs(log(alpha / (1 - alpha))))", "ACT003"),
        ("mean(abs(log(1 / alpha - 1)))", "ACT003"),
        ("mean(abs(log(alpha) - log(1 - alpha)))", "ACT003"),
        ("sum(depth) / sum(masked)", "MSK002"),
        ("sum(depth * masked) / (3 * sum(masked))", "MSK002"),
        ("mean(depth * masked) / mean(masked)", "MSK002"),
    ],
)
def test_a_formula_gives_one_finding(text: str, code: str) -> None:
    assert codes(f"term a = {text}") == [code]


# Half precision


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("sq(depth - depth.median)", "DTP002"),
        ("depth ^ 2", "DTP002"),
        ("exp(depth)", "DTP002"),
        ("1 / max(depth, 1e-6)", "DTP002"),
        ("log(alpha + 1e-8)", "NAN009"),
        ("binary_entropy(alpha)", "NAN009"),
        ("sq(clamp(depth, 0, 100))", None),
        ("sq(rendered - target)", None),
        ("exp(-depth)", None),
        ("1 / max(depth, 1e-3)", None),
        ("sq(state.means)", None),
        ("log(alpha + 1e-4)", None),
    ],
)
def test_half_precision(value: str, code: str | None) -> None:
    text = f"term a = mean({value}, everywhere)"
    assert codes(text, half=True) == ([] if code is None else [code])
    assert codes(text) == []


def test_a_sum_over_pixels_overflows_and_is_reported_once() -> None:
    assert codes("let out = sum(alpha, unmasked)\nterm a = out + sq(out)", half=True) == ["DTP002"]


# Ranges under conditions


def _range(text: str) -> Interval:
    program, found = analyse(Source(text))
    assert program is not None, [str(d) for d in found]
    ranges = Ranges(program)
    return ranges.at(program.terms[0].value.args[0], ranges.nowhere).range


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("where(depth > 2, depth, 3)", Interval(2, inf, lo_open=True)),
        ("where(depth > 2 and depth <= 5, depth, 5)", Interval(2, 5, lo_open=True)),
        ("where(not (depth > 2), depth, 1)", Interval(0, 2)),
        ("where(depth - 1 > 2, depth, 4)", Interval(3, inf, lo_open=True)),
        ("where(depth / 2 <= 2, depth, 4)", Interval(0, 4)),
        ("where(1 - alpha > 0.25, alpha, 0)", Interval(0, 0.75, hi_open=True)),
        ("where(sq(depth) <= 4, depth, 0)", Interval(0, 2)),
        ("where(abs(alpha - 0.5) < 0.25, alpha, 0.5)", Interval(0.25, 0.75, True, True)),
        ("where(max(depth, 1) < 3, depth, 1)", Interval(0, 3, hi_open=True)),
        ("where(min(depth, 1) >= 0.5, depth, 1)", Interval(0.5, inf)),
        ("where(alpha > target.r, alpha, 0)", Interval(0, 1)),
        ("where(alpha == 0.5, alpha, 0.5)", Interval(0.5, 0.5)),
        ("where(exp(alpha) < 1, alpha, 1)", Interval(0, 1)),
    ],
)
def test_a_condition_narrows_a_range(value: str, expected: Interval) -> None:
    assert _range(f"term a = mean({value})") == expected


# Size


def _many(n: int, line: str) -> str:
    return "let y0 = alpha\n" + "".join(line.format(i + 1, i) for i in range(n))


@pytest.mark.parametrize(
    "text",
    [
        _many(2900, "let y{0} = 1 / (1 + y{1})\n") + "term a = mean(y2900)",
        _many(1500, "let y{0} = where(y{1} > 0, 1 / y{1}, y{1})\n") + "term a = mean(y1500)",
        _many(800, "let y{0} = where(alpha > mean(y{1}), 1 / y{1}, y{1})\n") + "term a = mean(y800)",
        "term a = mean(where(" + " and ".join(f"alpha > {i}e-5" for i in range(1500)) + ", 1 / alpha, 0))",
        "term a = " + " + ".join(f"mean(where(depth > {i}, 1 / depth, 0))" for i in range(900)),
    ],
    ids=["lets", "choices", "reductions", "conditions", "terms"],
)
def test_large_programs_are_checked_in_good_time(text: str) -> None:
    start = time.perf_counter()
    hazards(text)
    assert time.perf_counter() - start < 20
