"""Ablation: a loss trained whole and then without each of its terms, everything else being equal."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ...dsl.config import RunConfig, config_to_dict
from ...dsl.diagnostics import LossError
from ...dsl.objective import objective
from ...dsl.typed import TypedProgram
from .checkpoint import write_atomically, writing
from .config import FREE_FIELDS
from .progress import StepDisplay
from .records import plain, versions
from .selection import SelectedLossFn, whole_name
from .setup import build_loss, build_trainer
from .trainer import SplatTrainer, pick_device

RECORD = "result.json"
NOT_FINITE = frozenset({"RUN001", "RUN002", "BND008"})
"""Findings that say something about the loss of one run; all others would end every run alike."""


class Variant(NamedTuple):
    """One row of the table.

    Attributes:
        name: as the table shows it.
        kept: the terms that it is trained with.
        removed: the others.
        skipped: why it is not trained; "" if it is.
    """

    name: str
    kept: tuple[str, ...]
    removed: tuple[str, ...]
    skipped: str = ""

    def folder(self, seed: int) -> str:
        """Name of its folder."""
        return f"{self.name.replace(' ', '_')}_seed{seed}"


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
    """

    status: str
    values: dict[str, float]
    message: str = ""
    terms: tuple[str, ...] = ()
    reused: bool = False
    folder: str = ""


def plan(program: TypedProgram, max_steps: int, chosen: Sequence[str], each_alone: bool = False) -> list[Variant]:
    """The rows of a table: the whole loss first.

    Args:
        program: the checked program, with its parameters in force.
        max_steps: length of the runs.
        chosen: names of the terms to remove, one at a time.
        each_alone: whether each of them is trained alone, too.
    """
    names = tuple(term.name for term in program.terms)
    gone = {}
    for record in objective(program, max_steps).terms:
        if record.off:
            gone[whole_name(record)] = f"not computed, as {' and '.join(record.off)} is 0"
        elif record.exists.never or record.exists.total() == 0:
            gone[whole_name(record)] = f"exists at none of the {max_steps:,} steps"
    variants = [Variant("full", names, ())]
    for name in chosen:
        rest = tuple(other for other in names if other != name)
        why = gone.get(name, "") or ("" if set(rest) - set(gone) else "nothing is left to train with")
        variants.append(Variant(f"without {name}", rest, (name,), why))
    for name in chosen if each_alone else ():
        rest = tuple(other for other in names if other != name)
        variants.append(Variant(f"{name} alone", (name,), rest, gone.get(name, "")))
    return variants


class _Watch:
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


Outcomes = Mapping[tuple[str, int], Outcome]
"""What came of the runs, by name of the variant and seed."""


class Ablation:
    """The runs of an ablation, in one folder.

    Args:
        config: the run; its evaluations and checkpoints between the first and the last step are left out.
        folder: where everything goes; each run has a folder of its own in it.
        variants: the rows.
        seeds: each row is trained with each of them.
        after_each: called with all outcomes, by variant and seed, when one has come.

    Attributes:
        outcomes: what came of the runs so far.
        interrupted: whether it was stopped before its end.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        variants: Sequence[Variant],
        seeds: Sequence[int],
        after_each: Callable[[Outcomes], None] = lambda outcomes: None,
    ) -> None:
        train = replace(config.train, eval_every=0, checkpoint_every=0, keep_checkpoints=1)
        self._config = replace(config, train=train)
        self._folder = folder
        self._variants, self._seeds = list(variants), list(seeds)
        self._after_each = after_each
        self._trainer: SplatTrainer[Any, Any] | None = None
        self._durations: list[float] = []
        self._data = data_fingerprint(config)
        self._fingerprints: dict[tuple[str, int], str] = {}
        self.outcomes: dict[tuple[str, int], Outcome] = {}
        self.interrupted = False

    def request_stop(self) -> None:
        """Ask for an end after the present step; callable from a signal handler."""
        self.interrupted = True
        if self._trainer is not None:
            self._trainer.request_stop()

    def run(self) -> dict[tuple[str, int], Outcome]:
        """Train whatever has not been trained yet.

        Raises:
            LossError: bad input that concerns all runs.
        """
        jobs = [(variant, seed) for seed in self._seeds for variant in self._variants]
        for i, (variant, seed) in enumerate(jobs):
            if self.interrupted:
                break
            outcome = self._skipped(variant, seed) or self._earlier(variant, seed)
            if outcome is None:
                left = sum(not v.skipped and self._earlier(v, s) is None for v, s in jobs[i + 1 :])
                outcome = self._train(variant, seed, f"run {i + 1} of {len(jobs)}", left)
            if outcome is not None:
                self.outcomes[variant.name, seed] = outcome
                self._after_each(self.outcomes)
        return self.outcomes

    def _skipped(self, variant: Variant, seed: int) -> Outcome | None:
        """What is not trained: it would be the same as the whole loss, or as nothing."""
        full = self.outcomes.get(("full", seed))
        why = variant.skipped
        if not why and variant.removed and full is not None and full.status == "finished":
            if not set(variant.removed) & set(full.terms):
                why = "existed at no step of the full run"
            elif not set(variant.kept) & set(full.terms):
                why = "nothing is left to train with: no other term existed at a step of the full run"
        return Outcome("skipped", {}, why) if why else None

    def _seeded(self, seed: int) -> RunConfig:
        return replace(self._config, train=replace(self._config.train, seed=seed))

    def _fingerprint(self, variant: Variant, seed: int) -> str:
        known = self._fingerprints.get((variant.name, seed))
        if known is None:
            known = self._fingerprints[variant.name, seed] = self._make_fingerprint(variant, seed)
        return known

    def _make_fingerprint(self, variant: Variant, seed: int) -> str:
        config = self._seeded(seed)
        loss = SelectedLossFn(build_loss(config, torch.device("cpu")), variant.kept)
        described = config_to_dict(config)
        for name in ("output", "loss", "loss_params"):  # the loss is known by what it says, not by where it is
            described.pop(name, None)
        described["train"] = {k: v for k, v in described["train"].items() if k not in FREE_FIELDS}
        device = str(pick_device(config.train.device))
        parts = [described, device, loss.fingerprint, self._data, versions()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _earlier(self, variant: Variant, seed: int) -> Outcome | None:
        """What an earlier call found, if it finished this very run."""
        path = self._folder / variant.folder(seed) / RECORD
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["status"] != "finished" or record["fingerprint"] != self._fingerprint(variant, seed):
                return None
            values = {str(name): float(value) for name, value in record["values"].items()}
            terms = tuple(map(str, record["terms"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return Outcome("finished", values, "", terms, True, str(path.parent))

    def _train(self, variant: Variant, seed: int, which: str, left: int) -> Outcome | None:
        """Train one run from its start; None if it was stopped."""
        config, folder = self._seeded(seed), self._folder / variant.folder(seed)
        record: dict[str, Any] = {"name": variant.name, "seed": seed, "terms_removed": variant.removed}
        record["fingerprint"] = self._fingerprint(variant, seed)
        with writing(folder):
            (folder / RECORD).unlink(missing_ok=True)
        shown = variant.name + (f", seed {seed}" if len(self._seeds) > 1 else "")
        display = StepDisplay(f"{which}: {shown}", config.train.max_steps, after=lambda this: self._mean(this) * left)
        trainer = build_trainer(
            config, folder, overwrite=True, display=display, run_info={"ablation": record}, without=variant.removed
        )
        watch = _Watch(trainer.loss_fn)
        trainer.modules = (*trainer.modules, watch)
        self._trainer = trainer
        if self.interrupted:  # it came between two runs
            return None
        try:
            result = trainer.run()
        except LossError as error:
            if not {d.code for d in error.diagnostics} <= NOT_FINITE:
                raise
            outcome = Outcome("failed", {}, error.diagnostics[0].message, (), False, str(folder))
        except torch.OutOfMemoryError:
            outcome = Outcome("failed", {}, "out of memory", (), False, str(folder))
        else:
            if not result.finished:
                self.interrupted = True
                return None
            values = {name.removeprefix("eval/"): value for name, value in result.after.items()}
            values["gaussians"] = result.state.num_gaussians
            values["seconds"] = result.seconds
            values["step_ms"] = 1000 * statistics.median(watch.seconds)
            outcome = Outcome("finished", values, "", tuple(sorted(watch.terms)), False, str(folder))
            self._durations.append(result.seconds)
        finally:
            self._trainer = None
        record.update(status=outcome.status, message=outcome.message, values=outcome.values, terms=outcome.terms)
        text = json.dumps(plain(record), indent=2) + "\n"
        write_atomically(folder / RECORD, lambda stream: stream.write(text.encode()))
        return outcome

    def _mean(self, this: float) -> float:
        return statistics.fmean([*self._durations, this])


def data_fingerprint(config: RunConfig) -> list[Any]:
    """What tells whether the files of a scene are still those of an earlier run: names, sizes and times of change."""
    if config.data.path is None:
        return []
    found = []
    for part in ("images", "sparse", "masks"):
        for root, folders, names in os.walk(os.path.join(config.data.path, part)):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(root, name)
                status = os.stat(path)
                found.append([os.path.relpath(path, config.data.path), status.st_size, status.st_mtime_ns])
    return found
