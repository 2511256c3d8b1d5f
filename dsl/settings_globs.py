"""Patterns of paths in settings: ``exclude`` and ``per-file-ignores``."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache

_FOLDERS, _ANYTHING, _NAME = "(?:[^/]+/)*", ".*", "[^/]*"
_REPEATED = (_FOLDERS, _ANYTHING, _NAME)


def matches(pattern: str, base: str, path: str, folders: bool = False) -> bool:
    """Whether a path is meant by a pattern.

    A pattern without a slash is compared with the path's last part; one with a slash with the path as seen from
    ``base``, the folder of the settings. ``*`` and ``?`` stay inside one part, ``**`` stands for any number of parts.

    Args:
        pattern: the pattern, with forward slashes.
        base: an absolute folder.
        path: an absolute path.
        folders: whether a pattern also means everything below a folder that it matches.
    """
    fits = _compiled(pattern.strip("/"))
    seen = os.path.relpath(path, base).replace(os.sep, "/")
    if seen == ".." or seen.startswith("../"):
        return False
    parts = seen.split("/")
    ends = range(1, len(parts) + 1) if folders else [len(parts)]
    for end in ends:
        candidate = parts[end - 1] if "/" not in pattern.strip("/") else "/".join(parts[:end])
        if fits(candidate):
            return True
    return False


@cache
def _compiled(pattern: str) -> Callable[[str], object]:
    parts = _parts(pattern)
    try:
        whole = re.compile("".join(parts))
        if sum(part in _REPEATED for part in parts) <= 2:
            return whole.fullmatch
        return _Several([part if part in _REPEATED else re.compile(part) for part in parts]).fits
    except re.error:  # a class such as [z-a]
        return re.compile(re.escape(pattern)).fullmatch


def _parts(pattern: str) -> list[str]:
    """Regular expressions, each of one character, or repeated."""
    out, i = [], 0
    while i < len(pattern):
        c = pattern[i]
        if pattern.startswith("**/", i):
            out.append(_FOLDERS)
            i += 3
        elif pattern.startswith("**", i):
            out.append(_ANYTHING)
            i += 2
        elif c == "[" and (end := pattern.find("]", i + 2)) > 0:
            inside = pattern[i + 1 : end].replace("\\", "\\\\").replace("[", "\\[").replace("&", "\\&")
            inside = inside.replace("~", "\\~").replace("|", "\\|")
            out.append(f"[^{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]")
            i = end + 1
        else:
            out.append({"*": _NAME, "?": "[^/]"}.get(c) or re.escape(c))
            i += 1
    return out


class _Several:
    """A pattern with many stars: all ways to match it are followed at once, where a regular expression tries each.

    Attributes:
        parts: expressions of one character, and what is repeated.
    """

    def __init__(self, parts: list[str | re.Pattern[str]]) -> None:
        self.parts = parts

    def fits(self, text: str) -> bool:
        """Whether the whole text matches. A state is the part that comes next, and whether it is in a folder's name."""
        states = self._ahead({(0, False)})
        for c in text:
            states = self._ahead({after for state in states for after in self._after(*state, c)})
        return (len(self.parts), False) in states

    def _after(self, i: int, inside: bool, c: str) -> list[tuple[int, bool]]:
        if i == len(self.parts):
            return []
        part = self.parts[i]
        if isinstance(part, re.Pattern):
            return [(i + 1, False)] if part.fullmatch(c) else []
        if part == _FOLDERS:
            return [(i, True)] if c != "/" else [(i, False)] if inside else []
        return [(i, False)] if part == _ANYTHING or c != "/" else []

    def _ahead(self, states: set[tuple[int, bool]]) -> set[tuple[int, bool]]:
        """With what follows where a repeated part is over."""
        out = set(states)
        for i, inside in states:
            while not inside and i < len(self.parts) and isinstance(self.parts[i], str) and (i + 1, False) not in out:
                i += 1
                out.add((i, False))
        return out
