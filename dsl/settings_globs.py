"""Patterns of paths in settings: ``exclude`` and ``per-file-ignores``."""

from __future__ import annotations

import os
import re
from functools import cache


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
    expression = _compiled(pattern.strip("/"))
    seen = os.path.relpath(path, base).replace(os.sep, "/")
    if seen == ".." or seen.startswith("../"):
        return False
    parts = seen.split("/")
    ends = range(1, len(parts) + 1) if folders else [len(parts)]
    for end in ends:
        candidate = parts[end - 1] if "/" not in pattern.strip("/") else "/".join(parts[:end])
        if expression.fullmatch(candidate):
            return True
    return False


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    out, i = [], 0
    while i < len(pattern):
        c = pattern[i]
        if pattern.startswith("**/", i):
            out.append("(?:[^/]+/)*")
            i += 3
        elif pattern.startswith("**", i):
            out.append(".*")
            i += 2
        elif c == "[" and (end := pattern.find("]", i + 2)) > 0:
            inside = pattern[i + 1 : end].replace("\\", "\\\\").replace("[", "\\[").replace("&", "\\&")
            inside = inside.replace("~", "\\~").replace("|", "\\|")
            out.append(f"[^{inside[1:]}]" if inside[0] in "!^" else f"[{inside}]")
            i = end + 1
        else:
            out.append({"*": "[^/]*", "?": "[^/]"}.get(c) or re.escape(c))
            i += 1
    try:
        return re.compile("".join(out))
    except re.error:  # a class such as [z-a]
        return re.compile(re.escape(pattern))
