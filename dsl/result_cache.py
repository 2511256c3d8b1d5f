"""Findings of files that have not changed, kept from one run of `check` to the next.

What is kept is what the checker found, before settings and comments choose from it, so that a kept result prints what
a fresh one would, byte for byte. An entry is found by everything that the result depends on: the text and its name,
what it is checked for, and this program's own rules. It is not trusted to be whole: one that is damaged is ignored.

Entries live in the user's cache folder and never beside the programs: a folder that was copied from elsewhere brings
no results of its own. There is one file for each project; it is replaced in one step, so that runs at the same time
cost each other at most some entries.
"""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import suppress
from hashlib import blake2b

from .diagnostics import Applicability, Diagnostic, Edit, Fix, Label, Severity
from .files import LOSS_LIMIT, Unreadable, located, read_text
from .source import Source, Span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

MAX_ENTRIES = 20_000
MAX_BYTES = 8 * 1024 * 1024  # of one project's file
MAX_ENTRY = 64 * 1024  # characters of one result; a file with more findings is checked every time
MAX_PROJECTS = 32
FORMAT = 1
_ENDING = ".results.json"
_MAX_OTHER = 16 * 1024  # characters of a text beside the checked one, such as that of a file that it uses

MARKERS = ("splatdsl.toml", "pyproject.toml", ".git")
"""What can make a folder that of a project, outside which no file is used."""

MAX_READS = 100

USE = re.compile(r'^[^\S\n]*use\b(?:[^\S\n]*"([^"\n]*)")?', re.MULTILINE)
"""A `use` at the beginning of a line, with its path if that stands on the same line."""


def folder() -> str:
    """Where results are kept: ``$SPLATDSL_CACHE_DIR``, or ``splatdsl`` in the user's cache folder."""
    given = os.environ.get("SPLATDSL_CACHE_DIR")
    if given:
        return given
    base = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    return os.path.join(base or os.path.join(os.path.expanduser("~"), ".cache"), "splatdsl")


def reads(name: str, text: str) -> dict[str, str] | None:
    """The other files that a program is made of: their real paths, with their texts.

    Args:
        name: the program's file; paths in it are relative to its folder.
        text: its text.

    Returns:
        None where that is uncertain: a file is missing, or a `use` is not written on one line.
    """
    found: dict[str, str] = {}
    pending = [(os.path.dirname(os.path.abspath(located(name))), text)]
    while pending:
        base, text = pending.pop()
        if "use" not in text:
            continue
        for match in USE.finditer(text):
            if match[1] is None or len(found) >= MAX_READS:
                return None
            path = os.path.realpath(os.path.join(base, match[1]))
            if path not in found:
                try:
                    found[path] = read_text(path, LOSS_LIMIT)
                except Unreadable:
                    return None
                pending.append((os.path.dirname(path), found[path]))
    return found


def surroundings(name: str, text: str) -> list[object] | None:
    """What findings in a program depend on beside its text and options; None where that is uncertain."""
    if "use" not in text:
        return []
    others = reads(name, text)
    if others is None:
        return None
    if not others:
        return []
    here = os.path.realpath(os.path.dirname(os.path.abspath(located(name))))
    marked = []
    while True:
        marked += [path for path in (os.path.join(here, marker) for marker in MARKERS) if os.path.exists(path)]
        above = os.path.dirname(here)
        if above == here:
            break
        here = above
    return [os.getcwd(), marked, sorted(others.items())]


class ResultCache:
    """The results of one project.

    Args:
        project: a folder that all runs over the same files agree on.
    """

    __slots__ = ("_entries", "_fresh", "_path", "_rules", "_used")

    def __init__(self, project: str) -> None:
        name = blake2b(os.path.realpath(project).encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
        self._path = os.path.join(folder(), name + _ENDING)
        self._rules = _rules()
        self._entries = self._load()
        self._fresh: dict[str, list[str]] = {}
        self._used: dict[str, None] = {}

    def key(self, name: str, text: str, options: Sequence[object]) -> str:
        """What an entry is found by.

        Args:
            name: the text's name in messages.
            text: the text.
            options: everything else that the findings depend on, as plain values.
        """
        whole = json.dumps([name, text, list(options)]).encode("utf-8", "surrogatepass")
        return blake2b(whole, digest_size=16, key=self._rules).hexdigest()

    def get(self, key: str, name: str, text: str) -> list[Diagnostic] | None:
        """The findings kept under a key; None if there are none, or they are damaged."""
        entry = self._fresh.get(key) or self._entries.get(key)
        try:
            if not isinstance(entry, list) or entry[0] != _sum(key, entry[1]):
                return None
            found = [] if entry[1] == "[[],[]]" else _decode(entry[1], Source(text, name))
        except (ValueError, TypeError, KeyError, IndexError):
            return None
        self._used[key] = None
        return found

    def put(self, key: str, name: str, text: str, found: Sequence[Diagnostic]) -> None:
        """Keep findings, unless they hold more than an entry may."""
        payload = _encode(found, Source(text, name))
        if payload is not None and len(payload) <= MAX_ENTRY:
            self._fresh[key] = [_sum(key, payload), payload]

    @property
    def fresh(self) -> dict[str, list[str]]:
        """The entries that are new since the cache was read."""
        return self._fresh

    def add(self, entries: dict[str, list[str]]) -> None:
        """Take over what another process has found."""
        self._fresh.update(entries)
        self._entries.update(entries)

    def save(self) -> None:
        """Write what is new. A folder that cannot be written is no reason to fail."""
        if not self._fresh:
            return
        entries = self._load()  # what another run has written since
        for key in self._used:
            if key in entries:
                entries[key] = entries.pop(key)  # used last, dropped last
        entries.update(self._fresh)
        total = 0
        kept: dict[str, Any] = {}
        for key, entry in reversed(entries.items()):
            total += len(key) + len(str(entry)) + 8
            if len(kept) >= MAX_ENTRIES or total > MAX_BYTES:
                break
            kept[key] = entry
        ordered = dict(reversed(kept.items()))
        whole = json.dumps({"format": FORMAT, "rules": self._rules.hex(), "entries": ordered}, separators=(",", ":"))
        temporary = f"{self._path}.{os.getpid()}.tmp"
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            _drop_projects(os.path.dirname(self._path), self._path)
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(whole)
            os.replace(temporary, self._path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)

    def _load(self) -> dict[str, Any]:
        try:
            with open(self._path, "rb") as file:
                data = file.read(2 * MAX_BYTES)
            whole = json.loads(data)
            fits = whole["format"] == FORMAT and whole["rules"] == self._rules.hex()
            entries = whole["entries"] if fits else {}
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return {}
        return entries if isinstance(entries, dict) else {}


KERNELS = ("kernels", "triton")
"""Folders in which the compiler keeps what it made of losses."""


def clean() -> tuple[str, int]:
    """Remove all kept results and compiled kernels: the folder, and how many were removed. Other files in it stay."""
    from shutil import rmtree  # not needed by anything else here, and `check` starts in no time

    where, removed = folder(), 0
    try:
        names = sorted(os.listdir(where))
    except OSError:
        return where, 0
    for name in names:
        if name.endswith((_ENDING, ".tmp")) and _ENDING in name:
            with suppress(OSError):
                os.unlink(os.path.join(where, name))
                removed += 1
    for name in KERNELS:
        with suppress(OSError):
            removed += len(os.listdir(os.path.join(where, name)))
            rmtree(os.path.join(where, name), ignore_errors=True)
    with suppress(OSError):  # something else is in it
        os.rmdir(where)
    return where, removed


def _drop_projects(where: str, keep: str) -> None:
    """Make room for one more project: those that were written longest ago go."""
    paths = [os.path.join(where, name) for name in os.listdir(where) if name.endswith(_ENDING)]
    if keep in paths or len(paths) < MAX_PROJECTS:
        return
    ages = []
    for path in paths:
        with suppress(OSError):
            ages.append((os.stat(path).st_mtime_ns, path))
    for _, path in sorted(ages)[: len(paths) - MAX_PROJECTS + 1]:
        with suppress(OSError):
            os.unlink(path)


def _rules() -> bytes:
    """A hash of everything in this package that decides what is found."""
    digest = blake2b(f"{FORMAT} {sys.version_info[:2]}".encode(), digest_size=16)
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for part in ("dsl", "grammar"):
        for where, folders, names in os.walk(os.path.join(package, part)):
            folders[:] = sorted(name for name in folders if name != "__pycache__")
            for name in sorted(names):
                path = os.path.join(where, name)
                digest.update(path[len(package) :].encode("utf-8", "surrogateescape"))
                try:
                    with open(path, "rb") as file:
                        data = file.read()
                except OSError:
                    data = os.urandom(16)  # unknown rules: nothing kept is used
                digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def _sum(key: str, payload: str) -> str:
    return blake2b(f"{key} {payload}".encode(), digest_size=8).hexdigest()


def _encode(found: Sequence[Diagnostic], own: Source) -> str | None:
    """The findings as text; None if they refer to texts that an entry cannot hold."""
    others: list[Source] = []

    def number(source: Source | None) -> int:
        if source is None:
            return -1
        if source.name == own.name and source.text == own.text:
            return 0
        for i, other in enumerate(others, start=1):
            if other is source:
                return i
        others.append(source)
        return len(others)

    def ends(span: Span | None) -> list[int] | None:
        return [span.start, span.end] if span is not None else None

    rows = [
        [
            d.code,
            d.message,
            number(d.source),
            ends(d.span),
            d.severity.value,
            d.caption,
            [[label.text, number(label.source), ends(label.span)] for label in d.labels],
            d.notes,
            d.help,
            [[f.title, f.applicability.value, [[ends(e.span), e.text] for e in f.edits]] for f in d.fixes],
        ]
        for d in found
    ]
    if any(len(other.text) > _MAX_OTHER for other in others):
        return None
    return json.dumps([[[other.name, other.text] for other in others], rows], separators=(",", ":"))


def _decode(payload: str, own: Source) -> list[Diagnostic]:
    """The findings of an entry.

    Raises:
        ValueError, TypeError, KeyError, IndexError: it is not one.
    """
    from .codes import all_codes

    others, rows = json.loads(payload)
    sources = [own, *(Source(text, name) for name, text in others)]
    found = []
    for code, message, source, span, severity, caption, labels, notes, help, fixes in rows:
        if code not in all_codes():
            raise ValueError(code)
        found.append(
            Diagnostic(
                code,
                message,
                sources[source],
                _span(span),
                severity=Severity(severity),
                caption=caption,
                labels=[
                    Label(_place(at), text, sources[number] if number >= 0 else None) for text, number, at in labels
                ],
                notes=notes,
                help=help,
                fixes=[
                    Fix(title, [Edit(_place(at), text) for at, text in edits], Applicability(applicability))
                    for title, applicability, edits in fixes
                ],
            )
        )
    return found


def _place(ends: list[int]) -> Span:
    start, end = ends
    return Span(int(start), int(end))


def _span(ends: list[int] | None) -> Span | None:
    return None if ends is None else _place(ends)
