"""Sentences about characters that no token begins with, and about quotes that are never closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .source import Span

if TYPE_CHECKING:
    from .syntax_errors import Context

    Special = tuple[str, str, str, Span]
    """Code, message, help, place."""

WAYS_OUT = {
    "&": "write `and`",
    "|": "write `or`",
    "~": "write `not`",
    "!": "write `not`",
    "∧": "write `and`",
    "∨": "write `or`",
    "¬": "write `not`",
    "%": "`every(step, k)` is true on every k-th step",
    ";": "start the next statement on a new line",
    "'": 'a text stands in double quotes: "..."',
    "‘": 'a text stands in double quotes: "..."',
    "’": 'a text stands in double quotes: "..."',
    "“": 'a text stands in straight double quotes: "..."',
    "”": 'a text stands in straight double quotes: "..."',
    "„": 'a text stands in straight double quotes: "..."',
    "\\": "no backslash is needed: an indented line continues the statement",
    "`": "remove it: names stand without quotes",
    "@": "to multiply write `*`; for a dot product, `dot(a, b)`",
    "$": "remove it: parameters and inputs are written by their names",
    "×": "write `*`",
    "·": "write `*`",
    "⋅": "write `*`",
    "÷": "write `/`",
    "−": "write `-`",
    "–": "write `-`",
    "—": "write `-`",
    "≤": "write `<=`",
    "≥": "write `>=`",
    "≠": "write `!=`",
    "√": "write `sqrt(...)`",
    "π": "write `pi`",
    "∞": "write `inf`",
    "²": "write `^ 2`",
    "³": "write `^ 3`",
    "←": "write `=`",
    "→": "write `->`",
}


def character(c: Context) -> Special | None:
    """The finding for a stray character or an open quote; None for an ordinary token."""
    start, end = c.tokens[c.index][2:]
    if c.t == "OPEN_DOCSTRING":
        place = Span(start, start + 3)
        return "SYN004", "the docstring that starts here is never closed", 'add `"""` where it ends', place
    if c.t == "BROKEN_STRING":
        if len(c.token) > 1 and c.token.endswith('"'):
            bad = next(x for x in c.token if x < " " or x == "\x7f" or "\ud800" <= x <= "\udfff")
            place = Span(start, end)
            return "SYN002", f"a text in quotes cannot contain the character {_code(bad)}", "remove it", place
        way = 'add `"` where it ends, on the same line'
        return "SYN004", "the text that starts here is never closed", way, Span(start, start + 1)
    if c.t != "INVALID":
        return None
    sign = c.token
    if sign == "\r":
        return "SYN002", "a carriage return stands alone here", "end lines with \\n or \\r\\n", Span(start, end)
    if not sign.isprintable():
        way = "replace it with a blank" if sign.isspace() else "remove it"
        return "SYN002", f"an invisible character, {_code(sign)}, stands here", way, Span(start, end)
    if sign in WAYS_OUT:
        way = WAYS_OUT[sign]
        if sign == "'":
            line_end = c.source.text.find("\n", end)
            quoted, quote, _ = c.source.text[end : line_end if line_end >= 0 else None].partition("'")
            way = f'write "{quoted}"' if quote and len(quoted) < 32 and quoted.isprintable() else way
        if sign == "%" and c.p == "NUMBER" and c.n not in ("NAME", "NUMBER", "LPAR"):
            part = float(c.prev.replace("_", "")) / 100
            way = f"write a part of 1; of the run, compare `progress`, as in `progress >= {part:g}`"
        if sign in "&|" and c.next == sign and c.glued(1):
            sign, end = sign * 2, end + 1
        return "SYN003", f"`{sign}` is not part of the language", way, Span(start, end)
    import unicodedata

    plain = unicodedata.normalize("NFKC", sign)
    if len(plain) == 1 and plain.isascii() and plain.isprintable() and plain != sign:
        way = WAYS_OUT.get(plain, f"write `{plain}`")
        return "SYN003", f"`{sign}` ({_code(sign)}) is not part of the language", way, Span(start, end)
    if sign.isalnum():
        message = f"names are written with a-z, A-Z, 0-9 and _; `{sign}` is not among them"
        return "SYN003", message, "spell the name with plain letters", Span(start, end)
    return "SYN003", f"`{sign}` is not part of the language", "", Span(start, end)


def _code(sign: str) -> str:
    import unicodedata

    name = unicodedata.name(sign, "")
    return f"U+{ord(sign):04X}" + (f" {name.lower()}" if name else "")
