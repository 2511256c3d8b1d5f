"""Optional inputs are read only where `has` says that they are there."""

from __future__ import annotations

from ... import ast
from ...diagnostics import Edit, Fix, Label
from ...source import Span
from ...typed import Expr, InputInfo, TypedTerm
from ..structure import operands_first
from .context import Context


def check(context: Context) -> None:
    """NAM010 for each read that nothing guards."""
    optional = {name: info for name, info in context.program.inputs.items() if info.optional}
    if not optional:
        return
    memo: dict[int, Names] = {}
    for term in context.program.terms:
        guards = known(term.when, True, memo) if term.when is not None else NOTHING
        _walk(context, term, term.value, guards, optional, memo)
    for memory in context.program.memories.values():
        guards = known(memory.when, True, memo) if memory.when is not None else NOTHING
        for value in (memory.init, memory.update):
            _walk(context, None, value, guards, optional, memo)


NOTHING: frozenset[str] = frozenset()

Names = tuple[frozenset[str], frozenset[str]]
"""The inputs that must be there if a condition holds, and if it does not."""


def known(condition: Expr, truth: bool, memo: dict[int, Names] | None = None) -> frozenset[str]:
    """The inputs that must be there if a condition holds, or does not."""
    if condition.op not in ("has", "not", "and", "or"):
        return NOTHING
    memo = {} if memo is None else memo
    for e in operands_first(condition, memo):
        memo[id(e)] = _known(e, memo)
    return memo[id(condition)][0 if truth else 1]


def _known(e: Expr, memo: dict[int, Names]) -> Names:
    if e.op == "has":
        return frozenset(e.value), NOTHING
    if e.op == "not":
        return memo[id(e.args[0])][::-1]
    if e.op not in ("and", "or"):
        return NOTHING, NOTHING
    (a, not_a), (b, not_b) = (memo[id(x)] for x in e.args)
    return (a | b, not_a & not_b) if e.op == "and" else (a & b, not_a | not_b)


def branches(e: Expr, memo: dict[int, Names]) -> list[tuple[Expr, frozenset[str]]]:
    """The operands of a value, each with the inputs that are there wherever it is chosen."""
    if e.op == "if":
        then, condition, otherwise = e.args
        return [(then, known(condition, True, memo)), (condition, NOTHING), (otherwise, known(condition, False, memo))]
    if e.op in ("and", "or") and not e.type.kind.is_tensor:  # the second is asked only if the first leaves it open
        return [(e.args[0], NOTHING), (e.args[1], known(e.args[0], e.op == "and", memo))]
    if e.op == "call" and e.args and e.args[0].type.is_host and e.builtin.parsed.params[0].kind == "condition":
        condition, then, otherwise = e.args
        return [(condition, NOTHING), (then, known(condition, True, memo)), (otherwise, known(condition, False, memo))]
    return [(a, NOTHING) for a in e.args]


def _walk(
    context: Context,
    term: TypedTerm | None,
    start: Expr,
    guards: frozenset[str],
    optional: dict[str, InputInfo],
    memo: dict[int, Names],
) -> None:
    """Report the reads that some way to them leaves unguarded, each name once."""
    there = {id(start): _views(guards)}  # what is there whichever way a value is reached
    for e in reversed(list(start.operands_first())):
        for a, more in branches(e, memo):
            here = there[id(e)] | _views(more) if more else there[id(e)]
            before = there.get(id(a))
            there[id(a)] = here if before is None or before is here else before & here
    reported: set[str] = set()
    for e in start.walk():
        name = str(e.value).partition(".")[0] if e.op == "input" else ""
        if name in optional and name not in there[id(e)] and name not in reported:
            reported.add(name)
            _report(context, term, e, optional[name])


def _views(names: frozenset[str]) -> frozenset[str]:
    """With the views whose fields are there."""
    return names | {name.partition(".")[0] for name in names}


def _report(context: Context, term: TypedTerm | None, e: Expr, info: InputInfo) -> None:
    name = info.name
    fixes = []
    help_ = [f"choose with `a if has({name}) else b`"]
    if term is not None and term.when is not None and _excluded(term.when, name):
        help_ = [f"this term is there only where `{name}` is missing: let it read something else"]
    elif term is not None:
        help_.insert(
            0, f"add `when has({name})` to the term, or" if term.when is None else f"add `and has({name})`, or"
        )
        help_ = [" ".join(help_)]
        if term.source is e.source and term.source is context.program.source:
            fixes = _guarded(context, term, name)
    context.report.emit(
        "NAM010",
        f"`{name}` may be missing, and nothing says here that it is there",
        e.source,
        e.span,
        labels=[Label(info.span, "declared optional here", info.source)],
        help=help_,
        fixes=fixes,
    )


def _excluded(when: Expr, name: str) -> bool:
    """Whether a condition holds only where an input is missing."""
    for _ in range(50):
        if when.op == "not":
            return when.args[0].op == "has" and tuple(when.args[0].value) == (name,)
        if when.op != "and":
            return False
        if _excluded(when.args[1], name):
            return True
        when = when.args[0]
    return False


def _guarded(context: Context, term: TypedTerm, name: str) -> list[Fix]:
    """The term with a condition that the input is there; none where its own condition is written elsewhere."""
    title, when = f"read it only where it is there: `has({name})`", term.when
    if when is None:
        return [Fix(title, [Edit(Span(term.span.end, term.span.end), f" when has({name})")])]
    texts = context.report.texts
    node = None if texts is None else texts.condition(term)
    if node is None:
        return []
    start, end = (Span(at, at) for at in (node.span.start, node.span.end))
    loose = isinstance(node, ast.Conditional) or (isinstance(node, ast.Binary) and node.op == "or")
    edits = [Edit(start, "("), Edit(end, f") and has({name})")] if loose else [Edit(end, f" and has({name})")]
    return [Fix(title, edits)]
