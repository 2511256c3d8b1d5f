"""Masks, backgrounds, ranges of colours and similarity: what the rules find, and what they leave alone."""

from __future__ import annotations

import time

import pytest

from splatdsl.dsl.api import check_text
from splatdsl.dsl.diagnostics import Diagnostic
from splatdsl.dsl.fixes import changed

COVER = "input ta: map[coverage] in [0, 1]\n"
COLOUR = "input colour: [B 3] in [0, 1]\n"
PHOTO = "input photo: image in [0, 255]\n"
SENSOR = "input sensor: depth[metric]\n"


def check(text: str, **known: object) -> list[Diagnostic]:
    return check_text(text, **known)  # type: ignore[arg-type]


def codes(text: str, **known: object) -> list[str]:
    return [d.code for d in check(text, **known)]


FOUND = [
    ("term a = mean(abs(rendered - target) * masked)", "MSK001"),
    ("term a = mean(mask * sq(rendered - target))", "MSK001"),
    ("term a = mean(-masked * alpha / 2)", "MSK001"),
    ("term a = mean(abs(rendered * masked - target * masked))", "MSK001"),
    ("term a = mean((rendered - target).r * masked)", "MSK001"),
    ("term a = mean((masked * (rendered - target)) ^ 2)", "MSK001"),
    ("term a = l1(rendered * masked, target * masked)", "MSK001"),
    ("term a = huber(rendered * masked, target * masked, delta=0.1)", "MSK001"),
    ("term a = -0.1 * psnr(rendered * masked, target * masked)", "MSK001"),
    ("term a = mean(where(masked, abs(rendered - target), 0))", "MSK001"),
    ("term a = mean(where(alpha > 0.5, abs(rendered - target), 0))", "MSK001"),
    ("term a = mean(alpha * unmasked)", "MSK001"),
    ("term a = mean(alpha * (1 - masked))", "MSK001"),
    ("term a = mean(state.opacities * visible)", "MSK001"),
    ("term a = mean(std(depth * masked))", "MSK001"),
    ("def f(x) = mean(x * masked)\nterm a = f(abs(rendered - target))", "MSK001"),
    ("def f(m) = l1(rendered * m, target * m)\nterm a = f(masked)", "MSK001"),
    ("term a = 1 - ssim(rendered * masked, masked * target)\nterm b = l1(masked)", "MSK004"),
    ("term a = ssim_loss(rendered * masked, masked * target)\nterm b = l1(masked)", "MSK004"),
    ("term a = 1 - ms_ssim(rendered * masked, masked * target)\nterm b = l1(masked)", "MSK004"),
    ("term a = photometric(rendered * masked, target * masked)", "MSK004"),
    ("term a = 1 - mean(ssim_map(rendered * masked, target * masked))\nterm b = l1(masked)", "MSK004"),
    ("term a = l1(unmasked)", "MSK009"),
    ("term a = photometric(not mask)", "MSK009"),
    ("term a = mean(abs(rendered - target), 1 > mask) + l1(mask < 0.5)", "MSK009"),
    ("input invalid: region\nterm a = l1(erode(invalid, 2) and masked)", "MSK009"),
    ("input ignored: map in [0, 1]\nterm a = l1(region(ignored))", "MSK009"),
    (COLOUR + "term a = l1(rendered + (1 - alpha) * colour, target)", "MSK008"),
    (COLOUR + "term a = l1(target, colour * (1 - alpha) + rendered, masked)", "MSK008"),
    (COLOUR + COVER + "term a = l1(rendered + (1 - alpha) * colour, target + (1 - ta))", "MSK008"),
    (COLOUR + COVER + "term a = l1(rendered, target + (1 - ta) * colour)", "MSK008"),
    (COVER + "term a = l1(rendered + (1 - alpha) * 1, target + 0.5 * (1 - ta))", "MSK008"),
    (
        "input noise: image in [0, 1]\nterm a = photometric(clamp(rendered + (1 - alpha) * noise, 0, 1), target)",
        "MSK008",
    ),
    ("term a = l1(rendered * alpha + (1 - alpha) * 0.5, target)", "MSK014"),
    ("term a = l1(mix(background, rendered, alpha), target)", "MSK014"),
    ("term a = l1(rendered + (1 - alpha) * background, target)", "MSK014"),
    ("term a = lpips(2 * rendered - 1, 2 * target - 1)", "RNG020"),
    ("term a = lpips(clamp(2 * rendered - 1, -1, 1), (target - 0.5) / 0.5)", "RNG020"),
    ("term a = 1 - ssim(255 * rendered, 255 * target)\nterm b = l1()", "RNG020"),
    ("term a = photometric(2 * rendered - 1, 2 * target - 1)", "RNG020"),
    (PHOTO + "term a = ssim_loss(255 * rendered, photo)\nterm b = l1()", "RNG020"),
    ("term a = l1(rendered, 255 * target)", "RNG021"),
    ("term a = mean(abs(255 * rendered - target))", "RNG021"),
    ("term a = lpips(rendered, 2 * target - 1)", "RNG021"),
    (PHOTO + "term a = l1(rendered, photo)", "RNG021"),
    (PHOTO + "term a = mean(sq(rendered - photo), masked)", "RNG021"),
]

SILENT = [
    "term a = mean(abs(rendered - target) * masked, everywhere)",
    "term a = mean(abs(rendered - target) * masked, masked)",
    "term a = sum(abs(rendered - target) * masked, everywhere) / (B * H * W * 3)",
    "term a = mean(masked) * l1()",
    "term a = mean(abs(rendered - target) * (1 - 0.5 * masked))",
    "term a = mean(abs(rendered - target) * (0.5 + masked))",
    "term a = mean(where(masked, abs(rendered - target), sq(rendered - target)))",
    "term a = mean((state.scales > 1) * (state.scales - 1))",
    "term a = mean(abs(rendered - target) * (abs(rendered - target) < 0.2))",
    "term a = mean(alpha * bernoulli(0.5, like=alpha))",
    "term a = max_over(abs(rendered - target) * masked)",
    "term a = l1(rendered * masked, target * masked, everywhere)",
    "def f(a, b, r=everywhere) = l1(a * masked, b * masked, r)\nterm a = f(rendered, target)",
    "term a = 1 - mean(ssim_map(rendered * masked, target * masked), masked)\nterm b = l1(masked)",
    "term a = photometric(rendered * masked, target * masked, everywhere)",
    "input clear: map in [0, 1]\nterm a = photometric(rendered * clear, target * clear)",
    "term a = l1(masked) + 0.1 * l1(unmasked)",
    "term a = l1() + mean(alpha, unmasked)",
    "term a = l1(masked) + l1(alpha > 0.5)",
    "input ignore: region\nterm a = l1(not ignore)",
    "input not_ignored: region\nterm a = l1(not_ignored)",
    "input ignore: map in [0, 1]\nterm a = l1(ignore < 0.5)",
    "input ignore: map in [0, 1]\nterm a = l1(ignore == 0)",
    "input ignore: region\nterm a = l1() + 0.1 * mean(alpha, ignore)",
    "input sky: region\nterm a = l1(sky)",
    COVER + "term a = l1(rendered, mix(background, target, ta))",
    COVER + "term a = l1(rendered + (1 - alpha), target * ta + (1 - ta) * 1)",
    COLOUR + COVER + "term a = l1(rendered + (1 - alpha) * colour, mix(colour, target, ta))",
    "input sky: image in [0, 1]\nterm a = photometric(rendered + (1 - alpha) * sky, target)",
    "input learned_colour: [B 3] in [0, 1]\nterm a = photometric(rendered + (1 - alpha) * learned_colour, target)",
    "term a = l1(rendered + (1 - alpha), target)",
    "term a = mean(alpha * abs(rendered - target))",
    "term a = l1(rendered * alpha, target * alpha)",
    "term a = l1(2 * rendered - 1, 2 * target - 1)",
    "term a = lpips(clamp(rendered, 0, 1), target)",
    PHOTO + "term a = l1(rendered, photo / 255)",
    PHOTO + "term a = l1(255 * rendered, photo) / 255",
    "input offset: image in [-1, 1]\nterm a = l1(rendered - offset, target)",
    "input residual: image in [-1, 1]\nterm a = l1(rendered - target, residual)",
    "param gain = 1.2\nterm a = l1(gain * rendered, target)",
    "term a = 1 - ssim(normals, normals_from_depth)\nterm b = l1()",
    "term a = l1(exp(0.1) * rendered + 0.05, target)",
]

POSSIBLE = [
    ("term a = sum(masked * alpha) / max(sum(masked), 1)", "MSK003"),
    ("term a = sum(distortion, masked) / (3 * sum(masked) + 1)", "MSK003"),
    ("term a = l1(region(alpha))", "MSK006"),
    ("term a = l1(masked) + 0.01 * mean(1 - alpha, masked)", "MSK013"),
    ("term a = photometric(masked)\nterm b = 0.01 * mean(1 - alpha, masked)", "MSK013"),
    (SENSOR + "term a = l1(minmax(depth), minmax(sensor))", "RNG006"),
    ("term a = l1() + ssim_loss() / 2", "SSM002"),
    ("term a = l1() + 0.5 * (1 - ms_ssim()) / 2", "SSM002"),
    ("term a = ssim_loss() + mean(1 - ssim_map(rendered, target))", "SSM006"),
]

NOT_POSSIBLE = [
    "term a = sum(masked * alpha) / max(sum(masked), 1e-6)",
    "term a = sum(masked * alpha) / max(sum(alpha * 9), 1)",
    "term a = l1(alpha > 0.5)",
    "term a = mean(alpha, region(alpha))",
    "term a = l1(masked)\nterm b = 0.1 * mean(alpha, unmasked)",
    "term a = l1(masked)",
    "term a = l1(masked)\nterm b = 0.1 * mean(1 - alpha, masked)\nterm c = 0.01 * opacity_entropy(state)",
    "term a = l1(masked)\nterm b = 0.1 * mean(alpha * (1 - masked), everywhere)",
    "term a = l1(masked) + ssim_loss(everywhere)\nterm b = background_alpha()",
    "term a = l1(masked) if has(mask) else l1()\nterm b = background_alpha()",
    "term a = l1(masked) when has(mask)\nterm b = l1()\nterm c = background_alpha()",
    "term a = l1() when before(step, 9)\nterm b = l1(masked) when after(step, 9)\nterm c = background_alpha()",
    "let e = detach(mean(abs(rendered - target)))\nterm a = l1(masked) * (1 + e)\nterm c = background_alpha()",
    "let error = abs(component_mean(rendered - target))\nterm a = l1(masked and error < quantile(error, 0.8))\n"
    "term c = background_alpha()",
    SENSOR + "term a = l1(minmax(detach(depth)) * alpha, minmax(sensor))",
    "term a = l1() + 0.5 * ssim_loss()",
    "term a = ssim_loss() + 0.1 * l2()",
    "input toned: image\nterm a = ssim_loss() + l1(toned, target)",
]


@pytest.mark.parametrize(("text", "code"), FOUND, ids=[t.splitlines()[-1] for t, _ in FOUND])
def test_what_is_found(text: str, code: str) -> None:
    assert codes(text) == [code]


@pytest.mark.parametrize("text", SILENT, ids=[t.splitlines()[-1] for t in SILENT])
def test_what_is_left_alone(text: str) -> None:
    assert codes(text) == []


@pytest.mark.parametrize(("text", "code"), POSSIBLE, ids=[t.splitlines()[0] for t, _ in POSSIBLE])
def test_possibilities(text: str, code: str) -> None:
    own = {code} | ({"SSM006"} if code == "SSM006" else set())
    assert set(codes(text, pedantic=True)) == own
    assert codes(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "term a = l1(masked) + ssim_loss()",
        "term a = l1(masked) + lpips()",
        "term a = mean(abs(rendered - target), masked) + l2(rendered, target)",
    ],
)
def test_a_mask_in_one_comparison_only(text: str) -> None:
    assert codes(text) == ["MSK020"]


@pytest.mark.parametrize("text", NOT_POSSIBLE, ids=[t.splitlines()[0] for t in NOT_POSSIBLE])
def test_what_is_not_even_possible(text: str) -> None:
    assert codes(text, pedantic=True) == []


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("term a = mean(abs(rendered - target) * masked)", "term a = mean(abs(rendered - target), masked)"),
        ("term a = mean((alpha) * (1 - masked))", "term a = mean(alpha, unmasked)"),
        ("let m = masked\nterm a = mean(m * 2 * alpha)", "let m = masked\nterm a = mean(2 * alpha, m)"),
        ("term a = mean(masked * (alpha + 1))", "term a = mean(alpha + 1, masked)"),
        ("term a = mean(2 * masked * (alpha + 1))", "term a = mean(2 * (alpha + 1), masked)"),
        ("term a = photometric(masked * rendered, target * masked, ssim_weight=0.3)",
         "term a = photometric(rendered, target, masked, ssim_weight=0.3)"),
    ],
)  # fmt: skip
def test_a_fix_gives_the_region_to_the_call(text: str, fixed: str) -> None:
    (found,) = check(text)
    (fix,) = found.fixes
    assert changed(found.source.text, fix.edits) == fixed
    assert codes(fixed) == []


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("ssim_loss()", "ssim_loss(masked)"),
        ("ssim_loss(rendered, target)", "ssim_loss(rendered, target, masked)"),
        ('ssim_loss(padding="valid")', 'ssim_loss(masked, padding="valid")'),
        ("mean(abs(rendered - target))", "mean(abs(rendered - target), masked)"),
    ],
)
def test_a_fix_gives_the_mask_to_the_other_comparison(text: str, fixed: str) -> None:
    rest = "\nterm b = l1(masked)\nterm c = background_alpha()"
    (found,) = check(f"term a = {text}{rest}", pedantic=True)
    (fix,) = found.fixes
    assert changed(found.source.text, fix.edits) == f"term a = {fixed}{rest}"


def test_the_half_can_be_left_out() -> None:
    (found,) = check("term a = l1() + 0.2 * (1 - ssim()) / 2", pedantic=True)
    assert changed(found.source.text, found.fixes[0].edits) == "term a = l1() + 0.2 * (1 - ssim())"


def test_coverage_is_told_from_validity() -> None:
    (found,) = check("term a = mean(abs(rendered - target), alpha)")
    assert found.code == "TYP001"
    assert "`alpha > 0.5`" in found.help[0]
    assert "`region(alpha)`" in found.help[1]


def test_a_let_of_a_region_is_shown_where_it_was_made() -> None:
    (found,) = check("let m = masked\nterm a = mean(alpha * m)")
    assert [label.span.start for label in found.labels] == [8]


def test_a_broken_program_is_not_asked_for_what_it_lacks() -> None:
    text = "term a = l1(unmasked)\nterm b = l1(maskd)"
    assert codes(text, pedantic=True) == ["NAM001"]


def test_the_rules_are_linear() -> None:
    lines = ["let x0 = abs(rendered - target)"]
    lines += [f"let x{i} = (x{i - 1} * 0.5 + x{i - 1}) * masked" for i in range(1, 1500)]
    lines += [f"term t{i} = mean(x{1499 - i}, everywhere) + l1(masked)" for i in range(300)]
    start = time.perf_counter()
    check_text("\n".join(lines), pedantic=True)
    assert time.perf_counter() - start < 20
