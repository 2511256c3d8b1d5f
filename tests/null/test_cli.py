"""The command line: exit statuses, formats, what goes to which stream, and what happens when things break."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from splatdsl.cli import main as entry
from splatdsl.dsl.diagnostics import Diagnostic, LossError
from splatdsl.dsl.source import Source, Span

GOOD = "l1(masked)\n"
BAD = "l1(maskd)\n"
RUN = "loss: l1(masked)\ndata: {kind: synthetic}\n"


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a command line in this process, in the test's folder: status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = entry.main(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_clean_and_findings(cli, write) -> None:
    write("good.loss", GOOD)
    write("bad.loss", BAD)
    assert cli("check", "good.loss") == (0, "", "no findings in 1 file\n")
    status, out, err = cli("check", "good.loss", "bad.loss")
    assert status == 1
    assert out.startswith("error[NAM001 unknown-name]: ")
    assert "--> bad.loss:1:4\n" in out
    assert out.endswith("\n")
    assert err == "1 error in 2 files\n"


@pytest.mark.parametrize("arguments", [(), ("--format", "full"), ("--color", "never")])
def test_the_fast_path_prints_what_the_other_prints(cli, write, arguments: tuple[str, ...]) -> None:
    write("a.loss", BAD)
    write("b.loss", "term x = 1 +\n")
    assert cli("check", *arguments, "a.loss", "b.loss") == cli("check", "a.loss", "b.loss")


def test_findings_of_several_files_are_parted_by_one_empty_line(cli, write) -> None:
    write("a.loss", BAD)
    write("b.loss", BAD)
    _, out, _ = cli("check", "a.loss", "b.loss")
    assert out.count("\n\n") == 1
    assert "\n\nerror" in out


def test_concise(cli, write) -> None:
    write("bad.loss", "term a = l1(maskd)\nterm b = l2(maskd)\n")
    _, out, _ = cli("check", "--format", "concise", "bad.loss")
    assert [line.split(" ")[0] for line in out.splitlines()] == ["bad.loss:1:13:", "bad.loss:2:13:"]


def test_json(cli, write) -> None:
    write("bad.loss", BAD)
    write("good.loss", GOOD)
    status, out, _ = cli("check", "bad.loss", "--format", "json")
    (found,) = json.loads(out)
    assert status == 1
    assert (found["code"], found["file"], found["line"], found["column"], found["end_column"]) == (
        "NAM001",
        "bad.loss",
        1,
        4,
        9,
    )
    assert json.loads(cli("check", "good.loss", "--format", "json")[1]) == []


def test_colour_only_on_request_or_a_terminal(cli, write) -> None:
    write("bad.loss", BAD)
    assert "\x1b[" not in cli("check", "bad.loss")[1]
    assert "\x1b[1;31merror" in cli("check", "bad.loss", "--color", "always")[1]


def test_folders(cli, write) -> None:
    write("p/b.loss", BAD)
    write("p/deep/a.loss", BAD)
    write("p/run.yaml", "loss: deep/a.loss\ndata: {kind: synthetic}\n")
    write("p/other.yaml", "name: a config of another tool\n")
    write("p/.hidden/c.loss", BAD)
    write("p/__pycache__/d.loss", BAD)
    status, out, err = cli("check", "p", "--format", "concise")
    names = [line.split(":")[0] for line in out.splitlines()]
    assert status == 1
    assert names == [os.path.join("p", "b.loss"), os.path.join("p", "deep", "a.loss")]
    assert err == "2 errors in 3 files\n", "a program that a config names is reported once"


def test_configs(cli, write) -> None:
    write("run.yaml", RUN)
    assert cli("check", "run.yaml")[0] == 0
    status, out, _ = cli("check", "run.yaml", "--set", "train.max_steps=0", "--format", "concise")
    assert status == 1
    assert out.startswith("--set:1:17: error[CFG007")
    assert cli("check", "run.yaml", "--steps", "5", "--renderer", "reference")[0] == 0


def test_set_gives_parameters_to_a_program(cli, write) -> None:
    write("w.loss", "param w = 0.2 in [0, 1]\nw * l1()\n")
    assert cli("check", "w.loss", "--set", "loss_params.w=0.5")[0] == 0
    status, out, _ = cli("check", "w.loss", "--set", "loss_params.w=5", "--format", "concise")
    assert status == 1
    assert out.startswith("--set:1:15: error[RNG002")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check"], "nothing to check"),
        (["check", "absent.loss"], "`absent.loss` does not exist"),
        (["check", "goood.loss"], "did you mean `good.loss`?"),
        (["check", "absent.yaml"], "`absent.yaml` does not exist"),
        (["check", "latin.loss"], "is not UTF-8 text: byte 0xff on line 2"),
        (["check", "empty"], "the folder `empty` holds no `.loss` files and no run configs"),
        (["check", "notes.txt"], "neither a `.loss` file nor a run config"),
        (["check", "folder.loss"], "holds no `.loss` files"),
        (["check", "good.loss", "--format", "xml"], "--format"),
        (["check", "good.loss", "--renderer", "mitsuba"], "--renderer"),
        (["check", "good.loss", "--steps", "0"], "--steps"),
        (["check", "good.loss", "--stdin-filename", "x"], "--stdin-filename"),
        (["check", "--nonsense", "good.loss"], "--nonsense"),
        (["chekc", "good.loss"], "did you mean `check`?"),
        (["frobnicate"], "the commands are check"),
        (["explain", "NAM01"], "did you mean `NAM0"),
        (["dump", "good.loss"], "--stage"),
        (["dump", "--stage", "ast", "absent.loss"], "does not exist"),
    ],
)
def test_usage_mistakes_give_2_and_say_why(cli, write, tmp_path: Path, arguments: list[str], message: str) -> None:
    write("good.loss", GOOD)
    write("notes.txt", "x")
    (tmp_path / "latin.loss").write_bytes(b"# a\n# \xff\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.loss").mkdir()
    status, out, err = cli(*arguments)
    assert status == 2
    assert message in err
    assert out == ""
    assert "Traceback" not in err


def test_one_unreadable_file_does_not_hide_findings_in_another(cli, write) -> None:
    write("bad.loss", BAD)
    status, out, err = cli("check", "absent.loss", "bad.loss")
    assert status == 2
    assert "NAM001" in out
    assert "absent.loss" in err


def test_one_unreadable_file_of_a_folder_does_not_end_the_search(cli, write, tmp_path: Path) -> None:
    write("p/b.loss", BAD)
    (tmp_path / "p" / "a.loss").write_bytes(b"\xff")
    (tmp_path / "p" / "other.yaml").write_bytes(b"name: \xff\n")
    (tmp_path / "p" / "run.yaml").write_bytes(b"loss: l1()\ndata: {kind: synthetic}\n# \xff\n")
    status, out, err = cli("check", "p", "--format", "concise")
    assert status == 2
    assert out.startswith(os.path.join("p", "b.loss"))
    assert [line.split("`")[1] for line in err.splitlines()[:-1]] == [
        os.path.join("p", "a.loss"),
        os.path.join("p", "run.yaml"),
    ]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs a user that permissions bind")
def test_permission_denied(cli, write) -> None:
    write("a.loss", GOOD).chmod(0)
    status, _, err = cli("check", "a.loss")
    assert status == 2
    assert "permission denied" in err


def test_permission_denied_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from splatdsl.dsl.files import Unreadable, read_text

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.loss").write_text(GOOD)
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(Unreadable, match="cannot be read: permission denied"):
        read_text(str(tmp_path / "a.loss"), 1000)


def test_stdin(run_cli, tmp_path: Path) -> None:
    done = run_cli("check", "-", "--format", "concise", cwd=tmp_path, stdin=BAD)
    assert (done.returncode, done.stdout.split(" ")[0]) == (1, "<stdin>:1:4:")
    done = run_cli(
        "check", "-", "--stdin-filename", "a/run.yaml", "--format", "concise", cwd=tmp_path, stdin="loss: 1\n"
    )
    assert (done.returncode, done.stdout.split(" ")[0]) == (1, "a/run.yaml:")
    done = run_cli("check", "-", cwd=tmp_path, stdin=b"\xff")
    assert done.returncode == 2
    assert "`<stdin>` is not UTF-8" in done.stderr


def test_a_byte_order_mark_and_windows_line_ends_are_fine(cli, tmp_path: Path) -> None:
    (tmp_path / "a.loss").write_bytes(b"\xef\xbb\xbfterm a = l1()\r\nterm b = l2(maskd)\r\n")
    (tmp_path / "run.yaml").write_bytes(b"\xef\xbb\xbfloss: l1()\r\ndata: {kind: synthetic}\r\n")
    _, out, _ = cli("check", "a.loss", "run.yaml", "--format", "concise")
    assert [line.split(" ")[0] for line in out.splitlines()] == ["a.loss:2:13:"]


def test_names_that_no_terminal_can_show(cli, write) -> None:
    write("漢\x1b[2J.loss", BAD)
    _, out, _ = cli("check", "漢\x1b[2J.loss")
    assert "\x1b" not in out
    assert "漢" in out


def test_version_help_and_no_arguments(cli) -> None:
    status, out, _ = cli("--version")
    assert status == 0
    assert out.startswith("splatdsl ")
    status, out, _ = cli("--help")
    assert status == 0
    for command in ("check", "train", "explain", "dump"):
        assert f"  {command} " in out
    assert cli("check", "--help")[0] == 0
    assert cli()[0] == 2


def test_explain(cli) -> None:
    status, out, _ = cli("explain", "cfg003")
    assert status == 0
    assert out.startswith("CFG003 config-duplicate-key\n")
    assert "    loss: l2()\n" in out
    assert cli("explain", "config-duplicate-key")[1] == out
    assert "a whole number, at least 1" in cli("explain", "train.max_steps")[1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ssim", "    term structure = 0.2 * (1 - ssim(masked))"),
        ("l1", "    def l1(a=rendered, b=target, r=everywhere)"),
        ("masked", "everywhere when the item has none"),
        ("when", "the term does not exist"),
        ("alpha", "Accumulated opacity"),
        ("state.scales", "in (0, inf); activated"),
        ("inverse", "one of `direct`, `inverse`"),
        ("steps", "A unit of `param`"),
        ("has", "optional inputs"),
    ],
)
def test_explain_a_word_of_the_language(cli, name: str, words: str) -> None:
    status, out, _ = cli("explain", name)
    assert status == 0
    assert out.startswith(f"{name}\n\n")
    assert words in out
    assert "```" not in out


def test_explain_a_misspelled_function(cli) -> None:
    status, _, err = cli("explain", "sssim")
    assert status == 2
    assert "did you mean `ssim`" in err


def test_dump_ast(cli, write) -> None:
    write("a.loss", "param w = 0.2 in [0, 1]\nterm g.a = -w * l1(masked)  when after(step, 3)\n")
    status, out, _ = cli("dump", "--stage", "ast", "a.loss")
    assert status == 0
    assert out.splitlines() == [
        "Program  1:1",
        "  statements[0]: Param name='w'  1:1",
        "    default: Number value=0.2  1:11",
        "    limits: Range lo_open=False hi_open=False  1:18",
        "      lo: Number value=0.0  1:19",
        "      hi: Number value=1.0  1:22",
        "  statements[1]: Term name='g.a'  2:1",
        "    value: Binary op='*'  2:12",
        "      left: Unary op='-'  2:12",
        "        operand: Name id='w'  2:13",
        "      right: Call function='l1'  2:17",
        "        args[0]: Name id='masked'  2:20",
        "    when: Call function='after'  2:34",
        "      args[0]: Name id='step'  2:40",
        "      args[1]: Number value=3.0  2:46",
    ]


def test_dump_typed_shows_stages_kinds_and_ranges(cli, write) -> None:
    write("a.loss", "param w = 0.2 in [0, 1]\nterm a = w * l1(masked)\n")
    status, out, _ = cli("dump", "--stage", "typed", "a.loss")
    assert status == 0
    assert out.startswith("param w = 0.2")
    assert "param 'w': parameter number in [0, 1]  2:10" in out


@pytest.mark.parametrize("stage", ["ast", "typed"])
def test_dump_of_a_wrong_program_gives_its_findings(cli, write, stage: str) -> None:
    write("a.loss", "l1(\n")
    status, out, err = cli("dump", "--stage", stage, "a.loss")
    assert status == 1
    assert out == ""
    assert "error[SYN" in err


# When things break


def test_a_bug_says_so(cli, write, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> int:
        raise RuntimeError("wires crossed")

    monkeypatch.setattr("splatdsl.cli.check.check_paths", explode)
    status, out, err = cli("check", "a.loss")
    assert status == 70
    assert out == ""
    assert "RuntimeError: wires crossed" in err
    assert "bug in splatdsl" in err


def test_a_loss_error_is_not_a_bug(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise LossError([Diagnostic("CFG005", "`path` is needed", Source("data: {}", "run.yaml"), Span(0, 4))])

    monkeypatch.setattr("splatdsl.cli.check.check_paths", refuse)
    status, _, err = cli("check", "a.loss")
    assert status == 1
    assert "--> run.yaml:1:1" in err
    assert "Traceback" not in err


def test_an_error_that_cannot_be_shown_is_a_bug(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise LossError([Diagnostic("XXX999", "no such record", Source(""), None)])

    monkeypatch.setattr("splatdsl.cli.check.check_paths", refuse)
    status, _, err = cli("check", "a.loss")
    assert status == 70
    assert "KeyError: 'XXX999'" in err


def test_ctrl_c_is_silent(tmp_path: Path) -> None:
    text = "import sys; from splatdsl.cli.main import main; print('ready', flush=True); sys.exit(main(['check', '-']))"
    process = subprocess.Popen(
        [sys.executable, "-c", text],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.3)  # into main, which then waits for standard input
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_a_reader_that_goes_away_is_silent(write, tmp_path: Path) -> None:
    for name in range(40):  # more than a pipe holds
        write(f"{name}.loss", "".join(f"term t{i} = l1(maskd)\n" for i in range(60)))
    process = subprocess.Popen(
        [sys.executable, "-m", "splatdsl", "check", "."],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read() if process.stderr else b""
    process.wait(timeout=30)
    assert (process.returncode, err) == (141, b"")
