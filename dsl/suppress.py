"""Comments that suppress findings: ``# splat: ignore[MSK001]``, and ``disable``/``enable`` for blocks.

A comment after code covers its line, or the whole statement if it stands on the statement's first line. One on a line
of its own covers the next statement. What it names are codes or slugs; there is no form without them. Comments that
suppress nothing, or cannot be read, are findings themselves. Loaded only for texts that hold such a comment.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from .diagnostics import CUT_SHORT, Applicability, Diagnostic, Edit, Fix
from .settings_select import always_on, code_of, suppressible
from .source import Source, Span
from .suggest import closest
from .suppress_lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

MARK = "splat:"
"""A text without this holds no such comment."""

KINDS = ("ignore", "disable", "enable")
_FORMS = "write `ignore[CODE]`, `disable[CODE]` or `enable[CODE]`"
_END = 1 << 60
MOST_CODES = 5_000
"""Codes in the comments of one text that are read."""

MOST_COMPLAINTS = 100
"""Findings about the comments of one text."""

NEEDS: dict[str, tuple[str, ...]] = {
    "BUF": ("renderer",),
    "BUF002": ("renderer", "data"),
    "BUF003": ("data",),
    "DTP": ("half",),
    "GRD006": ("renderer", "data"),
    "NAN009": ("half",),
    "SCH": ("steps",),
    "SSM021": ("steps",),
}
"""What must be known of the run for some finding of a code, or of a family, to show."""

_COMMENT = re.compile(r"#[ \t]*splat:[ \t]*(?P<kind>[\w-]*)[ \t]*(?P<list>\[(?P<codes>[^\]\[#\r\n]*)(?P<end>\])?)?")


class Item:
    """One code of a comment, and where it is suppressed.

    Attributes:
        text: the code or slug as written.
        code: the code that it names, or None.
        span: where it is written.
        first, last: the lines that it covers, counted from 1.
        whole: whether it covers findings about the whole file.
        used: whether it has suppressed something, or ended a block.
    """

    __slots__ = ("code", "first", "last", "span", "text", "used", "whole")

    def __init__(self, text: str, span: Span) -> None:
        self.text, self.span = text, span
        self.code = code_of(text)
        self.first, self.last, self.whole, self.used = 0, -1, False, False

    def covers(self, lines: tuple[int, int] | None) -> bool:
        """Whether a finding begins or ends where this applies; None: it is about the whole file."""
        if lines is None:
            return self.whole
        return self.first <= lines[0] <= self.last or self.first <= lines[1] <= self.last


class Comment:
    """One comment: its kind, its codes and its place, from the ``#`` to the bracket."""

    __slots__ = ("items", "kind", "span")

    def __init__(self, kind: str, items: list[Item], span: Span) -> None:
        self.kind, self.items, self.span = kind, items, span


def shows(code: str, known: Container[str]) -> bool:
    """Whether a code is found in a program that has the mistake, where this is known of the run: see `NEEDS`."""
    return all(need in known for need in NEEDS.get(code, NEEDS.get(code[:3], ())))


def apply(
    found: Sequence[Diagnostic], own: Source | None = None, judged: Callable[[str], bool] | None = None
) -> list[Diagnostic]:
    """The findings that no comment suppresses, and findings about the comments, sorted.

    Args:
        found: findings in any number of texts; each text's comments apply to the findings in it.
        own: the text whose comments are judged themselves; None judges none.
        judged: whether a code would have been found if it were there; an unused comment is only reported then.
    """
    comments: dict[tuple[str, str], Comments] = {}
    for source in [d.source for d in found] + ([own] if own is not None else []):
        if MARK in source.text and (source.name, source.text) not in comments:
            comments[source.name, source.text] = Comments(source)
    kept = []
    for diagnostic in found:
        of = comments.get((diagnostic.source.name, diagnostic.source.text))
        if of is None or not of.suppress(diagnostic):
            kept.append(diagnostic)
    if own is not None and (own.name, own.text) in comments:
        # More would be found if these were put right. After so many findings the last rules have not run.
        broken = any(always_on(d.code) for d in found) or any(CUT_SHORT in d.notes for d in found)
        kept += comments[own.name, own.text].complaints(kept, (lambda code: False) if broken else judged)
    return sorted(kept, key=lambda d: (d.source.name, d.span.start if d.span else -1, d.code, d.message))


class Comments:
    """The suppressing comments of one text."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.lines = Lines(source)
        self.comments: list[Comment] = []
        self._mistakes: list[Diagnostic] = []
        self._blankets: list[Comment] = []
        self._of: dict[str, list[Item]] = {}
        self._read_codes = 0
        opened: dict[str, Item] = {}
        for match in _COMMENT.finditer(source.text):
            if self._full or not self.lines.is_comment(match.start()):
                continue
            comment = self._read(match)
            if comment is not None:
                self._place(comment, opened)
                for item in comment.items:
                    self._of.setdefault(item.code or "", []).append(item)
            if self._read_codes > MOST_CODES:
                message = f"the comments of this file name more than {MOST_CODES:,} codes: the rest are not read"
                self._complain("SUP004", message, Span(match.start(), match.end("kind")))

    @property
    def _full(self) -> bool:
        """Whether there is no point in reading on."""
        return self._read_codes > MOST_CODES or len(self._mistakes) >= MOST_COMPLAINTS

    def _read(self, match: re.Match[str]) -> Comment | None:
        kind, codes = match["kind"].lower(), match["codes"] or ""
        if kind not in KINDS:
            near = closest(kind, KINDS, limit=1)
            if match["list"] is not None or near:  # otherwise a sentence that happens to start like this
                word = Span(*match.span("kind"))
                fix = [_safe(f"write `{near[0]}`", Edit(word, near[0]))] if near else []
                message = f"`{match['kind']}` is no way to suppress findings"
                self._complain("SUP004", message, word, fix, "" if fix else _FORMS)
            return None
        if match["list"] is not None and match["end"] is None:
            at = Span(match.start("list"), match.start("list") + 1)
            end = match.start("codes") + len(codes.rstrip())
            self._complain("SUP004", "`[` is never closed", at, [_safe("add `]`", Edit(Span(end, end), "]"))])
            return None
        items = [
            Item(word[0], Span(match.start("codes") + word.start(), match.start("codes") + word.end()))
            for word in islice(re.finditer(r"[^\s,]+", codes), MOST_CODES + 1 - self._read_codes)
        ]
        self._read_codes += len(items) or 1
        comment = Comment(kind, items, Span(*match.span()))
        (self.comments if items else self._blankets).append(comment)
        return comment if items else None

    def _place(self, comment: Comment, opened: dict[str, Item]) -> None:
        """Work out the lines that a comment covers."""
        line = self.source.position(comment.span.start)[0]
        for item in comment.items:
            if comment.kind == "ignore":
                item.first, item.last = self.lines.covered(comment.span.start)
            elif comment.kind == "disable":
                item.first, item.last = line, _END
                item.whole = self.lines.is_before_code(comment.span.start)
                opened.setdefault(item.code or "", item)
            elif item.code in opened:
                opened.pop(item.code).last = line - 1
                item.used = True
            elif item.code is not None and suppressible(item.code):
                message = f"`{item.text}` is enabled, but not disabled above"
                self._complain("SUP005", message, item.span, [self._removal(comment, item)])

    def suppress(self, diagnostic: Diagnostic) -> bool:
        """Whether a comment suppresses a finding; the comments that do are then used."""
        if not suppressible(diagnostic.code):
            return False
        span, position = diagnostic.span, self.source.position
        lines = None if span is None else (position(span.start)[0], position(max(span.start, span.end - 1))[0])
        covering = [item for item in self._of.get(diagnostic.code, ()) if item.covers(lines)]
        if covering and not any(item.used for item in covering):
            covering[-1].used = True  # of two that cover it, the nearer one is needed
        return bool(covering)

    def complaints(self, others: Sequence[Diagnostic], judged: Callable[[str], bool] | None = None) -> list[Diagnostic]:
        """Findings about the comments, after all others have been through `suppress`.

        Args:
            others: the findings that were not suppressed: a comment without codes may be meant for them.
            judged: whether a code would have been found if it were there; None: any.
        """
        for comment in self.comments:
            for item in comment.items:
                if not self._full:
                    self._judge(comment, item, judged)
        for comment in self._blankets:
            if len(self._mistakes) >= MOST_COMPLAINTS:
                break
            first, last = self.lines.covered(comment.span.start)
            codes = sorted(
                {
                    d.code
                    for d in others
                    if d.source.name == self.source.name and d.span is not None and suppressible(d.code)
                    and first <= d.source.position(d.span.start)[0] <= last
                }
            )  # fmt: skip
            fix = self._removal(comment, None)
            if codes and comment.kind == "ignore":
                name = f"[{', '.join(codes)}]"
                empty = self.source.slice(comment.span).find("[")
                at = Span(comment.span.start + empty, comment.span.end) if empty >= 0 else None
                end = comment.span.start + len(self.source.slice(comment.span).rstrip())
                fix = _safe(f"write `ignore{name}`", Edit(at or Span(end, comment.span.end), name))
            self._complain("SUP003", f"`{comment.kind}` names no code", comment.span, [fix])
        if len(self._mistakes) >= MOST_COMPLAINTS:
            complaint = self._mistakes[-1]
            complaint.notes = (*complaint.notes, "further comments are not looked at")
        return self._mistakes

    def _judge(self, comment: Comment, item: Item, judged: Callable[[str], bool] | None) -> None:
        removal = self._removal(comment, item)
        if item.code is None:
            from .codes import all_codes

            names = [*all_codes(), *(record.slug for record in all_codes().values())]
            near = closest(item.text.upper() if item.text[-1:].isdigit() else item.text.lower(), names)
            fixes = [removal] if not near else []
            if len(near) == 1:
                fixes = [_safe(f"write `{near[0]}`", Edit(item.span, near[0]))]
            listed = " or ".join(f"`{name}`" for name in near)
            help = f"did you mean {listed}?" if len(near) > 1 else ""
            self._complain("SUP002", f"no code is called `{item.text}`", item.span, fixes, help)
        elif not suppressible(item.code):
            self._complain("SUP006", f"`{item.text}` cannot be suppressed", item.span, [removal])
        elif not item.used and comment.kind != "enable" and (judged is None or judged(item.code)):
            where = "here" if comment.kind == "ignore" else "in this block"
            self._complain("SUP001", f"`{item.text}` is suppressed, but not found {where}", item.span, [removal])

    def _complain(self, code: str, message: str, span: Span, fixes: Sequence[Fix] = (), help: str = "") -> None:
        self._mistakes.append(Diagnostic(code, message, self.source, span, fixes=fixes, help=[help] if help else []))

    def _removal(self, comment: Comment, item: Item | None) -> Fix:
        """Take one code out of a comment, or the comment itself with its last code; further words in it stay."""
        text, source = self.source.text, comment.span
        if item is not None and len(comment.items) > 1:
            at = comment.items.index(item)
            if at + 1 < len(comment.items):
                span = Span(item.span.start, comment.items[at + 1].span.start)
            else:
                span = Span(comment.items[at - 1].span.end, item.span.end)
            return _safe(f"remove `{item.text}`", Edit(span, ""))
        line = self.source.position(source.start)[0]
        begin = self.source.line_starts[line - 1]
        content_end = begin + len(self.source.line(line))
        rest = text[source.end : content_end].strip()
        if rest and not rest.startswith("#"):
            return _safe("remove it", Edit(Span(source.start, source.end), "#"))
        start, end = source.start, content_end
        if rest:
            end = source.end + len(text[source.end : content_end]) - len(text[source.end : content_end].lstrip())
        elif text[begin:start].strip():
            start = begin + len(text[begin:start].rstrip())
        else:  # a line of its own goes with its line end
            start = begin
            end = self.source.line_starts[line] if line < len(self.source.line_starts) else len(text)
        return _safe("remove the comment", Edit(Span(start, end), ""))


def _safe(title: str, edit: Edit) -> Fix:
    """A fix that changes comments alone."""
    return Fix(title, [edit], Applicability.SAFE)


def additions(source: Source, found: Sequence[Diagnostic]) -> list[Edit]:
    """Edits that suppress findings: a comment behind the line where each one begins.

    Args:
        source: the text of a program.
        found: findings in it; those that cannot be suppressed are left out.
    """
    wanted: dict[int, set[str]] = {}
    for d in found:
        if suppressible(d.code):
            wanted.setdefault(source.position(d.span.start)[0] if d.span is not None else 0, set()).add(d.code)
    known = Comments(source) if MARK in source.text else None
    edits = []
    for line, codes in sorted(wanted.items()):
        listed = ", ".join(sorted(codes))
        if line == 0:
            edits.append(Edit(Span(0, 0), f"# splat: disable[{listed}]\n"))
            continue
        existing = [
            comment
            for comment in (known.comments if known is not None else [])
            if comment.kind == "ignore" and source.position(comment.span.start)[0] == line
        ]
        end = source.line_starts[line - 1] + len(source.line(line).rstrip())
        if existing:
            at = existing[-1].items[-1].span.end
            edits.append(Edit(Span(at, at), f", {listed}"))
        else:
            edits.append(Edit(Span(end, end), f"  # splat: ignore[{listed}]"))
    return edits
