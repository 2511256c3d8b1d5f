"""A probed step as a picture: what each term pulls at, beside the view and its render."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..extras import require
from ..splat.model import PARAMETERS
from .probe import StepProbe, TermProbe
from .probe_report import percent

WIDE = 3.4  # inches of a column
QUANTILE = 0.995  # the brightest few pixels would leave the others black
_Cell = tuple[Callable[..., None], tuple[Any, ...]]
GROUP_COLOURS = {
    "means": "#0072B2",
    "scales": "#D55E00",
    "quats": "#009E73",
    "opacities": "#CC79A7",
    "sh0": "#E69F00",
    "shN": "#56B4E9",
}


def sheet(at: StepProbe, path: Path) -> None:
    """Write one sheet: target, render, their difference and the mask; then for every term and every buffer that it
    reads the norm of its slope at each pixel; for a term that reads gaussians alone how many have which slope.

    Every map has a scale of its own, printed beside it: compare terms by the share in the titles.

    Args:
        at: the step.
        path: a PNG file.

    Raises:
        LossError: matplotlib is not installed; names the extra.
    """
    matplotlib = require("matplotlib", "plot")
    matplotlib.use("Agg")
    figures, ticker = require("matplotlib.figure", "plot"), require("matplotlib.ticker", "plot")
    photos: list[_Cell] = [(_photograph, pair) for pair in _photographs(at)]
    drawn: list[_Cell] = [(_map, (term, name)) for term in at.terms for name in term.pull]
    drawn += [(_histogram, (term, ticker)) for term in at.terms if not term.pull and term.direct]
    most = 5 if len(drawn) in (5, 9, 10) else 4  # so that no row holds a single one
    columns = min(most, max(len(photos), len(drawn), 2))
    rows = [photos[i : i + columns] for i in range(0, len(photos), columns)]
    rows += [drawn[i : i + columns] for i in range(0, len(drawn), columns)]
    shape = at.rendered.shape if at.rendered is not None else (3, 4)
    high = WIDE * min(max(shape[0] / shape[1], 0.5), 1.6)
    heights = [high + (0.3 if cells and cells[0][0] is _photograph else 0.85) for cells in rows] or [1.0]
    with matplotlib.rc_context({"font.size": 8, "axes.unicode_minus": False}):
        figure = figures.Figure(figsize=(WIDE * columns, sum(heights) + 0.4), dpi=130, layout="constrained")
        grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
        view = f", view {at.view}" if at.view else ""
        figure.suptitle(_plain(f"step {at.step:,} of {at.max_steps:,}{view}"), fontsize=10)
        for row, cells in enumerate(rows):
            for column, (draw, arguments) in enumerate(cells):
                draw(figure, figure.add_subplot(grid[row, column]), *arguments)
        figure.savefig(path, metadata={"Software": None})


def _photographs(at: StepProbe) -> list[tuple[str, Tensor]]:
    found = []
    if at.target is not None:
        found.append(("target", at.target))
    if at.rendered is not None:
        found.append(("render", at.rendered))
    if at.target is not None and at.rendered is not None:
        found.append(("|render - target|", (at.rendered - at.target).abs()))
    if at.mask is not None:
        found.append(("mask (white counts)", at.mask.reshape(*at.mask.shape[:2], 1).expand(-1, -1, 3)))
    return found


def _photograph(figure: Any, axes: Any, title: str, image: Tensor) -> None:
    axes.imshow(image.clamp(0, 1).numpy(), interpolation="nearest")
    _bare(axes)
    axes.set_title(_plain(title), fontsize=8)


def _bare(axes: Any) -> None:
    axes.set_xticks([])
    axes.set_yticks([])


def _title(axes: Any, term: TermProbe, first: str) -> None:
    """What is drawn, and what comes of it: the term's shares of the gradient where it has some."""
    shares = ", ".join(f"{group} {percent(term.shares[group])}" for group in PARAMETERS if term.norms[group])
    lines = [*textwrap.wrap(first, 46), *textwrap.wrap(f"gradient: {shares or 'none'}", 58)]
    axes.set_title(_plain("\n".join(lines)), fontsize=7)


def _map(figure: Any, axes: Any, term: TermProbe, name: str) -> None:
    """The norm of a slope at each pixel, from 0 to where only one pixel in 200 is brighter."""
    slope = term.pull[name]
    finite = slope[torch.isfinite(slope)]
    top = float(finite.flatten().quantile(QUANTILE)) if finite.numel() else 0.0
    top = top or (float(finite.max()) if finite.numel() else 0.0)
    _bare(axes)
    share = term.pull_shares[name]
    some = "all" if share == 1 else percent(share)
    _title(axes, term, f"{term.name} at {name}: {some} of the pull at it")
    shown = axes.imshow(slope.numpy(), cmap="magma", vmin=0.0, vmax=top or 1.0, interpolation="nearest")
    if top == 0:
        text = "0 everywhere" if finite.numel() == slope.numel() else "not finite"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="white")
        return
    # Below, where it takes no width: maps stay as wide as the photographs over them.
    bar = figure.colorbar(shown, ax=axes, orientation="horizontal", fraction=0.05, pad=0.03)
    bar.ax.tick_params(labelsize=6)
    bar.formatter.set_powerlimits((-2, 3))
    bar.ax.xaxis.get_offset_text().set_fontsize(6)


def _histogram(figure: Any, axes: Any, term: TermProbe, ticker: Any) -> None:
    """How many gaussians have a slope of which size, by parameter group; those with none are counted in the label."""
    _title(axes, term, f"{term.name} at the gaussians themselves")
    drawn = {group: slope[torch.isfinite(slope) & (slope > 0)].log10() for group, slope in term.direct.items()}
    present = [values for values in drawn.values() if values.numel()]
    axes.set_ylabel("gaussians")
    axes.set_xlabel("norm of its gradient on the gaussian")
    if not present:
        axes.text(0.5, 0.5, "0 for every gaussian", transform=axes.transAxes, ha="center", va="center")
        return
    low, high = min(float(v.min()) for v in present), max(float(v.max()) for v in present)
    # Nearly equal slopes, as of a mean, would otherwise fill an axis without a number on it.
    low, high = min(low, (low + high) / 2 - 1), max(high, (low + high) / 2 + 1)
    edges = torch.linspace(low, high, 41)
    for group, values in drawn.items():
        zero = int((term.direct[group] == 0).sum())
        label = group + (f" ({zero:,} have none)" if zero else "")
        counts = torch.histc(values, 40, low, high)
        axes.stairs(counts.numpy(), (10**edges).numpy(), label=label, color=GROUP_COLOURS.get(group), linewidth=1.2)
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.legend(fontsize=6, frameon=False)


def _plain(text: str) -> str:
    """`$` would start a formula."""
    return text.replace("$", r"\$")
