"""Comments that suppress findings, and findings about such comments."""

from __future__ import annotations

from pathlib import Path

import pytest

from splatdsl.cli import main as entry
from splatdsl.cli.check import Options, Run
from splatdsl.cli.check_input import Input
from splatdsl.dsl.api import check_text
from splatdsl.dsl.codes.suppression import CODES
from splatdsl.dsl.diagnostics import Applicability, Diagnostic
from splatdsl.dsl.fixes import fix_text
from splatdsl.dsl.settings import Settings
from splatdsl.dsl.settings_select import suppressible
from splatdsl.dsl.source import Source
from splatdsl.dsl.suppress import additions, apply

GOOD = "term colour = l1(masked)\n"


def check(text: str) -> list[Diagnostic]:
    """What the command line finds in a program."""
    return Run(Options()).check(Input("a.loss", "a.loss", b"", text), text, Settings())


def codes(text: str) -> list[str]:
    return [d.code for d in check(text)]


def fixed(text: str) -> str:
    outcome = fix_text(text, "a.loss", check, unsafe=False)
    assert outcome.problems == []
    return outcome.text


@pytest.mark.parametrize("code", CODES, ids=lambda c: c.id)
def test_the_examples_of_a_code(code) -> None:
    assert codes(code.bad) == [code.id]
    assert codes(code.good) == []
    (found,) = check(code.bad)
    assert [f.applicability for f in found.fixes] == [Applicability.SAFE]


def test_the_program_without_comments_has_findings() -> None:
    """What the tests below suppress is found without the comments."""
    assert codes("param w = 0.2\n" + GOOD) == ["USE001"]
    assert codes(GOOD + "term size = ramp(step, 5, 5) * reg(state)\n") == ["SCH001"]


@pytest.mark.parametrize(
    "text",
    [
        "param w = 0.2  # splat: ignore[USE001]\n",
        "param w = 0.2  # splat: ignore[unused-param]\n",
        "param w = 0.2  # splat: ignore[ use001 ]\n",
        "param w = 0.2#splat:ignore[USE001]\n",
        "param w = 0.2  # splat: ignore[USE001] kept for old configs\n",
        "param w = 0.2  # kept for old configs # splat: ignore[USE001]\n",
        "# splat: ignore[USE001]\nparam w = 0.2\n",
        "# splat: ignore[USE001]\n\n# about w\nparam w = 0.2\n",
        "   # splat: ignore[USE001]\nparam w = 0.2\n",
        "# splat: disable[USE001]\nparam w = 0.2\n# splat: enable[USE001]\n",
        "# splat: disable[USE001]\nparam w = 0.2\n",
        "# splat: disable[USE001]\r\nparam w = 0.2\r\n# splat: enable[unused-param]\r\n",
        '"""A docstring with # splat: ignore[SCH001] in it."""\nparam w = 0.2  # splat: ignore[USE001]\n',
    ],
)
def test_suppressed(text: str) -> None:
    assert codes(text + GOOD) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("param w = 0.2  # splat: ignore[SCH001]\n", ["USE001"]),  # SCH001 is judged only where steps are known
        ("param w = 0.2  # splat: ignore[USE003]\n", ["SUP001", "USE001"]),
        ("# splat: ignore[USE001]\nlet x = 1\nparam w = 0.2\n", ["SUP001", "USE003", "USE001"]),
        ("# splat: disable[USE001]\n# splat: enable[USE001]\nparam w = 0.2\n", ["SUP001", "USE001"]),
        ("param w = 0.2  # noqa\n", ["USE001"]),
        ("param w = 0.2  # a splat: the gaussian\n", ["USE001"]),
        ("param w = 0.2  # splat: a sentence\n", ["USE001"]),
        ("param w = 0.2  # splat: ignore\n", ["USE001", "SUP003"]),
        ("param w = 0.2  # splat: ignore[]\n", ["USE001", "SUP003"]),
    ],
)
def test_not_suppressed(text: str, expected: list[str]) -> None:
    found = codes(text + GOOD)
    assert sorted(found) == sorted(expected)


MANY = "term size = (\n    ramp(step, 5, 5){first}\n    * ramp(step, 7, 7){second}\n    * reg(state)\n)\n"


def test_lines_of_a_statement() -> None:
    """On the first line the whole statement is meant; on another that line alone; between two lines the next one."""
    assert codes(GOOD + MANY.format(first="", second="")) == ["SCH001", "SCH001"]
    comment = "  # splat: ignore[SCH001]"
    assert codes(GOOD + MANY.format(first=comment, second="")) == ["SCH001"]
    assert codes(GOOD + MANY.format(first=comment, second=comment)) == []
    assert codes(GOOD + MANY.replace("(\n", f"({comment}\n", 1).format(first="", second="")) == []
    assert codes(GOOD + comment.strip() + "\n" + MANY.format(first="", second="")) == []
    between = MANY.replace("    * ramp", f"  {comment}\n    * ramp", 1)
    (left,) = check(GOOD + between.format(first="", second=""))
    assert (left.code, left.line) == ("SCH001", 3)


def test_blocks() -> None:
    ramp = "term {0} = ramp(step, 5, 5) * {0}_reg(state)\n"
    text = (
        GOOD
        + "# splat: disable[SCH001, USE001]\n"
        + ramp.format("scale")
        + "param v = 1\n"
        + "# splat: enable[SCH001]\n"
        + ramp.format("opacity")
        + "param w = 1\n"
        + "# splat: enable[USE001]\n"
        + "param x = 1\n"
    )
    assert [(d.code, d.line) for d in check(text)] == [("SCH001", 6), ("USE001", 9)]


def test_syntax_errors_and_errors_of_names_stay() -> None:
    assert "SYN005" in codes("term a = l1(masked  # splat: ignore[SYN005]\n")
    assert "NAM001" in codes("term a = l1(maskd)  # splat: ignore[NAM001]\n")
    assert "SUP006" in codes("term a = l1(maskd)  # splat: ignore[NAM001]\n")


def test_an_unused_comment_is_only_judged_where_its_code_could_be_found(write, cli) -> None:
    write("a.loss", "term a = l1(masked)  # splat: ignore[BUF001]\n")
    assert cli("check", "a.loss")[0] == 0, "which renderer it is for is not known"
    assert "SUP001" in cli("check", "a.loss", "--renderer", "gsplat")[1]
    write("b.loss", "term a = l1(masked)  # splat: ignore[USE001]\n")
    assert "SUP001" in cli("check", "b.loss")[1]
    assert cli("check", "b.loss", "--ignore", "USE001")[0] == 0, "the code is off"
    assert cli("check", "b.loss", "--ignore", "SUP")[0] == 0
    write("c.loss", "term a = l1(masked)  # splat: ignore[USE001]\nterm b = l1(masked\n")
    assert "SUP001" not in cli("check", "c.loss")[1], "more could be found if the program could be read"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("term a = l1(masked)  # splat: ignore[USE001]\n", "term a = l1(masked)\n"),
        ("term a = l1(masked)  # splat: ignore[USE001] why\n", "term a = l1(masked)  # why\n"),
        ("term a = l1(masked)  # why # splat: ignore[USE001]\n", "term a = l1(masked)  # why\n"),
        ("term a = l1(masked)  # splat: ignore[USE001] # why\n", "term a = l1(masked)  # why\n"),
        ("# splat: ignore[USE001]\nterm a = l1(masked)\n", "term a = l1(masked)\n"),
        ("term a = l1(masked)\n# splat: disable[USE001]", "term a = l1(masked)\n"),
        ("param w = 1  # splat: ignore[USE003, USE001]\n" + GOOD, "param w = 1  # splat: ignore[USE001]\n" + GOOD),
        ("param w = 1  # splat: ignore[USE001, USE003]\n" + GOOD, "param w = 1  # splat: ignore[USE001]\n" + GOOD),
        ("param w = 1  # splat: ignore[USE003, USE002, USE004]\n" + GOOD, "param w = 1\n" + GOOD),
        ("param w = 1  # splat: ignore[unused-parm]\n" + GOOD, "param w = 1  # splat: ignore[unused-param]\n" + GOOD),
        ("param w = 1  # splat: ignore[XYZ]\n" + GOOD, "param w = 1\n" + GOOD),
        ("param w = 1  # splat: ignroe[USE001]\n" + GOOD, "param w = 1  # splat: ignore[USE001]\n" + GOOD),
        ("param w = 1  # splat: ignore[USE001\n" + GOOD, "param w = 1  # splat: ignore[USE001]\n" + GOOD),
        ("param w = 1  # splat: ignore\n" + GOOD, "param w = 1  # splat: ignore[USE001]\n" + GOOD),
        ("param w = 1  # splat: ignore []\n" + GOOD, "param w = 1  # splat: ignore [USE001]\n" + GOOD),
        ("# splat: enable[USE001]\n" + GOOD, GOOD),
        ("term a = l1(masked)  # splat: ignore[SYN005]\r\n", "term a = l1(masked)\r\n"),
    ],
)
def test_fixes(before: str, after: str) -> None:
    if after.count("[USE001]") and "w = 1\n" in after:
        pytest.fail("the expected text has a finding")
    assert fixed(before) == after
    assert [c for c in codes(after) if c.startswith("SUP")] == []


def test_a_word_that_is_close_to_several_codes_is_left_alone() -> None:
    (found,) = [d for d in check("param w = 1  # splat: ignore[USE00]\n" + GOOD) if d.code == "SUP002"]
    assert found.fixes == ()
    assert found.help[0].startswith("did you mean `USE00")


def test_of_two_comments_that_cover_a_finding_one_is_unused() -> None:
    text = "# splat: disable[USE001]\nparam w = 1  # splat: ignore[USE001]\n" + GOOD
    assert [(d.code, d.line) for d in check(text)] == [("SUP001", 1)]
    assert fixed(text) == "param w = 1  # splat: ignore[USE001]\n" + GOOD


def test_a_comment_in_a_used_file_counts_there(write, cli) -> None:
    write("base.loss", "term size = ramp(step, 5, 5) * reg(state)  # splat: ignore[SCH001]\n" + GOOD)
    write("a.loss", 'use "base.loss" (size)\nterm other = l2(masked)\n')
    assert cli("check", "a.loss")[0] == 0
    assert "SCH001" not in cli("check", "a.loss", "base.loss")[1]


@pytest.mark.parametrize(
    "config",
    [
        "loss: |\n  param w = 1  # splat: ignore[USE001]\n  term a = l1(masked)\ndata: {kind: synthetic}\n",
        "loss: |  # splat: ignore[USE001]\n  param w = 1\n  term a = l1(masked)\ndata: {kind: synthetic}\n",
        "loss: |\n  # splat: ignore[USE001]\n  param w = 1\n  term a = l1(masked)\ndata: {kind: synthetic}\n",
    ],
)
def test_in_a_program_of_a_run_config(config: str, write, cli) -> None:
    write("run.yaml", config)
    assert cli("check", "run.yaml")[:2] == (0, "")
    write("bare.yaml", config.replace("splat:", "splat"))
    assert "USE001" in cli("check", "bare.yaml")[1]


def test_add_ignore(write, cli, tmp_path: Path) -> None:
    write("a.loss", "param w = 1  # why\nlet x = 2\r\n" + GOOD + MANY.format(first="", second=""))
    before = cli("check", "a.loss")
    status, out, err = cli("check", "a.loss", "--add-ignore")
    assert before[0] == 1
    assert (status, out, err) == (0, "", "suppressed 4 findings in 1 file; no findings in 1 file\n")
    lines = (tmp_path / "a.loss").read_bytes().split(b"\n")
    assert lines[0] == b"param w = 1  # why  # splat: ignore[USE001]"
    assert lines[1] == b"let x = 2  # splat: ignore[USE003]\r"
    assert lines[4] == b"    ramp(step, 5, 5)  # splat: ignore[SCH001]"
    assert cli("check", "a.loss") == (0, "", "no findings in 1 file\n")
    assert cli("check", "a.loss", "--add-ignore")[2] == "suppressed 0 findings in 0 files; no findings in 1 file\n"


def test_add_ignore_to_a_comment_that_is_there(write, cli, tmp_path: Path) -> None:
    write("a.loss", "term a = ramp(step, 5, 5) * reg(state) * linear(step, 1, 1, over=9)  # splat: ignore[SCH001] x\n")
    cli("check", "a.loss", "--add-ignore", "--select", "SCH")
    assert (tmp_path / "a.loss").read_text().endswith("  # splat: ignore[SCH001, SCH004] x\n")


def test_add_ignore_leaves_what_cannot_be_suppressed(write, cli, tmp_path: Path) -> None:
    text = "term a = l1(maskd)\n"
    write("a.loss", text)
    status, out, _ = cli("check", "a.loss", "--add-ignore")
    assert status == 1
    assert "NAM001" in out
    assert (tmp_path / "a.loss").read_text() == text


def test_a_finding_about_the_whole_file() -> None:
    source = Source(GOOD, "a.loss")
    code = "GRD006"
    assert suppressible(code)
    whole = Diagnostic(code, "something", source, None)
    (edit,) = additions(source, [whole])
    suppressed = Source(edit.text + GOOD, "a.loss")
    assert apply([Diagnostic(code, "something", suppressed, None)], suppressed) == []


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = entry.main(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_texts_without_such_comments_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splatdsl.dsl.suppress.Comments", None)
    assert codes(GOOD) == []
    assert [d.code for d in apply(check_text("param w = 1\n" + GOOD))] == ["USE001"]
