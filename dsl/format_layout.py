"""What the formatter lays out: a statement as a line of pieces with the places where it may be broken.

The pieces are a flat list, not a tree, so that nothing here recurses: a text, a ``Break``, or the beginning and the
end of a ``Group``. All breaks of a group become lines together, or none does. ``Broken`` decides which, from left to
right; ``format_tree.py`` makes the list from a statement.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

WIDTH = 100
INDENT = 4


class Group:
    """Breaks that are taken together. ``broken`` is set at once when a comment forces them."""

    __slots__ = ("broken", "end", "parent", "start")

    def __init__(self, parent: Group | None) -> None:
        self.parent = parent
        self.broken = False
        self.start = self.end = 0

    def force(self) -> None:
        """A line must end inside this group, and so inside all around it."""
        group: Group | None = self
        while group is not None and not group.broken:
            group.broken = True
            group = group.parent


class Note:
    """A comment; ``own`` if it stands on a line of its own and not behind a token."""

    __slots__ = ("own", "text")

    def __init__(self, text: str, own: bool) -> None:
        self.text, self.own = text, own


class Break:
    """A place where a line may end: ``flat`` is written if it does not.

    Attributes:
        indent: columns that the next line is indented.
        inner: columns that comments standing here are indented.
        notes: those comments; the first may follow the line that ends, if it is not on a line of its own.
    """

    __slots__ = ("flat", "group", "indent", "inner", "notes")

    def __init__(self, flat: str, group: Group, indent: int, inner: int) -> None:
        self.flat, self.group, self.indent, self.inner = flat, group, indent, inner
        self.notes: list[Note] = []

    def add(self, notes: Sequence[Note]) -> None:
        """Put comments here."""
        if notes:
            self.notes += notes
            self.group.force()


class Comma:
    """A comma that is written only if its group is broken."""

    __slots__ = ("group",)

    def __init__(self, group: Group) -> None:
        self.group = group


class Begin:
    """Where a group begins."""

    __slots__ = ("group",)

    def __init__(self, group: Group) -> None:
        self.group = group


class End(Begin):
    """Where a group ends."""

    __slots__ = ()


Piece = str | Break | Comma | Begin | End


class Pieces:
    """A statement: ``head = value``, then tails such as ``when CONDITION``. Which of them it has depends on its kind.

    Attributes:
        items: the pieces in order.
        root: the group of the breaks after ``=`` and before the tails.
        equals: index of the ``=``, which the formatter may align; -1 if there is none.
        assign: the break after ``=``.
        value: the group of the value.
        first: the comment that must stay on the first line, with the blanks before it; empty if there is none.
        hug: columns up to the bracket that opens the value, if the value is one pair of brackets; else 0.
        notes: comments after the last token.
    """

    __slots__ = ("assign", "equals", "first", "hug", "items", "notes", "root", "value")

    def __init__(self) -> None:
        self.items: list[Piece] = []
        self.root = Group(None)
        self.equals = -1
        self.first = ""
        self.assign: Break | None = None
        self.value: Group | None = None
        self.hug = 0
        self.notes: list[Note] = []


def lines_of(pieces: Pieces) -> tuple[list[str], int]:
    """The lines of a statement, and the column of its ``=`` if it is one line that has one, else -1.

    The comment of the first line is there if it is not the only one.
    """
    return _Lines(pieces).run()


class _Lines:
    """Writes the pieces of one statement."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._items = pieces.items
        self._broken: set[int] = set()  # id of each group that was decided to be broken
        self._lines: list[str] = []
        self._line: list[str] = []
        self._column = 0
        self._base = 0
        self._tails: bool | None = None
        # columns[i]: the width of all pieces before i, were they one line
        self._columns = [0]
        self._breaks: list[int] = []
        total = 0
        for i, piece in enumerate(self._items):
            if isinstance(piece, str):
                total += len(piece)
            elif isinstance(piece, Break):
                self._breaks.append(i)
                total += len(piece.flat)
            self._columns.append(total)

    def run(self) -> tuple[list[str], int]:
        """The lines and the column of the ``=``."""
        root, equals = self._pieces.root, self._pieces.equals
        if not root.broken and self._columns[-1] <= WIDTH:
            text = "".join(p if isinstance(p, str) else p.flat for p in self._items if isinstance(p, (str, Break)))
            return [text], -1 if equals < 0 else self._columns[equals]
        for i, piece in enumerate(self._items):
            if isinstance(piece, str):
                self._write(piece)
            elif isinstance(piece, Break):
                self._break(piece, i)
            elif isinstance(piece, Comma):
                if id(piece.group) in self._broken:
                    self._write(",")
            elif type(piece) is Begin and self._must_break(piece.group):
                self._broken.add(id(piece.group))
        self._lines.append("".join(self._line))
        return self._lines, -1

    def _write(self, text: str) -> None:
        self._line.append(text)
        self._column += len(text)

    def _must_break(self, group: Group) -> bool:
        """Whether a group does not fit the rest of the line, together with what follows up to the next break."""
        parent = group.parent
        if parent is not None and parent is not self._pieces.root and id(parent) not in self._broken:
            return False
        width = self._columns[group.end] - self._columns[group.start]
        return group.broken or self._column + width + self._behind(group.end) > WIDTH

    def _behind(self, index: int) -> int:
        """The width of what must follow on the same line."""
        at = bisect_left(self._breaks, index)
        stop = self._breaks[at] if at < len(self._breaks) else len(self._items)
        comma = stop > index and isinstance(self._items[stop - 1], Comma)
        return self._columns[stop] - self._columns[index] + comma

    def _break(self, place: Break, index: int) -> None:
        if place is self._pieces.assign:
            taken = self._takes_assign(place)
            self._base = INDENT if taken else 0
        elif place.group is self._pieces.root:
            if self._tails is None:
                self._tails = self._takes_tails(index)
                self._base = 0
            taken = self._tails
        else:
            taken = id(place.group) in self._broken
        if not taken:
            self._write(place.flat)
            return
        base = 0 if place.group is self._pieces.root else self._base
        for n, note in enumerate(place.notes):
            if n == 0 and not note.own and (self._lines or not self._pieces.first):
                self._line.append("  " + note.text)
            else:
                self._end_line(base + place.inner)
                self._line.append(note.text)
        self._end_line(base + place.indent)

    def _end_line(self, indent: int) -> None:
        self._lines.append("".join(self._line) + ("" if self._lines else self._pieces.first))
        self._line, self._column = [" " * indent], indent

    def _takes_assign(self, place: Break) -> bool:
        """Whether the value begins on a line of its own."""
        value = self._pieces.value
        if place.notes or value is None:
            return True
        width = self._columns[value.end] - self._columns[value.start]
        if not value.broken:
            if self._column + 1 + width <= WIDTH:
                return False
            if INDENT + width <= WIDTH:
                return True
        return not (self._pieces.hug and self._column + 1 + self._pieces.hug <= WIDTH)

    def _takes_tails(self, index: int) -> bool:
        """Whether tails begin on lines of their own: not behind the bracket that closes a value of several lines."""
        hugged = self._pieces.hug and id(self._pieces.value) in self._broken and not self._base
        forced = any(
            (isinstance(p, Break) and p.notes) or (isinstance(p, Begin) and p.group.broken)
            for p in self._items[index:]
            if not isinstance(p, End)
        )
        return bool(not hugged or forced or self._column + self._columns[-1] - self._columns[index] > WIDTH)
