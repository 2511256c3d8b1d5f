"""What is said about malformed text: the table ``syntax_errors.txt``, and that every sentence is in it."""

from __future__ import annotations

import ast as python
from pathlib import Path

import pytest

from splatdsl.dsl import syntax_errors, syntax_rows
from splatdsl.dsl.codes.syntax import CODES
from splatdsl.dsl.diagnostics import Diagnostic, Sink
from splatdsl.dsl.parse import MAX_ERRORS, parse, parse_expression, parse_partial
from splatdsl.dsl.source import Source

_TEXT = Path(__file__).with_name("syntax_errors.txt").read_text(encoding="utf-8")
TABLE = [entry.split("\n") for entry in _TEXT.rstrip("\n").split("\n\n")[1:]]


def _findings(text: str) -> list[Diagnostic]:
    sink = Sink()
    parse(Source(text), sink)
    return sink.items


def _entry(d: Diagnostic) -> list[str]:
    """A finding as the table shows it."""
    assert d.span is not None
    lines = [f"  {d.code} {d.source.slice(d.span)!r}", f"  {d.message}"]
    lines += [f"  help: {help}" for help in d.help]
    return lines + [f"  label {d.source.slice(label.span)!r}: {label.text}" for label in d.labels]


@pytest.mark.parametrize("entry", TABLE, ids=[entry[0] for entry in TABLE])
def test_message(entry: list[str]) -> None:
    found = _findings(python.literal_eval(entry[0]))
    assert [_entry(d) for d in found] == [entry[1:]]


def test_every_sentence_is_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, keys = set(), set()
    choose, report = syntax_errors.choose, syntax_errors.report

    def spy_choose(context):
        row = choose(context)
        rows.add(syntax_rows.ROWS.index(row))
        return row

    def spy_report(source, sink, fault, notes=()):
        keys.add(fault.key)
        report(source, sink, fault, notes)

    monkeypatch.setattr(syntax_errors, "choose", spy_choose)
    monkeypatch.setattr(syntax_errors, "report", spy_report)
    for entry in TABLE:
        _findings(python.literal_eval(entry[0]))
    assert [row.message for i, row in enumerate(syntax_rows.ROWS) if i not in rows] == []
    elsewhere = {"large file", "many operators", "deep nesting", "surrogate", "not one expression"}  # test_parse_limits
    assert set(syntax_rows.FAULTS) - keys == elsewhere


def test_no_message_names_a_terminal() -> None:
    terminals = {name for name in syntax_errors.tables().terminals if len(name) > 3} - {"NAME", "NUMBER"}
    for entry in TABLE:
        for line in entry[2:]:
            assert not terminals & set(line.replace("`", " ").split()), line


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.id)
def test_examples_of_the_codes(code) -> None:
    assert code.id.startswith("SYN0")
    assert code.id < "SYN050"
    assert [d.code for d in _findings(code.bad)] == [code.id]
    assert _findings(code.good) == []


def test_messages_are_one_line_and_can_be_shown() -> None:
    for entry in TABLE:
        for d in _findings(python.literal_eval(entry[0])):
            assert "\n" not in d.message
            assert "{" not in d.message.replace("`{`", ""), "an unfilled placeholder"
            assert d.message in str(d)


def test_eleven_mistakes_are_eleven_findings_and_the_rest_is_kept() -> None:
    text = """term ok_1 = l1()
term a = (l1()
let b = * 2
param c = 0.5 <= 1
tem d = 3
e = 4
term f = l1() & masked
term g = 0.8l1()
term h = f(a=1, 2)
term i = 1 < 2 < 3
term j = l1())
memory k = 0
term ok_2 = l1()
"""
    sink = Sink()
    program, names = parse_partial(Source(text), sink)
    assert [d.line for d in sink.items] == list(range(2, 13))
    assert [s.name[0].text for s in program.statements] == ["ok_1", "ok_2"]
    assert names == frozenset("abcdefghijk")


def test_only_the_first_mistake_of_a_statement_is_reported() -> None:
    assert [(d.line, d.column) for d in _findings('term a = f(x=1, 2) + "x" + 1e999 < 2 < 3\nterm b = & & &')] == [
        (1, 17),
        (2, 10),
    ]


def test_many_mistakes_are_counted() -> None:
    found = _findings("a b\n" * (MAX_ERRORS + 23))
    assert len(found) == MAX_ERRORS
    assert [list(d.notes) for d in found[:-1]] == [[]] * (MAX_ERRORS - 1)
    assert list(found[-1].notes) == ["23 more statements have a syntax error"]
    assert _findings("a b\n" * MAX_ERRORS)[-1].notes == ()


def test_an_unclosed_bracket_points_at_both_ends() -> None:
    (d,) = _findings("term a = mix(l1(masked),\n  1 - ssim(masked, 0.2)\nterm b = 1")
    assert d.code == "SYN005"
    assert (d.line, d.column) == (2, 23)
    assert [d.source.position(label.span.start) for label in d.labels] == [(1, 13)]


@pytest.mark.parametrize(
    ("text", "help"),
    [
        ("let x = 1\n    y", "an indented line continues the statement above it; a new one starts in column 1"),
        ("  let x = 1\n    y", "an indented line continues the statement above it; a new one starts in column 3"),
    ],
)
def test_help_names_the_column_of_statements(text: str, help: str) -> None:
    (d,) = _findings(text)
    assert list(d.help) == [help]


@pytest.mark.parametrize("text", ["let x = 1", "a\nb", "a when b", "term a = 1", "", "# only", '"""doc"""'])
def test_what_is_not_one_expression(text: str) -> None:
    sink = Sink()
    assert parse_expression(Source(text), sink) is None
    assert [d.code for d in sink.items] == ["SYN031"]


def test_an_expression_with_a_mistake() -> None:
    sink = Sink()
    assert parse_expression(Source("a + & b"), sink) is None
    assert [d.code for d in sink.items] == ["SYN003"]
