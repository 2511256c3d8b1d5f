"""Half precision: numbers above 65504 are infinite in it, and numbers below 3e-8 are 0."""

from __future__ import annotations

from ...inputs import RENDER_BUFFERS
from ...interval import Interval, show
from ...typed import Expr
from ...types import TENSOR
from ..ranges import Ranges
from ..structure import operands_first
from . import hazards_shapes as shapes
from .context import Context

LARGEST = 65504.0
SMALLEST = 2.0**-25
"""What is smaller rounds to 0: half of the smallest number above 0, 2^-24."""

BRIGHTEST = Interval(0.0, 4.0)
"""What colours of a render can be; they overshoot 1 a little."""


def check(context: Context) -> None:
    """DTP002 for values of the render that can overflow, NAN009 for small numbers that vanish."""
    if context.half:
        _Half(context).check()


class _Half:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.ranges = Ranges(context.program, BRIGHTEST)
        self.places = context.places
        self.rendered: dict[int, bool] = {}
        self.reported: dict[int, bool] = {}

    def check(self) -> None:
        """Look at every value that is made of what the renderer gives, operands first."""
        for term in self.context.live:
            for e in operands_first(term.value, self.rendered):
                own = e.op in ("input", "field") and _is_buffer(str(e.value))
                self.rendered[id(e)] = own or any(self.rendered[id(a)] for a in e.args)
                below = any(self.reported.get(id(a), False) for a in e.args)
                self.reported[id(e)] = below
                if not self.rendered[id(e)] or self.ranges.exhausted:
                    continue
                self._vanishing(e)
                if not below and e.type.stage == TENSOR and self._overflow(e):
                    self.reported[id(e)] = True

    def _vanishing(self, e: Expr) -> None:
        """A small literal that is added to a value, or that limits it."""
        if e.op not in ("add", "sub") and not (e.op == "call" and e.builtin.name in ("max", "min", "clamp")):
            return
        for small in e.args:
            at = small.type.range
            if small.type.stage != 0 or not at.is_point or not 0 < abs(at.lo) < SMALLEST:
                continue
            place = self.places.of(e) if small.source is self.context.report.hidden else self.places.of(small)
            text = self.context.text(place)
            message, help_ = f"`{text}` is 0 in half precision", "use at least 1e-4"
            if small.source is self.context.report.hidden:
                message = f"`{text}` uses {show(at.lo)}, which is 0 in half precision"
                help_ = "give a larger `eps`, such as `eps=1e-4`"
            self.context.report.emit("NAN009", message, place.source, place.span, help=[help_])

    def _overflow(self, e: Expr) -> bool:
        cause = self._cause(e)
        if not cause:
            return False
        place = self.places.of(e)
        text = self.context.text(place)
        self.context.report.emit(
            "DTP002",
            f"`{text}` can be above 65504 and is then infinite in half precision",
            place.source,
            place.span,
            caption=cause[0],
            help=[cause[1]],
        )
        return True

    def _cause(self, e: Expr) -> tuple[str, str] | None:
        """Why a value can be too large, and what to do; None if it cannot."""
        top = self.ranges.at(e, self.ranges.nowhere).range.abs().hi
        if top <= LARGEST:
            return None
        squared = shapes.square(self.ranges, e)
        if squared is not None:
            return "from 256 on", f"limit it first, as in `sq(clamp({self._text(squared)}, -255, 255))`, or take `abs`"
        if shapes.is_call(e, "exp"):
            return "from 11.1 on", f"limit it first, as in `exp(min({self._text(e.args[0])}, 11))`"
        if shapes.is_call(e, "sum"):
            return "a sum over everything", "take the `mean`, which stays in the range of the values"
        if e.op == "div":
            above, below = (self.ranges.at(a, self.ranges.nowhere).range for a in e.args)
            if below.lo > 0 and above.abs().hi <= LARGEST:
                return f"the divisor goes down to {show(below.lo)}", "use a larger floor, such as 1e-3"
        return None

    def _text(self, e: Expr) -> str:
        return self.context.text(self.places.of(e))


def _is_buffer(name: str) -> bool:
    """Whether an input is drawn by the renderer, for this view or another one."""
    return (name in RENDER_BUFFERS or name.partition(".")[2] in RENDER_BUFFERS) and not name.endswith(
        ("radii", "visible")
    )
