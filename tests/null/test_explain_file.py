"""``splatdsl explain FILE``: what the records say, and what the command prints around them."""

from __future__ import annotations

import json

import pytest

from splatdsl.dsl.api import analyse
from splatdsl.dsl.diagnostics import Sink
from splatdsl.dsl.formula import View, expression_text, text
from splatdsl.dsl.objective import Objective, Part, objective
from splatdsl.dsl.parse import parse_expression
from splatdsl.dsl.source import Source

EVERYTHING = ("means", "scales", "quats", "opacities", "sh0", "shN")
GEOMETRY = EVERYTHING[:4]


def _explained(program: str, max_steps: int | None = None, **params: object) -> Objective:
    typed, found = analyse(Source(program), params, max_steps)
    assert typed is not None, found
    return objective(typed, max_steps)


def _part(expression: str, before: str = "") -> Part:
    parts = _explained(f"{before}\nterm a = {expression}").terms[0].parts
    assert len(parts) == 1
    return parts[0]


@pytest.mark.parametrize(
    "formula",
    [
        "a + b - (c - d) * -e",
        "(a + b)^2 / c^-d",
        "-(a * b)^2",
        "(-a)^2",
        "a if b and not c or d else e if f else g",
        "(a if b else c) * d",
        "f(a, (1, 2), k=3)",
        "not (a and b) or c",
        "(a < b) == c",
        "state.scales.x * 7_000",
        'f("log", true, inf)',
        "sum(f(p) for p in items)",
    ],
)
def test_formulas_read_back_as_what_they_were(formula: str) -> None:
    sink = Sink()
    node = parse_expression(Source(formula), sink)
    assert node is not None, sink.items
    assert text(View(node)) == formula


@pytest.mark.parametrize(
    ("expression", "weight", "core"),
    [
        ("0.5 * l1(masked)", "0.5", "l1(masked)"),
        ("l1(masked) * 0.5", "0.5", "l1(masked)"),
        ("-2 * (reg(state) / 4)", "-2 / 4", "reg(state)"),
        ("-(-l1())", "1", "l1()"),
        ("w * (k * l1())", "w * k", "l1()"),
        ("twice(masked)", "2", "l1(masked)"),
        ("w * photo", "w", "photo"),
        ("photo", "1", "mix(l1(masked), ssim_loss(masked), w)"),
        ("scaled", "0.25", "l1(masked)"),
        ("photometric(masked, ssim_weight=0)", "1", "l1(rendered, target, masked)"),
        ("l1() + zero * l2()", "1", "l1()"),
        ("ramp(step, 100) * 1 * reg(state)", "ramp(step, 100)", "reg(state)"),
        ("(2 if after(step, 5) else 1) * l1()", "(2 if after(step, 5) else 1)", "l1()"),
    ],
)
def test_a_term_is_a_weight_times_a_value(expression: str, weight: str, core: str) -> None:
    before = """param w = 0.3
param k = 2
param zero = 0
def twice(r) = 2 * l1(r)
let photo = mix(l1(masked), ssim_loss(masked), w)
let scaled = 0.25 * l1(masked)"""
    part = _part(expression, before)
    assert (part.weight.formula, part.core) == (weight, core)


def test_a_sum_is_its_summands_with_their_signs() -> None:
    parts = _explained("0.8 * l1() - 0.2 * (scale_reg(state) + 3 * reg(state))").terms[0].parts
    assert [p.formula for p in parts] == ["0.8 * l1()", "-0.2 * scale_reg(state)", "-0.2 * 3 * reg(state)"]
    assert [p.weight.constant for p in parts] == pytest.approx([0.8, -0.2, -0.6])


def test_operands_that_a_loss_takes_by_default_are_shown() -> None:
    assert _part("l1(masked)").full == "l1(rendered, target, masked)"
    assert _part("l1()").full == "l1(rendered, target)"
    assert _part('ssim_loss(padding="valid")').full == 'ssim_loss(rendered, target, padding="valid")'


@pytest.mark.parametrize(
    ("expression", "gradient"),
    [
        ("l1(masked)", EVERYTHING),
        ("mean(alpha)", GEOMETRY),
        ("mean(depth, alpha > 0.5)", GEOMETRY),
        ("l1(detach(rendered), target) + reg(state)", ("scales", "opacities")),
        ("mean(detach(alpha) * depth)", GEOMETRY),
        ("mean(state.log_scales)", ("scales",)),
        ("mean(state.opacity_logits)", ("opacities",)),
        ("mean(target)", ()),
        ("mean(where(alpha > 0.5, target, 0))", ()),
        ("mean(state.means, visible)", ("means",)),
    ],
)
def test_what_a_term_moves(expression: str, gradient: tuple[str, ...]) -> None:
    parts = _explained(expression).terms[0].parts
    assert set().union(*(p.gradient for p in parts)) == set(gradient)


def test_what_a_term_reads_and_where() -> None:
    part = _part("mean(abs(rendered - target) * alpha, masked and alpha > 0.5)")
    assert part.buffers == ("alpha", "rendered")
    assert part.fields == ("target",)
    assert part.optional == ("mask",)
    assert part.regions == ("masked and alpha > 0.5",)
    assert _part("mean(alpha, mask > 0.5)").fields == ("mask",)


def test_a_term_that_a_parameter_makes_0_reads_nothing_and_says_which() -> None:
    record = _explained("param w = 0\nterm a = w * mean(depth)\nterm b = l1()")
    assert (record.terms[0].off, record.terms[0].parts) == (("w",), ())
    assert _explained("param w = 0\nterm a = w * mean(depth)\nterm b = l1()", w=0.5).terms[0].off == ()


def test_names_are_explained_once_in_the_order_of_the_text() -> None:
    record = _explained(
        "def twice(x) = 2 * x\nlet unused = 3\nlet b = twice(alpha)\nlet a = b + depth\nterm t = mean(a * b)"
    )
    assert record.where == ("twice(x) = 2 * x", "b = twice(alpha)", "a = b + depth")


def test_values_without_a_text_are_printed_from_what_they_are() -> None:
    typed, _ = analyse(Source("l1(masked)"))
    assert typed is not None
    assert expression_text(typed.terms[0].value) == "mean(abs(rendered - target), masked)"


def test_definitions_that_double_their_argument_do_not_double_the_text() -> None:
    """Each of a hundred definitions reads its argument twice: printed in full that would be 2^100 pieces."""
    lines = ["def f0(x) = mean(x)"]
    lines += [f"def f{i}(x) = 2 * f{i - 1}(x + x)" for i in range(1, 40)]
    record = _explained("\n".join([*lines, "term a = f39(alpha)"]))
    part = record.terms[0].parts[0]
    assert part.weight.constant == 2.0**39
    assert len(part.core) < 200_000


def test_values_made_of_a_thousand_others_are_cut_not_a_crash(run_cli, write) -> None:
    lets = ["let m0 = masked", *(f"let m{i} = alpha > 0.{i} or m{i - 1}" for i in range(1, 600))]
    path = write("deep.loss", [*lets, "term a = l1(m599)", "term b = l1(" + " and ".join(["masked"] * 900) + ")"])
    for way in ([], ["--latex"], ["--format", "json"]):
        done = run_cli("explain", "deep.loss", *way, cwd=path.parent)
        assert done.returncode == 0, done.stderr[-500:]
        assert "..." in done.stdout or "ldots" in done.stdout


def test_a_long_sum_is_explained_in_one_line_a_summand(run_cli, write) -> None:
    path = write("long.loss", "term a = " + "\n  + ".join(f"{i}.5 * l1()" for i in range(1, 400)))
    done = run_cli("explain", path.name, cwd=path.parent)
    assert done.returncode == 0
    assert done.stdout.count("* l1()\n") >= 399


def test_json_is_complete_and_the_same_every_time(run_cli, write) -> None:
    path = write("a.loss", "param w = 0.1 >= 0\nlet p = l1(masked)\nterm a = w * p when after(step, 10)")
    first = run_cli("explain", "a.loss", "--format", "json", "--steps", "50", cwd=path.parent)
    again = run_cli("explain", "a.loss", "--format", "json", "--steps", "50", cwd=path.parent, PYTHONHASHSEED="7")
    assert first.stdout == again.stdout
    made = json.loads(first.stdout)
    term = made["objective"]["terms"][0]
    assert term["exists"]["spans"] == [[10, 50]]
    assert term["exists"]["steps"] == 40
    assert term["parts"][0]["weight"]["constant"] == 0.1
    assert made["objective"]["where"] == ["p = l1(masked)"]
    assert made["objective"]["params"][0]["origin"] == "default"


def test_findings_come_first_and_an_error_leaves_no_objective(run_cli, write) -> None:
    path = write("a.loss", "term a = l1(maskd)\nterm b = l1()")
    done = run_cli("explain", "a.loss", cwd=path.parent)
    assert done.returncode == 1
    assert done.stdout.startswith("error[NAM001")
    assert "loss =" not in done.stdout
    made = json.loads(run_cli("explain", "a.loss", "--format", "json", cwd=path.parent).stdout)
    assert made["objective"] is None
    assert [f["code"] for f in made["findings"]] == ["NAM001"]
    write("b.loss", "term a = ramp(step, 0) * l1()\nterm b = l1()")
    done = run_cli("explain", "b.loss", cwd=path.parent)
    assert done.returncode == 0
    assert 0 <= done.stdout.index("warning[SCH001") < done.stdout.index("loss =")


def test_a_config_says_where_each_value_is_from(run_cli, write) -> None:
    path = write(
        "run.yaml",
        "loss: |\n  param w = 0.1\n  term a = w * l1()\nloss_params: {w: 0.2}\ndata: {kind: synthetic}\n",
    )
    done = run_cli("explain", "run.yaml", "--set", "train.max_steps=70", cwd=path.parent)
    assert done.returncode == 0, done.stdout
    assert "run.yaml:4, default 0.1" in done.stdout
    assert "train.max_steps  70         --set" in done.stdout
    done = run_cli("explain", "run.yaml", "--steps", "70", "--set", "loss_params.w=0.4", cwd=path.parent)
    assert "w  = 0.4    --set, default 0.1" in " ".join(done.stdout.split("\n"))


def test_a_program_comes_from_standard_input(run_cli) -> None:
    done = run_cli("explain", "-", stdin="0.8*l1(masked)")
    assert done.returncode == 0
    assert "loss = 0.8 * l1(masked)" in done.stdout


def test_colour_only_where_it_is_wanted(run_cli, write) -> None:
    path = write("a.loss", "l1()")
    assert "\x1b" not in run_cli("explain", "a.loss", cwd=path.parent).stdout
    assert "\x1b" in run_cli("explain", "a.loss", cwd=path.parent, FORCE_COLOR="1").stdout


@pytest.mark.parametrize(
    "arguments",
    [("a.txt",), ("a.loss", "--latex", "--format", "json"), ("a.loss", "--steps", "0"), ("NAM001", "--steps", "5")],
)
def test_mistakes_on_the_command_line(run_cli, write, arguments: tuple[str, ...]) -> None:
    folder = write("a.loss", "l1()").parent
    write("a.txt", "l1()")
    done = run_cli("explain", *arguments, cwd=folder)
    assert done.returncode == 2
    assert "Error" in done.stderr


def test_explain_needs_no_torch(run_python, write) -> None:
    path = write("a.loss", "l1()")
    code = (
        "import sys; from splatdsl.cli.main import main; "
        f"assert main(['explain', {str(path)!r}]) == 0; assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
