"""The summands of a term: what is reduced, with which host factors, and with which sign."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ...host import evaluate
from ...spans import Timeline
from ...typed import Expr
from .context import Context

MOST = 2_000
"""Summands that are looked at: shared values make them grow without end."""

POINTWISE = frozenset(
    {"abs", "sq", "sqrt", "norm", "component_max", "component_min", "component_mean", "component_sum"}
)
"""Builtins of one value per pixel or gaussian, each by itself."""


class Part(NamedTuple):
    """One summand of a term.

    Attributes:
        e: the value, which is no product with a host number and no sum.
        factors: the host numbers that multiply it, and the reciprocals' divisors as (value, True).
        negative: whether an odd number of minus signs is before it.
    """

    e: Expr
    factors: tuple[tuple[Expr, bool], ...] = ()
    negative: bool = False


def parts(context: Context, value: Expr, whole: Callable[[Expr], bool] | None = None) -> Iterator[Part]:
    """The summands of a value, those that are 0 because a parameter is left out.

    Values that are ``whole`` are not taken apart.
    """
    stack, left = [Part(value)], MOST
    while stack and left:
        left -= 1
        part = stack.pop()
        e = part.e
        if context.zeros.is_zero(e) or e.type.is_host:
            continue
        chosen = context.zeros.chosen(e)
        if whole is not None and whole(e):
            yield part
        elif chosen:
            stack.extend(part._replace(e=c) for c in chosen)
        elif e.op in ("add", "sub"):
            second = part.negative != (e.op == "sub")
            stack.append(part._replace(e=e.args[1], negative=second))
            stack.append(part._replace(e=e.args[0]))
        elif e.op == "neg":
            stack.append(part._replace(e=e.args[0], negative=not part.negative))
        elif e.op == "mul" and any(a.type.is_host for a in e.args):
            host, other = sorted(e.args, key=lambda a: not a.type.is_host)
            negative = part.negative != (host.type.range.sign == -1)
            stack.append(part._replace(e=other, factors=(*part.factors, (host, False)), negative=negative))
        elif e.op == "div" and e.args[1].type.is_host:
            stack.append(part._replace(e=e.args[0], factors=(*part.factors, (e.args[1], True))))
        elif e.op == "if":
            stack.append(part._replace(e=e.args[2]))
            stack.append(part._replace(e=e.args[0]))
        elif e.op == "over":
            stack.append(part._replace(e=e.args[1]))
        else:
            yield part


def weight(part: Part, timeline: Timeline, step: int = 0) -> float | None:
    """The product of the host factors at a step, without its sign; None where it is not known before the run."""
    product = 1.0
    for factor, divides in part.factors:
        if not timeline.known(factor):
            return None
        value = abs(float(evaluate(factor, timeline.environment(step))))
        if divides and value == 0:
            return None
        product = product / value if divides else product * value
    return product


def reduced(e: Expr) -> Expr | None:
    """What a mean or a sum of everything is made of."""
    if e.op == "call" and e.builtin.name in ("mean", "sum", "smallest_mean", "largest_mean") and "over" not in e.names:
        return e.arg("x")
    return None
