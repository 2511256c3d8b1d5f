"""Mistakes that people make in training losses, each caught, beside a right program that stays silent.

``tests/mistakes/NAME.loss`` (or ``.yaml``) is wrong: its first line says ``# expect: CODE [CODE ...]`` and, after a
semicolon, the options of ``splatdsl check`` that it needs. What is printed is kept in ``NAME.expected``
(``pytest --update-golden`` writes it). ``NAME.ok.loss`` is a near miss, for which the same command finds nothing.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "mistakes"
WRONG = sorted(p for p in FOLDER.glob("*.*") if p.suffix in (".loss", ".yaml") and ".ok." not in p.name)
RIGHT = sorted(p for p in FOLDER.glob("*.ok.*") if p.suffix in (".loss", ".yaml"))
HEADER = re.compile(r"# (?:expect: (?P<codes>[A-Z0-9 ]+?))?(?:; )?(?:options: (?P<options>.*))?$")


def _header(path: Path) -> tuple[list[str], list[str]]:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    match = HEADER.match(first)
    assert match, f"{path.name} must begin with `# expect: CODE; options: ...`, not {first!r}"
    return (match["codes"] or "").split(), shlex.split(match["options"] or "")


def _check(path: Path, options: list[str], folder: Path, run_cli) -> tuple[str, int]:
    shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
    done = run_cli("check", path.name, *options, cwd=folder, merge=True)
    command = f"$ splatdsl check {shlex.join([path.name, *options])}"
    return f"{command}\n{done.stdout}[exit {done.returncode}]\n", done.returncode


@pytest.mark.parametrize("path", WRONG, ids=lambda p: p.name)
def test_a_mistake_is_caught(path: Path, tmp_path: Path, run_cli, update_golden: bool) -> None:
    codes, options = _header(path)
    printed, status = _check(path, options, tmp_path / "case", run_cli)
    assert codes, "a wrong program names the codes that it must give"
    assert status == 1, printed
    assert re.findall(r"^(?:error|warning)\[([A-Z]{3}\d{3}) ", printed, re.MULTILINE) == codes, printed
    assert (FOLDER / f"{path.stem}.ok{path.suffix}").exists(), "each mistake has a near miss that is right"
    expected = path.with_suffix(".expected")
    if update_golden:
        expected.write_text(printed, encoding="utf-8")
        return
    assert expected.exists(), f"no {expected.name} yet: run pytest --update-golden and read what it wrote"
    assert printed == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", RIGHT, ids=lambda p: p.name)
def test_a_near_miss_is_silent(path: Path, tmp_path: Path, run_cli) -> None:
    codes, options = _header(path)
    assert codes == [], "a near miss expects nothing"
    printed, status = _check(path, options, tmp_path / "case", run_cli)
    assert status == 0, printed


def test_every_file_belongs_to_a_mistake() -> None:
    wrong = {p.stem for p in WRONG}
    assert {p.name.split(".ok.")[0] for p in RIGHT} <= wrong
    assert {p.stem for p in FOLDER.glob("*.expected")} <= wrong
