"""Ways to print findings, one module each: ``render(report)`` gives the whole text, a line end included.

A format for machines prints its text and nothing else on standard output. A module is loaded when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ...dsl.diagnostics import Diagnostic
    from ...dsl.source import Source, Span

FORMATS = {
    "full": "text",
    "concise": "text",
    "grouped": "grouped",
    "json": "json_array",
    "json-lines": "json_lines",
    "github": "github",
    "gitlab": "gitlab",
    "junit": "junit",
    "sarif": "sarif",
}
"""Every format with its module."""

STREAMED = ("full", "concise")
"""Formats that print the findings of one file before the next is checked."""


class Report:
    """What a run found.

    Attributes:
        found: the findings, in the order in which files were checked.
        files: the names of the files that were checked.
        problems: the names of those that could not be checked, each with the reason.
        color: whether to use colour, where the format has any.
        unsafe: whether unsafe fixes count as fixes.
        format: the name of the format.
    """

    __slots__ = ("color", "files", "format", "found", "problems", "unsafe")

    def __init__(
        self,
        found: Sequence[Diagnostic],
        files: Sequence[str] = (),
        problems: Sequence[tuple[str, str]] = (),
        color: bool = False,
        unsafe: bool = False,
        format: str = "full",
    ) -> None:
        self.found, self.files, self.problems = found, files, problems
        self.color, self.unsafe, self.format = color, unsafe, format


def renderer(name: str) -> Callable[[Report], str]:
    """The function that gives a report's text in a format."""
    from importlib import import_module

    render: Callable[[Report], str] = import_module(f".{FORMATS[name]}", __name__).render
    return render


def by_file(found: Iterable[Diagnostic]) -> dict[str, list[Diagnostic]]:
    """The findings by the file that they are about, in order of their first findings."""
    files: dict[str, list[Diagnostic]] = {}
    for diagnostic in found:
        files.setdefault(diagnostic.source.name, []).append(diagnostic)
    return files


def ends(source: Source, span: Span | None) -> tuple[int, int, int, int]:
    """Line and column of the first character of a place and of the one behind it, all from 1."""
    if span is None:
        return 1, 1, 1, 1
    size = len(source.text)
    start = min(max(span.start, 0), size)
    return (*source.position(start), *source.position(min(max(span.end, start), size)))


def details(diagnostic: Diagnostic) -> list[str]:
    """Notes and ways out, a line each, for formats that have one field for all text."""
    from ...dsl.render import titles

    fixes = titles(diagnostic)
    lines = [f"note: {note}" for note in diagnostic.notes]
    lines += [f"help: {help}" for help in (*(h for h in diagnostic.help if h not in fixes), *fixes)]
    return lines
