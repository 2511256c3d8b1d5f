"""``sarif``: SARIF 2.1.0, which code-scanning services read.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ...dsl.codes import lookup
from ...dsl.diagnostics import Severity
from . import ends

if TYPE_CHECKING:
    from ...dsl.codes.record import Code
    from ...dsl.diagnostics import Diagnostic, Fix
    from ...dsl.source import Source, Span
    from . import Report

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def render(report: Report) -> str:
    """One run, with the records of the codes that it found."""
    from importlib.metadata import version

    codes = sorted({d.code for d in report.found})
    driver = {
        "name": "splatdsl",
        "version": version("splatdsl"),
        "rules": [_rule(lookup(code)) for code in codes],
    }
    invocation: dict[str, Any] = {"executionSuccessful": not report.problems}
    if report.problems:
        invocation["toolExecutionNotifications"] = [
            {"level": "error", "message": {"text": f"{name}: {reason}"}} for name, reason in report.problems
        ]
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "artifacts": [{"location": {"uri": _uri(name)}} for name in sorted(set(report.files))],
        "columnKind": "unicodeCodePoints",
        "results": [_result(d, codes.index(d.code)) for d in report.found],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(code: Code) -> dict[str, Any]:
    parts = [code.why, *([code.fix] if code.fix else []), *([f"Wrong if: {code.wrong_if}"] if code.wrong_if else [])]
    examples = [f"{title}\n\n```\n{text}\n```" for title, text in (("Wrong:", code.bad), ("Right:", code.good)) if text]
    return {
        "id": code.id,
        "name": "".join(word.capitalize() for word in code.slug.split("-")),
        "shortDescription": {"text": code.what},
        "fullDescription": {"text": code.why},
        "help": {"text": "\n\n".join(parts), "markdown": "\n\n".join([*parts, *examples])},
        "defaultConfiguration": {
            "level": "error" if code.group == "correctness" else "warning",
            "enabled": code.group != "pedantic",
        },
        "properties": {"tags": [code.group], "slug": code.slug},
    }


def _result(d: Diagnostic, rule: int) -> dict[str, Any]:
    lines = [d.message, *(f"note: {n}" for n in d.notes), *(f"help: {h}" for h in d.help)]
    result: dict[str, Any] = {
        "ruleId": d.code,
        "ruleIndex": rule,
        "level": "error" if d.severity is Severity.ERROR else "warning",
        "message": {"text": "\n".join(lines)},
        "locations": [{"physicalLocation": _location(d.source, d.span)}],
    }
    if d.labels:
        result["relatedLocations"] = [
            {"physicalLocation": _location(label.source or d.source, label.span), "message": {"text": label.text}}
            for label in d.labels
        ]
    fixes = [_fix(d, fix) for fix in d.fixes if fix.edits]
    if fixes:
        result["fixes"] = fixes
    return result


def _fix(d: Diagnostic, fix: Fix) -> dict[str, Any]:
    replacements = [
        {"deletedRegion": _region(d.source, edit.span), "insertedContent": {"text": edit.text}} for edit in fix.edits
    ]
    change = {"artifactLocation": {"uri": _uri(d.source.name)}, "replacements": replacements}
    return {
        "description": {"text": f"{fix.title} ({fix.applicability.value})"},
        "artifactChanges": [change],
        "properties": {"applicability": fix.applicability.value},
    }


def _location(source: Source, span: Span | None) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": _uri(source.name)}}
    if span is not None:
        location["region"] = _region(source, span)
    return location


def _region(source: Source, span: Span) -> dict[str, int]:
    line, column, end_line, end_column = ends(source, span)
    return {"startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column}


def _uri(name: str) -> str:
    path = name.replace(os.sep, "/").removeprefix("./")
    if os.path.isabs(name):
        return "file://" + ("" if path.startswith("/") else "/") + quote(path, safe="/:")
    return quote(path, safe="/")
