"""``splatdsl train``: a run config becomes trained gaussians."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from ..dsl.config import RunConfig, check_config, load_config
from ..dsl.diagnostics import Diagnostic, Severity
from ..dsl.render import full, wants_color

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
@click.option("--overwrite", is_flag=True, help="Remove the run in the output folder and start over.")
def train(config: Path, overrides: tuple[str, ...], output: Path | None, resume: bool, overwrite: bool) -> int:
    """Train gaussians as the run config CONFIG says.

    Ctrl-C finishes the present step and saves a checkpoint; a second Ctrl-C stops at once. The exit status is 0 when
    the run finished, 1 when something is wrong with the input, and 130 when it was interrupted.
    """
    if resume and overwrite:
        raise click.UsageError("--resume continues a run and --overwrite removes it: give one of them")
    loaded = load_run(config, overrides)
    if loaded is None:
        return 1
    folder = output or Path(loaded.output)

    # Before torch loads OpenMP: threads that wait for work must not spin. On a machine that does anything else beside
    # the training they would take the cores from it, and it from them; alone it makes no difference.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from ..runtime.extras import require

    require("torch")
    from ..runtime.training.display import TrainingDisplay
    from ..runtime.training.setup import build_trainer

    display = TrainingDisplay()
    with findings_shown():
        trainer = build_trainer(loaded, folder, resume=resume, overwrite=overwrite, display=display)
    with stopping(trainer.request_stop):
        result = trainer.run()
    if result.finished:
        return 0
    again = ["splatdsl", "train", str(config)]
    again += [part for item in overrides for part in ("--set", item)]
    again += ["--output", str(output)] if output else []
    click.echo(f"stopped after step {result.steps - 1}, saved {result.checkpoint}", err=True)
    click.echo(f"to continue: {shlex.join([*again, '--resume'])}", err=True)
    return INTERRUPTED


def load_run(path: Path, overrides: Sequence[str]) -> RunConfig | None:
    """The config; None if it or its program has errors. All findings are printed that no comment suppresses."""
    config, found = load_config(path, overrides)
    if config is not None:
        found = check_config(path, overrides)
        if any("splat:" in diagnostic.source.text for diagnostic in found):
            from ..dsl.suppress import apply

            found = apply(found)
    _print(found)
    return None if any(d.severity is Severity.ERROR for d in found) else config


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
