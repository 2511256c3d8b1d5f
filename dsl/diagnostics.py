"""Diagnostics as values: what is wrong, where, and the way out. Only ``render.py`` knows how they look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from .source import Source, Span

CUT_SHORT = "with so many findings the program is not checked any further"
"""The note of the finding after which a check has stopped."""


class Severity(Enum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"


class Label:
    """A secondary place that explains a diagnostic, for instance where the other side got its kind."""

    __slots__ = ("source", "span", "text")

    def __init__(self, span: Span, text: str, source: Source | None = None) -> None:
        self.span = span
        self.text = text
        self.source = source


class Edit:
    """A piece of a source's text to replace; an empty span inserts, an empty text removes."""

    __slots__ = ("span", "text")

    def __init__(self, span: Span, text: str) -> None:
        self.span, self.text = span, text


class Applicability(Enum):
    """How far a fix can be trusted."""

    SAFE = "safe"  # the objective keeps its value
    UNSAFE = "unsafe"  # the objective changes: what was probably meant, but only the author knows
    DISPLAY = "display"  # a suggestion to read, never applied: a part is left for the author to fill in


class Fix:
    """A change of the text that removes a finding. All edits are of the diagnostic's own source, and do not overlap."""

    __slots__ = ("applicability", "edits", "title")

    def __init__(self, title: str, edits: Sequence[Edit], applicability: Applicability = Applicability.UNSAFE) -> None:
        self.title, self.edits, self.applicability = title, tuple(edits), applicability


class Diagnostic:
    """One finding. ``message`` is one line that stands alone; everything else is detail.

    ``span`` is None for findings about a whole file (it is missing, it is empty). ``caption`` is the text beside
    the caret. ``severity`` is that of the code's group if it is not given.
    """

    __slots__ = ("caption", "code", "fixes", "help", "labels", "message", "notes", "severity", "source", "span")

    def __init__(
        self,
        code: str,
        message: str,
        source: Source,
        span: Span | None,
        *,
        severity: Severity | None = None,
        caption: str = "",
        labels: Sequence[Label] = (),
        notes: Sequence[str] = (),
        help: Sequence[str] = (),
        fixes: Sequence[Fix] = (),
    ) -> None:
        self.code = code
        self.message = message
        self.source = source
        self.span = span
        self.severity = _default_severity(code) if severity is None else severity
        self.caption = caption
        self.labels = tuple(labels)
        self.notes = tuple(notes)
        self.help = tuple(help)
        self.fixes = tuple(fixes)

    @property
    def slug(self) -> str:
        """The readable name beside the code, for instance ``unknown-name``."""
        from .codes import lookup  # imported late: a program without findings never loads the records

        return lookup(self.code).slug

    @property
    def line(self) -> int:
        """Line of the primary place, counted from 1; 1 for findings about a whole file."""
        return self.source.position(self.span.start)[0] if self.span else 1

    @property
    def column(self) -> int:
        """Column of the primary place, counted from 1."""
        return self.source.position(self.span.start)[1] if self.span else 1

    def __str__(self) -> str:
        from .render import full

        return full(self)

    def __repr__(self) -> str:
        return f"Diagnostic({self.code!r}, {self.message!r}, {self.source.name}:{self.line}:{self.column})"


def _default_severity(code: str) -> Severity:
    from .codes import lookup  # imported late: a program without findings never loads the records

    return Severity.ERROR if lookup(code).group == "correctness" else Severity.WARNING


class Sink:
    """Collects diagnostics of one run; every stage reports here and goes on."""

    __slots__ = ("_seen", "items")

    def __init__(self) -> None:
        self.items: list[Diagnostic] = []
        self._seen: set[tuple[str, str, Span | None, str]] = set()

    def add(self, diagnostic: Diagnostic) -> None:
        """Record a finding; a second one with the same code, place and message is dropped."""
        key = (diagnostic.code, diagnostic.source.name, diagnostic.span, diagnostic.message)
        if key not in self._seen:
            self._seen.add(key)
            self.items.append(diagnostic)

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Record several findings."""
        for diagnostic in diagnostics:
            self.add(diagnostic)

    @property
    def has_errors(self) -> bool:
        """Whether any finding is an error."""
        return any(d.severity is Severity.ERROR for d in self.items)

    def sorted(self) -> list[Diagnostic]:
        """The findings by source, place and code: the order is the same in every run."""
        return sorted(self.items, key=lambda d: (d.source.name, d.span.start if d.span else -1, d.code, d.message))


class LossError(Exception):
    """Bad input of any kind: a program, a config, a tensor. Its text is what the linter prints.

    Attributes:
        diagnostics: the findings, sorted; at least one is an error.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = list(diagnostics)
        super().__init__(diagnostics)

    def __str__(self) -> str:
        from .render import full

        return "\n\n".join(full(d) for d in self.diagnostics)


class LossWarning(UserWarning):
    """A finding in a program that does not stop it from running; the text is what the linter prints."""
