"""Schedules that do not do what they look like: never on, always zero, off by one step, a gap, a lost average."""

from __future__ import annotations

from collections.abc import Iterator

from ...diagnostics import Applicability, Edit, Fix, Label
from ...interval import ZERO, show
from ...live import Zeros
from ...source import Span
from ...spans import Timeline
from ...steps import Existence, Steps
from ...typed import Expr, TypedTerm
from ...types import CONSTANT, PARAMETER, STEP, TENSOR
from .context import Context

STEPPED = {"after": ("a",), "before": ("b",), "between": ("a", "b"), "ramp": ("a", "b"), "linear": ("over",)}
STEPPED |= {"loglinear": ("over",), "cosine": ("over",)}
"""Arguments of schedules that count what their first argument counts."""


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


def check(context: Context) -> None:
    """SCH002 for terms that never exist in this run, SCH005 for terms that are always 0."""
    literal = Zeros({})
    live = {id(t) for t in context.live}
    timeline = context.timeline
    for term in context.program.terms:
        zero = next((f for f in factors(term.value) if f.type.stage == CONSTANT and f.type.range == ZERO), None)
        if zero is not None or literal.is_zero(term.value):
            _always_zero(context, term, zero or term.value, "this factor is 0")
            continue
        if context.max_steps is None or id(term) not in live:
            continue
        exists = None
        # A flag, a mode or a missing input that switches a term off is no mistake of its schedule.
        moving = [c for c in _conjuncts(term.when) if timeline.moves(c)]
        for condition in moving:
            found = timeline.nonzero(condition)
            exists = found if exists is None else exists.also(found)
        if exists is not None and (exists.never or exists.total() == 0):
            if term.when is not None and exists.exact and term.when.type.range != ZERO:
                _never(context, term, term.when)
            continue
        _weight(context, term, timeline, exists)


def _never(context: Context, term: TypedTerm, when: Expr) -> None:
    labels, names = [], []
    for e in when.walk():
        if e.op == "param" and e.value in context.program.params and e.value not in names:
            info = context.program.params[e.value]
            names.append(e.value)
            labels.append(Label(info.span, f"now {_shown(info.value)}", info.source))
    context.report.emit(
        "SCH002",
        f"this condition is never true within {context.max_steps:,} steps: term `{term.name}` never exists",
        when.source,
        when.span,
        labels=labels,
        help=["begin earlier, train longer, or remove the term for this run"],
    )


def _shown(value: float | bool | str) -> str:
    return show(value) if isinstance(value, float) else str(value).lower()


def _weight(context: Context, term: TypedTerm, timeline: Timeline, exists: Existence | None) -> None:
    """Whether the weight is 0 at every step at which the term exists."""
    together = exists
    for factor in factors(term.value):
        if factor.type.stage != STEP or 0.0 not in factor.type.range or not timeline.known(factor):
            continue
        if not timeline.moves(factor):
            continue
        found = timeline.nonzero(factor)
        together = found if together is None else together.also(found)
        if together.never and together.exact:
            within = f"within {context.max_steps:,} steps" if found.never else "at the steps at which the term exists"
            _always_zero(context, term, factor, f"0 {within}")
            return


def _always_zero(context: Context, term: TypedTerm, factor: Expr, why: str) -> None:
    hidden = factor.source is context.report.hidden
    context.report.emit(
        "SCH005",
        f"the weight of term `{term.name}` is always 0",
        term.source if hidden else factor.source,
        term.span if hidden else factor.span,
        caption=why,
        help=["remove the term, or make its weight a `param` whose default is 0 to switch it on from a config"],
    )


def check_steps(context: Context) -> None:
    """SCH006 for conditions such as `step > 7000`, SCH007 for lengths that are a fraction of a step."""
    roots = [t.value for t in context.program.terms] + [t.when for t in context.program.terms if t.when is not None]
    seen: set[int] = set()
    for root in roots:
        for e in root.walk():
            if id(e) in seen or e.source is context.report.hidden:
                continue
            seen.add(id(e))
            if e.op in ("gt", "le", "lt", "ge"):
                _closed(context, e)
            elif e.op == "call" and e.builtin.name in STEPPED:
                _fraction(context, e)


def _closed(context: Context, e: Expr) -> None:
    """`step > n` starts one step after n and `step <= n` ends one after: hardly ever what n says."""
    op, (left, right) = e.op, e.args
    if right.op == "input" and right.value == "step":
        op, left, right = {"gt": "lt", "lt": "gt", "ge": "le", "le": "ge"}[op], right, left
    if op not in ("gt", "le") or left.op != "input" or left.value != "step" or right.type.stage > PARAMETER:
        return
    n = context.text(right)
    after = right.type.range.lo + 1 if right.type.stage == CONSTANT and right.type.range.is_point else None
    plain = right.op in ("const", "param")
    text = show(after) if after is not None else f"{n} + 1" if plain else f"({n}) + 1"
    function, effect = ("after", "begins one step later") if op == "gt" else ("before", "ends one step later")
    context.report.emit(
        "SCH006",
        f"`{context.text(e)}` {effect} than `{function}(step, {n})`",
        e.source,
        e.span,
        notes=[
            "spans of steps are half-open and count from 0: `after(step, a)` is step >= a, `before(step, b)` is step < b"
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
            text = context.text(a)
            context.report.emit(
                "SCH007",
                f"`{name}` of `{e.builtin.name}` counts steps, but {text} is a fraction of one step",
                a.source,
                a.span,
                help=[f"for a part of the run use `progress`, as in `{e.builtin.name}(progress, {text})`"],
            )
            return


def check_every(context: Context) -> None:
    """SCH020 for a term that exists at every k-th step and whose weight does not make up for it."""
    for term in context.live:
        for gate in _conjuncts(term.when):
            if gate.op != "call" or gate.builtin.name != "every":
                continue
            k = gate.arg("k")
            if k is None or k.type.range.hi <= 1 or _makes_up(context, term.value, k):
                continue
            text = context.text(k)
            fixes = []
            if term.source is context.program.source and term.value.source is term.source:
                span = term.value.span
                at = Span(span.start, span.start)
                product = term.value.op in ("mul", "call", "const", "param", "div")
                edits = (
                    [Edit(at, f"{text} * ")]
                    if product
                    else [
                        Edit(at, f"{text} * ("),
                        Edit(Span(span.end, span.end), ")"),
                    ]
                )
                fixes = [Fix(f"multiply by {text}", edits)]
            context.report.emit(
                "SCH020",
                f"term `{term.name}` exists at one step in {text} only, and nothing makes up for the others",
                gate.source,
                gate.span,
                labels=[Label(term.value.span, f"weighs {text} times less on average", term.value.source)],
                help=[
                    f"multiply the term by {text} to keep its average, or say that this is meant: "
                    "`# splat: ignore[SCH020]` on this line"
                ],
                fixes=fixes,
            )


def _conjuncts(when: Expr | None) -> list[Expr]:
    found, stack = [], [] if when is None else [when]
    while stack:
        e = stack.pop()
        if e.op == "and":
            stack.extend(reversed(e.args))
        else:
            found.append(e)
    return found


def _makes_up(context: Context, value: Expr, k: Expr) -> bool:
    key = context.structure.key
    wanted = key(k)
    return any(key(node) == wanted for f in factors(value) for node in _product(f))


def _product(e: Expr) -> Iterator[Expr]:
    stack, left = [e], MOST_FACTORS
    while stack and left:
        left -= 1
        node = stack.pop()
        yield node
        if node.op in ("mul", "neg"):
            stack.extend(node.args)
        elif node.op == "div":
            stack.append(node.args[0])


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
                f"`{first.name}` ends before step {one.stop:,} and `{second.name}` begins at step {other.start:,}: {what}",
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
