"""Terms as numbers of the host times what a graph computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..dsl.host import OPERATORS, evaluate
from ..dsl.interval import point
from ..dsl.live import Zeros
from ..dsl.typed import Expr
from ..dsl.types import CONSTANT, NUMBER, Type


def split_weight(e: Expr, zeros: Zeros) -> tuple[list[tuple[bool, Expr]], Expr]:
    """A term as host factors times a tensor factor: [(divides, factor), ...] and the rest."""
    factors: list[tuple[bool, Expr]] = []
    while True:
        if e.op == "neg":
            factors.append((False, _minus_one(e)))
            e = e.args[0]
        elif e.op == "mul" and e.args[0].type.is_host != e.args[1].type.is_host:
            host, e = (e.args[0], e.args[1]) if e.args[0].type.is_host else (e.args[1], e.args[0])
            factors.append((False, host))
        elif e.op == "div" and e.args[1].type.is_host and not e.args[0].type.is_host:
            factors.append((True, e.args[1]))
            e = e.args[0]
        elif e.op in ("add", "sub") and sum(not zeros.is_zero(a) for a in e.args) == 1 and not zeros.is_zero(e.args[0]):
            e = e.args[0]
        elif e.op == "add" and zeros.is_zero(e.args[0]) and not zeros.is_zero(e.args[1]):
            e = e.args[1]
        else:
            return factors, e


def _minus_one(e: Expr) -> Expr:
    return Expr("const", (), Type(CONSTANT, NUMBER, point(-1.0)), e.span, e.source, -1.0)


def weight(factors: list[tuple[bool, Expr]], env: Mapping[str, Any]) -> float:
    """The product of host factors at a step."""
    product = 1.0
    for divides, factor in factors:
        value = float(evaluate(factor, env))
        product = float(OPERATORS["div"](product, value)) if divides else product * value
    return product
