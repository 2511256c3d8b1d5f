"""``splatdsl ablate``: the table of what each term of a loss contributes."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import click

from ..dsl.api import analyse
from ..dsl.diagnostics import LossError
from ..dsl.source import Source
from ..dsl.term_names import check_names
from .shared import override_option
from .train import INTERRUPTED, findings_shown, load_run, stopping


def _seeds(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """``0,1,2`` as numbers, each once."""
    if text is None:
        return None
    try:
        seeds = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise click.BadParameter(f"`{text}` is no list of seeds; write for instance 0,1,2") from None
    if min(seeds) < 0:
        raise click.BadParameter(f"a seed is at least 0, and {min(seeds)} is below it")
    return seeds


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--terms", metavar="NAMES", help="The terms to remove one by one, such as depth,normals; all if not given."
)
@click.option("--seeds", metavar="SEEDS", callback=_seeds, help="Train every row with each, such as 0,1,2.")
@click.option("--steps", type=click.IntRange(1, 10**12), metavar="N", help="Length of the runs, over the config's.")
@click.option("--each-alone", is_flag=True, help="Train with each of the terms alone, too.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the runs; the run's name with _ablation.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    help="What is printed at the end; the files are written in any case.",
)
@override_option
def ablate(
    config: Path,
    terms: str | None,
    seeds: tuple[int, ...] | None,
    steps: int | None,
    each_alone: bool,
    output: Path | None,
    form: str,
    overrides: tuple[str, ...],
) -> int:
    """Train the run CONFIG with its whole loss, then without each term in turn, and print what that changes.

    Everything else is the same in all runs: data, seed, order of the views, length. The table has the numbers of the
    held-out views after the last step; it is written to ablation.md and ablation.json in the output folder, where
    every run has a folder of its own. The same command again trains only what is missing or no longer the same.
    """
    extra = () if steps is None else (f"train.max_steps={steps}",)
    loaded = load_run(config, (*overrides, *extra))
    if loaded is None:
        return 1
    if loaded.data.test_every == 0:
        message = "`data.test_every` is 0: no view is held out, so there is nothing to compare the runs by"
        raise click.UsageError(f"{message}; try --set data.test_every=8")
    program, found = analyse(loaded.loss_source(), dict(loaded.loss_params), loaded.train.max_steps)
    if program is None:
        raise LossError(found)
    names = tuple(term.name for term in program.terms)
    if terms is not None:
        names = check_names(program, [name.strip() for name in terms.split(",")], Source(terms, "--terms"))
    folder = output or Path(f"{loaded.output}_ablation")
    seeds = seeds or (loaded.train.seed,)

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see `train`

    from ..runtime.extras import require

    require("torch")
    from rich.console import Console

    from ..runtime.training import ablate as ablation
    from ..runtime.training import ablate_table as tables
    from ..runtime.training.checkpoint import write_atomically

    length = loaded.train.max_steps
    variants = ablation.plan(program, length, names, each_alone)
    made: list[tables.Row] = []

    def keep(outcomes: ablation.Outcomes) -> None:
        made[:] = tables.rows(variants, seeds, outcomes)
        entries = {"config": str(config), "max_steps": length, "seeds": list(seeds)}
        report = json.dumps(tables.as_json(made, **entries), indent=2, allow_nan=False) + "\n"
        write_atomically(folder / "ablation.json", lambda stream: stream.write(report.encode()))
        page = tables.markdown(made, tables.title(str(config), length, seeds, outcomes))
        write_atomically(folder / "ablation.md", lambda stream: stream.write(page.encode()))

    runs = ablation.Ablation(loaded, folder, variants, seeds, keep)
    with findings_shown(), stopping(runs.request_stop):
        outcomes = runs.run()
    reused = sum(outcome.reused for outcome in outcomes.values())
    if reused:
        click.echo(f"{reused} of {len(outcomes)} runs were trained before and are the same", err=True)
    if runs.interrupted:
        again = ["splatdsl", "ablate", str(config)]
        again += [part for item in overrides for part in ("--set", item)]
        again += ["--terms", terms] if terms else []
        again += ["--seeds", ",".join(map(str, seeds))] if len(seeds) > 1 else []
        again += ["--steps", str(steps)] if steps else []
        again += ["--each-alone"] if each_alone else []
        again += ["--output", str(output)] if output else []
        click.echo(f"stopped; {len(outcomes)} of {len(variants) * len(seeds)} runs are there", err=True)
        click.echo(f"to continue: {shlex.join(again)}", err=True)
        return INTERRUPTED
    if form == "text":
        console = Console(highlight=False)
        if not console.is_terminal:  # nobody's window is that wide, but no line of a file needs to be folded
            console = Console(highlight=False, width=200)
        title = tables.title(str(config), length, seeds, outcomes)
        console.print(title, style="bold", markup=False, soft_wrap=True)
        table = tables.text_table(made)
        # Asked without a limit, which the answer would never be above.
        fits = console.measure(table, options=console.options.update(width=1000)).maximum <= console.width
        console.print(table if fits else tables.text_table(made, stacked=True))
        if not fits:
            console.print("under each number: the difference to full; after ±: the deviation over the seeds")
        for row in made:
            if row.note:
                console.print(f"{row.name}: {row.note}", markup=False, soft_wrap=True)
    else:
        click.echo((folder / ("ablation.md" if form == "markdown" else "ablation.json")).read_text("utf-8"), nl=False)
    click.echo(f"wrote {folder / 'ablation.md'} and {folder / 'ablation.json'}", err=True)
    return 0
