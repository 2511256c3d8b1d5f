"""Variants of a program: which terms exist, which optional inputs are there, which parameters are zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..dsl.host import OPERATORS, environment, evaluate
from ..dsl.interval import point
from ..dsl.live import Zeros
from ..dsl.typed import Expr, TypedProgram, TypedTerm
from ..dsl.types import CONSTANT, NUMBER, Type


class Facts(NamedTuple):
    """What one variant takes for granted. Nothing else about a step can change its graph.

    Attributes:
        terms: names of the terms that exist.
        has_mask: whether the item has a mask.
        zero_params: parameters that are exactly 0, or flags that are false.
    """

    terms: tuple[str, ...]
    has_mask: bool
    zero_params: frozenset[str]

    def describe(self) -> str:
        """In words, for progress messages."""
        parts = [f"term{'s' if len(self.terms) > 1 else ''} {', '.join(self.terms)}"] if self.terms else ["no term"]
        parts.append("with mask" if self.has_mask else "without mask")
        return ", ".join(parts)


class Schedule:
    """The host's side of a program: which terms exist at a step and what they weigh."""

    def __init__(self, program: TypedProgram) -> None:
        self.program = program
        self._zeros: dict[frozenset[str], Zeros] = {}
        self._inputs: dict[tuple[tuple[str, ...], frozenset[str]], frozenset[str]] = {}

    def params(self) -> dict[str, float | bool]:
        """The values of the parameters now in force."""
        return {name: info.value for name, info in self.program.params.items()}

    def environment(self, step: int, max_steps: int) -> dict[str, float | bool]:
        """What host values are made of at a step."""
        return environment(step, max_steps, self.params())

    def zeros(self) -> Zeros:
        """Which values the parameters now in force make 0; found out once for each set of parameters that are."""
        zero = frozenset(name for name, info in self.program.params.items() if info.value == 0)
        found = self._zeros.get(zero)
        if found is None:
            found = self._zeros[zero] = Zeros(dict.fromkeys(zero, 0.0))
        return found

    def active(self, env: Mapping[str, float | bool]) -> tuple[TypedTerm, ...]:
        """The terms that exist: their condition holds, and no parameter makes them 0."""
        zeros = self.zeros()
        return tuple(
            t for t in self.program.terms if (t.when is None or evaluate(t.when, env)) and not zeros.is_zero(t.value)
        )

    def facts(self, env: Mapping[str, float | bool], has_mask: bool) -> Facts:
        """The variant of a step."""
        return Facts(tuple(t.name for t in self.active(env)), has_mask, self.zeros().zero_params)

    def inputs(self, facts: Facts) -> frozenset[str]:
        """Fixed inputs and regions that the terms of a variant read."""
        key = (facts.terms, facts.zero_params)
        found = self._inputs.get(key)
        if found is None:
            zeros = Zeros(dict.fromkeys(facts.zero_params, 0.0))
            names = (zeros.inputs(t.value) for t in self.program.terms if t.name in facts.terms)
            found = self._inputs[key] = frozenset().union(*names)
        return found


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


def weight(factors: list[tuple[bool, Expr]], env: Mapping[str, float | bool]) -> float:
    """The product of host factors at a step."""
    product = 1.0
    for divides, factor in factors:
        value = float(evaluate(factor, env))
        product = float(OPERATORS["div"](product, value)) if divides else product * value
    return product
