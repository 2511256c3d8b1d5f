"""The options of ``splatdsl check``."""

from __future__ import annotations

import click

from ..dsl.manifest import RENDERERS
from .check import Options, check_paths


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option(
    "--format",
    type=click.Choice(["full", "concise", "json"]),
    default="full",
    show_default=True,
    help="How findings are printed.",
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Colour in the full format.",
)
@click.option("--renderer", type=click.Choice(sorted(RENDERERS)), help="Check for what this renderer can supply.")
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Check for a training of N steps.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a config's value, for instance loss_params.ssim_weight=0.3; repeatable.",
)
@click.option("--stdin-filename", metavar="NAME", help="What to call the text of `-`, standard input.")
def check(
    paths: tuple[str, ...],
    format: str,
    color: str,
    renderer: str | None,
    steps: int | None,
    overrides: tuple[str, ...],
    stdin_filename: str | None,
) -> int:
    """Find mistakes in .loss files, run configs (.yaml) and folders of them, without running anything.

    `-` reads standard input. The exit status is 0 when nothing was found, 1 when something was, and 2 when a path
    cannot be checked at all.
    """
    if not paths:
        raise click.UsageError("nothing to check: name a .loss file, a run config or a folder")
    if stdin_filename is not None and "-" not in paths:
        raise click.UsageError("--stdin-filename names the text of `-`, which is not among the paths")
    shades = {"auto": None, "always": True, "never": False}
    return check_paths(paths, Options(format, shades[color], renderer, steps, overrides, stdin_filename))
