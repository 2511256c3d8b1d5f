"""Structural similarity: a half that changes what its weight means, and losses that it stands in alone."""

from __future__ import annotations

from ...diagnostics import Edit, Fix
from ...source import Span
from ...typed import Expr
from .composite import factors
from .context import Context
from .regions import TARGET, Regions

SSIM = frozenset({"ssim", "ssim_map", "ms_ssim"})


def check_half(context: Context) -> None:
    """SSM002: (1 - ssim) / 2, whose weight counts half of what the usual one does."""
    regions = context.regions
    for _, e in context.values():
        if e.op != "div" or e.args[1].op != "const" or e.args[1].value != 2 or e.source is context.report.hidden:
            continue
        found = next((f for f in factors(e.args[0]) if _is_loss(f)), None)
        if found is None:
            continue
        source, span = regions.places.at(e)
        end = e.source.slice(e.span).rfind("/")
        whole = e.source.slice(e.span)
        fixes = []
        if end > 0 and whole[end + 1 :].strip() in ("2", "2.0"):
            cut = len(whole[:end].rstrip())
            fixes = [Fix("leave the half out", [Edit(Span(e.span.start + cut, e.span.end), "")])]
        context.report.emit(
            "SSM002",
            "half of 1 - SSIM: its weight counts half of what it does in 3DGS",
            source,
            span,
            help=["write `ssim_loss(masked)`, which is 1 - ssim, and put the half into the weight"],
            notes=["mistaken if the weight was chosen for the half, as in Monodepth"],
            fixes=fixes,
        )


def _is_loss(e: Expr) -> bool:
    """Whether a value is 1 less a similarity, or the mean of that."""
    while e.op == "call" and e.builtin.name in ("mean", "clamp"):
        e = e.args[0]
    if e.op != "sub" or e.args[0].op != "const" or e.args[0].value != 1:
        return False
    other = e.args[1]
    if other.op == "call" and other.builtin.name == "mean":
        other = other.args[0]
    return other.op == "call" and other.builtin.name in SSIM


def _by_colour(regions: Regions, e: Expr) -> bool:
    """Whether a value compares something with the photograph, colour by colour."""
    if e.op == "sub":
        return sum(TARGET in regions.reads(a) for a in e.args) == 1 and all(a.type.kind.is_tensor for a in e.args)
    if e.op != "call" or e.builtin.name in SSIM or e.arg("a") is None or e.arg("b") is None:
        return False
    return TARGET in regions.reads(e)


def check_alone(context: Context) -> None:
    """SSM006: a loss that compares the render with the photograph by SSIM alone."""
    if context.broken:
        return
    regions = context.regions
    found = list(regions.comparisons())
    if not found:
        return
    if any(_by_colour(regions, e) for _, e in regions.trained()):
        return
    first = found[0]
    if first.place.source is context.report.hidden:
        return
    context.report.emit(
        "SSM006",
        "the photograph is compared by SSIM alone, which hardly sees the colour of even surfaces",
        first.place.source,
        first.place.span,
        help=["add a term such as `0.8 * l1(masked)`, or write `photometric(masked)`"],
        notes=["mistaken if another trainer or term holds the colours"],
    )
