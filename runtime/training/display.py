"""What a run shows while it goes on: a progress bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from .result import TrainingResult

PLAIN_LINES = 20  # about so many lines a run prints where there is no terminal


class Display:
    """Shows nothing; the base of displays that do."""

    def start(self, first_step: int, max_steps: int) -> None:
        """The run begins, or goes on, at ``first_step``."""

    def tick(self, completed: int) -> None:
        """So many steps are done."""

    def row(self, row: Mapping[str, Any]) -> None:
        """A row of the metrics of a training step."""

    def evaluation(self, step: int, values: Mapping[str, float]) -> None:
        """The held-out views were measured before step ``step``."""

    def note(self, text: str) -> None:
        """Something that the reader should know."""

    def finish(self, result: TrainingResult) -> None:
        """The run is over."""

    def close(self) -> None:
        """Give the terminal back; called however the run ends."""


def describe_row(row: Mapping[str, Any]) -> str:
    """Loss, terms and number of gaussians in one line: ``loss 0.1534 = photometric 0.1502 x 1 + ...``."""
    parts = []
    for name, value in row.items():
        if name.startswith("terms/"):
            weight = row.get("weights/" + name[6:])
            parts.append(f"{name[6:]} {value:.4g}" + ("" if weight is None else f" x {weight:.4g}"))
    terms = f" = {' + '.join(parts)}" if parts else ""
    return f"loss {row['loss']:.4g}{terms}  {row['gaussians']:,} gaussians"


def describe_evaluation(values: Mapping[str, float]) -> str:
    """Held-out numbers in one line: ``PSNR 21.30  SSIM 0.7712``."""
    names = {"eval/psnr": ("PSNR", ".2f"), "eval/ssim": ("SSIM", ".4f"), "eval/lpips": ("LPIPS", ".4f")}
    names["eval/psnr_masked"] = ("PSNR in mask", ".2f")
    return "  ".join(f"{label} {values[name]:{form}}" for name, (label, form) in names.items() if name in values)


class TrainingDisplay(Display):
    """A progress bar with terms and held-out PSNR on a terminal, plain lines without control codes elsewhere.

    Args:
        console: where it shows; standard error if None.
        every: steps between two plain lines; None: about 20 lines a run.
    """

    def __init__(self, console: Console | None = None, every: int | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal
        self._every = every
        self._next_line = 0
        self._max_steps = 0
        self._first_step = 0
        self._began = 0.0
        self._compiling_seconds = 0.0
        self._psnr = ""
        self._terms = Text("")
        self._view: Live | None = None
        self._progress: Progress | None = None
        self._task: Any = None
        self._unsubscribe: Callable[[], None] | None = None

    def _say(self, text: str) -> None:
        if self.live:
            self.console.print(text, markup=False)
        else:  # one line is one line, however long: it is read by programs, too
            self.console.print(text, markup=False, soft_wrap=True)

    def start(self, first_step: int, max_steps: int) -> None:
        """See `Display.start`."""
        self._first_step, self._max_steps, self._began = first_step, max_steps, time.perf_counter()
        self._next_line = first_step
        self._every = self._every or max(1, max_steps // PLAIN_LINES)
        self._subscribe()
        if not self.live:
            return
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[psnr]}"),
            console=self.console,
        )
        self._task = self._progress.add_task("", total=max_steps, completed=first_step, psnr=self._psnr)
        self._view = Live(get_renderable=self._render, console=self.console, refresh_per_second=4)
        self._view.start()

    def _render(self) -> Group:
        assert self._progress is not None
        return Group(self._progress.get_renderable(), self._terms)

    def _subscribe(self) -> None:
        from ...compiler import events

        self._unsubscribe = events.subscribe(self._compiling)

    def _compiling(self, event: Any) -> None:
        self._compiling_seconds += event.seconds
        self._say(event.message)

    def tick(self, completed: int) -> None:
        """See `Display.tick`."""
        if self._progress is not None:
            self._progress.update(self._task, completed=completed)

    def row(self, row: Mapping[str, Any]) -> None:
        """See `Display.row`."""
        if self.live:
            self._terms = Text(describe_row(row), no_wrap=False)
            return
        step = row["step"]
        if step >= self._next_line:
            assert self._every is not None
            self._next_line = step - step % self._every + self._every
            self._say(f"step {step}/{self._max_steps}  {describe_row(row)}{self._left(step + 1)}")

    def _left(self, completed: int) -> str:
        """Time left, if there is something to judge it by; compiling is rare and would distort it."""
        done = completed - self._first_step
        if done < 2:
            return ""
        pace = (time.perf_counter() - self._began - self._compiling_seconds) / done
        return f"  {_duration(pace * (self._max_steps - completed))} left"

    def evaluation(self, step: int, values: Mapping[str, float]) -> None:
        """See `Display.evaluation`."""
        text = describe_evaluation(values)
        if self._progress is not None:
            self._psnr = text.split("  ")[0]
            self._progress.update(self._task, psnr=self._psnr)
        else:
            self._psnr = text.split("  ")[0]
            if not self.live:
                self._say(f"step {step}/{self._max_steps or '-'}  held out: {text}")

    def note(self, text: str) -> None:
        """See `Display.note`."""
        self._say(f"note: {text}")

    def finish(self, result: TrainingResult) -> None:
        """See `Display.finish`."""
        self.close()
        if result.after:
            self._say_table(result.before, result.after)
        for label, path in (("pictures", result.images), ("gaussians", result.model), ("metrics", result.metrics)):
            if path is not None and result.finished:
                self._say(f"{label}: {path}")

    def _say_table(self, before: Mapping[str, float], after: Mapping[str, float]) -> None:
        views = int(after.get("eval/views", 0))
        title = f"{views} held-out view{'s' if views != 1 else ''}"
        rows = [
            (_MEASURES.get(name[5:], name[5:]), _number(before.get(name)), _number(after[name]))
            for name in after
            if name != "eval/views"
        ]
        if not self.live:
            width = max(len(title), *(len(row[0]) for row in rows))
            for label, first, last in ((title, "before", "after"), *rows):
                self._say(f"{label:<{width}}{first:>10}{last:>10}")
            return
        table = Table(title=title)
        for heading in ("", "before", "after"):
            table.add_column(heading, justify="left" if not heading else "right")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    def close(self) -> None:
        """See `Display.close`."""
        if self._view is not None:
            self._view.stop()
            self._view = self._progress = None
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None


_MEASURES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "psnr_masked": "PSNR in mask",
    "ssim_masked": "SSIM in mask",
}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
