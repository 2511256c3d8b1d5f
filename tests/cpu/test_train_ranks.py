"""Several processes train together: what one process would have trained, and a clear end when one of them goes."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from splatdsl.dsl.config import load_config
from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.splat.model import SplatModel
from splatdsl.runtime.training.ranks_shards import Shards, join, take
from splatdsl.runtime.training.ranks_start import Place, find_place, first_host, own_device
from splatdsl.runtime.training.setup import build_trainer

WORKER = Path(__file__).parent / "train_ranks_worker.py"
RUN = """
loss: |
  term photometric = l1(rendered, target)
  term dssim = 0.2 * (1 - ssim(rendered, target))
data: {kind: synthetic, width: 24, views: 12, test_every: 4}
train:
  max_steps: 60
  batch_size: 1
  background: random
  strategy: default
  max_gaussians: 2500
  refine_start: 5
  refine_every: 20
  refine_stop: 50
  checkpoint_every: 10
  keep_checkpoints: 0
  images: false
  tensorboard: false
  backend: eager
  kernels: torch
output: together
"""


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "MASTER", "RANK", "WORLD", "LOCAL_RANK"))}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "NO_COLOR": "1", **more}


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def torchrun(*arguments: str, cwd: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    command += ["--master-port", free_port(), *arguments]
    with open(log, "wb") as stream:
        return subprocess.Popen(command, cwd=cwd, env=environment(), stdout=stream, stderr=subprocess.STDOUT)


def process_of(launcher: int, rank: int) -> int:
    """The process of a rank that a launcher has started."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (folder / "stat").exists():
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == launcher and f"\0RANK={rank}\0" in "\0" + (folder / "environ").read_text():
                return int(folder.name)
    raise AssertionError(f"no process of rank {rank}")


def checkpoint(folder: Path, step: int) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(folder / "checkpoints" / f"step_{step:06d}.pt", weights_only=True)
    return saved


def furthest(a: dict[str, Any], b: dict[str, Any], rows: Any = slice(None)) -> float:
    """The largest difference between the parameters of two checkpoints."""
    first, second = a["state"]["params"], b["state"]["params"]
    assert {k: v.shape for k, v in first.items()} == {k: v.shape for k, v in second.items()}
    return max(float((first[name][rows] - second[name]).abs().max()) for name in first if first[name].numel())


def evaluations(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "eval/psnr" in row]


def losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_and_the_resumed_one_is_that_of_one_process(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RUN)
    log = tmp_path / "log"
    launcher = torchrun("-m", "splatdsl", "train", "run.yaml", cwd=tmp_path, log=log)
    together = tmp_path / "together"
    deadline = time.monotonic() + 60
    while not (together / "checkpoints" / "step_000010.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process_of(launcher.pid, 1), signal.SIGKILL)
    assert launcher.wait(timeout=60) != 0
    said = log.read_text()
    ours = said[: said.index("torch/distributed/elastic")] if "torch/distributed/elastic" in said else said
    assert said.count("error[RUN019 rank-gone]: rank 1 of 2 is gone at step ") == 1
    assert "the last checkpoint is together/checkpoints/step_0000" in said
    assert "`--resume`" in said
    assert "bug in splatdsl" not in said
    assert "Traceback" not in ours
    assert json.loads((together / "run.json").read_text())["status"] == "failed"

    launcher = torchrun("-m", "splatdsl", "train", "run.yaml", "--resume", cwd=tmp_path, log=log)
    assert launcher.wait(timeout=100) == 0, log.read_text()
    said = log.read_text()
    assert said.count("continuing at step ") == 1
    assert said.count("step 60/60  held out") == 1

    config, found = load_config(tmp_path / "run.yaml", ["train.batch_size=2"])
    assert config is not None, found
    build_trainer(config, tmp_path / "alone", display="none").run()
    alone = tmp_path / "alone"
    assert abs(evaluations(together)[-1]["eval/psnr"] - evaluations(alone)[-1]["eval/psnr"]) < 0.3
    assert evaluations(together)[0]["eval/ssim"] == pytest.approx(evaluations(alone)[0]["eval/ssim"], rel=1e-6)
    numbers = [row["gaussians"] for row in evaluations(together)]
    assert numbers == [row["gaussians"] for row in evaluations(alone)]
    assert numbers[0] < numbers[-1]  # densified, and on both ranks alike, or the last evaluation had failed
    assert furthest(checkpoint(together, 20), checkpoint(alone, 20)) < 5e-3
    record = json.loads((together / "run.json").read_text())
    assert [part["ranks"] for part in record["parts"]] == [2, 2]
    assert record["status"] == "finished"
    assert (together / "point_cloud.ply").exists()

    # What two ranks have begun, one finishes.
    for later in (50, 60):
        (together / "checkpoints" / f"step_{later:06d}.pt").unlink()
    result = build_trainer(config, together, resume=True, display="none").run()
    assert result.finished
    assert abs(result.after["eval/psnr"] - evaluations(alone)[-1]["eval/psnr"]) < 0.3
    assert result.state.num_gaussians == numbers[-1]


@pytest.mark.slow
def test_shards_copies_and_what_goes_wrong_on_one_rank(tmp_path: Path) -> None:
    worker = SimpleNamespace(**runpy.run_path(str(WORKER), run_name="worker"))
    one = tmp_path / "one"
    alone = worker.trainer(one, renderer=worker.gsplat_renderer()).run()
    by_hand = worker.trainer(tmp_path / "by hand alone", loss=worker.ByHand()).run()
    shutil.copytree(one, tmp_path / "from one")
    (tmp_path / "from one" / "checkpoints" / "step_000006.pt").unlink()
    launcher = torchrun(str(WORKER), str(tmp_path), cwd=tmp_path, log=tmp_path / "log")
    assert launcher.wait(timeout=100) != 0
    said = (tmp_path / "log").read_text()
    told = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert len(told) >= 8, said
    shards, copies, unreadable, odd, drifted, mismatch, bad, interrupted = told[:8]

    # Shards: the gaussians of both ranks, one after the other, are those of one process.
    count = alone.state.num_gaussians
    assert (count, shards["own"]) == (101, 51)
    order = torch.cat([torch.arange(0, count, 2), torch.arange(1, count, 2)])
    whole = checkpoint(one, worker.STEPS)
    for name in ("shards", "from one"):
        saved = checkpoint(tmp_path / name, worker.STEPS)
        assert saved["shards"] == [51, 50]
        assert furthest(whole, saved, order) < 1e-5
        moment = saved["state"]["optimizers"]["means"]["state"][0]["exp_avg"]
        assert torch.allclose(whole["state"]["optimizers"]["means"]["state"][0]["exp_avg"][order], moment, atol=1e-7)
        maps = saved["appearance"]["exposure"]["values"]
        assert torch.allclose(whole["appearance"]["exposure"]["values"], maps, atol=1e-6)
        assert (maps != maps[0]).any()
    assert shards["after"] == pytest.approx(alone.after, rel=1e-5)
    assert SplatModel.load_ply(tmp_path / "shards" / "point_cloud.ply").num_gaussians == count
    assert len(list((tmp_path / "shards" / "images" / "step_000006").glob("*.png"))) == 2
    # One process goes on with what two have begun.
    (tmp_path / "shards" / "checkpoints" / "step_000006.pt").unlink()
    worker.trainer(tmp_path / "shards", renderer=worker.gsplat_renderer(), resume=True).run()
    assert furthest(whole, checkpoint(tmp_path / "shards", worker.STEPS), order) < 1e-5

    # Copies: the mean of the means is that of one process, since all views have one size.
    assert copies["same"]
    assert copies["after"] == pytest.approx(by_hand.after, rel=1e-5)
    assert losses(tmp_path / "by hand") == pytest.approx(losses(tmp_path / "by hand alone"), rel=1e-5)

    # Failures: all ranks end with the same finding.
    assert unreadable["codes"] == ["DAT016"]
    assert "this is what rank 1 of 2 found" in unreadable["text"]
    assert odd["codes"] == ["RUN009"]
    assert "rank 1: 1 x (15, 24)" in odd["text"]
    assert drifted["codes"] == ["RUN022"]
    assert "they differ in means" in drifted["text"]
    assert mismatch["codes"] == ["RUN005"]
    assert "2 x 1 before, 2 x 2 now" in mismatch["text"]
    assert "with 2 ranks, `batch_size: 1`" in mismatch["text"]
    assert bad["codes"] == ["RUN001"]
    assert "the loss is nan at step 2" in bad["text"]
    assert "this is what rank 1 of 2 found" in bad["text"]
    # Ctrl-C on one rank stops both after the same step.
    assert interrupted["steps"] == [[3, False], [3, False]]
    assert interrupted["checkpoint"].endswith("step_000003.pt")
    # It cannot be agreed on in the middle of a step; the other rank hears of it, or is ended where it waits.
    assert "rank 1 of 2 stopped with an error at step 2" in said
    assert said.count("its error is RUN003: this rank gives up") == 1


@pytest.mark.slow
def test_tasks_of_slurm_say_a_mistake_once(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RUN)
    shared = {"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "127.0.0.1"}
    tasks, port = [], free_port()
    for rank in ("0", "1"):
        own = environment(**shared, SLURM_PROCID=rank, SLURM_LOCALID=rank, MASTER_PORT=port)
        command = [sys.executable, "-m", "splatdsl", "train", "run.yaml", "--set", "train.max_stepz=3"]
        tasks.append(subprocess.Popen(command, cwd=tmp_path, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    said = [task.communicate(timeout=60)[0].decode() for task in tasks]
    assert [task.returncode for task in tasks] == [1, 1]
    assert said[0].count("`max_stepz` is not a key of `train`") == 1
    assert said[1] == ""


def test_places_that_launchers_give() -> None:
    torchrun_ = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "node7", "MASTER_PORT": "29500"}
    assert find_place(torchrun_) == Place(3, 4, 1, "node7", 29500, "torchrun")
    assert find_place({**torchrun_, "WORLD_SIZE": "1"}) is None
    assert find_place({}) is None
    slurm = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "1000"}
    assert find_place(slurm) is None  # the script of sbatch
    step = {**slurm, "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "gpu[07-09,12],cpu3"}
    assert find_place(step) == Place(5, 8, 1, "gpu07", 15_000 + 31_000 % 15_000, "Slurm")
    assert find_place({**step, "SLURM_STEP_NUM_TASKS": "1"}) is None  # one task of a larger job
    assert find_place({**step, "MASTER_ADDR": "head", "MASTER_PORT": "1234"}) == Place(5, 8, 1, "head", 1234, "Slurm")
    assert find_place({**step, **torchrun_}) == find_place(torchrun_)  # one task a machine starts torchrun
    for broken in ({**torchrun_, "MASTER_PORT": "http"}, {k: v for k, v in torchrun_.items() if k != "MASTER_PORT"}):
        with pytest.raises(LossError, match="MASTER_PORT"):
            find_place(broken)
    assert [first_host(x) for x in ("a", "a,b", "n[1,3]", "n[08-10]-ib,m2")] == ["a", "a", "n1", "n08-ib"]
    with pytest.raises(LossError, match="names no hosts"):
        first_host("")


def test_each_process_takes_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    second = Place(5, 8, 1, "a", 1, "torchrun")
    assert own_device("auto", second) == own_device("cuda", second) == "cuda:1"
    assert own_device("cpu", second) == "cpu"
    with pytest.raises(LossError, match="one device for 8 processes"):
        own_device("cuda:1", second)
    with pytest.raises(LossError, match="rank 5 is process 2 of this machine"):
        own_device("auto", replace(second, local_rank=2))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert own_device("auto", Place(5, 8, 2, "a", 1, "Slurm")) == "cuda:0"


def test_running_state_is_joined_and_divided() -> None:
    def part(count: int, start: int) -> dict[str, Any]:
        rows = torch.arange(start, start + count).float()
        moments = {"step": torch.tensor(4.0), "exp_avg": rows[:, None].repeat(1, 3)}
        return {
            "grad2d": rows,
            "count": None,
            "binoms": torch.eye(count),
            "list": [moments, "text"],
            "scene_scale": 2.0,
        }

    whole = join([part(3, 0), part(2, 3)], [3, 2])
    assert whole["grad2d"].tolist() == [0, 1, 2, 3, 4]
    assert whole["list"][0]["exp_avg"].shape == (5, 3)
    assert whole["list"][0]["step"] == 4
    assert whole["binoms"].shape == (3, 3)
    assert (whole["count"], whole["scene_scale"], whole["list"][1]) == (None, 2.0, "text")
    second = take(whole, torch.tensor([3, 4]), 5)
    assert second["grad2d"].tolist() == [3, 4]
    assert second["list"][0]["exp_avg"][:, 0].tolist() == [3, 4]
    assert second["binoms"].shape == (3, 3)


def test_shards_divide_the_limit_of_a_strategy_and_refuse_too_few_gaussians() -> None:
    strategy = SimpleNamespace(cap_max=10, noise_lr=1.0)
    parts = [Shards(SimpleNamespace(rank=r, world=3)).strategy(strategy) for r in range(3)]  # type: ignore[arg-type]
    assert [part.cap_max for part in parts] == [4, 3, 3]
    assert strategy.cap_max == 10
    model = SplatModel.from_points(torch.rand(2, 3), torch.rand(2, 3))
    with pytest.raises(LossError, match="2 gaussians cannot be divided over 3 ranks"):
        Shards(SimpleNamespace(rank=0, world=3)).model(model)  # type: ignore[arg-type]
