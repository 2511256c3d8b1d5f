"""Losses on several ranks: values and gradients are those of one process that holds everything."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).resolve().parent / "ranks_worker.py"


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_ranks_compute_what_one_process_does(run_ranks, size):
    for rank, found in enumerate(run_ranks(WORKER, size, "eager")):
        assert len(found) >= 20
        assert {case: error for case, error in found.items() if not error < 1e-9} == {}, f"rank {rank}"


@pytest.mark.slow
def test_compiled_graphs_exchange_alike(run_ranks):
    for found in run_ranks(WORKER, 2, "compiled"):
        assert len(found) == 2
        assert {case: error for case, error in found.items() if not error < 1e-9} == {}


@pytest.mark.slow
def test_ranks_that_do_not_fit_together_are_told_so(run_ranks):
    first, second = run_ranks(WORKER, 2, "refused")
    for found in (first, second):
        assert "RUN018" in found["steps"]
        assert "rank 0: step 5 of 30000" in found["steps"]
        assert "rank 1: step 6 of 30000" in found["steps"]
        assert "parameters [('w', 0.4)]" in found["parameters"]
        assert "rank 0: inputs other" in found["inputs"]
        assert "20 on rank 0, 19 on rank 1" in found["numbers of gaussians"]
        assert 'ranks=Ranks(gaussians="shards")' in found["numbers of gaussians"]
        assert "as many gaussians, but other ones" in found["gaussians"]
        assert "[1, 20, 28, 3] on rank 0, [1, 21, 28, 3] on rank 1" in found["sizes"]
        assert "looks at the gaussians of all ranks at once" in found["minmax"]
        assert "`ranks` is 'views'" in found["word"]
        assert found["no_grad"] == found["sum of ranks"] == pytest.approx(found["expected"], rel=1e-12)
    assert first["alone"] == 0


@pytest.mark.slow
def test_a_rank_that_is_gone_is_named_at_once(run_ranks):
    (found,) = run_ranks(WORKER, 2, "gone", gone=1)
    assert found["step"] == 2
    assert "error[RUN019 rank-gone]: rank 0 of 2 no longer reaches the others" in found["said"]
    assert "loss_fn.alone()" in found["said"]


@pytest.mark.slow
def test_the_example_takes_the_same_steps_on_two_ranks():
    command = [sys.executable, str(ROOT / "examples/embedding/many_ranks.py"), "--steps", "4", "--backend", "eager"]
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    alone = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    shared = {**alone, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    places = [alone, *({**shared, "RANK": str(r)} for r in range(2))]
    running = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for env in places]
    one, first, second = (process.communicate(timeout=120)[0].splitlines() for process in running)
    assert [process.returncode for process in running] == [0, 0, 0]
    assert not second
    assert one[-1].removesuffix("1 rank") == first[-1].removesuffix("2 ranks")
    assert one[:-1] == first[:-1]
