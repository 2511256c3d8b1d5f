"""Guesses at what someone meant with a first word that begins no statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layout import STARTERS
from .source import Span
from .suggest import did_you_mean

if TYPE_CHECKING:
    from .syntax_errors import Context

_USE = 'other files are read with `use "path" (names)`'
_DEF = "a function is `def name(a, b) = expression`"
_LET = "a value is named with `let name = expression`"
_LOOP = "there are no loops; losses work on whole images"

WORDS = {"_WHEN": "when", "_THEN": "then", "_IF": "if", "_ELSE": "else", "AND": "and", "OR": "or", "_IN": "in"}

OTHER_LANGUAGES = {
    "metric": "metrics belong to the evaluation of a run, not to its loss",
    "import": _USE,
    "from": _USE,
    "include": _USE,
    "require": _USE,
    "return": _DEF,
    "lambda": _DEF,
    "function": _DEF,
    "fn": _DEF,
    "func": _DEF,
    "const": _LET,
    "var": _LET,
    "val": _LET,
    "set": _LET,
    "while": _LOOP,
    "foreach": _LOOP,
    "loss": "a part of the loss is `term name = expression`",
    "weight": "a weight that a config may change is `param name = 0.1`",
    "hyperparameter": "a weight that a config may change is `param name = 0.1`",
}


def statement_like(c: Context) -> bool:
    """Whether a first word and what follows it look like a statement rather than like an expression."""
    return c.t in ("NAME", "STRING") and (not c.starts_line or c.column <= c.base)


def foreign(c: Context) -> str:
    """The way out for a first word that is misspelled or comes from another language; empty if it is neither."""
    words = [name[1:].lower() for name in STARTERS]
    close = did_you_mean(c.first, words, limit=1)
    if close:
        return close
    if c.first.lower() in OTHER_LANGUAGES:
        return OTHER_LANGUAGES[c.first.lower()]
    if c.n in ("EQUAL", "COLON"):
        return f"statements start with {', '.join(f'`{word}`' for word in words[:-1])} or `{words[-1]}`"
    return ""


def near_word(c: Context) -> str:
    """The way out for a name that stands where an operator or a word such as `when` should."""
    word = c.token.lower()
    if word in ("is", "equals"):
        return "to compare write `==`"
    if word == "mod":
        return "`every(step, k)` is true on every k-th step"
    possible = [written for name, written in WORDS.items() if c.allows(name)]
    return did_you_mean(c.token, possible, limit=1) or ""


def field(c: Context) -> str:
    """How what stands in square brackets after a value is written in this language."""
    key = c.next.strip('"')
    closer = next((i for i in range(c.index + 1, len(c.tokens)) if c.tokens[i][1] == "]"), c.index + 1)
    inside = c.source.slice(Span(c.tokens[c.index][3], c.tokens[closer][2])).strip()
    if (
        c.n == "NAME"
        and c.p == "NAME"
        and len(inside) <= 40
        and "\n" not in inside
        and ("mask" in inside or _compares(inside))
    ):
        return f"a region is an argument of what reduces: `mean({c.prev}, {inside})`"
    dotted = f"`{c.prev}.{key}`" if c.p == "NAME" and c.n == "STRING" and key.isidentifier() else "`target.r`"
    return f"a field or a component is read with a dot: {dotted}"


def _compares(text: str) -> bool:
    return any(sign in text for sign in ("<", ">", "=="))


def called(c: Context) -> str:
    """What to write in place of ``torch.mean(x)`` or ``x.mean()``."""
    from .check.functions import library
    from .check.hints import function

    module = c.text_at(-3) in MODULES
    return (
        function(c.prev)
        or (f"functions have no prefix here: `{c.prev}(...)`" if module and library(c.prev) is not None else "")
        or f"functions stand before their values: `{c.prev}(x)`"
    )


MODULES = ("torch", "F", "np", "numpy", "jnp", "nn", "math", "tf", "functional")
"""What stands before functions of other languages."""


def only_when(c: Context) -> str:
    """The condition after ``when`` of a term that another language would put under ``if step > 7000:``."""
    step, sign, number = c.text_at(1), c.text_at(2), c.text_at(3).replace("_", "")
    if step not in ("step", "iteration", "iter", "it", "i", "t", "global_step") or not number.isdecimal():
        return "when c"
    at = int(number) + (sign in (">", "<="))
    return {">": f"when after(step, {at})", ">=": f"when after(step, {at})"}.get(sign, f"when before(step, {at})")
