"""``splatdsl sweep``: one config, several values for some of its keys, a run for each combination."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import click

from ..dsl.config_sweep import SweepRun, load_sweep
from ..dsl.diagnostics import Diagnostic, LossError, Severity
from ..dsl.render import full, wants_color
from .shared import override_option
from .train import INTERRUPTED, findings_shown, stopping


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--over",
    multiple=True,
    metavar="KEY=VALUE,VALUE",
    help="A key and its values, for instance train.seed=0,1,2; repeatable, in place of those of the config.",
)
@click.option("--zip/--grid", "paired", default=None, help="Pair the values, or train every combination (the default).")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the runs; the run's name with _sweep.")
@click.option("--dry-run", is_flag=True, help="Check everything, list the runs, and train none.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv", "json"]),
    default="text",
    help="What is printed at the end; the files are written in any case.",
)
@override_option
def sweep(
    config: Path,
    over: tuple[str, ...],
    paired: bool | None,
    output: Path | None,
    dry_run: bool,
    form: str,
    overrides: tuple[str, ...],
) -> int:
    """Train the run CONFIG once for each combination of the values that its section `sweep` or --over give.

    All runs are checked before the first one starts. Each has a folder of its own; the table of their held-out numbers
    is written to sweep.csv and sweep.json, with a picture if one number is swept. The same command again trains only
    what is missing or no longer the same, and goes on with what was interrupted. A run that fails does not stop the
    others; the exit status is then 1.
    """
    runs, found = load_sweep(config, overrides, over, paired)
    if any("splat:" in diagnostic.source.text for diagnostic in found):
        from ..dsl.suppress import apply

        found = apply(found)
    _show(found)
    if runs is None or any(d.severity is Severity.ERROR for d in found):
        return 1
    folder = output or Path(f"{runs[0].config.output}_sweep")
    if dry_run:
        for run in runs:
            click.echo(folder / run.name)
        click.echo(f"{len(runs)} run{'s' if len(runs) > 1 else ''}, none trained", err=True)
        return 0
    return _train(config, runs, folder, form, _again(config, over, paired, output, overrides))


def _show(found: list[Diagnostic]) -> None:
    if found:
        print("\n\n".join(full(d, wants_color(sys.stderr)) for d in found), file=sys.stderr)


def _again(
    config: Path, over: tuple[str, ...], paired: bool | None, output: Path | None, overrides: tuple[str, ...]
) -> str:
    words = ["splatdsl", "sweep", str(config)]
    words += [part for item in over for part in ("--over", item)]
    words += [] if paired is None else ["--zip" if paired else "--grid"]
    words += [part for item in overrides for part in ("--set", item)]
    words += ["--output", str(output)] if output else []
    return shlex.join(words)


def _train(config: Path, runs: list[SweepRun], folder: Path, form: str, again: str) -> int:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see `train`

    from ..runtime.extras import require

    require("torch")
    from rich.console import Console

    from ..runtime.training import sweep as sweeping
    from ..runtime.training import sweep_table as tables
    from ..runtime.training.checkpoint import write_atomically

    def keep(run: SweepRun, outcomes: sweeping.Outcomes) -> None:
        report = json.dumps(tables.as_json(runs, outcomes, config=str(config)), indent=2, allow_nan=False) + "\n"
        write_atomically(folder / "sweep.json", lambda stream: stream.write(report.encode()))
        page = tables.as_csv(runs, outcomes)
        write_atomically(folder / "sweep.csv", lambda stream: stream.write(page.encode()))
        failed = outcomes[run.name]
        if failed.status == "failed":
            click.echo(f"the run {run.name} failed:", err=True)
            _show(list(failed.findings))
            if not failed.findings:
                click.echo(failed.message, err=True)

    trained = sweeping.Sweep(runs, folder, keep)
    with findings_shown(), stopping(trained.request_stop):
        outcomes = trained.run()
    reused = sum(outcome.reused for outcome in outcomes.values())
    if reused:
        click.echo(f"{reused} of {len(runs)} runs were trained before and are the same", err=True)
    if trained.interrupted:
        click.echo(f"stopped; {len(outcomes)} of {len(runs)} runs are there", err=True)
        click.echo(f"to continue: {again}", err=True)
        return INTERRUPTED
    written = [folder / "sweep.csv", folder / "sweep.json"]
    try:
        written += [folder / "sweep.png"] if tables.picture(runs, outcomes, folder / "sweep.png") else []
    except LossError as error:  # matplotlib is an extra
        click.echo(f"no picture: {error.diagnostics[0].message}; {error.diagnostics[0].help[0]}", err=True)
    if form == "text":
        console = Console(highlight=False)
        if not console.is_terminal:  # nobody's window is that wide, but no line of a file needs to be folded
            console = Console(highlight=False, width=200)
        console.print(tables.text_table(runs, outcomes))
    else:
        click.echo((folder / f"sweep.{form}").read_text("utf-8"), nl=False)
    click.echo(f"wrote {', '.join(map(str, written))}", err=True)
    failed = [name for name, outcome in outcomes.items() if outcome.status == "failed"]
    if failed:
        click.echo(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}", err=True)
    return 1 if failed else 0
