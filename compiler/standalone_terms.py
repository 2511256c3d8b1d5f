"""The values of a program for a file: what each depends on beside tensors, and its lines for every case of that.

A case says which optional inputs are there and which parameters are 0. Where nothing follows from one, it makes no
difference in what is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..dsl.inputs import REGIONS, buffer_of
from ..dsl.live import Zeros, buffers
from ..dsl.typed import Expr, TypedProgram
from .call import base_name
from .specialise import BACKGROUND_IMAGE, Facts
from .weights import split_weight

MOST = 7
"""Questions that one value may depend on."""


class Question(NamedTuple):
    """Something that a case answers: whether an input is there, or whether a parameter is 0."""

    name: str
    is_param: bool


Case = Mapping[Question, bool]


class Choice(NamedTuple):
    """A question of a tree, with what follows from yes and from no."""

    question: Question
    yes: Any
    no: Any


def leaves(tree: Any) -> Iterator[Any]:
    """What a tree can lead to."""
    if isinstance(tree, Choice):
        yield from leaves(tree.yes)
        yield from leaves(tree.no)
    else:
        yield tree


def decide(questions: Sequence[Question], leaf: Callable[[Case], Any]) -> Any:
    """The tree over the answers to questions; a leaf is None for cases that do not come up."""

    def below(i: int, case: dict[Question, bool]) -> Any:
        if i == len(questions):
            return leaf(case)
        question = questions[i]
        owner = question.name.rpartition(".")[0].partition("[")[0]
        if not question.is_param and owner and case.get(Question(owner, False)) is False:
            return below(i + 1, {**case, question: False})
        yes, no = (below(i + 1, {**case, question: answer}) for answer in (True, False))
        if yes is None or no is None or yes == no:
            return no if yes is None else yes
        return Choice(question, yes, no)

    return below(0, {})


class Cases:
    """The cases of a program's values.

    Args:
        program: the checked program.
        askable: the names that a program may ask for, see `Schedule`.
        lengths: of lists.
    """

    def __init__(self, program: TypedProgram, askable: frozenset[str], lengths: Mapping[str, int]) -> None:
        self.program, self.askable, self.lengths = program, askable, tuple(sorted(lengths.items()))
        params = program.params.items()
        self.fixed = tuple((n, i.value) for n, i in params if isinstance(i.value, (bool, str)))
        self._off = frozenset(n for n, i in params if i.value is False)
        self._zeroable = [n for n, i in params if not isinstance(i.value, (bool, str)) and 0.0 in i.range]

    def facts(self, terms: tuple[str, ...], case: Case) -> Facts:
        """The variant of a case: what it does not say is there, and not 0."""
        mask = case.get(Question("mask", False), True)
        there = {n for n in self.askable if n != "mask" and case.get(Question(n, False), True)}
        there |= {q.name for q, yes in case.items() if yes and not q.is_param and q.name != "mask"}
        zero = self._off | {q.name for q, yes in case.items() if yes and q.is_param}
        return Facts(terms, mask, frozenset(zero), frozenset(there), self.fixed, self.lengths)

    def questions(self, value: Expr) -> list[Question]:
        """What a value depends on, inputs first."""
        inputs = [Question(name, False) for name in self._asked(value)]
        there = dict.fromkeys(inputs, True)
        params = [Question(name, True) for name in self._zeroable]
        return [*inputs, *(q for q in params if self._matters(value, there, q))]

    def _asked(self, value: Expr) -> list[str]:
        zeros = Zeros({**dict.fromkeys(self._off, 0.0), **dict(self.fixed)})
        found: set[str] = set()
        for e in _live(value, zeros):
            if e.op == "has":
                found.update(e.value)
            elif e.op in ("input", "region"):
                view, name = base_name(str(e.value))
                if name in REGIONS and name != "everywhere":
                    found.add(f"{view}mask")
                elif name == "background":
                    found.add(f"{view}{BACKGROUND_IMAGE}")
            elif e.op == "field" and str(e.value) in ("masked", "unmasked"):
                found.add(f"{e.args[0].value}.mask")
        return sorted(found, key=lambda n: (n.count("."), n))

    def _matters(self, value: Expr, case: Case, question: Question) -> bool:
        """Whether other inputs are read, or another weight is split off, where a parameter is 0."""
        seen = []
        for answer in (True, False):
            zeros = self.facts((), {**case, question: answer}).zeros()
            if zeros.is_zero(value):
                return False  # then there is no term: its condition says so
            factors, _ = split_weight(value, zeros)
            seen.append((len(factors), [id(f) for _, f in factors if f.op != "const"], zeros.inputs(value)))
        return seen[0] != seen[1]


def _live(value: Expr, zeros: Zeros) -> Iterator[Expr]:
    """What a value is made of, without what modes and flags leave out."""
    seen: set[int] = set()
    stack = [value]
    while stack:
        e = stack.pop()
        if id(e) in seen:
            continue
        seen.add(id(e))
        yield e
        conditions: tuple[Expr, ...] = ()
        if zeros.chosen(e):
            conditions = (e.args[1] if e.op == "if" else e.args[0],)
        stack += [*zeros.live_args(e), *conditions]


def reads(value: Expr, zeros: Zeros, inputs: Sequence[str]) -> frozenset[str]:
    """The buffers and item fields behind a value, and behind the inputs of its graph."""
    found = buffers(zeros.inputs(value))
    named = [n.partition("[")[0] for n in inputs if ":" not in n]
    return found | {"state" if n.startswith("state.") else buffer_of(n) for n in named}


__all__ = ["MOST", "Cases", "Choice", "Question", "decide", "leaves", "reads"]
