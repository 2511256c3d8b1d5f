"""Run configs made of several files: ``extends`` at the top of one, ``from`` in any mapping below it.

Everything is resolved on the tree, before a key means anything, so that each value keeps the place where it was
written: findings point into the file that says it, and paths in a file are relative to that file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from .config_origin import Place
from .config_reader import nearby
from .config_values import as_bool, as_number
from .config_yaml import MAX_DEPTH, Items, Mapping, Node, Reset, Scalar, read_tree
from .diagnostics import Diagnostic, Label, Sink
from .files import CONFIG_LIMIT, Unreadable, read_text
from .source import Source, Span
from .suggest import did_you_mean

EXTENDS = "extends"
FROM = "from"
ENDINGS = (".yaml", ".yml")
MOST_FILES = 100
"""How often a config may name a file, in all of its files together."""


def merged(base: Node, over: Node) -> Node:
    """``base`` with what ``over`` says: mappings key by key, anything else is replaced as a whole.

    ``null`` takes a value back, so that the key has its default again; an empty section adds nothing.
    """
    if isinstance(over, Scalar) and over.is_null:
        if over.text:
            return Reset(over.source, over.span)
        return base if isinstance(base, Mapping) else over
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    entries = dict(base.entries)
    for word, (place, node) in over.entries.items():
        entries[word] = (place, merged(entries[word][1], node) if word in entries else node)
    return Mapping(entries, over.source, over.span)


class Files:
    """Puts the files of one config together.

    Args:
        path: the config.
        sink: gets what is wrong.

    Attributes:
        names: the other files that were read, in the order of their first use.
        failed: whether a part is missing, so that what is not there may be in it.
    """

    def __init__(self, path: str, sink: Sink) -> None:
        self.sink = sink
        self.names: list[str] = []
        self.failed = False
        self._open: list[tuple[str, str]] = [(os.path.realpath(path), path)]
        self._trees: dict[str, Node | None] = {}
        self._done: dict[int, tuple[Node, Node]] = {}
        self._count = 0
        self._depth = 0

    def expand(self, node: Node, section: str | None = None) -> Node:
        """The tree with the content of other files in place of their names.

        Args:
            node: a tree of one text.
            section: the dotted key that it stands at; None: it is the whole of a file.
        """
        if not isinstance(node, (Mapping, Items)):
            return node
        known = self._done.get(id(node))
        if known is not None:  # an alias, or a file that is named again
            return known[1]
        self._depth += 1
        made = self._fresh(node, section) if self._depth <= MAX_DEPTH else self._too_deep(node)
        self._depth -= 1
        self._done[id(node)] = (node, made)  # the node too: its id must stay its own
        return made

    def _fresh(self, node: Mapping | Items, section: str | None) -> Node:
        if isinstance(node, Items):
            return Items([self.expand(item, f"{section or ''}[]") for item in node.items], node.source, node.span)
        word = EXTENDS if section is None else FROM
        given = node.entries.get(word)
        names_files = given is not None and self._names_files(given[1], section)
        base: Node | None = None
        for path in self._paths(word, *given) if given is not None and names_files else ():
            found = self._read(word, path)
            if found is not None:
                base = found if base is None else merged(base, found)
        entries = {
            name: (place, self.expand(child, f"{section}.{name}" if section else name))
            for name, (place, child) in node.entries.items()
            if not (names_files and name == word)
        }
        own = Mapping(entries, node.source, node.span)
        if given is None or not names_files:
            return own
        place, named = given
        if base is None:
            return own if section is None or entries else Node(node.source, named.span)
        if not entries and section is not None:
            return base
        if isinstance(base, Mapping):
            return merged(base, own)
        if type(base) is not Node:
            label = Label(base.span, f"this is {base.what}", base.source)
            message = f"what `{word}` names must be a mapping to have keys added, and is {base.what}"
            self._error("CFG006", message, place, labels=[label])
        return own

    def _names_files(self, node: Node, section: str | None) -> bool:
        """Whether ``from`` means files; a loss may have a parameter of that name."""
        if section != "loss_params" or not isinstance(node, Scalar):
            return True
        return node.style is None and as_number(node.text) is None and as_bool(node.text) is None and not node.is_null

    def _paths(self, word: str, place: Place, named: Node) -> Sequence[Scalar]:
        """The scalars that name files."""
        if isinstance(named, Reset):  # taken back with `--set extends=null`
            return ()
        if type(named) is Node:
            self.failed = True
            return ()
        items = named.items if isinstance(named, Items) else [named]
        paths = [item for item in items if isinstance(item, Scalar) and not item.is_null]
        wrong = [item for item in items if item not in paths]
        if wrong or not paths:
            what = wrong[0].what if wrong and not isinstance(wrong[0], Scalar) else "nothing"
            at = wrong[0].place if wrong and not isinstance(wrong[0], Scalar) else place
            message = f"`{word}` takes the path of a config or a list of such, not {what}"
            self._error("CFG006", message, at, help=[f"for instance `{word}: base.yaml`"])
        return paths

    def _read(self, word: str, node: Scalar) -> Node | None:
        """The tree of a file, or of the part of it that stands after ``#``; None with a finding."""
        text, _, part = node.text.partition("#")
        folder = "" if node.source.name.startswith("--") else os.path.dirname(node.source.name)
        path = os.path.normpath(os.path.join(folder, os.path.expanduser(text)))
        real = os.path.realpath(path)
        self._count += 1
        chain = [name for _, name in self._open]
        if real in (open_ for open_, _ in self._open):
            notes = [" -> ".join([*chain, path])]
            self._error("CFG012", f"`{path}` is part of itself", node.place, notes=notes)
            return None
        if self._count > MOST_FILES:
            self._error("CFG012", f"a config names at most {MOST_FILES} files", node.place)
            return None
        tree = self._tree(path, real, node)
        if tree is None:
            return None
        self._open.append((real, path))
        whole = self.expand(tree)
        self._open.pop()
        if word == EXTENDS and not part and not isinstance(whole, Mapping) and type(whole) is not Node:
            message = f"`{path}` is {whole.what}, but what a config extends has keys"
            self._error("CFG006", message, node.place)
            return None
        return self._part(whole, part, path, node)

    def _tree(self, path: str, real: str, node: Scalar) -> Node | None:
        if path in self._trees:
            return self._trees[path]
        self._trees[path] = None
        try:
            if os.path.exists(path) and not real.endswith(ENDINGS):
                raise Unreadable("is not a `.yaml` file")  # findings quote it: it must not be any file of a machine
            source = Source(read_text(path, CONFIG_LIMIT), path)
        except Unreadable as reason:
            help = [nearby(path, ".yaml")] if not os.path.exists(path) else []
            self._error("CFG008", f"the config `{path}` {reason}", node.place, help=help)
            return None
        self.names.append(path)
        before = len(self.sink.items)
        tree = read_tree(source, self.sink)
        if tree is None and len(self.sink.items) == before:
            self._error("CFG008", f"the config `{path}` is empty", node.place)
            return None
        self.failed |= tree is None
        self._trees[path] = tree
        return tree

    def _part(self, tree: Node, part: str, path: str, node: Scalar) -> Node | None:
        """What stands at a dotted key of a file."""
        here = tree
        for word in part.split(".") if part else ():
            if type(here) is Node:
                return here
            entries = here.entries if isinstance(here, Mapping) else {}
            if word not in entries:
                help = [did_you_mean(word, entries)]
                self._error("CFG004", f"`{path}` has no key `{part}`", node.place, help=help)
                return None
            here = entries[word][1]
        return here

    def _too_deep(self, node: Node) -> Node:
        self._error("CFG012", f"files of a config are nested deeper than {MAX_DEPTH}", node.place)
        return Node(node.source, node.span)

    def _error(
        self,
        code: str,
        message: str,
        place: Place,
        *,
        help: Sequence[str | None] = (),
        notes: Sequence[str] = (),
        labels: Sequence[Label] = (),
    ) -> None:
        """Report a part that is missing."""
        self.failed = True
        source, span = place
        end = source.text.find("\n", span.start, span.end)
        span = Span(span.start, end if end >= 0 else span.end)
        advice = [text for text in help if text]
        self.sink.add(Diagnostic(code, message, source, span, help=advice, notes=notes, labels=labels))
