"""The table of a sweep: the values of each run beside its held-out numbers, as text, CSV, JSON and a picture."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from ...dsl.config_sweep import SweepRun
from ..extras import require
from .ablate_table import MEASURES, Measure, cell
from .records import plain
from .series import Outcome

LINES = 8
"""Lines of a picture at most; more could not be told apart."""


def measures(outcomes: Mapping[str, Outcome]) -> list[Measure]:
    """The columns for which a run has a number."""
    return [m for m in MEASURES if any(m.key in outcome.values for outcome in outcomes.values())]


def text_table(runs: Sequence[SweepRun], outcomes: Mapping[str, Outcome]) -> Table:
    """For a terminal: a row for each run, the best PSNR in bold."""
    columns = measures(outcomes)
    table = Table(box=box.SIMPLE_HEAD)
    for key in runs[0].values:
        table.add_column(key.removeprefix("loss_params.").removeprefix("train."), overflow="fold")
    for measure in columns:
        table.add_column(measure.heading, justify="right", no_wrap=True)
    if any(outcome.message for outcome in outcomes.values()):
        table.add_column("", overflow="fold")
    first = best(runs, outcomes)
    for run in runs:
        outcome = outcomes.get(run.name)
        if outcome is None:
            continue
        numbers = [cell((outcome.values[m.key], None) if m.key in outcome.values else None, m.form) for m in columns]
        note = [f"failed: {outcome.message}"] if outcome.message else []
        table.add_row(*map(shown, run.values.values()), *numbers, *note, style="bold" if run is first else "")
    return table


def shown(value: object) -> str:
    """A value as a config writes it."""
    if isinstance(value, float):
        return f"{value:g}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def best(runs: Sequence[SweepRun], outcomes: Mapping[str, Outcome]) -> SweepRun | None:
    """The run with the largest held-out PSNR; the first of equal ones, None where there is none."""
    numbered = [run for run in runs if run.name in outcomes and "psnr" in outcomes[run.name].values]
    return max(numbered, key=lambda run: outcomes[run.name].values["psnr"], default=None)


def as_csv(runs: Sequence[SweepRun], outcomes: Mapping[str, Outcome]) -> str:
    """A line for each run: name, values, status, numbers in full precision, message."""
    columns = measures(outcomes)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["run", *runs[0].values, "status", *(m.key for m in columns), "message"])
    for run in runs:
        outcome = outcomes.get(run.name)
        if outcome is not None:
            numbers = [outcome.values.get(m.key, "") for m in columns]
            row = [run.name, *map(shown, run.values.values()), outcome.status, *numbers, outcome.message]
            writer.writerow(row)
    return stream.getvalue()


def as_json(runs: Sequence[SweepRun], outcomes: Mapping[str, Outcome], **entries: Any) -> dict[str, Any]:
    """Everything as plain values."""
    made: dict[str, Any] = plain(
        {
            **entries,
            "swept": list(runs[0].values),
            "runs": [
                {
                    "name": run.name,
                    "values": run.values,
                    "status": outcome.status,
                    "message": outcome.message,
                    "folder": outcome.folder,
                    "results": outcome.values,
                    "terms": list(outcome.terms),
                }
                for run in runs
                if (outcome := outcomes.get(run.name)) is not None
            ],
        }
    )
    return made


def numeric_key(runs: Sequence[SweepRun]) -> str | None:
    """The one key with several numbers as values, seeds apart; None where there is none, or more than one."""
    found = []
    for key in runs[0].values:
        values = [run.values[key] for run in runs]
        numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
        if not key.endswith("seed") and len(numbers) == len(values) and len(set(numbers)) > 1:
            found.append(key)
    return found[0] if len(found) == 1 else None


def lines(
    runs: Sequence[SweepRun], outcomes: Mapping[str, Outcome], key: str, measure: str
) -> dict[str, list[tuple[float, list[float]]]]:
    """What a picture shows: for each setting of the other keys (seeds apart) the numbers at each value of ``key``."""
    found: dict[str, dict[float, list[float]]] = {}
    for run in runs:
        number = outcomes[run.name].values.get(measure) if run.name in outcomes else None
        at = run.values[key]
        if number is None or not isinstance(at, (int, float)):
            continue
        others = [f"{k.rpartition('.')[2]}={shown(v)}" for k, v in run.values.items() if k != key and k[-4:] != "seed"]
        found.setdefault(", ".join(others), {}).setdefault(float(at), []).append(number)
    return {name: sorted(points.items()) for name, points in found.items()}


def picture(runs: Sequence[SweepRun], outcomes: Mapping[str, Outcome], path: Path) -> bool:
    """Draw PSNR and SSIM over the swept number; points are runs, lines go through their means.

    Returns:
        Whether there is anything to draw.

    Raises:
        LossError: DAT001, matplotlib is not installed.
    """
    key = numeric_key(runs)
    chosen = [m for m in MEASURES if m.key in ("psnr", "ssim")]
    data = {m: lines(runs, outcomes, key, m.key) for m in chosen} if key is not None else {}
    data = {m: shown_lines for m, shown_lines in data.items() if any(len(line) > 1 for line in shown_lines.values())}
    if key is None or not data:
        return False
    figure = require("matplotlib.figure", "plot").Figure(figsize=(4.8 * len(data), 3.6), layout="constrained")
    for axes, (measure, several) in zip(figure.subplots(1, len(data), squeeze=False)[0], data.items()):
        for name, line in list(several.items())[:LINES]:
            at = [x for x, _ in line]
            (drawn,) = axes.plot(at, [statistics.fmean(y) for _, y in line], label=name or None)
            points = [(x, y) for x, numbers in line for y in numbers]
            axes.plot([x for x, _ in points], [y for _, y in points], "o", color=drawn.get_color(), markersize=4)
        at = sorted({x for line in several.values() for x, _ in line})
        if at[0] > 0 and at[-1] / at[0] >= 50:
            axes.set_xscale("log")
        axes.set_xlabel(key)
        axes.set_ylabel(f"held-out {measure.heading}")
        axes.grid(True, color="#dddddd", linewidth=0.8)
        if len(several) > 1:
            axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    return True
