"""Text to tokens, with the one regular expression that the grammar's terminals make."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .lalr import tables

if TYPE_CHECKING:
    from .lalr import Token

_pattern: re.Pattern[str] | None = None


def scan(text: str) -> list[Token]:
    """The tokens of a text, newlines among them, blanks and comments left out; never fails.

    A character that begins no token becomes one of its own (``INVALID``), which the parser then rejects.
    """
    global _pattern
    table = tables()
    if _pattern is None:
        _pattern = re.compile(table.scanner)
    groups, keywords, name = table.groups, table.keywords, table.id["NAME"]
    tokens: list[Token] = []
    append = tokens.append
    for match in _pattern.finditer(text):
        terminal = groups[match.lastindex or 0]
        if terminal < 0:
            continue
        word = match.group()
        if terminal == name and word in keywords:
            terminal = keywords[word]
        start, end = match.span()
        append((terminal, word, start, end))
    return tokens
