"""What a plot of the weights shows, without how: lines over steps, the scale, the words around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..dsl.curves import number
from ..dsl.objective import Objective, Part, TermRecord
from ..dsl.render import printable

ASSUMED_STEPS = 30_000
"""Length of a run that nothing states: what the field trains for."""

RATIO = 30.0
"""Where the largest weight is this many times the smallest, the scale is logarithmic."""

_MOST_SPANS = 400  # a line in more pieces than this is drawn as one
_LABEL = 48

Point = tuple[int, float]


class Series(NamedTuple):
    """The weight of one term, or of one part of it.

    ``segments`` are its pieces where the term exists; ``gates`` say what else must hold, "" for nothing.
    """

    label: str
    segments: tuple[tuple[Point, ...], ...]
    gates: str

    @property
    def values(self) -> list[float]:
        """Every value that is drawn."""
        return [v for segment in self.segments for _, v in segment]


class Chart(NamedTuple):
    """A whole plot.

    Attributes:
        title: the file; ``params`` are the values of its parameters in force, one text each.
        series: the lines.
        max_steps: the right end; ``assumed`` if nothing states it.
        log: whether the scale is logarithmic; ``low`` and ``high`` are its ends.
        notes: what is not drawn, and why.
    """

    title: str
    params: tuple[str, ...]
    series: tuple[Series, ...]
    max_steps: int
    assumed: bool
    log: bool
    low: float
    high: float
    notes: tuple[str, ...]


MOST_VALUES = 300_000
"""Values that are worked out for a plot, beside those at which weights turn: fewer points where they are many."""


def chart(record: Objective, title: str, assumed: bool, samples: int = 600) -> Chart:
    """The plot of an objective.

    Args:
        record: with a known number of steps.
        title: what stands above it.
        assumed: whether that number is `ASSUMED_STEPS`, because nothing states it.
        samples: points of a line beside the steps at which it turns.
    """
    assert record.max_steps is not None
    series: list[Series] = []
    notes: list[str] = []
    several = len(record.terms) > 1
    values = sum(part.weight.curve.size for term in record.terms for part in term.parts)
    samples = max(min(samples, MOST_VALUES // max(values, 1)), 16)
    for term in record.terms:
        name = f"{term.group}.{term.name}" if term.group else term.name
        if term.off:
            notes.append(f"{name}: not computed, as {' and '.join(term.off)} {'is' if len(term.off) == 1 else 'are'} 0")
        elif term.exists.never:
            notes.append(f"{name}: never exists within {record.max_steps:,} steps")
        for part in term.parts if not term.exists.never else ():
            label = name if len(term.parts) == 1 else f"{name}: {part.core}" if several else part.core
            if part.weight.unknown:
                notes.append(f"{label}: its weight depends on {', '.join(part.weight.unknown)}")
                continue
            series.append(_series(label, term, part, record.max_steps, samples))
    log, low, high = _scale(series)
    params = tuple(f"{p.name} = {_value(p.value)}" for p in record.params)
    title = printable(title)
    return Chart(title, params, tuple(series), record.max_steps, assumed, log, low, high, tuple(map(printable, notes)))


def _value(value: float | bool | str) -> str:
    if isinstance(value, (bool, str)):
        return str(value).lower() if isinstance(value, bool) else value
    return number(value)


def _series(label: str, term: TermRecord, part: Part, max_steps: int, samples: int) -> Series:
    curve = part.weight.curve
    turns = curve.turns()
    marks = {0, max_steps - 1, *turns, *(t - 1 for t in turns), *(t + 1 for t in turns)}
    marks |= {round(i * (max_steps - 1) / samples) for i in range(samples + 1)} if curve.moves else set()
    spans = [(s.start, max_steps if s.stop is None else s.stop) for s in term.exists.spans]
    if len(spans) > _MOST_SPANS:
        spans = [(spans[0][0], spans[-1][1])]
    segments = []
    for start, stop in spans:
        steps = sorted({start, stop - 1, *(m for m in marks if start <= m < stop)})
        points = [(s, curve.at(s)) for s in steps]
        segments.append(tuple((s, v) for s, v in points if math.isfinite(v)))
    gates = [g.text for g in (*term.exists.gates, *part.weight.nonzero.gates)]
    short = label if len(label) <= _LABEL else label[: _LABEL - 3] + "..."
    return Series(printable(short), tuple(s for s in segments if s), printable(", ".join(dict.fromkeys(gates))))


def _scale(series: Sequence[Series]) -> tuple[bool, float, float]:
    """Whether the scale is logarithmic, and its ends."""
    values = [v for s in series for v in s.values]
    if not values:
        return False, 0.0, 1.0
    high, low = max(values), min(values)
    # A ramp begins at 0 and is no reason for a logarithm: what counts is the height that each line reaches, and how
    # far one falls that never gets to 0.
    levels = [max(s.values) for s in series if s.values and max(s.values) > 0]
    levels += [min(s.values) for s in series if s.values and min(s.values) > 0]
    if low >= 0 and levels and max(levels) / min(levels) >= RATIO:
        return True, 10 ** (math.floor(math.log10(min(levels))) - (0 if 0 not in values else 1)), high * 1.6
    pad = 0.06 * (high - min(low, 0.0)) or 1.0
    return False, min(low - pad, 0.0) if low < 0 else 0.0, max(high, 0.0) + pad
