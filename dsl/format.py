"""The one layout of a program.

It depends on the statements and their comments, and on blank lines; how lines were broken, indented or spaced before
does not show. Nothing but blanks, line ends, optional commas and ``**`` (written ``^``) ever changes.

Lines
    A line has at most 100 characters, its comment not counted. A statement that fits on one line is on one line. One
    that does not is broken, and what is broken is indented by four: first before ``when`` and what else follows the
    value (``then``, the limits of a parameter); then after ``=``; then the value itself, before its operators, the
    loosest first, or inside its brackets, one item a line with a comma behind each. A value that is one call or one
    pair of brackets is not moved to a line of its own: it stays behind the ``=``, and what follows the value may
    follow its closing bracket.
Blanks
    One on each side of every operator and of ``=`` in a statement; none around ``^``, behind a sign, around ``=`` in
    calls, or inside brackets. Attributes are separated by commas, dimensions by blanks:
    ``depth[inverse, relative]``, ``index [N K]``. Numbers stay as they were written, and so do brackets.
Columns
    The ``=`` of consecutive one-line statements of one kind (``param``, ``let``, ``memory``, ``term``) are aligned, and
    so are the comments behind consecutive lines. A program is a short table of names and weights that is read far
    more often than it is changed, and it reads as a table; the price, that a longer name moves its neighbours, ends
    at the next blank line, which ends a block. No line is moved beyond the limit: such a block is not aligned.
Blank lines
    One at most between statements or comments, where there was one; always one after the docstring, none at the ends.
    The docstring itself is never touched.
Comments
    A comment behind a token stays behind it, where a line can end: so the one behind a statement stays at its end. One
    that suppresses findings (``# splat: ignore[CODE]``) on the first line of a statement stays on its first line, since
    it speaks of the whole statement there. A comment on a line of its own keeps one. Between statements it stands at
    the margin, except where it was indented below a statement, as a continuation that was commented out: there it
    stays indented.
Files
    A program that was indented as a whole starts at the margin. Line ends are those of the first line, a byte-order
    mark is dropped, and a text without statements stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import ast
from .diagnostics import Diagnostic, LossError, Sink
from .format_layout import INDENT, WIDTH, Break, Note, Pieces, lines_of
from .format_tree import pieces_of
from .lalr import tables
from .layout import Layout
from .lexer import scan
from .parse import MAX_BYTES, parse
from .source import Source
from .suppress import MARK

if TYPE_CHECKING:
    from .lalr import Token

_HEAD = -1
"""Where the comment of a statement's first line is put among those behind its tokens, if it suppresses findings."""
_ALIGNED = (ast.Param, ast.Let, ast.Memory, ast.Term)


class _Row:
    """What begins on a line of its own: a statement, or a comment between statements.

    Attributes:
        lines: the text, one line at least.
        spaced: whether a blank line stands before it.
        kind: the class of a statement, None for a comment.
        equals: column of the ``=`` of a statement of one line, else -1.
        note: the comment behind the last line, with the blanks before it.
        continues: whether an indented comment below it stays indented.
    """

    __slots__ = ("continues", "equals", "kind", "lines", "note", "spaced")

    def __init__(
        self,
        lines: list[str],
        spaced: bool,
        kind: type[ast.Node] | None = None,
        equals: int = -1,
        continues: bool = False,
    ) -> None:
        self.lines, self.spaced, self.kind, self.equals, self.continues = lines, spaced, kind, equals, continues
        self.note = ""


_END = _Row([], True)


def format_text(text: str, name: str = "<loss>") -> str:
    """A program's text in the one layout.

    Args:
        text: the program; line ends may be of either kind.
        name: what findings call it.

    Raises:
        LossError: the text does not parse, or would be longer than a program may be.
    """
    source = Source(text, name)
    program = _parsed(source)
    result = format_program(source, program)
    if len(result.encode()) > MAX_BYTES:
        message = f"the formatted text would be larger than {MAX_BYTES // 1024} KiB"
        raise LossError([Diagnostic("SYN001", message, source, None)])
    if not same_tree(program, _parsed(Source(result, name))):
        raise RuntimeError(f"formatting {name} would have changed its meaning")
    return result


def same_tree(one: ast.Node, other: ast.Node) -> bool:
    """Whether two trees are equal, spans aside; unlike ``==`` this takes a sum of any length."""
    pending: list[tuple[object, object]] = [(one, other)]
    while pending:
        a, b = pending.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, ast.Node):
            pending += ((getattr(a, field), getattr(b, field)) for field in a.fields)
        elif isinstance(a, tuple) and isinstance(b, tuple):
            if len(a) != len(b):
                return False
            pending += zip(a, b)
        elif a != b:
            return False
    return True


def comments(text: str) -> list[str]:
    """The comments of a text in order, without the blanks behind them."""
    tokens = scan(text)
    ends = [0, *(token[3] for token in tokens)]
    starts = [*(token[2] for token in tokens), len(text)]
    return [found[1] for found in map(lambda a, b: _comment(text, a, b), ends, starts) if found]


def _parsed(source: Source) -> ast.Program:
    sink = Sink()
    program = parse(source, sink)
    if sink.has_errors:
        raise LossError(sink.sorted())
    return program


def _comment(text: str, start: int, end: int) -> tuple[int, str] | None:
    """Where the comment between two tokens starts, and its text; one ends with its line, so there is one at most."""
    at = text.find("#", start, end)
    return None if at < 0 else (at, text[at:end].rstrip(" \t\f"))


def format_program(source: Source, program: ast.Program) -> str:
    """A parsed text in the one layout; `format_text` also makes sure that the result means the same."""
    if not program.statements:
        return source.text
    reader = _Reader(source, program)
    rows = reader.rows()
    _align_equals(rows)
    _align_notes(rows)
    parts: list[str] = []
    for row in rows:
        if row.spaced:
            parts.append("")
        parts += row.lines
        if row.note:
            parts[-1] += row.note
    return reader.line_end.join([*parts, ""])


class _Reader:
    """Goes through the tokens of a text with the comments between them, and lays out each statement."""

    def __init__(self, source: Source, program: ast.Program) -> None:
        self._text = source.text
        self._tokens = scan(source.text)
        self._newline = tables().id["_NEWLINE"]
        layout = Layout(source.text, self._tokens)
        self._base = layout.base
        self._statements = [(s, lines.tokens[:-1]) for s, lines in zip(program.statements, layout.statements)]
        self._rows: list[_Row] = []
        ends = [token[1] for token in self._tokens if token[0] == self._newline]
        crlf = ends[0] == "\r\n" if ends else "\r\n" in source.text
        self.line_end = "\r\n" if crlf else "\n"

    def rows(self) -> list[_Row]:
        """The statements, and the comments between them."""
        number, index, left = -1, 0, 0  # the current statement, its tokens that were read, and those that were not
        notes: dict[int, list[Note]] = {}
        line, end, first = 0, 0, 0
        blank, spaced = True, False  # so far: nothing on this line; a blank line since the last row
        row_spaced = False
        for token in [*self._tokens, (self._newline, "", len(self._text), len(self._text))]:
            found = _comment(self._text, end, token[2])
            if found is not None:
                at, words = found
                if blank and not left:
                    self._add_comment(words, spaced, at - line > self._base)
                    spaced = False
                else:
                    # A suppression on the first line is for the whole statement, one on another for that line.
                    at_head = not blank and line <= first and MARK in words
                    notes.setdefault(_HEAD if at_head else index - 1, []).append(Note(words, blank))
            if token[0] == self._newline:
                spaced = spaced or (blank and found is None)
                if not left and not blank:
                    self._add_statement(number, notes, row_spaced)
                    spaced = False
                blank, line = True, token[3]
            else:
                if not left:
                    number, index, notes, row_spaced, spaced = number + 1, 0, {}, spaced, False
                    left, first = len(self._statements[number][1]), token[2]
                index, left, blank = index + 1, left - 1, False
            end = token[3]
        return self._rows

    def _add_comment(self, words: str, spaced: bool, indented: bool) -> None:
        """A comment between statements; it stays indented if it goes on below a statement."""
        last = self._rows[-1] if self._rows else None
        continued = last is not None and last.continues and indented and not spaced
        self._add(_Row([" " * INDENT * continued + words], spaced, continues=continued))

    def _add_statement(self, number: int, notes: dict[int, list[Note]], spaced: bool) -> None:
        statement, tokens = self._statements[number]
        if isinstance(statement, ast.Docstring):
            self._add(_Row([self._text[statement.span.start : statement.span.end]], spaced, ast.Docstring))
            rest = [*notes.get(_HEAD, ()), *notes.get(0, ())]
        else:
            pieces, lines, equals = self._laid_out(statement, tokens, notes)
            self._add(_Row(lines, spaced, type(statement), equals, continues=True))
            rest = [*notes.get(_HEAD, ()), *pieces.notes] if len(lines) == 1 else pieces.notes
        if rest and not rest[0].own:
            self._rows[-1].note = "  " + rest[0].text
            rest = rest[1:]
        for note in rest:
            self._add(_Row([" " * INDENT + note.text], False, continues=True))

    def _laid_out(
        self, statement: ast.Statement, tokens: Sequence[Token], notes: dict[int, list[Note]]
    ) -> tuple[Pieces, list[str], int]:
        while True:
            pieces = pieces_of(statement, tokens, notes)
            head = notes.get(_HEAD, [])
            pieces.first = "  " + head[0].text if head else ""
            lines, equals = lines_of(pieces)
            if head and len(lines) == 1 and pieces.notes and not pieces.notes[0].own:
                # Two comments for the end of one line: the statement is broken after all, if it can be.
                place = next((p for p in pieces.items if isinstance(p, Break)), None)
                if place is not None:
                    place.add(head)
                    pieces.first = ""
                    lines, equals = lines_of(pieces)
            if head or len(lines) == 1 or not notes:
                return pieces, lines, equals
            # A suppression may have got to the first line only now; there it is one for the whole statement.
            after = min(notes)
            first = notes[after][0]
            if first.own or MARK not in first.text or not lines[0].endswith("  " + first.text):
                return pieces, lines, equals
            del notes[after][0]
            notes[_HEAD] = [first]

    def _add(self, row: _Row) -> None:
        last = self._rows[-1] if self._rows else None
        row.spaced = last is not None and (row.spaced or last.kind is ast.Docstring)
        self._rows.append(row)


def _align_equals(rows: list[_Row]) -> None:
    """Align the ``=`` of the statements of each block; comments between them do not end it."""
    block: list[_Row] = []
    for row in [*rows, _END]:
        if row.spaced or (row.kind and (row.equals < 0 or (block and row.kind is not block[0].kind))):
            column = max((r.equals for r in block), default=0)
            if all(r.equals == column or len(r.lines[0]) + column - r.equals <= WIDTH for r in block):
                for r in block:
                    text = r.lines[0]
                    r.lines[0] = text[: r.equals] + " " * (column - r.equals) + text[r.equals :]
            block = []
        if row.equals >= 0 and row.kind in _ALIGNED:
            block.append(row)


def _align_notes(rows: list[_Row]) -> None:
    """Align the comments behind consecutive lines."""
    block: list[_Row] = []
    for row in [*rows, _END]:
        if row.spaced or not row.note or len(row.lines) > 1:
            column = max((len(r.lines[0]) for r in block), default=0)
            widths = [(r, len(r.lines[0])) for r in block]
            if all(width == column or column + len(r.note) <= WIDTH for r, width in widths):
                for r, width in widths:
                    r.note = " " * (column - width) + r.note
            block = []
        if row.note and len(row.lines) == 1:
            block.append(row)
