"""Reading settings files and ``--config`` arguments; every mistake in one of them is reported with its place."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from . import settings_select as select
from . import settings_toml as toml
from .diagnostics import Diagnostic, LossError, Sink
from .files import Unreadable, read_text
from .manifest import RENDERERS
from .settings import SETTINGS_LIMIT, SHARED_FILE, CommandLine, Settings
from .source import Source, Span
from .suggest import did_you_mean

KEYS = {
    "extend": "the path of another settings file to build on",
    "select": "codes, slugs, families or groups that are on, in place of the default",
    "extend-select": "codes that are on as well",
    "ignore": "codes that are off",
    "pedantic": "whether pedantic codes are on",
    "fail-level": "the least severity that makes the exit status 1: `error` or `warning`",
    "per-file-ignores": "a table of patterns, each with the codes that are off there",
    "renderer": "the renderer to check programs for",
    "steps": "the length of training to check programs for",
    "exclude": "patterns of paths that a search through folders leaves out",
}
"""Every key, and what it holds."""

_LISTS = ("select", "extend-select", "ignore", "exclude")
_TEXTS = ("extend", "fail-level", "renderer")
FAIL_LEVELS = ("error", "warning")

MOST_STEPS = 10**12
MOST_ENTRIES = 1_000
MOST_PROBLEMS = 50
MOST_FILES = 20
LONGEST = 500
"""Limits of settings: steps of a training, entries of a list or table, mistakes that are reported, files that build on
one another, and characters of a pattern or path."""


class Origin(NamedTuple):
    """Where a value of the settings was written."""

    source: Source
    span: Span | None

    def __str__(self) -> str:
        line = f":{self.source.position(self.span.start)[0]}" if self.span and not self._option else ""
        return f"{self.source.name}{line}"

    @property
    def _option(self) -> bool:
        return self.source.name.startswith("--")


class _Table:
    """One text's settings, checked."""

    def __init__(self, source: Source, folder: str, values: dict[str, Any], above: tuple[str, ...]) -> None:
        self.source, self.folder, self.values, self._above = source, folder, values, above
        self.layer = select.Layer()
        self.ignores: dict[str, frozenset[str]] = {}

    def place(self, key: str) -> Span | None:
        return toml.place_of(self.source, (*self._above, key))

    def check(self, sink: Sink) -> None:
        """Report unknown keys and wrong values; leave out what is wrong."""
        for key in list(self.values):
            if len(sink.items) >= MOST_PROBLEMS:
                return
            problem = _problem(key, self.values[key])
            if problem is None:
                continue
            value = self.values.pop(key)
            code, message, help, at = problem
            span = self.place(key)
            if at is not None and isinstance(value, (str, list)):
                span = toml.value_of(self.source, span, at)
            sink.add(Diagnostic(code, message, self.source, span, help=[help] if help else []))
        lists = {key: self._selectors(key, self.values[key], sink) for key in _LISTS[:3] if key in self.values}
        self.layer = select.Layer(
            lists.get("select"), lists.get("extend-select", ()), lists.get("ignore", ()), self.values.get("pedantic")
        )
        for pattern, words in self.values.get("per-file-ignores", {}).items():
            found = self._selectors("ignore", words, sink, ("per-file-ignores", pattern))
            self.ignores[pattern] = frozenset(code for s in found for code in s.codes if not select.always_on(code))

    def _selectors(self, key: str, words: list[str], sink: Sink, near: tuple[str, ...] = ()) -> list[select.Selector]:
        found = []
        for word in words:
            if len(sink.items) >= MOST_PROBLEMS:
                break
            selector = select.parse(word)
            message, help = "", ""
            if selector is None:
                message, _, help = select.unknown(word).partition("; ")
            elif key == "ignore":
                message = select.without_effect(selector) or ""
            if message:
                place = toml.place_of(self.source, (*self._above, *(near or (key,))))
                span = toml.value_of(self.source, place, word)
                sink.add(Diagnostic("CFG103", message, self.source, span, help=[help] if help else []))
            elif selector is not None:
                found.append(selector)
        return found


_Problem = tuple[str, str, "str | None", "str | None"]
"""Code, message, help, and the value to point at."""


def _problem(key: str, value: Any) -> _Problem | None:
    """What is wrong with a key or the form of its value."""
    if key not in KEYS:
        plain = key.replace("_", "-")
        help = f"did you mean `{plain}`?" if plain in KEYS else did_you_mean(key, KEYS)
        return "CFG102", f"`{key}` is not a key of the settings", help or f"the keys are {', '.join(KEYS)}", None
    wanted, fine = "", True
    if key in _LISTS:
        wanted, fine = "a list of texts", _is_texts(value)
    elif key in _TEXTS:
        wanted, fine = "a text", isinstance(value, str)
    elif key == "pedantic":
        wanted, fine = "`true` or `false`", isinstance(value, bool)
    elif key == "steps":
        wanted, fine = "a whole number", isinstance(value, int) and not isinstance(value, bool)
    elif key == "per-file-ignores":
        wanted = "a table of patterns, each with a list of codes"
        fine = isinstance(value, dict) and all(map(_is_texts, value.values()))
    if not fine:
        example = '; write `["..."]`' if key in _LISTS and isinstance(value, str) else ""
        return "CFG102", f"`{key}` takes {wanted}, not {_what(value)}", f"it is {KEYS[key]}{example}", None
    if key == "steps" and value < 1:
        return "CFG103", f"`steps` is at least 1, not {str(value)[:20]}", None, None
    if key == "steps" and value > MOST_STEPS:
        return "CFG103", f"`steps` is at most {MOST_STEPS:,}", None, None
    if isinstance(value, (list, dict)) and len(value) > MOST_ENTRIES:
        return "CFG103", f"`{key}` has more than {MOST_ENTRIES:,} entries", None, None
    patterns = value if key in ("exclude", "per-file-ignores") else ()
    if any(len(pattern) > LONGEST for pattern in patterns) or (isinstance(value, str) and len(value) > LONGEST):
        return "CFG103", f"`{key}` holds a text of more than {LONGEST} characters", None, None
    if key == "extend" and "\0" in value:
        return "CFG103", "`extend` is not a path: it holds a zero byte", None, None
    choices = {"fail-level": FAIL_LEVELS, "renderer": tuple(sorted(RENDERERS))}.get(key)
    if choices and value not in choices:
        help = did_you_mean(value, choices) or f"it is one of {', '.join(f'`{c}`' for c in choices)}"
        return "CFG103", f"`{value}` is not a value of `{key}`", help, value
    return None


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _what(value: Any) -> str:
    names = {bool: "a flag", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a table"}
    if isinstance(value, list) and value and not _is_texts(value):
        return "a list of other things"
    return names.get(type(value), "a date")


def load(file: str | None, line: CommandLine) -> Settings:
    """The settings that a file, the files that it builds on and the command line give together.

    Raises:
        LossError: one of them has mistakes; all are reported.
    """
    sink = Sink()
    tables: list[_Table] = []
    inline = []
    for text in line.configs:
        if "=" in text and not text.endswith(".toml"):
            inline.append(text)
        else:
            file = text
    if file is not None:
        tables += _read(file, sink, [])
    tables += _inline(inline, sink)
    if sink.items:
        raise LossError(sink.sorted())

    origins: dict[str, Origin] = {}
    values: dict[str, Any] = {}
    ignores: dict[tuple[str, str], frozenset[str]] = {}
    exclude: list[tuple[str, str]] = []
    for table in tables:
        values |= table.values
        origins |= {key: Origin(table.source, table.place(key)) for key in table.values if key != "extend"}
        ignores |= {(pattern, table.folder): codes for pattern, codes in table.ignores.items()}
        if "exclude" in table.values:
            exclude = [(pattern, table.folder) for pattern in table.values["exclude"]]
    layers = [table.layer for table in tables] + ([line.codes] if line.codes is not None else [])
    for key in ("fail-level", "renderer", "steps"):
        given = getattr(line, key.replace("-", "_"))
        if given is not None:
            values[key] = given
            origins[key] = Origin(Source("", f"--{key}"), None)
    return Settings(
        select.resolve(layers),
        values.get("fail-level", "warning"),
        values.get("renderer"),
        values.get("steps"),
        [(pattern, folder, codes) for (pattern, folder), codes in ignores.items()],
        exclude,
        file,
        origins,
        line.codes,
    )


def _read(path: str, sink: Sink, below: list[_Table], asked: Origin | None = None) -> list[_Table]:
    """The tables of a file and of those that it builds on, farthest first."""
    shown = os.path.relpath(path) if not os.path.relpath(path).startswith("..") else path
    real = os.path.realpath(path)
    refused, help = "", ""
    if any(os.path.realpath(table.source.name) == real for table in below):
        refused, help = f"`{shown}` builds on itself", "remove `extend`"
    elif len(below) >= MOST_FILES:
        refused = f"more than {MOST_FILES} settings files build on one another"
    elif asked is not None and not real.endswith(".toml"):  # a report about any other file would show what it holds
        refused, help = f"`{shown}` is not a `.toml` file", "name a settings file"
    elif asked is not None and not _in_project(real, os.path.dirname(os.path.realpath(below[0].source.name))):
        refused, help = f"`{shown}` is outside the project's folder", "copy the file into the project"
    if refused:
        place = asked or (below[-1].source, None)
        sink.add(Diagnostic("CFG105", refused, *place, help=[help] if help else []))
        return []
    try:
        source = Source(read_text(path, SETTINGS_LIMIT), shown)
    except Unreadable as reason:
        at: tuple[Source, Span | None] = asked if asked is not None else (Source("", shown), None)
        sink.add(Diagnostic("CFG105", f"the settings file `{shown}` {reason}", *at))
        return []
    try:
        values = toml.parse(source)
    except LossError as problem:
        sink.extend(problem.diagnostics)
        return []
    above: tuple[str, ...] = ()
    if os.path.basename(path) == SHARED_FILE:
        above = toml.TABLE
        for name in above:
            values = values.get(name, {})
            if not isinstance(values, dict):
                message = f"`{'.'.join(above)}` is not a table"
                sink.add(Diagnostic("CFG102", message, source, toml.place_of(source, above)))
                return []
    elif isinstance(values.get("tool"), dict):
        inner = values.pop("tool")
        span = toml.place_of(source, ("tool", *list(inner)[:1]))
        message = f"`{os.path.basename(path)}` has no `[tool]` tables: its keys stand at the top level"
        remedy = f"remove the line `[tool.splatdsl]`, or move it to `{SHARED_FILE}`"
        sink.add(Diagnostic("CFG104", message, source, span, help=[remedy]))
    table = _Table(source, os.path.dirname(os.path.abspath(path)), values, above)
    table.check(sink)
    base = table.values.get("extend")
    if base is None:
        return [table]
    span = toml.value_of(source, table.place("extend"), base)
    return [*_read(os.path.join(os.path.dirname(path), base), sink, [*below, table], Origin(source, span)), table]


def _in_project(real: str, folder: str) -> bool:
    """Whether a file is in the repository that a folder is in; outside of repositories any file will do."""
    while not os.path.exists(os.path.join(folder, ".git")):
        above = os.path.dirname(folder)
        if above == folder:
            return True
        folder = above
    return real.startswith(folder.rstrip(os.sep) + os.sep)


def _inline(texts: list[str], sink: Sink) -> list[_Table]:
    """The tables of ``--config key=value`` texts."""
    tables = []
    for text in texts:
        source = Source(text, "--config")
        try:
            values = toml.parse(source)
        except LossError as problem:
            for found in problem.diagnostics:
                quote = "texts stand in quotes: --config 'fail-level=\"error\"'"
                sink.add(Diagnostic(found.code, found.message, source, found.span, help=[quote]))
            continue
        if "extend" in values:
            message = "`extend` belongs in a settings file: name the file itself with --config"
            sink.add(Diagnostic("CFG102", message, source, toml.place_of(source, ("extend",))))
            continue
        table = _Table(source, os.getcwd(), values, ())
        table.check(sink)
        tables.append(table)
    return tables
