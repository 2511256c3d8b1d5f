"""Colours for programs in documentation, terminals and notebooks: a lexer for Pygments, which finds it by itself.

Its words are those of the language's own tables, so nothing here needs to follow a new keyword or builtin. pygments
is not a dependency of this package; whoever asks for colours has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from pygments.lexer import Lexer
from pygments.token import (
    Comment,
    Error,
    Keyword,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    Whitespace,
    _TokenType,
)

from .lalr import tables
from .layout import STARTERS

_CONSTANTS = ("INF", "PI", "TRUE", "FALSE")
_WORDS = ("AND", "OR", "NOT")
_SIGNS = ("PLUS", "MINUS", "STAR", "SLASH", "POWER", "COMPARE", "EQUAL", "_ARROW", "OPTIONAL")
_WRONG = ("INVALID", "BROKEN_STRING", "OPEN_DOCSTRING")
_BLANK = re.compile(r"[ \t\f]+")


class LossLexer(Lexer):  # type: ignore[misc]  # pygments has no types
    """The lexer of `.loss` programs."""

    name = "Loss"
    aliases = ("loss", "splatdsl")
    filenames = ("*.loss",)
    mimetypes = ("text/x-loss",)

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, _TokenType, str]]:
        """Offset, token type and text of each piece; together they are the whole text."""
        table = tables()
        pieces = list(re.compile(table.scanner).finditer(text))
        words = [match.group() for match in pieces]
        before = ""
        for i, (match, word) in enumerate(zip(pieces, words)):
            terminal, start = table.groups[match.lastindex or 0], match.start()
            if terminal < 0:
                yield start, Comment.Single if word.startswith("#") else Whitespace, word
                continue
            name = table.terminals[terminal]
            if name == "NAME" and word in table.keywords:
                name = table.terminals[table.keywords[word]]
            if name != "NAME":
                yield start, _type_of(name), word
            else:
                following = next((w for w in words[i + 1 : i + 3] if not _BLANK.fullmatch(w)), "")
                yield start, _name(word, before, following), word
            before = word


def _type_of(terminal: str) -> _TokenType:
    """The token type of a terminal that is no name."""
    if terminal in STARTERS:
        return Keyword.Declaration
    for names, kind in ((_CONSTANTS, Keyword.Constant), (_WORDS, Operator.Word), (_SIGNS, Operator), (_WRONG, Error)):
        if terminal in names:
            return kind
    plain = {"DOCSTRING": String.Doc, "STRING": String.Double, "NUMBER": Number, "_NEWLINE": Whitespace}
    if terminal in plain:
        return plain[terminal]
    return Keyword if tables().id[terminal] in tables().keywords.values() else Punctuation


def _name(word: str, before: str, following: str) -> _TokenType:
    """What a name is, from its neighbours and the language's own names."""
    if before in ("def", "extern"):
        return Name.Function
    if before == ".":
        return Name.Attribute
    if following == "(":
        return Name.Builtin if word in _functions() else Name.Function
    return Name.Builtin.Pseudo if word in _values() else Name


@cache
def _functions() -> frozenset[str]:
    from .check.functions import library_names

    return frozenset((*library_names(), "has"))


@cache
def _values() -> frozenset[str]:
    from .inputs import BY_NAME, REGIONS

    return frozenset((*BY_NAME, *REGIONS))
