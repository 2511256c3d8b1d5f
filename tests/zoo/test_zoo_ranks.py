"""The programs in examples/zoo on two ranks, with one image and the other images of a batch, against one process."""

from __future__ import annotations

from pathlib import Path

import pytest

WORKER = Path(__file__).resolve().parent / "ranks_worker.py"
ALONE = 10
"""Programs whose inputs are of one image, or of renders with different numbers of them."""


@pytest.mark.slow
def test_two_ranks_compute_what_one_process_does(run_ranks):
    for found in run_ranks(WORKER, 2):
        compared = {name: float(said) for name, said in found.items() if said[0].isdigit()}
        assert {name: said for name, said in found.items() if name not in compared and said != "one image"} == {}
        assert len(found) >= 60
        assert len(found) - len(compared) <= ALONE
        assert {name: error for name, error in compared.items() if not error < 1e-9} == {}
