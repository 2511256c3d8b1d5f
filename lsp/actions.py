"""What an editor offers to do about findings: their fixes, and a comment that ignores them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..dsl.diagnostics import Applicability, Diagnostic, Edit, LossError
from ..dsl.fixes import best, fix_text
from ..dsl.format import format_text
from ..dsl.source import Span
from ..dsl.suppress import additions
from .document import Document


class Action(NamedTuple):
    """One thing to offer.

    Attributes:
        finding: what it removes; None for all at once.
        preferred: whether it is what an editor's "fix this" key should do.
    """

    title: str
    edits: tuple[Edit, ...]
    finding: Diagnostic | None
    preferred: bool = False


def quick_fixes(document: Document, start: int, end: int) -> list[Action]:
    """Fixes of the findings that a selection touches, then comments that ignore them."""
    if document.is_config:  # a program stands there in another form than its fixes are for
        return []
    found: list[Action] = []
    ignores: list[Action] = []
    for diagnostic in document.findings:
        span = diagnostic.span
        if span is None or diagnostic.source is not document.source or span.start > end or span.end < start:
            continue
        first = best(diagnostic, unsafe=False)
        for fix in diagnostic.fixes:
            if fix.applicability is Applicability.UNSAFE:
                found.append(Action(f"{fix.title} (unsafe)", fix.edits, diagnostic))
            elif fix.applicability is Applicability.SAFE:
                found.append(Action(fix.title, fix.edits, diagnostic, preferred=fix is first))
        edits = ignore_edits(document, diagnostic)
        if edits:
            title = f"Ignore {diagnostic.code} ({diagnostic.slug}) with a comment"
            ignores.append(Action(title, tuple(edits), diagnostic))
    return found + ignores


def fix_all(document: Document) -> list[Edit]:
    """The edit that applies all safe fixes; none if there are none."""
    if document.is_config:
        return []
    text = document.source.text
    outcome = fix_text(text, document.path, lambda text: document.with_text(text).findings, unsafe=False)
    return [] if outcome.text == text else [whole(text, outcome.text)]


def apply_edits(text: str, edits: Sequence[Edit]) -> str:
    """The text with edits made as an editor makes them; they do not overlap."""
    for edit in sorted(edits, key=lambda e: (e.span.start, e.span.end), reverse=True):
        text = text[: edit.span.start] + edit.text + text[edit.span.end :]
    return text


def whole(before: str, after: str) -> Edit:
    """The smallest single edit that makes one text of another: an editor then keeps its cursor where it can."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    if start and before[start - 1] == "\r":  # never between the two characters of one line ending
        start -= 1
    broken = [text[len(text) - end - 1 : len(text) - end + 1] == "\r\n" for text in (before, after)]
    if end and any(broken):
        end -= 1
    return Edit(Span(start, len(before) - end), after[start : len(after) - end])


def ignore_edits(document: Document, diagnostic: Diagnostic) -> list[Edit]:
    """The edits that add ``# splat: ignore[CODE]`` to the line of a finding; none where it cannot be suppressed."""
    if diagnostic.span is None:
        return []
    edits = additions(document.source, [diagnostic])
    inside = [t for t in document.tokens.items if t[0] in ("DOCSTRING", "OPEN_DOCSTRING")]
    if any(start < edit.span.start < end for edit in edits for _, _, start, end in inside):
        return []  # the end of the line is inside a text
    return edits


def format_edits(document: Document) -> list[Edit]:
    """The edit that lays the program out; none if that changes nothing or the text does not parse."""
    if document.is_config or not document.parsed[1]:
        return []
    try:
        formatted = format_text(document.source.text, document.path)
    except LossError:  # it would be larger than a program may be
        return []
    return [] if formatted == document.source.text else [whole(document.source.text, formatted)]
