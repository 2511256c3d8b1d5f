"""Takes a step apart where a program has too many sets of terms to compile each as a whole.

Terms with the same condition are a block, which has a graph of its own, whatever else exists at the step. The total is
the sum of the blocks' totals. So there are at most as many graphs as there are conditions, where sets of terms could be
as many as the combinations of these.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from torch import Tensor

from ..compiler.resolve import Resolved, boxes_name
from ..compiler.specialise import Facts, Schedule
from ..compiler.variants import Result
from ..dsl.builtins.spec import Builtin
from ..dsl.check.structure import Structure
from ..dsl.phases import MOST, crowded
from ..dsl.typed import Expr, TypedProgram

REMEMBERED = 4_096
"""Variants that are remembered with their blocks."""


class Blocks:
    """The blocks of a program's variants."""

    def __init__(self, program: TypedProgram, schedule: Schedule) -> None:
        self.program, self.schedule = program, schedule
        structure = Structure()
        self._gates = {t.name: None if t.when is None else structure.key(t.when) for t in program.terms}
        whens = program.conditions()
        self._few = 2 ** min(len({structure.key(when) for when in whens}), 30) <= MOST
        params = {e.value for when in whens for e in when.walk() if e.op == "param"}
        self._params = [info for name, info in program.params.items() if name in params]
        self._crowded: dict[Hashable, bool] = {}
        self._found: dict[Facts, tuple[Facts, ...]] = {}

    def of(self, facts: Facts, max_steps: int, group: str | None = None) -> tuple[Facts, ...]:
        """The variants that make up a variant: itself, or its blocks in the order of their first terms.

        A memory is renewed by each block that reads its new value, all in the same way; what no block reads has a
        block without terms.
        """
        if not self.crowded(max_steps, group):
            return (facts,)
        found = self._found.get(facts)
        if found is None:
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            found = self._found[facts] = tuple(self._apart(facts))
        return found

    def crowded(self, max_steps: int, group: str | None = None) -> bool:
        """Whether a run has more sets of terms than are compiled as a whole, under the parameters now in force."""
        if self._few:
            return False
        zero = tuple(info.value == 0 for info in self.program.params.values())
        key = (max_steps, group, zero, self.schedule.fixed(), tuple(info.value for info in self._params))
        found = self._crowded.get(key)
        if found is None:
            if len(self._crowded) >= REMEMBERED:
                self._crowded.clear()
            found = self._crowded[key] = crowded(self.program, max_steps, group) is not None
        return found

    def _apart(self, facts: Facts) -> list[Facts]:
        zeros = facts.zeros()
        together: dict[int | None, list[str]] = {}
        for name in facts.terms:
            together.setdefault(self._gates[name], []).append(name)
        values = {t.name: t.value for t in self.program.terms}
        found, left = list[Facts](), set(facts.updates)
        for names in together.values():
            roots = [values[name] for name in names]
            renewed = facts.updates & frozenset().union(*(zeros.memories(root) for root in roots))
            found.append(self._block(facts, tuple(names), roots, renewed))
            left -= renewed
        return [*found, *(self._block(facts, (), [], frozenset({name})) for name in sorted(left))]

    def _block(self, facts: Facts, terms: tuple[str, ...], roots: list[Expr], updates: frozenset[str]) -> Facts:
        zeros, memories = facts.zeros(), self.program.memories
        reads = roots + [memories[name].update for name in sorted(updates)]
        used = self.schedule.memories_in(reads, zeros, updates) | updates
        reads += [memories[name].init for name in sorted(used)]
        lists = {_list_name(e.args[0]) for root in reads for e in root.walk() if e.op == "over"}
        lengths = tuple(item for item in facts.lengths if item[0] in lists)
        return facts._replace(terms=terms, lengths=lengths, updates=updates, memories=used)


def _list_name(several: Expr) -> str:
    return boxes_name(several) if several.op == "call" else str(several.value)


def joined(results: Sequence[tuple[Result, torch.device | None]], terms: tuple[str, ...]) -> Result:
    """The result of a step from those of its blocks, each with the device of its tensors.

    A region that several blocks reduce over counts in each of them when it is empty.
    """
    place = next((device for _, device in results if device is not None), None)
    totals = [result.total.to(place) for result, _ in results]
    total = totals[0]
    for more in totals[1:]:  # one after another: a gradient of 1 reaches each as it is
        total = total + more
    raw: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    for result, _ in results:
        raw.update(zip(result.names, result.values.to(total).unbind()))
        outputs.update(result.outputs)
    values = torch.stack([raw[name] for name in terms]) if terms else total.detach().new_zeros(0)
    empty = torch.stack([result.empty_regions.to(place) for result, _ in results]).sum(dtype=torch.int32)
    return Result(total, values, terms, empty, outputs)


class CallNames:
    """Names for calls of extern functions that are the same in all blocks, so that each call is made once a step."""

    def __init__(self) -> None:
        self._found: dict[Facts, dict[str, int]] = {}
        self._interned: dict[Hashable, int] = {}

    def of(self, facts: Facts, resolved: Resolved) -> Mapping[str, int]:
        """A number for each call of a variant; calls of equal functions with equal arguments share it."""
        if not resolved.externs:
            return {}
        found = self._found.get(facts)
        if found is None:
            found = self._found[facts] = {}
            for call in resolved.externs:  # arguments before those who take them
                made = (call.info.name, tuple(self._key(a, found) for a in call.args))
                found[call.name] = self._interned.setdefault(made, len(self._interned))
        return found

    def _key(self, e: Expr, calls: Mapping[str, int]) -> int:
        keys: dict[int, int] = {}
        for node in e.operands_first(keys):
            value = (node.value.name, node.value.seed) if isinstance(node.value, Builtin) else node.value
            if node.op == "input":
                name, _, field = str(value).partition(".")
                value = (calls[name], field) if name in calls else value
            made = (node.op, value, node.names, tuple(keys[id(a)] for a in node.args))
            keys[id(node)] = self._interned.setdefault(made, len(self._interned))
        return keys[id(e)]
