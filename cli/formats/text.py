"""``full``: the place of each finding with its line; ``concise``: a line for each, for editors and grep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...dsl.fixes import best
from ...dsl.render import concise, full

if TYPE_CHECKING:
    from . import Report


def render(report: Report) -> str:
    """Findings parted by empty lines, or one on each line. ``[*]`` marks those that the run could fix."""
    if report.format == "full":
        return "\n\n".join(full(diagnostic, report.color) for diagnostic in report.found) + "\n"
    marks = {True: " [*]", False: ""}
    return "".join(f"{concise(d)}{marks[best(d, report.unsafe) is not None]}\n" for d in report.found)
