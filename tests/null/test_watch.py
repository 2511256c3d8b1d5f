"""``check --watch``: checks again after every change, and ends on Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from splatdsl.cli.check_watch import _state


def wait(log: Path, text: str, times: int) -> str:
    """What has been printed, once a text stands in it so often."""
    for _ in range(200):
        printed = log.read_text()
        if printed.count(text) >= times:
            return printed
        time.sleep(0.1)
    pytest.fail(f"{text!r} was not printed {times} times:\n{printed}")


@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
def test_watch(write, tmp_path: Path) -> None:
    write("p/a.loss", "l1(maskd)\n")
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "splatdsl", "check", "--watch", "p", "--format", "concise"],
            cwd=tmp_path,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            printed = wait(log, "watching for changes", 1)
            assert "a.loss:1:4: error[NAM001" in printed
            write("p/a.loss", "l1(masked)\n")
            printed = wait(log, "watching for changes", 2)
            assert f"{os.path.join('p', 'a.loss')} changed\nno findings in 1 file" in printed
            write("p/b.loss", "l2(maskd)\n")
            printed = wait(log, "watching for changes", 3)
            assert f"{os.path.join('p', 'b.loss')} changed" in printed
            write("splatdsl.toml", "steps = 0\n")
            printed = wait(log, "watching for changes", 4)
            assert "CFG103" in printed
            assert "\x1b" not in printed
        finally:
            process.send_signal(signal.SIGINT)
            status = process.wait(timeout=30)
    assert status == 130


def test_what_is_watched(write, tmp_path: Path) -> None:
    a = write("p/a.loss", 'use "../other/b.loss" (x)\n')
    used = write("other/b.loss", "let x = 1\n")
    beside = write("p/c.loss", "l1()\n")
    settings = write("pyproject.toml", "")
    write("far/d.loss", "l1()\n")
    watched = {os.path.realpath(name) for name in _state([str(a)])}
    assert {str(a), str(used), str(beside), str(settings)} <= watched
    assert not any("far" in name for name in watched)
    assert str(tmp_path / "far" / "d.loss") in {os.path.realpath(name) for name in _state([str(tmp_path)])}


def test_a_config_is_watched_with_the_files_that_it_is_made_of(write, tmp_path: Path) -> None:
    base = write("far/base.yaml", "loss: l1()\ndata: {kind: synthetic}\n")
    part = write("far/deep/train.yaml", "seed: 1\n")
    run = write("p/run.yaml", "extends: ../far/base.yaml\ntrain: {from: ../far/deep/train.yaml}\n")
    assert {str(base), str(part), str(run)} <= {os.path.realpath(name) for name in _state([str(run)])}
