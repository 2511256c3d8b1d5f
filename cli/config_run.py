"""``splatdsl config run.yaml``: a run config with everything that it is made of, and where each value was written."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from ..dsl.config import RunConfig, config_to_dict, load_config
from ..dsl.config_values import as_bool, as_number
from ..dsl.diagnostics import Severity
from ..dsl.render import full, wants_color

COMMENTS_AT = 40
"""The column at which the origins of short values stand."""


def show_run(path: str, overrides: Sequence[str], form: str) -> int:
    """Print the values that are in force, as YAML that loads as the same run; 1 where the config has mistakes."""
    config, found = load_config(path, overrides)
    if found:
        print("\n\n".join(full(d, wants_color(sys.stderr)) for d in found), file=sys.stderr)
    if config is None or any(d.severity is Severity.ERROR for d in found):
        return 1
    values = config_to_dict(config)
    if config.data.path is not None:
        values["data"]["path"] = config.data.path
    if "\n" not in config.loss and config.loss_path is not None:
        values["loss"] = config.loss_path
    if form == "json":
        flat = {key: {"value": value, "from": where(config, key)} for key, value in _flat(values)}
        every = [path, *(config.origin.files if config.origin is not None else ())]
        click.echo(json.dumps({"files": every, "values": flat}, indent=2))
        return 0
    files = config.origin.files if config.origin is not None else ()
    click.echo(f"# {path}" + (f", made of {', '.join((path, *files))}" if files else ""))
    click.echo("# paths are relative to the current folder")
    for line in _lines(config, values, ""):
        click.echo(line)
    return 0


def where(config: RunConfig, key: str) -> str:
    """Where a value was written: ``base.yaml:3``, ``--set train.seed=1`` or ``default``."""
    place = config.origin.values.get(key) if config.origin is not None else None
    if place is None:
        return "default"
    if place.source.name.startswith("--"):
        return f"{place.source.name} {place.source.text}"
    return f"{place.source.name}:{place.source.position(place.span.start)[0]}"


def _flat(values: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        key = f"{above}.{name}" if above else name
        found += _flat(value, key) if isinstance(value, dict) else [(key, value)]
    return found


def _lines(config: RunConfig, values: dict[str, Any], above: str) -> list[str]:
    lines: list[str] = []
    indent = "  " * (above.count(".") + 1) if above else ""
    for name, value in values.items():
        key = f"{above}.{name}" if above else name
        if isinstance(value, dict) and value:
            lines += [f"{indent}{name}:", *_lines(config, value, key)]
            continue
        if isinstance(value, str) and "\n" in value and not value[0].isspace():
            lines.append(_commented(f"{indent}{name}: |", where(config, key)))
            lines += [f"{indent}  {line}".rstrip() for line in value.splitlines()]
            continue
        lines.append(_commented(f"{indent}{name}: {_scalar(value)}", where(config, key)))
    return lines


def _commented(text: str, origin: str) -> str:
    return f"{text:<{COMMENTS_AT}}  # {origin}"


def _scalar(value: Any) -> str:
    """A value as YAML, in one line: plain where that says the same, in quotes where not."""
    if not isinstance(value, str) or as_number(value) is not None or as_bool(value) is not None:
        return json.dumps(value)
    import yaml

    try:
        plain = yaml.safe_load(f"x: {value}") == {"x": value}
    except yaml.YAMLError:
        plain = False
    return value if plain and value else json.dumps(value, ensure_ascii=False)
