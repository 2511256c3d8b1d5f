"""One rank of `test_zoo_ranks`: every program of the zoo on its part of the batch, against one process with all of it.

RANK, WORLD_SIZE and STORE, a file, come from the environment. Prints a JSON object: the largest relative error of each
program's total, terms and gradients on this rank.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import warnings
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

import splatdsl
from splatdsl.runtime.ranks import Ranks

ROOT = Path(__file__).resolve().parent


def module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = made
    spec.loader.exec_module(made)
    return made


edges = module(ROOT / "test_zoo_robust.py")


def load(name: str, ranks: Ranks | None) -> Any:
    reference = edges.reference(name)
    path = edges.ZOO / f"{name}.loss"
    externs = getattr(reference, "EXTERNS", {})
    return splatdsl.load(
        path, params=getattr(reference, "PARAMS", {}), backend="eager", register=externs or None, ranks=ranks
    )


def part(name: str, scene: Any, rows: slice) -> Any:
    """The images of one rank."""

    def cut(path: str, x: Tensor) -> Tensor:
        for axis, letter in enumerate(edges.dims(name, path, x)):
            if letter == "B":
                x = x[(slice(None),) * axis + (rows,)]
        return x

    return edges.mapped(scene, cut)


def outcome(name: str, loss: Any, scene: Any, step: int, most: int) -> tuple[Tensor, dict[str, Tensor], Any]:
    given, leaves = edges.with_leaves(name, scene)
    total = loss(**given, step=step, max_steps=most)
    total.backward()
    return total.detach(), loss.terms, {k: torch.zeros_like(x) if x.grad is None else x.grad for k, x in leaves.items()}


def images(name: str, scene: Any) -> int:
    """How many images everything has; 1 where that differs."""
    found = set()

    def look(path: str, x: Tensor) -> Tensor:
        found.update(n for n, letter in zip(x.shape, edges.dims(name, path, x)) if letter == "B")
        return x

    edges.mapped(scene, look)
    return found.pop() if len(found) == 1 else 1


def compare(name: str, rank: int) -> str:
    reference = edges.reference(name)
    g = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    scene = reference.inputs(g, getattr(reference, "MASKED", True))
    if images(name, scene) < 2:
        return "one image"
    steps = edges.steps(name, edges.loaded(name), edges.single(scene))
    one, several = load(name, None), load(name, Ranks())
    worst = 0.0
    rows = slice(0, 1) if rank == 0 else slice(1, None)
    for step in steps:
        total, terms, gradients = outcome(name, one, scene, step, reference.MAX_STEPS)
        mine = outcome(name, several, part(name, scene, rows), step, reference.MAX_STEPS)
        worst = max(worst, float(abs(mine[0] - total) / max(abs(total), 1e-6)))
        assert mine[1].keys() == terms.keys(), name
        worst = max([worst, *(float(abs(mine[1][t] - terms[t]) / max(abs(terms[t]), 1e-3)) for t in terms)])
        wanted = part(name, gradients, rows)
        for path, gradient in mine[2].items():
            if "B" not in edges.dims(name, path, gradients[path]):
                dist.all_reduce(gradient)
            norm = max(float(gradients[path].norm()), 1e-9)
            assert torch.isfinite(gradient).all(), (name, path)
            worst = max(worst, float((gradient - wanted[path]).norm()) / norm)
    return f"{worst:.1e}"


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = f"file://{os.environ['STORE']}"
    dist.init_process_group("gloo", store, timeout=timedelta(seconds=60), rank=rank, world_size=size)
    found = {}
    for name in sys.argv[1:] or edges.NAMES:
        try:
            found[name] = compare(name, rank)
        except splatdsl.LossError as error:
            found[name] = f"LossError {error.diagnostics[0].code}: {error.diagnostics[0].message}"
    print(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
