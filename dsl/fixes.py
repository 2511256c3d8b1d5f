"""Applying fixes to texts: never two that overlap, never one that eats a comment or leaves a text that parses worse."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from .diagnostics import Applicability, Diagnostic, Edit, Fix, Severity, Sink
from .files import ZOO
from .source import Source, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MAX_ROUNDS = 50  # a statement shows one syntax error at a time
MAX_READ = 1_000_000  # characters that are checked again after fixes; of a long text some findings may be left


class Outcome(NamedTuple):
    """What fixing one text came to.

    Attributes:
        text: the new text.
        found: the findings that are left in it.
        fixed: the code of each finding that was fixed, in order.
        problems: fixes that had to be taken back, a sentence for each: bugs of this program.
    """

    text: str
    found: list[Diagnostic]
    fixed: list[str]
    problems: list[str]


def best(diagnostic: Diagnostic, unsafe: bool) -> Fix | None:
    """The fix of a finding that may be applied: the first safe one, or else the first unsafe one where asked for."""
    for wanted in (Applicability.SAFE, Applicability.UNSAFE)[: 2 if unsafe else 1]:
        for fix in diagnostic.fixes:
            if fix.applicability is wanted and fix.edits:
                return fix
    return None


def count(found: Iterable[Diagnostic]) -> tuple[int, int]:
    """How many findings have a safe fix, and how many others an unsafe one."""
    safe = unsafe = 0
    for diagnostic in found:
        if best(diagnostic, unsafe=False) is not None:
            safe += 1
        elif best(diagnostic, unsafe=True) is not None:
            unsafe += 1
    return safe, unsafe


def fix_text(text: str, name: str, check: Callable[[str], list[Diagnostic]], unsafe: bool) -> Outcome:
    """Apply fixes until none is left. A fix after which its finding is still there is taken back.

    Args:
        text: the text, without a byte-order mark.
        name: the name of its source: only findings in it are fixed here.
        check: gives the findings of a text.
        unsafe: whether to apply unsafe fixes too.
    """
    problems: list[str] = []
    at = Outcome(text, check(text), [], problems)
    refused: set[tuple[str, str, str]] = set()
    made: list[_Made] = []
    rounds: list[tuple[Outcome, list[_Made]]] = []
    read = 0
    for _ in range(MAX_ROUNDS):
        read += len(at.text)
        if read > MAX_READ:
            return at
        source = Source(at.text, name)
        chosen = _choose(source, at.found, unsafe, refused)
        if not chosen:
            return at
        after = _changed(source, [fix for _, fix in chosen])
        if _worse(source, after):
            # One of them is wrong. Alone it shows which: the others then go on.
            for diagnostic, fix in chosen:
                after = _changed(source, [fix])
                if not _worse(source, after):
                    chosen = [(diagnostic, fix)]
                    break
                refused.add(_key(diagnostic, fix))
                problems.append(f"the fix of {diagnostic.code} on line {diagnostic.line} breaks {name}: {fix.title}")
            else:
                continue
        if after == at.text or any(after == before.text for before, _ in rounds):
            problems.append(f"the fixes of {', '.join(sorted({d.code for d, _ in chosen}))} undo each other")
            return at
        now = Outcome(after, check(after), [*at.fixed, *(d.code for d, _ in chosen)], problems)
        wrong = _with_new_errors(at, now, chosen, check)
        for diagnostic, fix in wrong:
            refused.add(_key(diagnostic, fix))
            problems.append(f"the fix of {diagnostic.code} on line {diagnostic.line} makes new errors: {fix.title}")
        if wrong:
            continue
        edits = [edit for _, fix in chosen for edit in fix.edits]
        rounds.append((at, made))
        made = [one.after(edits) for one in made] + [_Made(len(rounds) - 1, d, fix, edits) for d, fix in chosen]
        back = [one for one in made if one.is_in(now, name, unsafe)]
        at = now
        if back:
            # What has been done since the first of them is not kept either: it was made for the wrong text.
            first = min(one.round for one in back)
            at, made = rounds[first]
            del rounds[first:]
            for one in back:
                refused.add(_key(one.diagnostic, one.fix))
                line = f"{one.diagnostic.code} on line {one.diagnostic.line}"
                problems.append(f"the fix of {line} does not remove it from {name}: {one.fix.title}")
    problems.append(f"{MAX_ROUNDS} rounds of fixes did not end")
    return rounds[0][0] if rounds else at


class _Made:
    """A fix that was made in some round, and where in the text of now it has written."""

    def __init__(self, round: int, diagnostic: Diagnostic, fix: Fix, edits: Sequence[Edit]) -> None:
        self.round, self.diagnostic, self.fix = round, diagnostic, fix
        self.written = [Span(start := _moved(e.span.start, edits), start + len(e.text)) for e in fix.edits]
        self.place = _widened(diagnostic.span or Span(0, 0), edits)

    def after(self, edits: Sequence[Edit]) -> _Made:
        """The same after further edits."""
        made = _Made(self.round, self.diagnostic, self.fix, ())
        made.written, made.place = [_widened(span, edits) for span in self.written], _widened(self.place, edits)
        return made

    def is_in(self, now: Outcome, name: str, unsafe: bool) -> bool:
        """Whether the finding is there still or again, rather than another one like it that has a fix of its own."""
        if self.diagnostic.code[:3] == "SYN":
            return False  # a statement shows one syntax error at a time, so the next may well read the same
        for d in now.found:
            if (d.code, d.message) != (self.diagnostic.code, self.diagnostic.message) or d.source.name != name:
                continue
            span, fix = d.span or Span(0, 0), best(d, unsafe)
            near = self.place.start <= span.start < max(self.place.end, self.place.start + 1)
            if near and (fix is None or any(_near(e.span, w) for e in fix.edits for w in self.written)):
                return True
        return False


def _near(a: Span, b: Span) -> bool:
    return a.start <= b.end and b.start <= a.end


def _with_new_errors(
    before: Outcome, now: Outcome, chosen: list[tuple[Diagnostic, Fix]], check: Callable[[str], list[Diagnostic]]
) -> list[tuple[Diagnostic, Fix]]:
    """The fixes of warnings to blame where a program has more errors than it had.

    Beside what an error hid there may be others, so fixes of errors are not to blame.
    """
    most = _errors(before.found)
    if _errors(now.found) <= most or any(d.severity is Severity.ERROR for d, _ in chosen):
        return []
    source = Source(before.text, chosen[0][0].source.name)
    alone = [one for one in chosen if len(chosen) > 1 and _errors(check(_changed(source, [one[1]]))) > most]
    return alone or chosen


def _errors(found: Sequence[Diagnostic]) -> int:
    return sum(d.severity is Severity.ERROR for d in found)


def _widened(span: Span, edits: Sequence[Edit]) -> Span:
    """A span after edits, with what they write at its ends."""
    return Span(_moved(span.start, edits), _moved(span.end, edits, behind=True))


def _moved(offset: int, edits: Sequence[Edit], behind: bool = False) -> int:
    """Where a place of a text is after edits: before or behind what is written at the place itself."""
    by = 0
    for edit in edits:
        if edit.span.end < offset or (edit.span.end == offset and (behind or edit.span.start < edit.span.end)):
            by += len(edit.text) - (edit.span.end - edit.span.start)
        elif edit.span.start < offset:  # the place itself was replaced
            by += (len(edit.text) if behind else 0) - (offset - edit.span.start)
    return offset + by


def _key(diagnostic: Diagnostic, fix: Fix) -> tuple[str, str, str]:
    return diagnostic.code, diagnostic.message, fix.title


def _choose(
    source: Source, found: Sequence[Diagnostic], unsafe: bool, refused: set[tuple[str, str, str]]
) -> list[tuple[Diagnostic, Fix]]:
    """Findings of this text with a fix for each, such that no two touch the same place."""
    chosen: list[tuple[Diagnostic, Fix]] = []
    taken: list[Edit] = []
    for diagnostic in found:
        if diagnostic.source.name != source.name or diagnostic.source.text != source.text:
            continue
        fix = best(diagnostic, unsafe)
        if fix is None or _key(diagnostic, fix) in refused:
            continue
        if not _well_formed(source, fix) or any(_touch(a, b) for a in fix.edits for b in taken):
            continue
        if diagnostic.code[:3] != "SUP" and any(_eats_comment(source, edit) for edit in fix.edits):
            continue
        chosen.append((diagnostic, fix))
        taken += fix.edits
    return chosen


def _well_formed(source: Source, fix: Fix) -> bool:
    edits = sorted(fix.edits, key=lambda e: e.span.start)
    inside = all(0 <= e.span.start <= e.span.end <= len(source.text) for e in edits)
    return inside and not any(_touch(a, b) for a, b in pairwise(edits))


def _touch(a: Edit, b: Edit) -> bool:
    """Whether two edits overlap, or stand so close that their order would matter."""
    if a.span.start == a.span.end or b.span.start == b.span.end:
        return a.span.start <= b.span.end and b.span.start <= a.span.end
    return a.span.start < b.span.end and b.span.start < a.span.end


def changed(text: str, edits: Iterable[Edit]) -> str:
    """A text with edits that do not overlap; inserted line ends are of the text's own kind."""
    windows = "\r\n" in text
    for edit in sorted(edits, key=lambda e: (e.span.start, e.span.end), reverse=True):
        new = edit.text.replace("\n", "\r\n") if windows else edit.text
        text = text[: edit.span.start] + new + text[edit.span.end :]
    return text


def _changed(source: Source, fixes: Iterable[Fix]) -> str:
    return changed(source.text, [edit for fix in fixes for edit in fix.edits])


def comments(source: Source) -> list[Span]:
    """Where the comments of a program stand."""
    from .lexer import scan

    text, found, at = source.text, list[Span](), 0
    ends = [(start, end) for _, _, start, end in scan(text)] + [(len(text), len(text))]
    for start, end in ends:
        sign = text.find("#", at, start)
        if sign >= 0:  # between two tokens there are only blanks and one comment: a line end is a token
            found.append(Span(sign, sign + len(text[sign:start].rstrip())))
        at = max(at, end)
    return found


def _eats_comment(source: Source, edit: Edit) -> bool:
    if "#" not in source.slice(edit.span):
        return False
    return any(
        edit.span.start < comment.end and comment.start < edit.span.end and source.slice(comment) not in edit.text
        for comment in comments(source)
    )


def _worse(source: Source, after: str) -> bool:
    """Whether a text parses worse than the one it came from, or has lost a comment that suppresses nothing."""
    changed = Source(after, source.name)
    if _syntax_errors(changed) > _syntax_errors(source):
        return True
    if "#" not in source.text:
        return False
    left = [changed.slice(comment) for comment in comments(changed)]
    for comment in comments(source):
        text = source.slice(comment)
        if text in left:
            left.remove(text)
        elif "splat:" not in text:
            return True
    return False


def _syntax_errors(source: Source) -> int:
    from .parse import parse

    sink = Sink()
    parse(source, sink)
    return len(sink.items)


class Unwritable(Exception):
    """Why a file was not written; its text completes a sentence that begins with the file's name."""


def write(path: str, text: str, before: bytes) -> None:
    """Replace a file's text in one step: whoever reads it sees the old text or the new one, never a part.

    A link stays a link, and permissions stay. A byte-order mark of the old text is kept.

    Args:
        path: the file.
        text: the new text, without a byte-order mark.
        before: what the file held when it was checked.

    Raises:
        Unwritable: it cannot be written, or has been changed by someone else since.
    """
    if path.startswith(ZOO):
        raise Unwritable("comes with splatdsl and is not written to")
    mark = b"\xef\xbb\xbf"
    data = (mark if before.startswith(mark) else b"") + text.encode("utf-8")
    real = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(real), f".{os.path.basename(real)}.{os.getpid()}.tmp")
    try:
        with open(real, "rb") as file:
            if file.read(len(before) + 1) != before:
                raise Unwritable("has been changed since it was checked; nothing was written")
        mode = os.stat(real).st_mode & 0o7777
        if not os.access(real, os.W_OK):
            raise PermissionError(13, "permission denied")
        try:
            with open(temporary, "wb") as file:
                file.write(data)
            os.chmod(temporary, mode)
            os.replace(temporary, real)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise Unwritable(f"cannot be written: {(error.strerror or str(error)).lower()}") from None
