"""Small parts of the class of a file: a term in one case, what is read, and texts."""

from __future__ import annotations

from collections.abc import Sequence

from ..dsl.interval import inf
from ..dsl.typed import ParamInfo, TypedTerm
from .standalone_graph import Body
from .standalone_host import literal
from .standalone_terms import Choice


class Leaf:
    """A term in one case: its lines, its weight, and what is read."""

    def __init__(self, body: Body, weight: str, reads: frozenset[str]) -> None:
        self.body, self.weight, self.reads = body, weight, reads

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Leaf) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.body, self.weight))


def read(tree: object) -> object:
    """What a term reads: everything that may be there, by what parameters are."""
    if not isinstance(tree, Choice):
        return None if tree is None else tree.reads  # type: ignore[attr-defined]
    yes, no = read(tree.yes), read(tree.no)
    if yes is None or no is None or yes == no:
        return no if yes is None else yes
    if tree.question.is_param:
        return Choice(tree.question, yes, no)
    return _united(yes, no) if tree.question.name.endswith("mask") else yes


def _united(a: object, b: object) -> object:
    if isinstance(a, Choice):
        return Choice(a.question, _united(a.yes, b), _united(a.no, b))
    if isinstance(b, Choice):
        return _united(b, a)
    assert isinstance(a, frozenset)
    assert isinstance(b, frozenset)
    return a | b


def signature(name: str, arguments: Sequence[str], result: str) -> str:
    """The head of a method."""
    return f"def {name}({', '.join(['self', *arguments])}) -> {result}:"


def written(term: TypedTerm) -> list[str]:
    """A term as it is written, as comments."""
    found = [line.strip() for line in term.source.slice(term.span).splitlines() if line.strip()]
    return [f"# {line}" if i == 0 else f"#     {line}" for i, line in enumerate(found)]


def escaped(text: str) -> str:
    """A line of a docstring."""
    return text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')


def limits(info: ParamInfo) -> tuple[str, str]:
    """A parameter's range in words and as a condition on ``v``."""
    r = info.range
    low, high = literal(r.lo), literal(r.hi)
    below, above = "<" if r.lo_open else "<=", "<" if r.hi_open else "<="
    if r.lo != -inf and r.hi != inf:
        test = f"{low} {below} v {above} {high}"
    elif r.lo != -inf:
        test = f"v {'>' if r.lo_open else '>='} {low}"
    else:
        test = f"v {above} {high}" if r.hi != inf else "v == v"
    return str(r), test
