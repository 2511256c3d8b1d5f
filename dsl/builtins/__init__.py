"""The primitives of the language, listed explicitly; nothing else knows their names."""

from __future__ import annotations

from functools import cache

from . import (
    chances,
    classification,
    components,
    depth,
    filters,
    geometry,
    histograms,
    perceptual,
    photometric,
    pointwise,
    reductions,
    regions,
    schedules,
    selection,
    stencils,
    vectors,
)
from .spec import Builtin

ALL: tuple[Builtin, ...] = (
    *photometric.BUILTINS,
    *perceptual.BUILTINS,
    *reductions.BUILTINS,
    *components.BUILTINS,
    *pointwise.BUILTINS,
    *selection.BUILTINS,
    *vectors.BUILTINS,
    *regions.BUILTINS,
    *stencils.BUILTINS,
    *filters.BUILTINS,
    *depth.BUILTINS,
    *geometry.BUILTINS,
    *classification.BUILTINS,
    *histograms.BUILTINS,
    *chances.BUILTINS,
    *schedules.BUILTINS,
)


@cache
def table() -> dict[str, Builtin]:
    """All primitives by name."""
    return {record.name: record for record in ALL}
