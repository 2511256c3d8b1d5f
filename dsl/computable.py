"""What this version can check but not yet compute, refused before anything runs."""

from __future__ import annotations

from .diagnostics import Diagnostic
from .inputs import BY_NAME
from .typed import Expr, TypedProgram
from .types import FLAG, MODE, NUMBER, STRING, TUPLE

OPERATIONS = {
    "memory": "memories",
    "extern": "extern functions",
    "over": "sums over lists",
    "item": "sums over lists",
    "field": "second renders, and functions with several results,",
}
SPACES = ("", "any", "pixels", "gaussians")
NO_BUFFER = ("camera", "pixel", "background")


def refusals(program: TypedProgram) -> list[Diagnostic]:
    """SYN050 for each thing that cannot be computed yet; the first place of each kind of thing."""
    found: dict[str, Diagnostic] = {}
    for term in program.terms:
        for e in term.value.walk():
            what = _unsupported(e)
            if what and what not in found:
                at, span = (e.source, e.span) if e.source in program.sources else (term.source, term.span)
                message = f"{what} can be checked, but not computed in this version"
                help_ = [f"term `{term.name}` needs it: leave the term out of runs with this version"]
                found[what] = Diagnostic("SYN050", message, at, span, help=help_)
    return list(found.values())


def _unsupported(e: Expr) -> str:
    """What cannot be computed about a value; "" if nothing."""
    if e.op in OPERATIONS:
        return OPERATIONS[e.op]
    kind = e.type.kind
    if e.op == "input":
        spec = BY_NAME.get(e.value)
        if spec is None and "." in e.value:
            return "second renders"
        if spec is not None and e.value.partition(".")[0] in NO_BUFFER:
            return f"`{e.value.partition('.')[0]}`"
    if kind.view or kind.name == "view":
        return "second renders"
    if kind in (NUMBER, FLAG, MODE, STRING, TUPLE):
        host = e.type.is_host or kind in (MODE, STRING, TUPLE)
        if e.op == "call" and not e.builtin.kernel and not (host and e.builtin.host is not None):
            return f"`{e.builtin.name}`"
        return ""
    if kind.space not in SPACES or not isinstance(kind.components, int):
        return f"values of dimensions {kind.dims}" if kind.dims else f"{kind.describe()}"
    if e.op == "call" and not e.builtin.kernel:
        return f"`{e.builtin.name}`"
    return ""
