"""Terms that exist now and then, at every k-th step or by chance, and weigh less on average than they read."""

from __future__ import annotations

from typing import NamedTuple

from ...diagnostics import Edit, Fix, Label
from ...interval import show
from ...source import Span
from ...typed import Expr, TypedTerm
from ...types import CONSTANT
from .clock import literals
from .context import Context
from .existence import branch
from .schedules import MOST_FACTORS, fixed

NOW_AND_THEN = {"every": "k", "chance": "p"}
"""Gates that lose an average, and the argument that says how much of it."""

MOST_TURNS = 1_000
"""Turns that terms can take."""


class _Parts(NamedTuple):
    """What a term is made of: its factors, -1 for those that it is divided by, and its gates, False for their not."""

    factors: list[tuple[Expr, int]]
    gates: list[tuple[Expr, bool]]


def check(context: Context) -> None:
    """SCH020 for a term that exists now and then and whose weight does not make up for it."""
    whens = (e for term in context.live if term.when is not None for e in term.when.walk())
    if not any(_is_gate(e) for e in whens) and not any(_is_gate(e) for _, e in context.values()):
        return
    parts = {id(term): _parts(context, term) for term in context.live}
    for term in context.live:
        if id(term.when) in context.explained:  # it never exists
            continue
        for gate, wanted in parts[id(term)].gates:
            if wanted and _is_gate(gate) and not _takes_turns(context, term, gate, parts):
                _check_gate(context, term, gate, parts[id(term)].factors)


def _is_gate(e: Expr) -> bool:
    return e.op == "call" and e.builtin.name in NOW_AND_THEN


def _parts(context: Context, term: TypedTerm) -> _Parts:
    found = _Parts([], [] if term.when is None else literals(term.when))
    stack, left = [(term.value, 1)], MOST_FACTORS
    while stack and left:
        left -= 1
        e, sign = stack.pop()
        found.factors.append((e, sign))
        if e.op in ("mul", "neg"):
            stack.extend((a, sign) for a in reversed(e.args))
        elif e.op == "div":
            stack += [(e.args[1], -sign), (e.args[0], sign)]
        elif sign > 0 and _is_gate(e):
            found.gates.append((e, True))
        elif sign > 0:
            chosen = branch(context, e)
            if chosen is not None:
                value, condition, wanted = chosen
                found.gates.extend(literals(condition, wanted))
                stack.append((value, sign))
    return found


def _takes_turns(context: Context, term: TypedTerm, gate: Expr, parts: dict[int, _Parts]) -> bool:
    """Whether other terms exist at the steps at which this one does not."""
    key = context.structure.key
    turns = {_turn(context, gate)}
    k = fixed(context, gate.arg("k"))
    for other in context.live:
        for e, wanted in parts[id(other)].gates if other is not term else ():
            if not wanted and any(c is gate or key(c) == key(gate) for c, held in literals(e) if held):
                return True
            if wanted and _is_gate(e) and e.builtin is gate.builtin and _same_steps(context, e, gate):
                turns.add(_turn(context, e))
    if gate.builtin.name != "every" or k is None or not 1 <= k <= MOST_TURNS:
        return False
    return {t % k for t in turns if t is not None} == set(range(int(k)))


def _same_steps(context: Context, a: Expr, b: Expr) -> bool:
    key = context.structure.key
    pairs = [(a.arg(name), b.arg(name)) for name in ("x", NOW_AND_THEN[a.builtin.name])]
    return all(x is not None and y is not None and key(x) == key(y) for x, y in pairs)


def _turn(context: Context, gate: Expr) -> float | None:
    return fixed(context, gate.arg("offset")) if "offset" in gate.names else 0.0


def _check_gate(context: Context, term: TypedTerm, gate: Expr, factors: list[tuple[Expr, int]]) -> None:
    every = gate.builtin.name == "every"
    share = gate.arg(NOW_AND_THEN[gate.builtin.name])
    if share is None:
        return
    value = fixed(context, share)
    needed = None if not value else value if every else 1 / value
    if (share.type.range.is_point and share.type.range.lo == 1) or value in (0, 1):
        return
    key = context.structure.key
    if any(key(e) == key(share) and (sign > 0) == every for e, sign in factors):
        return
    made, leaves = _literal(term.value)
    if needed is not None and made >= needed * (1 - 1e-6):
        return
    text = context.text(share)
    less = text if every else show(needed) if share.type.stage == CONSTANT and needed is not None else f"1 / {text}"
    seldom = f"at one step in {text} only" if every else f"with a chance of {text} only"
    keep = f"{'multiply' if every else 'divide'} the term by {text}"
    message = f"term `{term.name}` exists {seldom}, and nothing makes up for the other{'s' if every else ' steps'}"
    named = context.exact(share, term.value) is not None  # the text means the same in the term
    fixes = _fixes(context, term, text, every) if named else []
    if made > 1 and needed is not None:
        less = show(float(f"{needed / made:.4g}"))
        times = show(made)
        message = f"term `{term.name}` exists {seldom}, and its factor {times} makes up for {times} of {show(needed)}"
        keep = f"write a factor of {show(float(f'{needed:.6g}'))} in place of {times}"
        fixes = _replaced(context, term, leaves, text if every and named else show(float(f"{needed:.6g}")))
    context.report.emit(
        "SCH020",
        message,
        gate.source,
        gate.span,
        labels=[Label(term.value.span, f"weighs {less} times less on average", term.value.source)],
        help=[f"{keep} to keep its average, or say that this is meant: `# splat: ignore[SCH020]` on this line"],
        fixes=fixes,
    )


def _literal(value: Expr) -> tuple[float, list[Expr]]:
    """The product of the numbers above 1 that a value is multiplied by, or divided by below 1; and the former."""
    made, leaves = 1.0, list[Expr]()
    stack, left = [(value, 1)], MOST_FACTORS
    while stack and left:
        left -= 1
        e, sign = stack.pop()
        constant = e.type.stage == CONSTANT and e.type.range.is_point
        if e.op in ("mul", "neg"):
            stack.extend((a, sign) for a in e.args)
        elif e.op == "div" and not constant:
            stack += [(e.args[0], sign), (e.args[1], -sign)]
        elif constant and e.type.range.lo > 0:
            factor = e.type.range.lo if sign > 0 else 1 / e.type.range.lo
            if factor > 1:
                made *= factor
                leaves.append(e)
    return made, leaves


def _fixes(context: Context, term: TypedTerm, text: str, every: bool) -> list[Fix]:
    value = term.value
    if term.source is not context.program.source or value.source is not term.source or not _inside(value, term):
        return []
    start, end = Span(value.span.start, value.span.start), Span(value.span.end, value.span.end)
    product = value.op in ("mul", "call", "const", "param", "div")
    before, after = (f"{text} * ", "") if every else ("", f" / {text}")
    if not product:
        before, after = f"{before}(", f"){after}"
    edits = [Edit(at, new) for at, new in ((start, before), (end, after)) if new]
    return [Fix(f"{'multiply' if every else 'divide'} by {text}", edits)]


def _replaced(context: Context, term: TypedTerm, leaves: list[Expr], text: str) -> list[Fix]:
    """The fix that puts the whole factor in the place of the one that falls short."""
    leaf = leaves[0] if len(leaves) == 1 and leaves[0].op == "const" else None
    if leaf is None or leaf.source is not context.program.source or term.source is not leaf.source:
        return []
    written = leaf.source.slice(leaf.span)
    if not _inside(leaf, term) or not written[:1].isdigit():
        return []
    return [Fix(f"write `{text}` in place of `{written}`", [Edit(leaf.span, text)])]


def _inside(e: Expr, term: TypedTerm) -> bool:
    return term.span.start <= e.span.start and e.span.end <= term.span.end
