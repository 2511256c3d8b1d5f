"""Stage, kind and range of expressions; the operand forms; broadcasting; regions."""

from __future__ import annotations

import pytest

from splatdsl.dsl.api import analyse, check_text
from splatdsl.dsl.diagnostics import Severity
from splatdsl.dsl.interval import NONNEGATIVE, POSITIVE, REALS, UNIT, Interval, inf, point
from splatdsl.dsl.source import Source
from splatdsl.dsl.typed import Expr, TypedProgram
from splatdsl.dsl.types import CONSTANT, PARAMETER, STEP, TENSOR

PARAMS = "param w = 0.5 in [0, 1]\nparam free = 1.0\nparam on: flag = true\nparam start: steps = 100\n"


def program(text: str) -> TypedProgram:
    typed, found = analyse(Source(text))
    assert typed is not None, "\n".join(f"{d.code}: {d.message}" for d in found)
    return typed


def expr(text: str) -> Expr:
    """The typed value of a number."""
    return program(f"{PARAMS}term t = {text}").terms[0].value


def tensor(text: str) -> Expr:
    """The typed value of something with pixels or gaussians."""
    call = expr(f"mean({text})")
    operand = call.arg("x")
    assert operand is not None
    return operand


def codes(text: str) -> list[str]:
    """Codes of the checker itself; rules about well-typed programs have tests of their own."""
    warnings = ("SCH001", "SCH002", "SCH004")
    return [d.code for d in check_text(PARAMS + text) if d.severity is Severity.ERROR or d.code in warnings]


@pytest.mark.parametrize(
    ("text", "stage", "range_"),
    [
        ("2 ^ 3", CONSTANT, point(8)),
        ("-pi", CONSTANT, None),
        ("inf", CONSTANT, point(inf)),
        ("1 / 4", CONSTANT, point(0.25)),
        ("w", PARAMETER, UNIT),
        ("1 - w", PARAMETER, UNIT),
        ("on * 2", PARAMETER, Interval(0, 2)),
        ("step", STEP, NONNEGATIVE),
        ("step * w", STEP, NONNEGATIVE),
        ("progress", STEP, Interval(0, 1, hi_open=True)),
        ("ramp(step, 100)", STEP, UNIT),
        ("ramp(5, 10)", CONSTANT, point(0.5)),
        ("clamp(step, 3, 9)", STEP, Interval(3, 9)),
        ("min(step, w)", STEP, UNIT),
        ("linear(step, 0.4, 0.1, over=50)", STEP, Interval(0.1, 0.4)),
        ("expdecay(step, 0.1)", STEP, Interval(0, 1, lo_open=True)),
        ("w if on else 3", PARAMETER, Interval(0, 3)),
        ("mean(alpha)", TENSOR, UNIT),
        ("mean(alpha) * w", TENSOR, UNIT),
        ("l1()", TENSOR, NONNEGATIVE),
        ("ssim()", TENSOR, Interval(-1, 1)),
        ("1 - ssim()", TENSOR, Interval(0, 2)),
        ("ssim_loss()", TENSOR, Interval(0, 2)),
        ("mean(state.scales)", TENSOR, POSITIVE),
        ("mean(state.scales, visible)", TENSOR, NONNEGATIVE),
        ("sqrt(mean(alpha))", TENSOR, UNIT),
        ("max_over(alpha - 1)", TENSOR, Interval(-1, 0)),
    ],
)
def test_numbers(text: str, stage: int, range_: Interval | None) -> None:
    # ssim is checked inside a difference, where it is no mistake
    e = expr(f"0.5 - {text}").args[1] if text == "ssim()" else expr(text)
    assert e.type.stage == stage
    assert e.type.kind.name == "number"
    if range_ is not None:
        assert e.type.range == range_


@pytest.mark.parametrize(
    ("text", "kind", "dims"),
    [
        ("rendered", "image", "[B H W 3]"),
        ("rendered - target", "image", "[B H W 3]"),
        ("rendered * alpha", "image", "[B H W 3]"),
        ("alpha * rendered", "image", "[B H W 3]"),
        ("rendered * 2", "image", "[B H W 3]"),
        ("rendered * w", "image", "[B H W 3]"),
        ("rendered * mean(alpha)", "image", "[B H W 3]"),
        ("rendered.r", "map", "[B H W 1]"),
        ("depth", "depth", "[B H W 1]"),
        ("depth.accumulated", "depth", "[B H W 1]"),
        ("depth + 1", "depth", "[B H W 1]"),
        ("-depth", "depth", "[B H W 1]"),
        ("masked", "region", "[B H W 1]"),
        ("alpha > 0.5", "region", "[B H W 1]"),
        ("rendered > 0.5", "region", "[B H W 3]"),
        ("not masked", "region", "[B H W 1]"),
        ("masked and alpha > 0.5", "region", "[B H W 1]"),
        ("masked or everywhere", "region", "[B H W 1]"),
        ("masked * 1", "map", "[B H W 1]"),
        ("everywhere * alpha", "map", "[B H W 1]"),
        ("state.means", "gaussians", "[N 3]"),
        ("state.means.z", "gaussians", "[N]"),
        ("state.opacities", "gaussians", "[N]"),
        ("state.opacities * state.scales", "gaussians", "[N 3]"),
        ("state.scales * state.opacities", "gaussians", "[N 3]"),
        ("state.opacities * state.shN", "gaussians", "[N k]"),
        ("state.shN * state.opacities", "gaussians", "[N k]"),
        ("state.opacities > 0.2", "region", "[N]"),
        ("visible", "region", "[N]"),
        ("component_max(state.scales)", "gaussians", "[N]"),
        ("component_min(rendered)", "map", "[B H W 1]"),
        ("where(alpha > 0.5, rendered, target)", "image", "[B H W 3]"),
        ("where(alpha > 0.5, 1, 0)", "map", "[B H W 1]"),
        ("where(after(step, 5), rendered, 0)", "image", "[B H W 3]"),
        ("rendered if on else alpha", "image", "[B H W 3]"),
        ("masked if on else unmasked", "region", "[B H W 1]"),
        ("detach(depth)", "depth", "[B H W 1]"),
        ("piecewise(alpha, (0, 1), (1, 2))", "map", "[B H W 1]"),
        ("max(alpha, masked)", "map", "[B H W 1]"),
        ("1 - ssim_map()", "image", "[B H W 3]"),
    ],
)
def test_tensors(text: str, kind: str, dims: str) -> None:
    e = tensor(text)
    assert (e.type.kind.name, e.type.kind.dims) == (kind, dims)
    assert e.type.stage == TENSOR


def test_a_comparison_of_numbers_is_a_condition() -> None:
    condition = expr("where(mean(alpha) > 0.5, 1, 2)").args[0]
    assert condition.type.kind.name == "flag"
    assert condition.type.stage == TENSOR
    assert expr("l1() * (step > 5)").args[1].type.is_host


@pytest.mark.parametrize(
    ("text", "range_"),
    [
        ("abs(rendered - target)", NONNEGATIVE),
        ("target - alpha", Interval(-1, 1)),
        ("sq(alpha - 2)", Interval(1, 4)),
        ("(alpha - 2) * (alpha - 2)", Interval(1, 4)),
        ("exp(alpha)", None),
        ("1 / max(depth, 0.5)", Interval(0, 2, lo_open=True)),
        ("alpha ^ 2", UNIT),
        ("sigmoid(rendered)", Interval(0, 1, True, True)),
        ("relu(alpha - 2)", point(0)),
        ("clamp(rendered, 0, 1)", UNIT),
        ("where(alpha > 2, 3, alpha)", Interval(0, 3)),
        ("alpha > 0.5", UNIT),
        ("rendered", REALS),
    ],
)
def test_ranges_of_tensors(text: str, range_: Interval | None) -> None:
    found = tensor(text).type.range
    if range_ is not None:
        assert range_.within(found), f"{found} must hold all of {range_}"
        assert (found.lo, found.hi) == (range_.lo, range_.hi)


# The four operand forms

COMPARING = ["l1", "l2", "huber", "charbonnier", "ssim_loss", "photometric", "1 - ssim", "-psnr"]


@pytest.mark.parametrize("name", COMPARING)
@pytest.mark.parametrize(
    "arguments",
    [
        "()",
        "(masked)",
        "(rendered, target)",
        "(rendered, target, masked)",
        "(alpha > 0.5)",
        "(everywhere)",
        "(r=masked)",
    ],
)
def test_operand_forms(name: str, arguments: str) -> None:
    assert codes(f"term t = {name}{arguments}") == []


@pytest.mark.parametrize("name", COMPARING)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("(rendered)", "TYP010"),
        ("(0.5)", "TYP010"),
        ("(state)", "TYP010"),
        ("(rendered, alpha)", "TYP004"),
        ("(state.scales, target, masked)", ""),
        ("(rendered, target, visible)", "TYP003"),
        ("(visible)", "TYP003"),
        ("(rendered, target, alpha)", "TYP001"),
        ("(rendered, target, masked, masked, masked, masked, masked)", "TYP006"),
        ("(masked, r=masked)", "NAM006"),
        ("(rendered, masked, q=1)", "NAM006"),
        ("(rendered, state)", "TYP001"),
        ("(masked, after(step, 5))", "TYP001"),
    ],
)
def test_wrong_operands_get_one_message(name: str, arguments: str, code: str) -> None:
    if not code:  # ssim and psnr take nothing but images and maps
        code = "TYP001" if name in ("1 - ssim", "-psnr") else "TYP003"
    assert codes(f"term t = {name}{arguments}") == [code]


def test_the_defaults_are_the_render_and_the_photograph() -> None:
    a = program("term t = -psnr()").terms[0].value.args[0]
    b = program("term t = -psnr(rendered, target, everywhere)").terms[0].value.args[0]
    assert [(x.op, x.value) for x in a.args] == [(x.op, x.value) for x in b.args]


def test_a_user_definition_has_the_operand_forms_too() -> None:
    mine = "def mine(a=rendered, b=target, r=everywhere) = mean(abs(a - b), r)\n"
    for arguments in ("()", "(masked)", "(rendered, target)", "(rendered, target, masked)"):
        assert codes(f"{mine}term t = mine{arguments}") == []
    assert codes(f"{mine}term t = mine(rendered)") == ["TYP010"]


# What does not go together


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mean(rendered + state.means)", ["TYP003"]),
        ("mean(masked and visible)", ["TYP003"]),
        ("mean(alpha > state.opacities)", ["TYP003"]),
        ("mean(max(alpha, state.opacities))", ["TYP003"]),
        ("mean(where(visible, alpha, 0))", ["TYP003"]),
        ("mean(rendered, visible)", ["TYP003"]),
        ("mean(state.means * state.quats)", ["TYP004"]),
        ("mean(state.shN * state.sh0)", ["TYP004"]),
        ("state * 2", ["TYP001"]),
        ("mean(state > 0)", ["TYP001"]),
        ("-state", ["TYP001"]),
        ("not alpha", ["TYP001"]),
        ("l1(masked and 0.5)", ["TYP001"]),
        ("l1(masked or after(step, 3))", ["TYP001"]),
        ("mean(everywhere)", ["TYP001"]),
        ("mean(after(step, 3))", ["TYP001"]),
        ("rendered", ["TYP002"]),
        ("masked", ["TYP002"]),
        ("state", ["TYP002"]),
        ("state.means", ["TYP002"]),
        ("after(step, 5)", ["TYP002"]),
        ("mean(alpha) > 0.5", ["TYP002"]),
        ("l1() if alpha > 0.5 else 0", ["TYP009"]),
        ("l1() if mean(alpha) > 0.5 else 0", ["TYP009"]),
        ("l1() if step else 0", ["TYP001"]),
        ("state if on else 0", ["TYP001"]),
        ("mean(rendered if on else state.means)", ["TYP003"]),
        ("ramp(mean(alpha), 10) * l1()", ["TYP005"]),
        ("piecewise(step, (0, mean(alpha)), (1, 2)) * l1()", ["TYP005"]),
        ("piecewise(step, 0, 1) * l1()", ["TYP001"]),
        ("piecewise(step, (0, 1)) * l1()", ["TYP006"]),
        ('piecewise(step, (0, 1), (5, 2), interp="cubic") * l1()', ["TYP001"]),
        ("l1() / 0", ["RNG003"]),
        ("l1() / (1 - 1)", ["RNG003"]),
        ("mean((alpha - 2) ^ 0.5)", ["RNG003"]),
        ("mean(log(-alpha))", ["RNG003"]),
        ("mean(sqrt(alpha - 1.5))", ["RNG003"]),
        ("mean(alpha.r)", ["NAM003"]),
        ("mean(state.quats.x)", ["NAM003"]),
        ("mean(depth.medium)", ["NAM003"]),
        ("step.r", ["NAM003"]),
    ],
)
def test_mistakes(text: str, expected: list[str]) -> None:
    assert codes(f"term t = {text}") == expected


@pytest.mark.parametrize(
    "text",
    [
        "mean(alpha * (alpha > 0.5))",
        "l1() * after(step, 5)",
        "l1() * (after(step, 5) and not before(step, 3))",
        "mean(log(alpha))",
        "mean(1 / depth)",
        "l1(rendered, 0.5, masked)",
        "l1(state.scales, 0.1, visible)",
        "mean(state.means.x ^ 2, state.opacities > 0.5)",
        "l1(not (masked and alpha > 0.5) or depth > 3)",
        "l1(rendered == target)",
        "mean(where(masked, 1, 0))",
        "mean(max(alpha, depth, 0.5, masked))",
        "l1() if on else l2()",
        "l1() if step < 100 else l2() if step < 200 else huber()",
        "l1() ** 2 ^ 0.5",
    ],
)
def test_what_is_allowed(text: str) -> None:
    assert codes(f"term t = {text}") == []


@pytest.mark.parametrize(
    ("condition", "outcome"),
    [
        ("step >= 0", point(1)),
        ("step > 0", UNIT),
        ("step < 0", point(0)),
        ("progress < 1", point(1)),
        ("progress >= 1", point(0)),
        ("w <= 1", point(1)),
        ("w == 2", point(0)),
        ("w != 2", point(1)),
        ("w == 1", UNIT),
        ("step == inf", UNIT),
        ("not (step < 0)", point(1)),
        ("step < 0 or w > 2", point(0)),
        ("step >= 0 and w <= 1", point(1)),
    ],
)
def test_what_is_known_of_a_comparison(condition: str, outcome: Interval) -> None:
    assert expr(f"l1() * ({condition})").args[1].type.range == outcome
