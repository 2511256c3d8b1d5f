"""``grouped``: a heading for each file, its findings below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...dsl.fixes import best
from ...dsl.render import one_line, printable
from . import by_file

if TYPE_CHECKING:
    from . import Report


def render(report: Report) -> str:
    """Line and column in the first column, then the code, slug and message; ``[*]`` marks what can be fixed."""
    blocks = []
    for name, found in by_file(report.found).items():
        places = [f"{d.line}:{d.column}" if d.span is not None else "-" for d in found]
        width = max(map(len, places))
        lines = [f"{printable(name)}:"]
        for place, d in zip(places, found):
            mark = " [*]" if best(d, report.unsafe) is not None else ""
            message = printable(one_line(d.message))
            lines.append(f"  {place:<{width}}  {d.severity.value}[{d.code} {d.slug}]: {message}{mark}")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)
