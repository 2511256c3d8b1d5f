"""The one layout of a program: what goes in, and what comes out."""

from __future__ import annotations

from pathlib import Path

import pytest

from splatdsl.dsl.diagnostics import LossError, Sink
from splatdsl.dsl.format import WIDTH, comments, format_text, same_tree
from splatdsl.dsl.parse import MAX_BYTES, parse
from splatdsl.dsl.source import Source

ROOT = Path(__file__).parents[2]
# Pairs are separated by ====, what goes in and what comes out by ----; the same text twice is given once.
CASES = [
    [part + "\n" for part in case.split("\n----\n")]
    for case in Path(__file__).with_name("format_cases.txt").read_text(encoding="utf-8").rstrip("\n").split("\n====\n")
]
LONG = "a_rather_long_name_for_a_loss"


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(case[0].split())[:40])
def test_layout(case: list[str]) -> None:
    assert format_text(case[0]) == case[-1]
    assert format_text(case[-1]) == case[-1]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.loss")), ids=lambda path: path.name)
def test_the_examples_have_the_layout(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format_text(text) == text


@pytest.mark.parametrize("text", ["", "\n", "  \n\n", "# only\n   # comments", "\t# one, no line end", "#\r\n"])
def test_a_text_without_statements_stays(text: str) -> None:
    assert format_text(text) == text


def test_a_byte_order_mark_is_dropped() -> None:
    assert format_text("\ufeffterm a = 1\n") == "term a = 1\n"
    assert format_text("\ufeff# nothing") == "# nothing"


@pytest.mark.parametrize(
    ("text", "formatted"),
    [
        ("let a=1\r\nterm b=a", "let a = 1\r\nterm b = a\r\n"),
        ("let a=1\nterm b=a\r\n", "let a = 1\nterm b = a\n"),
        ('"""x\r\ny"""\nl1()', '"""x\r\ny"""\n\nl1()\n'),  # a docstring is kept to the letter
        ('"""x\r\ny"""', '"""x\r\ny"""\r\n'),
        ("\r\n\r\n# c\r\nl1( )", "# c\r\nl1()\r\n"),
    ],
)
def test_line_ends(text: str, formatted: str) -> None:
    assert format_text(text) == formatted
    assert format_text(formatted) == formatted


def test_a_program_that_is_indented_as_a_whole_starts_at_the_margin() -> None:
    text = '\n    """Doc\n    over lines."""\n    param w = 1\n\n    term a = w\n             * l1()\n  '
    assert format_text(text) == '"""Doc\n    over lines."""\n\nparam w = 1\n\nterm a = w * l1()\n'


@pytest.mark.parametrize(
    ("length", "lines"),
    [(0, 1), (1, 2)],
)
def test_the_limit_is_exact(length: int, lines: int) -> None:
    head = "term a = "
    text = head + "x" * (WIDTH - len(head) - len(" + b") + length) + " + b\n"
    assert len(format_text(text).splitlines()) == lines
    commented = text.rstrip() + "  # comments do not count\n"
    assert len(format_text(commented).splitlines()) == lines


def test_alignment_never_passes_the_limit() -> None:
    long = "term b = " + "x" * (WIDTH - 9)
    assert format_text(f"term aaaa = 1\n{long}\n") == f"term aaaa = 1\n{long}\n"
    assert format_text(f"term aaaa = 1\n{long[:-3]}\n") == f"term aaaa = 1\nterm b    = {long[9:-3]}\n"
    note = "# " + "n" * (WIDTH - len("let a = 1  # "))
    assert (
        format_text(f"let b = 1 + 1 {note[:9]}\nlet a = 1 {note}") == f"let b = 1 + 1  {note[:9]}\nlet a = 1  {note}\n"
    )


def test_numbers_and_strings_stay_as_written() -> None:
    text = 'let a = f(00012, 1_0.2_5e1_0, 1E+5, 7_000, "a  #  b", mode="")\n'
    assert format_text(text) == text


def test_the_largest_statements() -> None:
    sum_ = "term a = " + "+".join(["x"] * 4_000)
    assert format_text(sum_).count("\n    + x") == 3_999
    fields = "term a = x" + ".y" * 4_000
    assert format_text(fields) == "term a =\n    x" + ".y" * 4_000 + "\n"
    deep = "let a=" + "(" * 99 + "x # innermost\n" + ")" * 99
    assert format_text(deep).count("(\n") == 99
    assert format_text("let a=" + "f(" * 99 + "x" + ")" * 99).count("(\n") > 50


def test_what_does_not_parse_is_reported_and_not_formatted() -> None:
    with pytest.raises(LossError) as caught:
        format_text("term a = (1\nterm b = 2 +\n", "some.loss")
    assert [(d.code, d.line, d.source.name) for d in caught.value.diagnostics] == [
        ("SYN005", 1, "some.loss"),
        ("SYN008", 2, "some.loss"),
    ]


def test_a_text_that_would_grow_beyond_the_limit_is_reported() -> None:
    text = "".join(f"let a{n}=b+c*d\n" for n in range(MAX_BYTES // 17))
    assert len(text) <= MAX_BYTES
    with pytest.raises(LossError) as caught:
        format_text(text, "some.loss")
    assert [d.code for d in caught.value.diagnostics] == ["SYN001"]


def test_comments_are_found_where_they_are() -> None:
    text = '# one\n"""# none"""  # two\nuse "# none" # three \t\n(a, # four\r\n b)#'
    assert comments(text) == ["# one", "# two", "# three", "# four", "#"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a + b", "a+b  # c", True),
        ("a ** b", "a ^ b", True),
        ("f(a, b)", "f(a, b,)", True),
        ("a + b", "b + a", False),
        ("(a)", "a", False),
        ("term a = 1", "term a = 2", False),
        ("f(a, b)", "f(a)", False),
        ("extern f(x: image) -> map", "extern f(y: image) -> map", False),
        ("extern f(x: image) -> map", "extern f(image) -> map", False),
        ("param a = 1 in [0, 1]", "param a = 1 in [0, 1)", False),
        ("1 if a else 2", "1 if b else 2", False),
        ("let a = b\nl1()", "l1()", False),
    ],
)
def test_same_tree(one: str, other: str, same: bool) -> None:
    trees = [parse(Source(text), Sink()) for text in (one, other)]
    assert same_tree(*trees) is same
    assert (trees[0] == trees[1]) is same
