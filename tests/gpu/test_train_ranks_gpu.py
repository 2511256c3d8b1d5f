"""Two processes with a CUDA device each train the gaussians of one scene, each its own part of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

RUN = """
loss: |
  term photometric = l1(rendered, target)
  term dssim = 0.2 * (1 - ssim(rendered, target))
data: {kind: synthetic, width: 96, views: 16, test_every: 4}
renderer: {kind: gsplat}
train:
  max_steps: 100
  batch_size: 1
  refine_start: 20
  refine_every: 20
  refine_stop: 80
  checkpoint_every: 50
  keep_checkpoints: 0
  tensorboard: false
  device: cuda
output: two
"""


def evaluations(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "eval/psnr" in row]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_ranks_train_shards_as_one_process_trains_twice_the_batch(tmp_path: Path) -> None:
    def run(*arguments: str, ranks: int = 1) -> None:
        several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
        command = [sys.executable, *several, "-m", "splatdsl", "train", "run.yaml", *arguments]
        env = {**os.environ, "PYTHONUTF8": "1"}
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env, timeout=500)
        assert done.returncode == 0, done.stderr

    (tmp_path / "run.yaml").write_text(RUN)
    run(ranks=2)
    run("--set", "train.batch_size=2", "--output", "one")
    two, one = evaluations(tmp_path / "two"), evaluations(tmp_path / "one")
    assert abs(two[0]["eval/psnr"] - one[0]["eval/psnr"]) < 0.01
    assert abs(two[-1]["eval/psnr"] - one[-1]["eval/psnr"]) < 0.3
    assert two[-1]["eval/psnr"] > two[0]["eval/psnr"] + 1
    saved = torch.load(tmp_path / "two" / "checkpoints" / "step_000100.pt", weights_only=True, map_location="cpu")
    assert len(saved["shards"]) == 2
    assert sum(saved["shards"]) == len(saved["state"]["params"]["means"]) == two[-1]["gaussians"]
    # One process continues what two have begun, and two what one has.
    for folder, more, ranks in (("two", ["--set", "train.batch_size=2"], 1), ("one", [], 2)):
        (tmp_path / folder / "checkpoints" / "step_000100.pt").unlink()
        run("--output", folder, "--resume", *more, ranks=ranks)
        assert abs(evaluations(tmp_path / folder)[-1]["eval/psnr"] - one[-1]["eval/psnr"]) < 0.3
