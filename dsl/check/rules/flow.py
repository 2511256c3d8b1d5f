"""Gradient flow: which values carry gradient to what is trained."""

from __future__ import annotations

import re

from ...builtins import ALL
from ...diagnostics import Label
from ...inputs import BY_NAME, buffer_of
from ...typed import Expr, TypedTerm
from ...types import TENSOR
from .context import Context

COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})

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
    memo = context.carried
    data = _data(context)
    for term in context.live:
        if carried(term.value, memo):
            pair = _measured(term, memo, data)
            if pair is not None:
                label = Label(pair[1].span, "this is data, which is not trained", pair[1].source)
                _nothing(context, term, *_stopped(context, pair[0], memo), [label])
        elif not any(_with_itself(context, e) for e in term.value.walk()):  # GRD004 says more
            _nothing(context, term, *_stopped(context, term.value, memo), [])


def _nothing(context: Context, term: TypedTerm, at: Expr, why: str, help_: str, labels: list[Label]) -> None:
    hidden = at.source is context.report.hidden
    context.report.emit(
        "GRD001",
        f"term `{term.name}` trains nothing: no gradient of it reaches the gaussians",
        term.source if hidden else at.source,
        term.span if hidden else at.span,
        caption=why,
        labels=labels,
        help=[help_],
    )


def _stopped(context: Context, value: Expr, memo: dict[int, frozenset[str]]) -> tuple[Expr, str, str]:
    """Where the gradient of a value ends, why, and what to do; the value itself where it never begins."""
    hidden = context.report.hidden
    for e in value.walk():
        if e.source is hidden or carried(e, memo) or not any(carried(a, memo) for a in e.args):
            continue
        if e.op == "call" and e.builtin.name in STOPS:
            name = e.builtin.name
            help_ = f"take the gradient through one side: remove `{name}` where training should act"
            return e, f"`{name}` stops the gradient here", help_
        if e.op in COMPARISONS:
            text, of = context.text(e), context.text(next(a for a in e.args if carried(a, memo)))
            use = f"mean(state.scales, {text})" if e.type.kind.layout == "gaussians" else f"l1({text})"
            help_ = f"a region says what counts, as in `{use}`; for the value itself write `mean({of})`"
            return e, "a comparison has no gradient", help_
    read = sorted({str(e.value) for e in value.walk() if e.op == "input" and not e.type.is_host})
    drawn = next((n for n in ("radii", "visible") if n in read), "")
    if drawn:
        region = "visible" if drawn == "visible" else "radii > 20"
        help_ = f"use it to say which gaussians count, as in `mean(state.scales, {region})`"
        return value, f"the renderer gives no gradient for `{drawn}`", help_
    only = f"it reads only {', '.join(f'`{n}`' for n in read)}; " if read else ""
    return value, "nothing in it is made by the gaussians", only + "read `rendered`, `alpha`, `depth` or the `state`"


def _ends(e: Expr, memo: dict[int, frozenset[str]]) -> bool:
    """Whether a gradient of the render or the gaussians ends at a value."""
    return e.op == "call" and e.builtin.name in STOPS and _trained(e.args[0], memo)


DATA_KINDS = frozenset({"depth", "normals", "image", "region", "map"})
"""Kinds of inputs that come with the item; what is declared by its dimensions may be trained by the host."""

DIMENSIONS = re.compile(r"\s*:\s*(?:list\s+of\s+)?\[")


def _data(context: Context) -> frozenset[str]:
    """Declared inputs that are data where they are compared: those of a named kind."""
    return frozenset(
        name
        for name, info in context.program.inputs.items()
        if info.stage == TENSOR
        and info.kind.name in DATA_KINDS
        and not DIMENSIONS.match(info.source.text, info.span.end)
    )


def _measured(term: TypedTerm, memo: dict[int, frozenset[str]], data: frozenset[str]) -> tuple[Expr, Expr] | None:
    """What is stopped and what it is compared with, in a term that has a gradient only if its data had one."""
    if not data or not carried(term.value, memo) <= data:
        return None
    for e in term.value.walk():
        pair = _compared(e) or (e.args if e.op == "sub" and len(e.args) == 2 else None)
        if pair is None:
            continue
        for made, given in (pair, pair[::-1]):
            names = carried(given, memo)
            if names and names <= data and not carried(made, memo) and any(_ends(n, memo) for n in made.walk()):
                return made, given
    return None


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
    memo = context.carried
    seen: set[tuple[int, int]] = set()
    for term, e in context.values():
        pair = _with_itself(context, e)
        if pair is not None:
            name = e.via.name if e.via is not None else e.builtin.name
            place = e.via or e
            key = (id(place.source), place.span.start)
            if key in seen:
                continue
            seen.add(key)
            detached = pair[0] is not _undetached(pair[0]) or pair[1] is not _undetached(pair[1])
            entropic = name in ("bce", "cross_entropy")
            if entropic:
                effect = "its gradient is exactly 0" if detached else "it is an entropy: it pushes values to 0 or 1"
                help_ = ["to push values to 0 or 1 write `binary_entropy(x)`; to compare, give another target"]
            else:
                effect, help_ = "it is 0 whatever is trained", [_other(pair[0])]
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


def _with_itself(context: Context, e: Expr) -> tuple[Expr, Expr] | None:
    """The two operands of a comparison, in the user's text, of a value with itself."""
    pair = _compared(e)
    if pair is None or (e.via or e).source is context.report.hidden:
        return None
    return pair if same(_undetached(pair[0]), _undetached(pair[1])) else None


def _other(e: Expr) -> str:
    """What a value that is compared with itself could be compared with."""
    read = {str(n.value) for n in e.walk() if n.op == "input"}
    other = "rendered" if "target" in read else "target" if "rendered" in read else ""
    return f"compare with `{other}`" if other else "compare with another value, for instance one from the data"


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
    if context.broken or (context.renderer is None and context.data is None) or not context.live:
        return
    memo = context.carried
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
