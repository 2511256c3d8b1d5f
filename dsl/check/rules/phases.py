"""Programs whose conditions make so many sets of terms that they cannot be compiled as a whole."""

from __future__ import annotations

from ...diagnostics import Label
from ...phases import MOST, RUN, Crowd, crowded
from .context import Context
from .schedules import parameters

MOST_LABELS = 4
"""Conditions that are shown beside the first."""


def check(context: Context) -> None:
    """SCH025 for more sets of terms that exist together than are compiled as a whole."""
    if len({id(t.when) for t in context.live if t.when is not None}) + len(context.program.memories) < 2:
        return
    for group in context.program.groups or (None,):
        timeline = None if context.max_steps is None else context.timeline
        crowd = crowded(context.program, context.max_steps or RUN, group, timeline)
        if crowd is not None:
            _report(context, group, crowd)


def _report(context: Context, group: str | None, crowd: Crowd) -> None:
    gates = crowd.gates
    whose = f"the group `{group}`" if group else "this program"
    count = f"{crowd.sets:,}" if crowd.complete else f"more than {min(crowd.sets, 100):,}"
    first, *others = gates
    labels = [Label(e.span, "this is another", e.source) for e in others[:MOST_LABELS]]
    context.report.emit(
        "SCH025",
        f"the {len(gates)} conditions of {whose} make {count} sets of terms that exist together, more than {MOST}",
        first.source,
        first.span,
        caption="this is one of the conditions",
        labels=[*labels, *parameters(context, first)],
        help=[
            f"let terms share a condition, as in `let now = {context.text(first)}` and `when now` for several of them; "
            "as it is, each condition is compiled in a graph of its own, and none uses what another computes"
        ],
    )
