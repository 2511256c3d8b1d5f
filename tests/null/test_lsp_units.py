"""What the language server is built from, without a server: positions, actions, names."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splatdsl.dsl.diagnostics import Applicability, Diagnostic, Edit, Fix
from splatdsl.dsl.lalr import tables
from splatdsl.dsl.source import Span
from splatdsl.dsl.words import KEYWORDS, STATEMENTS
from splatdsl.lsp.actions import apply_edits, fix_all, quick_fixes, whole
from splatdsl.lsp.describe import comment
from splatdsl.lsp.document import Document
from splatdsl.lsp.hover import hover
from splatdsl.lsp.positions import UTF8, UTF16, UTF32, Positions, units

WIDTHS = {UTF8: ("utf-8", 1), UTF16: ("utf-16-le", 2), UTF32: ("utf-32-le", 4)}
TEXTS = st.text(st.sampled_from('ab("#é\u2028\x0b\x85\ufeff🎨\ud800\udfff\r\n\r\n\n'), max_size=30)


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("abc", UTF16, 3),
        ("é", UTF16, 1),
        ("é", UTF8, 2),
        ("🎨", UTF16, 2),
        ("🎨", UTF8, 4),
        ("🎨", UTF32, 1),
        ("\ud800", UTF16, 1),
    ],
)
def test_units(text: str, encoding: str, expected: int) -> None:
    assert units(text, encoding) == expected


def test_positions_in_utf16() -> None:
    text = "let a = 1  # 🎨 x\r\n🎨🎨b\rc\n"
    positions = Positions(text)
    assert len(positions) == 4
    assert positions.position(text.index("x")) == (0, 16)
    assert positions.offset(0, 16) == text.index("x")
    assert positions.position(text.index("b")) == (1, 4)
    assert positions.offset(1, 4) == text.index("b")
    assert positions.offset(1, 3) == text.index("b") - 1, "the middle of a character is its beginning"
    assert positions.position(text.index("c")) == (2, 0)
    assert positions.position(len(text)) == (3, 0)


def test_positions_beyond_the_text_are_moved_back() -> None:
    positions = Positions("ab\r\ncd")
    assert positions.offset(0, 99) == 2
    assert positions.offset(1, 99) == positions.offset(9, 0) == 6
    assert positions.offset(-1, 5) == 0
    assert positions.offset(0, -5) == 0
    assert positions.position(99) == (1, 2)
    assert positions.position(-9) == (0, 0)
    assert positions.position(3) == (0, 2), "between the two characters of a line end"


@settings(deadline=None)
@given(TEXTS, st.integers(0, 30), st.sampled_from((UTF8, UTF16, UTF32)))
def test_positions_go_there_and_back(text: str, offset: int, encoding: str) -> None:
    offset = min(offset, len(text))
    positions = Positions(text, encoding)
    line, column = positions.position(offset)
    codec, width = WIDTHS[encoding]
    before = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
    inside = text[offset - 1 : offset + 1] == "\r\n" and offset > 0
    if not inside:
        assert line == before.count("\n")
        assert column == len(before[before.rfind("\n") + 1 :].encode(codec, "surrogatepass")) // width
        assert positions.offset(line, column) == offset


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_one_edit_makes_one_text_of_another(before: str, after: str) -> None:
    edit = whole(before, after)
    assert apply_edits(before, [edit]) == after
    for side in (edit.span.start, edit.span.end):
        assert before[side - 1 : side + 1] != "\r\n" or side == 0, "never inside a line end"


def test_a_byte_order_mark_shifts_the_first_line() -> None:
    document = Document("file:///a.loss", "/a.loss", "\ufeffterm a = l1(maskd)\n")
    [finding] = document.findings
    assert document.position(finding.span.start) == (0, 13)
    assert document.offset(0, 13) == finding.span.start
    assert document.offset(0, 0) == 0


def test_every_word_of_the_language_is_described() -> None:
    assert sorted(KEYWORDS) == sorted(tables().keywords)
    assert set(STATEMENTS) <= set(KEYWORDS)


class Found(Document):
    """A file in which something has been found."""

    fixes: tuple[Fix, ...] = ()

    @property
    def findings(self) -> list[Diagnostic]:
        at = self.source.text.find("ramp")
        return [] if at < 0 else [Diagnostic("SCH001", "a jump", self.source, Span(at, at + 4), fixes=self.fixes)]

    def with_text(self, text: str) -> Document:
        changed = Found(self.uri, self.path, text)
        changed.fixes = self.fixes
        return changed


TEXT = "term a = l1() * ramp(step, 0)\n"
HERE = Span(TEXT.index("ramp"), TEXT.index("ramp") + 4)
SAFE = Fix("write `after`", [Edit(HERE, "after")], Applicability.SAFE)
UNSAFE = Fix("write `every`", [Edit(HERE, "every")], Applicability.UNSAFE)
DISPLAY = Fix("choose another", [Edit(HERE, "...")], Applicability.DISPLAY)


def found(*fixes: Fix) -> Found:
    document = Found("file:///a.loss", "/a.loss", TEXT)
    document.fixes = fixes
    return document


def test_fixes_are_offered_by_how_far_they_can_be_trusted() -> None:
    offered = quick_fixes(found(DISPLAY, UNSAFE, SAFE), HERE.start, HERE.start)
    titles = [(action.title, action.preferred) for action in offered]
    assert titles[:2] == [("write `every` (unsafe)", False), ("write `after`", True)]
    assert [title.startswith("Ignore SCH001") for title, _ in titles] == [False, False, True]
    assert quick_fixes(found(SAFE), 0, 3) == []


def test_unsafe_fixes_are_never_part_of_all() -> None:
    [edit] = fix_all(found(UNSAFE, SAFE))
    assert apply_edits(TEXT, [edit]) == TEXT.replace("ramp", "after")
    assert fix_all(found(UNSAFE, DISPLAY)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# one\n# two\nlet a = 1\n", "one two"),
        ("# far\n\nlet a = 1  # near\n", "near"),
        ("let a = 1\n", ""),
        ("# splat: ignore[SCH001]\nlet a = 1  # splat: ignore[SCH001]\n", ""),
        ("let b = 1  # of b\nlet a = (1 +\n  2)  # of a\n", "of a"),
    ],
)
def test_comments_document_statements(text: str, expected: str) -> None:
    document = Document("file:///a.loss", "/a.loss", text)
    assert comment(document.source, document.parsed[0].statements[-1].span) == expected


def test_a_program_cannot_make_an_editor_fetch_anything() -> None:
    text = "# ![x](http://h/p.png) [here](http://h) <img src=x> `a < b`\nlet a = (1 # ``` ![y](z)\n  + 2)\n"
    document = Document("file:///a.loss", "/a.loss", text)
    shown = hover(document, text.index("let a") + 4)
    assert shown is not None
    opening, _, rest = shown.markdown.partition("loss\n")
    inside, _, prose = rest.partition(f"\n{opening}")
    assert opening == "````"
    assert inside == "let a = (1 # ``` ![y](z)\n  + 2)"
    assert "![" not in prose
    assert "](" not in prose
    assert "<img" not in prose
    assert "`a < b`" in prose
