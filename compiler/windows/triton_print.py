"""Lane programs as expressions of Triton, and the small functions that they call."""

from __future__ import annotations

import math

from .lanes import COMPARISONS, UNIFORM, Stage

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_COMPARE = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_CALLS = {
    "neg": "-{0}",
    "abs": "tl.abs({0})",
    "sqrt": "root({0})",
    "sign": "tl.where({0} > 0, 1.0, tl.where({0} < 0, -1.0, 0.0))",
    "floor0": "tl.where({0} < 0, 0.0, {0})",
    "min": "tl.minimum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
    "max": "tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
}

HELPERS = '''
NAN = tl.constexpr(float("nan"))
INFINITY = tl.constexpr(float("inf"))

@triton.jit
def root(x):
    """The square root, correctly rounded."""
    if x.dtype == tl.float32:
        value = tl.sqrt_rn(x)
    else:
        value = tl.sqrt(x)
    return value


@triton.jit
def over(value, divisor):
    """A quotient; 0 where the divisor is 0 or less."""
    return tl.where(divisor > 0, value / divisor, 0.0)


@triton.jit
def count(B, H, W, C: tl.constexpr, border: tl.constexpr, F: tl.constexpr):
    """How many lanes are at least so far from every edge."""
    return tl.maximum(H - 2 * border, 0).to(F) * tl.maximum(W - 2 * border, 0).to(F) * (B * C).to(F)
'''


class Lines:
    """Lines of source, indented."""

    def __init__(self) -> None:
        self.text: list[str] = []

    def put(self, depth: int, *lines: str) -> None:
        """Appends lines at a depth."""
        self.text += ["    " * depth + line if line else "" for line in lines]


def needed(stage: Stage, results: int) -> tuple[set[int], tuple[int, ...]]:
    """The values that the first results are made of, and the blurred statistics among them."""
    found = set(stage.results[:results])
    for i in range(len(stage.lanes) - 1, -1, -1):
        if i in found:
            found.update(stage.lanes[i].args)
    return found, tuple(sorted({stage.lanes[i].attr for i in found if stage.lanes[i].op == "stat"}))


def print_stage(
    out: Lines,
    depth: int,
    prefix: str,
    tag: str,
    stage: Stage,
    results: int,
    inputs: dict[int, str],
    row: str,
    pixel: str,
) -> list[str]:
    """Prints a program; the names of its first results, each a block.

    Args:
        out: where it goes.
        depth: how deep it is indented.
        prefix: what names begin with.
        tag: what names end with, those of blurred values too.
        stage: the program.
        results: how many of the results are wanted.
        inputs: for each input the expression that reads it.
        row: the name of the row.
        pixel: an expression for the pixels in their row.
    """
    wanted, _ = needed(stage, results)
    names: dict[int, str] = {}
    numbers: set[int] = set()  # literals
    scalars: set[int] = set()
    conditions: dict[int, str] = {}  # names of truth values
    as_number = set(stage.results[:results])
    for i in wanted:
        op, args, _ = stage.lanes[i]
        as_number.update(args[1:] if op == "where" else args)
    for i in sorted(wanted):
        op, args, attr = stage.lanes[i]
        name = names[i] = f"{prefix}{i}{tag}"
        of = [names[a] for a in args]
        if op == "const":
            names[i] = _literal(attr)
            numbers.add(i)
            continue
        if op in ("host", "weight", "stat", "spread"):
            uniform = op in UNIFORM
            names[i] = f"{op}{attr}" if uniform else f"{op}{attr}{tag}"
            if uniform:
                scalars.add(i)
            continue
        if op != "where" and args and numbers.issuperset(args):
            of[0] = f"(zero + {of[0]})"
        elif args and (scalars | numbers).issuperset(args):
            scalars.add(i)
        if op == "input":
            out.put(depth, f"{name} = {inputs[attr]}")
        elif op in COMPARISONS or op == "interior":
            conditions[i] = f"is_{name}"
            inside = f"({row} >= {attr}) & ({row} < H - {attr}) & ({pixel} >= {attr}) & ({pixel} < W - {attr})"
            out.put(depth, f"is_{name} = " + (inside if op == "interior" else f"{of[0]} {_COMPARE[op]} {of[1]}"))
            if i in as_number:
                out.put(depth, f"{name} = tl.where(is_{name}, 1.0, 0.0)")
        elif op == "where":
            test = conditions.get(args[0]) or f"(zero + {of[0]} > 0.5)"
            out.put(depth, f"{name} = tl.where({test}, {of[1]}, {of[2]})")
        elif op in _INFIX:
            out.put(depth, f"{name} = {of[0]} {_INFIX[op]} {of[1]}")
        else:
            out.put(depth, f"{name} = {_CALLS[op].format(*of)}")
    return [f"zero + {names[i]}" if i in numbers | scalars else names[i] for i in stage.results[:results]]


def _literal(value: float) -> str:
    if math.isfinite(value):
        return repr(value) if value >= 0 else f"({value!r})"
    return "NAN" if math.isnan(value) else ("INFINITY" if value > 0 else "(-INFINITY)")
