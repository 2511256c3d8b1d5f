"""Phases of a run: which terms exist together, and at which steps.

The steps at which the same terms exist, and the same memories are renewed, are one phase, wherever in the run they are.
A set of steps is a whole number here, whose bit s stands for step s: what holds in spans comes from `Timeline`, which
looks at few steps, `every` is a pattern, and `and`, `or` and `not` work on whole sets. Only a condition of the step
that is none of these is evaluated at every step.

What is known only while the run goes on (numbers and flags of the host, sizes, `chance`) counts both ways. Optional
inputs count as there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from .formula import expression_text
from .phases_reader import COUNTED, LISTED, MOST, Reader
from .phases_sets import spans_of
from .phases_words import Words
from .spans import Timeline
from .steps import Steps
from .typed import Expr, TypedProgram

__all__ = ["MOST", "RUN", "Crowd", "Phase", "Phases", "crowded", "phases"]

RUN = 30_000
"""Steps of a run whose length is not known."""


class Phase(NamedTuple):
    """The steps at which one set of terms exists.

    Attributes:
        start: the first of the steps.
        end: the step after the last of them.
        terms: the terms, in the order of the program.
        updates: the memories that are renewed.
        steps: how many steps there are.
        when: which they are, in words.
        at: which they are: bit s stands for step s.
    """

    start: int
    end: int
    terms: tuple[str, ...]
    updates: tuple[str, ...]
    steps: int
    when: str
    at: int

    @property
    def spans(self) -> tuple[Steps, ...]:
        """The steps as spans; as many as there are steps where they lie apart."""
        return tuple(spans_of(self.at))

    def holds(self, step: int) -> bool:
        """Whether a step is one of them."""
        return bool(self.at >> step & 1)

    def describe(self) -> str:
        """In words: ``steps 500 to 2,999: colour, depth; renews average``."""
        text = f"{self.when}: {', '.join(self.terms) or 'no term'}"
        return f"{text}; renews {', '.join(self.updates)}" if self.updates else text

    def __repr__(self) -> str:
        return f"Phase({self.describe()})"


class Phases(tuple[Phase, ...]):
    """The phases of a run, by their first step.

    Attributes:
        max_steps: the length of the run.
        gates: the conditions that differ, of terms and of memories that are renewed, as text.
        complete: whether these are all. Where there are more than `LISTED`, or a run is longer than `LONGEST` steps,
            those that come first are here.
    """

    max_steps: int
    gates: tuple[str, ...]
    complete: bool

    @property
    def sets(self) -> int:
        """How many of them compute anything."""
        return sum(1 for phase in self if phase.terms or phase.updates)

    def describe(self) -> str:
        """A line for each."""
        head = "1 phase" if len(self) == 1 else f"{len(self):,} phases"
        if not self.complete:
            head = f"more than {head}, of which these come first"
        return "\n".join([head, *(f"  {phase.describe()}" for phase in self)])

    def __repr__(self) -> str:
        return f"Phases({'; '.join(phase.describe() for phase in self)})"


def phases(
    program: TypedProgram,
    max_steps: int,
    group: str | None = None,
    host: Mapping[str, Any] | None = None,
    present: Collection[str] | None = None,
) -> Phases:
    """The phases of a run.

    Args:
        program: without errors; the values of its parameters in force count.
        max_steps: the length of the run.
        group: the term group; None: all of them.
        host: numbers, flags and sizes that are the same at all steps, by name.
        present: the optional inputs, and "mask" and "target", that are there; None: all of them.
    """
    reader = Reader(program, max_steps, group, host, present)
    found = reader.sets(LISTED)
    words = Words(reader)
    several = []
    for (terms, updates), cases in found.items():
        at = 0
        for steps in cases.values():
            at |= steps
        first = (at & -at).bit_length() - 1
        several.append(Phase(first, at.bit_length(), terms, updates, at.bit_count(), words.describe(at, cases), at))
    made = Phases(sorted(several, key=lambda phase: (phase.start, phase.end)))
    made.max_steps, made.complete = max_steps, reader.complete
    made.gates = tuple(expression_text(e) for e in reader.gates.values())
    return made


class Crowd(NamedTuple):
    """More sets of terms than are worth a graph each.

    Attributes:
        sets: how many they are.
        complete: whether these are all.
        gates: the conditions that differ.
    """

    sets: int
    complete: bool
    gates: tuple[Expr, ...]


def crowded(
    program: TypedProgram,
    max_steps: int,
    group: str | None = None,
    timeline: Timeline | None = None,
) -> Crowd | None:
    """The sets of terms of a run if they are more than `MOST`, else None; at most `COUNTED` are counted.

    Args:
        program, max_steps, group: see `phases`. What the host gives counts both ways.
        timeline: host values over this run, if somebody has them.
    """
    reader = Reader(program, max_steps, group, timeline=timeline)
    if 2 ** min(len(reader.gates), 30) <= MOST:
        return None
    count = sum(1 for terms, updates in reader.sets(COUNTED) if terms or updates)
    return Crowd(count, reader.complete, tuple(reader.gates.values())) if count > MOST else None
