"""Peak memory of a training step beyond its inputs and their gradients.

On CUDA the allocator is asked. On a CPU a kernel may take memory that torch never hears of, so the operating system is
asked instead: a process of its own runs one variant, whose allocations all are pages that go back when they are freed
(``MALLOC_MMAP_THRESHOLD_``); after the warm-up the peak of its resident set is reset (``/proc/self/clear_refs``) and
read after a further step. What our loss keeps between steps counts, too: it is what a process holds more at this size
than at the smallest one, without the inputs and the gradients. (The lines by hand keep nothing.) Linux only; elsewhere
there is no figure.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from .harness import Call, wait
from .programs import OURS, PROGRAMS, Program, Settings, Size

MIB = 1024.0**2
SMALLEST = Size(16, 24, 100)
NOISE = 0.25
"""MiB. Processes differ by so much without any cause: less kept memory than that is taken to be none."""

_RESET = Path("/proc/self/clear_refs")
_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}


class Held(NamedTuple):
    """Of one process, in MiB: its resident set between steps, and how far a step goes above that."""

    resident: float
    above: float


def peaks(program: Program, size: Size, settings: Settings, calls: Mapping[str, Call]) -> dict[str, float]:
    """Of each variant, MiB of a step at its peak beyond the inputs and the gradients; {} where it cannot be measured.

    Args:
        program: the row.
        size: of the inputs.
        settings: how the variants are built.
        calls: the variants, built; on CUDA they are measured in this process.
    """
    if settings.device.startswith("cuda"):
        return {name: _on_cuda(call) for name, call in calls.items()}
    if not _RESET.exists() or not calls:
        return {}
    here = _in_child(program, tuple(calls), size, settings)
    found = {name: held.above for name, held in here.items()}
    if OURS in here:
        kept = _resident(program, size, settings) - _resident(program, SMALLEST, settings)
        kept -= _necessary(program, size) - _necessary(program, SMALLEST)
        found[OURS] += kept if kept > NOISE else 0.0
    return found


def _resident(program: Program, size: Size, settings: Settings) -> float:
    """MiB that a process holds between steps of ours: the less of two, since one that had to compile holds more."""
    return min(_in_child(program, (OURS,), size, settings)[OURS].resident for _ in range(2))


def _necessary(program: Program, size: Size) -> float:
    """MiB of the inputs and of the gradients of the leaves."""
    inputs = program.inputs(size, "cpu")
    every = [*inputs.leaves.values(), *inputs.constants.values(), *inputs.leaves.values()]
    return sum(t.numel() * t.element_size() for t in every) / MIB


def _on_cuda(call: Call) -> float:
    for _ in range(2):
        call.run()
    wait("cuda")
    # With its gradients there: the step frees them first and makes them again, so they are no part of the extra.
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call.run()
    wait("cuda")
    return (torch.cuda.max_memory_allocated() - before) / MIB


def _in_child(program: Program, variants: tuple[str, ...], size: Size, settings: Settings) -> dict[str, Held]:
    """Measured in a process of their own; {} if the system does not let the peak be reset."""
    job = json.dumps([program.name, variants, list(size), list(settings)])
    environment = {**os.environ, **_ENVIRONMENT}
    done = subprocess.run(
        [sys.executable, "-m", __name__, job], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"measuring the memory of `{program.name}` failed:\n{done.stderr}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return {name: Held(*held) for name, held in answer.items() if held is not None}


def _status() -> Mapping[str, float]:
    """The memory lines of this process's status, in MiB."""
    found = {}
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        key, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[key] = int(value.split()[0]) / 1024
    return found


def measure(call: Call) -> Held | None:
    """Of this process, whose allocator gives pages back as `_ENVIRONMENT` asks for."""
    for _ in range(3):
        call.run()
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    above = []
    for _ in range(3):
        if trim is not None:
            trim(0)
        resident = _status()["VmRSS"]
        try:
            _RESET.write_text("5", "ascii")
        except OSError:
            return None
        call.run()
        above.append(_status()["VmHWM"] - resident)
    return Held(resident, min(above))


def main(job: str) -> None:
    """The child: two numbers for each variant on the last line of the output.

    A variant is built after the one before it was measured, ours first: what stays of the others is none of its memory.
    """
    name, variants, size, options = json.loads(job)
    program = next(p for p in PROGRAMS if p.name == name)
    settings = Settings(*options)
    inputs = program.inputs(Size(*size), settings.device)
    print(json.dumps({variant: measure(program.build(variant, inputs, settings)) for variant in variants}))


if __name__ == "__main__":
    main(sys.argv[1])
