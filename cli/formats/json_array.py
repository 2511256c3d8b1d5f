"""``json``: one array with an object for each finding, every fix with its applicability included."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ...dsl.render import as_dict

if TYPE_CHECKING:
    from . import Report


def render(report: Report) -> str:
    """The array, indented."""
    return json.dumps([as_dict(diagnostic) for diagnostic in report.found], indent=2) + "\n"
