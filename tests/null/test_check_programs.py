"""Whole programs: declarations, scoping, similarity signs, schedules, supply, limits of size and depth."""

from __future__ import annotations

import pytest

from splatdsl.dsl.api import analyse, check_text
from splatdsl.dsl.diagnostics import Diagnostic, Severity
from splatdsl.dsl.host import environment, evaluate
from splatdsl.dsl.live import Zeros
from splatdsl.dsl.source import Source


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


# One mistake, one message


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("let w = nothing\nlet v = w * 2\nterm a = v * l1()\nterm b = ramp(step, w) * l1(r=v)", "NAM001"),
        ("term a = l1(l2(l1(maskd)))", "NAM001"),
        ("term a = mean(maskd + rendered * alpha) + 1", "NAM001"),
        ("term a = mix(nothing, l1(), 0.5) + photometric(ssim_weight=w)", None),
        ("def f(x) = x * nothing\nterm a = f(l1())\nterm b = f(l2())", "NAM001"),
        ("def f(x) = unknown(x)\nterm a = f(l1()) + f(f(l1()))", "NAM002"),
        ("def l1(x) = mean(abs(x))\nterm a = l1(rendered - target)", "NAM007"),
        ("let a = b\nlet b = a\nterm t = a * b * l1()", "TYP007"),
        ("def f(x) = g(x)\ndef g(x) = f(x)\nterm t = f(l1()) + g(l1())", None),
        ("param w = nothing\nterm t = w * l1() + w * l2()", "NAM001"),
        ("param w: furlong = 1\nterm t = w * l1() when after(step, w)", "NAM008"),
        ("input mono: depth?\nlet d = 1 / mono\nterm t = mean(d)", "DEP004"),
        ("extern f(image) -> mapp\nterm t = mean(f(rendered))", "NAM014"),
        ("memory m = maskd then m + 1\nterm t = m * l1()", "NAM001"),
        ("memory m = 0 then m + maskd\nterm t = m * l1()", "NAM001"),
        ("let x = (\nterm t = x * l1()", "SYN008"),
        ("def f(x) = x +\nterm t = f(l1())", "SYN008"),
        ('param w = 0.5 in {"a", "b"}\nterm t = w * l1()', "TYP001"),
        ("term a.b = l1()\nterm c = l2()", "SYN054"),
        ("term t = reg(rendered)", "TYP001"),
    ],
)
def test_one_mistake_gives_one_message(text: str, code: str | None) -> None:
    found = codes(text)
    if code is None:
        assert found
        assert len(found) <= 2
    else:
        assert found == [code]


def test_independent_mistakes_are_all_reported_in_order() -> None:
    text = (
        "param w = 2 in [0, 1]\n"
        "let v = maskd\n"
        "def f(x) = dssim(x)\n"
        "term a = rendered[0]\n"
        "term b = mean(state.opacity)\n"
        "term c = mean(alpha * visible)\n"
        "term d = 0.2 * ssim()\n"
        "term e = l1(rendered) when after(step)\n"
    )
    found = check(text)
    assert [(d.line, d.code) for d in found] == [
        (1, "RNG001"),
        (2, "NAM001"),
        (3, "NAM002"),
        (4, "SYN022"),
        (5, "NAM003"),
        (6, "TYP003"),
        (7, "SSM001"),
        (8, "TYP010"),
        (8, "TYP006"),
    ]
    assert found == sorted(found, key=lambda d: d.span.start if d.span else -1)


def test_the_same_text_gives_the_same_findings() -> None:
    text = "term a = mean(opacity + state.scale) + dsim(maskd) + l3(depht)"
    first = [(d.code, d.message, d.help) for d in check(text)]
    assert first == [(d.code, d.message, d.help) for d in check(text)]


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("term t = l1(maskd)", "`masked`"),
        ("term t = mean(rendred)", "`rendered`"),
        ("term t = mean(state.opacity)", "`opacities`"),
        ("term t = mean(opacities)", "`state.opacities`"),
        ("term t = photometrc()", "`photometric`"),
        ('term t = ssim_loss(pading="same")', "`padding`"),
        ("param ssim_weight = 0.2\nterm t = photometric(ssim_weight=ssim_wieght)", "`ssim_weight`"),
        ("def my_loss(x) = x\nterm t = my_los(l1())", "`my_loss`"),
        ("let threshold = 0.2\nterm t = l1(alpha > treshold)", "`threshold`"),
        ("term t = mean(depth.acumulated)", "`accumulated`"),
        ("term t = huber(masked, dleta=2)", "`delta`"),
    ],
)
def test_did_you_mean(text: str, suggestion: str) -> None:
    help_ = only(text).help
    assert any("did you mean" in h and suggestion in h for h in help_), help_


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("term t = l1 + 1", "call it: l1(), l1(r)"),
        ("term t = masked(rendered)", "is a value, not a function"),
        ("term a = l1()\nterm b = 2 * a", "terms are results only"),
        ("term t = after(step, 5)", "belongs after `when`"),
        ("term t = sigmoid(state)", "name a field"),
        ("param w = true\nterm t = w * l1()", "param w: flag = true"),
    ],
)
def test_the_way_out(text: str, words: str) -> None:
    assert words in " ".join(only(text).help)


# Lets, defs, scopes


def test_lets_stand_in_any_order() -> None:
    assert codes("term t = a * l1()\nlet a = b + c\nlet c = b * 2\nlet b = 0.5") == []


def test_a_cycle_of_lets_is_told_as_it_goes() -> None:
    found = only("let a = b\nlet b = c\nlet c = a\nterm t = a * l1()")
    assert found.code == "TYP007"
    assert "a -> b -> c -> a" in found.message


def test_a_cycle_through_a_definition() -> None:
    assert codes("let q = f(1)\ndef f(x) = x + q\nterm t = q * l1()") == ["TYP007"]


def test_recursion_is_found_even_where_it_is_unused() -> None:
    assert codes("def f(x) = 1 + f(x)\nterm t = l1()") == ["TYP007"]


def test_an_unused_definition_is_checked() -> None:
    assert codes("def f(x, y=maskd) = x * nothing + dssim(x)\nterm t = l1()") == ["NAM001", "NAM001", "NAM002"]
    assert codes("def f(x, y=x * 2) = x.opacities + y\nterm t = l1()") == []


def test_a_definition_sees_the_program_and_its_own_parameters_first() -> None:
    text = "param w = 3\nlet half = 0.5\ndef f(depth, w=half) = w * depth\nterm t = f(2) * l1()"
    program, found = analyse(Source(text))
    assert found == []
    assert program is not None
    assert evaluate(program.terms[0].value.args[0], environment(0, 10, {"w": 3.0})) == 1.0


def test_a_definition_does_not_see_the_parameters_of_its_caller() -> None:
    assert codes("def g(x) = x * secret\ndef f(secret) = g(secret)\nterm t = f(l1())") == ["NAM001"]


def test_the_prelude_does_not_see_the_program() -> None:
    """`photometric` calls `mix`, `l1` and `ssim_loss`; names of the program change nothing in it."""
    text = "let a = 5\nlet w = 100\nlet delta = 7\ndef my_mix(a, b, w) = 0\nterm t = photometric() + huber()"
    program, found = analyse(Source(text))
    assert [d.code for d in found] == ["USE003"] * 3
    assert program is not None
    plain, _ = analyse(Source("term t = photometric() + huber()"))
    assert plain is not None
    ops = [[(e.op, str(e.value)) for e in p.terms[0].value.walk()] for p in (program, plain)]
    assert ops[0] == ops[1]


def test_the_helper_of_the_prelude_is_its_own() -> None:
    assert codes('term t = mean(_field(state, "scales"))') != []
    assert codes("def _field(x, y) = mean(x) + y\nterm t = _field(alpha, 1) + opacity_reg(state)") == []


def test_values_and_functions_have_separate_names() -> None:
    assert codes("param opacity_reg = 0.01\nlet l1 = 2\nterm l2 = opacity_reg * opacity_reg(state) + l1 * l1()") == []


@pytest.mark.parametrize("name", ["rendered", "mask", "depth", "state", "step", "masked", "everywhere", "progress"])
@pytest.mark.parametrize("declaration", ["let {} = 2", "param {} = 2"])
def test_fixed_inputs_cannot_be_declared(name: str, declaration: str) -> None:
    assert codes(f"{declaration.format(name)}\nterm t = l1()") == ["NAM005"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("term t = l1()\nterm t = l2()", "NAM004"),
        ("def f(x) = x\ndef f(y) = y\nterm t = f(l1())", "NAM004"),
        ("def f(x, x) = x\nterm t = f(l1(), 2)", "NAM004"),
        ("def f(x=1, y) = x\nterm t = l1()", "TYP006"),
        ("def f(x, y=2) = x * y\nterm t = f()", "TYP006"),
        ("def f(x, y=2) = x * y\nterm t = f(l1(), 2, 3)", "TYP006"),
        ("def f(x, y=2) = x * y\nterm t = f(l1(), z=3)", "NAM006"),
        ("def f(x, y=2) = x * y\nterm t = f(l1(), x=3)", "NAM006"),
    ],
)
def test_wrong_definitions_and_calls(text: str, code: str) -> None:
    assert codes(text) == [code]


def test_a_mistake_inside_the_prelude_is_shown_at_the_call() -> None:
    for text in (
        "term t = photometric(visible)",
        "let x = 1\nterm t = scale_reg(state, masked)",
        "term t = reg(alpha)",
    ):
        found = only(text)
        assert found.source.name == "<loss>"
        assert found.line == text.count("\n") + 1


def test_a_mistake_inside_a_definition_is_shown_there_with_the_call() -> None:
    found = only("def f(x) = mean(x * state.scales)\nterm t = f(alpha)")
    assert (found.code, found.line) == ("TYP003", 1)
    assert [label.text for label in found.labels if "called here" in label.text] == ["`f` is called here"]


def test_a_wrong_argument_is_shown_where_it_is_written() -> None:
    found = only("def f(x) = mean(x)\nterm t = f(5)")
    assert (found.code, found.line, found.column) == ("TYP001", 2, 12)


# Programs without terms, expressions on their own


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["SYN051"]),
        ("# only a comment\n", ["SYN051"]),
        ('"""Doc."""', ["SYN051"]),
        ("param w = 1", ["SYN051"]),
        ("l1()", []),
        ("l1() when after(step, 5)", []),
        ("param w = 1\nw * l1()", []),
        ("l1()\nl2()", ["SYN052"]),
        ("term a = l1()\nl2()", ["SYN052"]),
        ("l2()\nterm a = l1()", ["SYN052"]),
    ],
)
def test_shape_of_a_program(text: str, expected: list[str]) -> None:
    assert codes(text) == expected


# Conditions and schedules


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("after(step, 5)", None),
        ("step > 5 and step < 10 or step == 20", None),
        ("not every(step, 10)", None),
        ("on", None),
        ("progress >= 0.5", None),
        ("true", None),
        ("step", "TYP001"),
        ("5", "TYP001"),
        ("masked", "TYP005"),
        ("mean(alpha) > 0.5", "TYP005"),
        ("alpha > 0.5", "TYP005"),
        ("state", "TYP005"),
        ("false", "SCH002"),
        ("step < 0", "SCH002"),
        ("progress >= 1", "SCH002"),
        ("between(step, 9, 5)", "SCH002"),
        ("between(step, 5, 5)", "SCH002"),
        ("not after(step, 0)", "SCH002"),
        ("nothing", "NAM001"),
    ],
)
def test_when(condition: str, code: str | None) -> None:
    assert codes(f"param on: flag = true\nterm t = l1() when {condition}") == ([code] if code else [])


@pytest.mark.parametrize(
    ("condition", "max_steps", "never"),
    [
        ("after(step, 1000)", 1000, True),
        ("after(step, 999)", 1000, False),
        ("step > 5000", 1000, True),
        ("before(step, 10)", 1000, False),
        ("after(step, max_steps)", 1000, True),
        ("after(step, start)", 500, True),
        ("after(step, start)", 700, False),
        ("after(step, 1000)", None, False),
    ],
)
def test_never_inside_the_run(condition: str, max_steps: int | None, never: bool) -> None:
    found = check(f"param start: steps = 600\nterm t = l1() when {condition}", max_steps=max_steps)
    assert [d.code for d in found] == (["SCH002"] if never else [])
    assert all(d.severity is Severity.WARNING for d in found), "the rest of the program can still be trained"


@pytest.mark.parametrize(
    ("schedule", "code"),
    [
        ("ramp(step, 500, 500)", "SCH001"),
        ("ramp(step, 900, 500)", "SCH003"),
        ("ramp(step, -5)", "SCH003"),
        ("ramp(step, 0)", "SCH001"),
        ("piecewise(step, (5, 1), (5, 2))", "SCH003"),
        ("linear(step, 0, 1, over=0)", "RNG003"),
        ("loglinear(step, 1, 0, over=5)", "RNG003"),
        ("every(step, 0)", "RNG003"),
        ("every(step, 5, offset=-1)", "RNG003"),
        ("linear(step, 0, 1)", "TYP006"),
        ("cosine(alpha, 0, 1, over=5)", "TYP005"),
    ],
)
def test_schedules(schedule: str, code: str) -> None:
    assert codes(f"term t = {schedule} * l1()") == [code]


# What renderer and data supply


def test_buffers_that_the_renderer_has_not() -> None:
    found = only("term t = l1()\nterm d = mean(depth)", renderer_buffers=frozenset({"rendered", "alpha"}))
    assert (found.code, found.line) == ("BUF001", 2)
    assert "`d`" in found.message
    assert codes("term d = mean(depth)", renderer_buffers=frozenset({"rendered", "depth"})) == []
    assert codes("term d = mean(depth.accumulated)", renderer_buffers=frozenset({"rendered", "depth"})) == ["BUF001"]


def test_fields_that_the_data_has_not() -> None:
    target = frozenset({"target"})
    assert codes("term t = l1(mask > 0.5)", data_fields=target) == ["BUF002"]
    assert codes("term t = l1(masked)", data_fields=target) == []
    assert codes("term t = l1()", data_fields=frozenset()) == ["BUF002"]


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("param w = 0\nterm t = l1()\nterm d = w * mean(depth)", {}),
        ("param w = 1\nterm t = l1()\nterm d = w * mean(depth)", {"w": 0}),
        ("param w = 0\nterm t = l1() + w * mean(depth)", {}),
        ("param w = 0\nterm t = l1() - mean(w * depth * 3)", {}),
        ("param w = 0\nterm t = l1() + (w * mean(depth) if after(step, 3) else 0)", {}),
        ("param on: flag = false\nterm t = l1() + on * mean(depth)", {}),
        ("param w = 0\nterm t = mix(l1(), mean(depth), w)", {}),
    ],
)
def test_what_is_zero_asks_for_nothing(text: str, params: dict[str, float]) -> None:
    assert codes(text, params=params, renderer_buffers=frozenset({"rendered"})) == []


def test_what_is_not_zero_asks_all_the_same() -> None:
    text = "param w = 0\nterm t = w + mean(depth) + w * l1()"
    assert codes(text, renderer_buffers=frozenset({"rendered"})) == ["BUF001"]
    program, _ = analyse(Source(text))
    assert program is not None
    assert not Zeros({"w": 0.0}).is_zero(program.terms[0].value)
    assert Zeros({"w": 0.0}).inputs(program.terms[0].value) == {"depth", "everywhere"}
