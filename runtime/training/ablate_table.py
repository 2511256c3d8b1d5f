"""The table of an ablation: numbers of each row over its seeds, and their difference to the whole loss."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table

from .ablate import Variant
from .records import plain
from .series import Outcome


class Measure(NamedTuple):
    """A column: key of the values, heading, format, format of the difference to the whole loss ("" for none)."""

    key: str
    heading: str
    form: str
    difference: str = ""


MEASURES = (
    Measure("psnr", "PSNR", ".2f", "+.2f"),
    Measure("ssim", "SSIM", ".4f", "+.4f"),
    Measure("lpips", "LPIPS", ".4f", "+.4f"),
    Measure("psnr_masked", "PSNR in mask", ".2f", "+.2f"),
    Measure("ssim_masked", "SSIM in mask", ".4f", "+.4f"),
    Measure("gaussians", "gaussians", ",.0f"),
    Measure("step_ms", "ms/step", ".0f"),
    Measure("seconds", "seconds", ".1f"),
)


class Row(NamedTuple):
    """One row.

    Attributes:
        name: as shown.
        numbers: of each measure, mean and standard deviation (None for one seed) over the seeds that finished.
        differences: of each measure, the same of the difference to the whole loss with the same seed.
        note: what there is to say in place of numbers, or beside them.
        outcomes: by seed.
    """

    name: str
    numbers: dict[str, tuple[float, float | None]]
    differences: dict[str, tuple[float, float | None]]
    note: str
    outcomes: dict[int, Outcome]


def rows(variants: Sequence[Variant], seeds: Sequence[int], outcomes: Mapping[tuple[str, int], Outcome]) -> list[Row]:
    """The rows in the order of the variants; of what has not been trained yet there are none."""
    made = []
    for variant in variants:
        mine = {seed: outcomes[variant.name, seed] for seed in seeds if (variant.name, seed) in outcomes}
        if not mine:
            continue
        numbers, differences = {}, {}
        done = {seed: outcome for seed, outcome in mine.items() if outcome.status == "finished"}
        for measure in MEASURES:
            values = {s: o.values[measure.key] for s, o in done.items() if measure.key in o.values}
            if values:
                numbers[measure.key] = _spread(list(values.values()))
            full = {s: outcomes["full", s].values for s in values if ("full", s) in outcomes}
            gaps = [values[s] - full[s][measure.key] for s in full if measure.key in full[s]]
            if gaps and variant.removed:
                differences[measure.key] = _spread(gaps)
        made.append(Row(variant.name, numbers, differences, _note(mine, len(seeds)), mine))
    return made


def _spread(values: list[float]) -> tuple[float, float | None]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def _note(outcomes: Mapping[int, Outcome], seeds: int) -> str:
    """Which runs have no numbers, and why; runs of one reason together."""
    why: dict[str, list[int]] = {}
    for seed, outcome in outcomes.items():
        if outcome.status != "finished":
            word = "failed: " if outcome.status == "failed" else "not trained: "
            why.setdefault(word + outcome.message, []).append(seed)
    parts = []
    for text, which in why.items():
        some = f" (seed{'s' if len(which) > 1 else ''} {', '.join(map(str, which))})"
        parts.append(text + (some if len(which) < seeds else ""))
    return "; ".join(parts)


def _columns(made: Sequence[Row]) -> list[Measure]:
    return [m for m in MEASURES if any(m.key in row.numbers for row in made)]


def _headings(columns: Sequence[Measure]) -> list[str]:
    return [h for m in columns for h in ([m.heading, "vs full"] if m.difference else [m.heading])]


def cell(number: tuple[float, float | None] | None, form: str) -> str:
    """Mean and deviation as text."""
    if number is None:
        return "-"
    mean, spread = number
    shown = f"{mean:{form}}"
    if not shown.strip("+-0.,"):  # a difference that is rounded away has no sign
        shown = shown.lstrip("+-")
    return shown + ("" if spread is None else f" ± {spread:{form.lstrip('+')}}")


def _cells(row: Row, columns: Sequence[Measure]) -> list[str]:
    cells = []
    for measure in columns:
        number = row.numbers.get(measure.key)
        if number is not None and not measure.difference:  # of sizes and times the mean says enough
            number = number[0], None
        cells.append(cell(number, measure.form))
        if measure.difference:
            gap = row.differences.get(measure.key)
            cells.append(cell(gap, measure.difference) if gap or row.name != "full" else "")
    return cells


def title(name: str, max_steps: int, seeds: Sequence[int], outcomes: Mapping[tuple[str, int], Outcome]) -> str:
    """What was compared, in one line."""
    views = {int(o.values["views"]) for o in outcomes.values() if "views" in o.values}
    parts = [f"{max_steps:,} steps", f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"]
    parts += [f"{n:,} held-out view{'s' if n > 1 else ''}" for n in sorted(views)]
    return f"Ablation of {name}: {'; '.join(parts)}"


def text_table(made: Sequence[Row], stacked: bool = False) -> Table:
    """For a terminal; ``stacked`` puts differences under the numbers instead of beside them."""
    columns = _columns(made)
    table = Table(box=box.SIMPLE_HEAD)
    table.leading, table.collapse_padding, table.pad_edge = int(stacked), stacked, not stacked
    table.add_column("loss", overflow="fold", min_width=12)
    headings = [m.heading.replace(" in ", "\nin ") for m in columns] if stacked else _headings(columns)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=not stacked, min_width=max(map(len, heading.split("\n"))))
    for row in made:
        cells = _cells(row, columns)
        if stacked:
            rest = iter(cell.replace(" ± ", "\n±") for cell in cells)
            cells = ["\n".join([next(rest), *([next(rest)] if m.difference else [])]) for m in columns]
        table.add_row(row.name, *cells)
    return table


def markdown(made: Sequence[Row], title: str) -> str:
    """For a paper or a page: the table, then what rows without numbers have to say."""
    columns = _columns(made)
    headings = ["loss", *_headings(columns)]
    table = [[f"{row.name}{' *' if row.note else ''}", *_cells(row, columns)] for row in made]
    widths = [max(len(line[i]) for line in (headings, *table)) for i in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        aligned = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths))]
        return f"| {' | '.join(aligned)} |"

    rule = "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths))
    out = [title, "", line(headings), f"|{rule}|", *map(line, table)]
    out += ["", *(f"\\* {row.name}: {row.note}" for row in made if row.note)] if any(r.note for r in made) else []
    return "\n".join(out) + "\n"


def as_json(made: Sequence[Row], **entries: Any) -> dict[str, Any]:
    """Everything as plain values; ``rows`` hold means, deviations over the seeds, and each run."""
    report: dict[str, Any] = plain(
        {
            **entries,
            "rows": [
                {
                    "name": row.name,
                    "note": row.note,
                    "mean": {k: mean for k, (mean, _) in row.numbers.items()},
                    "deviation": {k: spread for k, (_, spread) in row.numbers.items() if spread is not None},
                    "to_full": {k: mean for k, (mean, _) in row.differences.items()},
                    "to_full_deviation": {k: s for k, (_, s) in row.differences.items() if s is not None},
                    "runs": {
                        str(seed): {
                            "status": outcome.status,
                            "message": outcome.message,
                            "folder": outcome.folder,
                            "values": outcome.values,
                            "terms": list(outcome.terms),
                        }
                        for seed, outcome in row.outcomes.items()
                    },
                }
                for row in made
            ],
        }
    )
    return report
