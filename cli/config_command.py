"""``splatdsl config``: the values of a run config, or the checker's settings for a path, and where each is from."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from ..dsl.diagnostics import LossError
from ..dsl.settings import Resolver, Settings
from .check_command import command_line, settings_options
from .shared import override_option


@click.command()
@click.argument("path", default=".")
@click.option("--format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@override_option
@settings_options
def config(path: str, format: str, overrides: tuple[str, ...], **given: Any) -> int:
    """Print the values that are in force in the run config PATH (.yaml), and the file and line each is from.

    Of any other file or a folder, print the checker's settings that apply to it; the other options are those of
    `splatdsl check`.
    """
    if not os.path.exists(path):
        raise click.UsageError(f"`{path}` does not exist")
    if path.endswith((".yaml", ".yml")) and os.path.isfile(path):
        from .config_run import show_run

        return show_run(path, overrides, format)
    if overrides:
        raise click.UsageError("--set changes values of a run config, and PATH is none")
    try:
        settings = Resolver(command_line(given)).of(path)
    except LossError as error:
        from ..dsl.render import full, wants_color

        print("\n\n".join(full(d, wants_color(sys.stderr)) for d in error.diagnostics), file=sys.stderr)
        return 2
    rows = _rows(settings)
    if format == "json":
        made = {key: {"value": value, "from": origin} for key, value, origin in rows}
        click.echo(json.dumps({"file": settings.path, "settings": made}, indent=2))
        return 0
    click.echo(f"# settings for {path}: " + (os.path.relpath(settings.path) if settings.path else "no settings file"))
    for key, value, origin in rows:
        if value is None:
            click.echo(f"# {key} is not set")
        elif key == "select":
            groups, off = _groups(value)
            click.echo(f"{key} = {json.dumps(groups)}  # {origin}")
            if off:
                click.echo(f"ignore = {json.dumps(off)}")
        else:
            click.echo(f"{key} = {_toml(value)}  # {origin}")
    return 0


def _rows(settings: Settings) -> list[tuple[str, Any, str]]:
    """Key, value and origin of every setting."""
    from ..dsl.codes import all_codes

    chosen = [f"{key}: {settings.origins[key]}" for key in _SELECTING if key in settings.origins]
    by_line = [] if settings.selected_by is None else ["the command line"]
    codes = [code for code in all_codes() if code in settings.selection.codes]
    ignores: dict[str, list[str]] = {}
    for pattern, _, off in settings.per_file_ignores:
        ignores.setdefault(pattern, []).extend(sorted(off))

    def origin(key: str) -> str:
        return str(settings.origins.get(key, "default"))

    return [
        ("select", codes, "; ".join(chosen + by_line) or "default: every group but pedantic"),
        ("fail-level", settings.fail_level, origin("fail-level")),
        ("renderer", settings.renderer, origin("renderer")),
        ("steps", settings.steps, origin("steps")),
        ("exclude", [pattern for pattern, _ in settings.exclude], origin("exclude")),
        ("per-file-ignores", ignores, origin("per-file-ignores")),
    ]


def _groups(on: list[str]) -> tuple[list[str], list[str]]:
    """What is on in as few words as it takes: groups and codes, and the codes of those groups that are off.

    Codes that nobody can switch off, and those that are no findings in a text, are left out.
    """
    from ..dsl.codes import all_codes
    from ..dsl.settings_select import GROUPS, switchable

    shown: list[str] = []
    off: list[str] = []
    for group in GROUPS:
        codes = [code for code, record in all_codes().items() if record.group == group and switchable(code)]
        chosen = [code for code in codes if code in on]
        if chosen and 2 * len(chosen) > len(codes):
            shown.append(group)
            off += [code for code in codes if code not in on]
        else:
            shown += chosen
    return shown, off


_SELECTING = ("select", "extend-select", "ignore", "pedantic")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {json.dumps(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)
