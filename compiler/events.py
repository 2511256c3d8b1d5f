"""What the compiler is doing, for whoever shows it: the trainer, the command line, a notebook.

Who subscribes is told everything at once. Where nobody does, the logger ``splatdsl.compiler`` is, and what takes longer
than `PATIENCE` is also said on the standard error stream, so that it does not look like a hang. The environment
variable ``SPLATDSL_PROGRESS=0`` turns that off.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

logger = logging.getLogger("splatdsl.compiler")

PATIENCE = 2.0
"""Seconds that a compilation may take before something is said of it."""


class CompileEvent(NamedTuple):
    """``kind`` is "start" or "end"; ``message`` is a sentence; ``seconds`` is how long it took, 0 at the start."""

    kind: str
    message: str
    seconds: float = 0.0


_subscribers: list[Callable[[CompileEvent], None]] = []


def subscribe(callback: Callable[[CompileEvent], None]) -> Callable[[], None]:
    """Call ``callback`` with every event; returns the function that ends the subscription."""
    _subscribers.append(callback)

    def unsubscribe() -> None:
        if callback in _subscribers:
            _subscribers.remove(callback)

    return unsubscribe


def publish(event: CompileEvent) -> None:
    """Tell the subscribers, or the log if there is none."""
    if not _subscribers:
        logger.info("%s", event.message)
    for callback in list(_subscribers):
        callback(event)


@contextmanager
def compiling(what: str) -> Iterator[None]:
    """Tell of a compilation: what and why when it begins, how long it took when it ends, also if it fails."""
    publish(CompileEvent("start", f"compiling {what}"))
    started = time.perf_counter()
    said = threading.Event()
    waiting = threading.Timer(PATIENCE, _say_late, (what, said))
    waiting.daemon = True
    if not _subscribers and os.environ.get("SPLATDSL_PROGRESS", "1") != "0":
        waiting.start()
    try:
        yield
    finally:
        waiting.cancel()
        seconds = time.perf_counter() - started
        subject = what.partition(":")[0]
        if said.is_set():
            _say(f"compiled {subject} in {seconds:.1f} s")
        publish(CompileEvent("end", f"compiled {subject} in {seconds:.1f} s", seconds))


def _say_late(what: str, said: threading.Event) -> None:
    said.set()
    _say(f"compiling {what} ...")


def _say(text: str) -> None:
    stream = sys.stderr
    if stream is not None and not stream.closed:
        print(f"splatdsl: {text}", file=stream, flush=True)
