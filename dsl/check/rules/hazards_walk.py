"""Finds operations that are infinite, NaN or infinitely steep at values that can occur.

The walk goes from each term to its operands and carries what holds there: the conditions around a value, for its
value and for its gradient apart, and which of infinity and NaN would still be felt outside. A region that a mean is
taken over leaves pixels out of the value, but the gradient of what is left out is 0 times its derivative, which is NaN
where that is infinite; the branches of `where` are guarded for both.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ...inputs import BY_NAME
from ...interval import REALS, ZERO, Interval, inf
from ...typed import Expr
from ...types import TENSOR
from ..ranges import COMPARISONS, Env, Known, Ranges, condition_of, known, pixel_by_pixel
from ..structure import operands_first
from .context import Context
from .flow import STOPS
from .flow import _carried as carried_by

PLUS, MINUS, NAN = 1, 2, 4
ANY = PLUS | MINUS | NAN

VISITS = 64
"""Ways to reach one value that are looked at; a value that many choices share has very many."""

MOST = 150_000
"""Ways to reach values that are looked at in all."""


class Visit(NamedTuple):
    """A value, as one of its readers reads it.

    Attributes:
        e: the value.
        value: what holds where the value counts.
        slope: what holds where its derivative is taken; None where no gradient flows.
        felt: which of infinity, minus infinity and NaN would reach the loss.
        parent: the visit of its reader; None for a whole term.
        place: which of the reader's operands it is.
    """

    e: Expr
    value: Env
    slope: Env | None
    felt: int
    parent: Visit | None
    place: int


class Hazard(NamedTuple):
    """An operation, and a value of one of its operands at which it goes wrong.

    Attributes:
        visit: the operation.
        operand: the operand that must not have the value.
        at: the value: 0 for a divisor; for what is below a domain, the least of it.
        how: "infinite", "nan" or "slope": only the gradient is infinite.
        env: what is known to hold there.
        found: what the operand can be there.
    """

    visit: Visit
    operand: Expr
    at: float
    how: str
    env: Env
    found: Known

    @property
    def e(self) -> Expr:
        """The operation."""
        return self.visit.e

    @property
    def below(self) -> bool:
        """Whether the operand leaves the domain, beyond its end."""
        return self.how == "nan"


def find(context: Context, ranges: Ranges) -> list[Hazard]:
    """The hazards of a program, in the order of the walk, each operation once."""
    return _Walk(context, ranges).run()


class _Walk:
    def __init__(self, context: Context, ranges: Ranges) -> None:
        self.context, self.ranges = context, ranges
        self.flow = context.carried
        self.needed: dict[int, bool] = {}
        self.found: dict[int, Hazard] = {}
        self.suspects: set[int] = set()
        self.times: dict[int, int] = {}
        self.left = MOST

    def run(self) -> list[Hazard]:
        """Walk every live term and every memory."""
        nowhere = self.ranges.nowhere
        for term in self.context.live:
            env = nowhere if term.when is None else self.ranges.given(nowhere, term.when, True)
            self._root(term.value, env, env)
        for memory in self.context.program.memories.values():
            env = nowhere if memory.when is None else self.ranges.given(nowhere, memory.when, True)
            self._root(memory.init, nowhere, None)
            self._root(memory.update, env, None)
        return list(self.found.values())

    def _root(self, root: Expr, value: Env, slope: Env | None) -> None:
        for e in operands_first(root, self.flow):
            self.flow[id(e)] = carried_by(e, self.flow)
        for e in operands_first(root, self.needed):
            self.needed[id(e)] = self._fails(e) or any(self.needed[id(a)] for a in e.args)
        if not self.needed[id(root)]:
            return
        seen: set[tuple[int, int, int, int]] = set()
        stack = [Visit(root, value, slope, ANY, None, 0)]
        while stack and self.left > 0:
            visit = stack.pop()
            self.left -= 1
            key = (id(visit.e), id(visit.value), id(visit.slope), visit.felt)
            times = self.times[id(visit.e)] = self.times.get(id(visit.e), 0) + 1
            if key in seen or times > VISITS or self.context.zeros.is_zero(visit.e):
                continue
            seen.add(key)
            if id(visit.e) in self.suspects and id(visit.e) not in self.found:
                hazard = self._judge(visit)
                if self.ranges.exhausted:
                    return
                if hazard is not None:
                    self.found[id(visit.e)] = hazard
            stack.extend(reversed(self._operands(visit)))

    def _fails(self, e: Expr) -> bool:
        """Whether an operation goes wrong where nothing is known: conditions can only make it sound."""
        nowhere = self.ranges.nowhere
        if may_fail(e) and self._judge(Visit(e, nowhere, nowhere, ANY, None, 0)) is not None:
            self.suspects.add(id(e))
            return True
        return False

    # From a value to its operands

    def _operands(self, visit: Visit) -> list[Visit]:
        e = visit.e
        live = {id(a) for a in self.context.zeros.live_args(e)}
        if e.op in COMPARISONS or (e.op == "call" and e.builtin.name in ("finite", "valid")):
            return []  # infinity and NaN are compared like numbers, and a comparison has no gradient
        found = []
        for i, a in enumerate(e.args):
            if not self.needed[id(a)] or id(a) not in live:
                continue
            name = e.names[i] if e.op == "call" else ""
            felt = self._felt(e, i, visit.felt, visit.value)
            value = self.ranges.inside(e, i, visit.value)
            slope = None if visit.slope is None else self.ranges.inside(e, i, visit.slope)
            if e.op == "call" and (e.builtin.name in STOPS or name == "r"):
                slope = None
            if e.op == "call" and e.builtin.reduces and name == "x":
                region = e.arg("r")
                if region is not None and region.type.kind.space != "any":
                    value = self.ranges.given(value, region, True)
            if a is condition_of(e):
                slope = None
            if value.dead:  # never counted, but its gradient is taken all the same
                felt = 0
            if not felt and (slope is None or slope.dead):
                continue
            found.append(Visit(a, value, slope, felt, visit, i))
        return found

    def _felt(self, e: Expr, i: int, felt: int, env: Env) -> int:
        """Which bad values of an operand make bad values that are felt."""
        if not felt:
            return 0
        if e.op == "neg" or (e.op == "sub" and i == 1):
            return _turned(felt)
        if e.op in ("add", "sub", "if", "component"):
            return felt
        if e.op == "div" and i == 1:
            return felt & NAN  # what is divided by infinity is 0
        if e.op in ("mul", "div"):
            factor = self.ranges.at(e.args[1 - i], env)
            if not factor.nonzero or factor.range.sign is None:
                return ANY  # 0 times infinity is NaN
            return felt if factor.range.sign > 0 else _turned(felt)
        if e.op != "call":
            return ANY
        name = e.builtin.name
        if name == "finite_or" and i == 0:
            return 0
        if name in ("max", "min", "clamp"):
            return self._limited(e, i, felt, env)
        if name in ("sigmoid", "tanh"):
            return felt & NAN
        if name in ("relu", "exp"):
            return felt & ~MINUS
        if name in ("abs", "sq"):
            return (felt & NAN) | (PLUS | MINUS if felt & PLUS else 0)
        return felt if condition_of(e) is not None or name in ("detach", "raw") else ANY

    def _limited(self, e: Expr, i: int, felt: int, env: Env) -> int:
        """A maximum with something finite is never minus infinity."""
        name = e.builtin.name
        others = [self.ranges.at(a, env).range for j, a in enumerate(e.args) if j != i]
        if name == "clamp":
            if i != 0:
                return felt
            lo, hi = others
            return felt & ~((MINUS if lo.lo > -inf else 0) | (PLUS if hi.hi < inf else 0))
        if name == "max":
            return felt & ~MINUS if any(o.lo > -inf for o in others) else felt
        return felt & ~PLUS if any(o.hi < inf for o in others) else felt

    # What can go wrong at one operation

    def _judge(self, visit: Visit) -> Hazard | None:
        if visit.e.op == "div":
            return self._division(visit, visit.e.args[0], visit.e.args[1])
        if visit.e.op == "pow":
            return self._power(visit)
        return self._function(visit)

    def _steep(self, visit: Visit, *operands: Expr) -> bool:
        """Whether gradient flows through one of the operands of an operation."""
        return visit.slope is not None and not visit.slope.dead and any(self._trained(a) for a in operands)

    def _trained(self, e: Expr) -> bool:
        """Whether a value surely carries gradient: declared inputs may be data."""
        if e.type.stage != TENSOR:
            return False
        names = self.flow[id(e)]
        return any(n in BY_NAME or n.partition(".")[2] in BY_NAME or n.endswith("()") for n in names)

    def _division(self, visit: Visit, above: Expr, below: Expr) -> Hazard | None:
        at = self.ranges.at(below, visit.value)
        if at.can_be_zero and visit.felt & self._quotient(self.ranges.at(above, visit.value), at):
            return Hazard(visit, below, 0.0, "infinite", visit.value, at)
        if self._steep(visit, above, below) and visit.slope is not None:
            there = self.ranges.at(below, visit.slope)
            if there.can_be_zero:
                return Hazard(visit, below, 0.0, "slope", visit.slope, there)
        return None

    def _quotient(self, above: Known, below: Known) -> int:
        """What dividing by 0 gives."""
        made = NAN if above.can_be_zero else 0
        both = below.range.lo < 0 < below.range.hi
        for sign, reached in ((PLUS, above.range.hi > 0), (MINUS, above.range.lo < 0)):
            if reached:
                made |= PLUS | MINUS if both else sign
        return made

    def _power(self, visit: Visit) -> Hazard | None:
        base, exponent = visit.e.args
        p = self.ranges.at(exponent, visit.value).range
        at = self.ranges.at(base, visit.value)
        if at.can_be_zero and p.lo < 0 and visit.felt:
            return Hazard(visit, base, 0.0, "infinite", visit.value, at)
        if at.range.lo < 0 and not (p.is_point and p.lo.is_integer()) and visit.felt & NAN:
            return Hazard(visit, base, at.range.lo, "nan", visit.value, at)
        if self._steep(visit, base) and visit.slope is not None and p.lo < 1 and p != ZERO:
            there = self.ranges.at(base, visit.slope)
            if there.can_be_zero:
                return Hazard(visit, base, 0.0, "slope", visit.slope, there)
        return None

    def _function(self, visit: Visit) -> Hazard | None:
        e, record = visit.e, visit.e.builtin
        if record.domain is not None:
            operand = e.arg(record.domain[0])
            found = None if operand is None else self._outside(visit, operand, record.domain[1])
            if found is not None:
                return found
        if record.smooth is not None and visit.slope is not None:
            operand = e.arg(record.smooth[0])
            if operand is not None and self._steep(visit, operand):
                there = self.ranges.at(operand, visit.slope)
                end = _end(there, record.smooth[1])
                if end is not None:
                    return Hazard(visit, operand, end, "slope", visit.slope, there)
        return None

    def _outside(self, visit: Visit, operand: Expr, domain: Interval) -> Hazard | None:
        """An operand that leaves the domain of a function, or reaches an end at which it is infinite."""
        at = self.ranges.at(operand, visit.value)
        if (at.range.lo < domain.lo or at.range.hi > domain.hi) and visit.felt & NAN:
            worst = at.range.lo if at.range.lo < domain.lo else at.range.hi
            return Hazard(visit, operand, worst, "nan", visit.value, at)
        end = _end(at, domain)
        host = visit.e.builtin.host
        if end is None or host is None:
            return None
        made = float(host(end))
        if visit.felt & (NAN if math.isnan(made) else PLUS if made > 0 else MINUS):
            return Hazard(visit, operand, end, "infinite", visit.value, at)
        return None


def _turned(felt: int) -> int:
    """The same of a value with its sign turned."""
    return (felt & NAN) | (PLUS if felt & MINUS else 0) | (MINUS if felt & PLUS else 0)


def _end(at: Known, allowed: Interval) -> float | None:
    """An excluded end of an interval that a value can reach, if there is one."""
    for end, is_open in ((allowed.lo, allowed.lo_open), (allowed.hi, allowed.hi_open)):
        if is_open and abs(end) < inf and end in at.range and (end != 0 or at.can_be_zero):
            return end
    return None


def may_fail(e: Expr) -> bool:
    """Whether an operation could go wrong, from the types of its operands alone; what passes is looked at closely."""
    if e.op == "div":
        return _touches(e.args[1].type.range, 0.0)
    if e.op == "pow":
        base, p = e.args[0].type.range, e.args[1].type.range
        return base.lo <= 0 and not (p.is_point and p.lo >= 1 and p.lo.is_integer())
    if e.op != "call":
        return False
    for limit in (e.builtin.domain, e.builtin.smooth):
        if limit is not None and limit[1] != REALS:
            operand, allowed = e.arg(limit[0]), limit[1]
            at = known(REALS).range if operand is None else operand.type.range
            if at.lo <= allowed.lo > -inf or at.hi >= allowed.hi < inf:
                return True
    return False


def _touches(at: Interval, x: float) -> bool:
    return at.lo <= x <= at.hi


def where_around(visit: Visit) -> tuple[Expr, Expr, bool] | None:
    """The nearest choice per pixel that guards a value: the choice, its condition, and how that turns out here."""
    here = visit
    while here.parent is not None:
        around, index = here.parent, here.place
        condition = condition_of(around.e)
        if condition is not None and not condition.type.is_host and here.e is not condition:
            return around.e, condition, index == 1
        if around.e.op == "call" and not pixel_by_pixel(around.e):
            return None
        here = around
    return None
