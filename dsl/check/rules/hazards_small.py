"""Numbers that should keep an operation off 0, and are too small to be anything else in single precision."""

from __future__ import annotations

from ...diagnostics import Applicability, Edit, Fix
from ...typed import Expr
from .context import Context

NORMAL = 1.1754943508222875e-38
"""The least number that keeps its precision in 32 bits; what is smaller is taken for 0 by many processors."""

LEAST = 2.0**-149
"""The least number above 0 that 32 bits can hold; half of it is 0."""


def check(context: Context) -> None:
    """NAN009 for floors and summands that are 0 in single precision."""
    seen: set[tuple[int, int]] = set()
    for _, e in context.values():
        for small in _small(e):
            at = small if small.source is not context.report.hidden else e
            if at.source is context.report.hidden or (id(at.source), at.span.start) in seen:
                continue
            seen.add((id(at.source), at.span.start))
            text = context.text(small)
            what = "is 0 in single precision" if float(small.value) <= LEAST / 2 else "may be 0 in single precision"
            own = small.source is context.program.source
            context.report.emit(
                "NAN009",
                f"`{text}` {what}: it keeps nothing off 0",
                at.source,
                at.span,
                notes=["in 32 bits the least number of full precision is 1.2e-38, and 1 over less is infinite"],
                help=["write a larger one, such as `1e-6`"],
                fixes=[Fix("write `1e-6`", [Edit(small.span, "1e-6")], Applicability.UNSAFE)] if own else (),
            )


def _small(e: Expr) -> list[Expr]:
    """The literal operands of a sum or a limit that are above 0 and below what can be told from it."""
    limits = e.op == "add" or (e.op == "call" and e.builtin.name in ("max", "clamp"))
    if not limits or all(a.type.is_host for a in e.args):
        return []
    return [a for a in e.args if a.op == "const" and isinstance(a.value, float) and 0 < a.value < NORMAL]
