"""The sets of terms that exist together, from the conditions of a program."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice, pairwise, product
from typing import Any

from .check.structure import Structure
from .host import evaluate
from .interval import ZERO
from .live import Zeros
from .phases_sets import full, multiples, of_spans
from .spans import Timeline
from .steps import Gate
from .typed import Expr, TypedProgram, TypedTerm

MOST = 16
"""Sets of terms that are each worth a graph; where a program has more, each condition has a graph of its own."""

LISTED = 1_000
"""Sets of terms that are told apart."""

CASES = 256
"""Outcomes of what is not known beforehand that are looked at."""

LONGEST = 2**20
"""Steps that are looked at."""

COUNTED = 100
"""Sets of terms that are counted for a message."""

STEP_BY_STEP = 3_000_000
"""Operations for evaluating conditions without spans at each step, all of a program together; further conditions count
both ways."""

_COMPARED = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
_SPANS = frozenset({"after", "before", "between"})


class _Run(Timeline):
    """Host values over a run of which some inputs are given."""

    def __init__(self, params: Mapping[str, Any], host: Mapping[str, Any], max_steps: int) -> None:
        super().__init__({**params, **host}, max_steps)
        self._given = frozenset(host)

    def _is_known(self, e: Expr) -> bool:
        return (e.op in ("input", "size") and e.value in self._given) or super()._is_known(e)

    def _direction(self, e: Expr) -> int | None:
        return 0 if e.op in ("input", "size") and e.value in self._given else super()._direction(e)


Cases = dict[int, int]
"""Steps by the number of the case."""


class Reader:
    """Works out the sets of terms of a program.

    Attributes:
        gates: the conditions that differ, by a number that equal ones share, in the order of the program.
        complete: whether every set was looked at.
        all: all steps.
        smooth: the steps at which each condition holds that has spans.
        every: the steps of each gate that opens again and again.
        free: conditions that are not known beforehand, by number.
        outcomes: the outcomes of these that were looked at.
    """

    def __init__(
        self,
        program: TypedProgram,
        max_steps: int,
        group: str | None = None,
        host: Mapping[str, Any] | None = None,
        present: Collection[str] | None = None,
        timeline: Timeline | None = None,
    ) -> None:
        self.program = program
        self.end = min(max_steps, LONGEST)
        self.complete = max_steps <= LONGEST
        params = {name: info.value for name, info in program.params.items()}
        there = frozenset(_askable(program) if present is None else present)
        self.zeros = Zeros(params, there)
        self.structure = Structure()
        self.timeline = timeline or _Run(params, host or {}, max_steps)
        self.max_steps = max_steps
        self.all = full(self.end)
        self.gates: dict[int, Expr] = {}
        self._left = STEP_BY_STEP
        self._leaves: dict[int, int | None] = {}  # None: not known beforehand
        self.free: dict[int, Expr] = {}
        self.every: dict[Gate, int] = {}
        self.smooth: list[int] = []
        self.outcomes: list[dict[int, bool]] = []
        inside = [t for t in program.terms if group is None or t.group == group]
        self.terms = [(t, self._gate(t.when)) for t in inside if self._exists(t)]
        memories = sorted(used_memories(program, [t.value for t in inside], self.zeros, program.memories))
        self.memories = [(name, self._gate(program.memories[name].when)) for name in memories]

    def _exists(self, term: TypedTerm) -> bool:
        never = term.when is not None and self.zeros.decide(term.when) is False
        return not never and not self.zeros.is_zero(term.value)

    def _gate(self, when: Expr | None) -> int | None:
        """The number of a condition, None for one that always holds."""
        if when is None or self.zeros.decide(when):
            return None
        key = self.structure.key(when)
        self.gates.setdefault(key, when)
        return key

    def cases(self) -> Iterator[dict[int, int]]:
        """For each outcome of what is not known beforehand, the steps at which each gate is open."""
        plans = {key: self._plan(when) for key, when in self.gates.items()}
        axes = self._axes()
        several = product(*axes)
        for chosen in islice(several, CASES):
            outcome = {key: open_ for axis in chosen for key, open_ in axis.items()}
            self.outcomes.append(outcome)
            yield {key: self._evaluated(plan, outcome) for key, plan in plans.items()}
        self.complete = self.complete and next(several, None) is None

    def sets(self, most: int) -> dict[tuple[tuple[str, ...], tuple[str, ...]], Cases]:
        """Each set of terms that exist together, with the memories that are renewed, and its steps in each case."""
        found: dict[tuple[tuple[str, ...], tuple[str, ...]], Cases] = {}
        for number, gates in enumerate(self.cases()):
            apart: list[tuple[int, frozenset[int]]] = [(self.all, frozenset())]
            for key, steps in gates.items():
                apart = [
                    (part, on)
                    for together, before in apart
                    for part, on in ((together & steps, before | {key}), (together & ~steps, before))
                    if part
                ]
                if len(apart) > most:
                    self.complete = False
                    apart = sorted(apart, key=lambda a: a[0] & -a[0])[:most]
            for steps, on in apart:
                terms = tuple(t.name for t, key in self.terms if key is None or key in on)
                updates = tuple(name for name, key in self.memories if key is None or key in on)
                cases = found.setdefault((terms, updates), {})
                cases[number] = cases.get(number, 0) | steps
            if len(found) > most:
                self.complete = False
                break
        return found

    # Conditions

    def _plan(self, when: Expr) -> list[Expr]:
        """The parts of a condition, operands first."""
        order: list[Expr] = []
        seen: set[int] = set()
        stack = [(when, False)]
        while stack:
            e, ready = stack.pop()
            if ready:
                order.append(e)
            elif id(e) not in seen:
                seen.add(id(e))
                stack.append((e, True))
                if e.op in ("and", "or", "not", "if") and self.zeros.decide(e) is None:
                    stack.extend((a, False) for a in e.args)
                else:
                    self._leaf(e)
        return order

    def _leaf(self, e: Expr) -> None:
        """Find out when a part of a condition holds that is not made of others."""
        key = self.structure.key(e)
        if key in self._leaves:
            return
        decided = self.zeros.decide(e)
        if decided is not None or 0.0 not in e.type.range or e.type.range == ZERO:
            self._leaves[key] = self.all if decided or (decided is None and e.type.range != ZERO) else 0
        elif not self.timeline.known(e):
            self._leaves[key] = None
            self.free[key] = e
        else:
            self._leaves[key] = self._known(key, e)

    def _known(self, key: int, e: Expr) -> int | None:
        found = self.timeline.nonzero(e)
        if found.exact and all(gate.period is not None for gate in found.gates):
            inside = of_spans(found.spans, self.end)
            self.smooth.append(inside)
            for gate in found.gates:
                assert gate.period is not None
                assert gate.offset is not None
                self.every[gate] = multiples(gate.period, gate.offset, self.end)
                inside &= self.every[gate]
            return inside
        self._left -= self.end * sum(1 for _ in e.walk())
        if self._left >= 0:
            text = "".join("1" if self.timeline.value(e, step) else "0" for step in range(self.end - 1, -1, -1))
            return int(text, 2)
        self.free[key] = e
        return None

    def _evaluated(self, plan: list[Expr], outcome: Mapping[int, bool]) -> int:
        memo: dict[int, int] = {}
        for e in plan:
            key = self.structure.key(e)
            if key in self._leaves:
                known = self._leaves[key]
                memo[id(e)] = known if known is not None else self.all if outcome[key] else 0
                continue
            args = [memo[id(a)] for a in e.args]
            if e.op == "if":
                memo[id(e)] = (args[0] & args[1]) | (args[2] & ~args[1])
            elif e.op == "not":
                memo[id(e)] = self.all & ~args[0]
            else:
                memo[id(e)] = args[0] & args[1] if e.op == "and" else args[0] | args[1]
        return memo[id(plan[-1])]

    # What is not known beforehand

    def _axes(self) -> list[list[dict[int, bool]]]:
        """The outcomes of conditions that do not depend on each other, with all that depend on one number together."""
        axes: list[list[dict[int, bool]]] = []
        numbers: dict[str, dict[int, Expr]] = {}
        for key, e in self.free.items():
            name = self._compares(e)
            if name:
                numbers.setdefault(name, {})[key] = e
            else:
                axes.append([{key: True}, {key: False}])
        for name, together in numbers.items():
            limits = self.program.inputs[name].range
            env = self.timeline.environment(0)
            bounds = sorted({float(evaluate(a, env)) for e in together.values() for a in e.args if a.op != "input"})
            tried = [bounds[0] - 1, *bounds, bounds[-1] + 1, *((a + b) / 2 for a, b in pairwise(bounds))]
            values = [v for v in tried if v in limits] or tried
            outcomes = [{key: bool(evaluate(e, {**env, name: v})) for key, e in together.items()} for v in values]
            axes.append([o for i, o in enumerate(outcomes) if o not in outcomes[:i]])
        return axes

    def _compares(self, e: Expr) -> str:
        """The input of the host that a condition compares with numbers that stay the same, "" if it is no such one."""
        spans = e.op == "call" and e.builtin.name in _SPANS
        if e.op not in _COMPARED and not spans:
            return ""
        inputs = [a for a in e.args if a.op == "input" and not self.timeline.known(a)]
        fixed = [a for a in e.args if self.timeline.known(a) and not self.timeline.moves(a)]
        whole = len(inputs) == 1 and len(fixed) == len(e.args) - 1
        numbers = whole and not any(isinstance(self.timeline.value(a, 0), str) for a in fixed)
        return str(inputs[0].value) if numbers and inputs[0].value in self.program.inputs else ""


def used_memories(program: TypedProgram, roots: list[Expr], zeros: Zeros, renewed: Collection[str]) -> frozenset[str]:
    """The memories that values are made of, and those that what they start as and their new values are made of."""
    found: set[str] = set()
    pending = list(roots)
    while pending:
        for name in zeros.memories(pending.pop()) - found:
            found.add(name)
            info = program.memories[name]
            pending += [info.init, *([info.update] if name in renewed else [])]
    return frozenset(found)


def _askable(program: TypedProgram) -> frozenset[str]:
    """What may be there or not."""
    roots = (*program.values(), *program.conditions())
    asked = {name for root in roots for e in root.walk() if e.op == "has" for name in e.value}
    return frozenset({"mask", "target", *asked, *(name for name, info in program.inputs.items() if info.optional)})
