"""Gradient flow: which values carry gradient to what is trained."""

from __future__ import annotations

from ...builtins import ALL
from ...inputs import BY_NAME, buffer_of
from ...typed import Expr
from .context import Context

NO_BACKWARD = frozenset({"target", "mask", "visible", "radii", "background", "camera", "pixel"})
"""Buffers and fields through which no gradient reaches the gaussians, whatever the renderer."""

STOPS = frozenset(record.name for record in ALL if record.stops)
"""Builtins whose result carries no gradient although their argument does."""

NOTHING: frozenset[str] = frozenset()


def carried(e: Expr, memo: dict[int, frozenset[str]]) -> frozenset[str]:
    """Names of the inputs through which the value carries gradient: fixed ones, declared ones, extern functions.

    A declared input is assumed to carry gradient, since it may be a second render; a term that turns out constant is
    found when it is bound.
    """
    if id(e) not in memo:
        for node in e.operands_first(memo):
            memo[id(node)] = _carried(node, memo)
    return memo[id(e)]


def _carried(e: Expr, memo: dict[int, frozenset[str]]) -> frozenset[str]:
    if e.op == "input":
        if not e.type.kind.is_tensor and e.type.is_host:
            return NOTHING
        field = str(e.value).partition(".")[2] if str(e.value) not in BY_NAME else ""
        name = field if field in BY_NAME else str(e.value)
        return NOTHING if buffer_of(name) in NO_BACKWARD or name == "masked" else frozenset({str(e.value)})
    if e.op == "field" and str(e.value) in NO_BACKWARD:
        return NOTHING
    if e.op in ("lt", "le", "gt", "ge", "eq", "ne", "memory", "region", "has", "const", "param", "size"):
        return NOTHING
    if e.op == "extern":
        own = NOTHING if e.value.frozen else frozenset({f"{e.value.name}()"})
        return own.union(*(memo[id(a)] for a in e.args))
    if e.op == "call" and e.builtin.name in STOPS:
        return NOTHING
    if e.op == "call" and e.builtin.parsed.params and e.builtin.parsed.params[0].kind == "condition":
        return NOTHING.union(*(memo[id(a)] for a in e.args[1:]))
    if e.op == "item":
        return frozenset({str(e.args[0].value)}) if e.args[0].op == "input" else memo[id(e.args[0])]
    if e.op == "over":
        return memo[id(e.args[1])]
    return NOTHING.union(*(memo[id(a)] for a in e.args))


def check(context: Context) -> None:
    """GRD001 for terms that reach nothing that is trained."""
    memo: dict[int, frozenset[str]] = {}
    for term in context.live:
        if carried(term.value, memo):
            continue
        read = sorted({str(e.value) for e in term.value.walk() if e.op == "input"})
        stopped = next((e for e in term.value.walk() if e.op == "call" and e.builtin.name in STOPS), None)
        if stopped is not None and stopped.source is not context.report.hidden:
            at, why = stopped, f"`{stopped.builtin.name}` stops the gradient here"
            help_ = [f"take the gradient through one side: remove `{stopped.builtin.name}` where training should act"]
        else:
            at = term.value
            why = "nothing in it is made by the gaussians"
            names = ", ".join(f"`{n}`" for n in read if not n.startswith(("step", "max_steps", "progress")))
            help_ = (
                [f"it reads only {names}; compare with `rendered`, `alpha`, `depth` or the `state`"]
                if names
                else ["read something that the gaussians make: `rendered`, `alpha`, `depth` or the `state`"]
            )
        hidden = at.source is context.report.hidden
        context.report.emit(
            "GRD001",
            f"term `{term.name}` trains nothing: no gradient of it reaches the gaussians",
            term.source if hidden else at.source,
            term.span if hidden else at.span,
            caption=why,
            help=help_,
        )


def same(a: Expr, b: Expr) -> bool:
    """Whether two values are made in the same way."""
    stack, left = [(a, b)], 2000
    while stack:
        x, y = stack.pop()
        left -= 1
        if x is y:
            continue
        if left < 0 or x.op != y.op or len(x.args) != len(y.args) or x.names != y.names or _value(x) != _value(y):
            return False
        stack.extend(zip(x.args, y.args))
    return True


def _value(e: Expr) -> object:
    return e.builtin.name if e.op == "call" else e.value.name if e.op == "extern" else e.value


def _undetached(e: Expr) -> Expr:
    while e.op == "call" and e.builtin.name == "detach":
        e = e.args[0]
    return e


def check_self(context: Context) -> None:
    """GRD004 for a value that is compared with itself, GRD005 for a prior that is aligned to the prediction."""
    memo: dict[int, frozenset[str]] = {}
    seen: set[tuple[int, int]] = set()
    for term, e in context.values():
        pair = _compared(e)
        if pair is not None and same(_undetached(pair[0]), _undetached(pair[1])):
            name = e.via.name if e.via is not None else e.builtin.name
            place = e.via or e
            key = (id(place.source), place.span.start)
            if place.source is context.report.hidden or key in seen:
                continue
            seen.add(key)
            detached = pair[0] is not _undetached(pair[0]) or pair[1] is not _undetached(pair[1])
            entropic = name in ("bce", "cross_entropy")
            if entropic:
                effect = "its gradient is exactly 0" if detached else "it is an entropy: it pushes values to 0 or 1"
                help_ = ["to push values to 0 or 1 write `binary_entropy(x)`; to compare, give another target"]
            else:
                effect, help_ = "it is 0 whatever is trained", ["compare with another value, such as `target`"]
            message = f"term `{term.name}` compares `{context.text(pair[0])}` with itself: {effect}"
            context.report.emit("GRD004", message, place.source, place.span, help=help_)
        elif e.op == "call" and e.builtin.name == "align":
            to, x = e.arg("to"), e.arg("x")
            if to is not None and x is not None and _trained(to, memo) and not _trained(x, memo):
                context.report.emit(
                    "GRD005",
                    f"`{context.text(x)}` is aligned to the prediction: a flat prediction makes the loss small",
                    e.source,
                    e.span,
                    help=[
                        f"align the prediction to the prior, as in `align({context.text(to)}, to={context.text(x)})`,"
                        f" or stop the gradient: `to=detach({context.text(to)})`",
                    ],
                )


def _trained(e: Expr, memo: dict[int, frozenset[str]]) -> bool:
    """Whether the value certainly carries gradient: through the render itself, not only through declared inputs."""
    return any(name in BY_NAME or name.endswith("()") for name in carried(e, memo))


def _compared(e: Expr) -> tuple[Expr, Expr] | None:
    if e.via is not None and e.via.prelude and "a" in e.via.args and "b" in e.via.args and "r" in e.via.args:
        return e.via.args["a"], e.via.args["b"]
    if e.op == "call" and e.builtin.parsed.comparing:
        a, b = e.arg("a"), e.arg("b")
        return (a, b) if a is not None and b is not None else None
    return None


def check_data(context: Context) -> None:
    """GRD006: in a run, gaussians that only regularisers pull at drift to the regularisers' optimum."""
    if context.renderer is None or not context.live:
        return
    memo: dict[int, frozenset[str]] = {}
    reached = [name for term in context.live for name in carried(term.value, memo)]
    if any(not name.startswith("state.") for name in reached) or not reached:
        return
    term = context.live[0]
    context.report.emit(
        "GRD006",
        "no term of this loss compares the render with data: the gaussians drift to what the regularisers prefer",
        term.source,
        term.span,
        help=["add a term such as `photometric(masked)`"],
    )
