"""Timing side by side: variants take turns in one process, and what counts are ratios of medians."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch


def interleave(variants: Mapping[str, Callable[[], Any]], repeats: int, warmup: int = 2) -> dict[str, list[float]]:
    """Seconds of each call of each variant; in every round each variant runs once, so that drift hits all alike."""
    for call in variants.values():
        for _ in range(warmup):
            call()
    _wait()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, call in variants.items():
            started = time.perf_counter()
            call()
            _wait()
            seconds[name].append(time.perf_counter() - started)
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


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    info = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        info["gpu"] = torch.cuda.get_device_name()
    return info


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
