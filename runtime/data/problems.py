"""Problems with data as diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...dsl.diagnostics import Diagnostic, LossError
from ...dsl.source import Source


def data_error(
    code: str, message: str, place: str | Path, *, notes: Sequence[str] = (), help: Sequence[str] = ()
) -> LossError:
    """An error about a file, a folder or a data set as a whole; the caller raises it.

    Args:
        code: a ``DAT`` code.
        message: one line that stands alone.
        place: what the message is about: a path, or a name in angle brackets.
        notes: further facts, for instance the names of files.
        help: ways out.
    """
    return LossError([Diagnostic(code, message, Source("", str(place)), None, notes=notes, help=help)])


def listing(names: Sequence[str], limit: int = 8) -> str:
    """The names, the first ``limit`` of them spelled out."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
