"""Formulas that are written by hand and go wrong, of which the language has a sound version."""

from __future__ import annotations

from typing import NamedTuple

from ...typed import Expr
from ..ranges import Ranges
from .hazards_walk import Visit

MAX_EPS = 0.011
"""What is added to a root to keep it off 0 is at most this large."""


class Entropy(NamedTuple):
    """``p*log(p) + (1 - p)*log(1 - p)`` with a sign; ``logs`` are its logarithms."""

    p: Expr
    positive: bool
    logs: tuple[Expr, Expr]


def _signed(e: Expr, sign: int = 1) -> list[tuple[int, Expr]]:
    """The operands of a sum of two, with their signs; `[]` if it is none."""
    while e.op == "neg":
        e, sign = e.args[0], -sign
    if e.op not in ("add", "sub"):
        return []
    found = []
    for part, s in zip(e.args, (sign, sign if e.op == "add" else -sign)):
        while part.op == "neg":
            part, s = part.args[0], -s
        found.append((s, part))
    return found


def _p_log_p(ranges: Ranges, e: Expr) -> tuple[int, Expr, Expr] | None:
    """``x * log(x)``: its sign, x, and the logarithm."""
    if e.op != "mul":
        return None
    sign, sides = 1, []
    for side in e.args:
        while side.op == "neg":
            side, sign = side.args[0], -sign
        sides.append(side)
    for x, other in (sides, sides[::-1]):
        if is_call(other, "log") and ranges.structure.key(other.args[0]) == ranges.structure.key(x):
            return sign, x, other
    return None


def entropy(ranges: Ranges, e: Expr) -> Entropy | None:
    """The binary entropy, or minus it, where a sum is one."""
    found = []
    for sign, part in _signed(e):
        made = _p_log_p(ranges, part)
        if made is None:
            return None
        found.append((sign * made[0], made[1], made[2]))
    if len(found) != 2 or found[0][0] != found[1][0]:
        return None
    for (sign, p, log), (_, rest, other) in (found, found[::-1]):
        if is_rest(ranges, rest, p):
            return Entropy(p, sign > 0, (log, other))
    return None


def is_rest(ranges: Ranges, rest: Expr, p: Expr) -> bool:
    """Whether one value is 1 less the other."""
    if rest.op != "sub" or not is_number(rest.args[0], 1.0):
        return False
    return ranges.structure.key(rest.args[1]) == ranges.structure.key(p)


def logit(ranges: Ranges, e: Expr) -> tuple[Expr, tuple[Expr, ...]] | None:
    """The p of ``log(p / (1 - p))``, ``-log(1 / p - 1)`` and ``log(p) - log(1 - p)``, and what in it is singular."""
    if is_call(e, "log"):
        x = e.args[0]
        if x.op == "div" and is_rest(ranges, x.args[1], x.args[0]):
            return x.args[0], (e, x)
        if x.op == "sub" and is_number(x.args[1], 1.0) and x.args[0].op == "div" and is_number(x.args[0].args[0], 1.0):
            return x.args[0].args[1], (e, x.args[0])
    if e.op == "sub" and all(is_call(a, "log") for a in e.args):
        p, rest = (a.args[0] for a in e.args)
        if is_rest(ranges, rest, p):
            return p, e.args
    return None


def unit_vector(ranges: Ranges, e: Expr) -> Expr | None:
    """The x of ``x / norm(x)``, also with the length written out."""
    if e.op != "div":
        return None
    x, length = e.args
    key = ranges.structure.key
    if is_call(length, "norm") and key(length.args[0]) == key(x):
        return x
    vector = root_of_squares(ranges, length)
    return x if vector is not None and key(vector) == key(x) else None


def root(e: Expr) -> Expr | None:
    """The x of ``sqrt(x)`` and ``x^0.5``."""
    if is_call(e, "sqrt"):
        return e.args[0]
    if e.op == "pow" and is_number(e.args[1], 0.5):
        return e.args[0]
    return None


def root_of_squares(ranges: Ranges, e: Expr) -> Expr | None:
    """The x of ``sqrt(component_sum(sq(x)))`` and ``sqrt(dot(x, x))``: its length."""
    inner = root(e)
    if inner is None:
        return None
    if is_call(inner, "component_sum"):
        return square(ranges, inner.args[0])
    if is_call(inner, "dot") and ranges.structure.key(inner.args[0]) == ranges.structure.key(inner.args[1]):
        return inner.args[0]
    return None


def square(ranges: Ranges, e: Expr) -> Expr | None:
    """The x of ``sq(x)``, ``x^2`` and ``x*x``."""
    if is_call(e, "sq") or (e.op == "pow" and is_number(e.args[1], 2.0)):
        return e.args[0]
    if e.op == "mul" and ranges.structure.key(e.args[0]) == ranges.structure.key(e.args[1]):
        return e.args[0]
    return None


def eps_outside(visit: Visit) -> tuple[Expr, Expr, Expr] | None:
    """Of ``sqrt(x) + 1e-8``: the sum, the root, and the small number."""
    around, e = visit.parent, visit.e
    if root(e) is None or around is None or around.e.op != "add":
        return None
    eps = around.e.args[1 - visit.place]
    at = eps.type.range
    if not eps.type.is_host or not at.is_point or not 0 < at.lo <= MAX_EPS:
        return None
    return around.e, e, eps


class Weighted(NamedTuple):
    """``sum(x * r) / sum(r)`` and ``sum(x, r) / sum(r)``; ``x`` is None where the numerator is something else."""

    region: Expr
    x: Expr | None


def weighted_mean(ranges: Ranges, e: Expr) -> Weighted | None:
    """A division by the sum or the mean of a region."""
    if e.op != "div":
        return None
    above, below = e.args
    below = _scaled(below)
    if not (is_call(below, "sum") or is_call(below, "mean")):
        return None
    region = below.args[0]
    if not _about_regions(region):
        return None
    key = ranges.structure.key
    above = _scaled(above)
    if not is_call(above, below.builtin.name):
        return Weighted(region, None)
    x, r = above.args[0], above.arg("r")
    if r is not None and key(r) == key(region):
        return Weighted(region, x)
    if x.op == "mul":
        for a, b in (x.args, x.args[::-1]):
            if key(b) == key(region):
                return Weighted(region, a)
    return Weighted(region, None)


def _scaled(e: Expr) -> Expr:
    """Without a factor that is a number: `3 * sum(mask)`."""
    while e.op == "mul" and any(a.op == "const" for a in e.args):
        e = next(a for a in e.args if a.op != "const") if not all(a.op == "const" for a in e.args) else e.args[0]
    return e


def _about_regions(e: Expr) -> bool:
    if e.type.kind.name == "region":
        return True
    return e.op == "mul" and all(_about_regions(a) for a in e.args)


def weight_by_place(e: Expr) -> bool:
    """Whether a divisor is the mean or the sum of weights that depend on the place in the image alone.

    Such weights are 0 at a border or a centre, not everywhere.
    """
    if not (is_call(e, "mean") or is_call(e, "sum")) or e.args[0].type.range.lo < 0:
        return False
    values = [n for n in e.walk() if not n.args and n.op != "const"]
    places = [n for n in values if n.op == "input" and str(n.value).partition(".")[0] == "pixel"]
    return bool(places) and all(n in places or (n.op == "region" and n.value == "everywhere") for n in values)


def is_call(e: Expr, name: str) -> bool:
    """Whether a value is a call of a builtin."""
    return e.op == "call" and e.builtin.name == name


def is_number(e: Expr, x: float) -> bool:
    """Whether a value is this number, known from the text."""
    return e.type.is_host and e.type.range.is_point and e.type.range.lo == x and e.type.stage == 0
