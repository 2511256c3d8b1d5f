"""Fixes: what they turn texts into, what they never do, and how they are shown and written."""

from __future__ import annotations

import ast as python
import os
import stat
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splatdsl.cli import main as entry
from splatdsl.dsl.api import check_text
from splatdsl.dsl.diagnostics import Applicability, Diagnostic, Edit, Fix, Sink
from splatdsl.dsl.fixes import Unwritable, changed, comments, count, fix_text, write
from splatdsl.dsl.parse import parse
from splatdsl.dsl.render import full
from splatdsl.dsl.source import Source, Span

_TEXT = Path(__file__).with_name("syntax_errors.txt").read_text(encoding="utf-8")
SNIPPETS = [python.literal_eval(entry.split("\n")[0]) for entry in _TEXT.rstrip("\n").split("\n\n")[1:]]

BAD = "term a = l1(masked & alpha > 0.5)  # and so on\n"
FIXED = "term a = l1(masked and alpha > 0.5)  # and so on\n"


def syntax(text: str) -> list[Diagnostic]:
    sink = Sink()
    parse(Source(text, "a.loss"), sink)
    return sink.sorted()


def repaired(text: str, unsafe: bool = False) -> str:
    outcome = fix_text(text, "a.loss", syntax, unsafe)
    assert outcome.problems == []
    return outcome.text


# Fixes of syntax errors


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BAD, FIXED),
        ("term a = l1(masked&mask)", "term a = l1(masked and mask)"),
        ("term a = l1(masked && mask || mask)", "term a = l1(masked and mask or mask)"),
        ("term a = l1(masked ∧ mask)", "term a = l1(masked and mask)"),
        ("term a = l1(~mask)", "term a = l1(not mask)"),
        ("term a = l1(masked and !mask)", "term a = l1(masked and not mask)"),
        ("term a = l1(~mask & ~masked)", "term a = l1(not mask and not masked)"),
        ("term a = 2 × l1() ÷ 3", "term a = 2 * l1() / 3"),
        ("term a = l1(alpha ≥ 0.5)", "term a = l1(alpha >= 0.5)"),
        ("term a = π·l1()", "term a = pi*l1()"),
        ("term a = 1 − l1()", "term a = 1 - l1()"),
        ("term a = l1()²", "term a = l1()^ 2"),
        ("term a = f(x='same')", 'term a = f(x="same")'),
        ("term a = f(x=“same”)", 'term a = f(x="same")'),
        ("term a = l1(masked);", "term a = l1(masked)"),
        ("  term a = l1(); term b = l2()", "  term a = l1()\n  term b = l2()"),
        ("term a = l1() \\\n  + l2()", "term a = l1() \n  + l2()"),
        ("term a =\u00a0l1()", "term a = l1()"),
        ("term a = 0.5 *\u200bl1()", "term a = 0.5 *l1()"),
        ("term a = l1（masked）", "term a = l1(masked)"),
        ("term a = .5 * l1()", "term a = 0.5 * l1()"),
        ("term a = 1. * l1()", "term a = 1.0 * l1()"),
        ("let x := 3", "let x = 3"),
        ("term a = l1() if step => 5 else 0", "term a = l1() if step >= 5 else 0"),
        ("term a = l1() if step =< 5 else 0", "term a = l1() if step <= 5 else 0"),
        ("term a = l1() if step === 5 else 0", "term a = l1() if step == 5 else 0"),
        ("let x: 3", "let x = 3"),
        ("param w: 0.2 in [0, 1]", "param w = 0.2 in [0, 1]"),
        ("term a = f(x, border: 5)", "term a = f(x, border=5)"),
        ("term a = .5 * l1(masked & mask) ;", "term a = 0.5 * l1(masked and mask) "),
    ],
)
def test_safe(before: str, after: str) -> None:
    assert repaired(before + "\n") == after + "\n"
    assert [d for d in syntax(after + "\n") if d.fixes] == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("term a = 2l1()", "term a = 2 * l1()"),
        ("trem a = l1()", "term a = l1()"),
        ("a: l1()", "term a = l1()"),
        ("term a = l1(masked", "term a = l1(masked)"),
        ("term a = l1(masked]", "term a = l1(masked)"),
        ("term a = l1(masked))", "term a = l1(masked)"),
        ("term a = l1() if step = 3 else 0", "term a = l1() if step == 3 else 0"),
    ],
)
def test_unsafe(before: str, after: str) -> None:
    assert repaired(before + "\n") == before + "\n", "a guess is not applied unasked"
    assert repaired(before + "\n", unsafe=True) == after + "\n"


@pytest.mark.parametrize(
    "text",
    [
        "term a = ~x * 2\n",  # `not x * 2` would be `not (x * 2)`
        "term a = 2 * ~x\n",
        "term a = f(x='it\"s')\n",
        "term a = f(x='never closed)\n",
        "term a = 0x5 * l1()\n",
        "term a = x % 2\n",
        "term a = `x`\n",
        "term a = 2π\n",
        "1.5.2\n",
        "term a = 1..2 * l1()\n",
    ],
)
def test_what_is_left_to_the_author(text: str) -> None:
    assert repaired(text, unsafe=True) == text


@pytest.mark.parametrize("text", SNIPPETS)
def test_no_fix_of_any_known_mistake_makes_it_worse(text: str) -> None:
    outcome = fix_text(text, "a.loss", syntax, unsafe=True)
    assert outcome.problems == []
    assert len(syntax(outcome.text)) <= len(syntax(text))


@given(st.text("term a=l1(masked)&|~;.5'\"#\n -,:×\\", max_size=60))
@settings(max_examples=300, deadline=None)
def test_fixing_any_text_ends_and_keeps_comments(text: str) -> None:
    outcome = fix_text(text, "a.loss", syntax, unsafe=True)
    assert outcome.problems == []
    assert len(syntax(outcome.text)) <= len(syntax(text))
    before, after = Source(text), Source(outcome.text)
    left = [after.slice(c) for c in comments(after)]
    assert all(before.slice(c) in left for c in comments(before))


# What fixes never do


def finding(
    text: str,
    *edits: tuple[int, int, str],
    safe: bool = True,
    code: str = "USE001",
    message: str = "a mistake",
    span: Span | None = None,
) -> Diagnostic:
    applicability = Applicability.SAFE if safe else Applicability.UNSAFE
    fix = Fix("change it", [Edit(Span(a, b), new) for a, b, new in edits], applicability)
    return Diagnostic(code, message, Source(text, "a.loss"), span or Span(0, 1), fixes=[fix])


def test_overlapping_fixes_are_applied_one_after_the_other() -> None:
    rounds = []

    def check(text: str) -> list[Diagnostic]:
        rounds.append(text)
        at = text.find("aa")
        return [finding(text, (at, at + 2, "b")), finding(text, (at + 1, at + 3, "c"))] if at >= 0 else []

    assert fix_text("aaax = 1\n", "a.loss", check, False).text == "bax = 1\n"
    assert rounds == ["aaax = 1\n", "bax = 1\n"]


def test_two_insertions_at_one_place_are_not_made_at_once() -> None:
    def check(text: str) -> list[Diagnostic]:
        return [finding(text, (0, 0, c), message=f"no {c}") for c in "ab" if c not in text]

    assert fix_text("x", "a.loss", check, False) == ("bax", [], ["USE001", "USE001"], [])


def test_a_fix_that_breaks_the_program_is_taken_back_and_reported() -> None:
    text = "term a = l1()\nterm b = l2()\n"

    def check(now: str) -> list[Diagnostic]:
        found = [finding(now, (now.index("l1("), now.index("l1(") + 3, "l1"), code="USE001")]
        if "l2()" in now:
            at = now.index("l2()")
            found.append(finding(now, (at, at + 4, "l2(masked)"), code="USE002"))
        return found

    outcome = fix_text(text, "a.loss", check, False)
    assert outcome.text == "term a = l1()\nterm b = l2(masked)\n", "the good fix is applied all the same"
    assert outcome.fixed == ["USE002"]
    assert outcome.problems == ["the fix of USE001 on line 1 breaks a.loss: change it"]


def test_a_fix_never_eats_a_comment() -> None:
    text = "term a = l1(  # mine\n  masked)\n"
    outcome = fix_text(text, "a.loss", lambda now: [finding(now, (11, 29, "()"))], False)
    assert (outcome.text, outcome.problems) == (text, [])
    swallowing = fix_text("term a = l1()  # mine\n", "a.loss", lambda now: [finding(now, (0, 0, '"""'))], False)
    assert swallowing.text == "term a = l1()  # mine\n"
    assert len(swallowing.problems) == 1


def test_fixes_that_undo_each_other_end() -> None:
    def check(text: str) -> list[Diagnostic]:
        return [finding(text, (0, 1, "b" if text[0] == "a" else "a"), message=f"not {text}")]

    outcome = fix_text("a", "a.loss", check, False)
    assert outcome.problems == ["the fixes of USE001 undo each other"]


def test_fixes_without_end_end() -> None:
    def check(text: str) -> list[Diagnostic]:
        return [finding(text, (0, 0, "a"), message=f"{len(text)} is no good length")]

    outcome = fix_text("x", "a.loss", check, False)
    assert outcome.problems == ["50 rounds of fixes did not end"]
    assert (outcome.text, outcome.fixed) == ("x", []), "nothing of it is written"


def test_a_fix_after_which_its_finding_is_there_is_taken_back() -> None:
    """The others are made all the same."""

    def check(text: str) -> list[Diagnostic]:
        found = [finding(text, (0, 0, "("), (text.index("=") - 1, text.index("=") - 1, ")"))]
        at = text.find("bad")
        if at >= 0:
            found.append(finding(text, (at, at + 3, "good"), message="bad", span=Span(at, at + 3), code="USE002"))
        return found

    outcome = fix_text("x = bad\n", "a.loss", check, False)
    assert (outcome.text, outcome.fixed) == ("x = good\n", ["USE002"])
    assert outcome.problems == ["the fix of USE001 on line 1 does not remove it from a.loss: change it"]
    assert [d.code for d in outcome.found] == ["USE001"]


def test_a_fix_whose_finding_comes_back_is_taken_back() -> None:
    """Two fixes at one place that want the opposite of each other, and whose text only grows."""

    def check(text: str) -> list[Diagnostic]:
        turned = text.count("-") % 2
        return [finding(text, (0, 0, "-"), message="not turned" if turned == 0 else "turned")]

    outcome = fix_text("x\n", "a.loss", check, False)
    assert outcome.text == "x\n"
    assert outcome.problems == ["the fix of USE001 on line 1 does not remove it from a.loss: change it"]


def test_a_finding_like_the_one_fixed_but_elsewhere_is_another_one() -> None:
    def check(text: str) -> list[Diagnostic]:
        starts = [i for i in range(len(text)) if text[i] == "b"]
        return [finding(text, (i, i + 1, "g"), span=Span(i, i + 1)) for i in starts]

    assert fix_text("bbab", "a.loss", check, False) == ("ggag", [], ["USE001"] * 3, [])


def test_the_fix_of_a_warning_that_makes_an_error_is_taken_back() -> None:
    def check(text: str) -> list[Diagnostic]:
        at = text.index("=")
        found = [finding(text, (0, 1, "y"), message="no y")] if text[0] != "y" else []
        if "z" not in text:
            found.append(finding(text, (at + 2, at + 3, "z"), message="no z", code="MSK001", span=Span(at, at + 1)))
        else:
            found.append(Diagnostic("NAM001", "no value", Source(text, "a.loss"), Span(0, 1)))
        return found

    outcome = fix_text("x = 1\n", "a.loss", check, False)
    assert (outcome.text, outcome.fixed) == ("y = 1\n", ["USE001"])
    assert outcome.problems == ["the fix of MSK001 on line 1 makes new errors: change it"]


def test_fixes_of_other_files_display_only_ones_and_impossible_ones_are_not_applied() -> None:
    other = finding("y", (0, 1, "z"))
    display = Diagnostic(
        "USE001", "m", Source("x", "a.loss"), None, fixes=[Fix("t", [Edit(Span(0, 1), "z")], Applicability.DISPLAY)]
    )
    outside = finding("x", (0, 9, "z"))
    crossing = finding("x", (0, 1, "z"), (0, 1, "y"))
    empty = finding("x")
    assert fix_text("x", "a.loss", lambda text: [other, display, outside, crossing, empty], True).text == "x"
    assert count([display, empty]) == (0, 0)


def test_line_ends_stay_as_they_are() -> None:
    assert changed("a\r\nb\r\n", [Edit(Span(3, 3), "x\n")]) == "a\r\nx\r\nb\r\n"
    assert changed("a\nb\n", [Edit(Span(2, 3), "x\ny")]) == "a\nx\ny\n"


def test_comments_are_told_from_texts() -> None:
    source = Source('"""# no"""\nterm a = f("# no")  # yes\n# also\n')
    assert [source.slice(c) for c in comments(source)] == ["# yes", "# also"]


# Writing


def test_writing_keeps_links_permissions_and_byte_order_marks(tmp_path: Path) -> None:
    real, link = tmp_path / "real.loss", tmp_path / "link.loss"
    before = b"\xef\xbb\xbfl1()\n"
    real.write_bytes(before)
    real.chmod(0o640)
    link.symlink_to(real)
    write(str(link), "l2()\n", before)
    assert link.is_symlink()
    assert real.read_bytes() == b"\xef\xbb\xbfl2()\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.loss", "real.loss"]


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.loss"
    path.write_bytes(b"new\n")
    with pytest.raises(Unwritable, match="has been changed since"):
        write(str(path), "fixed\n", b"old\n")
    assert path.read_bytes() == b"new\n"


def test_a_failed_write_leaves_the_old_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.loss"
    path.write_bytes(b"old\n")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(Unwritable, match="no space left on device"):
        write(str(path), "fixed\n", b"old\n")
    assert [p.name for p in tmp_path.iterdir()] == ["a.loss"]
    assert path.read_bytes() == b"old\n"


# On the command line


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = entry.main(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_fix(cli, write, tmp_path: Path) -> None:
    write("a.loss", BAD)
    write("good.loss", "l1(masked)\n")
    status, out, err = cli("check", "a.loss", "good.loss", "--fix")
    assert (status, out) == (0, "")
    assert err == "fixed 1 finding in 1 file; no findings in 2 files\n"
    assert (tmp_path / "a.loss").read_text() == FIXED
    assert cli("check", "a.loss", "--fix")[2] == "fixed 0 findings in 0 files; no findings in 1 file\n"


def test_fix_reports_what_is_left(cli, write) -> None:
    write("a.loss", BAD + "term b = l2(maskd)\n")
    status, out, err = cli("check", "a.loss", "--fix")
    assert status == 1
    assert "NAM001" in out
    assert "SYN003" not in out
    assert err == "fixed 1 finding in 1 file; 1 error in 1 file left\n"


def test_exit_non_zero_on_fix(cli, write) -> None:
    write("a.loss", BAD)
    assert cli("check", "a.loss", "--fix", "--exit-non-zero-on-fix")[0] == 1
    assert cli("check", "a.loss", "--fix", "--exit-non-zero-on-fix")[0] == 0


def test_unsafe_fixes_only_on_request(cli, write, tmp_path: Path) -> None:
    write("a.loss", "term a = 2l1(masked)\n")
    assert cli("check", "a.loss", "--fix")[0] == 1
    assert (tmp_path / "a.loss").read_text() == "term a = 2l1(masked)\n"
    assert cli("check", "a.loss", "--fix", "--unsafe-fixes")[0] == 0
    assert (tmp_path / "a.loss").read_text() == "term a = 2 * l1(masked)\n"


@pytest.mark.parametrize(
    ("text", "options", "line"),
    [
        (BAD, [], "[*] 1 fixable with --fix"),
        (BAD + "term b = 2l1(masked)\n", [], "[*] 1 fixable with --fix (1 more with --unsafe-fixes)"),
        (BAD + "term b = 2l1(masked)\n", ["--unsafe-fixes"], "[*] 2 fixable with --fix"),
        ("term b = 2l1(masked)\n", [], "1 fixable with --fix --unsafe-fixes"),
        ("term b = l1(maskd +)\n", ["--isolated"], None),
    ],
)
def test_the_line_that_counts(cli, write, text: str, options: list[str], line: str | None) -> None:
    write("a.loss", text)
    _, out, err = cli("check", "a.loss", "--format", "concise", *options)
    assert err.splitlines()[1:] == ([line] if line else [])
    assert out.count("[*]") == (int(line.split()[1]) if line and line.startswith("[*]") else 0)


def test_diff_changes_nothing(cli, write, tmp_path: Path) -> None:
    write("a.loss", BAD + "term b = 2l1(masked)")
    status, out, err = cli("check", "a.loss", "--diff")
    assert status == 1
    assert out.splitlines() == [
        "--- a.loss",
        "+++ a.loss",
        "@@ -1,2 +1,2 @@",
        "-" + BAD.rstrip(),
        "+" + FIXED.rstrip(),
        " term b = 2l1(masked)",
        "\\ No newline at end of file",
    ]
    assert err == "would fix 1 finding in 1 file\n"
    assert (tmp_path / "a.loss").read_text() == BAD + "term b = 2l1(masked)"
    assert "+term b = 2 * l1(masked)" in cli("check", "a.loss", "--diff", "--fix", "--unsafe-fixes")[1]
    write("good.loss", "l1(masked)\n")
    assert cli("check", "good.loss", "--diff")[:2] == (0, "")


def test_the_diff_is_a_patch(cli, write, tmp_path: Path) -> None:
    patch = pytest.importorskip("shutil").which("patch")
    if patch is None:
        pytest.skip("needs the program `patch`")
    import subprocess

    write("a.loss", BAD + "term b = 2l1(masked)")
    _, out, _ = cli("check", "a.loss", "--diff", "--unsafe-fixes")
    subprocess.run([patch, "-s", "a.loss"], input=out.encode(), cwd=tmp_path, check=True)
    assert (tmp_path / "a.loss").read_text() == FIXED + "term b = 2 * l1(masked)"


def test_stdin_comes_out_fixed(run_cli, tmp_path: Path) -> None:
    done = run_cli("check", "-", "--fix", cwd=tmp_path, stdin="\ufeff" + BAD + "term b = l2(maskd)\n")
    assert done.returncode == 1
    assert done.stdout == "\ufeff" + FIXED + "term b = l2(maskd)\n"
    assert "NAM001" in done.stderr
    done = run_cli("check", "-", "--diff", cwd=tmp_path, stdin=BAD)
    assert done.stdout.startswith("--- <stdin>\n")


def test_windows_texts(cli, tmp_path: Path) -> None:
    (tmp_path / "a.loss").write_bytes(b"\xef\xbb\xbfterm a = l1(masked & mask); term b = l2(masked)\r\n")
    assert cli("check", "a.loss", "--fix")[0] == 0
    assert (tmp_path / "a.loss").read_bytes() == b"\xef\xbb\xbfterm a = l1(masked and mask)\r\nterm b = l2(masked)\r\n"


def test_a_run_config_is_never_changed(cli, write, tmp_path: Path) -> None:
    text = "loss: l1(masked & mask)\ndata: {kind: synthetic}\n"
    write("run.yaml", text)
    status, out, err = cli("check", "run.yaml", "--fix", "--unsafe-fixes")
    assert status == 1
    assert "help: write `and`\n" in out
    assert err == "fixed 0 findings in 0 files; 1 error in 1 file\n"
    assert (tmp_path / "run.yaml").read_text() == text


def test_a_file_that_cannot_be_written(cli, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.loss", BAD)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    status, out, err = cli("check", "a.loss", "--fix")
    assert status == 2
    assert "SYN003" in out, "what was not fixed is reported"
    assert "splatdsl: `a.loss` cannot be written: permission denied" in err
    assert (tmp_path / "a.loss").read_text() == BAD


def test_a_fix_that_breaks_a_file_is_reported_as_a_bug(cli, write, monkeypatch: pytest.MonkeyPatch) -> None:
    from splatdsl.dsl import api

    write("a.loss", "term a = l1(masked)\n")
    monkeypatch.setattr(api, "check_text", lambda text, **_: [finding(text, (8, 11, "(("))])
    status, _, err = cli("check", "a.loss", "--fix")
    assert status == 2
    assert "the fix of USE001 on line 1 breaks a.loss: change it; this is a bug in splatdsl" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["a.loss", "--add-ignore", "--fix"], "--add-ignore cannot be combined"),
        (["-", "--add-ignore"], "--add-ignore needs files"),
        (["-", "a.loss", "--fix"], "must be the only path"),
        (["-", "--watch"], "--watch needs files"),
    ],
)
def test_options_that_do_not_go_together(cli, write, options: list[str], said: str) -> None:
    write("a.loss", BAD)
    status, out, err = cli("check", *options)
    assert (status, out) == (2, "")
    assert said in err


# How fixes look


def test_a_fix_is_shown_with_the_lines_that_it_changes() -> None:
    source = Source("let x = 1\nterm a = l1(mask)\nterm b = l2()\n", "a.loss")
    fixes = [
        Fix("read `masked`", [Edit(Span(22, 26), "masked")], Applicability.SAFE),
        Fix("remove it", [Edit(Span(10, 28), "")], Applicability.UNSAFE),
        Fix("give a weight", [Edit(Span(19, 19), "... * ")], Applicability.DISPLAY),
    ]
    found = Diagnostic("USE001", "a mistake", source, Span(22, 26), help=["read `masked`", "think"], fixes=fixes)
    assert full(found).split("\n")[5:] == [
        "   |             ^^^^",
        "   |",
        "   = help: think",
        "   = help: read `masked` (fix)",
        " 2 - term a = l1(mask)",
        " 2 + term a = l1(masked)",
        "   = help: remove it (unsafe fix)",
        " 2 - term a = l1(mask)",
        "   = help: give a weight (not applied for you)",
        " 2 - term a = l1(mask)",
        " 2 + term a = ... * l1(mask)",
    ]


def test_a_way_out_and_a_fix_that_say_the_same_are_one_line() -> None:
    (found,) = syntax("term a = .5 * l1()\n")
    lines = [line.strip() for line in full(found).split("\n") if "help" in line]
    assert lines == ["= help: a number has digits on both sides of its point: `0.5` (fix)"]


def test_long_fixes_are_cut() -> None:
    text = "".join(f"let x{i} = {i}\n" for i in range(20))
    found = finding(text, (0, len(text), "".join(f"let y{i} = {i}\n" for i in range(20))))
    lines = full(found).split("\n")
    assert sum(line.startswith("  ") and " - " in line for line in lines) == 6
    assert sum("..." in line for line in lines) == 2
    assert len(max(full(finding("x" * 500 + "\n", (3, 4, "yy"))).split("\n"), key=len)) < 140


def test_the_checker_never_offers_two_edits_of_one_place() -> None:
    for text in SNIPPETS:
        for d in check_text(text):
            for fix in d.fixes:
                spans = sorted((e.span.start, e.span.end) for e in fix.edits)
                assert all(a[1] <= b[0] for a, b in pairwise(spans))
                assert all(0 <= a <= b <= len(d.source.text) for a, b in spans)
