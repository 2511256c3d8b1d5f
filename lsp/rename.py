"""Renaming: every place of a name in one file, or a sentence that says why it cannot be."""

from __future__ import annotations

import re

from ..dsl.diagnostics import Edit
from ..dsl.inputs import BY_NAME, REGIONS
from ..dsl.lalr import tables
from .describe import is_builtin
from .document import Document
from .symbols import BUILTIN, Place, Symbol

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WHAT = {"builtin": "a builtin", "fixed": "an input that every program has", "region": "a region of the language"}


class Refused(Exception):
    """Why a name cannot be changed; its text is for the user."""


def renamable(document: Document, offset: int) -> Place:
    """The place that a rename at a cursor starts from.

    Raises:
        Refused: nothing there can be renamed.
    """
    if document.is_config:
        raise Refused("names are renamed in the .loss file that declares them")
    place = document.names.at(offset)
    if place is None:
        if not document.parsed[1]:
            raise Refused("put the syntax errors right first: a rename could miss places that do not parse")
        raise Refused("there is no name to rename here")
    symbol = place.symbol
    if symbol.kind in BUILTIN:
        raise Refused(f"`{symbol.name}` is {_WHAT[symbol.kind]} and cannot be renamed")
    if symbol.kind == "file":
        raise Refused("a file is renamed in the file system, not here")
    if symbol.kind == "size":
        raise Refused(f"`{symbol.name}` is a letter of a kind: change it in the kinds themselves")
    if symbol.kind == "used":
        raise Refused(f"`{symbol.name}` comes from another file: rename it where it is declared")
    if not document.parsed[1]:
        raise Refused("put the syntax errors right first: a rename could miss places that do not parse")
    return place


def rename(document: Document, offset: int, new: str) -> list[Edit]:
    """The edits that give the name at a cursor another spelling.

    Raises:
        Refused: it cannot be renamed, or not to this.
    """
    symbol = renamable(document, offset).symbol
    if not _NAME.fullmatch(new):
        raise Refused(f"{new!r} is not a name: letters, digits and `_`, and no digit first")
    if new in tables().keywords:
        raise Refused(f"`{new}` is a word of the language")
    old = symbol.name.rpartition(".")[2]
    if new == old:
        return []
    _check_free(document, symbol, new)
    spans = {place.span for place in document.names.of(symbol)}
    return [Edit(span, new) for span in sorted(spans, key=lambda s: s.start)]


def _check_free(document: Document, symbol: Symbol, new: str) -> None:
    """Whether the new name is free everywhere that the old one is read."""
    names = document.names
    prefix = symbol.name.rpartition(".")[0]
    whole = f"{prefix}.{new}" if prefix else new
    if symbol.kind in ("def", "extern"):
        if is_builtin(new):
            raise Refused(f"`{new}` is a builtin")
        if new in names.functions or new in names.uses:
            raise Refused(f"there is already a function named `{new}`")
        return
    if symbol.kind == "term":
        if whole in names.terms:
            raise Refused(f"there is already a term named `{whole}`")
        return
    if symbol.kind == "local":
        _check_local(document, symbol, new)
        return
    if not prefix and (new in BY_NAME or new in REGIONS):
        raise Refused(f"`{new}` is {_WHAT['fixed' if new in BY_NAME else 'region']}")
    if whole in names.values:
        raise Refused(f"`{whole}` is already declared")
    for place in names.of(symbol):
        if any((new == around.name and around.kind == "local") or new in around.locals for around in place.inside):
            around = place.inside[0].name
            raise Refused(f"inside `{around}` the name `{new}` means something else: one would hide the other")


def _check_local(document: Document, symbol: Symbol, new: str) -> None:
    """A parameter may hide a name from outside, but not one that is read where it holds."""
    names = document.names
    owner = symbol.owner
    assert owner is not None
    for place in names.places:
        other = place.symbol
        read_inside = owner.span.start <= place.span.start and place.span.end <= owner.span.end
        value = other.kind not in ("def", "extern", "builtin", "term", "used", "file")
        if read_inside and value and other.name.split(".")[0] == new:
            raise Refused(f"`{new}` is read there already and would change its meaning")
