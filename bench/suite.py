"""The whole of it: rows are measured one after another, each with all of its variants taking turns."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch

from . import memory, overhead, peers, scaling, startup
from .harness import Call, Others, agree, interleave, machine, summarise
from .programs import GAUSSIANS, OURS, PIXELS, PROGRAMS, Program, Settings, Size
from .progress import Reporter

VERSION = 1
"""Of the report: goes up when a field changes its meaning."""

NAMES = (*(p.name for p in PROGRAMS), "scaling", "overhead", "startup")

DEFAULT = (Size(540, 960, 100_000),)
FULL = (Size(270, 480, 10_000), Size(540, 960, 100_000), Size(1080, 1920, 1_000_000), Size(2160, 3840, 3_000_000))
TINY = (Size(24, 32, 500),)

_SCALING_PIXELS = (Size(135, 240), Size(270, 480), Size(540, 960))
_SCALING_GAUSSIANS = (Size(gaussians=10_000), Size(gaussians=100_000), Size(gaussians=1_000_000))


class Options(NamedTuple):
    """What is measured.

    Attributes:
        names: of programs and sections; see ``NAMES``.
        pixels: image sizes.
        gaussians: numbers of gaussians.
        rounds: in which all variants of a row have their turn.
        settings: how variants are built.
        with_memory: whether peak memory is measured.
        quick: tiny sizes throughout, to see that everything runs.
        full: the larger sizes in the scaling section, too.
    """

    names: tuple[str, ...]
    pixels: tuple[Size, ...]
    gaussians: tuple[Size, ...]
    rounds: int
    settings: Settings
    with_memory: bool = True
    quick: bool = False
    full: bool = False


class Job(NamedTuple):
    """A row to be measured: its section, what it is called, and what measures it."""

    section: str
    title: str
    run: Callable[[], dict[str, Any]]


Found = Callable[[dict[str, Any], str, dict[str, Any]], None]
"""Told of each new entry: the report so far, the section, the entry."""


def run(options: Options, reporter: Reporter, found: Found = lambda report, section, entry: None) -> dict[str, Any]:
    """Measure, and return the report; ``found`` is told of each entry as soon as it is there."""
    settings = options.settings
    report: dict[str, Any] = {
        "version": VERSION,
        "machine": machine(settings.device),
        "settings": {**settings._asdict(), "rounds": options.rounds, "compiled": settings.backend != "eager"},
    }
    if settings.device.startswith("cuda"):
        torch.backends.cudnn.allow_tf32 = False  # all variants in full float32, or they would not agree
        report["machine"]["fused_ssim"] = (peers.fused_package() or ("none", None))[0]
    jobs = list(_jobs(options, reporter))
    reporter.start(len(jobs))
    try:
        for job in jobs:
            reporter.row(job.title)
            _forget(settings)
            entry = job.run()
            report.setdefault(job.section, []).append(entry)
            found(report, job.section, entry)
    finally:
        reporter.close()
    return report


def _jobs(options: Options, reporter: Reporter) -> Iterator[Job]:
    """What there is to do, in order."""
    settings, rounds = options.settings, options.rounds
    for program in PROGRAMS:
        sizes = options.pixels if program.over == PIXELS else options.gaussians
        for size in sizes if program.name in options.names else ():
            title = f"{program.name} at {size.of(program.over)}"
            yield Job("programs", title, partial(measure, program, size, options, reporter))
    if "scaling" in options.names:
        for axis in scaling.axes(*_scaling_sizes(options), settings, options.quick):
            title = f"time against {axis.name}"
            yield Job("scaling", title, partial(scaling.measure, axis, settings, rounds, reporter.doing))
    for case in overhead.CASES if "overhead" in options.names else ():
        yield Job("overhead", f"overhead, {case}", partial(overhead.measure, case, settings, rounds))
    if "startup" in options.names:
        yield Job("startup", "start-up", partial(startup.measure, options.pixels[0], settings, reporter.doing))


def measure(program: Program, size: Size, options: Options, reporter: Reporter) -> dict[str, Any]:
    """One program at one size: of each variant time, agreement and peak memory.

    Raises:
        Disagreement: a variant that should compute the same computes another number.
    """
    settings = options.settings
    for why in program.missing(settings):
        reporter.note(why)
    inputs = program.inputs(size, settings.device)
    calls: dict[str, Call] = {}
    for name in program.variants(settings):
        reporter.doing(f"building `{name}`")
        calls[name] = program.build(name, inputs, settings)
        calls[name].run()
    agreed = agree(calls)
    reporter.doing(f"{options.rounds} rounds")
    with Others() as others:
        seconds = interleave({name: call.run for name, call in calls.items()}, options.rounds, settings.device)
    peaks: dict[str, float] = {}
    if options.with_memory:
        reporter.doing("memory")
        peaks = memory.peaks(program, size, settings, {name: call for name, call in calls.items() if call.leaves})
    rows = summarise(seconds, OURS)
    for row in rows:
        name = row["variant"]
        value = calls[name].run()
        row["loss"] = None if value is None else float(value)
        row["same"] = calls[name].same
        row["loss_difference"] = agreed[name].loss if name in agreed else None
        row["gradient_difference"] = agreed[name].gradient if name in agreed else None
        row["peak_mib"] = peaks.get(name)
    entry = {"program": program.name, "title": program.title, "text": program.text, "size": size.of(program.over)}
    return {**entry, "rows": rows, "missing": program.missing(settings), "others": others.share}


def _scaling_sizes(options: Options) -> tuple[tuple[Size, ...], tuple[Size, ...]]:
    if options.quick:
        return (Size(12, 16), *TINY), (Size(gaussians=100), *TINY)
    if options.full:
        return (_SCALING_PIXELS[0], *FULL), FULL
    pixels = options.pixels if len(options.pixels) > 1 else _SCALING_PIXELS
    gaussians = options.gaussians if len(options.gaussians) > 1 else _SCALING_GAUSSIANS
    return tuple(sorted(pixels)), tuple(sorted(gaussians, key=lambda s: s.gaussians))


def _forget(settings: Settings) -> None:
    """What earlier rows compiled: else torch would make the lines by hand dynamic, as no user of one size sees them."""
    torch._dynamo.reset()
    gc.collect()
    if settings.device.startswith("cuda"):
        torch.cuda.empty_cache()


def sizes_of(text: str) -> tuple[tuple[Size, ...], tuple[Size, ...]]:
    """``540x960,1e5`` as image sizes and numbers of gaussians.

    Raises:
        ValueError: one of them is neither, or too small for the window of SSIM; the text says which.
    """
    pixels, gaussians = [], []
    for word in (w.strip() for w in text.split(",")):
        height, by, width = word.lower().partition("x")
        try:
            if by:
                pixels.append(Size(int(height), int(width)))
            else:
                gaussians.append(Size(gaussians=int(float(word))))
        except (ValueError, OverflowError):
            help_ = "write height x width in pixels, such as 540x960, or a number of gaussians, such as 1e5"
            raise ValueError(f"`{word}` is no size: {help_}") from None
    for size in pixels:
        if min(size.height, size.width) < 12:
            raise ValueError(f"`{size.of(PIXELS)}` is too small: both sides must have at least 12 pixels")
    for size in gaussians:
        if size.gaussians < 1:
            raise ValueError(f"`{size.of(GAUSSIANS)}` gaussians are too few: there must be at least 1")
    return tuple(pixels), tuple(gaussians)
