"""Which files a `check` is about, and their texts."""

from __future__ import annotations

import os
import sys

from ..dsl.files import CONFIG_LIMIT, LOSS_LIMIT, Unreadable, decode, is_program, read_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself costs milliseconds
    from collections.abc import Callable, Iterator

    from ..dsl.settings import Settings

CONFIGS = (".yaml", ".yml")
_SKIPPED = {"__pycache__", "node_modules", "venv", "site-packages"}


class Problem(Exception):
    """A path that cannot be checked: its name, and the reason as a sentence about it."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"`{name}` {reason}")


class Input:
    """One text to check.

    Attributes:
        name: what messages call it.
        path: its file, or ``-``.
        data: the bytes that were read.
        text: what they say, without a byte-order mark.
    """

    __slots__ = ("data", "name", "path", "text")

    def __init__(self, path: str, name: str, data: bytes, text: str) -> None:
        self.path, self.name, self.data = path, name, data
        self.text = text[1:] if text.startswith("\ufeff") else text

    @property
    def is_config(self) -> bool:
        """Whether it is a run config and not a program."""
        return self.name.endswith(CONFIGS)


def read(path: str, stdin_filename: str | None = None) -> Input:
    """The text of a path; ``-`` is standard input.

    Raises:
        Problem: it cannot be read, or is neither a program nor a run config.
    """
    name = (stdin_filename or "<stdin>") if path == "-" else path
    limit = CONFIG_LIMIT if name.endswith(CONFIGS) else LOSS_LIMIT
    try:
        data = sys.stdin.buffer.read(limit + 1) if path == "-" else read_bytes(path, limit)
        text = decode(data, limit)
    except Unreadable as reason:
        help = None
        if path != "-" and not os.path.exists(path):
            from ..dsl.config_reader import nearby

            help = nearby(path, "")
        raise Problem(name, str(reason) + (f"; {help}" if help else "")) from None
    if path != "-" and not is_program(name) and not name.endswith(CONFIGS):
        raise Problem(name, "is neither a `.loss` file nor a run config (`.yaml`)")
    return Input(path, name, data, text)


def inside(folder: str, settings: Callable[[str], Settings]) -> Iterator[str]:
    """The files of a folder that may be checked, in a fixed order.

    Args:
        folder: where to search.
        settings: those of a folder, which may leave some paths out.
    """
    for where, folders, names in os.walk(folder):
        excludes = settings(where).excludes
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name not in _SKIPPED and not excludes(os.path.join(where, name))
        )
        for name in sorted(names):
            path = os.path.join(where, name)
            if name.startswith(".") or not name.endswith((".loss", *CONFIGS)) or excludes(path):
                continue
            if name.endswith(".loss") or _looks_like_run(path):
                yield path


def _looks_like_run(path: str) -> bool:
    """Whether a YAML file is a run config: other tools keep YAML files in the same folders."""
    try:
        lines = read_bytes(path, CONFIG_LIMIT).splitlines()
    except Unreadable:
        return False
    keys = {line.partition(b":")[0] for line in lines if b":" in line}
    # What a config extends may give either of the two; tools whose files also extend others have none of them.
    needed = 1 if b"extends" in keys else 2
    return len(keys & {b"loss", b"data"}) >= needed or {b"extends", b"sweep"} <= keys
