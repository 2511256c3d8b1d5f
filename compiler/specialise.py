"""Variants of a program: which terms exist, which optional inputs are there, which parameters are zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.host import PRESENT, Tape, environment, evaluate
from ..dsl.live import Zeros, where_read
from ..dsl.typed import Expr, TypedProgram, TypedTerm
from ..dsl.types import STEP, VIEW
from .resolve import Given, boxes_name
from .weights import split_weight, weight

BACKGROUND_IMAGE = "background as an image"
"""Among what is present: the background is given for each pixel, not as one colour for each image."""


class Facts(NamedTuple):
    """What one variant takes for granted. Nothing else about a step can change its graph.

    Attributes:
        terms: names of the terms that exist.
        has_mask: whether the item has a mask.
        zero_params: parameters that are exactly 0, or flags that are false.
        present: optional inputs that the item has.
        fixed: modes and flags with their values, which are constants of the graph.
        lengths: how many items each list has that the program goes through, by name.
        updates: memories that get a new value at this step.
        memories: memories that are used at this step: they get a new value, or a term or a new value reads them.
    """

    terms: tuple[str, ...]
    has_mask: bool
    zero_params: frozenset[str]
    present: frozenset[str] = frozenset()
    fixed: tuple[tuple[str, bool | str], ...] = ()
    lengths: tuple[tuple[str, int], ...] = ()
    updates: frozenset[str] = frozenset()
    memories: frozenset[str] = frozenset()

    def given(self) -> Given:
        """What decides how the program resolves."""
        return Given(self.lengths, self.updates, self.memories)

    def zeros(self) -> Zeros:
        """What parameters and missing inputs decide in this variant."""
        there = self.present | ({"mask"} if self.has_mask else set())
        return Zeros({**dict.fromkeys(self.zero_params, 0.0), **dict(self.fixed)}, there)

    def describe(self) -> str:
        """In words, for progress messages."""
        parts = [f"term{'s' if len(self.terms) > 1 else ''} {', '.join(self.terms)}"] if self.terms else ["no term"]
        parts.append("with mask" if self.has_mask else "without mask")
        parts += [f"with {name}" for name in sorted(self.present - {"target"}) if "." not in name]
        parts += [f"{count} of {name}" for name, count in self.lengths if not name.startswith("@")]
        parts += [f"renewing {name}" for name in sorted(self.updates)]
        return ", ".join(parts)


class Environment(dict[str, Any]):
    """The host values of a step; one that nobody gave is an error where it is read."""

    def __init__(self, program: TypedProgram, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.program = program

    def __missing__(self, name: str) -> Any:
        if name not in self.program.inputs:
            raise KeyError(name)
        source, span = where_read(self.program, name)
        message = f"this loss reads `{name}`, but the call gave none"
        raise LossError([Diagnostic("BND001", message, source, span, help=[f"pass {name}=..."])])


class Schedule:
    """The host's side of a program: which terms exist at a step and what they weigh."""

    def __init__(self, program: TypedProgram) -> None:
        self.program = program
        self._zeros: dict[object, Zeros] = {}
        self._tapes: dict[int, Tape] = {}
        self._facts: dict[Facts, Facts] = {}
        self._simple: dict[Any, Facts] = {}
        self._last: tuple[Any, tuple[frozenset[str], tuple[tuple[str, bool | str], ...]]] = (None, (frozenset(), ()))
        self._inputs: dict[Facts, frozenset[str]] = {}
        self._memories: dict[object, frozenset[str]] = {}
        self.optional = frozenset(name for name, info in program.inputs.items() if info.optional)
        roots = program.values()
        asked = [e.value for root in (*roots, *program.conditions()) for e in root.walk() if e.op == "has"]
        self._has = bool(asked)
        self.askable = self.optional | {"mask", "target"} | {name for names in asked for name in names}
        self._background = any(e.op == "input" and e.value == "background" for root in roots for e in root.walk())
        self._views = any(info.kind == VIEW or info.kind.element == VIEW for info in program.inputs.values())
        self._lists = {id(e): e for root in roots for o in root.walk() if o.op == "over" for e in o.args[:1]}
        self._asked = bool(self.optional) or self._has or self._views or self._background
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
    ) -> Environment:
        """What host values are made of at a step.

        Args:
            step: counted from 0.
            max_steps: length of the run.
            present: optional inputs, and "mask" and "target", that are there; None: all of them.
            host: values of the inputs that the host gives, and sizes by their letter.
        """
        env = Environment(self.program, environment(step, max_steps, self.params()))
        env[PRESENT] = self.askable if present is None else present
        env.update(host or {})
        return env

    def zeros(self, present: frozenset[str] | None = None) -> Zeros:
        """Which values the parameters now in force make 0; found out once for each set of parameters that are."""
        key = (self._settings(), present)
        found = self._zeros.get(key)
        if found is None:
            zero, fixed = key[0]
            found = self._zeros[key] = Zeros({**dict.fromkeys(zero, 0.0), **dict(fixed)}, present)
        return found

    def _settings(self) -> tuple[frozenset[str], tuple[tuple[str, bool | str], ...]]:
        """The parameters that are 0, and the modes and flags with their values."""
        values = tuple(info.value for info in self.program.params.values())
        if values != self._last[0]:
            params = self.program.params.items()
            zero = frozenset(name for name, info in params if info.value == 0)
            fixed = tuple((name, info.value) for name, info in params if isinstance(info.value, (bool, str)))
            self._last = values, (zero, fixed)
        return self._last[1]

    def fixed(self) -> tuple[tuple[str, bool | str], ...]:
        """The modes and flags with their values."""
        return self._settings()[1]

    def active(self, env: Mapping[str, Any], group: str | None = None) -> tuple[TypedTerm, ...]:
        """The terms that exist: their condition holds, and no parameter makes them 0; all groups, or one."""
        zeros = self.zeros(env[PRESENT])
        return tuple(
            t
            for t in self.program.terms
            if (group is None or t.group == group)
            and not zeros.is_zero(t.value)
            and (t.when is None or (zeros.decide(t.when) is not False and self._holds(t.when, env)))
        )

    def _holds(self, when: Expr, env: Mapping[str, Any]) -> bool:
        tape = self._tapes.get(id(when))
        if tape is None:
            tape = self._tapes[id(when)] = Tape([when])
        return bool(tape(env)[0])

    def facts(
        self,
        env: Mapping[str, Any],
        has_mask: bool,
        group: str | None = None,
        lengths: Mapping[str, int] | None = None,
    ) -> Facts:
        """The variant of a step; ``lengths`` of the lists that the host gives, 1 for those that are not in it."""
        terms = tuple(t.name for t in self.active(env, group))
        simple = not self.program.memories and not self._lists
        key = (terms, has_mask, env[PRESENT] if self._asked else None, self._settings())
        if simple and key in self._simple:
            return self._simple[key]
        present = frozenset(env[PRESENT]) - {"mask"} if self._asked else frozenset()
        zeros = self.zeros()
        updates = memories = frozenset[str]()
        if self.program.memories:
            updates, memories = self._used_memories(env, group, terms)
        counts: dict[str, int] = {}
        for several in self._lists.values():
            if several.op == "call":
                count = several.arg("count")
                assert count is not None
                counts[boxes_name(several)] = max(int(evaluate(count, env)), 0)
            else:
                counts[str(several.value)] = (lengths or {}).get(str(several.value), 1)
        listed = tuple(sorted(counts.items()))
        made = Facts(terms, has_mask, zeros.zero_params, present, self.fixed(), listed, updates, memories)
        made = self._facts.setdefault(made, made)  # one object for equal facts: they are looked up several times a step
        if simple:
            self._simple[key] = made
        return made

    def _used_memories(
        self, env: Mapping[str, Any], group: str | None, terms: tuple[str, ...]
    ) -> tuple[frozenset[str], frozenset[str]]:
        """The memories that get a new value at a step, and all that it uses."""
        updates = frozenset(
            name
            for name in self.memories(env, group)
            if (when := self.program.memories[name].when) is None or evaluate(when, env)
        )
        zeros = self.zeros(env[PRESENT])
        key = (zeros, terms, updates)
        if key not in self._memories:
            read = [t.value for t in self.program.terms if t.name in terms]
            read += [self.program.memories[name].update for name in updates]
            self._memories[key] = self.memories_in(read, zeros, updates) | updates
        return updates, self._memories[key]

    def memories(self, env: Mapping[str, Any], group: str | None = None) -> frozenset[str]:
        """The memories that count: those that a term of the group reads, at this step or another."""
        if not self.program.memories:
            return frozenset()
        zeros = self.zeros(env[PRESENT])
        key = (zeros, group)
        if key not in self._memories:
            roots = [t.value for t in self.program.terms if group is None or t.group == group]
            self._memories[key] = self.memories_in(roots, zeros, frozenset(self.program.memories))
        return self._memories[key]

    def memories_in(self, roots: list[Expr], zeros: Zeros, renewed: frozenset[str]) -> frozenset[str]:
        """The memories that values are made of, and those that what they start as and their new values are made of."""
        found: set[str] = set()
        pending = list(roots)
        while pending:
            for name in zeros.memories(pending.pop()) - found:
                found.add(name)
                info = self.program.memories[name]
                pending += [info.init, *([info.update] if name in renewed else [])]
        return frozenset(found)

    def inputs(self, facts: Facts) -> frozenset[str]:
        """Fixed inputs and regions that the terms of a variant read."""
        found = self._inputs.get(facts)
        if found is None:
            zeros = facts.zeros()
            roots = [t.value for t in self.program.terms if t.name in facts.terms]
            for name in sorted(facts.memories):
                info = self.program.memories[name]
                roots += [info.init, *([info.update] if name in facts.updates else [])]
            found = self._inputs[facts] = frozenset().union(*(zeros.inputs(root) for root in roots))
        return found


__all__ = ["Facts", "Schedule", "split_weight", "weight"]
