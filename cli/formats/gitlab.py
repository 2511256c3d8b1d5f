"""``gitlab``: a Code Quality report, which GitLab shows in merge requests.

https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from ...dsl.diagnostics import Severity
from . import ends

if TYPE_CHECKING:
    from ...dsl.diagnostics import Diagnostic
    from . import Report


def render(report: Report) -> str:
    """The report: one array."""
    seen: dict[str, int] = {}
    made = []
    for d in report.found:
        line, column, end_line, end_column = ends(d.source, d.span)
        made.append(
            {
                "description": f"{d.code} {d.slug}: {d.message}",
                "check_name": d.code,
                "fingerprint": _fingerprint(d, seen),
                "severity": "major" if d.severity is Severity.ERROR else "minor",
                "location": {
                    "path": d.source.name.replace("\\", "/").removeprefix("./"),
                    "positions": {
                        "begin": {"line": line, "column": column},
                        "end": {"line": end_line, "column": end_column},
                    },
                },
            }
        )
    return json.dumps(made, indent=2) + "\n"


def _fingerprint(d: Diagnostic, seen: dict[str, int]) -> str:
    """The same for the same mistake when lines above it come or go, and never the same twice in a report."""
    line = d.source.line(d.line).strip() if d.span is not None else ""
    key = "\0".join((d.source.name, d.code, d.message, line))
    seen[key] = seen.get(key, 0) + 1
    return hashlib.sha256(f"{key}\0{seen[key]}".encode("utf-8", "replace")).hexdigest()[:32]
