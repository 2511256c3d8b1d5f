"""Diagnostics of the checker: one named constructor per mistake, so that wording lives in one place.

A mistake inside a prelude definition is reported at the call that the user wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..diagnostics import CUT_SHORT, Applicability, Diagnostic, Edit, Fix, Label, Severity, Sink
from ..facts import FactSpec
from ..inputs import RENDER_BUFFERS, buffer_of
from ..interval import Interval, show
from ..source import Source, Span
from ..suggest import closest
from ..typed import Expr
from ..types import Fact, Kind, Origin
from . import hints

if TYPE_CHECKING:
    from .texts import Texts

MOST_ERRORS = 100
MOST_FINDINGS = 500
"""Findings in one program; who has more is shown these first."""

MOST_MESSAGE = 500
"""Characters of a message; a name may be as long as its file."""


class Frame:
    """One call that is being expanded: where it stands and which definition it expands."""

    __slots__ = ("name", "source", "span")

    def __init__(self, name: str, source: Source, span: Span) -> None:
        self.name, self.source, self.span = name, source, span


class TooLarge(Exception):
    """The program is larger than is looked at, or has too many mistakes; already reported."""


class Reporter:
    """Turns findings into diagnostics at the place where the user can act.

    Raises:
        TooLarge: by any of its methods, when there are more findings than anyone reads.
    """

    def __init__(self, sink: Sink, hidden: Source | None) -> None:
        self.errors = 0
        self.sink = sink
        self.hidden = hidden
        self.frames: list[Frame] = []
        self.texts: Texts | None = None

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
        severity: Severity | None = None,
        fixes: Sequence[Fix] = (),
    ) -> None:
        """Record a finding; one inside the prelude moves out to the call, and calls of user definitions are shown."""
        extra = [label for label in labels if label.source is not self.hidden]
        note_list = list(notes)
        moved = source is self.hidden
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
        if code[:3] != "NAM":  # a name that does not exist is wrong for all callers
            fixes = self._for_all_callers(source, fixes)
        diagnostic = Diagnostic(
            code,
            message if len(message) <= MOST_MESSAGE else message[: MOST_MESSAGE - 3] + "...",
            source,
            span,
            caption=caption,
            labels=extra,
            notes=note_list,
            help=help,
            severity=severity,
            fixes=() if moved else fixes,
        )
        known = len(self.sink.items)
        self.sink.add(diagnostic)
        self.errors += diagnostic.severity is Severity.ERROR and len(self.sink.items) > known
        if self.errors >= MOST_ERRORS or len(self.sink.items) >= MOST_FINDINGS:
            diagnostic.notes = (*diagnostic.notes, CUT_SHORT)
            raise TooLarge

    def _for_all_callers(self, source: Source, fixes: Sequence[Fix]) -> list[Fix]:
        """A change of a definition that several calls share is not made because of one of them."""
        texts, checked = self.texts, list[Fix]()
        for fix in fixes:
            shown = texts is not None and any(texts.of_one_caller(source, edit) for edit in fix.edits)
            checked.append(Fix(fix.title, fix.edits, Applicability.DISPLAY) if shown else fix)
        return checked

    # Names

    def unknown_name(self, name: str, source: Source, span: Span, candidates: Iterable[str], hint: str = "") -> None:
        """A value that does not exist."""
        self.emit(
            "NAM001",
            f"there is no value named `{name}`",
            source,
            span,
            help=[hint] if hint else _did_you_mean(name, names := [*candidates], "the values here are"),
            fixes=() if hint else _renamed(name, names, span),
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
            help=[hint] if hint else _did_you_mean(name, names := [*candidates], ""),
            fixes=() if hint else _renamed(name, names, span),
        )

    def bare_function(self, name: str, alone: bool, usage: str, source: Source, span: Span) -> None:
        """A function without brackets; ``alone`` if empty brackets are enough."""
        fixes = [Fix(f"write `{name}()`", [Edit(span, f"{name}()")], Applicability.UNSAFE)] if alone else []
        message = f"`{name}` is a function: its arguments follow in brackets"
        self.emit("NAM001", message, source, span, help=[f"call it: {usage}"], fixes=fixes)

    def unknown_field(self, name: str, of: str, source: Source, span: Span, candidates: Sequence[str]) -> None:
        """A field that a record or a value has not."""
        self.emit(
            "NAM003",
            f"{of} has no field `{name}`",
            source,
            span,
            help=_hinted(hints.field(name, of))
            or (_did_you_mean(name, candidates, "its fields are") if candidates else ()),
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
            help_ = _hinted(hints.argument(name, function)) or _did_you_mean(name, candidates, "its arguments are")
        fixes = () if taken else _renamed(name, candidates, span)
        self.emit("NAM006", message, source, span, help=help_, fixes=fixes)

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
        """Values that have no common index: pixels with gaussians, one view with another, other dimensions."""
        a, b = left.type.kind, right.type.kind
        help_ = _apart(left, right, what)
        both = {a.layout, b.layout}
        if a.view != b.view:
            first, second = (f"of `{k.view}`" if k.view else "of this render" for k in (a, b))
            message, code = f"{what} mixes two views: {a.describe()} and {b.describe()}", "TYP011"
            labels = [Label(left.span, first, left.source), Label(right.span, second, right.source)]
            help_ = ["bring one into the other's view on the host, or reduce each side to a number first"]
        elif "gaussians" in both and both <= {"gaussians", "pixels", "images"}:
            other, at = (a, left) if a.layout != "gaussians" else (b, right)
            splat = right if at is left else left
            message, code = f"{what} mixes pixels with gaussians: {a.describe()} and {b.describe()}", "TYP003"
            each = "pixel" if other.layout == "pixels" else "image"
            labels = [
                Label(at.span, f"one value per {each} {other.dims}", at.source),
                Label(splat.span, f"one value per gaussian {splat.type.kind.dims}", splat.source),
            ]
        else:
            message, code = f"{what} needs values of the same dimensions: {a.describe()} and {b.describe()}", "TYP012"
            labels = [Label(left.span, a.dims, left.source), Label(right.span, b.dims, right.source)]
        self.emit(code, message, source, span, labels=labels, help=help_)

    def facts(
        self, spec: FactSpec, left: Expr, a: Fact, right: Expr, b: Fact, source: Source, span: Span, what: str
    ) -> None:
        """Two values that mean different things."""
        if source is self.hidden and any(d.code == spec.code and self._at_call(d) for d in self.sink.items):
            return  # the call compared them already
        labels = []
        thing = {"depth": "depth", "normals": "normals", "image": "colour"}.get((*spec.kinds, "")[0], "parameters")
        for e, fact in ((left, a), (right, b)):
            labels.append(Label(e.span, f"{fact.value}", e.source))
            if fact.origin is not None and (fact.origin.source, fact.origin.span) != (e.source, e.span):
                labels.append(Label(fact.origin.span, _said_by(fact.origin, fact.value, thing), fact.origin.source))
        help_ = [h for wanted in dict.fromkeys((b.value, a.value)) if (h := spec.convert.get(wanted))]
        self.emit(
            spec.code,
            f"{what} compares {spec.words_of(a.value, thing)} with {spec.words_of(b.value, thing)}",
            source,
            span,
            labels=labels,
            help=[*help_[:1], "only if the two are known to agree, say so with `raw(...)`"],
        )

    def _at_call(self, found: Diagnostic) -> bool:
        """Whether a finding is at a call that is being expanded."""
        return any((f.source, f.span) == (found.source, found.span) for f in self.frames)

    def not_a_choice(self, word: str, what: str, choices: Sequence[str], at: Expr) -> None:
        """A text that is none of the choices of a mode."""
        shown = " or ".join(f'"{c}"' for c in choices)
        near = closest(word, choices)
        help_ = [f'did you mean "{near[0]}"?' if near else f"write {shown}"]
        self.emit("TYP001", f'{what} must be {shown}, but this is the text "{word}"', at.source, at.span, help=help_)

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
            help=_counts(left, right),
        )

    def stage(self, found: Expr, where: str, help: Sequence[str]) -> None:
        """A tensor where a number must be known before the step."""
        data = _is_data(found)
        self.emit(
            "TYP005",
            f"{where} must be known before the step is computed, but this "
            + ("is data, with a value for each pixel or image" if data else "depends on the render"),
            found.source,
            found.span,
            caption=f"{describe(found)}, known only " + ("with the item" if data else "after the render"),
            help=help,
        )

    def argument_count(
        self, function: str, expected: str, got: str, source: Source, span: Span, usage: str, hint: str = ""
    ) -> None:
        """Too few or too many arguments."""
        help_ = [*_hinted(hint), f"usage: {usage}"]
        self.emit("TYP006", f"`{function}` takes {expected}, but got {got}", source, span, help=help_)

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


def _apart(left: Expr, right: Expr, what: str) -> list[str]:
    """What to do with two values that have no common index."""
    region = next((e for e in (left, right) if e.type.kind.name == "region"), None)
    if region is None:
        return ["reduce each side to a number first, for instance with `mean(...)`"]
    of = left if region is right else right
    if of.type.kind.layout == "gaussians":
        return ["for gaussians use `visible`, or compare their values, as in `state.opacities > 0.1`"]
    if region.type.kind.layout == "gaussians":
        return ["for pixels use `masked`, or compare their values, as in `alpha > 0.5`"]
    if of.type.kind.layout == "images":
        text = " ".join(of.source.slice(of.span).split())
        call = f"{what.strip('`')}({text})"
        return [f"one value per image has no pixels to leave out: write `{call}`, or give the region to what made it"]
    return ["use a region of the same dimensions: compare values that have them"]


def _counts(left: Expr, right: Expr) -> list[str]:
    """What to do with component counts that do not fit."""
    a, b = left.type.kind.components, right.type.kind.components
    if not isinstance(a, int) or not isinstance(b, int):
        return []
    more = left if a > b else right
    text = " ".join(more.source.slice(more.span).split())
    return [
        f"compare `{text}` with another value of {max(a, b)} components, or take one of each side, as in "
        f"`component_mean({text})`"
    ]


def _is_data(e: Expr) -> bool:
    """Whether a value comes with the item alone, so that neither render nor gaussians are in it."""
    read = [str(n.value) for n in e.walk() if n.op in ("input", "region")]
    made = (*RENDER_BUFFERS, "state", "background")
    other = any(n.op == "extern" or (n.op == "input" and "." in str(n.value)) for n in e.walk())
    return bool(read) and not other and not any(buffer_of(name) in made for name in read)


def _said_by(origin: Origin, word: str, thing: str) -> str:
    """What is written at the place that a fact comes from: the word itself, an input without it, or another name."""
    text = origin.source.slice(origin.span)
    if text == word:
        return f"{word} is said here"
    declared = DECLARED.search(origin.source.text, max(0, origin.span.start - 200), origin.span.start)
    if declared is not None:
        return f"`{declared[1]}` is {word} {thing}: nothing else is said"
    return f"this is {word} {thing}"


DECLARED = re.compile(r"\b(\w+)\s*:\s*(?:list\s+of\s+)?$")
"""The name before a kind in a declaration."""


def _hinted(hint: str) -> list[str]:
    return [hint] if hint else []


def _renamed(name: str, candidates: Iterable[str], span: Span) -> list[Fix]:
    """The fix where exactly one name is close to what was written."""
    near = closest(name, list(dict.fromkeys(candidates)))
    return [Fix(f"write `{near[0]}`", [Edit(span, near[0])])] if len(near) == 1 else []


def _did_you_mean(name: str, candidates: Iterable[str], listing: str) -> list[str]:
    names = list(dict.fromkeys(candidates))
    near = closest(name, names)
    if near:
        return ["did you mean " + " or ".join(f"`{n}`" for n in near) + "?"]
    if listing and 0 < len(names) <= 24:
        return [f"{listing} " + ", ".join(f"`{n}`" for n in names)]
    return []
