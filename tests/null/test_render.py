"""How findings look, and which names are suggested."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splatdsl.dsl.diagnostics import Diagnostic, Label, Severity
from splatdsl.dsl.render import as_dict, concise, full, printable, summary, wants_color
from splatdsl.dsl.source import Source, Span
from splatdsl.dsl.suggest import closest, did_you_mean, edit_distance

GARDEN = Source("# garden\nparam w = 0.2\nterm l1 = w * l1(maskd)\n", "garden.loss")


def _find(source: Source, part: str, **options) -> Diagnostic:
    start = source.text.index(part)
    return Diagnostic("CFG004", "`x` is wrong", source, Span(start, start + len(part)), **options)


def _body(text: str) -> list[str]:
    return text.split("\n")[3:]


def test_full() -> None:
    found = _find(GARDEN, "maskd", caption="not a value", notes=["one\ntwo"], help=["did you mean `masked`?"])
    assert full(found) == (
        "error[CFG004 config-unknown-key]: `x` is wrong\n"
        "  --> garden.loss:3:18\n"
        "   |\n"
        " 2 | param w = 0.2\n"
        " 3 | term l1 = w * l1(maskd)\n"
        "   |                  ^^^^^ not a value\n"
        "   |\n"
        "   = note: one\n"
        "           two\n"
        "   = help: did you mean `masked`?"
    )


def test_concise_is_one_line_without_a_place_where_there_is_none() -> None:
    assert concise(_find(GARDEN, "maskd")) == "garden.loss:3:18: error[CFG004 config-unknown-key]: `x` is wrong"
    whole = Diagnostic("CFG004", "it is\nempty", GARDEN, None, severity=Severity.WARNING)
    assert concise(whole) == "garden.loss: warning[CFG004 config-unknown-key]: it is empty"


def test_a_finding_about_a_file_has_a_header_only() -> None:
    found = Diagnostic("CFG008", "it is missing", Source("", "a.yaml"), None, help=["make one"])
    assert full(found) == ("error[CFG008 config-missing-file]: it is missing\n  --> a.yaml\n   = help: make one")


def test_labels_stand_under_their_own_lines_and_files() -> None:
    far = Source("a = 1\n", "other.loss")
    labels = [Label(Span(0, 1), "elsewhere", far), Label(Span(2, 8), "above"), Label(Span(40, 42), "beside")]
    assert _body(full(_find(GARDEN, "maskd", labels=labels))) == [
        " 1 | # garden",
        "   |   ------ above",
        " 2 | param w = 0.2",
        " 3 | term l1 = w * l1(maskd)",
        "   |                  ^^^^^",
        "   |                  -- beside",
        "  ::: other.loss:1:1",
        "   |",
        " 1 | a = 1",
        "   | - elsewhere",
    ]


def test_lines_between_labels_are_left_out() -> None:
    source = Source("first\n" + "\n" * 20 + "last\n", "a.loss")
    shown = _body(full(_find(source, "last", labels=[Label(Span(0, 5), "here")])))
    assert shown == ["  1 | first", "    | ----- here", " ...", " 22 | last", "    | ^^^^"]


def test_tabs_are_kept_so_that_carets_align() -> None:
    assert _body(full(_find(Source("\tx\t= y", "a"), "y"))) == [" 1 | \tx\t= y", "   | \t \t  ^"]


def test_wide_characters_take_two_columns_and_combining_ones_none() -> None:
    assert _body(full(_find(Source("漢字 = y", "a"), "y")))[1] == "   |        ^"
    assert _body(full(_find(Source("漢字 = y", "a"), "漢字")))[1] == "   | ^^^^"
    assert _body(full(_find(Source("e\u0301 = y", "a"), "y")))[1] == "   |     ^"


def test_a_span_of_several_lines_is_underlined_on_its_first() -> None:
    source = Source("term a = (1 +   \n  2)\n", "a")
    assert _body(full(Diagnostic("CFG004", "m", source, Span(9, 21)))) == [" 1 | term a = (1 +", "   |          ^^^^"]


@pytest.mark.parametrize("text", ["l1(", "l1(\n", ""])
def test_the_end_of_the_text_has_a_caret(text: str) -> None:
    shown = full(Diagnostic("CFG004", "m", Source(text, "a"), Span(len(text), len(text)))).split("\n")
    assert shown[-1].endswith("^ the text ends here")


def test_a_long_line_is_cut_around_the_caret() -> None:
    source = Source("a" * 500 + " here " + "b" * 500, "a")
    line, carets = _body(full(_find(source, "here")))
    assert len(line) < 120
    assert line.startswith(" 1 | ...a")
    assert line.endswith("b...")
    column = carets.index("^")
    assert line[column : column + 4] == "here"
    assert carets[column:] == "^^^^"


def test_control_characters_cannot_reach_the_terminal() -> None:
    source = Source("a \x1b[31m \u202e b", "evil\x1b.loss")
    shown = full(Diagnostic("CFG004", "name `\x1b[2J`", source, Span(0, 1), labels=[Label(Span(2, 3), "\x07")]))
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\x07" not in shown


def test_colour_adds_only_escapes() -> None:
    import re

    found = _find(GARDEN, "maskd", labels=[Label(Span(2, 8), "x")], help=["h"])
    assert full(found, color=True) != full(found)
    assert re.sub(r"\x1b\[[0-9;]*m", "", full(found, color=True)) == full(found)


def test_no_color_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_color(Terminal())
    assert not wants_color(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_color(Terminal())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert wants_color(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_color(Terminal())


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40), st.integers(-3, 60), st.integers(-3, 60), st.integers(-3, 60))
def test_any_span_of_any_text_can_be_shown(text: str, start: int, end: int, other: int) -> None:
    found = Diagnostic(
        "CFG004", text, Source(text, text), Span(start, end), labels=[Label(Span(other, other + 2), text)]
    )
    shown = full(found)
    assert "^" in shown
    assert all(printable(line) == line for line in shown.split("\n"))
    assert "\n" not in concise(found)
    assert as_dict(found)["line"] >= 1


def test_as_dict() -> None:
    made = as_dict(_find(GARDEN, "maskd", labels=[Label(Span(2, 8), "above")]))
    assert (made["file"], made["line"], made["column"], made["end_line"], made["end_column"]) == (
        "garden.loss",
        3,
        18,
        3,
        23,
    )
    assert made["labels"] == [
        {"message": "above", "file": "garden.loss", "line": 1, "column": 3, "end_line": 1, "end_column": 9}
    ]
    assert as_dict(Diagnostic("CFG004", "m", GARDEN, None))["line"] is None


def test_summary() -> None:
    error = _find(GARDEN, "maskd")
    warning = Diagnostic("CFG004", "m", GARDEN, None, severity=Severity.WARNING)
    assert summary([error, error], 1) == "2 errors in 1 file"
    assert summary([error, warning], 3) == "1 error, 1 warning in 3 files"
    assert summary([], 2) == "no findings in 2 files"


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("", "", 0),
        ("abc", "abc", 0),
        ("maskd", "masked", 1),
        ("rnedered", "rendered", 1),
        ("ab", "ba", 1),
        ("kitten", "sitting", 3),
        ("ca", "abc", 3),
        ("abcdef", "", 6),
    ],
)
def test_edit_distance(a: str, b: str, distance: int) -> None:
    assert edit_distance(a, b, 10) == distance
    assert edit_distance(b, a, 10) == distance


@given(st.text("abc", max_size=7), st.text("abc", max_size=7), st.integers(0, 4))
def test_a_capped_distance_agrees_with_the_full_one(a: str, b: str, cap: int) -> None:
    whole = edit_distance(a, b, 100)
    assert edit_distance(a, b, cap) == min(whole, cap + 1)


def test_closest() -> None:
    names = ["mask", "masked", "unmasked", "rendered", "target", "ssim_weight", "step"]
    assert closest("maskd", names) == ["mask", "masked"]
    assert closest("renderd", names) == ["rendered"]
    assert closest("weight_ssim", names) == ["ssim_weight"]
    assert closest("SSIM-Weight", names) == ["ssim_weight"]
    assert closest("zebra", names) == []
    assert closest("x", ["y", "z"]) == []
    assert closest("mask", names) == ["masked"], "a name never suggests itself"
    assert closest("a1", ["a2", "a3", "a4", "a5"], limit=2) == ["a2", "a3"]


def test_suggestions_do_not_depend_on_the_order_of_names() -> None:
    assert closest("ab", ["abc", "abd", "abe"]) == closest("ab", ["abe", "abd", "abc"])


def test_did_you_mean() -> None:
    assert did_you_mean("maskd", ["masked"]) == "did you mean `masked`?"
    assert did_you_mean("a", ["ab", "ac", "ad"]) == "did you mean `ab`, `ac` or `ad`?"
    assert did_you_mean("maskd", ["zebra"]) is None
