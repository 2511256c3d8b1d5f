"""From the place where a statement stops making sense to a sentence about it.

The sentences stand in ``syntax_rows.py``; here is what they are chosen by. Loaded only when there is something to say.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from .build import Fault
from .diagnostics import Diagnostic, Label
from .lalr import tables
from .layout import CLOSERS, OPENERS
from .source import Source, Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .diagnostics import Sink
    from .layout import Layout, Lines
    from .syntax_rows import Row

MATCHING = {"(": ")", "[": "]", "{": "}", ")": "(", "]": "[", "}": "{"}

PLACES = {"token": (0, 0), "prev": (-1, -1), "pair": (-1, 0), "next": (0, 1), "four": (-3, 0), "point": (-2, -1)}


class Context:
    """What is known about a syntax error: the statement and the first token that cannot stand where it does.

    Attributes:
        index: index of that token in the statement.
        t, p, n: its terminal, that of the token before and of the token after; empty where there is none.
        token, prev, next: the same tokens as written.
        head: terminal of the first token, that is the kind of the statement.
        first: the first token as written.
        opener: index of the innermost open bracket, -1 outside brackets.
        starts_line, column: whether the token is the first of its line, and where it stands on it (from 0).
        base: the column at which statements start (from 0).
        more_below: whether the next statement is an expression, so that it may have been meant to continue this one.
    """

    t: str
    p: str
    n: str
    head: str
    token: str
    prev: str
    next: str
    first: str
    index: int
    opener: int
    column: int
    starts_line: bool
    more_below: bool

    def __init__(self, source: Source, layout: Layout, number: int, index: int) -> None:
        self.source, self.index = source, index
        self.lines: Lines = layout.statements[number]
        self.tokens = self.lines.tokens
        following = layout.statements[number + 1] if number + 1 < len(layout.statements) else None
        self.names = tables().terminals
        self.t, self.token = self._at(index)
        self.p, self.prev = self._at(index - 1)
        self.n, self.next = self._at(index + 1)
        self.head, self.first = self._at(0)
        self.base = layout.base
        self.starts_line = index in self.lines.breaks
        self.column = self.lines.breaks.get(index, -1)
        self.more_below = following is not None and not self.names[following.tokens[0][0]].startswith("_")
        self.opener = -1
        openers: list[int] = []
        for i, token in enumerate(self.tokens[:index]):
            name = self.names[token[0]]
            if name in OPENERS:
                openers.append(i)
            elif name in CLOSERS and openers:
                openers.pop()
        if openers:
            self.opener = openers[-1]

    def _at(self, index: int) -> tuple[str, str]:
        if 0 <= index < len(self.tokens):
            return self.names[self.tokens[index][0]], self.tokens[index][1]
        return "", ""

    def name_at(self, index: int) -> str:
        """Terminal of a token counted from the offending one: -1 is the one before it."""
        return self._at(self.index + index)[0]

    def text_at(self, index: int) -> str:
        """Text of a token counted from the offending one."""
        return self._at(self.index + index)[1]

    def glued(self, index: int = 0) -> bool:
        """Whether a token follows the one before it without a blank."""
        i = self.index + index
        return 0 < i < len(self.tokens) and self.tokens[i][2] == self.tokens[i - 1][3]

    def count(self, *names: str) -> int:
        """How often these terminals stand in the statement before the offending token."""
        return sum(self.names[token[0]] in names for token in self.tokens[: self.index])

    def allows(self, name: str) -> bool:
        """Whether this terminal could stand in place of the offending token."""
        return tables().accepts(self._states, tables().id[name])

    @cached_property
    def _states(self) -> list[int]:
        return tables().states_after(self.tokens[: self.index])

    @property
    def closer(self) -> str:
        """The bracket that would close the innermost open one."""
        return MATCHING.get(self._at(self.opener)[1], "")

    @cached_property
    def closed_later(self) -> bool:
        """Whether the innermost open bracket is closed further on in the statement."""
        depth = 1
        for token in self.tokens[self.index :]:
            name = self.names[token[0]]
            depth += (name in OPENERS) - (name in CLOSERS)
            if not depth:
                return True
        return False

    @cached_property
    def wants_value(self) -> bool:
        """Whether an expression should begin here."""
        return self.head != "_USE" and self.allows("STRING")

    @cached_property
    def wants_name(self) -> bool:
        """Whether a name, and not an expression, should stand here."""
        return not self.wants_value and self.allows("NAME")

    @cached_property
    def after_value(self) -> bool:
        """Whether an expression could end or go on with an operator here."""
        return self.allows("PLUS")

    @cached_property
    def bracket(self) -> str:
        """What the innermost bracket is: ``call``, ``group``, ``range``, ``list``, ``set``, ``header`` or nothing."""
        if self.opener < 0:
            return ""
        name, before = self.names[self.tokens[self.opener][0]], self._at(self.opener - 1)[0]
        if before == "_IN" and name != "LBRACE":
            return "range"
        if name == "LPAR":
            header = self.head in ("_DEF", "_EXTERN", "_USE") and self.opener == 2
            return "header" if header or before == "_ARROW" else "call" if before == "NAME" else "group"
        return "list" if name == "LSQB" else "set"

    def span(self, at: str) -> Span:
        """A place by name: ``token`` is the offending one, ``prev`` that before it, ``pair`` both, ``four`` two more.

        ``next`` is the offending token with the next one, ``point`` the two tokens before it.
        """
        first, last = PLACES[at]
        low, high = max(0, self.index + first), min(len(self.tokens) - 1, self.index + last)
        if self.names[self.tokens[high][0]] == "$END" and high:
            high -= 1
            low = min(low, high)
        return Span(self.tokens[low][2], self.tokens[high][3])

    def words(self) -> dict[str, str]:
        """What a message can name."""
        opener = self._at(self.opener)[1] if self.opener >= 0 else ""
        return {
            "token": _short(self.token),
            "prev": _short(self.prev),
            "next": _short(self.next),
            "first": _short(self.first),
            "name": _short(self._at(1)[1]),
            "before": _short(self.text_at(-2)),
            "opener": opener,
            "closer": self.closer,
            "column": str(self.base + 1),
        }

    def expected(self) -> list[str]:
        """What could stand here, in surface terms."""
        from .syntax_rows import SURFACE

        if self.wants_value:
            return ["a value"]
        found = ["an operator"] if self.after_value else []
        return found + [written for name, written in SURFACE.items() if self.allows(name)]


def _short(text: str) -> str:
    """A token as a message shows it: on one line and not longer than a name usually is."""
    text = "".join(c if c.isprintable() else "�" for c in text.partition("\n")[0])
    return text if len(text) <= 32 else text[:31] + "…"


def report(source: Source, sink: Sink, fault: Fault, notes: Sequence[str] = ()) -> None:
    """Report a fault that has been found by its key."""
    from .syntax_rows import FAULTS

    code, message, help = FAULTS[fault.key]
    words = {key: _short(word) for key, word in fault.words.items()}
    sink.add(
        Diagnostic(
            code,
            message.format(**words),
            source,
            fault.span,
            labels=[Label(span, text) for span, text in fault.labels],
            notes=notes,
            help=[help.format(**words)] if help else [],
        )
    )


def report_all(
    source: Source, sink: Sink, layout: Layout, broken: Sequence[tuple[int, Fault | int]], limit: int
) -> None:
    """Report one error for each malformed statement, up to a limit.

    Args:
        source: the text.
        sink: takes the findings.
        layout: the statements of the text.
        broken: the number of each malformed statement, with a fault or the index of the token where parsing stopped.
        limit: how many to describe; the last one carries a note about the rest.
    """
    for count, (number, found) in enumerate(broken[:limit], start=1):
        rest = len(broken) - limit if count == limit else 0
        notes = [f"{rest:,} more statements have a syntax error"] if rest > 0 else []
        if isinstance(found, Fault):
            report(source, sink, found, notes)
        else:
            sink.add(describe(Context(source, layout, number, found), notes))


def describe(context: Context, notes: Sequence[str] = ()) -> Diagnostic:
    """The finding for a token that cannot stand where it does."""
    from .syntax_characters import character
    from .syntax_repairs import repair

    special = character(context)
    if special is not None:
        code, message, help, span = special
        fixes = repair(context, code, "")
        return Diagnostic(code, message, context.source, span, notes=notes, help=[help] if help else [], fixes=fixes)
    row = choose(context)
    words = context.words()
    if "{expected}" in row.help:
        words["expected"] = ", ".join(context.expected())
    if row.fix is not None:
        words["fix"] = row.fix(context)
    labels = []
    if row.opened and context.opener >= 0:
        opener = context.tokens[context.opener]
        labels.append(Label(Span(opener[2], opener[3]), row.opened))
    help = row.help.format(**words)
    return Diagnostic(
        row.code,
        row.message.format(**words),
        context.source,
        context.span(row.at),
        labels=labels,
        notes=notes,
        help=[help] if help else [],
        fixes=repair(context, row.code, row.message),
    )


def choose(context: Context) -> Row:
    """The row that words this error."""
    from .syntax_rows import ROWS

    return next(row for row in ROWS if row.when(context))
