"""``splatdsl plot``: what is drawn, and that pictures come out."""

from __future__ import annotations

import re

import pytest

from splatdsl.cli.plot_chart import Chart, chart
from splatdsl.cli.plot_terminal import drawing
from splatdsl.dsl.api import analyse
from splatdsl.dsl.objective import objective
from splatdsl.dsl.source import Source

PROGRAM = """
param w = 0.5
param off = 0
term photo = l1(masked)
term gap = w * l2() when between(step, 100, 200) or after(step, 400)
term sometimes = 0.25 * reg(state) when every(step, 10)
term fades = linear(step, 1, 0, over=500) * l1()
term unused = off * l1()
"""


def _chart(text: str, max_steps: int = 600) -> Chart:
    program, found = analyse(Source(text), None, max_steps)
    assert program is not None, found
    return chart(objective(program, max_steps), "a.loss", False)


def test_lines_leave_out_the_steps_without_their_term() -> None:
    made = _chart(PROGRAM)
    by_label = {s.label: s for s in made.series}
    assert list(by_label) == ["photo", "gap", "sometimes", "fades"]
    gap = by_label["gap"].segments
    assert [(s[0][0], s[-1][0]) for s in gap] == [(100, 199), (400, 599)]
    assert {v for s in gap for _, v in s} == {0.5}
    assert by_label["sometimes"].gates == "every 10 steps"
    assert (0, 1.0) in by_label["fades"].segments[0]
    assert (500, 0.0) in by_label["fades"].segments[0]
    assert made.notes == ("unused: not computed, as off is 0",)
    assert made.params == ("w = 0.5", "off = 0")


def test_parts_of_a_sum_are_lines_of_their_own() -> None:
    assert [s.label for s in _chart("0.8 * l1(masked) + 0.2 * reg(state)").series] == ["l1(masked)", "reg(state)"]


@pytest.mark.parametrize(
    ("program", "log"),
    [
        ("term a = l1()\nterm b = 0.5 * l2()", False),
        ("term a = l1()\nterm b = 0.002 * l2()", True),
        ("ramp(step, 100) * l1()", False),
        ("loglinear(step, 1, 0.001, over=max_steps) * l1()", True),
        ("term a = l1()\nterm b = -0.001 * reg(state)", False),
    ],
)
def test_the_scale_is_logarithmic_where_weights_differ_by_much(program: str, log: bool) -> None:
    made = _chart(program)
    assert made.log is log
    assert made.low < made.high
    values = [v for s in made.series for v in s.values]
    assert max(values) <= made.high
    assert made.low <= min(v for v in values if v > 0 or not log)


def test_a_drawing_fits_its_width_and_shows_every_line() -> None:
    for width in (30, 80, 200):
        for color, unicode in ((False, False), (False, True), (True, True)):
            text = drawing(_chart(PROGRAM), width, color, unicode)
            plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
            assert ("\x1b" in text) is color
            assert plain.isascii() is not unicode
            axes = [line for line in plain.splitlines() if "│" in line or "|" in line]
            assert len(axes) == 14
            assert all(len(line) <= min(max(width, 30), 160) for line in axes)
            assert all(f"  {label}" in plain for label in ("photo", "gap", "sometimes", "fades"))
            if color:
                assert len(set(re.findall(r"38;5;\d+", text))) == 4


def test_letters_stand_where_the_values_are() -> None:
    text = drawing(_chart("term a = l1()\nterm b = 0.25 * l2()"), 60, False, False)
    rows = [line.partition("|") for line in text.splitlines()]
    held = {letter: [r for r, (_, bar, cells) in enumerate(rows) if bar and letter in cells] for letter in "ab"}
    assert len(held["a"]) == len(held["b"]) == 1
    assert held["a"] < held["b"]
    assert rows[held["a"][0]][0].strip() == "1"


def test_an_empty_chart_says_so() -> None:
    made = _chart("param w = 0\nterm a = w * l1()")
    assert "no weights to draw" in drawing(made, 80, False, False)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_pictures(run_cli, write, ending: str) -> None:
    pytest.importorskip("matplotlib")
    path = write("a.loss", PROGRAM)
    for name in ("one", "two"):
        done = run_cli("plot", "a.loss", "-o", f"{name}.{ending}", "--steps", "600", cwd=path.parent)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"wrote {name}.{ending}\n"
        assert "not drawn: unused" in done.stderr
    one, two = ((path.parent / f"{name}.{ending}").read_bytes() for name in ("one", "two"))
    assert one == two
    assert one.startswith({"png": b"\x89PNG", "svg": b"<?xml"}[ending])
    assert len(one) > 10_000


def test_without_matplotlib_a_picture_names_the_extra_and_the_terminal_still_draws(run_python, write) -> None:
    path = write("a.loss", PROGRAM)
    block = "import sys; sys.modules['matplotlib'] = None; from splatdsl.cli.main import main; sys.exit(main({}))"
    done = run_python("-c", block.format(["plot", "a.loss", "-o", "a.png"]), cwd=path.parent)
    assert done.returncode == 1
    assert "splatdsl[plot]" in done.stderr
    hidden = (
        "import sys, importlib.util as u; f = u.find_spec; "
        "u.find_spec = lambda n, *a: None if n == 'matplotlib' else f(n, *a); "
        "from splatdsl.cli.main import main; sys.exit(main(['plot', 'a.loss']))"
    )
    done = run_python("-c", hidden, cwd=path.parent)
    assert done.returncode == 0, done.stderr
    assert "aaa" in done.stdout


def test_a_picture_that_cannot_be_written_is_no_crash(run_cli, write) -> None:
    pytest.importorskip("matplotlib")
    path = write("a.loss", "l1()")
    done = run_cli("plot", "a.loss", "-o", "nowhere/a.png", cwd=path.parent)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr


def test_a_program_with_an_error_is_not_drawn(run_cli, write) -> None:
    path = write("a.loss", "l1(maskd)")
    done = run_cli("plot", "a.loss", "--terminal", cwd=path.parent)
    assert done.returncode == 1
    assert "NAM001" in done.stderr
    assert done.stdout == ""
