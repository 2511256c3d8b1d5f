"""Checks many files on several cores: workers fill the cache of results, and the run itself then finds them there.

So the order of the report, and everything that is said, does not depend on who checked what.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .check_input import Problem, read

if TYPE_CHECKING:
    from .check import Run

LEAST = 64
"""Files from which on workers are worth their start."""

MOST = 8
"""Workers at most."""

_SAMPLE = 16


def warm(run: Run, names: Sequence[str]) -> None:
    """Check files that are not in the cache, on all cores; nothing is reported, and failures are left to the run."""
    names = [name for name in names if name != "-"]
    workers = min(_cores(), MOST, len(names) // (LEAST // 2))
    if workers < 2 or len(names) < LEAST or not hasattr(os, "fork"):
        return
    # Look at a few files spread over all: after a small change hardly any need to be checked.
    sample = names[:: max(1, len(names) // _SAMPLE)]
    if sum(_check(run, name) for name in sample) < len(sample) // 2:
        return
    shares = [names[i::workers] for i in range(workers)]
    pipes = [_start(run, share) for share in shares[1:]]
    for name in shares[0]:
        _check(run, name)
    for worker, pipe in pipes:
        with os.fdopen(pipe, "rb") as stream:
            data = stream.read()
        os.waitpid(worker, 0)
        _merge(run, data)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _check(run: Run, name: str) -> bool:
    """Put the findings of one file into the cache; whether they were not in it before."""
    try:
        given = read(name, None)
        settings = run.resolve(name)
    except (Problem, OSError):
        return False
    before = sum(len(cache.fresh) for cache in run.caches.values())
    if settings is not None:
        run.kept(given, given.text, settings)
    return sum(len(cache.fresh) for cache in run.caches.values()) > before


def _start(run: Run, names: Sequence[str]) -> tuple[int, int]:
    """A worker for some files: its process, and the pipe that its results come through."""
    reading, writing = os.pipe()
    worker = os.fork()
    if worker:
        os.close(writing)
        return worker, reading
    status = 1
    try:  # in the child: whatever happens, it ends here
        os.close(reading)
        for name in names:
            _check(run, name)
        made: dict[str, Any] = {root: cache.fresh for root, cache in run.caches.items()}
        with os.fdopen(writing, "wb") as stream:
            stream.write(json.dumps(made).encode())
        status = 0
    finally:
        os._exit(status)


def _merge(run: Run, data: bytes) -> None:
    try:
        made = json.loads(data)
    except ValueError:
        return  # the worker failed: the run checks its files itself
    for root, entries in made.items():
        run.cache(root).add(entries)
