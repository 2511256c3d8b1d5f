"""Evaluates values that are known before a step is computed, in plain Python floats."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from .interval import inf
from .typed import Expr

Value = Any  # float, bool, str, or a tuple of floats: what the host can hold


PRESENT = "?"
"""Key of an environment: the names of the inputs that are there."""


def _divide(a: float, b: float) -> float:
    if b == 0:
        return math.nan if a == 0 or math.isnan(a) else math.copysign(inf, a)
    return a / b


def _power(a: float, b: float) -> float:
    try:
        result = a**b
    except OverflowError:
        return -inf if a < 0 and b % 2 == 1 else inf
    except ZeroDivisionError:
        return inf
    return result if isinstance(result, float) else math.nan


OPERATORS: dict[str, Callable[..., float | bool]] = {
    "neg": lambda a: -a,
    "not": lambda a: not a,
    "add": lambda a, b: float(a) + float(b),
    "sub": lambda a, b: float(a) - float(b),
    "mul": lambda a, b: float(a) * float(b),
    "div": lambda a, b: _divide(float(a), float(b)),
    "pow": lambda a, b: _power(float(a), float(b)),
    "and": lambda a, b: bool(a) and bool(b),
    "or": lambda a, b: bool(a) or bool(b),
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "if": lambda then, condition, otherwise: then if condition else otherwise,
}


def environment(step: float, max_steps: float, params: Mapping[str, float | bool | str]) -> dict[str, Value]:
    """What host values are made of at one step."""
    return {"step": float(step), "max_steps": float(max_steps), "progress": step / max_steps, **params}


def evaluate(e: Expr, env: Mapping[str, Value], memo: dict[int, Value] | None = None) -> Value:
    """The value of a host-stage expression. Arithmetic follows IEEE: it gives inf or NaN instead of raising.

    Raises:
        KeyError: the expression reads something that is not a host value; a bug of the caller.
    """
    memo = {} if memo is None else memo
    if id(e) not in memo:
        for node in e.operands_first(memo):
            memo[id(node)] = _evaluate(node, env, memo)
    return memo[id(e)]


def _evaluate(e: Expr, env: Mapping[str, Value], memo: dict[int, Value]) -> Value:
    if e.op == "const":
        return e.value
    if e.op in ("param", "input", "size"):
        return env[e.value]
    if e.op == "has":
        return all(name in env[PRESENT] for name in e.value)
    args = [memo[id(a)] for a in e.args]
    if e.op == "tuple":
        return tuple(args)
    if e.op == "call":
        return call_host(e, args)
    return OPERATORS[e.op](*args)


class Tape:
    """Host-stage expressions as a list of operations, made once and evaluated at every step: what `evaluate` gives.

    Args:
        roots: the expressions; what they share is evaluated once.
    """

    def __init__(self, roots: Sequence[Expr]) -> None:
        place: dict[int, int] = {}
        self._steps: list[tuple[Callable[..., Value], tuple[int, ...] | None]] = []
        for root in roots:
            for node in root.operands_first(place):
                place[id(node)] = len(self._steps)
                reads = None if node.op in _READS else tuple(place[id(a)] for a in node.args)
                self._steps.append((_operation(node), reads))
        self._results = [place[id(root)] for root in roots]

    def __call__(self, env: Mapping[str, Value]) -> list[Value]:
        """The values of the roots."""
        values: list[Value] = []
        for operation, reads in self._steps:
            values.append(operation(env) if reads is None else operation(*[values[i] for i in reads]))
        return [values[i] for i in self._results]


_READS = frozenset({"const", "param", "input", "size", "has"})
"""Expressions that are read from the environment, or known."""


def _operation(e: Expr) -> Callable[..., Value]:
    """What computes an expression: from the environment, or from its operands."""
    if e.op == "const":
        return lambda env, value=e.value: value
    if e.op in ("param", "input", "size"):
        return itemgetter(e.value)
    if e.op == "has":
        return lambda env, names=e.value: all(name in env[PRESENT] for name in names)
    if e.op == "tuple":
        return lambda *args: args
    if e.op != "call":
        return OPERATORS[e.op]
    record = e.builtin
    if record.host is not None and not record.needs and not any(p.variadic for p in record.parsed.params):
        host, names = record.host, e.names
        return lambda *args: host(**dict(zip(names, args)))
    return lambda *args: call_host(e, list(args))


def call_host(e: Expr, args: list[Value]) -> Value:
    """The result of a builtin on host values."""
    record = e.builtin
    assert record.host is not None
    keywords: dict[str, Value] = {}
    variadic = next((p.name for p in record.parsed.params if p.variadic), None)
    many = [a for a, n in zip(args, e.names) if n == variadic]
    for name, arg in zip(e.names, args):
        if name != variadic:
            keywords[name] = arg
    if variadic is not None and not keywords:
        return record.host(*many)
    if variadic is not None:
        keywords[variadic] = many
    if "key" in record.needs:
        keywords["seed"] = record.seed
    return record.host(**keywords)
