"""One version of an open file, and what is known about it; everything is worked out when first asked for."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from functools import cached_property

from ..dsl import ast, suppress
from ..dsl.api import analyse
from ..dsl.config import check_config
from ..dsl.diagnostics import Diagnostic, LossError, Sink
from ..dsl.lalr import tables
from ..dsl.manifest import RENDERERS
from ..dsl.parse import MAX_BYTES, parse_partial
from ..dsl.settings import Resolver
from ..dsl.settings import Settings as ProjectSettings
from ..dsl.source import Source, Span
from ..dsl.typed import Expr, TypedProgram
from .positions import UTF16, Positions
from .settings import Settings
from .symbols import Names

ReadFile = Callable[[str], "str | None"]
"""The text of another file: as it is open in the editor, else on disk; None if it cannot be read."""

CONFIG_ENDINGS = (".yaml", ".yml")


class Document:
    """One version of one file.

    Attributes:
        uri: as the editor names it.
        path: the file's path, or a name for a file that was never saved.
        version: the editor's number of this text.
        positions: between offsets of the editor's text and its lines.
        source: the text as the checker sees it, without a byte-order mark.
        before: the newest typed program of an earlier version, for questions about a text that is broken just now.
        failure: what went wrong inside the checker, once it was asked; its mistake, not the program's.
    """

    def __init__(
        self,
        uri: str,
        path: str,
        text: str,
        version: int | None = None,
        encoding: str = UTF16,
        settings: Settings | None = None,
        read: ReadFile | None = None,
        before: TypedProgram | None = None,
    ) -> None:
        self.uri, self.path, self.version = uri, path, version
        self.settings = settings or Settings()
        self.positions = Positions(text, encoding)
        self.source = Source(text, path)
        self.before = before
        self.failure: Exception | None = None
        self._read = read or (lambda path: None)
        self._shift = len(text) - len(self.source.text)

    # Places

    def offset(self, line: int, column: int) -> int:
        """The offset in ``source`` of an editor's position."""
        return max(0, self.positions.offset(line, column) - self._shift)

    def position(self, offset: int) -> tuple[int, int]:
        """An editor's position of an offset in ``source``."""
        return self.positions.position(offset + self._shift)

    # What kind of file it is

    @property
    def is_config(self) -> bool:
        """Whether it is YAML; see `is_run` for whether it is ours."""
        return self.path.endswith(CONFIG_ENDINGS)

    @property
    def is_run(self) -> bool:
        """Whether a YAML file is a run config: other tools keep YAML files in the same folders."""
        keys = {line.partition(":")[0] for line in self.source.text.splitlines() if ":" in line}
        return len(keys & {"loss", "data"}) >= (1 if "extends" in keys else 2)

    # The program

    @cached_property
    def parsed(self) -> tuple[ast.Program, bool, frozenset[str]]:
        """The statements that parse, whether all do, and the names that the others would have declared."""
        sink = Sink()
        program, lost = parse_partial(self.source, sink)
        return program, not sink.items, lost

    @cached_property
    def checked(self) -> tuple[TypedProgram | None, list[Diagnostic]]:
        """The typed program, if it has no error, and the findings that the settings ask for."""
        try:
            return self._check()
        except Exception as error:  # a bug in the checker must not take hover and completion with it
            logging.getLogger(__name__).exception("checking %s failed", self.path)
            self.failure = error
            return None, []

    def _check(self) -> tuple[TypedProgram | None, list[Diagnostic]]:
        if self.is_config and not self.is_run:
            return None, []
        try:
            project, found = Resolver(self.settings.line()).of(self.path), []
        except LossError as error:  # mistakes in the project's settings file
            project, found = ProjectSettings(), list(error.diagnostics)
        program = None
        pedantic: dict[str, bool] = {"pedantic": True} if project.selection.pedantic else {}
        if self.is_config:
            steps, renderer = self.settings.steps, self.settings.renderer
            extra = [f"train.max_steps={steps}"] if steps is not None else []
            extra += [f"renderer.kind={renderer}"] if renderer is not None else []
            found += check_config(self.path, extra, self.source.text, **pedantic)
        else:
            buffers = RENDERERS[project.renderer] if project.renderer is not None else None
            program, own = analyse(
                self.source,
                max_steps=project.steps,
                renderer_buffers=buffers,
                pedantic=project.selection.pedantic,
            )
            found += own
        return program, self._chosen(found, project)

    def _chosen(self, found: list[Diagnostic], project: ProjectSettings) -> list[Diagnostic]:
        """The findings that settings and comments leave, with those about the comments: those of `splatdsl check`."""
        selection = project.selection
        off = {name: project.ignored_in(name) for name in {self.path, *(d.source.name for d in found)}}
        if any(suppress.MARK in text for text in (self.source.text, *(d.source.text for d in found))):
            of_run = {"renderer": project.renderer, "steps": project.steps, "data": None}
            known = {name for name, value in of_run.items() if value is not None or self.is_config}

            def judged(code: str) -> bool:
                """Whether a code would have been found if it were there."""
                return suppress.shows(code, known) and selection.allows(code) and code not in off[self.path]

            found = suppress.apply(found, self.source, judged)
        return [d for d in found if selection.allows(d.code) and d.code not in off.get(d.source.name, ())]

    def with_text(self, text: str) -> Document:
        """The same file with another text."""
        return Document(self.uri, self.path, text, None, self.positions.encoding, self.settings, self._read)

    @property
    def program(self) -> TypedProgram | None:
        """The typed program of this version, or None while it has an error."""
        return self.checked[0]

    @property
    def findings(self) -> list[Diagnostic]:
        """The findings in this version."""
        return self.checked[1]

    @cached_property
    def names(self) -> Names:
        """What the names in it mean."""
        return Names(self.parsed[0], self.source)

    @cached_property
    def types(self) -> dict[Span, Expr]:
        """The typed value at each place of the text; empty while the program has an error."""
        found: dict[Span, Expr] = {}
        seen: set[int] = set()
        stack = _roots(self.program)[::-1]
        while stack:  # what a value is made of comes after it, so a call comes before its defaults
            value = stack.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            stack.extend(reversed(value.args))
            if value.source is self.source:
                found.setdefault(value.span, value)
            if value.via is not None and value.via.source is self.source:
                found[value.via.span] = value
        return found

    @cached_property
    def tokens(self) -> Tokens:
        """Words, signs and comments."""
        return Tokens(self.source.text)

    # Other files

    def other(self, path: str) -> Document | None:
        """The program that a ``use`` statement of this one names, or None if it cannot be read."""
        if not path.endswith(".loss") or "\0" in path:
            return None
        whole = os.path.normpath(os.path.join(os.path.dirname(self.path), path))
        text = self._read(whole)
        if text is None:
            return None
        return Document("", whole, text, encoding=self.positions.encoding, read=self._read)


def _roots(program: TypedProgram | None) -> list[Expr]:
    if program is None:
        return []
    roots = [root for term in program.terms for root in (term.value, term.when) if root is not None]
    memories = [root for m in program.memories.values() for root in (m.init, m.update, m.when) if root is not None]
    return [*roots, *program.lets.values(), *memories]


class Tokens:
    """The tokens of a text, and the comments between them.

    Attributes:
        items: terminal (as a name), text, start, end; newlines are among them.
        comments: start and end of each comment.
    """

    __slots__ = ("comments", "items")

    def __init__(self, text: str) -> None:
        table = tables()
        self.items: list[tuple[str, str, int, int]] = []
        self.comments: list[tuple[int, int]] = []
        if len(text) > MAX_BYTES:
            return
        for match in re.compile(table.scanner).finditer(text):
            terminal, word = table.groups[match.lastindex or 0], match.group()
            if terminal < 0:
                if word.startswith("#"):
                    self.comments.append(match.span())
                continue
            name = table.terminals[terminal]
            if name == "NAME" and word in table.keywords:
                name = table.terminals[table.keywords[word]]
            self.items.append((name, word, *match.span()))

    def at(self, offset: int) -> tuple[str, str, int, int] | None:
        """The token that a cursor is in or touches; a word wins over a sign beside it."""
        touching = [t for t in self.items if t[2] <= offset <= t[3] and t[0] != "_NEWLINE"]
        touching.sort(key=lambda t: (not (t[1][:1].isalnum() or t[1][:1] in '_"'), t[2]))
        return touching[0] if touching else None

    def in_comment(self, offset: int) -> bool:
        """Whether a cursor stands in a comment."""
        return any(start < offset <= end for start, end in self.comments)

    def in_docstring(self, offset: int) -> bool:
        """Whether a cursor stands in a docstring, closed or not."""
        return any(
            (name == "DOCSTRING" and start < offset < end) or (name == "OPEN_DOCSTRING" and start < offset)
            for name, _, start, end in self.items
        )
