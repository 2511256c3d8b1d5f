"""Terms that never exist, weights that are always 0, memories that are never renewed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import gcd

from ...diagnostics import Edit, Fix, Label
from ...interval import UNIT, ZERO
from ...live import Zeros
from ...spans import Timeline
from ...steps import Existence, Steps
from ...typed import Expr, TypedTerm
from ...types import CONSTANT, FLAG, MODE, STEP, Type
from .clock import Clock, literals
from .context import Context
from .schedules import (
    MOST_FACTORS,
    backwards,
    conjuncts,
    counts_against_progress,
    factors,
    fixed,
    grouped,
    parameters,
    replaced,
    unit,
)


def check(context: Context) -> None:
    """SCH002 for conditions that are never true, SCH005 for terms that are always 0."""
    literal = Zeros({})
    live = {id(t) for t in context.live}
    search = _Search(context)
    for term in context.program.terms:
        zero = next((f for f in factors(term.value) if f.type.stage == CONSTANT and f.type.range == ZERO), None)
        if zero is not None or literal.is_zero(term.value):
            _always_zero(context, term, zero or term.value, "this factor is 0")
        elif term.when is not None and (id(term) in live or term.when.type.range == ZERO) and search.never(term.when):
            search.report(term.when, f"term `{term.name}` never exists", "term")
        elif id(term) in live:
            _weight(context, term, search.exists(term.when))
    for memory in context.program.memories.values():
        # What a later phase of the program renews may not be reached by a shorter run.
        if memory.when is not None and search.never_in_any_run(memory.when):
            search.report(memory.when, f"memory `{memory.name}` keeps its first value", "memory")


class _Search:
    """Finds conditions that are never true, in this run or in any."""

    def __init__(self, context: Context) -> None:
        self.context, self.timeline = context, context.timeline
        self.clock = Clock(self.timeline.params)

    @cached_property
    def endless(self) -> Timeline:
        """Host values over a run whose length is not known."""
        known = self.context.max_steps is not None
        return Timeline(self.timeline.params, None) if known else self.timeline

    def exists(self, when: Expr | None, timeline: Timeline | None = None) -> Existence | None:
        """When the parts of a condition that move hold.

        A flag, a mode or a missing input that switches a term off is no mistake of its schedule.
        """
        timeline, exists = timeline or self.timeline, None
        for condition in conjuncts(when):
            if timeline.moves(condition):
                found = timeline.nonzero(condition)
                exists = found if exists is None else exists.also(found)
        return exists

    def never(self, when: Expr) -> bool:
        """Whether a condition is never true in this run."""
        exists = self.exists(when)
        if self._plainly(when, exists):
            return False
        if when.type.range == ZERO or never(exists) or self.never_in_any_run(when):
            # Steps that are measured against `progress` have a message of their own.
            return not any(counts_against_progress(self.context, e) for e in when.walk())
        return False

    def _plainly(self, when: Expr, exists: Existence | None) -> bool:
        """Whether nothing but the step decides, and some steps are certain: by far the most common condition."""
        certain = exists is not None and exists.exact and bool(exists.spans) and not exists.gates
        return certain and all(self.timeline.moves(c) for c in conjuncts(when))

    def never_in_any_run(self, when: Expr) -> bool:
        """Whether a condition is never true, however long the run is."""
        parts = literals(when)
        if self._contradiction(parts) is not None:
            return True
        moving = [(e, wanted) for e, wanted in parts if e.op == "const" or self.timeline.moves(e)]
        return self.clock.impossible(moving) or never(self.exists(when, self.endless))

    def _contradiction(self, parts: Sequence[tuple[Expr, bool]]) -> tuple[Expr, Expr] | None:
        """A condition that must hold and the same one that must not."""
        seen: dict[tuple[int, bool], Expr] = {}
        for e, wanted in parts:
            key = self.context.structure.key(e)
            other = seen.get((key, not wanted))
            if other is not None:
                return (e, other) if wanted else (other, e)
            seen.setdefault((key, wanted), e)
        return None

    def report(self, when: Expr, so: str, what: str) -> None:
        """SCH002 for a condition."""
        self.context.explained.add(id(when))
        reversed_ = next((e for e in conjuncts(when) if self._is_reversed(e)), None)
        if reversed_ is not None:
            self._report_reversed(reversed_, so)
            return
        always = self.context.max_steps is None or self.never_in_any_run(when)
        within = "" if always else f" within {self.context.max_steps:,} steps"
        help_ = f"change the condition, or remove the {what}"
        if not always:
            help_ = f"begin earlier, train longer, or remove the {what} for this run"
        self.context.report.emit(
            "SCH002",
            f"this condition is never true{within}: {so}",
            when.source,
            when.span,
            labels=[*self._parts(when), *parameters(self.context, when)],
            help=[help_],
        )

    def _parts(self, when: Expr) -> list[Label]:
        """When the parts of a condition hold, where there are several."""
        both = self._contradiction(literals(when))
        if both is not None:
            says = zip(both, ("must hold", "must not hold"))
            return [Label(e.span, text, e.source) for e, text in says if (e.span, e.source) != (when.span, when.source)]
        parts, labels = conjuncts(when), list[Label]()
        for e in parts if len(parts) > 1 else ():
            if self.timeline.known(e) and self.timeline.moves(e):
                found = self.timeline.nonzero(e)
                if found.exact:
                    held = "never true" if never(found) else f"holds {found.describe(self.context.max_steps)}"
                    labels.append(Label(e.span, held, e.source))
        return labels if len(labels) > 1 else []

    def _ends(self, e: Expr) -> tuple[float, float] | None:
        """Beginning and end of a call of `between`, where they do not move."""
        if e.op != "call" or e.builtin.name != "between":
            return None
        a, b = fixed(self.context, e.arg("a")), fixed(self.context, e.arg("b"))
        return None if a is None or b is None else (a, b)

    def _is_reversed(self, e: Expr) -> bool:
        ends = self._ends(e)
        return ends is not None and ends[0] >= ends[1]

    def _report_reversed(self, e: Expr, so: str) -> None:
        ends = self._ends(e)
        a, b = e.arg("a"), e.arg("b")
        assert ends is not None
        assert a is not None
        assert b is not None
        begin, end = (grouped(n) for n in ends)
        counted = unit(e)
        message = f"this condition ends at {counted}{end}, before it begins at {counted}{begin}: {so}"
        help_, fixes = f"write the earlier {counted.strip() or 'number'} first", []
        if ends[0] == ends[1]:
            message = f"this condition ends at {counted}{end}, where it begins: {so}"
            help_ = "let it end later than it begins"
        else:
            first, second = (x.source.slice(x.span) for x in (a, b))
            call = replaced(e, {id(a): second, id(b): first})
            edits = sorted([Edit(a.span, second), Edit(b.span, first)], key=lambda edit: edit.span.start)
            fixes = [Fix(f"write `{call}`", edits)] if call else []
        self.context.report.emit(
            "SCH002",
            message,
            e.source,
            e.span,
            labels=parameters(self.context, e),
            help=[help_],
            fixes=fixes,
        )


def never(found: Existence | None) -> bool:
    """Whether it is certain that something is so at no step."""
    if found is None or not found.exact:
        return False
    if found.never or found.total() == 0:
        return True
    gates = [g for g in found.gates if g.period is not None and g.offset is not None]
    pairs = ((a, b) for i, a in enumerate(gates) for b in gates[:i])
    return any(((a.offset or 0) - (b.offset or 0)) % gcd(a.period or 1, b.period or 1) for a, b in pairs)


def _weight(context: Context, term: TypedTerm, exists: Existence | None) -> None:
    """Whether the weight is 0 at every step at which the term exists."""
    if _weighs_something(context, term, exists):
        return
    together, stack, left = exists, [term.value], MOST_FACTORS
    timeline = context.timeline
    while stack and left:
        left -= 1
        node = stack.pop()
        if node.op == "mul":
            stack.extend(reversed(node.args))
            continue
        if node.op in ("neg", "div"):
            stack.append(node.args[0])
            continue
        chosen = branch(context, node)
        if chosen is not None:
            stack.append(chosen[0])
            found = _when_taken(timeline, chosen[1], chosen[2])
        elif backwards(context, node) is not None:
            return  # a finding of its own
        elif node.type.stage == STEP and 0.0 in node.type.range and timeline.known(node) and timeline.moves(node):
            found = timeline.nonzero(node)
        else:
            continue
        if found is None:
            continue
        together = found if together is None else together.also(found)
        if never(together):
            within = "at the steps at which the term exists"
            if never(found):
                within = "at every step" if context.max_steps is None else f"within {context.max_steps:,} steps"
            labels = []
            if chosen is not None:
                says = "decides" if not never(found) else "never true" if chosen[2] else "always true"
                labels = [Label(chosen[1].span, says, chosen[1].source)]
            _always_zero(context, term, node, f"0 {within}", labels)
            return


def _weighs_something(context: Context, term: TypedTerm, exists: Existence | None) -> bool:
    """Whether the weight is other than 0 at one of a few steps: nearly always, and much cheaper than to search."""
    timeline, spans = context.timeline, [Steps(0, None)] if exists is None else exists.spans
    end = timeline.end - 1
    steps = {min(s.start + d, (s.stop or end + 1) - 1, end) for s in spans[:4] for d in (1, 10_000, end)}
    stack, left = [term.value], MOST_FACTORS
    while stack and left:
        left -= 1
        node = stack.pop()
        if node.op == "mul":
            stack.extend(node.args)
        elif node.op in ("neg", "div"):
            stack.append(node.args[0])
        elif branch(context, node) is not None or backwards(context, node) is not None:
            return False
        elif node.type.stage == STEP and 0.0 in node.type.range and timeline.known(node) and timeline.moves(node):
            steps = {step for step in steps if timeline.value(node, step) != 0}
    gates = exists.gates if exists is not None else ()
    return bool(left) and not gates and bool(steps)


def branch(context: Context, e: Expr) -> tuple[Expr, Expr, bool] | None:
    """Of a choice between a value and 0: the value, the condition, and what the condition must be for the value."""
    if e.op != "if":
        return None
    then, condition, otherwise = e.args
    if context.zeros.is_zero(otherwise):
        return then, condition, True
    return (otherwise, condition, False) if context.zeros.is_zero(then) else None


def _when_taken(timeline: Timeline, condition: Expr, wanted: bool) -> Existence | None:
    """When a condition is as wanted, as far as that depends on the step; None where it does not."""
    if not wanted:
        switched = any(n.op == "param" and n.type.kind in (FLAG, MODE) for n in condition.walk())
        if switched or not timeline.known(condition):
            return None
        flag = Type(condition.type.stage, FLAG, UNIT)
        condition = Expr("not", (condition,), flag, condition.span, condition.source)
    found = [timeline.nonzero(c) for c in conjuncts(condition) if timeline.moves(c)]
    together = found[0] if found else None
    for other in found[1:]:
        together = other if together is None else together.also(other)
    return together


def _always_zero(context: Context, term: TypedTerm, factor: Expr, why: str, labels: Sequence[Label] = ()) -> None:
    hidden = factor.source is context.report.hidden
    context.report.emit(
        "SCH005",
        f"the weight of term `{term.name}` is always 0",
        term.source if hidden else factor.source,
        term.span if hidden else factor.span,
        caption=why,
        labels=labels,
        help=["remove the term, or make its weight a `param` whose default is 0 to switch it on from a config"],
    )
