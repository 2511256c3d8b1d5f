"""The call around a cursor, found by tokens: while someone types, it is rarely a whole call."""

from __future__ import annotations

from typing import NamedTuple

from ..dsl import ast
from ..dsl.layout import STARTERS
from . import describe
from .describe import FunctionInfo
from .document import Document
from .hover import other_symbol

_OPEN = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
_CLOSE = frozenset(_OPEN.values())


class OpenCall(NamedTuple):
    """A call that is not closed before the cursor.

    Attributes:
        name: of the function.
        position: number of the argument that the cursor is in.
        keyword: name of that argument, if it is written, as in ``padding=``.
        given: names of the keyword arguments before the cursor and after it.
        positional: how many positional arguments there are, that of the cursor among them.
        before: how many of them stand before the argument that the cursor is in.
    """

    name: str
    position: int
    keyword: str
    given: frozenset[str]
    positional: int
    before: int


def call_at(document: Document, offset: int) -> OpenCall | None:
    """The innermost call that a cursor stands in."""
    tokens = [t for t in document.tokens.items if t[0] != "_NEWLINE"]
    before = [t for t in tokens if t[3] <= offset or (t[2] < offset and t[0] in ("STRING", "BROKEN_STRING"))]
    depth = 0
    for i in range(len(before) - 1, -1, -1):
        terminal = before[i][0]
        if terminal in STARTERS:
            return None  # a statement keyword always starts a statement, also inside a bracket
        if terminal in _CLOSE:
            depth += 1
        elif terminal in _OPEN and depth:
            depth -= 1
        elif terminal in _OPEN:
            if terminal == "LPAR" and i and before[i - 1][0] == "NAME" and before[i - 1][3] == before[i][2]:
                if i >= 2 and before[i - 2][0] == "_DEF":
                    return None
                return _describe(before[i - 1][1], tokens, tokens.index(before[i]), offset)
            if terminal != "LPAR":
                return None
    return None


def _describe(name: str, tokens: list[tuple[str, str, int, int]], opening: int, offset: int) -> OpenCall:
    position, current, keyword, positional, before = 0, 0, "", 0, 0
    given: set[str] = set()
    depth, fresh = 0, True
    for i in range(opening + 1, len(tokens)):
        terminal, word, start, _ = tokens[i]
        if terminal in STARTERS or (terminal in _CLOSE and depth == 0):
            break
        if start < offset:
            current = position
        if fresh:
            fresh = False
            if terminal == "NAME" and i + 1 < len(tokens) and tokens[i + 1][0] == "EQUAL":
                given.add(word)
                if start < offset:
                    keyword = word
            else:
                positional += 1
                if start < offset:
                    keyword = ""
        if terminal in _OPEN:
            depth += 1
        elif terminal in _CLOSE:
            depth -= 1
        elif terminal == "COMMA" and depth == 0:
            position, fresh = position + 1, True
            if start < offset:
                current, keyword, before = position, "", positional
    return OpenCall(name, current, keyword, frozenset(given), positional, before)


def function_info(document: Document, name: str) -> FunctionInfo | None:
    """What is known of a function by name: of the program, of the language, or of a used file."""
    symbol = document.names.function(name)
    if symbol is None:
        return None
    if symbol.kind == "builtin":
        return describe.builtin(name)
    statement, source = symbol.statement, document.source
    if isinstance(statement, ast.Use):
        other = document.other(statement.path.value)
        target = other_symbol(other, name) if other else None
        if other is None or target is None:
            return None
        statement, source = target.statement, other.source
    if isinstance(statement, ast.Def):
        return describe.definition(statement, source)
    return describe.extern(statement, source) if isinstance(statement, ast.Extern) else None


class Form(NamedTuple):
    """One way to call a function: its parameters, and which of them the cursor is at (None: past the last)."""

    label: str
    spans: tuple[tuple[int, int], ...]
    docs: tuple[str, ...]
    active: int | None


class Help(NamedTuple):
    """What signature help shows."""

    doc: str
    forms: tuple[Form, ...]
    active: int


def signature_help(document: Document, offset: int) -> Help | None:
    """The signature of the call around a cursor; None outside calls and in those of unknown functions."""
    if document.is_config or document.tokens.in_comment(offset):
        return None
    call = call_at(document, offset)
    about = call and function_info(document, call.name)
    if call is None or about is None:
        return None
    whole = _form(about, call, 0)
    if not about.comparing:
        return Help(about.doc, (whole,), 0)
    # `f(r)` beside `f(a, b, r)`: one positional argument is a region
    short = _form(about, call, 2)
    count = call.positional if call.keyword else max(call.positional, call.position + 1)
    return Help(about.doc, (short, whole), 0 if count <= 1 else 1)


def _form(about: FunctionInfo, call: OpenCall, skip: int) -> Form:
    parameters = about.parameters[skip:]
    label = about.name + "("
    spans: list[tuple[int, int]] = []
    for p in parameters:
        label += ", " if spans else ""
        spans.append((len(label), len(label) + len(p.label)))
        label += p.label
    names = [p.name for p in parameters]
    active: int | None = None
    if call.keyword:
        active = names.index(call.keyword) if call.keyword in names else None
    else:
        positional = [i for i, p in enumerate(parameters) if not p.keyword_only]
        if call.position < len(positional):
            active = positional[call.position]
        elif positional and parameters[positional[-1]].label.startswith("*"):
            active = positional[-1]
    return Form(f"{label}){about.result}", tuple(spans), tuple(p.doc for p in parameters), active)
