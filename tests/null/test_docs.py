"""What the documentation shows is true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from splatdsl.dsl.api import check_text
from splatdsl.dsl.builtins import ALL
from splatdsl.dsl.check.functions import prelude
from splatdsl.dsl.config import load_config
from splatdsl.dsl.inputs import BY_NAME
from splatdsl.dsl.reference import page

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LANGUAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")


def blocks(text, language):
    """The contents of fenced blocks in one language, in order."""
    found, current = [], None
    for line in text.splitlines():
        if line.startswith("```"):
            if current is not None:
                found.append(current)
                current = None
            else:
                current = (line[3:], [])
        elif current is not None:
            current[1].append(line)
    return ["\n".join(lines) + "\n" for name, lines in found if name == language]


def test_the_first_block_of_the_readme_holds_the_two_commands():
    first = blocks(README, "sh")[0].strip().splitlines()
    assert len(first) == 2
    assert "splatdsl train" in first[0]
    assert "pytest" in first[1]
    assert README.index("```sh") < 600, "they belong on the first screen"


@pytest.mark.parametrize("program", [b for b in blocks(README, "") + blocks(LANGUAGE, "") if not b.startswith("$")])
def test_programs_in_the_documentation_are_clean(program):
    assert check_text(program) == []


def test_the_transcript_in_the_readme_is_what_the_command_prints(tmp_path):
    transcript = next(b for b in blocks(README, "") if b.startswith("$ splatdsl check"))
    command, _, shown = transcript.partition("\n")
    (tmp_path / "wrong.loss").write_text("term structure = 0.2 * ssim(masked)\n", encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "splatdsl", *command.split()[2:]], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert run.stdout.strip() == shown.strip()


def test_the_config_in_the_readme_is_legal_but_for_its_files(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(next(b for b in blocks(README, "yaml")), encoding="utf-8")
    _, found = load_config(str(config))
    assert {d.code for d in found} <= {"CFG008"}, [str(d) for d in found]


def test_the_language_page_names_every_input_and_statement():
    words = {w.lower() for w in re.findall(r"[a-zA-Z_0-9]+", LANGUAGE)}
    inputs = [part for name in BY_NAME for part in name.split(".")]
    assert sorted({n.lower() for n in inputs} - words) == []
    assert {"param", "input", "let", "def", "use", "extern", "memory", "term"} <= words


def test_the_reference_is_current():
    assert (ROOT / "docs" / "reference.md").read_text(encoding="utf-8") == page(), (
        "run `splatdsl reference > docs/reference.md`"
    )


def test_the_reference_names_everything(run_cli):
    text = page()
    for record in ALL:
        assert f"#### {record.name}\n" in text
        assert record.doc in text
    for name in prelude()[1]:
        assert name.startswith("_") or f"#### {name}\n" in text
    shown = run_cli("reference", "ssim")
    assert shown.returncode == 0
    assert "Structural similarity" in shown.stdout
    unknown = run_cli("reference", "ssmi")
    assert unknown.returncode == 2
    assert "`ssim`" in unknown.stderr
