"""From a name to its declaration and to its other places."""

from __future__ import annotations

from ..dsl import ast
from ..dsl.source import Span
from .document import Document
from .hover import field_symbol, other_symbol
from .symbols import Place, Symbol


def symbol_at(document: Document, offset: int) -> Symbol | None:
    """What the name at a cursor means, also in a statement that does not parse."""
    if document.is_config or document.tokens.in_comment(offset):
        return None
    place = document.names.at(offset)
    if place is not None:
        return place.symbol
    token = document.tokens.at(offset)
    if token is None or token[0] != "NAME":
        return None
    _, word, start, end = token
    text = document.source.text
    if text[:start].rstrip().endswith("."):
        return field_symbol(document, Span(start, end))
    if text[end:].lstrip(" \t").startswith("("):
        return document.names.function(word)
    return document.names.value(word, document.names.locals_at(start))


def definition(document: Document, offset: int) -> tuple[Document, Span] | None:
    """The file and the place where a name is declared; None for what the language declares itself."""
    symbol = symbol_at(document, offset)
    if symbol is None or symbol.span is None:
        return None
    if symbol.kind not in ("used", "file"):
        return document, symbol.span
    assert isinstance(symbol.statement, ast.Use)
    other = document.other(symbol.statement.path.value)
    if other is None:
        return None
    if symbol.kind == "file":
        return other, Span(0, 0)
    target = other_symbol(other, symbol.name)
    return (other, target.span) if target is not None and target.span is not None else None


def places(document: Document, offset: int) -> list[Place]:
    """Every place in the file that names what is at a cursor, the declaration among them."""
    symbol = symbol_at(document, offset)
    return document.names.of(symbol) if symbol is not None else []
