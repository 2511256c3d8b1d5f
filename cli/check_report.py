"""What ``check`` prints beside the findings of one file: whole reports, counts and the summary."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..dsl.render import count as counted
from ..dsl.render import summary as totals
from ..dsl.render import wants_color
from .formats import Report, renderer

if TYPE_CHECKING:
    from ..dsl.diagnostics import Diagnostic
    from .check import Run


def show(run: Run, found: list[Diagnostic]) -> None:
    """Print the findings of one file, parted from those before by an empty line where the format has such."""
    if run.options.format == "full" and run.found:
        run.out.write("\n")
    _print(run, renderer(run.options.format)(_report(run, found)))


def _print(run: Run, text: str) -> None:
    """Print line by line: one write of everything could end half-way unseen when the reader goes away."""
    run.out.writelines(text.splitlines(keepends=True))


def _report(run: Run, found: list[Diagnostic]) -> Report:
    options = run.options
    color = options.color
    if color is None:
        color = not options.output_file and wants_color(run.out)
    return Report(found, run.files, run.problems, color, options.unsafe_fixes, options.format)


def report(run: Run) -> None:
    """Print the whole report, or write it to its file."""
    whole = _report(run, run.found)
    if run.options.statistics:
        text = statistics(whole)
    elif run.found or run.options.format not in ("full", "concise"):
        text = renderer(run.options.format)(whole)
    else:
        text = ""
    path = run.options.output_file
    if path is None:
        _print(run, text)
        return
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        reason = f"cannot be written: {(error.strerror or str(error)).lower()}"
        run.complain(path, f"the report `{path}` {reason}", reason)


def statistics(report: Report) -> str:
    """How often each code was found, most frequent first; ``[*]`` where a fix would be applied."""
    from ..dsl.fixes import best

    counts: dict[str, list[Diagnostic]] = {}
    for diagnostic in report.found:
        counts.setdefault(diagnostic.code, []).append(diagnostic)
    rows = sorted(counts.items(), key=lambda row: (-len(row[1]), row[0]))
    fixable = {code: sum(best(d, report.unsafe) is not None for d in found) for code, found in rows}
    if report.format in ("json", "json-lines"):
        import json

        made = [
            {"code": code, "slug": found[0].slug, "count": len(found), "fixable": fixable[code]} for code, found in rows
        ]
        lines = [json.dumps(row) for row in made] if report.format == "json-lines" else [json.dumps(made, indent=2)]
        return "".join(f"{line}\n" for line in lines)
    width = max((len(str(len(found))) for _, found in rows), default=1)
    return "".join(
        f"{len(found):>{width}}  {'[*]' if fixable[code] else '   '}  {code}  {found[0].slug}\n" for code, found in rows
    )


def summary(run: Run) -> str:
    """What was fixed, what is left, and what ``--fix`` could do."""
    from ..dsl.fixes import count

    parts = []
    fixed = sum(map(len, run.fixed.values()))
    if run.options.fix == "ignore":
        parts.append(f"suppressed {counted(fixed, 'finding')} in {counted(len(run.fixed), 'file')}")
    elif run.options.fix:
        verb = "would fix" if run.options.fix == "diff" else "fixed"
        parts.append(f"{verb} {counted(fixed, 'finding')} in {counted(len(run.fixed), 'file')}")
    left = totals(run.found, len(run.files))
    parts.append(f"{left} left" if run.fixed and run.found and run.options.fix != "diff" else left)
    lines = ["; ".join(parts[:1] if run.options.fix == "diff" else parts)]
    safe, unsafe = count(run.found) if not run.options.fix else (0, 0)
    if run.options.unsafe_fixes:
        safe, unsafe = safe + unsafe, 0
    if safe:
        more = f" ({unsafe} more with --unsafe-fixes)" if unsafe else ""
        lines.append(f"[*] {safe} fixable with --fix{more}")
    elif unsafe:
        lines.append(f"{unsafe} fixable with --fix --unsafe-fixes")
    return "\n".join(lines)
