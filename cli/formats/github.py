"""``github``: workflow commands that GitHub Actions shows beside the lines of a change.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import details, ends

if TYPE_CHECKING:
    from . import Report


def render(report: Report) -> str:
    """One command for each finding."""
    lines = []
    for d in report.found:
        properties = {"title": f"splatdsl ({d.code} {d.slug})", "file": d.source.name}
        if d.span is not None:
            line, column, end_line, end_column = ends(d.source, d.span)
            properties |= {"line": str(line), "col": str(column), "endLine": str(end_line)}
            if end_line == line:  # across lines GitHub ignores columns
                properties["endColumn"] = str(max(end_column - 1, column))
        given = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
        message = "\n".join([d.message, *details(d)])
        lines.append(f"::{d.severity.value} {given}::{_data(message)}\n")
    return "".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
