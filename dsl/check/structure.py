"""Which values are made in the same way: `depth` written twice is one value, `detach(x)` is worth as much as x."""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterator

from ..builtins.chances import BUILTINS as CHANCES
from ..typed import Expr

SAME_VALUE = frozenset({"detach", "raw"})
RANDOM = frozenset(record.name for record in CHANCES)
SWAPPED = {"gt": "lt", "ge": "le"}


def operands_first(e: Expr, done: Container[int]) -> Iterator[Expr]:
    """Like `Expr.operands_first`, but what is done, by identity, is not entered again."""
    return e.operands_first(done)


class Structure:
    """Numbers for values, the same for values that are made in the same way."""

    __slots__ = ("_interned", "_keys")

    def __init__(self) -> None:
        self._keys: dict[int, int] = {}
        self._interned: dict[Hashable, int] = {}

    def key(self, e: Expr) -> int:
        """The number of a value."""
        found = self._keys.get(id(e))
        if found is None:
            for node in operands_first(e, self._keys):
                self._keys[id(node)] = self._make(node)
            found = self._keys[id(e)]
        return found

    def named(self, like: Expr, name: str) -> int:
        """The number of another input, or of another field of the same record."""
        return self._number((like.op, name, (), tuple(self.key(a) for a in like.args)))

    def difference(self, left: Expr, right: Expr) -> int:
        """The number of ``left - right``, whether or not it is written anywhere."""
        return self._number(("sub", None, (), (self.key(left), self.key(right))))

    def _number(self, made: Hashable) -> int:
        return self._interned.setdefault(made, len(self._interned))

    def _make(self, e: Expr) -> int:
        args = tuple(self._keys[id(a)] for a in e.args)
        op, value = e.op, e.value
        if op == "call":
            value = e.builtin.name
            if value in SAME_VALUE:
                return args[0]
            if value == "sq":
                return self._number(("sq", args[0]))
            if value in RANDOM:
                return self._number(("random", id(e)))
        elif op in ("extern", "item", "error"):
            value = (getattr(value, "name", value), id(e) if op == "item" else 0)
        elif op in SWAPPED:
            op, args = SWAPPED[op], args[::-1]
        elif (op == "mul" and args[0] == args[1]) or (op == "pow" and _is_two(e.args[1])):
            return self._number(("sq", args[0]))
        if op in ("add", "mul", "eq", "ne", "and", "or"):
            args = tuple(sorted(args))
        return self._number((op, value, e.names if op == "call" else (), args))


def _is_two(e: Expr) -> bool:
    return e.op == "const" and e.value == 2
