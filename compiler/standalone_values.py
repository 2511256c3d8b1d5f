"""Values of a program as methods of a file: a tree over the cases that matter, and its lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.source import Source, Span
from ..dsl.typed import Expr, TypedProgram
from .ir import Graph
from .lower import HostSlot
from .passes import optimise
from .resolve import Resolved
from .specialise import Facts
from .standalone_calls import Calls
from .standalone_graph import Body, Context, body, identifier
from .standalone_host import HostText
from .standalone_inputs import InputText
from .standalone_sources import Sources, kit_names, known_names
from .standalone_terms import MOST, Case, Cases, Choice, Question, decide, leaves

LOCALS = frozenset(
    {"self", "x", "step", "max_steps", "progress", "weights", "values", "found", "missing", "host", "given", "total"}
)
"""Names that are used in the methods of a file."""
MASK = Question("mask", False)
API = frozenset(
    {
        "terms",
        "weights",
        "requires",
        "functions",
        "group",
        "memories",
        "state_dict",
        "load_state_dict",
        "TERMS",
        "PARAMETERS",
        "on_densification",
    }
)
"""What a class has beside its parameters."""


class Lowered(NamedTuple):
    """A value in a case: what it resolved to, its graph, the numbers of the host, and which node it is at the end."""

    resolved: Resolved
    graph: Graph
    slots: Sequence[HostSlot]
    at: Callable[[Graph], int]


class Names:
    """What methods of a file share: the program, where functions come from, and what things are called.

    Args:
        program: the checked program, with the values of its parameters in force.
        cases: of its values.
    """

    def __init__(self, program: TypedProgram, cases: Cases) -> None:
        self.program, self.cases = program, cases
        self.sources = Sources()
        self.attributes = {n: identifier(n, API) for n in program.params}
        self.host = HostText(program, self.sources, self.attributes.__getitem__)
        self.taken = known_names() | LOCALS | {"torch", "math"}
        self.inputs = InputText(program, self.sources, {n: identifier(n, LOCALS | kit_names()) for n in program.inputs})
        self.calls = Calls(program, self.host, cases, self.taken)
        self.bound: set[str] = set()
        self.memories: dict[str, str] = {}
        """What reads each memory, by the names of the inputs that they are."""

    def kit(self, name: str) -> str:
        """The name of one of the functions that are copied along."""
        return self.inputs.kit(name)

    def questions(self, value: Expr, what: str) -> list[Question]:
        """What a value depends on.

        Raises:
            LossError: that is too much.
        """
        questions = self.cases.questions(value)
        if len(questions) > MOST:
            names = ", ".join(f"`{q.name}`" for q in questions)
            message = f"{what} is another for too many inputs that may be missing and parameters that may be 0"
            raise refusal(message, value.source, value.span, f"they are {names}")
        return questions

    def printed(self, facts: Facts, lowered: Lowered, late: Iterable[str]) -> Body:
        """A value in one case; inputs that are only there in some are read late."""
        graph = optimise(lowered.graph)
        reads = {**self.memories, **self.calls.reads(lowered.resolved, facts, self.memories)}
        context = Context(self.program, self.host, self.taken, reads)
        made = body(graph, [lowered.at(graph)], lowered.slots, context, frozenset(late))
        self.bound.update(n for n in made.inputs if ":" not in n)
        return made

    def lines(self, tree: Any) -> list[str]:
        """The lines of a method, from a tree of bodies."""
        texts = mapped(tree, lambda made: (made.lines, f"return {made.results[0]}"))
        return clock(block(joined(texts), self.test))

    def test(self, question: Question, truth: bool) -> str:
        """A question as a condition."""
        if question.is_param:
            return f"self.{self.attributes[question.name]} {'==' if truth else '!='} 0"
        return f'"{question.name}" {"in" if truth else "not in"} x'


class Tree(NamedTuple):
    """A tree over cases."""

    root: Any

    @property
    def leaves(self) -> list[Any]:
        """What it can lead to, but for cases that do not come up."""
        return [leaf for leaf in leaves(self.root) if leaf is not None]


def over(questions: Sequence[Question], leaf: Callable[[Case], Any]) -> Tree:
    """The tree over the answers to questions."""
    return Tree(decide(questions, leaf))


def mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    """A tree with something made of each leaf; what comes out the same on both sides is one leaf."""
    if isinstance(tree, Choice):
        yes, no = mapped(tree.yes, function), mapped(tree.no, function)
        return yes if yes == no else Choice(tree.question, yes, no)
    return None if tree is None else function(tree)


def joined(tree: Any) -> Any:
    """A tree in which a mask is no question where it is nothing but an argument that can be None."""
    if not isinstance(tree, Choice):
        return tree
    yes, no = joined(tree.yes), joined(tree.no)
    if tree.question == MASK and (both := _with_or_without(yes, no)) is not None:
        return both
    return Choice(tree.question, yes, no)


def _with_or_without(yes: Any, no: Any) -> Any:
    """One text for what is there with a mask and without; None where they differ in more than that argument."""
    if isinstance(yes, Choice) and isinstance(no, Choice) and yes.question == no.question:
        parts = _with_or_without(yes.yes, no.yes), _with_or_without(yes.no, no.no)
        return None if None in parts else Choice(yes.question, *parts)
    if isinstance(yes, Choice) or isinstance(no, Choice) or yes is None or no is None:
        return None
    lines = [line for line in yes[0] if line != 'mask = x["mask"]']
    without = [re.sub(r", mask(?=[,)])", "", line) for line in (*lines, yes[1])]
    if without != [*no[0], no[1]] or len(lines) == len(yes[0]):
        return None
    return tuple('mask = x.get("mask")' if line == 'mask = x["mask"]' else line for line in yes[0]), yes[1]


def block(tree: Any, test: Callable[[Question, bool], str]) -> list[str]:
    """A tree of (lines, last line) as lines: what all leaves begin with once, then the choices."""
    first, *others = [leaf for leaf in leaves(tree) if leaf is not None]
    count = 0
    while all(count < len(f[0]) and f[0][count] == first[0][count] for f in (first, *others)):
        count += 1
    lines = list(first[0][:count])
    tree = mapped(tree, lambda leaf: (leaf[0][count:], leaf[1]))
    if not isinstance(tree, Choice):
        return [*lines, *tree[0], tree[1]]
    questions = [tree.question]
    yes, no = tree.yes, tree.no
    while isinstance(yes, Choice) and yes.no == no:  # what follows where several things hold together
        questions.append(yes.question)
        yes = yes.yes
    then, otherwise = block(yes, test), block(no, test)
    if len(otherwise) < len(then):
        return [*lines, f"if {' or '.join(test(q, False) for q in questions)}:", *indented(otherwise), *then]
    return [*lines, f"if {' and '.join(test(q, True) for q in questions)}:", *indented(then), *otherwise]


def clock(lines: Sequence[str]) -> list[str]:
    """Lines, with what they read of the clock in front."""
    text = "\n".join(line for line in lines if not line.lstrip().startswith(("#", '"""')))
    names = [n for n in ("step", "max_steps", "progress") if re.search(rf'(?<![.\w"]){n}\b(?!=)', text)]
    start = 1 if lines and lines[0].startswith('"""') else 0
    return [*lines[:start], *(f"{n} = x.{n}" for n in names), *lines[start:]]


def indented(lines: Sequence[str]) -> list[str]:
    """Lines one level further in."""
    return [f"    {line}" if line else "" for line in lines]


def tupled(names: Sequence[str]) -> str:
    """A tuple of texts."""
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"


def quoted(names: Sequence[str]) -> str:
    """A tuple of names."""
    return tupled([f'"{n}"' for n in names])


def refusal(message: str, source: Source, span: Span | None, help: str = "") -> LossError:
    """The error that something cannot be written into a file of its own."""
    return LossError([Diagnostic("BND015", message, source, span, help=[help] if help else [])])
