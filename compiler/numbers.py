"""The numbers that the host supplies to a graph at each step: weights, schedules, parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.host import OPERATORS, PRESENT, Tape
from ..dsl.typed import Expr
from .lower import HostSlot


class Numbers:
    """Computes the numbers of a part, in the order of its slots."""

    def __init__(self, slots: Sequence[HostSlot]) -> None:
        self.slots = tuple(slots)
        self._plain = [slot for slot in slots if not slot.path]
        self._tape = Tape([e for slot in self._plain for e in _roots(slot)])
        # What is under a condition may read what is not given where it does not hold.
        self._guarded = {
            i: ([(Tape([c]), truth) for c, truth in slot.path], Tape(_roots(slot)))
            for i, slot in enumerate(slots)
            if slot.path
        }

    def __call__(self, env: Mapping[str, Any]) -> list[float]:
        """The numbers of a step.

        Raises:
            LossError: one is not finite.
        """
        values = iter(self._tape(env))
        numbers: list[float] = []
        for i, slot in enumerate(self.slots):
            own = values
            if i in self._guarded:
                path, tape = self._guarded[i]
                if not all(bool(condition(env)[0]) == truth for condition, truth in path):
                    numbers.append(1.0)
                    continue
                own = iter(tape(env))
            number = float(next(own)) if slot.value is not None else _product(slot, own)
            if not math.isfinite(number):
                limit = slot.value is not None and slot.value.op == "param"  # `inf` as a limit that nothing reaches
                if math.isnan(number) or not limit:
                    raise LossError([_not_finite(slot, number, env)])
            numbers.append(number)
        return numbers


def _roots(slot: HostSlot) -> list[Expr]:
    return [slot.value] if slot.value is not None else [factor for _, factor in slot.factors]


def _product(slot: HostSlot, values: Any) -> float:
    product = 1.0
    for divides, _ in slot.factors:
        value = float(next(values))
        product = float(OPERATORS["div"](product, value)) if divides else product * value
    return product


def _not_finite(slot: HostSlot, number: float, env: Mapping[str, Any]) -> Diagnostic:
    at: Expr = slot.value if slot.value is not None else slot.factors[0][1]
    return Diagnostic(
        "BND008",
        f"`{slot.name}` is {number} at step {int(env['step'])}",
        at.source,
        at.span,
        notes=[f"`{name}` is {value}" for name, value in env.items() if name not in ("progress", PRESENT)],
        help=["keep divisors and arguments of `log` above 0 over the whole run, for instance with `max(x, 1e-6)`"],
    )
