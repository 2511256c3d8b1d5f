"""Tokens and the comments between them to the pieces that the formatter lays out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from .format_layout import INDENT, Begin, Break, Comma, End, Group, Note, Pieces

if TYPE_CHECKING:
    from .lalr import Token

Item = TypeVar("Item")


class Writer:
    """Writes tokens, breaks and groups as pieces.

    Attributes:
        tokens, next: the tokens of the statement, and the index of the one that is written next.
        pieces: what has been written.
        indent: columns that a line is indented which begins here.
    """

    def __init__(self, tokens: Sequence[Token], notes: Mapping[int, list[Note]]) -> None:
        self.tokens = tokens
        self._notes = notes
        self.next = 0  # the token that is written next
        self._behind = -1  # the token that was written last; a dropped comma does not count
        self._waiting: list[tuple[int, Note]] = []  # comments since the last break, with the token before each
        self.pieces = Pieces()
        self._items = self.pieces.items
        self._group = self.pieces.root
        self.indent = 0
        self._last: Break | None = None

    def take(self, before: str = "", after: str = "") -> None:
        """Write the next token."""
        text = self.tokens[self.next][1]
        self._items.append(before + ("^" if text == "**" else text) + after)
        self._behind = self.next
        self.skip()

    def text(self, text: str) -> None:
        """Write what is no token: a blank."""
        self._items.append(text)

    def skip(self) -> None:
        """Go on to the next token, with the comments between."""
        self._waiting += ((self.next, note) for note in self._notes.get(self.next, ()))
        self.next += 1

    def at(self, text: str) -> bool:
        """Whether this is the next token."""
        return self.next < len(self.tokens) and self.tokens[self.next][1] == text

    def _settle(self) -> list[Note]:
        """The comments for the next break: those from places where no line may end, and those that stand at it.

        Of the former, all up to the last one that has a line of its own go back to the break before.
        """
        early = [note for behind, note in self._waiting if behind < self._behind]
        direct = [note for behind, note in self._waiting if behind >= self._behind]
        self._waiting = []
        if self._last is not None:
            cut = max((n + 1 for n, note in enumerate(early) if note.own), default=0)
            self._last.add(early[:cut])
            early = early[cut:]
        return early + direct

    def break_line(self, flat: str, inner: int | None = None) -> Break:
        """A place where a line may end.

        Args:
            flat: what is written if it does not.
            inner: columns that comments here are indented, if not as many as the next line.
        """
        notes = self._settle()
        place = Break(flat, self._group, self.indent, self.indent if inner is None else inner)
        self._last = place
        self._items.append(place)
        place.add(notes)
        return place

    def begin(self) -> Group:
        """Begin a group."""
        self._group = Group(self._group)
        self._group.start = len(self._items)
        self._items.append(Begin(self._group))
        return self._group

    def end(self) -> None:
        """End the group that was begun last."""
        group = self._group
        self._items.append(End(group))
        group.end = len(self._items)
        assert group.parent is not None
        self._group = group.parent

    def bracket(self, items: Sequence[Item], write: Callable[[Item], None], comma: str = "maybe") -> None:
        """Items between brackets, each on a line of its own if they do not fit.

        Args:
            items: what stands between the commas.
            write: writes one of them.
            comma: behind the last item: "maybe" (if the brackets are broken), "never" or "always".
        """
        self.take()
        if items:
            group = self.begin()
            self.indent += INDENT
            self.break_line("")
            for n, item in enumerate(items):
                if n:
                    self.take()
                    self.break_line(" ")
                write(item)
            if self.at(","):
                self.skip()
            if comma == "maybe":
                self._items.append(Comma(group))
            elif comma == "always":
                self._items.append(",")
            self.indent -= INDENT
            self.break_line("", inner=self.indent + INDENT)
            self.end()
        self.take()

    def finish(self) -> Pieces:
        """The pieces of the whole statement.

        Raises:
            RuntimeError: not all of its tokens were written.
        """
        if self.next != len(self.tokens):
            raise RuntimeError(f"{len(self.tokens) - self.next} tokens of a statement were not written")
        self.pieces.notes = self._settle()
        return self.pieces
