"""The hooks for pre-commit run what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import yaml

HOOKS = yaml.safe_load((Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))


def test_the_hooks_are_for_programs() -> None:
    assert [hook["id"] for hook in HOOKS] == ["splatdsl-check", "splatdsl-format"]
    for hook in HOOKS:
        assert hook["language"] == "python"
        assert re.search(hook["files"], "losses/a.loss")
        assert not re.search(hook["files"], "losses/a.loss.py")


def test_the_hooks_run(run_cli, write, tmp_path: Path) -> None:
    write("a.loss", "term a = l1(masked)\n")
    for hook in HOOKS:
        program, *arguments = shlex.split(hook["entry"])
        assert program == "splatdsl"
        done = run_cli(*arguments, "a.loss", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
