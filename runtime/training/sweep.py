"""The runs of a sweep: one after another, each in a folder of its own; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ...dsl.config_sweep import SweepRun
from .series import Job, Outcome, Series

Outcomes = Mapping[str, Outcome]
"""What came of the runs, by name."""


class Sweep:
    """The runs of a sweep, in one folder.

    Args:
        runs: the runs, read and checked.
        folder: where everything goes.
        after_each: called with the run and all outcomes so far, when one has come.

    Attributes:
        outcomes: what came of the runs so far.
    """

    def __init__(
        self,
        runs: Sequence[SweepRun],
        folder: Path,
        after_each: Callable[[SweepRun, Outcomes], None] = lambda run, outcomes: None,
    ) -> None:
        self._runs, self._after_each = list(runs), after_each
        self._series = Series(folder, "sweep", resumes=True)
        self.outcomes: dict[str, Outcome] = {}

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped before its end."""
        return self._series.interrupted

    def request_stop(self) -> None:
        """Ask for an end after the present step; callable from a signal handler."""
        self._series.request_stop()

    def run(self) -> dict[str, Outcome]:
        """Train what has not been trained yet; what was interrupted goes on from its newest checkpoint."""
        jobs = [self._job(run) for run in self._runs]
        for i, (run, job) in enumerate(zip(self._runs, jobs)):
            if self._series.interrupted:
                break
            outcome = self._series.earlier(job)
            if outcome is None:
                left = sum(self._series.earlier(other) is None for other in jobs[i + 1 :])
                outcome = self._series.train(job, f"run {i + 1} of {len(jobs)}", left)
            if outcome is not None:
                self.outcomes[run.name] = outcome
                self._after_each(run, self.outcomes)
        return self.outcomes

    def _job(self, run: SweepRun) -> Job:
        config = replace(run.config, train=replace(run.config.train, watch_loss=False))
        return Job(run.name, run.name, config, {"name": run.name, "values": dict(run.values)})
