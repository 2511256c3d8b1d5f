"""How a diagnostic looks: the only module that knows.

``full`` draws the place with its line and a caret, ``concise`` is one line for editors and grep. Nothing here is
imported before there is a finding to show.
"""

from __future__ import annotations

import os
from typing import NamedTuple, TextIO

from .diagnostics import Diagnostic, Edit, Severity
from .source import Source, Span

WIDTH = 100  # columns of program text shown of one line; longer lines are cut around the caret
TAB = 8  # what a tab is taken to need when a line is cut
ELLIPSIS = "..."

_RESET = "\x1b[0m"
_STYLES = {
    "error": "\x1b[1;31m",
    "warning": "\x1b[1;33m",
    "bold": "\x1b[1m",
    "frame": "\x1b[34m",
    "help": "\x1b[36m",
    "removed": "\x1b[31m",
    "added": "\x1b[32m",
}


def full(diagnostic: Diagnostic, color: bool = False) -> str:
    """The finding with its place, the lines around it, notes and help; no newline at the end."""
    style = _Style(color)
    level = diagnostic.severity.value
    header = style(level, f"{level}[{diagnostic.code} {diagnostic.slug}]") + style(
        "bold", f": {printable(one_line(diagnostic.message))}"
    )
    places = _places(diagnostic)
    numbers = [_line_of(source, span) for source, span, _, _ in places]
    gutter = len(str(max(numbers, default=1)))
    out = [header]
    if not places:
        out.append(f"{' ' * (gutter + 1)}{style('frame', '-->')} {printable(diagnostic.source.name)}")
    sources: list[Source] = []
    for source, _, _, _ in places:
        if not any(source is known for known in sources):
            sources.append(source)
    for i, source in enumerate(sources):
        marks = [_mark(source, span, text, primary) for where, span, text, primary in places if where is source]
        out += _excerpt(source, marks, gutter, "-->" if i == 0 else ":::", level, style)
    if diagnostic.notes or diagnostic.help or diagnostic.fixes:
        out += [" " * (gutter + 2) + style("frame", "|")] if places else []
        out += _remarks("note", diagnostic.notes, gutter, style)
        taken = titles(diagnostic)
        out += _remarks("help", tuple(text for text in diagnostic.help if text not in taken), gutter, style)
    if diagnostic.fixes:
        from .render_fix import excerpt

        for fix, title in zip(diagnostic.fixes, titles(diagnostic)):
            out += excerpt(diagnostic.source, fix, title, gutter, style)
    return "\n".join(line.rstrip() for line in out)


def titles(diagnostic: Diagnostic) -> list[str]:
    """What to call each fix of a finding: the way out that says the same in more words, or the fix's own title."""
    named = []
    for fix in diagnostic.fixes:
        said = fix.title[fix.title.find("`") : fix.title.rfind("`") + 1]
        named.append(next((help for help in diagnostic.help if said and said in help and help not in named), fix.title))
    return named


def concise(diagnostic: Diagnostic) -> str:
    """``name:line:column: error[CODE slug]: message``; without line and column where the whole file is meant."""
    place = f":{diagnostic.line}:{diagnostic.column}" if diagnostic.span else ""
    level = diagnostic.severity.value
    message = printable(one_line(diagnostic.message))
    return f"{printable(diagnostic.source.name)}{place}: {level}[{diagnostic.code} {diagnostic.slug}]: {message}"


def as_dict(diagnostic: Diagnostic) -> dict[str, object]:
    """The finding as plain values for JSON; lines and columns count from 1, ends are exclusive."""
    labels = [
        {"message": label.text} | _json_place(label.source or diagnostic.source, label.span)
        for label in diagnostic.labels
    ]
    place = _json_place(diagnostic.source, diagnostic.span)
    return {
        "code": diagnostic.code,
        "slug": diagnostic.slug,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        **place,
        "caption": diagnostic.caption,
        "labels": labels,
        "notes": list(diagnostic.notes),
        "help": list(diagnostic.help),
        "fixes": [
            {
                "title": fix.title,
                "applicability": fix.applicability.value,
                "edits": [_json_edit(diagnostic.source, edit) for edit in fix.edits],
            }
            for fix in diagnostic.fixes
        ],
    }


def _json_edit(source: Source, edit: Edit) -> dict[str, object]:
    place = _json_place(source, edit.span)
    return {key: value for key, value in place.items() if key != "file"} | {
        "start": edit.span.start,
        "end": edit.span.end,
        "text": edit.text,
    }


def _json_place(source: Source, span: Span | None) -> dict[str, object]:
    if span is None:
        return {"file": source.name, "line": None, "column": None, "end_line": None, "end_column": None}
    span = _clamp(source, span)
    line, column = source.position(span.start)
    end_line, end_column = source.position(span.end)
    return {"file": source.name, "line": line, "column": column, "end_line": end_line, "end_column": end_column}


def wants_color(stream: TextIO) -> bool:
    """Whether text for this stream should be coloured: a terminal, unless ``NO_COLOR`` is set or it is dumb."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def count(number: int, thing: str) -> str:
    """``1 error``, ``2 errors``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def summary(diagnostics: list[Diagnostic], files: int) -> str:
    """One line that closes a report: ``2 errors, 1 warning in 3 files``."""
    errors = sum(d.severity is Severity.ERROR for d in diagnostics)
    warnings = len(diagnostics) - errors
    parts = [count(n, thing) for n, thing in ((errors, "error"), (warnings, "warning")) if n]
    return f"{', '.join(parts) or 'no findings'} in {count(files, 'file')}"


class _Style:
    """Wraps text in a named style, or leaves it alone."""

    def __init__(self, color: bool) -> None:
        self.color = color

    def __call__(self, name: str, text: str) -> str:
        return f"{_STYLES[name]}{text}{_RESET}" if self.color and text else text


class _Mark(NamedTuple):
    """An underlined part of one line; ``start`` and ``end`` count characters of that line."""

    line: int
    start: int
    end: int
    text: str
    primary: bool


_Place = tuple[Source, Span, str, bool]


def _places(diagnostic: Diagnostic) -> list[_Place]:
    """The primary place first, then the labels."""
    places: list[_Place] = []
    if diagnostic.span is not None:
        places.append((diagnostic.source, diagnostic.span, diagnostic.caption, True))
    places += [(label.source or diagnostic.source, label.span, label.text, False) for label in diagnostic.labels]
    return places


def _clamp(source: Source, span: Span) -> Span:
    start = min(max(span.start, 0), len(source.text))
    return Span(start, min(max(span.end, start), len(source.text)))


def _line_of(source: Source, span: Span) -> int:
    return source.position(_clamp(source, span).start)[0]


def _mark(source: Source, span: Span, text: str, primary: bool) -> _Mark:
    """The part of a span that lies on its first line: at least one column, without blanks at its end."""
    span = _clamp(source, span)
    line, column = source.position(span.start)
    content = source.line(line)
    start = min(column - 1, len(content))
    end = min(start + (span.end - span.start), len(content))
    end = max(start + len(content[start:end].rstrip()), start + 1)
    if not text and not source.text[span.start :].strip():
        text = "the text ends here"
    return _Mark(line, start, end, one_line(text), primary)


def _excerpt(source: Source, marks: list[_Mark], gutter: int, arrow: str, level: str, style: _Style) -> list[str]:
    """The header line of one source, and its marked lines from top to bottom."""
    first = marks[0]
    frame = style("frame", "|")
    bar = " " * (gutter + 2) + frame
    out = [f"{' ' * (gutter + 1)}{style('frame', arrow)} {printable(source.name)}:{first.line}:{first.start + 1}", bar]
    shown = 0
    for number in sorted({mark.line for mark in marks}):
        on_line = sorted((m for m in marks if m.line == number), key=lambda m: (not m.primary, m.start))
        above = number - 1
        context = on_line[0].primary and above > shown and above >= 1 and bool(source.line(above).strip())
        if shown and number - context > shown + 1:
            out.append(" " + style("frame", ELLIPSIS))
        if context:
            out.append(_numbered(above, cut_line(source.line(above)), gutter, style))
        content = source.line(number)
        previous: str | None = None
        for mark in on_line:
            text, underline = _underlined(content, mark)
            if text != previous:
                out.append(_numbered(number, text, gutter, style))
                previous = text
            caption = f" {printable(mark.text)}" if mark.text else ""
            out.append(f"{bar} {style(level if mark.primary else 'frame', underline + caption)}")
        shown = number
    return out


def _numbered(number: int, text: str, gutter: int, style: _Style) -> str:
    return " " + style("frame", f"{number:>{gutter}} |") + (f" {text}" if text else "")


def _underlined(content: str, mark: _Mark) -> tuple[str, str]:
    """The line as shown, and the line below it with carets under the mark."""
    text, start, end = _cut(content, mark.start, mark.end)
    sign = "^" if mark.primary else "-"
    lead = "".join(_blank(c) for c in text[:start])
    body = "".join("\t" if c == "\t" else sign * _columns(c) for c in text[start:end]).rstrip("\t")
    return text, lead + (body or sign)


def _cut(content: str, start: int, end: int) -> tuple[str, int, int]:
    """A line of at most about ``WIDTH`` columns that shows the mark, and the mark's place in it."""
    # A line of a whole file would take long for each of its findings: only what is around the mark is looked at.
    first, last = max(start - 3 * WIDTH, 0), min(start + 3 * WIDTH, len(content))
    before, after = first > 0, last < len(content)
    content, start, end = printable(content[first:last]), start - first, min(end, last) - first
    widths = [_columns(c) if c != "\t" else TAB for c in content]
    if sum(widths) <= WIDTH and not before and not after:
        return content, start, end
    left = start
    room = WIDTH // 3
    while left > 0 and room > 0:
        left -= 1
        room -= widths[left]
    right, room = left, WIDTH
    while right < len(content) and room > 0:
        room -= widths[right]
        right += 1
    if right == len(content) and not after:  # the end of the line fits: use what is left over for its beginning
        while left > 0 and room > 0:
            left -= 1
            room -= widths[left]
    head = ELLIPSIS if left or before else ""
    tail = ELLIPSIS if right < len(content) or after else ""
    shift = len(head) - left
    return head + content[left:right] + tail, start + shift, min(end, right) + shift


def cut_line(content: str) -> str:
    """A line as shown on its own: printable, and its beginning if it is long."""
    return _cut(content, 0, 1)[0]


def _remarks(kind: str, texts: tuple[str, ...], gutter: int, style: _Style) -> list[str]:
    """``= note: ...`` lines; further lines of one remark are indented below its first."""
    lead = " " * (gutter + 2) + style("frame", "=") + " "
    out = []
    for text in texts:
        first, *rest = text.splitlines() or [""]
        out.append(f"{lead}{style('help', kind)}: {printable(first)}")
        out += [" " * (gutter + 4 + len(kind) + 2) + printable(line) for line in rest]
    return out


def one_line(text: str) -> str:
    """A message that was meant to be one line, as one line."""
    return " ".join(text.split("\n"))


def printable(text: str) -> str:
    """The text with everything that would move a terminal's cursor shown as a replacement mark; tabs stay.

    Covers control characters and the invisible ones that reorder text, so that a program cannot draw over a report.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c == "\t" or c.isprintable() or _combines(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


def _combines(c: str) -> bool:
    from unicodedata import combining  # imported late: only text beyond ASCII needs the tables

    return bool(combining(c))


def _columns(c: str) -> int:
    """Columns that a terminal gives one character (a tab counts as one here; it is kept in both lines)."""
    if c.isascii():
        return 1
    from unicodedata import combining, east_asian_width

    return 0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1


def _blank(c: str) -> str:
    return c if c == "\t" else " " * _columns(c)
