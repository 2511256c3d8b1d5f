"""What the real command line prints, word for word.

A case is a folder of ``tests/golden/cases`` with a ``transcript.txt``: lines ``$ splatdsl ...`` (``< FILE`` at the end
feeds standard input), each followed by what is printed and ``[exit N]``. Or it is a single ``NAME.loss``, which stands
for ``$ splatdsl check NAME.loss`` with the transcript in ``NAME.expected``. ``pytest --update-golden`` writes
transcripts; read the difference before it is committed.
"""

from __future__ import annotations

import difflib
import shlex
import shutil
from pathlib import Path

import pytest

CASES = Path(__file__).resolve().parent.parent / "golden" / "cases"


def _cases() -> list[Path]:
    return sorted([*CASES.rglob("transcript.txt"), *(p for p in CASES.glob("**/*.loss") if _is_single(p))])


def _is_single(program: Path) -> bool:
    """A program on its own: no folder above it is a case."""
    return not any((folder / "transcript.txt").exists() for folder in program.parents)


def _replay(commands: list[str], folder: Path, run_cli) -> str:
    out = []
    for command in commands:
        words = shlex.split(command)
        assert words[:2] == ["$", "splatdsl"], f"a transcript only runs splatdsl, not {command!r}"
        stdin = b""
        if words[-2:-1] == ["<"]:
            stdin = (folder / words[-1]).read_bytes()
            words = words[:-2]
        done = run_cli(*words[2:], cwd=folder, stdin=stdin, merge=True)
        assert done.returncode != 70, f"a bug is never expected output:\n{done.stdout}"
        out.append(f"{command}\n{done.stdout}[exit {done.returncode}]\n")
    return "\n".join(out)


@pytest.mark.parametrize("case", _cases(), ids=lambda case: str(case.relative_to(CASES)))
def test_transcript(case: Path, tmp_path: Path, run_cli, update_golden: bool) -> None:
    if case.name == "transcript.txt":
        expected_file = case
        commands = [line for line in case.read_text(encoding="utf-8").splitlines() if line.startswith("$ ")]
        assert commands, "a transcript has at least one line that starts with `$ `"
        folder = tmp_path / "case"
        shutil.copytree(case.parent, folder, ignore=shutil.ignore_patterns("transcript.txt"))
    else:
        expected_file = case.with_suffix(".expected")
        commands = [f"$ splatdsl check {case.name}"]
        folder = tmp_path
        shutil.copy(case, folder)
    actual = _replay(commands, folder, run_cli)
    if update_golden:
        expected_file.write_text(actual, encoding="utf-8")
        return
    assert expected_file.exists(), f"no {expected_file.name} yet: run pytest --update-golden and read what it wrote"
    expected = expected_file.read_text(encoding="utf-8")
    if actual != expected:
        lines = difflib.unified_diff(expected.splitlines(), actual.splitlines(), "expected", "printed", lineterm="")
        pytest.fail("\n".join(lines), pytrace=False)


def test_every_expected_file_belongs_to_a_case() -> None:
    orphans = [p.name for p in CASES.rglob("*.expected") if not p.with_suffix(".loss").exists()]
    assert orphans == []


def test_replay_reports_what_the_command_line_prints(tmp_path: Path, run_cli) -> None:
    """The harness itself: output, order, standard input and exit status all come from the real program."""
    (tmp_path / "in.txt").write_text("l1(\n")
    printed = _replay(["$ splatdsl check - --format concise < in.txt", "$ splatdsl --version"], tmp_path, run_cli)
    assert "<stdin>:1" in printed
    assert "[exit 1]\n\n$ splatdsl --version\nsplatdsl " in printed
    assert printed.endswith("[exit 0]\n")
