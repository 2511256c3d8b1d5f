"""``splatdsl train``: a run config becomes trained gaussians."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from ..dsl.config import RunConfig, check_config, load_config
from ..dsl.diagnostics import Diagnostic, Severity
from ..dsl.render import full, wants_color
from .ranks import together

if TYPE_CHECKING:
    from ..runtime.training.ranks import Team
    from ..runtime.training.viewing import TrainingViewer

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a value, for instance train.max_steps=1000; repeatable.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the results, over the config's `output`.")
@click.option("--resume", is_flag=True, help="Continue the run in the output folder from its newest checkpoint.")
@click.option("--watch-loss", is_flag=True, help="Take changes of the .loss file while training, once checked.")
@click.option("--overwrite", is_flag=True, help="Remove the run in the output folder and start over.")
@click.option(
    "--viewer",
    type=int,
    is_flag=False,
    flag_value=8080,
    metavar="[PORT]",
    help="Show the run in the browser meanwhile.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address that the viewer listens at.")
def train(
    config: Path,
    overrides: tuple[str, ...],
    output: Path | None,
    resume: bool,
    overwrite: bool,
    watch_loss: bool,
    viewer: int | None,
    host: str,
) -> int:
    """Train gaussians as the run config CONFIG says.

    Ctrl-C finishes the present step and saves a checkpoint; a second Ctrl-C stops at once. The exit status is 0 when
    the run finished, 1 when something is wrong with the input, and 130 when it was interrupted.

    Several processes train together if torchrun or Slurm started them.
    """
    # Before torch loads OpenMP: threads that wait for work must not spin. On a machine that does anything else beside
    # the training they would take the cores from it, and it from them; alone it makes no difference.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    overrides = (*overrides, "train.watch_loss=true") if watch_loss else overrides
    with together() as team:
        return _train(team, config, overrides, output, resume, overwrite, None if viewer is None else (host, viewer))


def _train(
    team: Team | None,
    config: Path,
    overrides: tuple[str, ...],
    output: Path | None,
    resume: bool,
    overwrite: bool,
    viewer: tuple[str, int] | None = None,
) -> int:
    if resume and overwrite:
        raise click.UsageError("--resume continues a run and --overwrite removes it: give one of them")
    if viewer is not None and team is not None:
        raise click.UsageError("--viewer is for one process: a pause of one would hold all")
    loaded = load_run(config, overrides, team)
    if loaded is None:
        return 1
    folder = output or Path(loaded.output)

    from ..runtime.extras import require

    require("torch")
    from ..runtime.training.display import Display, TrainingDisplay
    from ..runtime.training.setup import build_trainer

    first = team is None or team.rank == 0
    display = TrainingDisplay() if first else Display()
    shown: list[TrainingViewer] = []
    if viewer is not None:
        require("viser", "viewer")
        from ..runtime.training.setup import trainer_config
        from ..runtime.training.viewing import TrainingViewer

        shown = [TrainingViewer(trainer_config(loaded), *viewer, say=display.note)]
    make = partial(build_trainer, loaded, folder, resume=resume, overwrite=overwrite, display=display, modules=shown)
    with findings_shown():
        trainer = make() if team is None else team.agree(make)
    for module in shown:
        module.stopped = lambda: trainer.stop_requested
    with stopping(trainer.request_stop) if team is None else team.watch.signals(trainer.request_stop):
        result = trainer.run()
    if result.finished:
        return 0
    if not first:
        return INTERRUPTED
    if team is not None:
        click.echo(f"stopped after step {result.steps - 1}, saved {result.checkpoint}", err=True)
        click.echo("to continue: the same command with --resume", err=True)
        return INTERRUPTED
    again = ["splatdsl", "train", str(config)]
    again += [part for item in overrides for part in ("--set", item)]
    again += ["--output", str(output)] if output else []
    click.echo(f"stopped after step {result.steps - 1}, saved {result.checkpoint}", err=True)
    click.echo(f"to continue: {shlex.join([*again, '--resume'])}", err=True)
    return INTERRUPTED


def load_run(path: Path, overrides: Sequence[str], team: Team | None = None) -> RunConfig | None:
    """The config; None if it or its program has errors. All findings are printed that no comment suppresses.

    Of several processes the first one prints, and all get None if one does.
    """
    config, found = load_config(path, overrides)
    if config is not None:
        found = check_config(path, overrides, sweep=False)
        if any("splat:" in diagnostic.source.text for diagnostic in found):
            from ..dsl.suppress import apply

            found = apply(found)
    wrong = any(d.severity is Severity.ERROR for d in found)
    if team is not None:
        found, wrong = team.joined(found, wrong)
    _print(found)
    return None if wrong else config


def _print(found: list[Diagnostic]) -> None:
    if found:
        color = wants_color(sys.stderr)
        print("\n\n".join(full(diagnostic, color) for diagnostic in found), file=sys.stderr)


@contextmanager
def findings_shown() -> Iterator[None]:
    """While this lasts, loading a program says nothing of its findings: `load_run` has printed them."""
    from ..dsl.diagnostics import LossWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossWarning)
        yield


@contextmanager
def stopping(request_stop: Callable[[], None]) -> Iterator[None]:
    """While this lasts, SIGINT and SIGTERM ask for a stop; a second one interrupts at once."""
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        request_stop()
        # Not through a stream: the signal may arrive while one is being written to.
        os.write(2, b"\nstopping after this step; once more to stop at once\n")

    before: list[tuple[signal.Signals, Any]] = []
    for wanted in (signal.SIGINT, signal.SIGTERM):
        before.append((wanted, signal.signal(wanted, handle)))
    try:
        yield
    finally:
        for wanted, handler in before:
            signal.signal(wanted, handler)
