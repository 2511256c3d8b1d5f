"""Program to program, for one variant: lists unrolled, memories, second renders and extern functions as inputs.

What is left has fixed inputs, declared ones, and these further names:

- ``planes[2]`` is an item of a list, ``near.depth`` a field of a second render, ``near[0].depth`` of one in a list;
- ``memory:NAME`` is what a memory was after the last step;
- ``extern:2`` is what the third call of an extern function gives, ``extern:2.noise`` one of its results.

Reductions leave out what has no value: the region of each is narrowed to where its operands exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ..dsl.builtins.reductions import MEAN
from ..dsl.builtins.selection import DETACH
from ..dsl.builtins.spec import Builtin
from ..dsl.inputs import REGIONS
from ..dsl.interval import REALS, UNIT, point
from ..dsl.live import Zeros
from ..dsl.typed import Expr, ExternInfo, MemoryInfo, TypedProgram, TypedTerm
from ..dsl.types import CONSTANT, NUMBER, REGION, TENSOR, Kind, Type
from .support import Supports
from .weights import split_weight


class ExternCall(NamedTuple):
    """One call of an extern function: its arguments, resolved, and the inputs that its results become."""

    name: str
    info: ExternInfo
    args: tuple[Expr, ...]
    results: tuple[tuple[str, Type], ...]
    at: Expr


class MemoryValue(NamedTuple):
    """A memory of a variant: what it starts as, and its new value, None at steps at which it stays as it is."""

    info: MemoryInfo
    init: Expr
    update: Expr | None


class ResolvedTerm(NamedTuple):
    """A term as host factors, each with whether it divides, times what is left, resolved."""

    term: TypedTerm
    factors: tuple[tuple[bool, Expr], ...]
    core: Expr


class Resolved(NamedTuple):
    """A program of one variant. ``externs`` come in an order in which they can be called."""

    program: TypedProgram
    terms: tuple[ResolvedTerm, ...]
    externs: tuple[ExternCall, ...]
    memories: tuple[MemoryValue, ...]


class Given(NamedTuple):
    """What decides how a program resolves: lengths of lists by name, and memories that are renewed at this step."""

    lengths: tuple[tuple[str, int], ...] = ()
    updates: frozenset[str] = frozenset()
    memories: frozenset[str] = frozenset()


def resolve(program: TypedProgram, names: Iterable[str], zeros: Zeros, given: Given) -> Resolved:
    """The terms of these names, with nothing in them that depends on how much the host gives."""
    resolver = Resolver(program, zeros, given)
    wanted = set(names)
    terms = tuple(resolver.term(t) for t in program.terms if t.name in wanted)
    memories = tuple(resolver.memory_value(program.memories[name]) for name in sorted(given.memories))
    return Resolved(program, terms, tuple(resolver.externs), memories)


def boxes_name(list_: Expr) -> str:
    """What the length of a list that the program makes itself goes by."""
    return f"@{list_.builtin.seed}"


BOX = "(; size: whole >= 1, index: whole >= 0, count: whole >= 1) -> region"
"""One of the squares of `random_boxes`."""

_Item = tuple[int, str]
_Context = tuple[tuple[tuple[_Item, int], ...], bool]
"""Which item each variable of a sum stands for, and whether this is inside a memory's new value."""


class Resolver:
    """Rewrites values; each once for every context that it is read in."""

    def __init__(self, program: TypedProgram, zeros: Zeros, given: Given) -> None:
        self.program, self.zeros, self.given = program, zeros, given
        self.lengths = dict(given.lengths)
        self.externs: list[ExternCall] = []
        self.supports = Supports()
        self._memo: dict[_Context, dict[int, Expr]] = {}
        self._calls: dict[Any, int] = {}
        self._interned: dict[Any, int] = {}
        self._keys: dict[int, int] = {}
        self._kept: list[Expr] = []

    def term(self, term: TypedTerm) -> ResolvedTerm:
        """A term, taken apart as it is written: its weight does not depend on what resolving finds."""
        factors, core = split_weight(term.value, self.zeros)
        return ResolvedTerm(term, tuple(factors), self.value(core))

    def value(self, e: Expr, context: _Context = ((), False)) -> Expr:
        """The value without lists, memories, extern calls and records of views."""
        memo = self._memo.setdefault(context, {})
        stack = [(e, False)]
        while stack:
            node, ready = stack.pop()
            if id(node) in memo:
                continue
            if ready:
                memo[id(node)] = self._make(node, context, memo)
                self._kept.append(node)
            else:
                stack.append((node, True))
                stack += [(a, False) for a in reversed(self._operands(node)) if id(a) not in memo]
        return memo[id(e)]

    def memory_value(self, info: MemoryInfo) -> MemoryValue:
        """A memory's start and, where it is renewed, its new value from last step's memories."""
        update = self.value(info.update, ((), True)) if info.name in self.given.updates else None
        return MemoryValue(info, self.value(info.init, ((), True)), update)

    def _operands(self, e: Expr) -> tuple[Expr, ...]:
        if e.type.is_host or e.op in ("over", "item", "memory", "has") or self.zeros.is_zero(e):
            return ()
        if e.op == "field" and e.args[0].op == "item":
            return ()
        return self.zeros.chosen(e) or e.args

    def _make(self, e: Expr, context: _Context, memo: dict[int, Expr]) -> Expr:
        if e.type.is_host or self.zeros.is_zero(e):
            return e
        chosen = self.zeros.chosen(e)
        if chosen:
            return memo[id(chosen[0])]
        if e.op == "input":
            is_region = str(e.value).rpartition(".")[2] in REGIONS
            return Expr("region", (), e.type, e.span, e.source, e.value) if is_region else e
        if e.op == "over":
            return self._unrolled(e, context)
        if e.op == "item":
            return self._item(e, context)
        if e.op == "memory":
            return self._memory(e, context)
        if e.op == "field":
            return self._field(e, context, memo)
        args = tuple(memo[id(a)] for a in e.args)
        if e.op == "extern":
            return _input(self._extern(e, args), e, e.type)
        if e.op == "call" and "network" in e.builtin.needs:
            return self._network(e, dict(zip(e.names, args)))
        args = self.supports.narrowed(e, args)
        same = all(new is old for new, old in zip(args, e.args))
        made = e if same else Expr(e.op, args, e.type, e.span, e.source, e.value, e.names, e.via)
        self.supports.add(made)
        return made

    # Lists

    def _unrolled(self, e: Expr, context: _Context) -> Expr:
        several, value = e.args
        key = (id(several), e.names[0])
        parts = []
        for i in range(self._length(several)):
            parts.append(self.value(value, ((*context[0], (key, i)), context[1])))
        if not parts:
            return _number(0.0, e)
        total = parts[0]
        for part in parts[1:]:
            total = self._added(Expr("add", (total, part), e.type, e.span, e.source))
        if e.value == "mean" and len(parts) > 1:
            total = self._added(Expr("div", (total, _number(float(len(parts)), e)), e.type, e.span, e.source))
        return total

    def _added(self, e: Expr) -> Expr:
        self.supports.add(e)
        return e

    def _length(self, several: Expr) -> int:
        return self.lengths[boxes_name(several) if several.op == "call" else str(several.value)]

    def _item(self, e: Expr, context: _Context) -> Expr:
        several, index = e.args[0], self._index(e, context)
        if several.op != "call":
            return _input(f"{several.value}[{index}]", e, e.type)
        record: Builtin = several.builtin
        size = several.arg("size")
        assert size is not None
        one = record._replace(name="random_box", signature=BOX, kernel="chances:random_box", needs=("key", "pixels"))
        count = float(self._length(several))
        args, names = (size, _number(float(index), e), _number(count, e)), ("size", "index", "count")
        return Expr("call", args, Type(TENSOR, REGION, UNIT), e.span, e.source, one, names)

    def _index(self, item: Expr, context: _Context) -> int:
        return dict(context[0])[id(item.args[0]), str(item.value)]

    # Records

    def _field(self, e: Expr, context: _Context, memo: dict[int, Expr]) -> Expr:
        record = e.args[0]
        if record.op == "item":
            name = f"{record.args[0].value}[{self._index(record, context)}].{e.value}"
            op = "region" if str(e.value) in REGIONS else "input"
            return Expr(op, (), e.type, e.span, e.source, name)
        made = memo[id(record)]
        if made.op == "input":
            return _input(f"{made.value}.{e.value}", e, e.type)
        index = [name for name, _ in record.type.kind.fields].index(str(e.value))
        return self._added(Expr("field", (made,), e.type, e.span, e.source, index))

    # State across steps

    def _memory(self, e: Expr, context: _Context) -> Expr:
        name = str(e.value)
        last = _input(f"memory:{name}", e, self.program.memories[name].type)
        if context[1] or name not in self.given.updates:
            return last
        update = self.value(self.program.memories[name].update, ((), True))
        if update.type.is_host:
            return update
        return self._added(Expr("call", (update,), e.type, e.span, e.source, DETACH, ("x",)))

    # Functions of the host

    def _extern(self, e: Expr, args: tuple[Expr, ...]) -> str:
        """The input that the result becomes; calls with equal arguments are one."""
        info: ExternInfo = e.value
        key = (info.name, tuple(self._key(a) for a in args))
        index = self._calls.get(key)
        if index is None:
            index = self._calls[key] = len(self.externs)
            fields = e.type.kind.fields or (("", e.type),)
            self.externs.append(ExternCall(f"extern:{index}", info, args, fields, e))
        return f"extern:{index}"

    def _network(self, e: Expr, args: dict[str, Expr]) -> Expr:
        """A builtin that is a network: a function of the host gives a map of its operands, which is averaged over r."""
        a, region = args["a"], args["r"]
        others = tuple(value for name, value in args.items() if name != "r")
        t = Type(TENSOR, Kind("map", a.type.kind.space, 1), e.type.range)
        params: Any = tuple((name, None, {}, REALS, None) for name in args if name != "r")
        info = ExternInfo(e.builtin.name, params, (("", t),), True, e.span, e.source)
        call = Expr("extern", others, t, e.span, e.source, info)
        distances = _input(self._extern(call, others), e, t)
        return Expr("call", (distances, region), e.type, e.span, e.source, MEAN, ("x", "r"))

    def _key(self, e: Expr) -> int:
        for node in e.operands_first(self._keys):
            value = (node.value.name, node.value.seed) if isinstance(node.value, Builtin) else node.value
            made = (node.op, value, node.names, tuple(self._keys[id(a)] for a in node.args))
            self._keys[id(node)] = self._interned.setdefault(made, len(self._interned))
            self._kept.append(node)
        return self._keys[id(e)]


def _input(name: str, e: Expr, t: Type) -> Expr:
    return Expr("input", (), t, e.span, e.source, name)


def _number(value: float, e: Expr) -> Expr:
    return Expr("const", (), Type(CONSTANT, NUMBER, point(value)), e.span, e.source, value)
