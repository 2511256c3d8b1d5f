"""``splatdsl probe``: what each term of a loss does at a few steps of a run."""

from __future__ import annotations

import json
import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from .shared import override_option
from .train import INTERRUPTED, findings_shown, load_run, stopping


def _steps(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """``0,500,1_000`` as numbers."""
    if text is None:
        return None
    try:
        steps = [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"`{text}` is no list of steps; write for instance 0,500,1000") from None
    if min(steps) < 0:
        raise click.BadParameter(f"steps count from 0, and {min(steps)} is below it")
    return tuple(sorted(set(steps)))


def _earlier_pictures(report: Path) -> list[str]:
    """The sheets of the probe that is in the folder already: they would be taken for those of this one."""
    try:
        names = json.loads(report.read_text(encoding="utf-8"))["pictures"]
        return [name for name in names if re.fullmatch(r"step_\d+\.png", name)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--at", metavar="STEPS", callback=_steps, help="Steps to look at, such as 0,500,1000; 0, 10 and 50 if not given."
)
@click.option("--steps", type=click.IntRange(1, 10**12), metavar="N", help="Length of the run, over the config's.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the report; the run's name with _probe.")
@override_option
def probe(
    config: Path,
    at: tuple[int, ...] | None,
    steps: int | None,
    output: Path | None,
    overrides: tuple[str, ...],
) -> int:
    """Show what each term of the loss does at a few steps of the run CONFIG.

    Trains up to the last of the steps and prints, for each: every term's value, weight and share of the loss, the
    gradient that it sends to each parameter of the gaussians and its share of it, and what is out of balance. The
    folder gets the numbers as probe.json and, with matplotlib (the extra `plot`), a sheet of pictures for every step:
    where in the image each term pulls. --steps does not train longer; schedules are those of a run of that length.
    """
    extra = () if steps is None else (f"train.max_steps={steps}",)
    loaded = load_run(config, (*overrides, *extra))
    if loaded is None:
        return 1
    length = loaded.train.max_steps
    if at is not None and at[-1] >= length:
        raise click.UsageError(f"--at {at[-1]}: the run has {length:,} steps, 0 to {length - 1:,}")
    folder = output or Path(f"{loaded.output}_probe")

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see `train`

    from ..runtime.extras import require

    require("torch")
    from rich.console import Console

    from ..dsl.diagnostics import LossError
    from ..runtime.training import probe_report as report
    from ..runtime.training.checkpoint import write_atomically, writing
    from ..runtime.training.probe import ProbeRun, StepProbe, default_steps
    from ..runtime.training.progress import StepDisplay

    wanted = at or default_steps(length)
    console = Console(highlight=False)
    pictures = find_spec("matplotlib") is not None
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in _earlier_pictures(folder / "probe.json"):
            (folder / name).unlink(missing_ok=True)
    found: list[StepProbe] = []
    written: list[Path] = []
    display = StepDisplay("training", wanted[-1] + 1)

    def show(result: StepProbe) -> None:
        found.append(result)
        display.pause()
        # Not as the tables' titles, which would be broken to the width of the table.
        console.print(report.heading(result), style="bold", markup=False, soft_wrap=True)
        console.print(report.values_table(result))
        console.print(report.GRADIENTS, markup=False, soft_wrap=True)
        console.print(report.gradients_table(result))
        if pictures:
            from ..runtime.training.probe_picture import sheet

            path = folder / f"step_{result.step:06d}.png"
            with writing(path):
                sheet(result, path)
            written.append(path)

    with findings_shown():
        run = ProbeRun(loaded, wanted, show, display)
    failure: LossError | None = None
    with stopping(run.request_stop):
        try:
            run.train()
        except LossError as error:
            if not found:
                raise
            failure = error
    missing = report.absent(run.program, found, length)
    entries: dict[str, Any] = {"config": str(config), "max_steps": length, "seed": loaded.train.seed}
    entries["pictures"] = [path.name for path in written]
    text = json.dumps(report.report_json(found, missing, **entries), indent=2, allow_nan=False) + "\n"
    write_atomically(folder / "probe.json", lambda stream: stream.write(text.encode()))
    for name, when in missing.items():
        console.print(f"not there: {name} ({when})", markup=False, soft_wrap=True)
    for warning in report.warnings(found):
        console.print(f"warning: {warning.describe()}", markup=False, soft_wrap=True)
    sys.stdout.flush()
    for path in (folder / "probe.json", *written):
        print(f"wrote {path}", file=sys.stderr)
    if not pictures:
        print("no pictures: matplotlib is not installed (pip install 'splatdsl[plot]')", file=sys.stderr)
    if failure is not None:
        raise failure
    return 0 if len(found) == len(wanted) else INTERRUPTED
