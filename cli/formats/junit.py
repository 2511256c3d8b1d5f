"""``junit``: XML as test runners write it: a suite for each file, a failed case for each finding.

https://github.com/testmoapp/junitxml
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import by_file, details

if TYPE_CHECKING:
    from ...dsl.diagnostics import Diagnostic
    from . import Report


_IMPOSSIBLE = re.compile("[^\\t\\n\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def render(report: Report) -> str:
    """The document. A file without findings is a suite with one case that passed."""
    found = by_file(report.found)
    names = sorted({*report.files, *found})
    suites = [_suite(name, found.get(name, [])) for name in names]
    suites += [_broken(name, reason) for name, reason in report.problems]
    cases = sum(max(1, len(found.get(name, []))) for name in names) + len(report.problems)
    head = f'tests="{cases}" failures="{len(report.found)}" errors="{len(report.problems)}"'
    body = "".join(suites)
    return f'<?xml version="1.0" encoding="utf-8"?>\n<testsuites name="splatdsl" {head}>\n{body}</testsuites>\n'


def _suite(name: str, found: list[Diagnostic]) -> str:
    shown = _attribute(name)
    head = f'  <testsuite name={shown} tests="{max(1, len(found))}" failures="{len(found)}" errors="0">\n'
    if not found:
        return f'{head}    <testcase name="splatdsl" classname={shown}/>\n  </testsuite>\n'
    cases = []
    for d in found:
        case = _attribute(f"{d.code} {d.slug}")
        place = f' line="{d.line}" column="{d.column}"' if d.span is not None else ""
        where = f"line {d.line}, column {d.column}: " if d.span is not None else ""
        text = _text("\n".join([f"{where}{d.message}", *details(d)]))
        cases.append(
            f"    <testcase name={case} classname={shown} file={shown}{place}>\n"
            f'      <failure type="{d.severity.value}" message={_attribute(d.message)}>{text}</failure>\n'
            "    </testcase>\n"
        )
    return f"{head}{''.join(cases)}  </testsuite>\n"


def _broken(name: str, reason: str) -> str:
    shown = _attribute(name)
    return (
        f'  <testsuite name={shown} tests="1" failures="0" errors="1">\n'
        f'    <testcase name="splatdsl" classname={shown}>\n'
        f'      <error type="unreadable" message={_attribute(reason)}/>\n'
        "    </testcase>\n  </testsuite>\n"
    )


def _plain(text: str) -> str:
    """Without the characters that XML cannot hold at all."""
    return _IMPOSSIBLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _text(text: str) -> str:
    return _plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _attribute(text: str) -> str:
    inner = _text(text).replace('"', "&quot;").replace("\n", "&#10;").replace("\t", "&#9;")
    return f'"{inner}"'
