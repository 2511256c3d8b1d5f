"""YAML text to a small tree in which every key and value knows its place.

Only mappings, lists and scalars come in: nothing is constructed, tags and merge keys are refused, and aliases may not
make the tree larger than ``MAX_NODES``. What a scalar means is decided later, by the key that it stands at: YAML's own
idea of types (``1e-3`` is text, ``010`` is eight, ``no`` is false) never reaches a run.
"""

from __future__ import annotations

from typing import Any

from .config_origin import Piece, Place
from .diagnostics import Diagnostic, Label, Sink
from .source import Source, Span

MAX_NODES = 2_000
MAX_DEPTH = 40
_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp")}
_NULLS = {"", "~", "null", "Null", "NULL"}


class Node:
    """Base of the tree's nodes: a place in a text. On its own it stands for a value that was refused."""

    __slots__ = ("source", "span")
    what = ""

    def __init__(self, source: Source, span: Span) -> None:
        self.source = source
        self.span = span

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.source, self.span)


class Reset(Node):
    """``null`` in place of a value that was given before: the key has its default again."""

    __slots__ = ()
    what = "nothing"


class Scalar(Node):
    """A value that is not a list or mapping. ``style`` is None for plain text, or the quote, ``|`` or ``>``."""

    __slots__ = ("style", "text")
    what = "a single value"

    def __init__(self, text: str, style: str | None, source: Source, span: Span) -> None:
        super().__init__(source, span)
        self.text = text
        self.style = style

    @property
    def is_null(self) -> bool:
        """Nothing, ``~`` or ``null``."""
        return self.style is None and self.text in _NULLS


class Items(Node):
    """A list."""

    __slots__ = ("items",)
    what = "a list"

    def __init__(self, items: list[Node], source: Source, span: Span) -> None:
        super().__init__(source, span)
        self.items = items


class Mapping(Node):
    """Keys, each with its place and its value."""

    __slots__ = ("entries",)
    what = "a mapping"

    def __init__(self, entries: dict[str, tuple[Place, Node]], source: Source, span: Span) -> None:
        super().__init__(source, span)
        self.entries = entries


def read_tree(source: Source, sink: Sink, start: int = 0, end: int | None = None) -> Node | None:
    """The tree of the YAML text of ``source`` between two offsets; None when it is empty or not YAML."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Stops early: a text of many or deep nodes is never read to its end."""

        depth = 0
        total = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.depth += 1
            self.total += 1
            if self.depth > MAX_DEPTH or self.total > MAX_NODES:
                limit = f"nested deeper than {MAX_DEPTH}" if self.depth > MAX_DEPTH else f"of over {MAX_NODES} values"
                events: Any = self
                mark = events.peek_event().start_mark
                raise yaml.MarkedYAMLError(problem=f"a config {limit} is not read", problem_mark=mark)
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    try:
        root = yaml.compose(source.text[start:end], Loader=Loader)
    except yaml.MarkedYAMLError as error:
        sink.add(_syntax_error(error, source, start))
        return None
    except yaml.reader.ReaderError as error:
        at = start + int(error.position)
        message = f"a config holds no control characters such as U+{ord(source.text[at]):04X}"
        sink.add(Diagnostic("CFG001", message, source, Span(at, at + 1)))
        return None
    except (ValueError, OverflowError):  # an escape such as \U00110000
        sink.add(Diagnostic("CFG001", "this is not valid YAML: an escape is no character", source, None))
        return None
    if root is None:
        return None
    return _Converter(source, sink, start).convert(root)


_REWORDED = (
    ("cannot start any token", "\\t", "this is not valid YAML: a tab cannot indent it", "indent with spaces"),
    (
        "mapping values are not allowed here",
        "",
        "this is not valid YAML: a second `:` stands where a value is",
        "put a value that contains `: ` in quotes, and give each key its own line",
    ),
    (
        "undefined alias",
        "",
        "this is not valid YAML: a value that starts with `*` names an alias",
        "put a value that starts with `*` in quotes",
    ),
    (
        "cannot start any token",
        "@",
        "this is not valid YAML: a value cannot start with this character",
        "put the value in quotes",
    ),
    ("expected a single document", "", "a config is one YAML document", "remove the `---` line between the two"),
)


def _syntax_error(error: Any, source: Source, start: int) -> Diagnostic:
    mark = error.problem_mark or error.context_mark
    at = start + mark.index if mark is not None else start
    problem = str(error.problem or error)
    if problem.startswith("but "):
        problem = f"{error.context}, {problem}"
    message, advice = f"this is not valid YAML: {problem}", []
    if problem.startswith("a config "):
        message = problem
    for part, letter, text, hint in _REWORDED:
        if part in problem and letter in problem:
            message, advice = text, [hint]
            break
    labels = []
    context = error.context_mark
    if context is not None and context.index != getattr(mark, "index", None) and "while" in (error.context or ""):
        labels.append(Label(Span(start + context.index, start + context.index + 1), str(error.context), source))
    return Diagnostic("CFG001", message, source, Span(at, at + 1), labels=labels, help=advice)


class _Converter:
    """Composed nodes to our tree; shared nodes stay shared, so that an alias costs nothing but its count."""

    def __init__(self, source: Source, sink: Sink, start: int) -> None:
        self.source = source
        self.sink = sink
        self.start = start
        self.done: dict[int, tuple[Node | None, int]] = {}
        self.open: set[int] = set()

    def convert(self, root: Any) -> Node | None:
        """The tree, or None with a finding when it refers to itself or is too large."""
        return self._node(root)[0]

    def _span(self, node: Any) -> Span:
        first, last = self.start + node.start_mark.index, self.start + node.end_mark.index
        text = self.source.text[first:last]
        return Span(first, first + len(text.rstrip()))

    def _refuse(self, message: str, node: Any, *advice: str) -> tuple[None, int]:
        span = self._span(node)
        if "\n" in (text := self.source.slice(span)):
            span = Span(span.start, span.start + text.index("\n"))
        self.sink.add(Diagnostic("CFG002", message, self.source, span, help=advice))
        return None, 1

    def _node(self, node: Any) -> tuple[Node | None, int]:
        if id(node) in self.done:
            return self.done[id(node)]
        if id(node) in self.open:
            return self._refuse("an alias cannot stand inside what it refers to", node)
        self.open.add(id(node))
        result = self._fresh(node)
        self.open.discard(id(node))
        self.done[id(node)] = result
        return result

    def _fresh(self, node: Any) -> tuple[Node | None, int]:
        if node.tag == "tag:yaml.org,2002:value":
            node.tag = "tag:yaml.org,2002:str"
        if node.tag not in _TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            return self._refuse(f"a config has no tags such as `{tag}`", node, "write the plain value")
        if node.id == "scalar":
            return Scalar(node.value, node.style, self.source, self._span(node)), 1
        size = 1
        if node.id == "sequence":
            items = []
            for item in node.value:
                child, n = self._node(item)
                size += n
                if child is not None:
                    items.append(child)
            made: Node = Items(items, self.source, self._span(node))
        else:
            entries: dict[str, tuple[Place, Node]] = {}
            for key, value in node.value:
                size += self._entry(entries, key, value)
            made = Mapping(entries, self.source, self._span(node))
        if size > MAX_NODES:
            return self._refuse(f"aliases make this config larger than {MAX_NODES} values", node)
        return made, size

    def _entry(self, entries: dict[str, tuple[Place, Node]], key: Any, value: Any) -> int:
        if key.id != "scalar":
            return self._refuse("a key must be a name", key)[1]
        if key.tag == "tag:yaml.org,2002:merge":
            return self._refuse("a config has no merge keys (`<<`)", key, "write the keys out")[1]
        child, size = self._node(value)
        place = Place(self.source, self._span(key))
        if key.value in entries:
            first = Label(entries[key.value][0].span, "first given here", self.source)
            message = f"`{key.value}` is given twice"
            self.sink.add(
                Diagnostic("CFG003", message, self.source, place.span, labels=[first], help=["keep one of them"])
            )
        else:  # a bare Node stands for a value that was refused: its key is not reported as missing as well
            entries[key.value] = (place, child or Node(self.source, place.span))
        return size + 1


def pieces(node: Scalar) -> list[Piece]:
    """Where the words of a scalar's value stand in its text; empty when escapes keep them from standing there.

    Blanks and line breaks of the value may be any blanks of the text: YAML folds lines and drops indentation.
    """
    text, value = node.source.text, node.text
    at = node.span.start
    if node.style in ("|", ">"):
        at = text.find("\n", at, node.span.end) + 1 or node.span.end
    elif node.style is not None:
        at += 1
    found: list[Piece] = []
    i = 0
    while i < len(value):
        if value[i].isspace():
            i += 1
            continue
        while at < node.span.end and text[at].isspace():
            at += 1
        start = i
        while i < len(value) and not value[i].isspace():
            i += 1
        if not text.startswith(value[start:i], at):
            return []
        found.append(Piece(start, i, at))
        at += i - start
    return found
