"""Ablation: a loss trained whole and then without each of its terms, everything else being equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ...dsl.config import RunConfig
from ...dsl.objective import objective
from ...dsl.typed import TypedProgram
from .selection import whole_name
from .series import Job, Outcome, Series

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
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        variants: Sequence[Variant],
        seeds: Sequence[int],
        after_each: Callable[[Outcomes], None] = lambda outcomes: None,
    ) -> None:
        train = replace(config.train, eval_every=0, checkpoint_every=0, keep_checkpoints=1, watch_loss=False)
        self._config = replace(config, train=train)
        self._variants, self._seeds = list(variants), list(seeds)
        self._after_each = after_each
        self._series = Series(folder, "ablation", NOT_FINITE)
        self.outcomes: dict[tuple[str, int], Outcome] = {}

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped before its end."""
        return self._series.interrupted

    def request_stop(self) -> None:
        """Ask for an end after the present step; callable from a signal handler."""
        self._series.request_stop()

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
                outcome = self._series.train(self._job(variant, seed), f"run {i + 1} of {len(jobs)}", left)
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

    def _job(self, variant: Variant, seed: int) -> Job:
        entries = {"name": variant.name, "seed": seed, "terms_removed": variant.removed}
        label = variant.name + (f", seed {seed}" if len(self._seeds) > 1 else "")
        config = replace(self._config, train=replace(self._config.train, seed=seed))
        return Job(label, variant.folder(seed), config, entries, variant.kept, variant.removed)

    def _earlier(self, variant: Variant, seed: int) -> Outcome | None:
        return self._series.earlier(self._job(variant, seed))
