"""The grammar, its parse tables and the prelude."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
GRAMMAR = os.path.join(_HERE, "loss.lark")
TABLES = os.path.join(_HERE, "tables.json")


def read_grammar() -> str:
    """The text of ``loss.lark`` with plain newlines, whatever the checkout made of them."""
    with open(GRAMMAR, encoding="utf-8") as file:
        return file.read()


def checksum(grammar: str) -> int:
    """A quick check of the grammar text, for start-up; the stamp that tests compare is a sha256."""
    import zlib

    return zlib.crc32(grammar.encode())


def load_tables() -> dict[str, Any]:
    """The parse tables: those of the package, or fresh ones if someone has edited ``loss.lark`` since.

    Raises:
        lark.exceptions.GrammarError: the grammar was edited and is not LALR(1).
    """
    import json

    grammar = read_grammar()
    try:
        with open(TABLES, encoding="utf-8") as file:
            tables: dict[str, Any] = json.load(file)
        if tables["checksum"] == checksum(grammar):
            return tables
    except (OSError, ValueError, KeyError):
        pass
    from .generate import build_tables

    return build_tables(grammar)
