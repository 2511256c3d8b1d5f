"""What a program needs once the values of its parameters are known.

A product with a factor that is a parameter equal to 0 is 0, and a term that is so entirely is not computed and
asks for nothing. The same rule decides here and in the compiler.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .inputs import BY_NAME, REGIONS, buffer_of
from .source import Source, Span
from .typed import Expr, TypedProgram, TypedTerm

_SETTLED = frozenset({"const", "param", "has", "eq", "ne", "if", "not", "and", "or"})


class Zeros:
    """Tells which values are exactly 0 because parameters are, and which inputs the others still read.

    Args:
        params: values of parameters; modes and flags decide which branch of an `if` there is.
        present: names of the inputs that are there; None leaves every `has` open.
    """

    def __init__(self, params: Mapping[str, float | bool | str], present: frozenset[str] | None = None) -> None:
        self.zero_params = frozenset(name for name, value in params.items() if value == 0)
        self.fixed = {name: value for name, value in params.items() if isinstance(value, (bool, str))}
        self.present = present
        self._memo: dict[int, bool] = {}
        self._settled: dict[int, bool | str | None] = {}

    def is_zero(self, e: Expr) -> bool:
        """Whether the value is 0 whatever the step and the tensors are."""
        found = self._memo.get(id(e))
        if found is None:
            for node in e.operands_first(self._memo):
                self._memo[id(node)] = self._is_zero(node)
            found = self._memo[id(e)]
        return found

    def _is_zero(self, e: Expr) -> bool:
        if e.op == "const":
            return e.value == 0 and isinstance(e.value, (int, float))
        if e.op == "param":
            return e.value in self.zero_params
        if e.op == "neg":
            return self.is_zero(e.args[0])
        if e.op == "mul":
            return any(self.is_zero(a) for a in e.args)
        if e.op == "div":
            return self.is_zero(e.args[0])
        if e.op in ("add", "sub"):
            return all(self.is_zero(a) for a in e.args)
        if e.op == "if":
            chosen = self.decide(e.args[1])
            branches = (e.args[0], e.args[2]) if chosen is None else (e.args[0 if chosen else 2],)
            return all(self.is_zero(a) for a in branches)
        if e.op == "call":
            record = e.builtin
            if record.keeps:
                return all(self.is_zero(a) for a, n in zip(e.args, e.names) if n in record.keeps)
            single = len(e.args) == 1 and record.host is not None
            return single and self.is_zero(e.args[0]) and record.host(0.0) == 0  # type: ignore[misc]
        return False

    def live_args(self, e: Expr) -> tuple[Expr, ...]:
        """The operands that still matter."""
        if self.is_zero(e):
            return ()
        if e.op in ("add", "sub"):
            return tuple(a for a in e.args if not self.is_zero(a))
        return self.chosen(e) or e.args

    def chosen(self, e: Expr) -> tuple[Expr, ...]:
        """The one branch of a choice that is decided when the program is specialised; () for everything else."""
        if e.op == "if":
            decided = self.decide(e.args[1])
            return () if decided is None else (e.args[0 if decided else 2],)
        if e.op == "call" and e.args and e.args[0].type.is_host and e.builtin.parsed.params[0].kind == "condition":
            decided = self.decide(e.args[0])
            return () if decided is None else (e.args[1 if decided else 2],)
        return ()

    def decide(self, e: Expr) -> bool | None:
        """The truth of a condition that modes, flags and missing inputs settle; None where they leave it open."""
        if e.op == "const":
            return bool(e.value)
        found = None if e.op == "if" else self._settle(e)
        return found if isinstance(found, bool) else None

    def text(self, e: Expr) -> str | None:
        """The text that a mode is; None where it is open."""
        found = self._settle(e)
        return found if isinstance(found, str) else None

    def _settle(self, e: Expr) -> Any:
        if e.op not in _SETTLED:
            return None
        for node in e.operands_first(self._settled):
            self._settled[id(node)] = self._settled_by(node) if node.op in _SETTLED else None
        return self._settled[id(e)]

    def _settled_by(self, e: Expr) -> Any:
        """A truth or a text, from those of the operands."""
        if e.op == "const":
            return e.value if isinstance(e.value, (bool, str)) else None
        if e.op == "param":
            return self.fixed.get(e.value)
        if e.op == "has":
            return None if self.present is None else all(name in self.present for name in e.value)
        if e.op in ("eq", "ne"):
            left, right = (self.text(a) for a in e.args)
            return None if left is None or right is None else (left == right) == (e.op == "eq")
        if e.op == "if":
            decided = self.decide(e.args[1])
            return None if decided is None else self.text(e.args[0 if decided else 2])
        found = [self.decide(a) for a in e.args]
        if e.op == "not":
            return None if found[0] is None else not found[0]
        settled = e.op == "or"
        if settled in found:
            return settled
        return None if None in found else not settled

    def inputs(self, e: Expr) -> frozenset[str]:
        """Names of the fixed inputs and regions that the value reads."""
        return self._read(e, ("input", "region"))

    def memories(self, e: Expr) -> frozenset[str]:
        """Names of the memories that the value reads."""
        return self._read(e, ("memory",))

    def _read(self, e: Expr, operations: tuple[str, ...]) -> frozenset[str]:
        found: set[str] = set()
        seen: set[int] = set()
        stack = [e]
        while stack:
            node = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if node.op in operations:
                found.add(node.value)
            stack.extend(self.live_args(node))
        return frozenset(found)


def live_terms(program: TypedProgram, params: Mapping[str, float | bool | str]) -> tuple[TypedTerm, ...]:
    """The terms that are not 0 because of their parameters."""
    zeros = Zeros(params)
    return tuple(t for t in program.terms if not zeros.is_zero(t.value))


def where_read(program: TypedProgram, name: str) -> tuple[Source, Span | None]:
    """Where the program's own text reads an input, for a caret.

    That is the input, or its raw parameter for a name such as ``state.scales``, or the term that reads it through a
    definition from elsewhere; failing that, a region made of the mask; failing that, the program as a whole.
    """

    def reads(e: Expr, regions: bool) -> bool:
        if regions:
            return e.op == "region" and name == "mask" and e.value in ("masked", "unmasked")
        if e.op != "input":
            return False
        spec = BY_NAME.get(e.value)
        return bool(e.value == name or buffer_of(e.value) == name or (spec and f"state.{spec.raw[0]}" == name))

    terms = live_terms(program, {p: info.value for p, info in program.params.items()})
    for regions in (False, True):
        for term in terms:
            places = [e for e in term.value.walk() if reads(e, regions)]
            if places:
                here = next((e for e in places if e.source is program.source), None)
                return (program.source, here.span) if here else (term.source, term.span)
    return program.source, None


def buffers(inputs: frozenset[str]) -> frozenset[str]:
    """Render buffers and item fields behind inputs and regions: ``masked`` reads the mask, if the item has one."""
    needed = {buffer_of(name) for name in inputs if name not in REGIONS}
    if inputs & {"masked", "unmasked"}:
        needed.add("mask")
    return frozenset(needed - {""})
