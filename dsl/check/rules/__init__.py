"""What a well-typed program can still get wrong. One rule is one function, listed here once.

A rule reads the typed program and reports through `Context.report`; it never changes the program. Rules that guess
are pedantic: they run only when asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..report import TooLarge
from . import (
    aggregates,
    colour,
    composite,
    divided,
    every,
    existence,
    flow,
    geometry,
    hazards,
    hazards_half,
    hazards_small,
    ignored,
    lengths,
    masks,
    masks_guessed,
    memories,
    optional,
    parameters,
    pedantic,
    phases,
    quantities,
    schedules,
    signs,
    similarity,
    supply,
    unused,
)
from .context import Context

if TYPE_CHECKING:
    from ..program import ProgramChecker


class Rule(NamedTuple):
    """One rule: what it is about, its function, and whether it guesses."""

    name: str
    run: Callable[[Context], None]
    pedantic: bool = False


RULES: tuple[Rule, ...] = (
    Rule("optional inputs are read under `has`", optional.check),
    Rule("renderer and data supply what terms read", supply.check),
    Rule("terms exist and weigh something", existence.check),
    Rule("steps are compared half-open and in whole steps", schedules.check_steps),
    Rule("every k-th step keeps the average", every.check),
    Rule("terms share their conditions", phases.check),
    Rule("terms that take over meet", schedules.check_gaps),
    Rule("a large weight starts softly", schedules.check_hard_start, pedantic=True),
    Rule("terms reach what is trained", flow.check),
    Rule("losses weigh something positive, similarities something negative", signs.check),
    Rule("differences lose their sign before they are added up", signs.check_signed),
    Rule("nothing is compared with itself or aligned to the prediction", flow.check_self),
    Rule("a run compares the render with data", flow.check_data),
    Rule("regularisers act on activated parameters", parameters.check),
    Rule("parameters are activated once, by their own function", parameters.check_activations),
    Rule("values and gradients stay finite", hazards.check),
    Rule("floors are above 0 in single precision", hazards_small.check),
    Rule("half precision is enough where it is used", hazards_half.check),
    Rule("means are over the pixels that count", masks.check),
    Rule("pixels that should not count do not", ignored.check),
    Rule("what compares images uses one mask", masks_guessed.check_one_mask),
    Rule("regions say what counts, not what is opaque", masks_guessed.check_coverage, pedantic=True),
    Rule("means have no floor of a whole pixel", masks_guessed.check_floor, pedantic=True),
    Rule("regions keep their borders", masks_guessed.check_resized, pedantic=True),
    Rule("something acts on what the mask hides", masks_guessed.check_removed, pedantic=True),
    Rule("render and photograph are on the same background", composite.check),
    Rule("colours are in 0..1", colour.check),
    Rule("nothing is divided by its extremes", colour.check_extremes, pedantic=True),
    Rule("the weight of SSIM is that of 3DGS", similarity.check_half, pedantic=True),
    Rule("SSIM does not stand alone", similarity.check_alone, pedantic=True),
    Rule("angles are between directions of one frame", geometry.check_frames),
    Rule("values of one sort are compared", quantities.check),
    Rule("directions are made to agree", quantities.check_agreement),
    Rule("the prediction comes first", quantities.check_swapped),
    Rule("values with holes count where they are valid", geometry.check_sparse),
    Rule("sums are divided", aggregates.check_sums),
    Rule("what is summed is divided by its own count", divided.check),
    Rule("a weight is applied once", aggregates.check_weights),
    Rule("a term is there once", aggregates.check_repeats),
    Rule("one huge gaussian counts", pedantic.check_mean_of_scales, pedantic=True),
    Rule("each pixel counts the same", pedantic.check_mean_of_means, pedantic=True),
    Rule("the photometric terms weigh 1", pedantic.check_total, pedantic=True),
    Rule("large tables are read now and then", pedantic.check_tables, pedantic=True),
    Rule("weights are of usual size", pedantic.check_extremes, pedantic=True),
    Rule("the loss does not jump with a number", pedantic.check_branches, pedantic=True),
    Rule("each term has its weight", pedantic.check_shared, pedantic=True),
    Rule("one regulariser for each parameter", pedantic.check_several, pedantic=True),
    Rule("errors do not fall by transparency", pedantic.check_transparency, pedantic=True),
    Rule("weights have no unit of length", lengths.check_lengths, pedantic=True),
    Rule("errors do not cancel", lengths.check_signs, pedantic=True),
    Rule("normals have one length", lengths.check_weighted, pedantic=True),
    Rule("memories do not mix cameras", memories.check),
    Rule("memories average", memories.check_averages, pedantic=True),
    Rule("declarations are read", unused.check),
)


def run_rules(
    checker: ProgramChecker,
    renderer: frozenset[str] | None,
    data: frozenset[str] | None,
    pedantic: bool,
    half: bool,
) -> None:
    """Run the rules on a checked program; with ``pedantic`` also those that guess."""
    context = Context(checker, renderer, data, half)
    for rule in RULES:
        if pedantic or not rule.pedantic:
            try:
                rule.run(context)
            except TooLarge:  # it has reported as much as anyone reads
                return
            except RecursionError:  # what nests so deeply is beyond what some rules follow
                continue
