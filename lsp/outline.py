"""The shape of a file: its statements as an outline, and what can be folded."""

from __future__ import annotations

from typing import NamedTuple

from ..dsl import ast
from ..dsl.source import Span
from .document import Document


class Entry(NamedTuple):
    """One statement of the outline; ``kind`` is the word that it begins with."""

    name: str
    kind: str
    detail: str
    span: Span
    name_span: Span


def outline(document: Document) -> list[Entry]:
    """Everything that the program declares, in the order of the text."""
    if document.is_config:
        return []
    entries: list[Entry] = []
    slice_ = document.source.slice
    for s in document.parsed[0].statements:
        if isinstance(s, (ast.Param, ast.Let, ast.Memory, ast.Def, ast.Extern)):
            detail = {ast.Param: "default", ast.Let: "value", ast.Memory: "update", ast.Def: "body"}.get(type(s))
            text = slice_(getattr(s, detail).span) if detail else ""
            entries.append(Entry(s.name.text, type(s).__name__.lower(), _short(text), s.span, s.name.span))
        elif isinstance(s, (ast.Input, ast.Term)):
            text = slice_(s.kind.span if isinstance(s, ast.Input) else s.value.span)
            name, place = ".".join(part.text for part in s.name), s.name[0].span.to(s.name[-1].span)
            entries.append(Entry(name, type(s).__name__.lower(), _short(text), s.span, place))
        elif isinstance(s, ast.Use):
            names = ", ".join(name.text for name in s.names or ())
            entries.append(Entry(s.path.value or "?", "use", names, s.span, s.path.span))
        elif isinstance(s, ast.Bare):
            entries.append(Entry("loss", "term", _short(slice_(s.value.span)), s.span, s.value.span))
    return entries


def folds(document: Document) -> list[tuple[int, int, bool]]:
    """First and last line (from 0) of what can be folded, and whether it is a comment."""
    if document.is_config:
        return []
    found: list[tuple[int, int, bool]] = []
    for s in document.parsed[0].statements:
        first, last = document.position(s.span.start)[0], document.position(s.span.end)[0]
        if last > first:
            found.append((first, last, isinstance(s, ast.Docstring)))
    lines: list[int] = []
    for start, _ in [*document.tokens.comments, (len(document.source.text) + 1, 0)]:
        line = document.position(start)[0] if start <= len(document.source.text) else -2
        alone = line >= 0 and document.positions.line(line).lstrip("\ufeff \t").startswith("#")
        if lines and not (alone and line == lines[-1] + 1):
            if len(lines) > 1:
                found.append((lines[0], lines[-1], True))
            lines = []
        if alone:
            lines.append(line)
    return sorted(found)


def _short(text: str, limit: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 4] + " ..."
