"""TOML texts of settings, and where their keys and values stand: the parser of the standard library has no places."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from .diagnostics import Diagnostic, LossError
from .source import Source, Span

TABLE = ("tool", "splatdsl")
MOST_PARTS = 50
_WORDS = re.compile(r"""(\.)|[\w-]+|"[^"]*"|'[^']*'|[ \t]+|(.)""")


def parse(source: Source) -> dict[str, Any]:
    """The values of a TOML text.

    Raises:
        LossError: it is not valid TOML.
    """
    toml = _parser(source)
    text = source.text.replace("\r\n", "\n")
    if text.count(".") > MOST_PARTS and _deep_key(text):
        message = f"a key of the settings has more than {MOST_PARTS} parts"
        raise LossError([Diagnostic("CFG101", message, source, None)])
    try:
        values: dict[str, Any] = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise LossError([_syntax_error(source, str(error))]) from None
    except ValueError:  # whole numbers of thousands of digits are no mistake of the syntax
        raise LossError([Diagnostic("CFG101", "the settings hold a number of too many digits", source, None)]) from None
    except RecursionError:
        raise LossError([Diagnostic("CFG101", "the settings nest too deeply", source, None)]) from None
    return values


def _deep_key(text: str) -> bool:
    """Whether a key has very many parts, for which the parser would need memory without end."""
    parts = 0
    for line in text.split("\n"):
        if line.count(".") <= MOST_PARTS:
            continue
        for word in _WORDS.finditer(line):
            parts = parts + 1 if word[1] else 0 if word[2] else parts
            if parts > MOST_PARTS:
                return True
        parts = 0
    return False


def _parser(source: Source) -> Any:
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        try:
            import tomli as tomllib  # type: ignore[import-not-found,no-redef,unused-ignore]
        except ModuleNotFoundError:
            message = "settings cannot be read: Python 3.10 needs the package `tomli` for it"
            raise LossError([Diagnostic("CFG101", message, source, None, help=["pip install tomli"])]) from None
    return tomllib


def has_table(text: bytes) -> bool:
    """Whether the text of a ``pyproject.toml`` has settings for this tool; also if it does but is not valid TOML."""
    source = Source(text.decode("utf-8", "replace"))
    try:
        tool = parse(source).get(TABLE[0])
    except LossError:
        return "[tool.splatdsl" in source.text
    return isinstance(tool, dict) and TABLE[1] in tool


def _syntax_error(source: Source, problem: str) -> Diagnostic:
    reason, _, place = problem.partition(" (at ")
    match = re.match(r"line (\d+), column (\d+)", place)
    span = None
    if match is not None:
        start = source.line_starts[min(int(match[1]), len(source.line_starts)) - 1] + int(match[2]) - 1
        span = Span(start, start + 1)
    elif place:
        span = Span(len(source.text), len(source.text))
    return Diagnostic("CFG101", f"this is not valid TOML: {reason[:1].lower()}{reason[1:]}", source, span)


_HEADER = re.compile(r"\s*\[\[?([^\[\]]*)\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"\n]*"|'[^'\n]*')(?:\s*\.\s*(?:[\w-]+|"[^"\n]*"|'[^'\n]*'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"[^"\n]*"|'[^'\n]*'""")


def place_of(source: Source, keys: tuple[str, ...]) -> Span | None:
    """Where a key is written, for instance ``("tool", "splatdsl", "select")``; that of a table above it if it is not.

    Found line by line: good enough to point at, and never wrong about which file it is.
    """
    best: tuple[int, Span] | None = None
    for named, is_header, written, span, end in _keys(source.text):
        if named == keys:
            return Span(span.end - len(written.rpartition(".")[2].strip()), span.end) if "." in written else span
        if keys[: len(named)] == named and (best is None or len(named) > best[0]):
            best = len(named), span
            at = -1 if is_header else source.text.find(keys[len(named)], span.end, end)
            if at >= 0:  # an inline table
                best = len(named), Span(at, at + len(keys[len(named)]))
    return best[1] if best else None


@lru_cache(maxsize=8)
def _keys(text: str) -> list[tuple[tuple[str, ...], bool, str, Span, int]]:
    """The keys that begin a line: the name, whether it is a header, its text and place, and where the line ends."""
    found = []
    source = Source(text)
    inside: tuple[str, ...] = ()
    for number, start in enumerate(source.line_starts, start=1):
        line = source.line(number)
        above: tuple[str, ...] = ()
        match = _HEADER.match(line)
        if match is None:
            match, above = _KEY.match(line), inside
        if match is None:
            continue
        named = above + tuple(part.strip("\"'") for part in _PART.findall(match[1]))
        if match.re is _HEADER:
            inside = named
        span = Span(start + match.start(1), start + match.end(1))
        found.append((named, match.re is _HEADER, match[1], span, start + len(line)))
    return found


def value_of(source: Source, key: Span | None, text: str) -> Span | None:
    """Where a text stands among the values of a key, or the key's own place."""
    if key is None:
        return None
    at = re.compile(rf"""["']{re.escape(text)}["']""").search(source.text, key.end)
    return Span(at.start(), at.end()) if at is not None else key
