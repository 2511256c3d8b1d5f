"""The example trains in nerfstudio's own model."""

from __future__ import annotations

from types import ModuleType

import pytest


def test_the_example_trains(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert example.main(["--steps", "24", "--device", "cpu", "--loss", "0.8*l1(masked) + 0.2*ssim_loss(masked)"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert [line.partition(":")[0] for line in lines] == ["step 0", "step 10", "step 20", "step 23"]
    first, last = (int(line.split()[2]) for line in (lines[0], lines[-1]))
    assert first < last  # splatfacto densified


def test_the_example_shows_what_is_wrong_with_a_program(
    example: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert example.main(["--steps", "2", "--device", "cpu", "--loss", "ssim(masked)"]) == 1
    assert "error[SSM001 similarity-minimised]" in capsys.readouterr().err
