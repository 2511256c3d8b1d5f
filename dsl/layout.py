"""Where statements end: newlines and indentation, decided before the parser sees a token.

A line starts a statement if its first token is a statement keyword, at any indentation and even inside an open
bracket, so that one missing bracket never swallows the file; or if it stands outside brackets at or left of the base
column, which is that of the first token of the text. Every other line continues the statement above it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lalr import tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .lalr import Token

STARTERS = ("_PARAM", "_INPUT", "_LET", "_DEF", "_USE", "_EXTERN", "_MEMORY", "_TERM")
OPENERS = ("LPAR", "LSQB", "LBRACE")
CLOSERS = ("RPAR", "RSQB", "RBRACE")


class Lines:
    """The tokens of one statement, ended by ``$END``.

    Attributes:
        tokens: the statement; the last token is of terminal 0 and covers nothing.
        breaks: index of each token that is the first of its line, and its column (from 0).
        mixed: the token whose indentation cannot be compared with that of the text's first line, if there is one.
    """

    __slots__ = ("breaks", "mixed", "tokens")

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.breaks: dict[int, int] = {}
        self.mixed: Token | None = None


class Layout:
    """The statements of a text and its base column (from 0)."""

    __slots__ = ("base", "statements")

    def __init__(self, text: str, tokens: Sequence[Token]) -> None:
        self.base = 0
        self.statements: list[Lines] = []
        terminal = tables().id
        starters = frozenset(terminal[name] for name in STARTERS)
        change = {terminal[name]: 1 for name in OPENERS} | {terminal[name]: -1 for name in CLOSERS}
        newline, docstring = terminal["_NEWLINE"], terminal["DOCSTRING"]

        current = Lines()
        depth, previous, line, fresh, base_indent = 0, -1, 0, True, ""
        for token in tokens:
            kind, _, start, end = token
            if kind == newline:
                line, fresh = end, True
                continue
            if fresh:
                column, indent = start - line, text[line:start]
                if previous < 0:
                    self.base, base_indent = column, indent
                comparable = indent.startswith(base_indent) or base_indent.startswith(indent)
                if (
                    previous < 0
                    or kind in starters
                    or previous == docstring
                    or (depth == 0 and (column <= self.base or not comparable))
                ):
                    current = Lines()
                    self.statements.append(current)
                    depth = 0
                    if not comparable and kind not in starters:
                        current.mixed = token
                current.breaks[len(current.tokens)] = column
                fresh = False
            current.tokens.append(token)
            depth = max(0, depth + change.get(kind, 0))
            previous = kind
        for statement in self.statements:
            end = statement.tokens[-1][3]
            statement.tokens.append((0, "", end, end))
