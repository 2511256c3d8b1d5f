"""What a call of a compiled loss costs beside its graph: on images so small that the graph costs next to nothing."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..compiler.emit import emit
from .harness import Call, agree, interleave, training_step
from .programs import EAGER, OURS, Inputs, Settings, Size, compiled_loss, images

BARE = "what it calls in the end, alone"
BY_HAND = "its graph under torch.compile by hand"
WITHOUT = "the program without that term"
IN_A_ROW = 20
"""Calls in one turn: one alone is too short for the clock."""

L1 = "term colour = l1()"
WINDOWED = "term photometric = photometric()"
GATED = f"{WINDOWED}\nterm later = 0.5 * charbonnier() when after(step, 1_000)"

CASES: dict[str, str] = {
    "l1": "l1(), 8x8: a call against the compiled function in it",
    "photometric": "photometric(), 16x16: a call against the compiled function in it",
    "gate": "photometric() and a term that has not started, 16x16: against the program without that term",
}


def bare(text: str, inputs: Inputs, settings: Settings) -> Callable[[], Tensor]:
    """What the loss calls in the end, called without it: bound tensors in, the loss and its gradients out.

    No names are looked up, nothing is checked, no schedule is evaluated, and autograd is not there.
    """
    loss_fn = compiled_loss(text, settings)
    loss_fn(**inputs.given)
    *_, variant = loss_fn._compiled._variants.values()
    bound = loss_fn.parts.binder.bind(variant.part.names, inputs.given)
    schedule = loss_fn._compiled.schedule
    numbers = variant.part.numbers(schedule.environment(0, 30_000, frozenset({"target"})))
    tensors = [bound[name].detach() for name in variant.part.names]

    def run() -> Tensor:
        with torch.no_grad():
            total: Tensor = variant.run(tensors, numbers).total
            return total

    return run


def graph_by_hand(text: str, inputs: Inputs, settings: Settings) -> Callable[[], Tensor]:
    """The torch graph that a program becomes, compiled and differentiated as a user does it with lines of his own."""
    loss_fn = compiled_loss(text, settings._replace(backend="eager"))
    schedule = loss_fn._compiled.schedule
    env = schedule.environment(0, 30_000, frozenset({"target"}))
    part = loss_fn._compiled.part(schedule.facts(env, False))
    bound = loss_fn.parts.binder.bind(part.names, inputs.given)
    tensors = [bound[name] for name in part.names]
    host = torch.tensor(part.numbers(env) or [0.0], device=settings.device)
    call = torch.compile(emit(part.graph), fullgraph=True, backend=settings.backend)
    return lambda: call(*tensors, host)[0]


def build(case: str, settings: Settings) -> dict[str, Call]:
    """The variants of a case; ours first."""
    side = 8 if case == "l1" else 16
    inputs = images(Size(side, side), settings.device)
    rendered, target = inputs.tensor("rendered"), inputs.tensor("target")

    def call(text: str) -> Callable[[], Tensor]:
        loss_fn = compiled_loss(text, settings)
        return lambda: loss_fn(**inputs.given)

    losses: dict[str, Callable[[], Tensor]] = {}
    alone: dict[str, Callable[[], Tensor]] = {}
    if case == "l1":
        losses = {OURS: call(L1), BY_HAND: graph_by_hand(L1, inputs, settings)}
        losses[EAGER] = lambda: F.l1_loss(rendered, target)
        alone = {BARE: bare(L1, inputs, settings)}
    elif case == "photometric":
        losses, alone = {OURS: call(WINDOWED)}, {BARE: bare(WINDOWED, inputs, settings)}
    else:
        losses = {OURS: call(GATED), WITHOUT: call(WINDOWED)}
    made = {name: Call(training_step(loss, inputs.leaves), inputs.leaves) for name, loss in losses.items()}
    return made | {name: Call(run, {}, same=False) for name, run in alone.items()}


def measure(case: str, settings: Settings, rounds: int) -> dict[str, Any]:
    """Microseconds of a step of each variant, forward and backward, and by how much ours is above the others."""
    calls = build(case, settings)
    agree(calls)
    seconds = interleave(
        {name: call.run for name, call in calls.items()}, rounds, settings.device, warmup=IN_A_ROW, in_a_row=IN_A_ROW
    )
    medians = {name: 1e6 * statistics.median(times) for name, times in seconds.items()}
    rows = [{"variant": n, "median_us": t, "ours_above_us": medians[OURS] - t} for n, t in medians.items()]
    return {"case": case, "title": CASES[case], "rows": rows}
