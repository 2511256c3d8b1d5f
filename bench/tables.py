"""Reports as tables, on the terminal and in Markdown: one description of each table, two renderings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .programs import OURS


class Grid(NamedTuple):
    """A table before it is drawn: its heading, what stands above it, its columns and rows of text."""

    heading: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def grids(report: Mapping[str, Any]) -> Iterator[Grid]:
    """All tables of a report, in order."""
    by_program: dict[str, list[Mapping[str, Any]]] = {}
    for entry in report.get("programs", ()):
        by_program.setdefault(entry["program"], []).append(entry)
    for entries in by_program.values():
        yield program_grid(entries)
    for entry in report.get("scaling", ()):
        yield scaling_grid(entry)
    for entry in report.get("overhead", ()):
        rows = tuple(
            (r["variant"], f"{r['median_us']:.0f} µs", f"{r['ours_above_us']:+.0f} µs" if i else "")
            for i, r in enumerate(entry["rows"])
        )
        yield Grid(f"overhead: {entry['case']}", entry["title"], ("variant", "a step", "ours is above it by"), rows)
    for entry in report.get("startup", ()):
        rows = tuple(
            (
                r["variant"],
                f"{r['cold_s']:.1f} s, {r['cold_over_import']:.1f}x",
                f"{r['warm_s']:.1f} s, {r['warm_over_import']:.1f}x",
            )
            for r in entry["rows"]
        )
        note = f"{entry['title']}; in seconds, and over `import torch` ({entry['import_torch_s']:.2f} s)"
        yield Grid("start-up", note, ("variant", "empty caches", "second process"), rows)


def program_grid(entries: list[Mapping[str, Any]]) -> Grid:
    """One program: a row for each variant, a column for each size."""
    cells: dict[str, list[str]] = {}
    for i, entry in enumerate(entries):
        for row in entry["rows"]:
            shown = [time_of(row["median_ms"]), f"{row['ratio']:.2f}x"]
            shown += [] if row["peak_mib"] is None else [size_of(row["peak_mib"])]
            line = cells.setdefault(row["variant"] + ("" if row["same"] else " *"), [""] * len(entries))
            line[i] = ", ".join(shown)
    columns = ("variant", *(entry["size"] for entry in entries))
    note = "; ".join((entries[0]["title"], *entries[0]["missing"]))
    return Grid(entries[0]["program"], note, columns, tuple((name, *line) for name, line in cells.items()))


def scaling_grid(entry: Mapping[str, Any]) -> Grid:
    """Time against something: a row for each value."""
    names = list(entry["rows"][0]["variants"])
    rows = []
    for row in entry["rows"]:
        found = (row["variants"][name] for name in names)
        rows.append((row["label"], *(f"{time_of(v['median_ms'])}, {v['per_unit']:.2f}x" for v in found)))
    note = f"{entry['title']}; beside each time: time over {entry['against']}, as a multiple of the first row's"
    return Grid(f"time against {entry['against']}", note, (entry["against"], *names), tuple(rows))


def time_of(milliseconds: float) -> str:
    """With as many digits as mean something."""
    if milliseconds < 1:
        return f"{1e3 * milliseconds:.0f} µs"
    return f"{milliseconds:.1f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"


def size_of(mib: float) -> str:
    """With as many digits as mean something: a page of the system is the least that is seen."""
    return f"{mib:.1f} MiB" if mib < 9.95 else f"{mib:.0f} MiB"


def show(grid: Grid, console: Console) -> None:
    """Print one on the terminal."""
    console.print(f"\n[bold]{escape(grid.heading)}[/bold]: {escape(grid.note)}", soft_wrap=True)
    table = Table(header_style="")
    for i, column in enumerate(grid.columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in grid.rows:
        table.add_row(*(escape(cell) for cell in row), style="green" if row[0] == OURS else "")
    console.print(table)


LEGEND = (
    "Each cell: median time of a step (forward and backward), time over ours, peak memory beyond the inputs and the "
    "gradients. A `*` marks what does not compute the same number and is there for scale."
)


def where(report: Mapping[str, Any]) -> str:
    """The machine, in one sentence."""
    m, s = report["machine"], report["settings"]
    gpu = f"{m['gpu']}, CUDA {m['cuda']}, fused kernel of {m['fused_ssim']}, beside " if "gpu" in m else ""
    cores, threads = (f"{m[name]} {name if m[name] != 1 else name[:-1]}" for name in ("cores", "threads"))
    parts = [f"{gpu}{cores} of {m['cpu']}, {threads}", f"Python {m['python']}", f"torch {m['torch']}"]
    parts.append(f"{s['rounds']} interleaved rounds, kernels `{s['kernels']}`")
    shares = [e["others"] for e in report.get("programs", ()) if e["others"] is not None]
    if shares and max(shares) >= 0.05:
        parts.append(f"other processes took up to {max(shares):.0%} of the cores")
    if m["environment"]:
        parts.append(" ".join(f"{name}={value}" for name, value in m["environment"].items()))
    if not s["compiled"]:
        parts.append("nothing is compiled, so that the figures say nothing about speed")
    return "; ".join(parts)


def markdown(report: Mapping[str, Any], date: str) -> str:
    """The section of the documentation: heading with the date, the machine, all tables."""
    device = report["machine"].get("gpu", report["machine"]["cpu"])
    lines = [f"## Figures of {date}: {device}", "", f"{where(report)}.", ""]
    if report.get("programs"):
        lines += [LEGEND, ""]
    for grid in grids(report):
        lines += [f"### {grid.heading}", "", f"{grid.note[:1].upper()}{grid.note[1:]}.", ""]
        lines += [_line(grid.columns), "|" + "---|" * len(grid.columns)]
        lines += [_line(row) for row in grid.rows] + [""]
    return "\n".join(lines)


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
