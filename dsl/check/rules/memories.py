"""Memories: what they mix, whether they grow without end, and whether they average."""

from __future__ import annotations

from ...diagnostics import Label
from ...interval import ZERO, show
from ...typed import Expr, MemoryInfo
from .context import Context
from .schedules import MOST_FACTORS, fixed

BY_CAMERA = "camera.index"

MOST_PARTS = 100
"""Parts of a sum that are looked at."""


def check(context: Context) -> None:
    """MEM001 for a memory of pixels in a program that does not tell cameras apart."""
    program = context.program
    if any(info.type.kind.layout == "pixels" for info in program.memories.values()):
        roots = [t.value for t in program.terms] + [m.update for m in program.memories.values()]
        if any(e.op == "input" and e.value == BY_CAMERA for root in roots for e in root.walk()):
            return
    for info in program.memories.values():
        if info.type.kind.layout == "pixels":
            context.report.emit(
                "MEM001",
                f"memory `{info.name}` keeps one value per pixel from step to step, but each step has another camera",
                info.source,
                info.span,
                labels=[Label(info.update.span, info.type.kind.describe(), info.update.source)],
                help=["remember a number, as in `mean(...)`, or a value per gaussian"],
            )


def check_averages(context: Context) -> None:
    """MEM002 for memories that only grow, MEM003 for weights of old and new that do not sum to 1."""
    memories = context.program.memories.values()
    counted = any(_is_count(info) for info in memories)
    for info in memories:
        old, new = _split(info)
        if len(old) != 1 or not new:
            continue
        if old[0].op == "memory":
            if not counted and info.when is None and _grows(new):
                _report_growth(context, info, old[0])
        elif len(new) == 1:
            _weights(context, info, old[0], new[0][0])


def _addends(e: Expr) -> list[tuple[Expr, int]]:
    """The parts of a sum with their signs; [] for one of very many."""
    found: list[tuple[Expr, int]] = []
    stack = [(e, 1)]
    while stack:
        if len(found) + len(stack) > MOST_PARTS:
            return []
        node, sign = stack.pop()
        if node.op == "neg":
            stack.append((node.args[0], -sign))
        elif node.op in ("add", "sub"):
            stack += [(node.args[1], sign if node.op == "add" else -sign), (node.args[0], sign)]
        else:
            found.append((node, sign))
    return found


def _split(info: MemoryInfo) -> tuple[list[Expr], list[tuple[Expr, int]]]:
    """The parts of a memory's new value that read the old one, and the others with their signs."""
    old: list[Expr] = []
    new: list[tuple[Expr, int]] = []
    for e, sign in _addends(info.update):
        if any(n.op == "memory" and n.value == info.name for n in e.walk()):
            old.append(e)
        else:
            new.append((e, sign))
    return old, new


def _is_count(info: MemoryInfo) -> bool:
    """Whether a memory counts steps, so that another may be a total that is divided by it."""
    old, new = _split(info)
    return len(old) == 1 and old[0].op == "memory" and bool(new) and all(e.type.is_host for e, _ in new)


def _grows(new: list[tuple[Expr, int]]) -> bool:
    ranges = [e.type.range if sign > 0 else -e.type.range for e, sign in new]
    moves = any(r != ZERO for r in ranges) and not all(e.type.is_host for e, _ in new)
    return moves and (all(r.lo >= 0 for r in ranges) or all(r.hi <= 0 for r in ranges))


def _report_growth(context: Context, info: MemoryInfo, old: Expr) -> None:
    context.report.emit(
        "MEM002",
        f"memory `{info.name}` may grow without end: it adds to itself at every step and forgets nothing",
        old.source,
        old.span,
        caption="kept whole",
        notes=["mistaken if a total over the run is meant"],
        help=[f"for a moving average write `0.9 * {info.name} + 0.1 * ...`"],
    )


def _weight(context: Context, e: Expr) -> tuple[float, list[Expr]] | None:
    """The product of the numbers that a value is multiplied by, and its other factors; None where one moves."""
    weight, others, written = 1.0, list[Expr](), False
    stack, left = [e], MOST_FACTORS
    while stack and left:
        left -= 1
        node = stack.pop()
        if node.type.is_host:
            value = fixed(context, node)
            if value is None:
                return None
            weight, written = weight * value, True
        elif node.op == "mul":
            stack.extend(reversed(node.args))
        else:
            others.append(node)
            if node.op == "div":
                others.pop()
                stack.append(node.args[0])
                if node.args[1].type.is_host:
                    return None
    return (weight, others) if written else None


def _weights(context: Context, info: MemoryInfo, old: Expr, new: Expr) -> None:
    kept, taken = _weight(context, old), _weight(context, new)
    if kept is None or taken is None or [e.op for e in kept[1]] != ["memory"] or not taken[1]:
        return
    a, b = kept[0], taken[0]
    if not (0 < a < 1 and b > 0) or abs(a + b - 1) < 1e-6:
        return
    context.report.emit(
        "MEM003",
        f"memory `{info.name}` may be no average: its weights sum to {show(_rounded(a + b))}, so that it settles at "
        f"{show(_rounded(b / (1 - a)))} times what it follows",
        info.update.source,
        info.update.span,
        labels=[Label(e.span, f"weighs {show(_rounded(w))}", e.source) for e, w in ((old, a), (new, b))],
        notes=["mistaken if a decaying sum is meant"],
        help=[f"for an average give the new value the weight {show(_rounded(1 - a))}"],
    )


def _rounded(x: float) -> float:
    return float(f"{x:.6g}")
