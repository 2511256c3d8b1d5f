"""Diagnostics of the checker: one named constructor per mistake, so that wording lives in one place.

A mistake inside a prelude definition is reported at the call that the user wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..diagnostics import Diagnostic, Label, Severity, Sink
from ..interval import Interval, show
from ..source import Source, Span
from ..suggest import closest
from ..typed import Expr
from ..types import Kind, Origin


class Frame:
    """One call that is being expanded: where it stands and which definition it expands."""

    __slots__ = ("name", "source", "span")

    def __init__(self, name: str, source: Source, span: Span) -> None:
        self.name, self.source, self.span = name, source, span


class Reporter:
    """Turns findings into diagnostics at the place where the user can act."""

    def __init__(self, sink: Sink, hidden: Source | None) -> None:
        self.sink = sink
        self.hidden = hidden
        self.frames: list[Frame] = []

    def emit(
        self,
        code: str,
        message: str,
        source: Source,
        span: Span,
        *,
        caption: str = "",
        labels: Sequence[Label] = (),
        notes: Sequence[str] = (),
        help: Sequence[str] = (),
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Record a finding; one inside the prelude moves out to the call, and calls of user definitions are shown."""
        extra = [label for label in labels if label.source is not self.hidden]
        note_list = list(notes)
        if source is self.hidden:
            for frame in reversed(self.frames):
                if frame.source is not self.hidden:
                    note_list.append(f"in the definition of `{frame.name}`: {source.slice(span)}")
                    source, span = frame.source, frame.span
                    break
        for frame in reversed(self.frames):
            if frame.source is self.hidden:
                continue
            inside = frame.source is source and frame.span.start <= span.start and span.end <= frame.span.end
            if not inside:
                extra.append(Label(frame.span, f"`{frame.name}` is called here", frame.source))
            break
        if self.frames and any((d.code, d.source, d.span) == (code, source, span) for d in self.sink.items):
            return  # the definition reads the same wrong argument several times
        self.sink.add(
            Diagnostic(
                code,
                message,
                source,
                span,
                caption=caption,
                labels=extra,
                notes=note_list,
                help=help,
                severity=severity,
            )
        )

    # Names

    def unknown_name(self, name: str, source: Source, span: Span, candidates: Iterable[str], hint: str = "") -> None:
        """A value that does not exist."""
        self.emit(
            "NAM001",
            f"there is no value named `{name}`",
            source,
            span,
            help=[hint] if hint else _did_you_mean(name, candidates, "the values here are"),
        )

    def unknown_function(
        self, name: str, source: Source, span: Span, candidates: Iterable[str], hint: str = ""
    ) -> None:
        """A function that does not exist."""
        self.emit(
            "NAM002",
            f"there is no function named `{name}`",
            source,
            span,
            help=[hint] if hint else _did_you_mean(name, candidates, ""),
        )

    def unknown_field(self, name: str, of: str, source: Source, span: Span, candidates: Sequence[str]) -> None:
        """A field that a record or a value has not."""
        self.emit(
            "NAM003",
            f"{of} has no field `{name}`",
            source,
            span,
            help=_did_you_mean(name, candidates, "its fields are") if candidates else (),
        )

    def duplicate(self, name: str, source: Source, span: Span, first: Origin) -> None:
        """A name that is declared twice."""
        self.emit(
            "NAM004",
            f"`{name}` is declared twice",
            source,
            span,
            labels=[Label(first.span, "first declared here", first.source)],
            help=["give one of them another name"],
        )

    def reserved(self, name: str, what: str, source: Source, span: Span) -> None:
        """A declaration that takes the name of a fixed input."""
        self.emit(
            "NAM005",
            f"`{name}` is {what} and cannot be declared again",
            source,
            span,
            help=["choose another name" if what != "a builtin" else f"call it `my_{name}`"],
        )

    def unknown_argument(
        self, name: str, function: str, source: Source, span: Span, candidates: Sequence[str], taken: bool = False
    ) -> None:
        """A keyword that the function has not, or that is given twice."""
        if taken:
            message, help_ = f"`{function}` got `{name}` twice", ["keep one of the two"]
        else:
            message = f"`{function}` has no argument `{name}`"
            help_ = _did_you_mean(name, candidates, "its arguments are")
        self.emit("NAM006", message, source, span, help=help_)

    # Kinds

    def kind(self, expected: str, found: Expr, where: str, help: Sequence[str] = ()) -> None:
        """A value of the wrong kind."""
        self.emit(
            "TYP001",
            f"{where} must be {expected}, but this is {describe(found)}",
            found.source,
            found.span,
            help=help,
        )

    def spaces(self, left: Expr, right: Expr, source: Source, span: Span, what: str) -> None:
        """Pixels meet gaussians."""
        pixel = left if left.type.kind.space == "pixels" else right
        other = right if pixel is left else left
        self.emit(
            "TYP003",
            f"{what} mixes pixels with gaussians: {left.type.kind.describe()} and {right.type.kind.describe()}",
            source,
            span,
            labels=[
                Label(pixel.span, f"one value per pixel {pixel.type.kind.dims}", pixel.source),
                Label(other.span, f"one value per gaussian {other.type.kind.dims}", other.source),
            ],
            help=["reduce each side to a number first, for instance with `mean(...)`"],
        )

    def components(self, left: Expr, right: Expr, source: Source, span: Span, what: str) -> None:
        """Component counts that do not fit."""
        self.emit(
            "TYP004",
            f"{what} needs operands that agree, but got {left.type.kind.describe()} and {right.type.kind.describe()}",
            source,
            span,
            labels=[
                Label(left.span, left.type.kind.describe(), left.source),
                Label(right.span, right.type.kind.describe(), right.source),
            ],
        )

    def stage(self, found: Expr, where: str, help: Sequence[str]) -> None:
        """A tensor where a number must be known before the step."""
        self.emit(
            "TYP005",
            f"{where} must be known before the step is computed, but this depends on the render",
            found.source,
            found.span,
            caption=f"{describe(found)}, known only after the render",
            help=help,
        )

    def argument_count(self, function: str, expected: str, got: str, source: Source, span: Span, usage: str) -> None:
        """Too few or too many arguments."""
        self.emit("TYP006", f"`{function}` takes {expected}, but got {got}", source, span, help=[f"usage: {usage}"])

    def out_of_domain(self, what: str, found: Expr, allowed: Interval) -> None:
        """A value that is outside a function's domain whatever happens."""
        self.emit(
            "RNG003",
            f"{what} must be in {allowed}, but this is always {in_words(found.type.range)}",
            found.source,
            found.span,
        )


def describe(e: Expr) -> str:
    """A value in a message: its kind, or the number that it is."""
    kind: Kind = e.type.kind
    if kind.name == "number" and e.type.range.is_point:
        return f"the number {show(e.type.range.lo)}"
    if kind.name == "string":
        return f'the text "{e.value}"'
    return kind.describe()


def in_words(r: Interval) -> str:
    """A range in a message."""
    return show(r.lo) if r.is_point else f"in {r}"


def _did_you_mean(name: str, candidates: Iterable[str], listing: str) -> list[str]:
    names = list(dict.fromkeys(candidates))
    near = closest(name, names)
    if near:
        return ["did you mean " + " or ".join(f"`{n}`" for n in near) + "?"]
    if listing and 0 < len(names) <= 24:
        return [f"{listing} " + ", ".join(f"`{n}`" for n in names)]
    return []
