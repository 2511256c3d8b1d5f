"""Signs that only show with the parameters in force, and differences whose sign was never taken away."""

from __future__ import annotations

from ...interval import Interval, point, show
from ...typed import Expr, TypedTerm
from ...types import STEP
from ..functions import library
from .context import Context
from .parts import Part, parts, reduced
from .places import Places

PLAIN = frozenset({"clamp", "max", "min", "raw", "resize", "blur", "gray", "component_mean", "block_mean", "normalize"})
"""Functions after which a value is still of the same quantity."""


def check(context: Context) -> None:
    """SSM021 for a loss whose weight is negative, or a similarity whose weight is positive, as parameters are now."""
    places: Places | None = None
    for term in context.live:
        for part in parts(context, term.value, _is_loss):
            t = part.e.type
            wrong = -1 if t.dissimilarity and not t.similarity else 1 if t.similarity and not t.dissimilarity else 0
            # Where every sign is known from the text, the term itself has been judged already.
            if not wrong or all(f.type.range.sign is not None for f, _ in part.factors):
                continue
            weight = _weight(context, part)
            if weight is None or (weight.lo >= 0 if wrong < 0 else weight.lo <= 0):
                continue
            places = context.places
            _report(context, term, part, weight, wrong, places)


def _is_loss(e: Expr) -> bool:
    """Whether the value is a loss of the language, such as `1 - ssim` by its name."""
    function = library(e.via.name) if e.via is not None and e.via.prelude else None
    return function is not None and function.loss and not e.type.similarity


def _weight(context: Context, part: Part) -> Interval | None:
    """What the product of the host factors can be over the run, sign included; None where that is not known."""
    product = point(-1.0 if part.negative else 1.0)
    timeline = context.timeline
    for factor, divides in part.factors:
        if not timeline.known(factor) or (factor.type.stage == STEP and context.max_steps is None):
            return None
        end = context.max_steps or 1
        range_ = timeline.bounds(factor, 0, end) if timeline.moves(factor) else point(float(timeline.value(factor, 0)))
        if factor.type.range.sign == -1:
            range_ = range_.abs()  # its sign is in `negative`
        if divides and 0 in range_:
            return None
        product = product / range_ if divides else product * range_
    return product


def _report(context: Context, term: TypedTerm, part: Part, weight: Interval, wrong: int, places: Places) -> None:
    source, span = places.at(part.e)
    text = " ".join(source.slice(span).split())
    names = [e.value for f, _ in part.factors for e in f.walk() if e.op == "param"]
    if weight.is_point:
        value = show(weight.lo)
    else:
        value = f"between {show(weight.lo)} and {show(weight.hi)} over the run"
    if wrong < 0:
        message = f"term `{term.name}` makes a loss large: the weight of `{text}` is {value}"
        help_ = "keep the weight at 0 or above, as in `max(w, 0)`"
        limit = "in [0, 1]"
    else:
        message = f"term `{term.name}` makes a similarity small: the weight of `{text}` is {value}"
        help_ = f"write `1 - {text}`"
        limit = ">= 0"
    if names:
        help_ += f"; limits such as `param {names[0]} = ... {limit}` let this be found whatever the value"
    context.report.emit("SSM021", message, source, span, help=[help_])


def check_signed(context: Context) -> None:
    """SSM022 for the mean of a difference: its terms cancel, and it has no least value."""
    places: Places | None = None
    seen: set[int] = set()
    for term in context.live:
        for part in parts(context, term.value):
            x = reduced(part.e)
            difference = None if x is None else _difference(x)
            if difference is None or id(difference) in seen:
                continue
            seen.add(id(difference))
            places = context.places
            source, span = places.at(difference)
            text = " ".join(source.slice(span).split())
            context.report.emit(
                "SSM022",
                f"term `{term.name}` adds up signed differences: what is too bright here makes up for what is too dark "
                "there, and ever smaller values make it ever smaller",
                source,
                span,
                help=[f"write `abs({text})` or `sq({text})`, or a loss such as `l1`"],
            )


def _difference(x: Expr) -> Expr | None:
    """The difference of two values of one kind that a reduced value is, up to a region or a host factor."""
    while x.op in ("mul", "neg"):
        others = [a for a in x.args if not (a.type.is_host or a.type.kind.name == "region")]
        if len(others) != 1:
            return None
        x = others[0]
    if x.op != "sub":
        return None
    left, right = x.args
    pixels = all(a.type.kind.layout == "pixels" and a.type.kind.name != "region" for a in (left, right))
    if not pixels or left.type.kind.name != right.type.kind.name or x.type.range.lo >= 0:
        return None
    # Errors and squares have lost their sign already; x - detach(x) and the like are made for their gradient.
    plain = all(e.op != "call" or e.builtin.name in PLAIN for a in (left, right) for e in a.walk())
    return x if plain else None
