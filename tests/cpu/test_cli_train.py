"""`splatdsl train` from config to exit status."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from splatdsl.cli.main import main
from splatdsl.dsl.config import DataConfig
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.loss_fn import SplatLossFn
from splatdsl.runtime.payload import SplatRenderPayload
from splatdsl.runtime.training import setup

CONFIG = """\
loss: |
  term photometric = l1()
data: {kind: synthetic, width: 32, height: 24, views: 4, test_every: 4}
renderer: {kind: reference}
train:
  max_steps: 8
  log_every: 2
  checkpoint_every: 3
  sh_degree: 1
  backend: eager
  device: cpu
  images: false
  tensorboard: false
"""


class PythonLoss(SplatLossFn[SplatRenderPayload]):
    """Stands where the compiled loss would, and may do something at a step."""

    def __init__(self, at: int = -1, do: Callable[[], None] = lambda: None) -> None:
        self._at, self._do = at, do

    def compute_loss(self, rendered_frames, target_frames, step, **others):
        if step == self._at:
            self._do()
        return (rendered_frames - target_frames).abs().mean()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def python_loss(monkeypatch: pytest.MonkeyPatch) -> Callable[[PythonLoss], None]:
    def use(loss: PythonLoss) -> None:
        monkeypatch.setattr(setup, "build_loss", lambda config, device: loss)

    return use


def train(config: Path, *arguments: str) -> int:
    return main(["train", str(config), "--output", str(config.parent / "out"), *arguments])


def steps(config: Path) -> list[int]:
    lines = (config.parent / "out" / "metrics.jsonl").read_text().splitlines()
    return [row["step"] for row in map(json.loads, lines) if "loss" in row]


def test_trains_and_records(config: Path, python_loss: Any, capfd: pytest.CaptureFixture[str]) -> None:
    python_loss(PythonLoss())
    assert train(config) == 0
    assert steps(config) == [0, 2, 4, 6, 7]
    run = json.loads((config.parent / "out" / "run.json").read_text())
    assert run["run_config"]["train"]["max_steps"] == 8
    assert run["run_config"]["data"]["kind"] == "synthetic"
    assert run["run_config"]["output"] == run["config"]["output"] == str(config.parent / "out")
    assert run["run_config"]["train"]["lr"] == run["config"]["lr"]
    error = capfd.readouterr().err
    assert "held-out view" in error
    assert "PSNR" in error
    assert str(config.parent / "out" / "point_cloud.ply") in error
    assert "\x1b" not in error


def test_trains_with_a_compiled_loss(config: Path) -> None:
    pytest.importorskip("splatdsl.runtime.compiled")
    assert train(config) == 0
    lines = (config.parent / "out" / "metrics.jsonl").read_text().splitlines()
    row = next(row for row in map(json.loads, lines) if "loss" in row)
    assert row["terms/photometric"] == pytest.approx(row["loss"])
    run = json.loads((config.parent / "out" / "run.json").read_text())
    assert "photometric" in run["loss"]["objective"]
    assert "term photometric = l1()" in run["loss"]["program"]


def test_values_can_be_set(config: Path, python_loss: Any) -> None:
    python_loss(PythonLoss())
    assert train(config, "--set", "train.max_steps=3", "--set", "train.log_every=1") == 0
    assert steps(config) == [0, 1, 2]


def test_findings_are_printed_and_nothing_is_trained(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config.write_text(CONFIG.replace("max_steps: 8", "max_steps: eight").replace("kind: reference", "kind: refrence"))
    assert train(config) == 1
    error = capfd.readouterr().err
    assert "max_steps" in error
    assert "refrence" in error
    assert not (config.parent / "out").exists()


def test_findings_in_the_program_too(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config.write_text(CONFIG.replace("l1()", "l1(rendred, target)"))
    assert train(config) == 1
    assert "rendred" in capfd.readouterr().err
    assert not (config.parent / "out").exists()


def test_an_existing_run_is_refused_unless_told(
    config: Path, python_loss: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    python_loss(PythonLoss())
    assert train(config) == 0
    before = (config.parent / "out" / "metrics.jsonl").read_bytes()
    assert train(config) == 1
    error = capfd.readouterr().err
    assert "RUN004" in error
    assert "--resume" in error
    assert "--overwrite" in error
    assert (config.parent / "out" / "metrics.jsonl").read_bytes() == before
    assert train(config, "--overwrite", "--set", "train.max_steps=2") == 0
    assert steps(config) == [0, 1]


@pytest.mark.parametrize(("given", "size"), [({}, (96, 72)), ({"width": 64}, (64, 48)), ({"height": 32}, (96, 32))])
def test_synthetic_views_are_three_quarters_as_high_as_wide(given: dict[str, int], size: tuple[int, int]) -> None:
    made = setup.build_provider(DataConfig(kind="synthetic", **given), 0, torch.device("cpu"))
    assert isinstance(made, SyntheticDataProvider)
    assert (made.width, made.height) == size


def test_resume_and_overwrite_exclude_each_other(config: Path) -> None:
    assert train(config, "--resume", "--overwrite") == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_continue(
    config: Path, python_loss: Any, capfd: pytest.CaptureFixture[str], number: int
) -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    python_loss(PythonLoss(at=4, do=lambda: os.kill(os.getpid(), number)))
    assert train(config, "--set", "train.log_every=1") == 130
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert steps(config) == [0, 1, 2, 3, 4], "the step in which the signal came is finished"
    assert (config.parent / "out" / "checkpoints" / "step_000005.pt").exists()
    error = capfd.readouterr().err
    command = f"splatdsl train {config} --set train.log_every=1 --output {config.parent / 'out'} --resume"
    assert command in error

    python_loss(PythonLoss())
    assert main(command.split()[1:]) == 0
    assert steps(config) == list(range(8))


def test_a_second_signal_stops_at_once(config: Path, python_loss: Any) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    python_loss(PythonLoss(at=4, do=twice))
    assert train(config) == 130
    assert json.loads((config.parent / "out" / "run.json").read_text())["status"] == "interrupted"
    assert (config.parent / "out" / "checkpoints" / "step_000003.pt").exists()
    assert not (config.parent / "out" / "checkpoints" / "step_000005.pt").exists()
