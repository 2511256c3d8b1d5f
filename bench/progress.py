"""What a run of the suite shows while it goes on: a bar on a terminal, plain lines on standard error anywhere else."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

QUIET = 5.0
"""Seconds between two plain lines within a row."""


class Reporter:
    """Shows which row is measured, and what is done for it."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._live = self.console.is_terminal and not self.console.is_dumb_terminal
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._rows, self._row, self._title = 0, 0, ""
        self._began = self._said = 0.0
        self._noted: set[str] = set()

    def start(self, rows: int) -> None:
        """So many rows will be measured."""
        self._rows, self._began = rows, time.monotonic()
        if self._live:
            columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=rows)

    def row(self, title: str) -> None:
        """The next row begins."""
        self._row += 1
        self._title = title
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._row - 1)
        self.doing("")

    def doing(self, what: str) -> None:
        """What is done for the row at the moment."""
        text = f"{self._title}: {what}" if what else self._title
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=text)
        elif not what or time.monotonic() - self._said > QUIET:
            self._said = time.monotonic()
            place = f"[{self._row}/{self._rows}] {time.monotonic() - self._began:4.0f} s"
            self.console.print(f"{place}  {text}", markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Something that the reader should know; each is said once."""
        if text not in self._noted:
            self._noted.add(text)
            self.console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Give the terminal back; called however the run ends."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
