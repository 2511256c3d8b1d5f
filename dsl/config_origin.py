"""Where the parts of a run config were written, and how findings about its program are shown there."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

from .diagnostics import Diagnostic, Label
from .source import Source, Span


class Place(NamedTuple):
    """A range of a text."""

    source: Source
    span: Span


class Piece(NamedTuple):
    """A run of characters of a program that also stands in the config."""

    start: int
    end: int
    there: int


class Origin:
    """What a loaded config remembers of its text.

    Attributes:
        path: the config's file, as given.
        program: the program's text and name.
        program_path: its file, or None when it is written in the config.
        values, names: places of values and of their keys, by dotted key (``train.max_steps``).
        files: the other files that the config is made of.
    """

    files: tuple[str, ...] = ()

    def __init__(
        self,
        path: str,
        program: Source,
        program_path: str | None,
        values: dict[str, Place],
        names: dict[str, Place],
        host: Source | None = None,
        pieces: Sequence[Piece] = (),
    ) -> None:
        self.path = path
        self.program = program
        self.program_path = program_path
        self.values = values
        self.names = names
        self._host = host
        self._pieces = pieces

    def place(self, diagnostic: Diagnostic) -> Diagnostic:
        """The finding, shown in the config where that is the text that the user wrote.

        A finding about a parameter's value (its source is named ``<param NAME>``) moves to ``loss_params``; one in a
        program that stands in the config line by line moves to its line there.
        """
        labels = [self._label(label, diagnostic.source) for label in diagnostic.labels]
        name = diagnostic.source.name
        if name.startswith("<param "):
            key = f"loss_params.{name[len('<param ') : -1]}"
            place = (self.names if diagnostic.slug.startswith("unknown") else self.values).get(key)
            if place is not None:
                return _moved(diagnostic, place.source, place.span, labels)
        if self._host is not None and name == self.program.name:
            span = self.values["loss"].span if diagnostic.span is None else self._span(diagnostic.span)
            moved = _moved(diagnostic, self._host, span, labels)
            moved.fixes = ()  # edits of a program's text; inside a config they would have to keep its layout
            return moved
        return _moved(diagnostic, diagnostic.source, diagnostic.span, labels)

    def _label(self, label: Label, default: Source) -> Label:
        source = label.source or default
        if self._host is not None and source.name == self.program.name:
            return Label(self._span(label.span), label.text, self._host)
        return Label(label.span, label.text, source)

    def _span(self, span: Span) -> Span:
        start = self._offset(span.start)
        return Span(start, max(start, self._offset(span.end)))

    def _offset(self, offset: int) -> int:
        best = self._pieces[0]
        for piece in self._pieces:
            if piece.start <= offset:
                best = piece
        return best.there + min(max(offset - best.start, 0), best.end - best.start)


def _moved(diagnostic: Diagnostic, source: Source, span: Span | None, labels: Sequence[Label]) -> Diagnostic:
    moved = copy(diagnostic)
    moved.source, moved.span, moved.labels = source, span, tuple(labels)
    return moved
