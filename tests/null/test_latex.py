"""Equations: well formed for LaTeX, and right in what they say."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from splatdsl.dsl.api import analyse
from splatdsl.dsl.latex import latex
from splatdsl.dsl.source import Source

ROOT = Path(__file__).resolve().parents[2]

PROGRAMS = {
    "schedules": """
param normal_weight = 0.05 >= 0
param beta = 2
param start_at: steps = 7_000
term ramped = ramp(step, 100) * ramp(step, start_at, 9_000) * l1(masked)
term moved = linear(step, 1, 0, over=50, start=10) * loglinear(step, 2, 0.01, over=max_steps) * l2()
term curved = cosine(step, 0.3, 0.1, over=40) * expdecay(step, 1e-3) * l1()
term points = piecewise(step, (10, 0), (20, 0.5), (30, 0.5)) * piecewise(step, (0, 1), (5, 2), interp="step") * l1()
term gated = -normal_weight / beta * mean(alpha) when between(step, 5, 50) and every(step, 10) or not after(step, 3)
term chosen = (2 if progress < 0.5 else 1) * l1()
""",
    "values": """
param lambda_x = 0.1
param x_weight = 0.2
let near = state.scales.x
def disparity(d) = 1 / max(d, 1e-3)
term a_b = 0.1 * mean(abs(disparity(depth) - disparity(depth.accumulated / max(alpha, 1e-6))), masked and alpha > 0.5)
term q = lambda_x * mean(near * state.opacities, visible) + x_weight * l1() - 3 * mean(sq(state.shN))
term hub = huber(alpha, alpha ^ 2, unmasked, delta=0.1)
term pick = mean(where(alpha > 0.5, alpha, 1 - alpha) * (rendered.r - target.r), not (alpha > 0.1))
term s = 1 - ssim(masked, padding="valid")
""",
    "records": """
input mono: depth[inverse, relative]?
input near: view?
memory ema_x = 0 then 0.9 * ema_x + 0.1 * l1(masked)
term one.depth = pearson_loss(1 / max(depth, 1e-3), mono, masked) when has(mono)
term one.near = l1(near.rendered, near.target) when has(near, near.target)
term two.slow = abs(l1(masked) - ema_x)
""",
}


def _latex(text: str, max_steps: int | None = None) -> str:
    program, found = analyse(Source(text), None, max_steps)
    assert program is not None, found
    return latex(program, max_steps)


def _examples() -> list[str]:
    return sorted(p.read_text(encoding="utf-8") for p in (ROOT / "examples" / "losses").glob("*.loss"))


ALL = [*PROGRAMS.values(), *_examples()]


def _equations(document: str) -> str:
    return "\n".join(line for line in document.splitlines() if not line.startswith("%"))


@pytest.mark.parametrize("program", ALL)
def test_brackets_environments_and_columns_balance(program: str) -> None:
    text = _equations(_latex(program))
    bare = re.sub(r"\\[{}\\_&%#$]", "", text)
    depth = 0
    for c in bare:
        depth += (c == "{") - (c == "}")
        assert depth >= 0
    assert depth == 0
    assert text.count(r"\left") == text.count(r"\right")
    stack: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert stack == []
    inner = re.sub(r"\\begin\{cases\}.*\\end\{cases\}", "", text)
    for line in inner.splitlines()[1:-1]:
        assert line.count("&") == 1, line


@pytest.mark.parametrize("program", ALL)
def test_matplotlib_reads_what_it_knows_of_each_equation(program: str) -> None:
    mathtext = pytest.importorskip("matplotlib.mathtext")
    parser = mathtext.MathTextParser("path")
    text = _equations(_latex(program))
    read = 0
    for line in text.splitlines()[1:-1]:
        if "cases" in line:
            continue
        formula = line.removesuffix(r" \\").replace(r"&\quad", "").replace("&", "")
        for theirs, ours in ((r"\lVert", r"\Vert"), (r"\rVert", r"\Vert"), (r"\tfrac", r"\frac"), (r"\lvert", "|")):
            formula = formula.replace(theirs, ours)
        formula = re.sub(r"\\(left|right)(?=\W)", r"\\\1", formula).replace(r"\rvert", "|")
        formula = formula.replace(r"\text", r"\mathrm").replace(r"\boldsymbol", r"\mathbf")
        parser.parse(f"${formula}$")
        read += 1
    assert read


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs a LaTeX")
def test_plain_latex_with_amsmath_compiles_all(tmp_path: Path) -> None:
    body = "\n\n".join(_latex(program) for program in ALL)
    document = f"\\documentclass{{article}}\\usepackage{{amsmath}}\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (tmp_path / "a.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


@pytest.mark.parametrize(
    ("program", "equation"),
    [
        ("l1()", r"\mathcal{L} &= \mathcal{L}_{1}\left( I, \hat{I} \right)"),
        ("opacity_reg(state)", r"\mathcal{L} &= \frac{1}{N} \sum_{i = 1}^{N} o_{i}"),
        ("scale_reg(state)", r"\mathcal{L} &= \frac{1}{3 N} \sum_{i = 1}^{N} \lVert \mathbf{s}_{i} \rVert_1"),
        ("mean(alpha)", r"\mathcal{L} &= \frac{1}{\lvert \Omega \rvert} \sum_{p \in \Omega} A_{p}"),
        (
            "mean(alpha, masked)",
            r"\mathcal{L} &= \frac{\sum_{p \in \Omega} M_{p} \, A_{p}}{\sum_{p \in \Omega} M_{p}}",
        ),
        (
            "mean(depth, alpha > 0.5)",
            r"\mathcal{L} &= \frac{1}{\lvert \{ p : A_{p} > 0.5 \} \rvert} \sum_{p \,:\, A_{p} > 0.5} D_{p}",
        ),
        ("1 - ssim(masked)", r"\mathcal{L} &= 1 - \operatorname{SSIM}\left( I, \hat{I};\, M \right)"),
        (
            "param ssim_weight = 0.2\nphotometric(masked, ssim_weight=ssim_weight)",
            r"\left( 1 - \lambda_{\mathrm{ssim}} \right) \, \mathcal{L}_{1}",
        ),
        ("term a_b = l1()\nterm c = l2()", r"\mathcal{L} &= \mathcal{L}_{\mathrm{a\_b}} + \mathcal{L}_{\mathrm{c}}"),
        ("ramp(step, 100) * l1()", r"\begin{cases} t / 100 & \text{if } t < 100 \\ 1 & \text{otherwise} \end{cases}"),
        ("loglinear(step, 1, 0.01, over=max_steps) * l1()", r"w_{1}(t) &= {0.01}^{t / T}"),
        ("term a = l1() when after(step, 5)\nterm b = l2()", r"\begin{cases} 1 & \text{if } t \ge 5 \\ 0"),
    ],
)
def test_equations(program: str, equation: str) -> None:
    assert equation in _latex(program)


def test_a_loss_of_normals_names_normals() -> None:
    text = _latex("normal_consistency(masked)")
    assert r"\left( \mathbf{n}, \mathbf{n}^{D};\, M \right)" in text
    assert r"\hat{I}" not in text


def test_a_definition_without_parameters_has_no_brackets() -> None:
    text = _latex("def photo() = l1(masked)\nterm a = 2 * photo()")
    assert r"\mathrm{photo} &=" in text
    assert r"\left(  \right)" not in text


def test_a_memory_is_defined_by_its_value_one_step_before() -> None:
    text = _latex(
        "memory level = 0.5 then 0.9 * level + alpha_mean when after(step, 9)\n"
        "let alpha_mean = mean(alpha)\nterm a = mean(alpha) / max(level, 0.1)"
    )
    assert r"\max\left( \mathrm{level}_{t}, 0.1 \right)" in text
    assert r"\mathrm{level}_{t} &= \begin{cases} 0.9 \, \mathrm{level}_{t - 1} +" in text
    assert r"& \text{if } t \ge 9 \\ \mathrm{level}_{t - 1} & \text{otherwise}" in text
    assert r"\mathrm{level}_{-1} &= 0.5" in text


def test_no_two_parameters_share_a_symbol() -> None:
    text = _latex("param lambda_x = 1\nparam x_weight = 2\nterm a = lambda_x * l1()\nterm b = x_weight * l2()")
    assert r"\lambda_{\mathrm{x}} \, \mathcal{L}_{\mathrm{a}}" in text
    assert r"\mathrm{x\_weight} \, \mathcal{L}_{\mathrm{b}}" in text


def test_terms_that_are_off_are_named_in_a_comment_only() -> None:
    text = _latex("param w = 0\nterm a = w * mean(depth)\nterm b = l1()")
    assert "% term a is 0, as w is" in text
    assert "D" not in _equations(text)


def test_the_command_keeps_findings_out_of_the_equations(run_cli, write) -> None:
    path = write("a.loss", "term a = ramp(step, 0) * l1()\nterm b = l1()")
    done = run_cli("explain", "a.loss", "--latex", cwd=path.parent)
    assert done.returncode == 0
    assert done.stdout.startswith("% a.loss")
    assert "SCH001" in done.stderr
    assert done.stdout.endswith("\\end{align}\n")


@pytest.mark.slow
def test_every_program_of_the_corpus_has_equations() -> None:
    paths = sorted((ROOT / "tests" / "corpus").rglob("*.loss"))
    written = 0
    for path in paths:
        program, _ = analyse(Source(path.read_text(encoding="utf-8"), str(path)), None, 30_000)
        if program is None:  # a library for `use`, or a mistake on purpose
            continue
        text = _equations(latex(program, 30_000))
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}"), path
        assert not re.search(r"_\{[a-z]\}_|\^\{[^{}]*\}\^", text), path
        written += 1
    assert written >= len(paths) // 2
