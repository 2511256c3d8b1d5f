"""Fixes of syntax errors, where what was meant can be read off the text.

A text that does not parse has no value to change, so a fix is safe where a reader could not take it for anything else,
and unsafe where a guess at a name or an operator is made. Loaded only when there is something to fix.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from .diagnostics import Applicability, Edit, Fix
from .layout import STARTERS
from .source import Span
from .suggest import closest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .syntax_errors import Context

_SIGNS = {
    "×": "*", "·": "*", "⋅": "*", "÷": "/", "−": "-", "–": "-", "—": "-", "≤": "<=", "≥": ">=", "≠": "!=",
    "π": "pi", "∞": "inf", "²": "^ 2", "³": "^ 3", "←": "=", "→": "->",
}  # fmt: skip
_WORDS = {"&": "and", "|": "or", "∧": "and", "∨": "or"}
_NOT = "~!¬"
_OPENING = "“„‘"
_CLOSING = {"“": "”", "„": "“”", "‘": "’", "'": "'"}


def repair(c: Context, code: str, message: str) -> list[Fix]:
    """The fixes of the error at a token; none where it takes its author to know what was meant.

    Args:
        c: the place.
        code: the code that the error was given.
        message: the template that words it, from ``syntax_rows``; empty for stray characters.
    """
    if c.t == "INVALID":
        return _character(c)
    maker = _BY_CODE.get(code)
    return maker(c, message) if maker is not None else []


def _safe(title: str, *edits: Edit) -> list[Fix]:
    return [Fix(title, edits, Applicability.SAFE)]


def _span(c: Context, first: int = 0, last: int = 0) -> Span:
    """From one token to another, counted from the offending one."""
    return Span(c.tokens[c.index + first][2], c.tokens[c.index + last][3])


def _word(c: Context, span: Span, word: str) -> Edit:
    """A word in place of a sign, with blanks where it would run together with its neighbours."""
    before, after = c.source.text[: span.start][-1:], c.source.text[span.end :][:1]
    left = " " if before.isalnum() or before in tuple('_)]"') else ""
    right = " " if after.isalnum() or after in tuple('_("') else ""
    return Edit(span, left + word + right)


def _character(c: Context) -> list[Fix]:
    sign, span = c.token, _span(c)
    if sign in _WORDS and c.after_value:
        if c.next == sign and c.glued(1):
            span = Span(span.start, span.end + 1)
        return _safe(f"write `{_WORDS[sign]}`", _word(c, span, _WORDS[sign]))
    if sign in _NOT and c.wants_value and c.n == "NAME" and c.p not in ("PLUS", "MINUS", "STAR", "SLASH", "POWER"):
        behind = c.name_at(2)
        if behind in ("$END", "RPAR", "COMMA", "AND", "OR", "_WHEN", "LPAR") or c.text_at(2) in ("&", "|"):
            return _safe("write `not`", _word(c, span, "not"))
        return []
    if sign in _SIGNS:
        new = _SIGNS[sign]
        if new.isalpha() and (c.p == "NUMBER" or not c.wants_value):
            return []  # a product without its sign
        return _safe(f"write `{new}`", _word(c, span, new) if new.isalpha() else Edit(span, new))
    if sign in _CLOSING:
        return _quotes(c, sign)
    if sign == ";":
        if c.n == "$END":
            return _safe("remove it", Edit(span, ""))
        if c.names[c.tokens[c.index + 1][0]] in STARTERS:
            end = c.tokens[c.index + 1][2]
            return _safe("start a new line", Edit(Span(span.start, end), "\n" + " " * c.base))
        return []
    if sign == "\\" and (c.n == "$END" or c.index + 1 in c.lines.breaks):
        return _safe("remove it", Edit(span, ""))
    if not sign.isprintable() and sign != "\r":
        if sign.isspace():
            return _safe("replace it with a blank", Edit(span, " "))
        return _safe("remove it", Edit(span, ""))
    plain = unicodedata.normalize("NFKC", sign)
    if len(plain) == 1 and plain.isascii() and plain != sign and (plain in "()[]{}<>=+-*/^,.:?" or plain.isalnum()):
        return _safe(f"write `{plain}`", Edit(span, plain))
    return []


def _quotes(c: Context, sign: str) -> list[Fix]:
    """Straight double quotes in place of others, around a text of plain characters on one line."""
    start, end = c.tokens[c.index][2:]
    line_end = c.source.text.find("\n", end)
    rest = c.source.text[end : line_end if line_end >= 0 else None]
    length = next((i for i, letter in enumerate(rest) if letter in _CLOSING[sign]), -1)
    quoted = rest[: max(length, 0)]
    if length < 0 or any(c in quoted for c in '"#()[]{}') or not quoted.isprintable():
        return []
    return _safe(f'write "{quoted}"', Edit(Span(start, end + length + 1), f'"{quoted}"'))


def _number(c: Context, message: str) -> list[Fix]:
    """Points without digits on one side, and a number right before a name."""
    if c.t == "DOT" and c.n == "NUMBER" and c.glued(1) and c.p != "DOT":
        at = c.tokens[c.index][2]
        return _safe(f"write `0.{c.next}`", Edit(Span(at, at), "0"))
    whole = c.p == "DOT" and c.name_at(-2) == "NUMBER" and c.glued(-1) and c.text_at(-2).isdigit()
    if whole and c.t not in ("NUMBER", "DOT"):
        at = c.tokens[c.index - 1][3]
        return _safe(f"write `{c.text_at(-2)}.0`", Edit(Span(at, at), "0"))
    if "to multiply" in message or (c.p == "NUMBER" and c.glued() and c.t == "NAME" and len(c.token) > 1):
        if c.prev == "0" or not c.token.strip("_eE"):
            return []
        at = c.tokens[c.index][2]
        return [Fix(f"write `{c.prev} * {c.token}`", [Edit(Span(at, at), " * ")], Applicability.UNSAFE)]
    return []


def _sign(c: Context, message: str) -> list[Fix]:
    """``:=`` for ``=``; doubled and swapped comparisons."""
    if c.t == "COLON" and c.n == "EQUAL" and c.glued(1):
        return _safe("write `=`", Edit(_span(c, 0, 1), "="))
    joined = {"=<": "<=", "=>": ">=", "===": "==", "!==": "!=", "<>": "!="}
    for first, last in ((0, 1), (-1, 0)):
        if c.index + first >= 0 and c.index + last < len(c.tokens) and c.glued(last):
            new = joined.get(c.text_at(first) + c.text_at(last))
            if new is not None:
                return _safe(f"write `{new}`", Edit(_span(c, first, last), new))
    return []


def _statement(c: Context, message: str) -> list[Fix]:
    """A misspelled first word; a colon before a value."""
    words = [name[1:].lower() for name in STARTERS]
    if c.index == 1 and c.head == "NAME" and c.t == "NAME":
        near = closest(c.first, words)
        if len(near) == 1:
            return [Fix(f"write `{near[0]}`", [Edit(_span(c, -1, -1), near[0])], Applicability.UNSAFE)]
    if c.index == 1 and c.head == "NAME" and c.t == "COLON":
        first, last = c.tokens[c.index - 1][2], c.tokens[c.index][3]
        new = f"term {c.first} ="
        return [Fix(f"write `{new} ...`", [Edit(Span(first, last), new)], Applicability.UNSAFE)]
    return []


def _missing(c: Context, message: str) -> list[Fix]:
    """``param w: 0.2``: the value follows ``=``."""
    if c.t == "COLON" and c.index == 2 and c.p == "NAME" and "follows `=`" in message:
        before = c.source.text[: c.tokens[c.index][2]]
        blank = "" if before.endswith((" ", "\t")) else " "
        return _safe("write `=`", Edit(_span(c), f"{blank}="))
    return []


def _default(c: Context, message: str) -> list[Fix]:
    """``param w: 0.2``: a number where a unit stands is the default."""
    if c.head == "_PARAM" and c.index == 3 and c.p == "COLON" and c.t in ("NUMBER", "MINUS"):
        colon = c.tokens[c.index - 1]
        blank = "" if c.source.text[: colon[2]].endswith((" ", "\t")) else " "
        return _safe(f"write `param {c.text_at(-2)} = ...`", Edit(Span(colon[2], colon[3]), f"{blank}="))
    return []


def _argument(c: Context, message: str) -> list[Fix]:
    """``f(border: 5)``: the value of an argument follows ``=``."""
    if c.t == "COLON" and c.bracket == "call" and c.p == "NAME":
        start, end = c.tokens[c.index - 1][3], c.tokens[c.index + 1][2]
        return _safe(f"write `{c.prev}=`", Edit(Span(start, end), "="))
    return []


def _compare(c: Context, message: str) -> list[Fix]:
    """``=`` inside a value."""
    if c.t == "EQUAL" and "cannot stand inside" in message:
        return [Fix("write `==`", [Edit(_span(c), "==")], Applicability.UNSAFE)]
    return []


def _bracket(c: Context, message: str) -> list[Fix]:
    """A bracket that is never closed, or closed by one of another kind."""
    if "is never closed" in message and c.closer:
        at = c.tokens[c.index - 1][3]
        return [Fix(f"add `{c.closer}`", [Edit(Span(at, at), c.closer)], Applicability.UNSAFE)]
    if "cannot close" in message and c.closer and c.bracket == "call":
        return [Fix(f"write `{c.closer}`", [Edit(_span(c), c.closer)], Applicability.UNSAFE)]
    if "closes nothing" in message and c.t == "RPAR" and c.n == "$END":
        return [Fix("remove it", [Edit(_span(c), "")], Applicability.UNSAFE)]
    return []


_BY_CODE: dict[str, Callable[[Context, str], list[Fix]]] = {
    "SYN003": _sign,
    "SYN005": _bracket,
    "SYN006": _bracket,
    "SYN009": _missing,
    "SYN011": _statement,
    "SYN012": _number,
    "SYN025": _compare,
    "SYN030": _argument,
    "SYN031": _default,
}
