"""Several runs, one after another, in one folder: what is finished is not trained again."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...dsl.config import RunConfig, config_to_dict
from ...dsl.config_data import root_of, scene_files
from ...dsl.diagnostics import Diagnostic, LossError
from .checkpoint import write_atomically, writing
from .config import FREE_FIELDS
from .progress import StepDisplay
from .records import plain, versions
from .selection import SelectedLossFn
from .setup import build_loss, build_trainer
from .trainer import SplatTrainer, pick_device

RECORD = "result.json"
_NO_NUMBERS = frozenset({*FREE_FIELDS, "watch_loss"})


class Outcome(NamedTuple):
    """What came of one run.

    Attributes:
        status: ``finished``, ``failed`` or ``skipped``.
        values: held-out numbers by names such as ``psnr``, with ``gaussians``, ``seconds`` (the whole run, with its
            evaluations and the compilation of the loss) and ``step_ms`` (median over the steps).
        message: why it failed or was skipped.
        terms: the terms that existed at a step of it.
        reused: whether it was trained by an earlier call.
        folder: where it is.
        findings: the diagnostics of a run that failed.
    """

    status: str
    values: dict[str, float]
    message: str = ""
    terms: tuple[str, ...] = ()
    reused: bool = False
    folder: str = ""
    findings: tuple[Diagnostic, ...] = ()


class Job(NamedTuple):
    """One run of a series.

    Attributes:
        label: what it is called while it runs.
        folder: name of its folder.
        config: the run.
        entries: what its record says of it.
        kept, removed: the terms that it is trained with, and the others; None and () for all of them.
    """

    label: str
    folder: str
    config: RunConfig
    entries: Mapping[str, Any]
    kept: tuple[str, ...] | None = None
    removed: tuple[str, ...] = ()


class Watch:
    """A module of the trainer that notes which terms exist and how long steps take."""

    def __init__(self, loss: Any) -> None:
        self._loss = loss
        self._began = 0.0
        self.terms: set[str] = set()
        self.seconds: list[float] = []

    def pre_step(self) -> None:
        """A step begins."""
        self._began = time.perf_counter()

    def post_compute_loss(self) -> None:
        """The loss is known."""
        self.terms.update(self._loss.terms)

    def post_step(self) -> None:
        """A step ends; whether the loss is finite was waited for, so that a GPU has done most of it."""
        self.seconds.append(time.perf_counter() - self._began)


class Series:
    """Trains the runs of one folder.

    Args:
        folder: where everything goes; each run has a folder of its own in it.
        kind: what ``run.json`` of a run calls the series.
        fails: codes of the findings that say something of one run; all others end the series. None: all of them.
        resumes: whether a run that was interrupted goes on, instead of starting again.

    Attributes:
        interrupted: whether it was stopped before its end.
    """

    def __init__(self, folder: Path, kind: str, fails: Collection[str] | None = None, resumes: bool = False) -> None:
        self._folder, self._kind, self._fails, self._resumes = folder, kind, fails, resumes
        self._trainer: SplatTrainer[Any, Any] | None = None
        self._durations: list[float] = []
        self._fingerprints: dict[str, str] = {}
        self._data: dict[str | None, list[Any]] = {}
        self.interrupted = False

    def request_stop(self) -> None:
        """Ask for an end after the present step; callable from a signal handler."""
        self.interrupted = True
        if self._trainer is not None:
            self._trainer.request_stop()

    def fingerprint(self, job: Job) -> str:
        """What tells whether a run is still the same: its settings, its loss, its data and the versions."""
        known = self._fingerprints.get(job.folder)
        if known is None:
            known = self._fingerprints[job.folder] = self._make_fingerprint(job)
        return known

    def _make_fingerprint(self, job: Job) -> str:
        config = job.config
        loss: Any = build_loss(config, torch.device("cpu"))
        if job.kept is not None:
            loss = SelectedLossFn(loss, job.kept)
        described = config_to_dict(config)
        for name in ("output", "loss", "loss_params"):  # the loss is known by what it says, not by where it is
            described.pop(name, None)
        described["train"] = {k: v for k, v in described["train"].items() if k not in _NO_NUMBERS}
        path = config.data.path
        if path not in self._data:
            self._data[path] = data_fingerprint(config)
        parts = [described, str(pick_device(config.train.device)), loss.fingerprint, self._data[path], versions()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def status(self, job: Job) -> str:
        """``finished``, ``failed`` or ``running`` if an earlier call trained this very run, or began to; else ""."""
        record = self._record(job)
        return str(record.get("status", "")) if record.get("fingerprint") == self.fingerprint(job) else ""

    def _record(self, job: Job) -> dict[str, Any]:
        try:
            record = json.loads((self._folder / job.folder / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def earlier(self, job: Job) -> Outcome | None:
        """What an earlier call found, if it finished this very run."""
        record = self._record(job)
        try:
            if record["status"] != "finished" or record["fingerprint"] != self.fingerprint(job):
                return None
            values = {str(name): value for name, value in record["values"].items() if float(value) == value}
            terms = tuple(map(str, record["terms"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return Outcome("finished", values, "", terms, True, str(self._folder / job.folder))

    def train(self, job: Job, which: str, left: int) -> Outcome | None:
        """Train one run.

        Args:
            job: the run.
            which: its place among all, such as ``run 2 of 5``.
            left: how many will be trained after it.

        Returns:
            None if it was stopped.

        Raises:
            LossError: a finding that concerns all runs.
        """
        folder = self._folder / job.folder
        resume = self._resumes and self.status(job) == "running"
        record: dict[str, Any] = {**job.entries, "fingerprint": self.fingerprint(job)}
        if not resume:
            with writing(folder):
                (folder / RECORD).unlink(missing_ok=True)
        display = StepDisplay(
            f"{which}: {job.label}", job.config.train.max_steps, after=lambda this: self._mean(this) * left
        )
        try:
            trainer = build_trainer(
                job.config, folder, resume=resume, overwrite=not resume, display=display,
                run_info={self._kind: record}, without=job.removed,
            )  # fmt: skip
            watch = Watch(trainer.loss_fn)
            trainer.modules = (*trainer.modules, watch)
            self._trainer = trainer
            if self.interrupted:  # it came between two runs
                return None
            if self._resumes:
                self._write(folder, {**record, "status": "running"})
            result = trainer.run()
        except LossError as error:
            if self._fails is not None and not {d.code for d in error.diagnostics} <= set(self._fails):
                raise
            message = error.diagnostics[0].message
            outcome = Outcome("failed", {}, message, (), False, str(folder), tuple(error.diagnostics))
        except torch.OutOfMemoryError:
            outcome = Outcome("failed", {}, "out of memory", (), False, str(folder))
        else:
            if not result.finished:
                self.interrupted = True
                return None
            values = {name.removeprefix("eval/"): value for name, value in result.after.items()}
            values["gaussians"] = result.state.num_gaussians
            values["seconds"] = result.seconds
            if watch.seconds:
                values["step_ms"] = 1000 * statistics.median(watch.seconds)
            outcome = Outcome("finished", values, "", tuple(sorted(watch.terms)), False, str(folder))
            self._durations.append(result.seconds)
        finally:
            self._trainer = None
        record.update(status=outcome.status, message=outcome.message, values=outcome.values, terms=outcome.terms)
        self._write(folder, record)
        return outcome

    def _write(self, folder: Path, record: Mapping[str, Any]) -> None:
        text = json.dumps(plain(record), indent=2) + "\n"
        write_atomically(folder / RECORD, lambda stream: stream.write(text.encode()))

    def _mean(self, this: float) -> float:
        return statistics.fmean([*self._durations, this])


def data_fingerprint(config: RunConfig) -> list[Any]:
    """What tells whether the files of a scene are still those of an earlier run: names, sizes and times of change."""
    root = root_of(config.data.path or "") or "."
    found = []
    for path in scene_files(config.data):
        status = os.stat(path)
        found.append([os.path.relpath(path, root), status.st_size, status.st_mtime_ns])
    return found
