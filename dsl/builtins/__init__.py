"""The primitives of the language, listed explicitly; nothing else knows their names."""

from __future__ import annotations

from functools import cache

from . import photometric, pointwise, reductions, schedules
from .spec import Builtin

ALL: tuple[Builtin, ...] = (
    *photometric.BUILTINS,
    *reductions.BUILTINS,
    *pointwise.BUILTINS,
    *schedules.BUILTINS,
)


@cache
def table() -> dict[str, Builtin]:
    """All primitives by name."""
    return {record.name: record for record in ALL}
