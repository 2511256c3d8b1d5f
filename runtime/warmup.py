"""Compiles ahead what the steps of a run need, and leaves no trace."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..compiler.events import CompileEvent, publish
from ..compiler.specialise import Environment, Facts
from ..dsl.diagnostics import LossError
from ..dsl.host import PRESENT
from ..dsl.phases import Phase, phases
from .knowing import argument

if TYPE_CHECKING:
    from .compiled import CompiledLossFn

MASKS = ("as given", "both")


class Warmed(NamedTuple):
    """What a warmup evaluated: which steps, in words, how many graphs were compiled for it, and how long it took."""

    what: str
    graphs: int
    seconds: float


class _Job(NamedTuple):
    """A variant that steps of a run need, with arguments and host values of such a step."""

    what: str
    facts: Facts
    whole: Facts
    given: Mapping[str, Any]
    env: Environment
    step: int


class Warmup:
    """The warmup of one loss for runs of one length.

    Args:
        loss_fn: the loss.
        max_steps: length of the run.
        group: the term group; None: all of them.
    """

    def __init__(self, loss_fn: CompiledLossFn, max_steps: int, group: str | None) -> None:
        self.fn, self.max_steps, self.group = loss_fn, max_steps, group
        self.schedule = loss_fn._compiled.schedule

    def run(self, given: Mapping[str, Any], masks: str, evaluation: bool) -> tuple[Warmed, ...]:
        """Evaluate every variant once; see `CompiledLossFn.warmup`."""
        if masks not in MASKS:
            listed = " and ".join(f'"{word}"' for word in MASKS)
            raise LossError([argument("masks", masks, f"there is no choice `{masks}` of masks", f"there are {listed}")])
        jobs = [job for arguments in self._masked(given, masks) for job in self._jobs(arguments)]
        for job in jobs:  # what is missing is said before the first graph, not after minutes
            self.fn.parts.binder.bind(self.fn._compiled.read(job.facts), job.given)
        modes = (True, False) if evaluation else (torch.is_grad_enabled(),)
        warmed = []
        with self._untouched():
            for number, job in enumerate(jobs, 1):
                what = job.what if len(jobs) == 1 else f"{number} of {len(jobs)}: {job.what}"
                publish(CompileEvent("start", f"preparing phase {what}"))
                began, graphs = time.perf_counter(), self.fn.stats.graphs
                for gradients in modes:
                    with torch.set_grad_enabled(gradients):
                        self._evaluate(job)
                warmed.append(Warmed(job.what, self.fn.stats.graphs - graphs, time.perf_counter() - began))
        return tuple(warmed)

    def _evaluate(self, job: _Job) -> None:
        (part,) = self.fn._steps.prepare(job.whole, job.given, job.env, job.step, (job.facts,))
        self.fn._steps.rehearse(part, job.env)

    def _masked(self, given: Mapping[str, Any], masks: str) -> Iterator[Mapping[str, Any]]:
        """The arguments, with and without a mask if both are asked for and can be."""
        yield given
        if masks == "as given":
            return
        if given["mask"] is not None and not self.fn.needs_mask:
            yield {**given, "mask": None}
        elif given["mask"] is None and (ones := self.fn.parts.binder.ones(given)) is not None:
            yield {**given, "mask": ones}

    def _jobs(self, given: Mapping[str, Any]) -> Iterator[_Job]:
        """A job for each variant that no other phase has."""
        parts, seen = self.fn.parts, set[Facts]()
        present, host = parts.present(given), parts.binder.host_values(given)
        lengths = parts.lengths(given)
        for phase in phases(self.fn.program, self.max_steps, self.group, host, present):
            if not phase.terms and not phase.updates:
                continue
            env = self.schedule.environment(phase.start, self.max_steps, present, host)
            masked = given["mask"] is not None
            whole = self._facts(phase, self.schedule.facts(env, masked, self.group, lengths), env)
            blocks = self.fn._blocks.of(whole, self.max_steps, self.group)
            for facts in blocks:
                if facts not in seen:
                    seen.add(facts)
                    what = phase.describe() if len(blocks) == 1 else facts.describe()
                    yield _Job(what, facts, whole, given, env, phase.start)

    def _facts(self, phase: Phase, at: Facts, env: Environment) -> Facts:
        """The variant of a phase, from that of one of its steps, at which chance may have it that another one is."""
        updates, zeros = frozenset(phase.updates), self.schedule.zeros(env[PRESENT])
        program = self.fn.program
        reads = [t.value for t in program.terms if t.name in phase.terms]
        reads += [program.memories[name].update for name in phase.updates]
        memories = self.schedule.memories_in(reads, zeros, updates) | updates
        return at._replace(terms=phase.terms, updates=updates, memories=memories)

    @contextmanager
    def _untouched(self) -> Iterator[None]:
        """Puts back what evaluating a step changes."""
        memories, binder = self.fn.memories, self.fn.parts.binder
        saved, python = memories.state_dict(), random.getstate()
        numpy = sys.modules.get("numpy")
        drawn = None if numpy is None else numpy.random.get_state()
        buffers = [(b, b.detach().clone()) for _, m in self.fn.parts.externs.modules() for b in m.buffers()]
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        try:
            with torch.random.fork_rng(devices=devices), torch.inference_mode(False):
                yield
        finally:
            memories.load_state_dict(saved)
            binder.forget()
            random.setstate(python)
            if numpy is not None:
                numpy.random.set_state(drawn)
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
