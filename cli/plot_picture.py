"""Weights as a picture, by matplotlib."""

from __future__ import annotations

import textwrap
from typing import Any

from .plot_chart import Chart, Series

# Okabe and Ito's colours without the yellow, which is too light on white: they stay apart for every kind of eye.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHED = (0, (5, 2))
_DOTTED = (0, (1, 1.6))


def picture(chart: Chart, path: str) -> None:
    """Write the chart to a file; its ending says the format.

    Raises:
        LossError: matplotlib is not installed; names the extra.
    """
    from ..runtime.extras import require

    matplotlib = require("matplotlib", "plot")
    matplotlib.use("Agg")
    figures, ticker = require("matplotlib.figure", "plot"), require("matplotlib.ticker", "plot")
    settings = {"svg.hashsalt": "splatdsl", "svg.fonttype": "path", "font.size": 10, "axes.unicode_minus": False}
    with matplotlib.rc_context(settings):
        figure = figures.Figure(figsize=(9, 4.6), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        for series, width, colour in zip(chart.series, _widths(chart), _colours(len(chart.series))):
            _line(axes, series, chart, width, colour)
        _axes(axes, chart, ticker)
        _title(axes, chart)
        if chart.series:
            # Beside the axes, where it covers no line.
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, frameon=False, handlelength=2.8)
        # No date and no version: the same program gives the same file.
        metadata: dict[str, Any] = {"Date": None} if path.endswith(".svg") else {"Software": None}
        if path.endswith(".pdf"):
            metadata = {"CreationDate": None, "Producer": None, "Creator": None}
        figure.savefig(path, metadata=metadata)


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _widths(chart: Chart) -> list[float]:
    """Lines that lie on each other get thinner one by one, so that each of them shows."""
    widths = []
    for i, series in enumerate(chart.series):
        over = sum(s.segments == series.segments for s in chart.series[i + 1 :])
        widths.append(2.0 + 2.6 * over)
    return widths


def _line(axes: Any, series: Series, chart: Chart, width: float, colour: str) -> None:
    style: Any = "-"
    if series.gates:
        style = _DASHED if series.gates.startswith("every") else _DOTTED
    label = series.label + (f"\n({textwrap.fill(series.gates, 34)})" if series.gates else "")
    for i, segment in enumerate(series.segments):
        steps, values = [s for s, _ in segment], [v for _, v in segment]
        axes.plot(
            steps, values, linestyle=style, linewidth=width, color=colour, label=label if i == 0 else None, zorder=3
        )
        # Where the term begins or ends within the run.
        ends = [segment[0]] if segment[0][0] > 0 else []
        ends += [segment[-1]] if segment[-1][0] < chart.max_steps - 1 else []
        axes.plot([s for s, _ in ends], [v for _, v in ends], "o", color=colour, markersize=5, zorder=4)


def _axes(axes: Any, chart: Chart, ticker: Any) -> None:
    axes.set_xlim(-0.01 * chart.max_steps, max(chart.max_steps - 1, 1) * 1.01)
    if chart.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
    else:
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:.6g}"))
    axes.set_ylim(chart.low, chart.high)
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:,.0f}"))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(7, integer=True))
    assumed = f" (of {chart.max_steps:,}, assumed: nothing states the length)" if chart.assumed else ""
    axes.set_xlabel(f"step{assumed}")
    axes.set_ylabel("weight" + (", logarithmic" if chart.log else ""))
    axes.grid(True, which="major", color="#dddddd", linewidth=0.8, zorder=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if not chart.series:
        axes.text(0.5, 0.5, "no weights to draw", transform=axes.transAxes, ha="center", va="center", color="#666666")


def _title(axes: Any, chart: Chart) -> None:
    params = textwrap.fill(",  ".join(chart.params), 92)
    lines = params.splitlines()
    if len(lines) > 3:
        lines = [*lines[:3], "..."]
    # `$` would start a formula.
    axes.set_title("\n".join([_plain(chart.title), *map(_plain, lines)]), loc="left", fontsize=10)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")
