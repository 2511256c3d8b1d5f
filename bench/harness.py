"""Timing side by side: variants take turns in one process, and what counts are ratios of medians.

Before anything is timed, every variant that claims to compute the same number has to show it: its loss and its
gradients are compared with those of the first one.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

LOSS_TOLERANCE = 2e-5
"""Largest difference of two losses, relative to the loss."""

GRADIENT_TOLERANCE = 2e-4
"""Largest difference of two gradients, relative to the largest entry."""

ENVIRONMENT = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OMP_PROC_BIND", "MKL_NUM_THREADS", "KMP_BLOCKTIME")
"""Variables that decide how threads run; those that are set are named beside the figures."""


class Disagreement(RuntimeError):
    """Two variants of one row compute different numbers: their times would mean nothing."""


class Call(NamedTuple):
    """One variant, ready to run.

    Attributes:
        run: computes the loss and its gradients, and returns the loss (0-d, detached); None for a plain operation
            that is timed beside them.
        leaves: the tensors whose ``grad`` it fills.
        same: whether it computes the same number as the others of its row.
    """

    run: Callable[[], Tensor | None]
    leaves: Mapping[str, Tensor]
    same: bool = True


class Agreement(NamedTuple):
    """How far a variant is from the first one: of the loss, and of the gradients, both relative."""

    loss: float
    gradient: float


def training_step(loss: Callable[[], Tensor], leaves: Mapping[str, Tensor]) -> Callable[[], Tensor]:
    """Forward and backward through autograd, into fresh ``grad`` fields, as a training step does."""

    def run() -> Tensor:
        for leaf in leaves.values():
            leaf.grad = None
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    return run


def agree(calls: Mapping[str, Call]) -> dict[str, Agreement]:
    """How far each variant that should compute the same is from the first one.

    Raises:
        Disagreement: further than the tolerances.
    """
    found: dict[str, Agreement] = {}
    first: tuple[float, dict[str, Tensor]] | None = None
    for name, call in calls.items():
        if not call.same:
            continue
        value = call.run()
        if value is None:
            continue
        loss = float(value)
        gradients = {k: leaf.grad.detach().clone() for k, leaf in call.leaves.items() if leaf.grad is not None}
        if first is None:
            first = loss, gradients
        found[name] = _difference(first, (loss, gradients))
        if not (found[name].loss <= LOSS_TOLERANCE and found[name].gradient <= GRADIENT_TOLERANCE):
            raise Disagreement(
                f"`{name}` computes {loss:.9g} and `{next(iter(calls))}` {first[0]:.9g}; relative differences: "
                f"loss {found[name].loss:.2g}, gradient {found[name].gradient:.2g}"
            )
    return found


def _difference(one: tuple[float, dict[str, Tensor]], other: tuple[float, dict[str, Tensor]]) -> Agreement:
    loss = abs(one[0] - other[0]) / max(abs(one[0]), 1e-12)
    if one[1].keys() != other[1].keys():
        return Agreement(loss, float("inf"))
    worst = 0.0
    for name, gradient in one[1].items():
        largest = float(gradient.abs().max()) if gradient.numel() else 0.0
        apart = float((gradient - other[1][name].reshape(gradient.shape)).abs().max()) if gradient.numel() else 0.0
        worst = max(worst, apart / max(largest, 1e-30)) if apart == apart else float("inf")
    return Agreement(loss, worst)


def interleave(
    calls: Mapping[str, Callable[[], Any]],
    rounds: int,
    device: str = "cpu",
    warmup: int = 3,
    in_a_row: int | None = None,
) -> dict[str, list[float]]:
    """Seconds of one call of each variant, in each round.

    In every round each variant has its turn, so that drift of the machine hits all alike. A turn is ``in_a_row``
    calls, then one wait for the device; its time is divided by their number. By default one call, and ten on CUDA,
    where a single one would be mostly waiting.
    """
    in_a_row = in_a_row or (10 if device.startswith("cuda") else 1)
    for call in calls.values():
        for _ in range(warmup):
            call()
        wait(device)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(in_a_row):
                call()
            wait(device)
            seconds[name].append((time.perf_counter() - started) / in_a_row)
    return seconds


def summarise(seconds: Mapping[str, list[float]], ours: str) -> list[dict[str, Any]]:
    """One row per variant: median, minimum and maximum in milliseconds, and its median over ours."""
    base = statistics.median(seconds[ours])
    return [
        {
            "variant": name,
            "median_ms": 1e3 * statistics.median(times),
            "min_ms": 1e3 * min(times),
            "max_ms": 1e3 * max(times),
            "ratio": statistics.median(times) / base,
        }
        for name, times in seconds.items()
    ]


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


LEAST = 1.0
"""Seconds of all cores: below that the counters of the system are too coarse to say who took them."""


class Others:
    """How much of the machine's cores everything else takes while this lasts: ``share``, 0..1; None if unknown.

    Ratios hold where that is small: a variant that uses the threads more often loses more when a core is taken away.
    """

    def __enter__(self) -> Others:
        self.share: float | None = None
        self._before = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        after = self._now()
        if self._before is not None and after is not None and after[0] - self._before[0] > LEAST:
            total, busy = (b - a for a, b in zip(self._before, after))
            self.share = min(1.0, max(0.0, busy / total))

    @staticmethod
    def _now() -> tuple[float, float] | None:
        """Seconds of all cores, and those of them that others were busy."""
        try:
            counts = [int(n) for n in Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:9]]
        except (OSError, ValueError):
            return None
        ticks = os.sysconf("SC_CLK_TCK")
        idle = counts[3] + counts[4]
        return sum(counts) / ticks, (sum(counts) - idle) / ticks - time.process_time()


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the figures are measured on."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    info: dict[str, Any] = {
        "cpu": _cpu_model(),
        "cores": usable,
        "threads": torch.get_num_threads(),
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    if device.startswith("cuda"):
        info["gpu"] = torch.cuda.get_device_name(device)
        info["cuda"] = str(torch.version.cuda)
    return info


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()
