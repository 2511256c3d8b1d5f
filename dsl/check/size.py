"""How large a program may be: everything after the parser takes time in proportion to what is counted here."""

from __future__ import annotations

from collections.abc import Sequence

from .. import ast
from ..diagnostics import Diagnostic, Sink
from ..source import Source, Span
from ..typed import MemoryInfo, TypedTerm
from .report import TooLarge

MAX_STATEMENTS = 3_000
"""Statements of a program, those of the files that it uses among them; published systems have up to 40."""

MAX_READS = 30_000
"""Values that terms are made of, counted for each term: rules go through them for each. Usual are some hundreds."""


class Size:
    """Counts what a program consists of, and gives up on one of too much.

    Raises:
        TooLarge: by any of its methods, after reporting.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._statements = self._reads = 0

    def add_file(self, tree: ast.Program, source: Source) -> None:
        """Count the statements of a file."""
        self._statements += len(tree.statements)
        if self._statements > MAX_STATEMENTS:
            message = f"this program has more than {MAX_STATEMENTS:,} statements"
            self.refuse(message, source, tree.statements[-1].span, ["remove what no term needs"])

    def add(self, owner: TypedTerm | MemoryInfo) -> None:
        """Count what a term or a memory is made of; terms may share all of it."""
        roots = (owner.value,) if isinstance(owner, TypedTerm) else (owner.init, owner.update)
        for root in (*roots, *([owner.when] if owner.when is not None else [])):
            self._reads += sum(1 for _ in root.walk())
        if self._reads > MAX_READS:
            message = f"the terms of this program together read more than {MAX_READS:,} values"
            self.refuse(message, owner.source, owner.span, ["let fewer terms share such long chains of values"])

    def refuse(self, message: str, source: Source, span: Span, help: Sequence[str] = ()) -> None:
        """Report that the program is too large, and stop."""
        self._sink.add(Diagnostic("TYP008", message, source, span, help=help))
        raise TooLarge
