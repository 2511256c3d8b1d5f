"""`splatdsl sweep`: which runs there are, what is trained, and that the tables hold the numbers of the runs."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from splatdsl.cli.main import main
from splatdsl.dsl.config import RunConfig, load_config
from splatdsl.dsl.config_sweep import SweepRun
from splatdsl.runtime.training import series
from splatdsl.runtime.training.series import Outcome
from splatdsl.runtime.training.sweep_table import best, lines, numeric_key

CONFIG = """\
loss: |
  param w = 0.2 in [0, 1]
  param steep = 1 in [0, 1000]
  mix(l1(masked), ssim_loss(masked), w) + 1e-9 * exp(steep)
data: {kind: synthetic, width: 24, height: 18, views: 4, test_every: 4}
renderer: {kind: reference}
train:
  max_steps: 4
  checkpoint_every: 1
  sh_degree: 0
  backend: eager
  kernels: torch
  device: cpu
  images: false
  tensorboard: false
sweep:
  over:
    loss_params.w: [0.1, 0.4]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Names of the folders that are trained in, in order, and whether they go on."""
    names: list[tuple[str, bool]] = []
    build = series.build_trainer

    def noted(config: RunConfig, output: Path, **options: Any) -> Any:
        names.append((output.name, options["resume"]))
        return build(config, output, **options)

    monkeypatch.setattr(series, "build_trainer", noted)
    return names


def run(config: Path, *arguments: str) -> int:
    return main(["sweep", str(config), "--output", str(config.parent / "out"), *arguments])


def report(config: Path) -> dict[str, dict[str, Any]]:
    content = json.loads((config.parent / "out" / "sweep.json").read_text())
    return {entry["name"]: entry for entry in content["runs"]}


def test_the_tables_hold_the_numbers_of_the_runs(
    config: Path, trained: list[tuple[str, bool]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(config) == 0
    out = config.parent / "out"
    assert trained == [("w=0.1", False), ("w=0.4", False)]
    made = report(config)
    for name, w in (("w=0.1", 0.1), ("w=0.4", 0.4)):
        recorded = json.loads((out / name / "run.json").read_text())
        assert recorded["run_config"]["loss_params"] == {"w": w}
        assert made[name]["values"] == {"loss_params.w": w}
        assert made[name]["results"]["psnr"] == recorded["after"]["eval/psnr"]
        assert made[name]["results"]["ssim"] == recorded["after"]["eval/ssim"]
    assert made["w=0.1"]["results"]["psnr"] != made["w=0.4"]["results"]["psnr"]
    with open(out / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["loss_params.w"] for row in rows] == ["0.1", "0.4"]
    assert [float(row["psnr"]) for row in rows] == [entry["results"]["psnr"] for entry in made.values()]
    assert (out / "sweep.png").read_bytes()[:4] == b"\x89PNG"
    shown = capfd.readouterr()
    assert f"{made['w=0.4']['results']['psnr']:.2f}" in shown.out
    assert "run 2 of 2: w=0.4: step 4/4" in shown.err

    # What is there and the same is not trained again; a third value is.
    trained.clear()
    assert run(config, "--over", "loss_params.w=0.1,0.4,0.9", "--format", "json") == 0
    assert trained == [("w=0.9", False)]
    assert {n: e["results"]["psnr"] for n, e in report(config).items() if n != "w=0.9"} == {
        n: e["results"]["psnr"] for n, e in made.items()
    }
    assert json.loads(capfd.readouterr().out)["swept"] == ["loss_params.w"]
    trained.clear()
    assert run(config, "--set", "train.max_steps=2") == 0
    assert trained == [("w=0.1", False), ("w=0.4", False)], "another run under the same name starts anew"


def test_a_run_that_fails_does_not_stop_the_others(
    config: Path, trained: list[tuple[str, bool]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(config, "--set", "sweep=null", "--over", "loss_params.steep=1,500,2") == 1
    assert [name for name, _ in trained] == ["steep=1", "steep=500", "steep=2"]
    made = report(config)
    assert [entry["status"] for entry in made.values()] == ["finished", "failed", "finished"]
    assert made["steep=500"]["results"] == {}
    shown = capfd.readouterr()
    assert "the run steep=500 failed:\nerror[RUN001" in shown.err
    assert "1 of 3 runs failed: steep=500" in shown.err
    assert "failed: " in shown.out


def test_an_interrupted_sweep_goes_on(
    config: Path, trained: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    step = series.Watch.post_step

    def stop(self: Any) -> None:
        step(self)
        if len(trained) == 2 and len(self.seconds) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(series.Watch, "post_step", stop)
        assert run(config, "--set", "train.seed=3") == 130
    error = capfd.readouterr().err
    assert "stopped; 1 of 2 runs are there" in error
    again = next(line for line in error.splitlines() if line.startswith("to continue: ")).split()[3:]
    trained.clear()
    assert main(again) == 0
    assert trained == [("w=0.4", True)]
    metrics = (config.parent / "out" / "w=0.4" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in metrics if "loss" in json.loads(line)] == [0, 3]
    record = json.loads((config.parent / "out" / "w=0.4" / "run.json").read_text())
    assert [part["from_step"] for part in record["parts"]] == [0, 2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--over", "loss_params.w=0.5,2"], "`w` must be in [0, 1], but is set to 2"),
        (["--over", "train.max_steps=4,0"], "`train.max_steps` must be a whole number, at least 1, not 0"),
        (["--over", "train.sede=0,1"], "did you mean `seed`?"),
        (["--over", "loss_params.ww=0,1"], "did you mean `w`?"),
        (["--over", "output=a,b"], "`output` cannot be swept"),
        (["--over", "train.seed=0,1", "--set", "train.seed=3"], "both swept and set"),
        (["--over", "train.seed=0,1,2", "--zip"], "values are paired"),
        (["--set", "sweep=null"], "nothing is swept"),
    ],
)
def test_everything_is_checked_before_the_first_run(
    config: Path,
    trained: list[tuple[str, bool]],
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    assert run(config, *arguments) == 1
    assert said in capfd.readouterr().err
    assert trained == []
    assert not (config.parent / "out").exists()


def sweep_of(**axes: list[Any]) -> list[SweepRun]:
    config, _ = load_config("run.yaml", text="loss: l1()\ndata: {kind: synthetic}\n")
    assert config is not None
    named = [{}]
    for key, values in axes.items():
        named = [{**run, key: value} for run in named for value in values]
    return [SweepRun(str(i), run, config) for i, run in enumerate(named)]


def test_a_picture_is_of_the_one_number_that_is_swept() -> None:
    assert numeric_key(sweep_of(w=[0.1, 0.2], seed=[0, 1])) == "w"
    assert numeric_key(sweep_of(w=[0.1, 0.2], v=[1, 2])) is None
    assert numeric_key(sweep_of(seed=[0, 1])) is None
    assert numeric_key(sweep_of(w=[0.1, None])) is None
    assert numeric_key(sweep_of(flag=[True, False])) is None
    runs = sweep_of(w=[0.2, 0.1], strategy=["none", "mcmc"], seed=[0, 1])
    outcomes = {run.name: Outcome("finished", {"psnr": 20.0 + i}) for i, run in enumerate(runs)}
    assert lines(runs, outcomes, "w", "psnr") == {
        "strategy=none": [(0.1, [24.0, 25.0]), (0.2, [20.0, 21.0])],
        "strategy=mcmc": [(0.1, [26.0, 27.0]), (0.2, [22.0, 23.0])],
    }
    assert best(runs, outcomes) is runs[-1]
    assert best(runs, {}) is None
