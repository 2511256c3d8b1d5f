"""Source texts and positions in them."""

from __future__ import annotations

from bisect import bisect_right


class Span:
    """A half-open range of character offsets into one source text."""

    __slots__ = ("end", "start")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Span) and (self.start, self.end) == (other.start, other.end)

    def __hash__(self) -> int:
        return hash((self.start, self.end))

    def __repr__(self) -> str:
        return f"Span({self.start}, {self.end})"

    def to(self, other: Span) -> Span:
        """The smallest span that covers both."""
        return Span(min(self.start, other.start), max(self.end, other.end))


class Source:
    """A text with the name that messages show for it.

    Offsets count characters of ``text``, from which a byte-order mark has been dropped.
    """

    __slots__ = ("_lines", "name", "text")

    def __init__(self, text: str, name: str = "<loss>") -> None:
        self.text = text[1:] if text.startswith("\ufeff") else text
        self.name = name
        self._lines: list[int] | None = None

    @property
    def line_starts(self) -> list[int]:
        """Offsets at which lines start; a line ends with a newline or a lone carriage return."""
        if self._lines is None:
            starts, text, i = [0], self.text, 0
            while True:
                newline = text.find("\n", i)
                if newline < 0:
                    break
                i = newline + 1
                starts.append(i)
            self._lines = starts
        return self._lines

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both counted from 1; columns count characters."""
        line = bisect_right(self.line_starts, offset) - 1
        return line + 1, offset - self.line_starts[line] + 1

    def line(self, number: int) -> str:
        """The text of a line (counted from 1), without its line ending."""
        starts = self.line_starts
        start = starts[number - 1]
        end = starts[number] if number < len(starts) else len(self.text)
        return self.text[start:end].rstrip("\r\n")

    def slice(self, span: Span) -> str:
        """The text that a span covers."""
        return self.text[span.start : span.end]
