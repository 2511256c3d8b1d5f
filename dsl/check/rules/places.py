"""Where the user wrote what a hidden value is part of."""

from __future__ import annotations

from ...source import Source, Span
from ...typed import Expr
from .context import Context


class Places:
    """Finds the user's place of values that definitions of the prelude made."""

    def __init__(self, context: Context) -> None:
        self._hidden = context.report.hidden
        self._visible: dict[int, Expr] = {}
        self._term: dict[int, tuple[Source, Span]] = {}
        for term in context.program.terms:
            self._enter(term.value, term.source, term.span)

    def _enter(self, root: Expr, source: Source, span: Span) -> None:
        stack: list[tuple[Expr, Expr | None]] = [(root, None)]
        while stack:
            e, around = stack.pop()
            if id(e) in self._visible or id(e) in self._term:
                continue
            if e.source is not self._hidden:
                around = e
            if around is None:
                self._term[id(e)] = (source, span)
            else:
                self._visible[id(e)] = around
            stack.extend((a, around) for a in reversed(e.args))

    def of(self, e: Expr) -> Expr:
        """The value itself where the user wrote it, else the nearest value around it that the user wrote."""
        return self._visible.get(id(e), e)

    def at(self, e: Expr) -> tuple[Source, Span]:
        """The user's text for a value; that of its term where nothing nearer is the user's."""
        return self._term.get(id(e)) or (self.of(e).source, self.of(e).span)


def operand_text(e: Expr, operator: str) -> tuple[str, Span] | None:
    """The right operand of a binary operator as it is written there, brackets included.

    A value that a name stands for has its own text elsewhere, so this reads the text of the operation.
    """
    text = e.source.slice(e.span)
    if "#" in text or '"' in text:
        return None
    depth = 0
    for i in range(len(text) - 1, -1, -1):
        c = text[i]
        depth += (c in ")]") - (c in "([")
        if depth == 0 and c == operator:
            start = i + 1 + len(text[i + 1 :]) - len(text[i + 1 :].lstrip())
            return " ".join(text[start:].split()), Span(e.span.start + start, e.span.end)
    return None


def in_brackets(text: str) -> bool:
    """Whether one pair of brackets is around the whole text."""
    if not (text.startswith("(") and text.endswith(")")):
        return False
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return i == len(text) - 1
    return False


def bare(text: str) -> str:
    """The text without brackets around the whole of it."""
    while in_brackets(text):
        text = text[1:-1].strip()
    return text
