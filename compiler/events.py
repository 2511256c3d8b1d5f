"""News of the compiler: a graph is being compiled, and why; it took so long.

Compiling can take twenty seconds. Whoever shows progress subscribes; without a subscriber the news goes to the
log of `splatdsl.compiler`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

logger = logging.getLogger("splatdsl.compiler")


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
