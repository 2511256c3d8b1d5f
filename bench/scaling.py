"""How the time of a step grows: with pixels, with gaussians, with the number of terms."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import peers
from .harness import Call, agree, interleave, training_step
from .programs import BY_COMPILER, EAGER, OURS, PROGRAMS, Inputs, Settings, Size, images, ours, terms

COUNTS = (1, 2, 4, 8, 16, 32)
TERMS_SIZE = Size(270, 480)


class Axis(NamedTuple):
    """One table: what grows, and how each of its rows is built.

    Attributes:
        name: of what grows.
        title: one line for tables.
        values: what grows, as numbers.
        labels: the same as it is printed.
        build: the variants of one row, by name; ours first.
    """

    name: str
    title: str
    values: tuple[int, ...]
    labels: tuple[str, ...]
    build: Callable[[int], dict[str, Call]]


def axes(pixels: tuple[Size, ...], gaussians: tuple[Size, ...], settings: Settings, tiny: bool = False) -> list[Axis]:
    """The three tables, each for the sizes given."""
    photometric, mcmc = (next(p for p in PROGRAMS if p.name == name) for name in ("photometric", "mcmc"))

    def row(program: Any, size: Size) -> dict[str, Call]:
        inputs = program.inputs(size, settings.device)
        return {name: program.build(name, inputs, settings) for name in (OURS, EAGER)}

    term_size = Size(24, 32) if tiny else TERMS_SIZE
    counts = COUNTS[:3] if tiny else COUNTS
    return [
        Axis(
            "pixels",
            f"photometric loss ({photometric.title})",
            tuple(s.height * s.width for s in pixels),
            tuple(s.of("pixels") for s in pixels),
            lambda i: row(photometric, pixels[i]),
        ),
        Axis(
            "gaussians",
            mcmc.title,
            tuple(s.gaussians for s in gaussians),
            tuple(s.of("gaussians") for s in gaussians),
            lambda i: row(mcmc, gaussians[i]),
        ),
        Axis(
            "terms",
            f"a sum of Huber losses of different widths, {term_size.of('pixels')}",
            counts,
            tuple(str(c) for c in counts),
            lambda i: _terms(counts[i], term_size, settings),
        ),
    ]


def _terms(count: int, size: Size, settings: Settings) -> dict[str, Call]:
    inputs: Inputs = images(size, settings.device)
    text, deltas = terms(count)
    rendered, target = inputs.tensor("rendered"), inputs.tensor("target")
    # A function of its own for each count: torch limits how often one piece of code may be compiled.
    compiled = torch.compile(_closed(deltas), fullgraph=True, backend=settings.backend)
    losses: dict[str, Callable[[], Tensor]] = {
        OURS: ours(text, inputs, settings, 0),
        EAGER: lambda: peers.huber_terms(rendered, target, deltas),
        BY_COMPILER: lambda: compiled(rendered, target),
    }
    return {name: Call(training_step(loss, inputs.leaves), inputs.leaves) for name, loss in losses.items()}


def _closed(deltas: tuple[float, ...]) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(rendered: Tensor, target: Tensor) -> Tensor:
        return peers.huber_terms(rendered, target, deltas)

    return loss


def measure(axis: Axis, settings: Settings, rounds: int, said: Callable[[str], None]) -> dict[str, Any]:
    """One table: all of its rows take turns with each other.

    Its rows hold the value, its label, and for each variant the median in ms and the time per unit over that of the
    first row.
    """
    calls: dict[str, Call] = {}
    for i, label in enumerate(axis.labels):
        said(f"compiling for {label}")
        made = axis.build(i)
        agree(made)
        calls.update({f"{name} @{i}": call for name, call in made.items()})
    said(f"{rounds} rounds")
    seconds = interleave({name: call.run for name, call in calls.items()}, rounds, settings.device)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    rows = []
    for i, (value, label) in enumerate(zip(axis.values, axis.labels)):
        variants = {}
        for name in dict.fromkeys(key.partition(" @")[0] for key in medians):
            if (here := medians.get(f"{name} @{i}")) is not None:
                first = medians[f"{name} @0"] / axis.values[0]
                variants[name] = {"median_ms": 1e3 * here, "per_unit": here / value / first}
        rows.append({"value": value, "label": label, "variants": variants})
    return {"against": axis.name, "title": axis.title, "rows": rows}
