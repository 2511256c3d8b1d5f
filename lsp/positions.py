"""Between offsets in a text and an editor's lines and columns.

Editors count columns in units that they choose: UTF-16 by default, in which a character outside the basic plane is
two. A line ends with a newline, a carriage return, or both in a row.
"""

from __future__ import annotations

import re
from bisect import bisect_right

UTF8, UTF16, UTF32 = "utf-8", "utf-16", "utf-32"
_ENDING = re.compile(r"\r\n|\n|\r")


def units(text: str, encoding: str) -> int:
    """The length of a text in an editor's units. A lone surrogate counts as the one unit (or three bytes) it takes."""
    if encoding == UTF32 or text.isascii():
        return len(text)
    if encoding == UTF16:
        return len(text) + sum(c > "\uffff" for c in text)
    return len(text.encode("utf-8", "surrogatepass"))


class Positions:
    """The lines of one text.

    Attributes:
        text: as the editor holds it, a byte-order mark included.
        encoding: ``utf-16``, ``utf-8`` or ``utf-32``, the unit of columns.
    """

    __slots__ = ("_ends", "_starts", "encoding", "text")

    def __init__(self, text: str, encoding: str = UTF16) -> None:
        self.text, self.encoding = text, encoding
        self._starts, self._ends = [0], []
        for match in _ENDING.finditer(text):
            self._ends.append(match.start())
            self._starts.append(match.end())
        self._ends.append(len(text))

    def __len__(self) -> int:
        return len(self._starts)

    def line(self, number: int) -> str:
        """A line, counted from 0, without its ending."""
        return self.text[self._starts[number] : self._ends[number]]

    def offset(self, line: int, column: int) -> int:
        """The offset of a position; what lies beyond the end of a line or of the text is moved back to it.

        A column in the middle of a character is moved to its beginning.
        """
        if line < 0:
            return 0
        if line >= len(self._starts):
            return len(self.text)
        start, text = self._starts[line], self.line(line)
        if self.encoding == UTF32 or text.isascii():
            return start + min(max(column, 0), len(text))
        seen = 0
        for i, character in enumerate(text):
            seen += units(character, self.encoding)
            if seen > column:
                return start + i
        return start + len(text)

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both counted from 0; between `\\r` and `\\n` it is the end of the line."""
        offset = min(max(offset, 0), len(self.text))
        line = bisect_right(self._starts, offset) - 1
        start = self._starts[line]
        return line, units(self.text[start : min(offset, self._ends[line])], self.encoding)
