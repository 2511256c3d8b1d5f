"""Regularisers on raw parameters of the gaussians: log-scales and opacity logits."""

from __future__ import annotations

from typing import NamedTuple

from ...diagnostics import Applicability, Edit, Fix
from ...interval import UNIT, ZERO
from ...typed import Expr, TypedTerm
from .context import Context
from .parts import Part, parts, reduced
from .places import Places

ACTIVATED = {"log_scales": "scales", "opacity_logits": "opacities"}
AT_ZERO = {"log": "a scale of 1 scene unit", "logit": "an opacity of 0.5"}
PROBABILITIES = {"binary_entropy": "x", "entropy": "p", "opacity_entropy": "x", "bce": "a"}
RATIOS = ("anisotropy", "effective_rank")
COMPONENTS = ("component_max", "component_min", "component_mean", "component_sum")
PIECES = frozenset({"abs", "sq", "norm", *COMPONENTS})


def raw(e: Expr) -> str:
    """``log`` or ``logit`` for a raw parameter of the gaussians, else ""."""
    fact = e.type.facts.get("parameter")
    return fact.value if fact is not None and fact.value != "activated" and e.op in ("input", "field") else ""


def check(context: Context) -> None:
    """ACT004 for ratios of logarithms, ACT001 for other regularisers of raw parameters."""
    places = context.places
    said: set[int] = set()
    for _, e in context.values():
        if id(e) not in said and (_ratio(context, places, e) or _probability(context, places, e)):
            inside = {id(n) for n in e.walk() if n.op != "input"}
            said |= inside
            context.explained |= inside
        elif e.op == "sub" and id(e) not in said:
            _difference(context, places, e)
    for term in context.live:
        _regularisers(context, places, term, said)


# Activations

ACTIVATIONS = {"exp": "log", "sigmoid": "logit"}
"""Which raw parameter each function activates."""


def check_activations(context: Context) -> None:
    """ACT020 for the wrong activation, and for a second one."""
    places = context.places
    seen: set[tuple[int, int]] = set()
    for _, e in context.values():
        if e.op != "call" or e.builtin.name not in ACTIVATIONS or not _parameter(e.args[0]):
            continue
        fact = e.args[0].type.facts.get("parameter")
        name = e.builtin.name
        if fact is None or fact.value == ACTIVATIONS[name]:
            continue
        source, span = places.at(e)
        if (id(source), span.start) in seen or source is context.report.hidden:
            continue
        seen.add((id(source), span.start))
        of = _activated_from(e.args[0])
        text, better = context.text(e.args[0]), _activated(of)
        if fact.value == "activated":
            message = f"`{text}` is activated already: `{name}` of it is no parameter of a gaussian"
        else:
            right = "exp" if fact.value == "log" else "sigmoid"
            message = f"`{text}` becomes `{better}` by `{right}`, not by `{name}`"
        own = e.source is context.program.source and e.source is source and span == e.span
        own = own and context.exact(of, e) == of.value and all(n.op != "component" for n in e.args[0].walk())
        context.report.emit(
            "ACT020",
            message,
            source,
            span,
            help=[f"use `{better}`"],
            fixes=[Fix(f"use `{better}`", [Edit(e.span, better)], Applicability.UNSAFE)] if own else (),
        )


def _activated_from(e: Expr) -> Expr:
    while e.op == "call" or e.op == "component":
        e = e.args[0]
    return e


def _parameter(e: Expr) -> bool:
    """Whether a value is a parameter of the gaussians itself, raw or activated, rather than made of it."""
    while (e.op == "call" and e.builtin.name in (*ACTIVATIONS, "detach")) or e.op == "component":
        e = e.args[0]
    return e.op in ("input", "field") and "parameter" in e.type.facts


# Ratios


def _ratio(context: Context, places: Places, e: Expr) -> bool:
    name = e.via.name if e.via is not None and e.via.prelude else ""
    if name in RATIOS and e.via is not None:
        of = _base(e.via.args["x"])
        if of is not None and raw(of):
            _say_ratio(context, places, e, [of], f"`{name}` of log-scales")
            return True
    if e.op != "div":
        return False
    above, below = (_base(a) for a in e.args)
    if above is None or below is None or raw(above) != "log" or raw(below) != "log":
        return False
    _say_ratio(context, places, e, [above, below], "a ratio of log-scales")
    return True


def _say_ratio(context: Context, places: Places, e: Expr, of: list[Expr], what: str) -> None:
    source, span = places.at(e)
    context.report.emit(
        "ACT004",
        f"{what} is no ratio of scales: it depends on the unit of length, and is infinite at a scale of 1",
        source,
        span,
        help=["use `anisotropy(state)`, the ratio of `state.scales`; the logarithm of a ratio is a difference of logs"],
        fixes=_activate(context, of),
    )


def _difference(context: Context, places: Places, e: Expr) -> None:
    """``component_max(state.scales) - component_min(state.scales) - 10``: a length is taken for a ratio."""
    spread, limit = e.args
    if spread.op != "sub" or not limit.type.is_host or limit.type.range.lo < 1 or limit.op not in ("const", "param"):
        return
    names = [a.builtin.name if a.op == "call" else "" for a in spread.args]
    if names != ["component_max", "component_min"]:
        return
    bases = [_base(a) for a in spread.args]
    if not all(b is not None and str(b.value).endswith("state.scales") for b in bases):
        return
    source, span = places.at(e)
    context.report.emit(
        "ACT004",
        f"a difference of scales is a length, so {context.text(limit)} is {context.text(limit)} scene units here,"
        " not a ratio",
        source,
        span,
        help=[f"for a ratio write `anisotropy(state) - {context.text(limit)}`"],
    )


# Entropies


def _probability(context: Context, places: Places, e: Expr) -> bool:
    name, args = _called(e)
    given = args.get(PROBABILITIES.get(name, ""))
    of = None if given is None or given.type.range.within(UNIT) else _base(given)
    if of is None or not raw(of):
        return False
    source, span = places.at(e)
    text = context.text(of)
    context.report.emit(
        "ACT001",
        f"`{name}` takes values in 0..1, but `{text}` is the raw parameter, which can be any number",
        source,
        span,
        help=[f"use `{_activated(of)}`"],
        fixes=_activate(context, [of]),
    )
    return True


def _called(e: Expr) -> tuple[str, dict[str, Expr]]:
    if e.via is not None and e.via.prelude:
        return e.via.name, dict(e.via.args)
    if e.op == "call":
        return e.builtin.name, dict(zip(e.names, e.args))
    return "", {}


# Means


class _Pull(NamedTuple):
    """What a reduction of a raw parameter does: ``centred`` pulls to 0, else it pushes one way without end."""

    of: Expr
    centred: bool
    falls: bool


def _regularisers(context: Context, places: Places, term: TypedTerm, said: set[int]) -> None:
    found = []
    for part in parts(context, term.value):
        x = None if id(part.e) in said else reduced(part.e)
        pull = None if x is None else _pull(x, part.negative)
        if pull is not None:
            found.append((part, pull))
    ways = {(str(p.of.value), p.falls) for _, p in found if not p.centred}
    for part, pull in found:
        if not pull.centred and (str(pull.of.value), not pull.falls) in ways:
            continue  # one part holds the other, as in the mean of largest less smallest
        _say_pull(context, places, term, part, pull)


def _say_pull(context: Context, places: Places, term: TypedTerm, part: Part, pull: _Pull) -> None:
    text, kind = context.text(pull.of), raw(pull.of)
    if not pull.centred:
        way = "down" if pull.falls else "up"
        message = f"term `{term.name}` pushes the raw `{text}` {way} without end"
    elif part.negative:
        message = f"term `{term.name}` pushes the raw `{text}` away from 0 without end"
    else:
        message = f"term `{term.name}` pulls the raw `{text}` to 0, which is {AT_ZERO[kind]}"
    source, span = places.at(part.e)
    better = _activated(pull.of)
    help_ = [f"use `{better}`, or bound it: `relu({text} - limit)`"]
    if pull.centred and not part.negative:
        help_ = [f"use `{better}`, or name the value to pull to, as in `{text} - log(0.01)`"]
        if kind == "logit":
            help_ = [f"use `{better}`, or name the value to pull to, as in `{text} + 4`"]
    context.report.emit("ACT001", message, source, span, help=help_, fixes=_activate(context, [pull.of]))


def _pull(x: Expr, negative: bool) -> _Pull | None:
    """The raw parameter that a value grows or falls with; None where it is bounded, or aims at a value."""
    centred = False
    for _ in range(100):
        if raw(x):
            return _Pull(x, centred, not negative)
        if x.op == "neg":
            negative = not negative
        elif x.op in ("mul", "add", "sub") and len(_tensors(x)) == 1:
            (host,) = (a for a in x.args if a.type.is_host)
            if x.op == "mul":
                if host.type.range.sign is None:
                    return None
                negative = negative != (host.type.range.sign < 0)
            elif centred and host.type.range != ZERO:
                return None
            negative = negative != (x.op == "sub" and x.args[0] is host)
        elif _even(x):
            centred = True
        elif not (x.op in ("div", "component") or (x.op == "call" and x.builtin.name in COMPONENTS)):
            return None
        if len(_tensors(x)) != 1:
            return None
        (x,) = _tensors(x)
    return None


def _even(e: Expr) -> bool:
    """Whether an operation gives the same for a value and its negative, and is least at 0."""
    if e.op == "pow":
        power = e.args[1].type.range
        return power.is_point and power.lo > 0 and power.lo % 2 == 0
    return e.op == "call" and e.builtin.name in ("abs", "sq", "norm")


def _tensors(e: Expr) -> list[Expr]:
    return [a for a in e.args if not a.type.is_host]


def _base(e: Expr) -> Expr | None:
    """The parameter that a value is made of pointwise: by absolute values, squares, components and host factors."""
    for _ in range(100):
        if e.op in ("input", "field"):
            return e
        if (e.op == "call" and e.builtin.name in PIECES) or e.op in ("neg", "component"):
            e = e.args[0]
        elif e.op == "mul" and any(a.type.is_host for a in e.args):
            e = e.args[1] if e.args[0].type.is_host else e.args[0]
        elif (
            e.op == "call"
            and e.builtin.name in ("max", "min", "clamp")
            and sum(not a.type.is_host for a in e.args) == 1
        ):
            e = next(a for a in e.args if not a.type.is_host)
        else:
            return None
    return None


def _activated(e: Expr) -> str:
    text = str(e.value)
    for name, better in ACTIVATED.items():
        text = text.replace(name, better)
    return text


def _activate(context: Context, of: list[Expr]) -> list[Fix]:
    """Reads the activated parameter instead, where the raw one is written out."""
    own = context.program.source
    edits: dict[int, Edit] = {}
    for e in of:
        text = context.text(e)
        better = next((text.replace(n, b) for n, b in ACTIVATED.items() if text.endswith(n)), "")
        if e.source is not own or not better:
            return []
        edits[e.span.start] = Edit(e.span, better)
    ordered = [edits[start] for start in sorted(edits)]
    return [Fix(f"read `{ordered[0].text}`", ordered, Applicability.UNSAFE)]
