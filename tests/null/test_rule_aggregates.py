"""Sums, weights, raw parameters, values with holes, units of length: what the rules find and what they leave alone."""

from __future__ import annotations

import pytest

from splatdsl.dsl.api import check_text
from splatdsl.dsl.diagnostics import Applicability, Diagnostic
from splatdsl.dsl.fixes import changed

FAMILIES = ("RED", "ACT", "DEP", "NRM", "GRD020")
LIDAR = "input lidar: depth[metric, sparse]\n"
WINDOW = "input window: list of view\n"


def found(text: str, pedantic: bool = False, **options) -> list[Diagnostic]:
    """What this module's rules find in a program; a lone expression is one."""
    program = text if "term " in text else f"term odd = {text}"
    return [d for d in check_text(program, pedantic=pedantic, **options) if d.code.startswith(FAMILIES)]


def codes(text: str, pedantic: bool = False) -> list[str]:
    return [d.code for d in found(text, pedantic)]


def fixed(text: str) -> str:
    """A program after the fix of its one finding."""
    (diagnostic,) = found(text)
    (fix,) = diagnostic.fixes
    assert fix.applicability is Applicability.UNSAFE, "it changes the value of the loss"
    return changed(text, fix.edits)


# Sums


@pytest.mark.parametrize(
    "text",
    [
        "sum(state.opacities)",
        "0.01 * sum(alpha, unmasked)",
        "sum(abs(rendered - target), masked) / 1000",
        "sum(state.scales) / max_steps",
        "1 - sum(alpha)",
        "sqrt(sum(sq(rendered - target)) + 1e-6)",
        "log1p(sum(alpha))",
        "-sum(state.opacities)",
        "relu(sum(state.opacities) - 5)",
        "sum(alpha) if step > 10 else l1()",
        "mean(rendered) * sum(alpha)",
        "where(mean(alpha) > 0.5, sum(alpha), 0)",
        "param w = 2 > 0\nterm odd = sum(alpha) / w",
        "def total(x) = sum(x)\nterm odd = total(alpha)",
        f"{WINDOW}term odd = mean(sum(abs(v.rendered - v.target)) for v in window)",
    ],
)
def test_a_sum_that_nothing_divides(text: str) -> None:
    assert codes(text) == ["RED001"]


@pytest.mark.parametrize(
    "text",
    [
        "sum(state.opacities) / N",
        "sum(abs(rendered - target)) / (3 * B * H * W)",
        "sum(abs(rendered - target), masked) / max(sum(1 * masked), 1)",
        "1 / N * sum(state.opacities)",
        "sum(state.opacities) * (0.01 / N)",
        "sum(state.opacities / N)",
        "-(sum(alpha) / (H * W)) + 1",
        "let share = alpha / max(sum(alpha), 1)\nterm even = sum(share * log1p(share))",
        "let pixels = max(sum(1 * masked), 1)\nterm even = sum(alpha, masked) / pixels + l1()",
        "l1() / max(sum(alpha), 1)",
        "where(sum(1 * masked) > 100, l1(masked), 0)",
        "l1() * detach(sum(alpha))",
        "memory level = 1 then sum(state.opacities)\nterm even = l1() / max(level, 1)",
        "memory level = 1 then 0.9 * level + 0.1 * sum(alpha)\nterm even = sum(alpha) / max(level, 1)",
        "input area: number in [1, inf)\nterm even = sum(alpha) / area",
        "input latents: [Y X 4]\nterm even = sum(sq(latents))",
        "input planes: list of [C Y X]\nterm even = sum(mean(sq(p)) for p in planes)",
        'input rows: [N K 3]\nterm even = mean(sum(sq(rows), over="K"))',
        "param w = 0.0 >= 0\nterm off = w * sum(alpha)\nterm even = l1()",
    ],
)
def test_a_sum_that_is_divided_or_no_part_of_the_value(text: str) -> None:
    assert codes(text) == []


def test_a_sum_that_two_terms_share_is_reported_once() -> None:
    assert codes("let total = sum(alpha)\nterm a = total\nterm b = 2 * total") == ["RED001"]


def test_the_message_says_what_a_sum_grows_with() -> None:
    (pixels,), (splats,) = found("sum(alpha)"), found("sum(state.scales)")
    assert "all pixels: another resolution" in pixels.message
    assert "all gaussians: densification" in splats.message
    assert pixels.help == ("write `mean(alpha)`, or divide by `B * H * W`",)
    assert splats.help == ("write `mean(state.scales)`, or divide by `N`",)


def test_the_fix_of_a_sum_takes_the_mean() -> None:
    assert fixed("term odd = 2 * sum(alpha, masked)") == "term odd = 2 * mean(alpha, masked)"


# Weights


@pytest.mark.parametrize(
    "text",
    [
        "let small = w * scale_reg(state)\nterm odd = w * small",
        "def weighted(x) = w * x\nterm odd = w * weighted(scale_reg(state))",
        "let small = mean(w * state.scales)\nterm odd = 0.5 * (w * small)",
        "let small = scale_reg(state) * w / 2\nterm odd = -(small * w)",
        "let small = w * scale_reg(state)\nterm odd = w * (small + opacity_reg(state))",
    ],
)
def test_a_weight_that_is_applied_twice(text: str) -> None:
    assert codes(f"param w = 0.1 in [0, 1]\n{text}") == ["RED020"]


@pytest.mark.parametrize(
    "text",
    [
        "term even = w * (w * scale_reg(state))",
        "term even = w^2 * scale_reg(state)",
        "let both = mix(scale_reg(state), opacity_reg(state), w)\nterm even = w * both",
        "let both = (1 - w) * scale_reg(state) + w * opacity_reg(state)\nterm even = w * both",
        "let colour = photometric(ssim_weight=w)\nterm even = w * colour",
        "let small = w * scale_reg(state)\nterm even = w * opacity_reg(state) + small",
        "let small = scale_reg(state) / w\nterm even = w * small",
        "let small = v * scale_reg(state)\nterm even = w * small",
    ],
)
def test_a_weight_that_is_applied_once(text: str) -> None:
    assert codes(f"param w = 0.1 in (0, 1]\nparam v = 0.1 in (0, 1]\n{text}") == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("l1(masked)", "l1(masked)"),
        ("l1(masked)", "l1(rendered, target, masked)"),
        ("l1(masked)", "mean(abs(rendered - target), masked)"),
        ("l1() when after(step, 5)", "l1() when after(step, 5)"),
    ],
)
def test_a_term_that_is_there_twice(first: str, second: str) -> None:
    (diagnostic,) = found(f"term a = {first}\nterm b = {second}")
    assert diagnostic.code == "RED021"
    assert diagnostic.line == 2


@pytest.mark.parametrize(
    "text",
    [
        "term a = l1(masked)\nterm b = l1()",
        "term a = l1() when before(step, 5)\nterm b = l1() when after(step, 5)",
        "term a = l1()\nterm b = l1() when after(step, 5)",
        "term tracking.a = l1()\nterm mapping.a = l1()",
        "term a = l1()\nterm b = 0.5 * l1()",
        "param w = 1 > 0\nparam v = 1 > 0\nterm a = w * l1()\nterm b = v * l1()",
        # Each side learns at its own speed.
        "input x: image\ninput y: image\nterm a = l1(x, detach(y))\nterm b = l1(detach(x), y)",
    ],
)
def test_terms_that_differ(text: str) -> None:
    assert codes(text) == []


def test_many_terms_are_compared_in_no_time() -> None:
    text = "\n".join(f"term t{i} = {i + 1} * l1(masked)" for i in range(800))
    assert codes(text) == []
    assert codes(f"{text}\nterm last = 7 * l1(masked)") == ["RED021"]


# Raw parameters


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mean(state.opacity_logits)", "down without end"),
        ("-mean(state.log_scales)", "up without end"),
        ("-0.1 * mean(state.log_scales)", "up without end"),
        ("mean(-state.log_scales)", "up without end"),
        ("mean(1 - state.opacity_logits)", "up without end"),
        ("opacity_reg(state.opacity_logits)", "down without end"),
        ("flatten(state.log_scales)", "down without end"),
        ("mean(component_max(state.log_scales), visible)", "down without end"),
        ("mean(sq(state.log_scales))", "a scale of 1 scene unit"),
        ("mean(abs(2 * state.opacity_logits))", "an opacity of 0.5"),
        ("mean(state.log_scales ^ 2)", "a scale of 1 scene unit"),
        ("l1(state.log_scales, 0)", "a scale of 1 scene unit"),
        ("-mean(sq(state.opacity_logits))", "away from 0"),
        ("opacity_entropy(state.opacity_logits)", "any number"),
        ("mean(binary_entropy(state.opacity_logits))", "any number"),
        ("bce(state.opacity_logits, 0.5)", "any number"),
    ],
)
def test_a_raw_parameter_that_is_regularised(text: str, says: str) -> None:
    (diagnostic,) = found(text)
    assert diagnostic.code == "ACT001"
    assert says in diagnostic.message


@pytest.mark.parametrize(
    "text",
    [
        "mean(state.opacities)",
        "mean(exp(state.log_scales))",
        "mean(sigmoid(state.opacity_logits))",
        "mean(relu(state.log_scales - 1))",
        "mean(max(state.log_scales, -5))",
        "mean(clamp(state.opacity_logits, -4, 4))",
        "mean(sq(state.log_scales - log(0.01)))",
        "mean(abs(state.opacity_logits + 4))",
        "mean(abs(state.log_scales - component_mean(state.log_scales)))",
        "mean(component_max(state.log_scales)) - mean(component_min(state.log_scales))",
        "mean(component_max(state.log_scales) - component_min(state.log_scales))",
        "input before: [N 3]\nterm even = l1(state.log_scales, before)",
        "relu(mean(state.log_scales) + 5)",
        "exp(mean(state.log_scales))",
        "mean(detach(state.log_scales) * state.scales)",
        "mean(state.opacities, state.log_scales > -4)",
        "mean(binary_entropy(sigmoid(state.opacity_logits)))",
        "mean(binary_entropy(clamp(state.opacity_logits, 0, 1)))",
    ],
)
def test_a_raw_parameter_that_is_bounded_or_activated(text: str) -> None:
    assert codes(text) == []


def test_the_fix_reads_the_activated_parameter() -> None:
    assert fixed("term odd = mean(state.opacity_logits)") == "term odd = mean(state.opacities)"
    text = "term odd = mean(component_max(state.log_scales) / component_min(state.log_scales))"
    assert fixed(text) == text.replace("log_scales", "scales")


@pytest.mark.parametrize(
    "text",
    [
        "mean(component_max(state.log_scales) / component_min(state.log_scales))",
        "mean(relu(component_max(state.log_scales) / max(component_min(state.log_scales), 1) - 10))",
        "mean(anisotropy(state.log_scales))",
        "mean(effective_rank(state.log_scales))",
        "mean(relu(component_max(state.scales) - component_min(state.scales) - 10))",
    ],
)
def test_a_ratio_of_the_wrong_scales(text: str) -> None:
    assert [d.code for d in check_text(f"term odd = {text}")] == ["ACT004"], "one mistake, one message"


@pytest.mark.parametrize(
    "text",
    [
        "mean(relu(anisotropy(state) - 10))",
        "mean(component_max(state.scales) / max(component_min(state.scales), 1e-8))",
        "mean(relu(component_max(state.log_scales) - component_min(state.log_scales) - log(10)))",
        "mean(relu(component_max(state.scales) - component_min(state.scales) - 0.1))",
        "mean(abs(state.scales - component_mean(state.scales)))",
    ],
)
def test_a_ratio_of_scales(text: str) -> None:
    assert codes(text) == []


# Values with holes


@pytest.mark.parametrize(
    "text",
    [
        "l1(depth, lidar)",
        "depth_l1(depth, lidar, masked)",
        "mean(abs(depth - lidar), masked and alpha > 0.5)",
        "mean(log1p(abs(depth - lidar)))",
        "mean(abs(1 / max(depth, 1e-3) - 1 / max(lidar, 1e-3)), masked)",
        "pearson_loss(depth, lidar, masked)",
        "mean(abs(align(depth, to=lidar) - lidar), valid(lidar))",
        "smallest_mean(abs(depth - lidar), 0.9)",
        "mean(where(masked, abs(depth - lidar), 0))",
        "mean(alpha * abs(depth - lidar))",
        "mean(abs(depth - lidar), valid(depth))",
    ],
)
def test_holes_that_are_counted(text: str) -> None:
    assert codes(f"{LIDAR}term odd = {text}") == ["DEP020"]


@pytest.mark.parametrize(
    "text",
    [
        "l1(depth, lidar, valid(lidar))",
        "mean(abs(depth - lidar), masked and valid(lidar) and alpha > 0.5)",
        "mean(abs(depth - lidar), lidar > 0.1)",
        "mean(where(valid(lidar), abs(depth - lidar), 0), everywhere)",
        "mean(abs(depth - lidar) * valid(lidar), everywhere)",
        "mean(alpha * (valid(lidar) * abs(depth - lidar)), everywhere)",
        "disparity_l1(depth, lidar)",
        "pearson_loss(depth, lidar, valid(lidar))",
        "mean(abs(align(depth, valid(lidar), to=lidar) - lidar), valid(lidar))",
        "mean(abs(depth - lidar), seen)",
        "mean(sure * abs(depth - lidar))",
        "mean(abs(depth - raw(lidar)), valid(lidar))",
        "l1(masked and valid(lidar))",
        "mean(abs(depth - lidar), abs(depth - lidar) < median(abs(depth - lidar), valid(lidar)))",
    ],
)
def test_holes_that_are_left_out(text: str) -> None:
    inputs = f"{LIDAR}input seen: region\ninput sure: map in [0, 1]\n"
    assert codes(f"{inputs}term even = {text}") == []


def test_the_valid_pixels_must_be_those_of_the_value() -> None:
    two = f"{LIDAR}input stereo: depth[metric, sparse]\n"
    (diagnostic,) = found(f"{two}term odd = l1(depth, lidar, valid(stereo))")
    assert "`lidar`" in diagnostic.message
    assert found(f"{two}term even = l1(depth, lidar, valid(stereo) and valid(lidar))") == []


def test_holes_in_the_views_of_a_list() -> None:
    text = f"{LIDAR}{WINDOW}term odd = sum(mean(abs(v.depth - v.lidar), REGION) for v in window)"
    assert codes(text.replace("REGION", "v.masked")) == ["DEP020"]
    assert codes(text.replace("REGION", "valid(v.lidar)")) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("l1(depth, lidar)", "l1(depth, lidar, valid(lidar))"),
        ("l1(depth, lidar, masked)", "l1(depth, lidar, masked and valid(lidar))"),
        ("mean(abs(depth - lidar))", "mean(abs(depth - lidar), valid(lidar))"),
        ("l1(a=depth, b=lidar)", "l1(a=depth, b=lidar, r=valid(lidar))"),
    ],
)
def test_the_fix_restricts_the_region(before: str, after: str) -> None:
    assert fixed(f"{LIDAR}term odd = {before}") == f"{LIDAR}term odd = {after}"
    assert codes(f"{LIDAR}term odd = {after}") == []


def test_angles_between_frames() -> None:
    inputs = "input prior: normals[world, unit]\n"
    assert codes(f"{inputs}term odd = mean(1 - dot(normals_from_depth, prior))") == ["NRM001"]
    assert codes(f"{inputs}term odd = mean(norm(cross(normals_from_depth, prior)))") == ["NRM001"]
    assert codes(f'{inputs}term even = mean(1 - dot(depth_normals(depth, frame="world"), prior))') == []
    assert codes(f"{inputs}term even = mean(1 - dot(normals_from_depth, raw(prior)))") == []


# Possibilities


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("RED002", "mean(state.scales)"),
        ("RED002", "0.01 * mean(component_max(state.scales))"),
        ("RED002", "scale_reg(state) + l1()"),
        ("RED004", f"{WINDOW}term odd = mean(l1(v.rendered, v.target, v.masked) for v in window)"),
        ("RED005", "80 * l1() + 20 * ssim_loss()"),
        ("RED005", "term a = 0.1 * l1()"),
        ("RED006", "input planes: list of [C Y X]\nterm odd = mean(tv(p, axes='yx') for p in planes)"),
        ("RED022", "term colour = l1()\nterm odd = 1e-9 * mean(sq(state.sh0))"),
        ("RED022", "param w = 1e5 >= 0\nterm colour = l1()\nterm odd = w * mean(sq(state.sh0))"),
        ("RED023", "param w = 0.5\nterm odd = (l1() if w > 0.2 and w < 1 else l2()) + l1()"),
        ("RED024", "param w = 0.1 > 0\nterm a = w * mean(sq(state.sh0))\nterm b = w * mean(sq(state.means))"),
        ("RED025", "term a = mean(sq(state.sh0))\nterm b = mean(abs(state.sh0))"),
        ("RED026", "term colour = l1()\nterm odd = 0.1 * mean(state.opacities)"),
        ("DEP007", "input s: depth[metric]\nterm colour = l1()\nterm odd = 10 * l1(depth, s)"),
        ("DEP007", "input s: depth[metric]\nterm colour = l1()\nterm odd = 50 * l2(depth.inverse, 1 / max(s, 1e-3))"),
        ("DEP007", "term colour = l1()\nterm odd = 100 * mean(relu(state.scales - 1))"),
        ("NRM002", "mean(1 - dot(normals, normals_from_depth))"),
        ("NRM002", "l1(normals, normals_from_depth)"),
        ("NRM002", "normal_cosine()"),
        ("NRM003", "mean(dot(raw(normals_from_depth), depth_normals(depth)))"),
        ("NRM003", "input prev: [N 3]\nterm odd = mean(state.means - prev)"),
        ("GRD020", "mean(alpha * abs(rendered - target))"),
        ("GRD020", "mean(abs(depth - depth.median) * clamp(alpha, 0.1, 1))"),
    ],
)
def test_what_may_be_a_mistake(code: str, text: str) -> None:
    text = text.replace("'", '"')
    assert code in codes(text, pedantic=True)
    assert codes(text) == [], "nothing by default"
    (diagnostic,) = (d for d in found(text, pedantic=True) if d.code == code)
    assert any(note.startswith("mistaken if") for note in diagnostic.notes)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("RED002", "mean(relu(state.scales - 0.1))"),
        ("RED002", "mean(state.scales, visible)"),
        ("RED002", "mean(component_min(state.scales))"),
        ("RED004", f"{WINDOW}term even = mean(l1(v.rendered, v.target) for v in window)"),
        ("RED005", "0.8 * l1() + 0.2 * ssim_loss()"),
        ("RED005", "photometric() + 10 * tv(depth)"),
        ("RED005", "term a = 80 * l1() when after(step, 5)\nterm b = l1()"),
        ("RED005", "input w: number\nterm a = w * l1()"),
        ("RED005", "5 * edge_aware_smoothness(depth) + l1()"),
        (
            "RED006",
            "input planes: list of [C Y X]\nterm even = mean(tv(p, axes='yx') for p in planes) when every(step, 9)",
        ),
        ("RED006", "input layers: list of [O I]\nterm even = mean(mean(sq(w)) for w in layers)"),
        ("RED022", "term even = 1000 * mean(sq(state.sh0))"),
        ("RED022", "mean(sqrt(sq(state.sh0) + 1e-12))"),
        ("RED023", "param kind = 'a' in {'a', 'b'}\nterm even = l1() if kind == 'a' else l2()"),
        ("RED023", "l1() if step > 100 else l2()"),
        ("RED024", "param w = 0.1 > 0\nterm a = (1 - w) * l1()\nterm b = w * ssim_loss()"),
        ("RED024", "param w = 0.1 > 0\nterm g.a = w * l1()\nterm h.b = w * l2()"),
        ("RED025", "term a = mean(sq(state.sh0))\nterm b = mean(abs(state.means))"),
        ("RED025", "term a = mean(sq(state.sh0) * mean(alpha))\nterm b = mean(abs(state.sh0))"),
        ("RED026", "term odd = mean(state.opacities)\nterm even = mean(relu(state.scales - 1))"),
        ("RED026", "term odd = -mean(state.opacities)"),
        ("DEP007", "input s: depth[metric]\nterm colour = l1()\nterm even = 100 * mean(abs(depth - s) / max(s, 0.1))"),
        ("DEP007", "input s: depth[metric]\nterm colour = l1()\nterm even = 5 * l1(depth, s)"),
        ("DEP007", "input s: depth[relative]\nterm colour = l1()\nterm even = 50 * pearson_loss(depth, s)"),
        ("DEP007", "input unit: number > 0\nterm colour = l1()\nterm even = 100 * mean(distortion) / unit"),
        ("DEP007", "term colour = l1()\nterm even = 100 * mean(relu(anisotropy(state) - 10))"),
        ("NRM002", "mean(1 - dot(normals, detach(alpha) * normals_from_depth))"),
        ("NRM002", "mean(1 - dot(normalize(normals), normals_from_depth))"),
        ("NRM002", "normal_consistency()"),
        ("NRM003", "1 - mean(dot(normals_from_depth, depth_normals(depth)))"),
        ("NRM003", "mean(abs(dot(normals_from_depth, depth_normals(depth))))"),
        ("NRM003", "abs(mean(rendered - target))"),
        ("NRM003", "mean(log(max(alpha, 0.5)) + 1)"),
        ("GRD020", "mean(detach(alpha) * abs(rendered - target))"),
        ("GRD020", "mean(abs(rendered - target), alpha > 0.5)"),
        ("GRD020", "input sky: map in [0, 1]\nterm even = mean(alpha * sky)"),
        ("GRD020", "mean(sq(alpha))"),
    ],
)
def test_what_is_fine_even_then(code: str, text: str) -> None:
    assert code not in codes(text.replace("'", '"').replace("number > 0", "number in (0, inf)"), pedantic=True)


def test_deep_and_shared_programs_are_checked_in_time() -> None:
    doubled = "\n".join(f"let x{i + 1} = x{i} + x{i}" for i in range(200))
    assert codes(f"let x0 = mean(alpha)\n{doubled}\nterm even = x200", pedantic=True) is not None
    sums = " + ".join(f"{i + 1} * mean(sq(state.sh0))" for i in range(400))
    assert "RED001" not in codes(f"term even = {sums}", pedantic=True)
