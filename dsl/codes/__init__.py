"""Every diagnostic code, from one record each, grouped by family."""

from __future__ import annotations

from functools import cache

from .record import Code


@cache
def all_codes() -> dict[str, Code]:
    """All records by code, in family order."""
    from . import (
        aggregates,
        binding,
        config,
        data,
        geometry,
        gradients,
        hazards,
        masks,
        memory,
        names,
        parameters,
        ranges,
        running,
        semantics,
        settings,
        suppression,
        syntax,
        types,
        unused,
    )

    families = (
        *(syntax, names, types, ranges, semantics, masks, geometry, parameters, hazards, gradients, aggregates),
        *(memory, unused, suppression, config, settings, data, binding, running),
    )
    records = [record for family in families for record in family.CODES]
    table = {record.id: record for record in records}
    if len(table) != len(records) or len({record.slug for record in records}) != len(records):
        raise AssertionError("two diagnostic records share a code or a slug")
    return table


def lookup(code: str) -> Code:
    """The record of a code such as ``NAM001``.

    Raises:
        KeyError: no such code.
    """
    return all_codes()[code]
