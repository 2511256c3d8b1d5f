"""Sets of steps as whole numbers, whose bit s stands for step s."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .steps import Steps

SHOWN = 6
"""Spans that are named one by one."""


def full(end: int) -> int:
    """All steps before ``end``."""
    return (1 << end) - 1


def of_spans(spans: Iterable[Steps], end: int) -> int:
    """The steps of spans that come before ``end``."""
    found = 0
    for start, stop in spans:
        last = end if stop is None else min(stop, end)
        if start < last:
            found |= full(last) ^ full(start)
    return found


def spans_of(steps: int) -> list[Steps]:
    """The spans that a set consists of."""
    return [Steps(*found.span()) for found in re.finditer("1+", f"{steps:b}"[::-1])]


def multiples(period: int, offset: int, end: int) -> int:
    """``offset``, ``offset + period`` and so on before ``end``; ``0 <= offset < period``."""
    if offset >= end:
        return 0
    found, reach = 1 << offset, period
    while reach < end:  # twice as many each time
        found |= found << reach
        reach *= 2
    return found & full(end)


def in_all(several: Iterable[int]) -> int:
    """The steps that are in all sets; -1, which stands for every step, if there is none."""
    found = -1
    for steps in several:
        found &= steps
    return found
