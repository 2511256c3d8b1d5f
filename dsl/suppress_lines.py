"""Which lines a comment stands for, in programs and in run configs."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .source import Source

_YAML = (".yaml", ".yml")
_BLANK_OR_COMMENT = re.compile(r"[ \t\r]*(#.*)?$")
_END = 1 << 60


class Lines:
    """The lines of one text, and the statements on them.

    In a program a statement is what the layout says. In a run config it is a line with the more deeply indented ones
    below it, so that comments work in a program that is written there as well.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._tokens: list[tuple[int, int]] = []
        self.statements: list[tuple[int, int]] = []
        """First and last line of each, from 1."""
        if source.name.endswith(_YAML):
            self._read_yaml()
        else:
            self._read_program()
        self._starts = [first for first, _ in self.statements]
        self._first = {first: (first, last) for first, last in reversed(self.statements)}

    def _read_program(self) -> None:
        from .lalr import tables
        from .layout import Layout
        from .lexer import scan

        tokens = scan(self.source.text)
        newline = tables().id["_NEWLINE"]
        self._tokens = [(start, end) for kind, _, start, end in tokens if kind != newline]
        line = self._line
        for statement in Layout(self.source.text, tokens).statements:
            last = statement.tokens[-2] if len(statement.tokens) > 1 else statement.tokens[0]
            self.statements.append((line(statement.tokens[0][2]), line(max(last[2], last[3] - 1))))

    def _read_yaml(self) -> None:
        texts = self.source.text.split("\n")
        code = [i for i, text in enumerate(texts, start=1) if not _BLANK_OR_COMMENT.match(text)]
        indents = {i: len(texts[i - 1]) - len(texts[i - 1].lstrip(" ")) for i in code}
        last: dict[int, int] = {}
        outer: list[int] = []  # lines that the present one may be below, each more deeply indented than the one before
        for before, i in zip([0, *code], [*code, 0]):
            while outer and (i == 0 or indents[i] <= indents[outer[-1]]):
                last[outer.pop()] = before
            outer.append(i)
        self.statements += [(i, last[i]) for i in code]
        starts = self.source.line_starts
        self._tokens = [(starts[i - 1], starts[i - 1] + 1) for i in code]

    def _line(self, offset: int) -> int:
        return self.source.position(offset)[0]

    def is_comment(self, offset: int) -> bool:
        """Whether a ``#`` starts a comment: it stands in no text in quotes."""
        at = bisect_right(self._tokens, (offset, offset)) - 1
        inside = at >= 0 and self._tokens[at][0] <= offset < self._tokens[at][1]
        if inside or not self.source.name.endswith(_YAML):
            return not inside
        return self.source.text[offset - 1 : offset] in ("", " ", "\t", "\n", "\r")

    def is_before_code(self, offset: int) -> bool:
        """Whether nothing but comments stands before a place."""
        return not self._tokens or offset < self._tokens[0][0]

    def has_code(self, line: int) -> bool:
        """Whether a line holds more than a comment."""
        start = self.source.line_starts[line - 1]
        at = bisect_right(self._tokens, (start, -1))
        if at < len(self._tokens) and self._line(self._tokens[at][0]) == line:
            return True
        return at > 0 and self._tokens[at - 1][1] > start  # a docstring that ends on this line

    def covered(self, offset: int) -> tuple[int, int]:
        """First and last of the lines that the comment at an offset covers."""
        line = self._line(offset)
        if self.has_code(line):
            return self._first.get(line, (line, line))
        at = bisect_right(self._starts, line)
        if at and self.statements[at - 1][1] > line and not self.source.name.endswith(_YAML):
            following = bisect_right(self._tokens, (offset, _END))
            below = line if following == len(self._tokens) else self._line(self._tokens[following][0])
            return below, below  # between the lines of a statement
        return self.statements[at] if at < len(self.statements) else (line, line)
