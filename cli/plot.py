"""``splatdsl plot``: the weights of a loss over the run, as a picture or in the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec

import click

from ..dsl.files import ZOO
from ..dsl.objective import objective
from ..dsl.render import full, wants_color
from .load_program import load
from .plot_chart import ASSUMED_STEPS, chart
from .shared import override_option

PICTURES = (".png", ".svg", ".pdf")


@click.command()
@click.argument("file")
@click.option("-o", "--output", metavar="PICTURE", help="A .png, .svg or .pdf file; FILE_weights.png if not given.")
@click.option("--terminal", is_flag=True, help="Draw in the terminal; so it is without matplotlib (the extra `plot`).")
@click.option("--steps", type=click.IntRange(1, 10**12), metavar="N", help="Length of the run, over the config's.")
@override_option
def plot(file: str, output: str | None, terminal: bool, steps: int | None, overrides: tuple[str, ...]) -> int:
    """Draw the weights of the terms in FILE, a .loss file or a run config, over the steps of a run.

    Steps at which a term does not exist are left out. Without --steps and without a config the run is taken to have
    30,000 steps. The exit status is 1 when the program has errors.
    """
    if terminal and output is not None:
        raise click.UsageError("--terminal draws no file: leave out one of --terminal and --output")
    if output is not None and not output.lower().endswith(PICTURES):
        raise click.UsageError(f"`{output}` is no kind of picture: end it in {', '.join(PICTURES)}")
    loaded = load(file, overrides, steps)
    if loaded.found:
        color = wants_color(sys.stderr)
        print("\n\n".join(full(d, color) for d in loaded.found), file=sys.stderr)
    if loaded.failed or loaded.program is None:
        return 1
    assumed = loaded.max_steps is None
    record = objective(loaded.program, loaded.max_steps or ASSUMED_STEPS)
    title = record.name if file == "-" else file
    made = chart(record, title if loaded.config is None else f"{title} ({record.name})", assumed)
    if terminal or (output is None and find_spec("matplotlib") is None):
        from .plot_terminal import drawing

        width = shutil.get_terminal_size().columns
        unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        print(drawing(made, width, wants_color(sys.stdout), unicode), flush=True)
    else:
        from .plot_picture import picture

        path = output or f"{_name(file)}_weights.png"
        try:
            picture(made, path)
        except OSError as error:
            raise click.UsageError(f"`{path}` cannot be written: {error.strerror or error}") from None
        print(f"wrote {path}")
    for note in made.notes:
        print(f"not drawn: {note}", file=sys.stderr)
    return 0


def _name(file: str) -> str:
    """What a picture is called after."""
    return os.path.splitext(os.path.basename(file.removeprefix(ZOO)))[0] if file != "-" else "loss"
