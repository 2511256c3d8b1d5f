"""Programs damaged by chance, as by typing, cutting and pasting."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .samples import CLOSERS, COMMENTS, CONSTANTS, NUMBERS, OPENERS


def damaged(random: Random, text: str) -> str:
    """A text with one to three small damages: letters, tokens, lines or brackets lost, doubled, swapped or put in."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        text = random.choice(_DAMAGES)(random, text)
    return text


def _cut(random: Random, text: str, longest: int) -> tuple[int, int]:
    start = random.randint(0, len(text))
    return start, min(len(text), start + random.randint(1, longest))


def _drop(random: Random, text: str) -> str:
    start, end = _cut(random, text, 6)
    return text[:start] + text[end:]


def _double(random: Random, text: str) -> str:
    start, end = _cut(random, text, 20)
    return text[:end] + text[start:end] + text[end:]


def _put(random: Random, text: str) -> str:
    at = random.randint(0, len(text))
    return text[:at] + random.choice(_INTRUDERS) + text[at:]


def _replace(random: Random, text: str) -> str:
    start, end = _cut(random, text, 3)
    return text[:start] + random.choice(_INTRUDERS) + text[end:]


def _swap(random: Random, text: str) -> str:
    (a, b), (c, d) = sorted((_cut(random, text, 8), _cut(random, text, 8)))
    return text if b > c else text[:a] + text[c:d] + text[b:c] + text[a:b] + text[d:]


def _truncate(random: Random, text: str) -> str:
    at = random.randint(0, len(text))
    return text[at:] if random.random() < 0.3 else text[:at]


def _swap_words(random: Random, text: str) -> str:
    words = text.split(" ")
    a, b = random.randrange(len(words)), random.randrange(len(words))
    words[a], words[b] = words[b], words[a]
    return " ".join(words)


def _shift_line(random: Random, text: str) -> str:
    lines = text.split("\n")
    at = random.randrange(len(lines))
    lines[at] = random.choice(("", " ", "    ", "\t")) + lines[at].lstrip()
    return "\n".join(lines)


_DAMAGES: tuple[Callable[[Random, str], str], ...] = (
    _drop, _drop, _double, _put, _put, _replace, _replace, _swap, _truncate, _swap_words, _shift_line,
)  # fmt: skip
_INTRUDERS = (
    *OPENERS, *CLOSERS, *COMMENTS, *CONSTANTS, *NUMBERS, "\n", "\n\n", "\r", "\r\n", " ", "\t", "\f", "\x00", '"',
    '"""', "'", ",", ".", ":", "=", "==", "?", "->", "+", "-", "*", "**", "^", "<", "&&", "|", "~", "@", "$", "\\",
    "\u00a0", "\u2028", "\ufeff", "\u200b", "\u2212", "\ud800", "\U0001f600", "param ", "term ", "let ",
    "def ", "when ", "for ", " in ", " if ", " else ", "not ", " of ", " then ", "use ", "memory ", "extern ",
    "input ", "\nterm x = ", "import os\n", "0x1F", "1.", ".5", "1e", "1e999", "1e-999", "9" * 120, "__",
    "lambda x: x", "a if", "((((((((((", "))))))))))",
)  # fmt: skip
