"""Variants of a program: which terms exist, which optional inputs are there, which parameters are zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..dsl.host import OPERATORS, PRESENT, environment, evaluate
from ..dsl.interval import point
from ..dsl.live import Zeros
from ..dsl.typed import Expr, TypedProgram, TypedTerm
from ..dsl.types import CONSTANT, NUMBER, STEP, Type


class Facts(NamedTuple):
    """What one variant takes for granted. Nothing else about a step can change its graph.

    Attributes:
        terms: names of the terms that exist.
        has_mask: whether the item has a mask.
        zero_params: parameters that are exactly 0, or flags that are false.
        present: optional inputs that the item has.
        fixed: modes and flags with their values, which are constants of the graph.
    """

    terms: tuple[str, ...]
    has_mask: bool
    zero_params: frozenset[str]
    present: frozenset[str] = frozenset()
    fixed: tuple[tuple[str, bool | str], ...] = ()

    def zeros(self) -> Zeros:
        """What parameters and missing inputs decide in this variant."""
        there = self.present | ({"mask"} if self.has_mask else set())
        return Zeros({**dict.fromkeys(self.zero_params, 0.0), **dict(self.fixed)}, there)

    def describe(self) -> str:
        """In words, for progress messages."""
        parts = [f"term{'s' if len(self.terms) > 1 else ''} {', '.join(self.terms)}"] if self.terms else ["no term"]
        parts.append("with mask" if self.has_mask else "without mask")
        parts += [f"with {name}" for name in sorted(self.present - {"target"})]
        return ", ".join(parts)


class Schedule:
    """The host's side of a program: which terms exist at a step and what they weigh."""

    def __init__(self, program: TypedProgram) -> None:
        self.program = program
        self._zeros: dict[object, Zeros] = {}
        self._inputs: dict[Facts, frozenset[str]] = {}
        self.optional = frozenset(name for name, info in program.inputs.items() if info.optional)
        self._has = any(e.op == "has" for t in program.terms for e in t.value.walk())
        self.host_inputs = tuple(info for info in program.inputs.values() if info.stage == STEP)

    def params(self) -> dict[str, float | bool | str]:
        """The values of the parameters now in force."""
        return {name: info.value for name, info in self.program.params.items()}

    def environment(
        self,
        step: int,
        max_steps: int,
        present: frozenset[str] | None = None,
        host: Mapping[str, float | bool] | None = None,
    ) -> dict[str, Any]:
        """What host values are made of at a step.

        Args:
            step: counted from 0.
            max_steps: length of the run.
            present: optional inputs, and "mask" and "target", that are there; None: all of them.
            host: values of the inputs that the host gives, and sizes by their letter.
        """
        env: dict[str, Any] = environment(step, max_steps, self.params())
        env[PRESENT] = self.optional | {"mask", "target"} if present is None else present
        env.update(host or {})
        return env

    def zeros(self, present: frozenset[str] | None = None) -> Zeros:
        """Which values the parameters now in force make 0; found out once for each set of parameters that are."""
        zero = frozenset(name for name, info in self.program.params.items() if info.value == 0)
        key = (zero, self.fixed(), present)
        found = self._zeros.get(key)
        if found is None:
            found = self._zeros[key] = Zeros({**dict.fromkeys(zero, 0.0), **dict(self.fixed())}, present)
        return found

    def fixed(self) -> tuple[tuple[str, bool | str], ...]:
        """The modes and flags with their values."""
        params = self.program.params.items()
        return tuple((name, info.value) for name, info in params if isinstance(info.value, (bool, str)))

    def active(self, env: Mapping[str, Any], group: str | None = None) -> tuple[TypedTerm, ...]:
        """The terms that exist: their condition holds, and no parameter makes them 0; all groups, or one."""
        zeros = self.zeros(env[PRESENT])
        return tuple(
            t
            for t in self.program.terms
            if (group is None or t.group == group)
            and (t.when is None or evaluate(t.when, env))
            and not zeros.is_zero(t.value)
        )

    def facts(self, env: Mapping[str, Any], has_mask: bool, group: str | None = None) -> Facts:
        """The variant of a step."""
        terms = tuple(t.name for t in self.active(env, group))
        present = frozenset(env[PRESENT]) - {"mask"} if self._asks() else frozenset()
        return Facts(terms, has_mask, self.zeros().zero_params, present, self.fixed())

    def _asks(self) -> bool:
        return bool(self.optional) or self._has

    def inputs(self, facts: Facts) -> frozenset[str]:
        """Fixed inputs and regions that the terms of a variant read."""
        found = self._inputs.get(facts)
        if found is None:
            zeros = facts.zeros()
            names = (zeros.inputs(t.value) for t in self.program.terms if t.name in facts.terms)
            found = self._inputs[facts] = frozenset().union(*names)
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


def weight(factors: list[tuple[bool, Expr]], env: Mapping[str, Any]) -> float:
    """The product of host factors at a step."""
    product = 1.0
    for divides, factor in factors:
        value = float(evaluate(factor, env))
        product = float(OPERATORS["div"](product, value)) if divides else product * value
    return product
