"""What a compiled loss knows before a step: weights, needs, phases, and what it is in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from ..compiler.compiled import CompiledProgram
from ..compiler.specialise import Facts, split_weight, weight
from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.inputs import buffer_of
from ..dsl.interval import show
from ..dsl.live import buffers
from ..dsl.phases import Phases, phases
from ..dsl.source import Source, Span
from ..dsl.suggest import did_you_mean
from ..dsl.typed import TypedProgram
from .blocks import Blocks
from .evaluation import Parts
from .loss_fn import SplatLossFn
from .params import Params


class Knowing(SplatLossFn[Any]):
    """The part of a compiled loss that no step is needed for."""

    program: TypedProgram
    params: Params
    parts: Parts
    _compiled: CompiledProgram
    _blocks: Blocks
    _host_values: dict[str, float | bool]
    _read: dict[Facts, frozenset[str]]

    def weights(
        self, step: int, max_steps: int = 30_000, missing: Collection[str] = (), **host: Any
    ) -> dict[str, float]:
        """The weight of every term at a step; 0 where the term does not exist.

        Optional inputs count as there, but for those that are named in ``missing``. Numbers and flags that the program
        takes from the host, and sizes that a weight depends on, are given by name; those that are not are those of the
        last call.
        """
        check_step(step, max_steps)
        schedule = self._compiled.schedule
        there = frozenset(n for n in schedule.askable if not {n, n.partition(".")[0]} & set(missing))
        env = schedule.environment(step, max_steps, there, self._host(host))
        active = {t.name for t in self._compiled.schedule.active(env)}
        zeros = self._compiled.schedule.zeros()
        weights: dict[str, float] = {}
        for t in self.program.terms:
            weights[t.name] = weight(split_weight(t.value, zeros)[0], env) if t.name in active else 0.0
        return weights

    def requires(self, step: int, max_steps: int = 30_000, group: str | None = None, **host: Any) -> frozenset[str]:
        """Render buffers and item fields that the loss reads at a step, such as "depth" and "mask".

        Optional inputs count as there. Numbers and flags that the program takes from the host are given by name.
        """
        check_step(step, max_steps)
        schedule = self._compiled.schedule
        env = schedule.environment(step, max_steps, host=self._host(host))
        whole = schedule.facts(env, True, self._group(group))
        found = frozenset[str]()
        for facts in self._blocks.of(whole, max_steps, group):
            if facts not in self._read:
                self._read[facts] = self._read_by(facts)
            found |= self._read[facts]
        return found

    def _read_by(self, facts: Facts) -> frozenset[str]:
        """Render buffers and item fields that a variant reads, whether the item has a mask or not."""
        found = buffers(self._compiled.schedule.inputs(facts))
        for variant in (facts, facts._replace(has_mask=False)) if facts.terms else ():
            # The graph may read an input only for its size.
            found |= {"state" if n.startswith("state.") else buffer_of(n) for n in self._compiled.read(variant)}
        return found

    def phases(self, max_steps: int = 30_000, group: str | None = None, **host: Any) -> Phases:
        """The phases of a run: which terms exist together, and at which steps.

        What a program takes from the host is given by name and is then the same at all steps; what is not given, and
        chance, counts both ways. Optional inputs count as there. ``describe()`` of the result is a line for each phase.

        Where a run has more than 16 sets of terms, each condition is compiled on its own, see `Blocks`.

        Args:
            max_steps: length of the run.
            group: the term group; None: all of them.
            **host: numbers, flags, and sizes by their letter.
        """
        check_step(0, max_steps)
        given = self.parts.binder.host_values(host, sizes=False)
        unknown = sorted(host.keys() - given.keys() - self.program.inputs.keys())
        if unknown:
            near = did_you_mean(unknown[0], list(self.program.inputs))
            raise TypeError(f"phases() got an unexpected keyword argument {unknown[0]!r}{f'; {near}' if near else ''}")
        return phases(self.program, max_steps, self._group(group), given)

    @property
    def groups(self) -> tuple[str, ...]:
        """The term groups; () if the program has none."""
        return self.program.groups

    def _host(self, given: Mapping[str, Any]) -> dict[str, float | bool]:
        """Host values without a call: sizes that a condition or weight depends on are given by their letter."""
        given = {**self._host_values, **given}
        values = {**given, **self.parts.binder.host_values(given, sizes=False)}
        for t in self.program.terms:
            for root in (t.when, *(f for _, f in split_weight(t.value, self._compiled.schedule.zeros())[0])):
                for e in root.walk() if root is not None else ():
                    if e.op == "size" and e.value not in values:
                        message = f"term `{t.name}` depends on the size `{e.value}`, which is known only in a call"
                        raise LossError([argument(e.value, None, message, f"pass {e.value}=...", "BND001")])
        return values

    def _group(self, group: str | None) -> str | None:
        if group is not None and group not in self.program.groups:
            names = self.program.groups
            help_ = did_you_mean(group, names) or (
                f"its groups are {', '.join(names)}" if names else "it has no groups"
            )
            raise LossError([argument("group", group, f"this loss has no term group `{group}`", help_)])
        return group

    @property
    def needs_mask(self) -> bool:
        """Whether the program reads `mask` itself, and so cannot do without one (`masked` can)."""
        zeros = self._compiled.schedule.zeros()
        return any("mask" in zeros.inputs(t.value) for t in self.program.terms)

    # What it is

    @property
    def source_text(self) -> str:
        """The program."""
        return self.program.source.text

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the program and its parameters: two runs with the same one trained on the same loss."""
        texts = [source.text for source in self.program.sources]
        payload = json.dumps([texts[0] if len(texts) == 1 else texts, dict(self.params)], sort_keys=True)
        return hashlib.sha256(payload.encode()).hexdigest()

    def describe(self) -> str:
        """The resolved objective: each term as written, when it exists, what it reads, and the parameters in force."""
        lines = [f"loss: {self.program.source.name}"]
        if self.program.docstring:
            lines.append(f"  {' '.join(self.program.docstring.split())}")
        zeros = self._compiled.schedule.zeros()
        for t in self.program.terms:
            text = " ".join(t.value.source.slice(t.value.span).split())
            when = "" if t.when is None else f" when {' '.join(t.when.source.slice(t.when.span).split())}"
            reads = ", ".join(sorted(buffers(zeros.inputs(t.value)))) or "nothing"
            state = "  [not computed: a parameter is 0]" if zeros.is_zero(t.value) else ""
            lines.append(f"  term {t.name} = {text}{when}")
            lines.append(f"    reads {reads}{state}")
        for name, info in self.program.params.items():
            default = "" if info.value == info.default else f" (default {_shown(info.default)})"
            limits = ", ".join(f'"{c}"' for c in info.choices) if info.choices else str(info.range)
            lines.append(f"  param {name} = {_shown(info.value)}{default} in {limits}")
        return "\n".join(lines)


def _shown(value: float | bool | str) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower() if isinstance(value, bool) else show(float(value))


def argument(name: str, value: object, message: str, help: str, code: str = "BND009") -> Diagnostic:
    """A finding about an argument of a call, shown as it was written."""
    source = Source(f"{name}={value!r}", "<call>")
    return Diagnostic(code, message, source, Span(0, len(source.text)), help=[help])


def check_step(step: int, max_steps: int) -> None:
    """Refuse what is no step of a run.

    Raises:
        LossError: BND007.
    """
    for name, value, least in (("step", step, 0), ("max_steps", max_steps, 1)):
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
            source = Source(f"{name}={value!r}", "<call>")
            message = f"`{name}` must be a whole number of at least {least}, but is {value!r}"
            help_ = ["steps count from 0; trainers that count from 1 pass step - 1"] if name == "step" else []
            raise LossError([Diagnostic("BND007", message, source, Span(0, len(source.text)), help=help_)])
