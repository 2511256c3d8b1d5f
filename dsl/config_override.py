"""Values that are set from outside a config: ``--set train.max_steps=300``, and those of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from .config_files import merged
from .config_origin import Place
from .config_yaml import MAX_DEPTH, Mapping, Node, Reset, Scalar, read_tree
from .diagnostics import Diagnostic, Label, Sink
from .source import Source, Span

SET = "--set"


class Refusal(Exception):
    """Why a value cannot be set; holds the finding."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def read_override(text: str, sink: Sink) -> tuple[list[tuple[str, Place]], Node] | None:
    """The words of a key, each with its place, and the value of ``KEY=VALUE``; the value is YAML.

    Returns:
        None, with a finding, when it is not of that form.
    """
    source = Source(text, SET)
    name, equals, _ = source.text.partition("=")
    words = [word.strip() for word in name.split(".")]
    if not equals or not all(words):
        message = f"`{SET} {text}` does not set anything: it takes KEY=VALUE"
        help = [f"for instance {SET} train.max_steps=300"]
        sink.add(Diagnostic("CFG011", message, source, Span(0, len(source.text)), help=help))
        return None
    if len(words) > MAX_DEPTH:
        message = f"`{SET}` names a key of {len(words)} words, and no value is nested deeper than {MAX_DEPTH}"
        sink.add(Diagnostic("CFG011", message, source, Span(0, len(words[0]))))
        return None
    value = read_tree(source, sink, len(name) + 1)
    if value is None:
        if sink.items and sink.items[-1].source is source:
            return None
        value = Scalar("", None, source, Span(len(name) + 1, len(source.text)))
    return places(source, words), value


def places(source: Source, words: Sequence[str], at: int = 0) -> list[tuple[str, Place]]:
    """Words with the places where they stand one after the other from an offset on."""
    found = []
    for word in words:
        at = source.text.index(word, at)
        found.append((word, Place(source, Span(at, at + len(word)))))
        at += len(word)
    return found


def override(root: Mapping, key: Sequence[tuple[str, Place]], value: Node, sink: Sink) -> Mapping:
    """A copy of the tree in which a key has another value; as it was, with a finding, where that cannot be."""
    try:
        return assign(root, key, value)
    except Refusal as refusal:
        sink.add(refusal.diagnostic)
        return root


def assign(root: Mapping, key: Sequence[tuple[str, Place]], value: Node) -> Mapping:
    """A copy of the tree in which a key has another value; ``null`` takes the value back to the key's default.

    A section is replaced as a whole. Nodes are never changed: aliases may share them.

    Raises:
        Refusal: CFG011, what is above the key holds no keys.
    """
    word, place = key[0]
    entries = dict(root.entries)
    below = entries.get(word)
    if len(key) == 1:
        explicit = isinstance(value, Scalar) and value.is_null and value.text
        entries[word] = (place, merged(Node(*value.place), value) if explicit else value)
        return Mapping(entries, root.source, root.span)
    inner = below[1] if below is not None else None
    if inner is None or isinstance(inner, Reset) or (isinstance(inner, Scalar) and inner.is_null):
        inner = Mapping({}, place.source, place.span)
    if not isinstance(inner, Mapping):
        label = Label(inner.span, f"this is {inner.what}", inner.source) if inner.what else None
        message = f"`{place.source.name} {place.source.text}` cannot set a key of `{word}`"
        message += f", which is {inner.what}" if inner.what else ""
        raise Refusal(Diagnostic("CFG011", message, *place, labels=[label] if label else []))
    entries[word] = (below[0] if below is not None else place, assign(inner, key[1:], value))
    return Mapping(entries, root.source, root.span)
