"""``json-lines``: the objects of ``json``, one on each line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ...dsl.render import as_dict

if TYPE_CHECKING:
    from . import Report


def render(report: Report) -> str:
    """One line for each finding."""
    return "".join(json.dumps(as_dict(diagnostic)) + "\n" for diagnostic in report.found)
