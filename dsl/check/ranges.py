"""What a value can be where it is used: its range, refined by the conditions that hold there.

The range in a value's type holds everywhere. Inside a branch of `where` or `if`, and in a term with a `when`, more is
known: `where(depth > 0, 1 / depth, 0)` divides by no 0. `Ranges.at` answers for one value under one `Env`, the
conditions around it. Ranges here are of what values are in training rather than of what types promise: an image is
not negative, a sigmoid reaches its ends in floating point.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..builtins.spec import facets
from ..interval import NONNEGATIVE, REALS, Interval, inf, point
from ..typed import Expr, TypedProgram
from ..types import CONSTANT
from .operators import RANGES, is_arithmetic
from .structure import Structure, operands_first

SATURATING = frozenset({"sigmoid", "softmax", "tanh"})
"""Builtins that are rounded to the open ends of their range: a sigmoid is 1 from 17 on and 0 below -104."""

COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
NEVER_ZERO = frozenset({"abs", "sq", "detach", "raw", "sign", "clamp"})
"""Builtins that give 0 only where one of their arguments is 0."""

LIMIT = 200_000
"""Values that are worked out before giving up: the same one under many conditions counts each time."""

DEEPEST = 48
"""Conditions inside one another that are followed; what stands deeper is taken to be guarded."""


class Known(NamedTuple):
    """A range, and whether 0 is excluded from it."""

    range: Interval
    nonzero: bool = False

    @property
    def can_be_zero(self) -> bool:
        """Whether 0 is among the values."""
        return not self.nonzero and 0.0 in self.range

    def meet(self, other: Known) -> Known | None:
        """What is known when both hold; None when no value is left."""
        a, b = self.range, other.range
        if a.disjoint(b):
            return None
        lo, lo_open = max((a.lo, a.lo_open), (b.lo, b.lo_open))
        hi, closed = min((a.hi, not a.hi_open), (b.hi, not b.hi_open))
        return known(Interval(lo, hi, lo_open, not closed), self.nonzero or other.nonzero)


def known(range_: Interval, nonzero: bool = False) -> Known:
    """A range without 0 where that is excluded."""
    if nonzero and not range_.is_point and 0.0 in (range_.lo, range_.hi):
        low, high = range_.lo_open or range_.lo == 0, range_.hi_open or range_.hi == 0
        range_ = Interval(range_.lo, range_.hi, low, high)
    return Known(range_, nonzero or 0.0 not in range_)


class Entry(NamedTuple):
    """One condition, and how it turns out."""

    condition: Expr
    truth: bool


class Env:
    """Conditions that hold around a value, and what follows from them for values by structure.

    It is ``dead`` where the conditions contradict each other, or are too many to follow.

    Two ways to the same conditions give one object, so that results can be kept by identity.
    """

    __slots__ = ("_host", "_known", "_narrow", "_next", "dead", "entries", "facts")

    def __init__(self, entries: tuple[Entry, ...], facts: dict[int, Known], dead: bool) -> None:
        self.entries, self.facts, self.dead = entries, facts, dead
        self._next: dict[tuple[int, bool], Env] = {}
        self._known: dict[int, Known] = {}
        self._host: Env | None = None
        self._narrow: Env | None = None


class Ranges:
    """Ranges of the values of one program."""

    def __init__(self, program: TypedProgram, image: Interval = NONNEGATIVE) -> None:
        """``image`` is what the colours of a render can be. No renderer that is trained gives negative ones."""
        self.program, self.image = program, image
        self.structure = Structure()
        self.nowhere = Env((), {}, False)
        self.unreached = Env((), {}, True)
        self.work = 0
        self._of_host: dict[int, bool] = {}

    # Conditions

    def given(self, env: Env, condition: Expr, truth: bool) -> Env:
        """The environment in which a condition also holds, or does not."""
        from .refine import implied

        if env.dead or len(env.entries) >= DEEPEST:
            return self.unreached
        key = (id(condition), truth)
        found = env._next.get(key)
        if found is None:
            self.at(condition, env)
            found = env._next[key] = self._with(env, condition, truth, implied(self, env, condition, truth))
        return found

    def _with(self, env: Env, condition: Expr, truth: bool, more: dict[int, Known] | None) -> Env:
        facts = dict(env.facts)
        for place, new in (more or {}).items():
            met = facts[place].meet(new) if place in facts else new
            if met is None:
                return self.unreached
            facts[place] = met
        self.work += 10 + len(facts)
        return self.unreached if more is None else Env((*env.entries, Entry(condition, truth)), facts, False)

    def host(self, env: Env) -> Env:
        """Less the conditions on tensors: they say nothing of the other pixels that a reduction or filter reads."""
        if env._host is None:
            env._host = self._replay([e for e in env.entries if e.condition.type.is_host], env)
        return env._host

    def narrow(self, env: Env) -> Env:
        """Less the conditions that differ between the components of a pixel or gaussian."""
        if env._narrow is None:
            env._narrow = self._replay([e for e in env.entries if e.condition.type.kind.components == 1], env)
        return env._narrow

    def _replay(self, entries: list[Entry], env: Env) -> Env:
        if len(entries) == len(env.entries):
            return env
        made = self.nowhere
        for entry in entries:
            made = self.given(made, entry.condition, entry.truth)
        return made

    def inside(self, e: Expr, i: int, env: Env) -> Env:
        """The environment of an operand of a value that is itself in ``env``."""
        if not env.entries and e.op not in ("if", "call"):
            return env
        if env.dead:
            return env
        condition = condition_of(e)
        if condition is not None and e.args[i] is not condition:
            env = self.given(env, condition, i == (0 if e.op == "if" else 1))
        elif e.op == "component":
            env = self.narrow(env)
        elif e.op in ("over", "extern", "field") or (e.op == "call" and env.entries and not pixel_by_pixel(e)):
            env = self.host(env)
        return self.settled(e.args[i], env)

    def settled(self, e: Expr, env: Env) -> Env:
        """Less conditions on host values where a value is made of none: it is looked at once for all such terms."""
        if not env.entries or not all(entry.condition.type.is_host for entry in env.entries):
            return env
        if id(e) not in self._of_host:
            for node in operands_first(e, self._of_host):
                own = node.type.is_host and node.type.stage > CONSTANT
                self._of_host[id(node)] = own or any(self._of_host[id(a)] for a in node.args)
        return env if self._of_host[id(e)] else self.nowhere

    # Ranges

    @property
    def exhausted(self) -> bool:
        """Whether too much work was asked for: answers are then only what types say."""
        return self.work > LIMIT

    def found(self, e: Expr, env: Env) -> Known:
        """What has been worked out of a value, or what its type says."""
        env = self.settled(e, env)
        return env._known.get(id(e)) or Known(e.type.range, 0.0 not in e.type.range)

    def at(self, e: Expr, env: Env) -> Known:
        """What a value can be under the conditions."""
        env = self.settled(e, env)
        if self.exhausted or env.dead:
            return self.found(e, env)
        if id(e) not in env._known:
            for node, place in self._operands_first(e, env):
                if id(node) not in place._known:
                    self.work += 1
                    place._known[id(node)] = self._make(node, place)
                if self.exhausted:
                    break
        return self.found(e, env)

    def _operands_first(self, e: Expr, env: Env) -> Iterator[tuple[Expr, Env]]:
        seen: set[tuple[int, int]] = set()
        stack: list[tuple[Expr, Env, bool]] = [(e, env, False)]
        while stack:
            node, place, ready = stack.pop()
            if ready:
                yield node, place
                continue
            if place.dead:
                continue
            condition = condition_of(node)
            if condition is not None and id(condition) not in place._known:  # first: it says what holds in the branches
                stack += [(node, place, False), (condition, place, False)]
            elif (id(node), id(place)) not in seen and id(node) not in place._known:
                seen.add((id(node), id(place)))
                stack.append((node, place, True))
                for i in reversed(range(len(node.args))):
                    stack.append((node.args[i], self.inside(node, i, place), False))

    def _make(self, e: Expr, env: Env) -> Known:
        made = self._value(e, [self.found(a, self.inside(e, i, env)) for i, a in enumerate(e.args)])
        fact = env.facts.get(self.structure.key(e)) if env.facts else None
        if fact is None:
            return made
        return made.meet(fact) or made

    def _value(self, e: Expr, args: list[Known]) -> Known:
        if e.op == "param":
            return known(self._param(e))
        if e.op in ("input", "field"):
            drawn = str(e.value).rpartition(".")[2] == "rendered" and e.type.kind.name == "image"
            return known(self.image if drawn else e.type.range)
        if e.op == "size":
            return known(Interval(1, inf))
        if e.op == "neg":
            return known(-args[0].range, args[0].nonzero)
        if e.op in RANGES:
            return self._arithmetic(e, args)
        if e.op == "if":
            then, condition, otherwise = args
            if condition.range.is_point:
                return then if condition.range.lo else otherwise
            return known(then.range.hull(otherwise.range), then.nonzero and otherwise.nonzero)
        if e.op == "component":
            return args[0]
        if e.op == "over":
            return known(e.type.range if e.value == "sum" else args[1].range)
        if e.op == "call":
            return self._call(e, args)
        return known(e.type.range)

    def _arithmetic(self, e: Expr, args: list[Known]) -> Known:
        a, b = args
        if e.op == "mul" and self.structure.key(e.args[0]) == self.structure.key(e.args[1]):
            return known(a.range.power(point(2)), a.nonzero)
        if e.op == "div" and b.range.is_point and b.range.lo == 0:
            return known(REALS)
        range_ = RANGES[e.op](a.range, b.range)
        nonzero = (e.op in ("mul", "div") and a.nonzero and b.nonzero) or (e.op == "pow" and a.nonzero)
        return known(range_, nonzero)

    def _call(self, e: Expr, args: list[Known]) -> Known:
        record = e.builtin
        if condition_of(e) is not None:
            return known(args[1].range.hull(args[2].range), args[1].nonzero and args[2].nonzero)
        ranges: dict[str, Interval | None] = {}
        for i, (name, arg, at) in enumerate(zip(e.names, e.args, args)):
            key = name if name not in ranges else f"{name}.{i}"
            ranges[key] = at.range if is_arithmetic(arg) and arg.type.kind.space != "any" else None
            ranges.update(facets(key, arg))
        range_ = record.range(ranges) if record.range else record.parsed.range
        if record.name in SATURATING:
            range_ = Interval(range_.lo, range_.hi)
        if record.name == "dot" and len({self.structure.key(a) for a in e.args}) == 1:
            range_ = range_.clip(0.0, inf)
        return known(range_, record.name in NEVER_ZERO and all(a.nonzero for a in args))

    def _param(self, e: Expr) -> Interval:
        """What a parameter was declared to be. One without limits is taken at the value in force."""
        info = self.program.params.get(str(e.value))
        if info is None or info.unit != "number" or e.type.range != REALS:
            return e.type.range
        return point(float(info.value))


def condition_of(e: Expr) -> Expr | None:
    """What a choice between two values depends on."""
    if e.op == "if":
        return e.args[1]
    if e.op == "call" and e.builtin.parsed.params and e.builtin.parsed.params[0].kind == "condition":
        return e.args[0]
    return None


def pixel_by_pixel(e: Expr) -> bool:
    """Whether a call computes each value from the values at the same place alone.

    The guard of a branch of `where` reaches through such calls, and ends at all others.
    """
    params = e.builtin.parsed.params
    return any(p.kind == "value" for p in params) and all(
        p.kind in ("value", "condition", "host", "number", "point", "mode", "constant") for p in params
    )
