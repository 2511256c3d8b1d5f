"""Where statements end."""

from __future__ import annotations

import pytest

from splatdsl.dsl.diagnostics import Sink
from splatdsl.dsl.parse import parse
from splatdsl.dsl.source import Source


def _statements(text: str) -> list[str]:
    """The text of each statement with its blanks folded; there must be no error."""
    source, sink = Source(text), Sink()
    program = parse(source, sink)
    assert [d.message for d in sink.items] == []
    return [" ".join(source.slice(s.span).split()) for s in program.statements]


def _errors(text: str) -> list[tuple[str, int, int]]:
    sink = Sink()
    parse(Source(text), sink)
    return [(d.code, d.line, d.column) for d in sink.items]


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", []),
        ("\n \n\t\n# note", []),
        ("let a = 1\nlet b = 2", ["let a = 1", "let b = 2"]),
        ("let a = 1\n\n\n# c\nlet b = 2\n", ["let a = 1", "let b = 2"]),
        ("let a = 1\n  + 2\n  - 3", ["let a = 1 + 2 - 3"]),
        ("let a =\n 1", ["let a = 1"]),
        ("let a = 1 +\n  2", ["let a = 1 + 2"]),
        ("let a = 1\n# at the margin\n  + 2", ["let a = 1 # at the margin + 2"]),
        ("let a = 1\n\n  + 2", ["let a = 1 + 2"]),
        ("a\n  when b", ["a when b"]),
        ("param w = 1\nw * l1()", ["param w = 1", "w * l1()"]),
        ("f(\na\n,\nb)\nlet c = 1", ["f( a , b)", "let c = 1"]),
        ("f(\n    a\n)", ["f( a )"]),
        ("f(a\n) + g(\nb)", ["f(a ) + g( b)"]),
        ("param m = 1 in [\n0,\n1\n]", ["param m = 1 in [ 0, 1 ]"]),
        ("    let a = 1\n    let b = 2", ["let a = 1", "let b = 2"]),
        ("    let a = 1\n      + 2\n    b", ["let a = 1 + 2", "b"]),
        ("    let a = 1\nb", ["let a = 1", "b"]),
        ("    a\n  b", ["a", "b"]),
        ("let a = 1\n    let b = 2\n        let c = 3", ["let a = 1", "let b = 2", "let c = 3"]),
        ("let a = f(1)\n      term b = 2", ["let a = f(1)", "term b = 2"]),
        ("\tlet a = 1\n\t\t+ 2\n\tb", ["let a = 1 + 2", "b"]),
        ("let a = 1\n\t+ 2\n    + 3\n \t + 4", ["let a = 1 + 2 + 3 + 4"]),
        ('"""Doc"""\nl1()', ['"""Doc"""', "l1()"]),
        ('"""Doc\n  long"""\n    l1()', ['"""Doc long"""', "l1()"]),
        ('    """Doc\nat the margin"""\n    l1()\n     + 1', ['"""Doc at the margin"""', "l1() + 1"]),
        ("let a = 1\r\nlet b = 2\r\n  + 3\r\n", ["let a = 1", "let b = 2 + 3"]),
        ("let a = 1  # c\r\n# d\r\nlet b = 2", ["let a = 1", "let b = 2"]),
    ],
)
def test_statements(text: str, statements: list[str]) -> None:
    assert _statements(text) == statements


def test_inside_a_python_string_and_a_yaml_block() -> None:
    python = """
        param w = 0.2 in [0, 1]

        term a = w
                 * l1(masked)
        term b = 1 - ssim()
    """
    assert _statements(python) == ["param w = 0.2 in [0, 1]", "term a = w * l1(masked)", "term b = 1 - ssim()"]
    first_line_at_the_quotes = "let w = 1\n        let v = 2\n        term a = w * v * l1()\n    "
    assert _statements(first_line_at_the_quotes) == ["let w = 1", "let v = 2", "term a = w * v * l1()"]


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("term a = f(1\nterm b = 2", [("SYN005", 1, 12)]),
        ("term a = f(1\n     term b = (2\n  let c = 3", [("SYN005", 1, 12), ("SYN005", 2, 16)]),
        ("term a = [1\nlet b = )\nlet c = 2", [("SYN022", 1, 10), ("SYN006", 2, 9)]),
        ("let a = 1)\n)\nlet b = 2", [("SYN006", 1, 10), ("SYN006", 2, 1)]),
        ("let a = 1 let b = 2", [("SYN028", 1, 11)]),
        ("let a = 1\n   let", [("SYN009", 2, 4)]),
        ('"""Doc""" l1()', [("SYN028", 1, 11)]),
        ("  let a = 1\n\tb", [("SYN020", 2, 2)]),
        ("\tlet a = 1\n  b\n\tc", [("SYN020", 2, 3)]),
        ("\tlet a = 1\n        let b = 2", []),
        ("  f(a,\n\tb)", []),
        ("    a\n  \tb", [("SYN020", 2, 4)]),
        ("let a = 1\rlet b = 2", [("SYN002", 1, 10)]),
        ("# old Mac\rlet a = 1", [("SYN002", 1, 10)]),
    ],
)
def test_errors(text: str, errors: list[tuple[str, int, int]]) -> None:
    assert _errors(text) == errors


def test_one_missing_bracket_never_swallows_the_file() -> None:
    good = "".join(f"term t{i} = f(\n  {i}\n)\n" for i in range(20))
    sink = Sink()
    program = parse(Source("term broken = f(\n  (1\n" + good), sink)
    assert len(sink.items) == 1
    assert len(program.statements) == 20
