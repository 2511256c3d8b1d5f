"""A run config's text, the files that it is made of and what is set from outside, as one tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .config_files import EXTENDS, Files
from .config_override import override, read_override
from .config_reader import Reader, first_line
from .config_schema import RunConfig
from .config_yaml import Mapping, Node, read_tree
from .diagnostics import Diagnostic, Sink
from .files import CONFIG_LIMIT, Unreadable, read_text
from .source import Source, Span

SWEEP = "sweep"


class Tree(NamedTuple):
    """A config before its keys are read.

    Attributes:
        path: the config's file, as given.
        source: its text.
        root: everything that is in force, but for the section ``sweep``.
        sweep: that section; None where there is none.
        files: the other files that it is made of.
        partial: whether one of them could not be read.
        given: the keys that were set from outside, dotted.
    """

    path: str
    source: Source
    root: Mapping
    sweep: Node | None
    files: tuple[str, ...]
    partial: bool
    given: tuple[str, ...]

    def read(self, root: Mapping, sink: Sink) -> RunConfig:
        """The config of a tree, which is `root` or a changed copy of it; only valid without an error in the sink."""
        config = Reader(self.path, self.source, sink, self.partial).run(root)
        if config.origin is not None:
            config.origin.files = self.files
        return config


def read_config(path: str, overrides: Sequence[str], text: str | None, sink: Sink) -> Tree | None:
    """The tree of a config; None, with a finding, when it is no mapping at all.

    Args:
        path: the YAML file.
        overrides: ``KEY=VALUE`` texts, applied in order; ``extends=PATH`` stands in for what the file extends.
        text: the file's text, where it is not to be read from ``path``.
        sink: gets the findings.
    """
    try:
        source = Source(read_text(path, CONFIG_LIMIT) if text is None else text, path)
    except Unreadable as reason:
        sink.add(Diagnostic("CFG008", f"the config `{path}` {reason}", Source("", path), None))
        return None
    root = read_tree(source, sink)
    if root is None and not sink.has_errors:
        root = Mapping({}, source, Span(0, 0))
    if root is None:
        return None
    if not isinstance(root, Mapping):
        message = f"a run config is a mapping with keys such as `loss` and `data`, not {root.what}"
        sink.add(Diagnostic("CFG006", message, source, first_line(root)))
        return None
    given = [item for item in (read_override(text, sink) for text in overrides) if item is not None]
    for key, value in given:
        if [word for word, _ in key] == [EXTENDS]:
            root = override(root, key, value, sink)
    files = Files(path, sink)
    whole = files.expand(root)
    assert isinstance(whole, Mapping)
    for key, value in given:
        words = [word for word, _ in key]
        if words != [EXTENDS]:
            whole = override(whole, key, files.expand(value, ".".join(words)), sink)
    sweep = whole.entries.get(SWEEP)
    rest = Mapping({k: v for k, v in whole.entries.items() if k != SWEEP}, whole.source, whole.span)
    names = tuple(".".join(word for word, _ in key) for key, _ in given)
    return Tree(path, source, rest, sweep and sweep[1], tuple(files.names), files.failed, names)
