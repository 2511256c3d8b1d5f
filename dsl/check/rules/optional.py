"""Optional inputs are read only where `has` says that they are there."""

from __future__ import annotations

from ...diagnostics import Edit, Fix, Label
from ...source import Span
from ...typed import Expr, InputInfo, TypedTerm
from .context import Context


def check(context: Context) -> None:
    """NAM010 for each read that nothing guards."""
    optional = {name: info for name, info in context.program.inputs.items() if info.optional}
    if not optional:
        return
    for term in context.program.terms:
        guards = known(term.when, True) if term.when is not None else frozenset()
        _walk(context, term, term.value, guards, optional, set())
    for memory in context.program.memories.values():
        guards = known(memory.when, True) if memory.when is not None else frozenset()
        for value in (memory.init, memory.update):
            _walk(context, None, value, guards, optional, set())


def known(condition: Expr, truth: bool) -> frozenset[str]:
    """The inputs that must be there if a condition holds, or does not."""
    if condition.op == "has":
        return frozenset(condition.value) if truth else frozenset()
    if condition.op == "not":
        return known(condition.args[0], not truth)
    if condition.op == ("and" if truth else "or"):
        return known(condition.args[0], truth) | known(condition.args[1], truth)
    if condition.op in ("and", "or"):
        return known(condition.args[0], truth) & known(condition.args[1], truth)
    return frozenset()


def branches(e: Expr) -> list[tuple[Expr, frozenset[str]]]:
    """The operands of a value, each with the inputs that are there wherever it is chosen."""
    if e.op == "if":
        then, condition, otherwise = e.args
        return [(then, known(condition, True)), (condition, frozenset()), (otherwise, known(condition, False))]
    if e.op in ("and", "or") and not e.type.kind.is_tensor:  # the second is asked only if the first leaves it open
        return [(e.args[0], frozenset()), (e.args[1], known(e.args[0], e.op == "and"))]
    if e.op == "call" and e.args and e.args[0].type.is_host and e.builtin.parsed.params[0].kind == "condition":
        condition, then, otherwise = e.args
        return [(condition, frozenset()), (then, known(condition, True)), (otherwise, known(condition, False))]
    return [(a, frozenset()) for a in e.args]


def _walk(
    context: Context,
    term: TypedTerm | None,
    start: Expr,
    guards: frozenset[str],
    optional: dict[str, InputInfo],
    reported: set[str],
) -> None:
    seen: set[tuple[int, frozenset[str]]] = set()
    stack = [(start, guards)]
    while stack:
        e, there = stack.pop()
        if (id(e), there) in seen:
            continue
        seen.add((id(e), there))
        if e.op == "input":
            name = str(e.value).partition(".")[0]
            if name in optional and name not in there and e.value not in there and name not in reported:
                reported.add(name)
                _report(context, term, e, optional[name])
        stack.extend((a, there | more) for a, more in reversed(branches(e)))


def _report(context: Context, term: TypedTerm | None, e: Expr, info: InputInfo) -> None:
    name = info.name
    fixes = []
    help_ = [f"choose with `a if has({name}) else b`"]
    if term is not None:
        help_.insert(
            0, f"add `when has({name})` to the term, or" if term.when is None else f"add `and has({name})`, or"
        )
        help_ = [" ".join(help_)]
        if term.source is e.source and term.source is context.program.source:
            edit = (
                Edit(Span(term.span.end, term.span.end), f" when has({name})")
                if term.when is None
                else Edit(Span(term.when.span.end, term.when.span.end), f" and has({name})")
            )
            fixes = [Fix(f"read it only where it is there: `has({name})`", [edit])]
    context.report.emit(
        "NAM010",
        f"`{name}` may be missing, and nothing says here that it is there",
        e.source,
        e.span,
        labels=[Label(info.span, "declared optional here", info.source)],
        help=help_,
        fixes=fixes,
    )
