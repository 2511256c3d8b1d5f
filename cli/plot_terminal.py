"""Weights as text: braille dots where colours can tell the lines apart, letters where they cannot."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..dsl.curves import number
from .plot_chart import Chart

HEIGHT = 14
LEAST, MOST = 30, 160  # columns of the whole chart
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800
# Blue, orange, green, pink, yellow, light blue, white: the nearest of 256 to the colours of the picture.
_COLOURS = (32, 166, 36, 175, 178, 74, 250)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def drawing(chart: Chart, width: int, color: bool, unicode: bool) -> str:
    """The chart as lines of text, no newline at the end.

    Args:
        chart: what to draw.
        width: columns of the terminal.
        color: whether escape sequences may colour it.
        unicode: whether the output can show braille and box characters.
    """
    width = max(LEAST, min(width, MOST))
    ticks = _ticks(chart)
    gutter = max([len(text) for _, text in ticks], default=1) + 1
    canvas = _Canvas(max(width - gutter - 1, 10), HEIGHT, dots=color and unicode)
    for i, series in enumerate(chart.series):
        for segment in series.segments:
            points = [(canvas.x(s, chart), canvas.y(v, chart)) for s, v in segment]
            canvas.polyline(points, i)
    rows = {canvas.row(v, chart): text for v, text in reversed(ticks)}
    wall, corner, floor = ("│", "└", "─") if unicode else ("|", "+", "-")
    lines = [chart.title]
    if chart.params:
        lines += _wrapped(chart.params, width)
    for r in range(HEIGHT):
        lines.append(f"{rows.get(r, ''):>{gutter - 1}} {wall}{canvas.line(r, color)}".rstrip())
    lines.append(" " * gutter + corner + floor * canvas.columns)
    left, right = "0", f"{max(chart.max_steps - 1, 0):,}"
    middle = f"step{', ' + f'{chart.max_steps:,}' + ' steps assumed' if chart.assumed else ''}"
    room = canvas.columns - len(left) - len(right)
    between = f" {middle} ".center(room) if room > len(middle) + 2 else " " * room
    lines.append(" " * (gutter + 1) + left + between + right)
    lines += _legend(chart, color, unicode)
    return "\n".join(line.rstrip() for line in lines)


def _wrapped(words: tuple[str, ...], width: int) -> list[str]:
    out = [""]
    for i, word in enumerate(words):
        piece = word + ("," if i < len(words) - 1 else "")
        if out[-1] and len(out[-1]) + 1 + len(piece) > width:
            out.append("")
        out[-1] += (" " if out[-1] else "") + piece
    return out


def _legend(chart: Chart, color: bool, unicode: bool) -> Iterator[str]:
    for i, series in enumerate(chart.series):
        mark = _mark(i)
        if color:
            line = "━━" if unicode else "--"
            mark = f"\x1b[38;5;{_COLOURS[i % len(_COLOURS)]}m{line if unicode else mark}\x1b[0m"
        yield f"  {mark}  {series.label}" + (f"  ({series.gates})" if series.gates else "")
    if not chart.series:
        yield "  no weights to draw"
    if chart.log:
        yield "  logarithmic scale"


def _mark(i: int) -> str:
    return _LETTERS[i % len(_LETTERS)]


def _ticks(chart: Chart) -> list[tuple[float, str]]:
    """Values with their labels on the vertical axis."""
    if chart.log:
        low, high = math.floor(math.log10(chart.low)), math.floor(math.log10(chart.high))
        step = max(1, (high - low) // 5)
        return [(10.0**e, number(10.0**e)) for e in range(low, high + 1, step)]
    span = chart.high - chart.low
    raw = span / 4
    unit = 10 ** math.floor(math.log10(raw))
    unit *= next(m for m in (1, 2, 2.5, 5, 10) if m * unit >= raw * 0.999)
    first = math.ceil(chart.low / unit - 1e-9)
    return [(n * unit, number(n * unit)) for n in range(first, math.floor(chart.high / unit + 1e-9) + 1)]


class _Canvas:
    """Cells of characters; with dots, each cell has 2 by 4 of them."""

    def __init__(self, columns: int, rows: int, dots: bool) -> None:
        self.columns, self.rows, self.dots = columns, rows, dots
        self.wide, self.high = (2 * columns, 4 * rows) if dots else (columns, rows)
        self.bits = [[0] * columns for _ in range(rows)]
        self.owner: list[list[int | None]] = [[None] * columns for _ in range(rows)]

    def x(self, step: int, chart: Chart) -> float:
        """The column of a step."""
        return step / max(chart.max_steps - 1, 1) * (self.wide - 1)

    def y(self, value: float, chart: Chart) -> float:
        """The row of a value, from the top; below the axis where a logarithm has no place for it."""
        low, high = chart.low, chart.high
        if chart.log:
            value = math.log10(value) if value > 0 else -math.inf
            low, high = math.log10(low), math.log10(high)
        return (1 - max((value - low) / (high - low), -0.2)) * (self.high - 1)

    def row(self, value: float, chart: Chart) -> int:
        """The row of characters of a value."""
        return round(self.y(value, chart)) // (4 if self.dots else 1)

    def polyline(self, points: list[tuple[float, float]], owner: int) -> None:
        """Draw a line through points."""
        for (x0, y0), (x1, y1) in zip(points, points[1:] or points):
            steps = max(1, math.ceil(max(abs(x1 - x0), abs(y1 - y0))))
            for i in range(steps + 1):
                t = i / steps
                self.dot(round(x0 + (x1 - x0) * t), round(y0 + (y1 - y0) * t), owner)

    def dot(self, x: int, y: int, owner: int) -> None:
        """Set one dot; outside the canvas it is lost."""
        if not (0 <= x < self.wide and 0 <= y < self.high):
            return
        column, row = (x // 2, y // 4) if self.dots else (x, y)
        if self.dots:
            self.bits[row][column] |= _BITS[y % 4][x % 2]
        # Lines on each other take turns, so that each of them shows.
        here = self.owner[row][column]
        if here is None or here == owner or column // 3 % 2:
            self.owner[row][column] = owner

    def line(self, row: int, color: bool) -> str:
        """One row as text."""
        out, before = "", None
        for bits, owner in zip(self.bits[row], self.owner[row]):
            if color and owner != before:
                out += "\x1b[0m" if owner is None else f"\x1b[38;5;{_COLOURS[owner % len(_COLOURS)]}m"
                before = owner
            out += " " if owner is None else chr(_BRAILLE + bits) if self.dots else _mark(owner)
        return out + ("\x1b[0m" if color and before is not None else "")
