"""Which way round a mask is: 1 means that a pixel counts."""

from __future__ import annotations

from ...diagnostics import Label
from ...typed import Expr
from .context import Context
from .regions import MASK, Comparison, Regions

IGNORED = frozenset(
    {
        *("bad", "discard", "discarded", "distractor", "distractors", "exclude", "excluded", "ignore", "ignored"),
        *("invalid", "outlier", "outliers", "reject", "rejected", "transient", "transients", "unreliable"),
    }
)
"""Words in the name of an input that marks pixels which should not count."""

NEGATED = frozenset({"anti", "keep", "kept", "no", "non", "not", "un", "without"})

THROUGH = frozenset({"erode", "dilate", "region", "raw", "detach", "resize", "box", "blur"})
"""Builtins of one region whose result marks about the same pixels."""


def check(context: Context) -> None:
    """MSK009 for losses over the pixels that should not count."""
    regions = context.regions
    seen: set[tuple[int, int]] = set()
    for term, e in context.values():
        r = e.arg("r") if e.op == "call" and e.builtin.reduces else None
        if r is None:
            continue
        for marked, sign in _signed(r):
            name = str(marked.value).rpartition(".")[2]
            info = context.program.inputs.get(name)
            words = set(name.lower().split("_"))
            if sign < 0 or info is None or not words & IGNORED or words & NEGATED or not _compares(e):
                continue
            source, span = regions.places.at(marked)
            if (id(source), span.start) in seen:
                continue
            seen.add((id(source), span.start))
            turned = f"not {name}" if marked.type.kind.name == "region" else f"{name} < 0.5"
            context.report.emit(
                "MSK009",
                f"term `{term.name}` compares the pixels that `{name}` marks: here 1 means that a pixel counts",
                source,
                span,
                labels=[Label(info.span, "the name says that they do not count", info.source)],
                help=[f"write `{turned}`, or name the input after the pixels that count"],
            )
    if not context.broken:
        _only_unmasked(regions)


def _compares(e: Expr) -> bool:
    if e.arg("a") is not None and e.arg("b") is not None:
        return True
    x = e.arg("x")
    if x is None:
        return False
    return any(n.op == "sub" and all(a.type.kind.is_tensor for a in n.args) for n in x.walk())


def _signed(r: Expr) -> list[tuple[Expr, int]]:
    """The inputs and masks that a region is made of: 1 where it is of the pixels that they mark, else -1."""
    found: list[tuple[Expr, int]] = []
    stack = [(r, 1)]
    while stack and len(found) < 50:
        e, sign = stack.pop()
        if e.op == "input":
            found.append((e, sign))
        elif e.op == "region" and e.value in ("masked", "unmasked"):
            found.append((e, sign if e.value == "masked" else -sign))
        elif e.op in ("and", "or", "mul"):
            stack.extend((a, sign) for a in reversed(e.args))
        elif e.op == "not" or (e.op == "sub" and e.args[0].op == "const"):
            stack.append((e.args[-1], -sign))
        elif e.op in ("gt", "ge", "lt", "le"):
            left, right = e.args
            above = 1 if e.op in ("gt", "ge") else -1
            if right.op == "const":
                stack.append((left, sign * above))
            elif left.op == "const":
                stack.append((right, -sign * above))
        elif e.op in ("eq", "ne") and e.args[1].op == "const" and e.args[1].value in (0, 1):
            equal = 1 if e.args[1].value == 1 else -1
            stack.append((e.args[0], sign * equal * (1 if e.op == "eq" else -1)))
        elif e.op == "call" and e.builtin.name in THROUGH:
            stack.append((e.args[0], sign))
    return found


def _only_unmasked(regions: Regions) -> None:
    """A program that compares nothing but what the mask leaves out."""
    context = regions.context
    first: Comparison | None = None
    for c in regions.comparisons():
        signs = [sign for e, sign in _signed(c.r) if e.value in ("masked", "unmasked", MASK)]
        if not signs or max(signs) > 0:
            return
        first = first or c
    if first is None or first.place.source is context.report.hidden:
        return
    context.report.emit(
        "MSK009",
        f"term `{first.term.name}` compares only the pixels that the mask leaves out: 1 in a mask means that a pixel "
        "counts",
        first.place.source,
        first.place.span,
        help=[
            "write `masked`",
            "if the data's masks mark what should not count, let the data set turn them over",
        ],
    )
