"""``splatdsl bench``: times the losses of a fixed suite against what others write by hand for them."""

from __future__ import annotations

import datetime
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from ..dsl.suggest import did_you_mean


@click.command()
@click.option("--only", metavar="NAMES", help="Programs and sections, such as photometric,masked,overhead.")
@click.option(
    "--sizes",
    metavar="SIZES",
    help="Height x width, or numbers of gaussians: 540x960,1e5 is what is taken if not given.",
)
@click.option("--full", is_flag=True, help="All sizes: from 270x480 to 2160x3840, from 1e4 to 3e6 gaussians.")
@click.option("--quick", is_flag=True, help="Tiny sizes, two rounds, nothing compiled: does everything run?")
@click.option("--rounds", type=click.IntRange(1, 10_000), metavar="N", help="Turns of every variant; 15 if not given.")
@click.option("--device", metavar="NAME", help="cpu or cuda; cuda if there is one.")
@click.option(
    "--kernels",
    type=click.Choice(["auto", "torch", "cpp", "triton"]),
    default="auto",
    show_default=True,
    help="By which route our losses compute windows.",
)
@click.option("--memory/--no-memory", default=None, help="Whether peak memory is measured; it is, but for --quick.")
@click.option("--json", "json_file", metavar="FILE", help="Write the report as JSON; - is standard output.")
@click.option("--markdown", is_flag=True, help="Print the tables as a section for docs/performance.md.")
@click.option("--date", metavar="DATE", help="The date in that section's heading; today if not given.")
@click.option("--from", "report_file", metavar="FILE", help="Measure nothing: show a report that --json has written.")
def bench(
    only: str | None,
    sizes: str | None,
    full: bool,
    quick: bool,
    rounds: int | None,
    device: str | None,
    kernels: str,
    memory: bool | None,
    json_file: str | None,
    markdown: bool,
    date: str | None,
    report_file: str | None,
) -> int:
    """Time our losses against the same numbers by hand, by pytorch-msssim and by fused kernels.

    Everything runs in this process, forward and backward; the variants of a row take turns, and what counts are ratios
    of medians. Before a row is timed, all of its variants must have the same loss and the same gradients.
    """
    if markdown and json_file == "-":
        raise click.UsageError("--markdown and --json - both print: give --json a file")
    if sizes and (full or quick):
        raise click.UsageError(f"--sizes and {'--full' if full else '--quick'} both say the sizes: give one of them")
    if full and quick:
        raise click.UsageError("--full measures everything and --quick hardly anything: give one of them")

    # Before torch loads OpenMP: threads that spin while they wait make what uses many of them several times slower on
    # a machine that does anything else beside, and so flatter what uses few.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from ..runtime.extras import require

    require("torch", "bench")
    if json_file not in (None, "-") and not Path(json_file).parent.is_dir():  # before anything is measured
        raise click.BadParameter(f"there is no folder `{Path(json_file).parent}`", param_hint="--json")
    if report_file is not None:
        _show(_load(report_file), json_file, markdown, date)
        return 0

    from rich.console import Console

    from ..bench import suite, tables
    from ..bench.programs import Settings, Size, takes_kernels
    from ..bench.progress import Reporter

    if kernels != "auto" and not takes_kernels():
        raise click.UsageError(f"--kernels {kernels}: this version has one route only; leave the option out")
    plain: tuple[Size, ...] = suite.TINY if quick else suite.FULL if full else suite.DEFAULT
    pixels = gaussians = plain
    if sizes:
        try:
            given = suite.sizes_of(sizes)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--sizes") from None
        pixels, gaussians = given[0] or plain, given[1] or plain
    settings = Settings(_device(device), "eager" if quick else "inductor", kernels)
    names = _names(only, suite.NAMES)
    if quick and only is None:
        names = tuple(name for name in names if name != "startup")  # many processes
    with_memory = not quick if memory is None else memory
    options = suite.Options(
        names, pixels, gaussians, rounds or (2 if quick else 15), settings, with_memory, quick, full
    )
    console = Console(highlight=False)
    streaming = not markdown and json_file != "-"
    if not console.is_terminal:
        console = Console(highlight=False, width=160)

    def found(report: dict[str, Any], section: str, entry: dict[str, Any]) -> None:
        if json_file != "-":
            _write(report, json_file)  # what there is, should the rest be interrupted
        if streaming:
            for grid in tables.grids({section: [entry]}):
                tables.show(grid, console)

    report = suite.run(options, Reporter(), found)
    if streaming:
        console.print(tables.where(report), markup=False, soft_wrap=True)
        if report.get("programs"):
            console.print(tables.LEGEND, markup=False, soft_wrap=True)
    _write(report, json_file)
    if markdown:
        click.echo(tables.markdown(report, date or _today()), nl=False)
    return 0


def _names(only: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    if only is None:
        return known
    names = tuple(dict.fromkeys(word.strip() for word in only.split(",")))
    for name in names:
        if name not in known:
            help_ = did_you_mean(name, known) or f"there are {', '.join(known)}"
            raise click.BadParameter(f"there is no `{name}`; {help_}", param_hint="--only")
    return names


def _device(name: str | None) -> str:
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise click.BadParameter(f"`{name}` is no device of the suite; there are cpu and cuda", param_hint="--device")
    if kind == "cuda" and not torch.cuda.is_available():
        message = "torch finds no CUDA device here; use --device cpu, or a torch that is built for CUDA"
        raise click.BadParameter(message, param_hint="--device")
    return name


def _load(path: str) -> dict[str, Any]:
    from ..bench.suite import VERSION

    try:
        report = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise click.BadParameter(f"`{path}` cannot be read: {reason}", param_hint="--from") from None
    if not isinstance(report, dict) or report.get("version") != VERSION:
        message = f"`{path}` is no report of this version; write one with --json FILE"
        raise click.BadParameter(message, param_hint="--from")
    return report


def _show(report: dict[str, Any], json_file: str | None, markdown: bool, date: str | None) -> None:
    from rich.console import Console

    from ..bench import tables

    _write(report, json_file)
    if markdown:
        click.echo(tables.markdown(report, date or _today()), nl=False)
    elif json_file != "-":
        console = Console(highlight=False)
        for grid in tables.grids(report):
            tables.show(grid, console)
        console.print(tables.where(report), markup=False, soft_wrap=True)


def _write(report: dict[str, Any], path: str | None) -> None:
    if path is None:
        return
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        message = f"`{path}` cannot be written: {error.strerror or error}"
        raise click.BadParameter(message, param_hint="--json") from None


def _today() -> str:
    return datetime.date.today().isoformat()
