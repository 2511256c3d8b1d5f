"""``splatdsl view``: the gaussians of a run in the browser, and each term of its loss as a heat map on them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .train import findings_shown


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0: all.")
@click.option("--port", default=8080, show_default=True, help="The first port that is free from here on is taken.")
@click.option("--device", default="auto", show_default=True, help="Where to draw: auto, cpu, cuda.")
@click.option("--pixels", type=click.IntRange(64, 2048), help="Pixels along the longer side of a picture.")
def view(run: Path, host: str, port: int, device: str, pixels: int | None) -> int:
    """Show RUN, the output folder of a run or a checkpoint in it, in the browser, until Ctrl-C.

    Choose what is shown: the render, a view's photograph, the error, alpha, depth, or where a term of the loss pulls.
    """
    from ..runtime.extras import require

    require("torch")
    require("viser", "viewer")
    from ..runtime.training.viewing import open_run
    from ..runtime.viewer import Viewer

    with findings_shown():
        frames, notes = open_run(run, device)
    for text in notes:
        print(text, file=sys.stderr)
    viewer = Viewer(frames, host, port, size=pixels)
    try:
        print(f"viewer: {viewer.address} (Ctrl-C ends it)", flush=True)
        while True:
            viewer.serve()
            viewer.wait(0.1)
    except KeyboardInterrupt:
        return 0
    finally:
        viewer.close()
