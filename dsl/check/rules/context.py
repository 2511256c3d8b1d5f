"""What rules look at, and the questions that several of them ask of a program."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from ...live import Zeros
from ...settings_select import always_on
from ...source import Span
from ...spans import Timeline
from ...typed import Expr, TypedProgram, TypedTerm
from ..report import Reporter
from ..structure import Structure

if TYPE_CHECKING:
    from ..program import ProgramChecker
    from .places import Places
    from .regions import Regions

MOST_TEXT = 1_000
"""Characters of a value that are looked at for a message."""


class Context:
    """A checked program and what is known of its run.

    Attributes:
        program: the typed program. Terms with mistakes are not among its terms.
        report: where findings go.
        max_steps: length of the run, or None.
        renderer: buffers that the renderer makes, or None.
        data: fields that every item of the data has, or None.
        half: whether the run renders in half precision.
        broken: whether something of the program is missing because of a mistake; what looks unused may not be. A term
            that is whole counts, though something else be wrong with it.
        zeros: which values the parameters in force make 0.
        structure: tells which values are made in the same way.
        carried: what `flow.carried` has found, by identity.
        explained: values that a finding has explained; rules that look for hazards have nothing to add.
    """

    def __init__(
        self, checker: ProgramChecker, renderer: frozenset[str] | None, data: frozenset[str] | None, half: bool
    ) -> None:
        self.checker = checker
        self.program: TypedProgram = checker.typed
        self.report: Reporter = checker.report
        self.max_steps = checker.max_steps
        self.renderer, self.data, self.half = renderer, data, half
        self.broken = checker.incomplete or checker.lost_file or any(always_on(d.code) for d in checker.sink.items)
        self.zeros = Zeros({name: info.value for name, info in self.program.params.items()})
        self.explained: set[int] = set()
        self.structure = Structure()
        self.carried: dict[int, frozenset[str]] = {}

    @cached_property
    def live(self) -> tuple[TypedTerm, ...]:
        """The terms that are not 0 because a parameter or a number is."""
        return tuple(t for t in self.program.terms if not self.zeros.is_zero(t.value))

    @cached_property
    def timeline(self) -> Timeline:
        """Host values over the run."""
        return Timeline({name: info.value for name, info in self.program.params.items()}, self.max_steps)

    @cached_property
    def places(self) -> Places:
        """Where the user wrote what definitions of the prelude made."""
        from .places import Places

        return Places(self)

    @cached_property
    def regions(self) -> Regions:
        """Answers about the regions of the program."""
        from .regions import Regions

        return Regions(self)

    @cached_property
    def _values(self) -> tuple[tuple[TypedTerm, Expr], ...]:
        first: dict[int, tuple[TypedTerm, Expr]] = {}
        for term in self.live:
            for e in term.value.walk():
                first.setdefault(id(e), (term, e))
        return tuple(first.values())

    def values(self) -> Iterator[tuple[TypedTerm, Expr]]:
        """Every value of every live term, each once for the first term that has it."""
        return iter(self._values)

    def exact(self, e: Expr, outer: Expr) -> str | None:
        """What to write for a value in the text of another; None where no text there would mean it."""
        return None if self.report.texts is None else self.report.texts.exact(e, outer)

    def here(self, e: Expr, outer: Expr) -> str:
        """What to call a value beside the text of another, shortened: in a definition by the definition's names."""
        text = self.exact(e, outer)
        return self.text(e) if text is None else shortened(text)

    def text(self, e: Expr) -> str:
        """The source text of a value on one line, shortened."""
        words = e.source.slice(Span(e.span.start, min(e.span.end, e.span.start + MOST_TEXT))).split()
        return shortened(" ".join(words))


def shortened(text: str) -> str:
    """A text for a message."""
    return text if len(text) <= 60 else text[:57] + "..."
