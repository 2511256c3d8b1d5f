"""Schedules that do not do what they look like: off by one step, in the wrong unit, in the wrong order, a gap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from ...diagnostics import Applicability, Edit, Fix, Label, Severity
from ...interval import show
from ...steps import Steps
from ...typed import Expr, MemoryInfo, TypedTerm
from ...types import CONSTANT, PARAMETER, TENSOR
from .clock import Clock
from .context import Context

STEPPED = {"after": ("a",), "before": ("b",), "between": ("a", "b"), "ramp": ("a", "b"), "linear": ("over",)}
STEPPED |= {"loglinear": ("over",), "cosine": ("over",)}
"""Arguments of schedules that count what their first argument counts."""

LEAST_STEPS = 10
"""What is at least this counts steps, not parts of a run."""

MOST_TEXT = 200
"""Characters of a call that is written anew in a message."""

MOST_FACTORS = 10_000
"""Factors that are looked at: a value that is multiplied by itself again and again has no end of them."""


def factors(e: Expr) -> Iterator[Expr]:
    """The host factors of a product, outermost first."""
    stack, left = [e], MOST_FACTORS
    while stack and left:
        left -= 1
        node = stack.pop()
        if node.type.is_host:
            yield node
        elif node.op == "mul":
            stack.extend(reversed(node.args))
        elif node.op == "neg" or node.op == "div":
            stack.append(node.args[0])


def check_steps(context: Context) -> None:
    """SCH006 for conditions such as `step > 7000`, SCH007 and SCH024 for the wrong unit, SCH003 for the wrong order."""
    owners: tuple[TypedTerm | MemoryInfo, ...] = (*context.program.terms, *context.program.memories.values())
    seen: set[int] = set()
    for owner in owners:
        value = owner.value if isinstance(owner, TypedTerm) else owner.update
        exists = id(owner.when) not in context.explained
        for e in (n for root in (value, owner.when) if root is not None for n in root.walk()):
            if id(e) in seen or e.source is context.report.hidden:
                continue
            seen.add(id(e))
            if e.op in ("gt", "le", "lt", "ge"):
                _closed(context, e)
            elif e.op == "call" and e.builtin.name in STEPPED:
                _fraction(context, e)
                _against_progress(context, e)
            if exists:
                _backwards(context, e)


def _closed(context: Context, e: Expr) -> None:
    """`step > n` starts one step after n and `step <= n` ends one after: hardly ever what n says."""
    op, (left, right) = e.op, e.args
    if right.op == "input" and right.value == "step":
        op, left, right = {"gt": "lt", "lt": "gt", "ge": "le", "le": "ge"}[op], right, left
    if op not in ("gt", "le") or left.op != "input" or left.value != "step" or right.type.stage > PARAMETER:
        return
    n = context.here(right, e)
    written = right.source is e.source and e.span.start <= right.span.start and right.span.end <= e.span.end
    known = right.type.stage == CONSTANT and right.type.range.is_point and written
    plain = right.op in ("const", "param") or n.isidentifier()
    text = show(right.type.range.lo + 1) if known else f"{n} + 1" if plain else f"({n}) + 1"
    function, effect = ("after", "begins one step later") if op == "gt" else ("before", "ends one step later")
    context.report.emit(
        "SCH006",
        f"`{context.text(e)}` {effect} than `{function}(step, {n})`",
        e.source,
        e.span,
        notes=[
            "spans of steps are half-open and count from 0: `after(step, a)` is step >= a, "
            "`before(step, b)` is step < b"
        ],
        help=[f"write `{function}(step, {text})` if that is meant, or `{function}(step, {n})`"],
        fixes=[
            Fix(f"write `{function}(step, {text})`", [Edit(e.span, f"{function}(step, {text})")], Applicability.SAFE)
        ],
    )


def _fraction(context: Context, e: Expr) -> None:
    x = e.arg("x")
    if x is None or x.op != "input" or x.value != "step":
        return
    for name in STEPPED[e.builtin.name]:
        a = e.arg(name)
        if a is not None and a.type.stage == CONSTANT and a.type.range.is_point and 0 < a.type.range.lo < 1:
            call = replaced(e, {id(x): "progress"})
            context.report.emit(
                "SCH007",
                f"`{name}` of `{e.builtin.name}` counts steps, but {context.text(a)} is a fraction of one step",
                a.source,
                a.span,
                help=[f"for a part of the run write `{call}`" if call else "for a part of the run use `progress`"],
            )
            return


def counts_against_progress(context: Context, e: Expr) -> tuple[str, Expr] | None:
    """The argument of a schedule of the progress that counts steps, and its name; None where there is none."""
    if e.op != "call" or e.builtin.name not in STEPPED:
        return None
    x, form = e.arg("x"), Clock(context.timeline.params).form
    part = None if x is None else form(x)
    if part is None or not 0 < part.progress <= 1 or part.step or part.run:
        return None
    for name in (*STEPPED[e.builtin.name], "start"):
        a = e.arg(name)
        counted = None if a is None else form(a)
        if a is None or counted is None or counted.step or counted.progress:
            continue
        if counted.run > 0 or (not counted.run and counted.constant >= LEAST_STEPS):
            return name, a
    return None


def _against_progress(context: Context, e: Expr) -> None:
    """SCH024: `ramp(progress, 7000)` is at 1/7000 when the run ends."""
    found, x = counts_against_progress(context, e), e.arg("x")
    if found is None or x is None:
        return
    name, a = found
    call = replaced(e, {id(x): "step"}) if x.op == "input" else ""
    effect = {"after": "it is never true", "before": "it is always true", "between": "it never changes"}
    context.report.emit(
        "SCH024",
        f"`{name}` of `{e.builtin.name}` counts steps, but `progress` is below 1 to the end of the run: "
        f"{effect.get(e.builtin.name, 'the schedule hardly moves')}",
        a.source,
        a.span,
        labels=[Label(x.span, "goes from 0 to 1", x.source), *parameters(context, a)],
        help=[f"for steps write `{call}`" if call else "for steps use `step`"],
        fixes=[Fix(f"write `{call}`", [Edit(x.span, "step")])] if call else [],
    )


def backwards(context: Context, e: Expr) -> tuple[str, str] | None:
    """What to say of a schedule that is backwards with the values in force, where the declared ranges allow it."""
    if e.op != "call" or e.builtin.name not in ("ramp", "piecewise"):
        return None
    if e.builtin.name == "ramp":
        marks = [a for a in (e.arg("a"), e.arg("b")) if a is not None]
        places = [fixed(context, a) for a in marks]
        places = [0.0, *places] if len(places) == 1 else places
        help_ = "write the earlier step first; for a falling weight use `linear(step, 1, 0, over=, start=)`"
        message = "this ramp ends at {unit}{end}, before it begins at {unit}{begin}"
    else:
        marks = [p.args[0] for p, n in zip(e.args, e.names) if n == "points" and p.op == "tuple"]
        places = [fixed(context, a) for a in marks]
        help_ = "the points must be in order, each later than the one before"
        message = "the points of this `piecewise` are out of order: {unit}{end} comes before {unit}{begin}"
    pairs = ((a, b) for a, b in pairwise(places) if a is not None and b is not None)
    begin, end = next(((a, b) for a, b in pairs if b < a), (0.0, 0.0))
    # What numbers alone say was found where the call was typed.
    if begin == end or all(a.type.stage == CONSTANT for a in marks):
        return None
    return message.format(begin=grouped(begin), end=grouped(end), unit=unit(e)), help_


def _backwards(context: Context, e: Expr) -> None:
    """SCH003 for a schedule that is backwards with the values in force."""
    found = backwards(context, e)
    if found is None:
        return
    context.report.emit(
        "SCH003",
        found[0],
        e.source,
        e.span,
        labels=parameters(context, e),
        help=[found[1]],
        severity=Severity.WARNING,  # other values of the parameters are right
    )


def fixed(context: Context, e: Expr | None) -> float | None:
    """A number that is the same at every step of this run; None for every other value."""
    if e is None or not context.timeline.known(e) or context.timeline.direction(e) != 0:
        return None
    value = context.timeline.value(e, 0)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def parameters(context: Context, e: Expr) -> list[Label]:
    """The parameters that a value reads, with their values in force."""
    names = dict.fromkeys(n.value for n in e.walk() if n.op == "param" and n.value in context.program.params)
    infos = [context.program.params[name] for name in names]
    return [Label(info.span, f"now {_shown(info.value)}", info.source) for info in infos]


def _shown(value: float | bool | str) -> str:
    return show(value) if isinstance(value, float) else str(value).lower()


def grouped(x: float) -> str:
    """A number of steps, with commas."""
    return f"{int(x):,}" if x.is_integer() else show(x)


def unit(e: Expr) -> str:
    """The word before a number that a schedule counts."""
    return "" if any(n.op == "input" and n.value == "progress" for n in e.walk()) else "step "


def replaced(e: Expr, changes: Mapping[int, str]) -> str:
    """The text of a call on one line, with other texts for some of its arguments; "" where they stand elsewhere."""
    text, end = e.source.slice(e.span), e.span.end
    if "#" in text or len(text) > MOST_TEXT:
        return ""
    arguments = sorted((a for a in e.args if id(a) in changes), key=lambda a: a.span.start, reverse=True)
    for a in arguments:
        if a.source is not e.source or not e.span.start <= a.span.start <= a.span.end <= end:
            return ""
        start = a.span.start - e.span.start
        text = text[:start] + changes[id(a)] + text[a.span.end - e.span.start :]
        end = a.span.start
    return " ".join(text.split())


def conjuncts(when: Expr | None) -> list[Expr]:
    """The conditions that must all hold."""
    found, stack = list[Expr](), [] if when is None else [when]
    seen: set[int] = set()
    while stack:
        e = stack.pop()
        if id(e) in seen:
            continue
        seen.add(id(e))
        if e.op == "and":
            stack.extend(reversed(e.args))
        else:
            found.append(e)
    return found


def check_gaps(context: Context) -> None:
    """SCH021 where one term ends a step before, or after, another of the same formula begins."""
    timeline = context.timeline
    spans: list[tuple[TypedTerm, Steps]] = []
    begins: dict[tuple[int, frozenset[str]], list[tuple[TypedTerm, Steps]]] = {}
    alike: dict[frozenset[str], list[TypedTerm]] = {}
    for term in context.live:
        if term.when is not None and term.when.type.stage != TENSOR and timeline.known(term.when):
            alike.setdefault(_reads(term), []).append(term)
    for reads, terms in alike.items():
        for term in terms if len(terms) > 1 else ():
            assert term.when is not None
            found = timeline.nonzero(term.when)
            if found.exact and not found.gates and len(found.spans) == 1:
                spans.append((term, found.spans[0]))
                begins.setdefault((found.spans[0].start, reads), []).append(spans[-1])
    for first, one in spans:
        reads = _reads(first)
        if one.stop is None or not reads:
            continue
        near = (begins.get((one.stop + gap, reads), []) for gap in (-1, 1))
        for second, other in (pair for pairs in near for pair in pairs):
            if first is second or other.start <= one.start:
                continue
            gap = other.start - one.stop
            what = f"neither is there at step {one.stop:,}" if gap == 1 else f"both are there at step {other.start:,}"
            assert second.when is not None
            assert first.when is not None
            context.report.emit(
                "SCH021",
                f"`{first.name}` ends before step {one.stop:,} and `{second.name}` begins at step {other.start:,}: "
                f"{what}",
                second.when.source,
                second.when.span,
                labels=[Label(first.when.span, f"ends before step {one.stop:,}", first.when.source)],
                help=[f"spans are half-open: begin the second at step {one.stop:,}, where the first ends"],
            )


def _reads(term: TypedTerm) -> frozenset[str]:
    """The tensors that a term reads: where two terms read the same, one may be meant to take over from the other."""
    return frozenset(str(e.value) for e in term.value.walk() if e.op == "input" and not e.type.is_host)


def check_hard_start(context: Context) -> None:
    """SCH022: a large weight that is switched on at once in the middle of the run."""
    timeline = context.timeline
    for term in context.live:
        if term.when is None or not timeline.known(term.when):
            continue
        found = timeline.nonzero(term.when)
        if not found.exact or not found.spans or found.spans[0].start == 0:
            continue
        start = found.spans[0].start
        weight = 1.0
        for factor in factors(term.value):
            if not timeline.known(factor):
                break
            weight *= abs(float(timeline.value(factor, start)))
        else:
            if weight >= 10:
                context.report.emit(
                    "SCH022",
                    f"term `{term.name}` may upset the training: its weight jumps to {show(weight)} at step {start:,}",
                    term.when.source,
                    term.when.span,
                    help=[f"let it fade in, as in `ramp(step, {start}, {start + 1000}) * ...`"],
                    notes=["mistaken if the term's value is small: look at its share of the total"],
                )
