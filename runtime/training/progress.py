"""Progress of a run whose own report is shown by someone else: a bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from .display import Display, _duration

PLAIN_LINES = 4


class StepDisplay(Display):
    """Steps done and time left.

    Args:
        label: what is going on, such as ``run 2 of 5: without depth``.
        steps: how many steps there will be.
        console: where it shows; standard error if None.
        after: how many seconds what comes after this run will take, from what this run will take in all; None: unknown.
    """

    def __init__(
        self,
        label: str,
        steps: int,
        console: Console | None = None,
        after: Callable[[float], float] | None = None,
    ) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal
        self.label, self.steps = label, steps
        self._after = after
        self._began = time.perf_counter()
        self._first_tick: tuple[int, float] | None = None
        self._next_line = 1
        self._bar: Progress | None = None

    def start(self, first_step: int, max_steps: int) -> None:
        """See `Display.start`."""
        if not self.live:
            self.console.print(f"{self.label}: {self.steps:,} steps", markup=False, soft_wrap=True)

    def tick(self, completed: int) -> None:
        """See `Display.tick`."""
        now = time.perf_counter()
        if self._first_tick is None:  # the first step compiles and allocates: it says nothing of the others
            self._first_tick = completed, now
        left = self._left(completed, now)
        if self.live:
            self._show(completed, left)
        elif completed * PLAIN_LINES >= self._next_line * self.steps or completed == self.steps:
            self._next_line = completed * PLAIN_LINES // self.steps + 1
            line = f"{self.label}: step {completed:,}/{self.steps:,}{', ' if left else ''}{left}"
            self.console.print(line, markup=False, soft_wrap=True)

    def _left(self, completed: int, now: float) -> str:
        """Time left for this run and for what comes after it, if there is something to judge it by."""
        assert self._first_tick is not None
        first, began = self._first_tick
        if completed <= first:
            return ""
        left = (now - began) / (completed - first) * (self.steps - completed)
        if self._after is None:
            return f"{_duration(left)} left"
        return f"{_duration(left)} left, {_duration(left + self._after(now - self._began + left))} for all runs"

    def _show(self, completed: int, left: str) -> None:
        if self._bar is None:
            words = TextColumn("{task.description}"), TextColumn("{task.fields[left]}")
            bar = Progress(words[0], BarColumn(), MofNCompleteColumn(), words[1], console=self.console, transient=True)
            self._bar = bar
            self._bar.add_task(self.label, total=self.steps, completed=completed, left=left)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=completed, left=left)

    def pause(self) -> None:
        """Take the bar away until the next step, for something else to be printed."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def close(self) -> None:
        """See `Display.close`."""
        self.pause()
