"""Hostile text: the parser never raises, never recurses deeply, and answers in time."""

from __future__ import annotations

import random
import sys
import time

import pytest

from splatdsl.dsl.diagnostics import Diagnostic, Sink
from splatdsl.dsl.parse import MAX_BYTES, MAX_NESTING, MAX_OPERATORS, parse
from splatdsl.dsl.source import Source

SECONDS = 10.0  # the slowest takes 1.5 s on a busy machine


def _findings(text: str) -> tuple[int, list[Diagnostic]]:
    sink = Sink()
    limit = sys.getrecursionlimit()
    start = time.perf_counter()
    program = parse(Source(text), sink)
    assert time.perf_counter() - start < SECONDS
    assert sys.getrecursionlimit() == limit
    return len(program.statements), sink.items


HOSTILE = {
    "open brackets": ("(" * 100_000, "SYN001"),
    "closed brackets": (")" * 100_000, "SYN006"),
    "nested brackets": ("(" * 500 + "x" + ")" * 500, "SYN001"),
    "nested calls": ("f(" * 500 + "x" + ")" * 500, "SYN001"),
    "nested keyword arguments": ("f(a=" * 60 + "x" + ")" * 60, "SYN001"),
    "nested lists": ("input x: " + "list of " * 3_000 + "image", "SYN001"),
    "minus signs": ("-" * 100_000 + "x", "SYN001"),
    "a few minus signs": ("-" * 200 + "x", "SYN001"),
    "not": ("not " * 2_000 + "x", "SYN001"),
    "powers": ("^".join(["x"] * 2_000), "SYN001"),
    "conditionals": (" if x else ".join(["x"] * 2_000), "SYN001"),
    "sum": ("+".join(["x"] * 100_000), "SYN001"),
    "fields": ("x" + ".y" * 100_000, "SYN001"),
    "nested in an extern": ("extern f(a=" + "-" * 200 + "1) -> image", "SYN001"),
    "digits": ("1" * 200_000, "SYN001"),
    "more than a megabyte of digits": ("1" * 1_000_000, "SYN001"),
    "exponent": ("1e" + "9" * 50, "SYN013"),
    "comparisons": ("<".join(["x"] * 3_000), "SYN014"),
    "unclosed docstring": ('"""' + "x" * 250_000, "SYN004"),
    "quotes": ('"' * 250_001, "SYN028"),
    "nul": ("\0" * 200_000, "SYN002"),
    "surrogate": ("l1() # \ud800", "SYN002"),
    "surrogate in quotes": ('f("\udfff")', "SYN002"),
    "pipes": ("|" * 200_000, "SYN003"),
    "names": ("x " * 120_000, "SYN007"),
    "arguments, then a mistake": ("f(" + "a," * 60_000 + "a b)", "SYN007"),
    "semicolons": (";" * 250_000, "SYN003"),
    "letters": ("ö" * 120_000, "SYN003"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_one_finding(name: str) -> None:
    text, code = HOSTILE[name]
    statements, found = _findings(text)
    assert [d.code for d in found] == [code]
    assert statements == 0
    assert len(found[0].message) < 200
    assert len(str(found[0])) < 3_000


@pytest.mark.parametrize("line", ["a b\n", "(\nterm\n", "term a = &\n", "let a = f(1\n"])
def test_thousands_of_bad_lines(line: str) -> None:
    statements, found = _findings(line * 20_000)
    assert statements == 0
    assert len(found) == 100
    assert found[-1].notes


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("\n" * 250_000, 0),
        ("#" * 250_000, 0),
        ('"""' + "x" * 250_000 + '"""', 1),
        ("term a = x\n" * 20_000, 20_000),
        ("f(" + "a," * 60_000 + "a)", 1),
        ("input x: [" + "a " * 60_000 + "]", 1),
        ("a" * 250_000, 1),
        ("f(" + '"a",' * 30_000 + "1)", 1),
    ],
    ids=range(8),
)
def test_large_but_well_formed(text: str, statements: int) -> None:
    assert _findings(text) == (statements, [])


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ("+".join(["x"] * (MAX_OPERATORS + 1)), "+".join(["x"] * (MAX_OPERATORS + 2))),
        ("(" * MAX_NESTING + "x" + ")" * MAX_NESTING, "(" * (MAX_NESTING + 1) + "x" + ")" * (MAX_NESTING + 1)),
        ("-" * MAX_NESTING + "x", "-" * (MAX_NESTING + 1) + "x"),
        ("x" + "^x" * MAX_NESTING, "x" + "^x" * (MAX_NESTING + 1)),
        ("0." + "1" * 98, "0." + "1" * 99),
        ("1e308", "1e309"),
        ("1e-323", "1e-324"),
        ("0e-999", "0.1e-999"),
        ("#" * MAX_BYTES, "#" * (MAX_BYTES + 1)),
        ("#" + "ö" * (MAX_BYTES // 2 - 1), "#" + "ö" * (MAX_BYTES // 2)),
    ],
    ids=range(10),
)
def test_limits_are_exact(inside: str, outside: str) -> None:
    assert _findings(inside)[1] == []
    assert [d.code for d in _findings(outside)[1]] in (["SYN001"], ["SYN013"])


def test_random_characters_never_raise() -> None:
    rng = random.Random(11)
    alphabet = "()[]{}+-*/^=<>?:,.#\"'&| \n\t\r\0\ud800\u200b\u2028öx1e_\\" + "\U0001f600"
    words = ["param ", "let ", "term ", "when ", "in ", "if ", "else ", "use ", "extern ", "->", '"""', "not "]
    for _ in range(3_000):
        text = "".join(
            rng.choice(alphabet) if rng.random() < 0.7 else rng.choice(words) for _ in range(rng.randint(1, 40))
        )
        for d in _findings(text)[1]:
            assert d.span is not None
            assert 0 <= d.span.start <= d.span.end <= len(text)
            assert d.message
            assert str(d)
