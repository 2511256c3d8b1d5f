"""How a fix looks below its finding: its title, and the lines as they are and as they would be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .diagnostics import Applicability, Fix
from .fixes import changed
from .source import Source, Span

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_LINES = 6
"""Lines shown of each side."""

_WORDS = {Applicability.SAFE: "fix", Applicability.UNSAFE: "unsafe fix", Applicability.DISPLAY: "not applied for you"}


def excerpt(source: Source, fix: Fix, title: str, gutter: int, style: Callable[[str, str], str]) -> list[str]:
    """``= help: TITLE (fix)``, then ``- old`` and ``+ new`` lines with their numbers."""
    from .render import cut_line, printable

    lead = " " * (gutter + 2)
    out = [f"{lead}{style('frame', '=')} {style('help', 'help')}: {printable(title)} ({_WORDS[fix.applicability]})"]
    if not fix.edits:
        return out
    first, old, new = lines(source, fix)
    width = max(gutter, len(str(first + max(len(old), len(new)) - 1)))
    for sign, name, texts in (("-", "removed", old), ("+", "added", new)):
        for number, text in enumerate(texts[:MAX_LINES], start=first):
            out.append(
                " " + style("frame", f"{number:>{width}}") + " " + style(name, f"{sign} {cut_line(text)}".rstrip())
            )
        if len(texts) > MAX_LINES:
            out.append(f"{lead}{style('frame', '...')}")
    return out


def lines(source: Source, fix: Fix) -> tuple[int, list[str], list[str]]:
    """The number of the first line that a fix changes, those lines, and what they become."""
    low = min(edit.span.start for edit in fix.edits)
    high = max(edit.span.end for edit in fix.edits)
    first, last = source.position(low)[0], source.position(high)[0]
    starts = source.line_starts
    if high == starts[last - 1] and last > first:  # whole lines up to a line end
        last -= 1
    start = starts[first - 1]
    end = starts[last] if last < len(starts) else len(source.text)
    moved = [type(e)(Span(e.span.start - start, e.span.end - start), e.text) for e in fix.edits]
    old, new = source.text[start:end].splitlines(), changed(source.text[start:end], moved).splitlines()
    while len(old) > 1 and len(new) > 1 and old[0] == new[0]:
        old, new, first = old[1:], new[1:], first + 1
    return first, old, new
