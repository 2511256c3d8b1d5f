"""What values are called at one place of the text, and which definition a place is in.

A definition is expanded at each call, so the values in its body are those of the caller. What is written into the
body, by a fix or as advice, must use the body's own names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .. import ast
from ..diagnostics import Edit
from ..source import Source, Span
from ..typed import Expr, TypedTerm
from .functions import library

if TYPE_CHECKING:
    from .modules import Module
    from .program import ProgramChecker

OPS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "^": "pow", "and": "and", "or": "or"}
OPS |= {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}
_WORDS = re.compile(r"[A-Za-z_]\w*")
MOST_NODES = 2_000
"""Places that are looked through for one value."""


class Texts:
    """Answers about the texts that a program is made of."""

    def __init__(self, checker: ProgramChecker) -> None:
        self._checker = checker
        self._nodes: dict[int, dict[tuple[int, int], ast.Expr]] = {}
        self._calls: tuple[int, dict[int, int]] = (-1, {})

    def module(self, source: Source) -> Module | None:
        """The file that a text is; None for the prelude and for values that a config gives."""
        return next((m for m in self._modules() if m.source is source), None)

    def _modules(self) -> Iterator[Module]:
        yield self._checker.main
        yield from self._checker.library.modules.values()

    # Definitions

    def definition(self, source: Source, span: Span) -> ast.Def | None:
        """The definition that a place is in."""
        module = self.module(source)
        for s in module.tree.statements if module is not None else ():
            if isinstance(s, ast.Def) and s.span.start <= span.start and span.end <= s.span.end:
                return s
        return None

    def loses_parameter(self, definition: ast.Def, source: Source, edit: Edit) -> bool:
        """Whether an edit of a definition takes out a parameter: in one call it was the same as something else."""
        names = {p.name.text for p in definition.parameters}
        return bool(names & set(_WORDS.findall(source.slice(edit.span))) - set(_WORDS.findall(edit.text)))

    def of_one_caller(self, source: Source, edit: Edit) -> bool:
        """Whether an edit is of a definition, and may be right for one of its calls only."""
        around = self.definition(source, edit.span)
        return around is not None and (self.times_called(around) > 1 or self.loses_parameter(around, source, edit))

    def times_called(self, definition: ast.Def) -> int:
        """How many calls of a definition the program has when all others are expanded."""
        files = len(self._checker.library.modules)
        if self._calls[0] != files:  # more files have been read since
            self._calls = (files, self._count())
        return self._calls[1].get(id(definition), 0)

    def _count(self) -> dict[int, int]:
        callers: dict[int, list[int]] = {}  # the definition around each call, or 0
        for module in self._modules():
            for s in module.tree.statements:
                around = id(s) if isinstance(s, ast.Def) else 0
                for node in _below(s):
                    if isinstance(node, ast.Call) and (called := _called(node.function.text, module)) is not None:
                        callers.setdefault(id(called), []).append(around)
        times: dict[int, int] = {}

        def count(called: int, depth: int) -> int:
            if called not in times:
                times[called] = 0  # one that calls itself is reported elsewhere
                if depth < 100:
                    times[called] = sum(1 if c == 0 else count(c, depth + 1) for c in callers.get(called, ()))
            return times[called]

        for definition in callers:
            count(definition, 0)
        return times

    # Values

    def node(self, e: Expr) -> ast.Expr | None:
        """The syntax that made a value, without brackets around it."""
        module = self.module(e.source)
        if module is None:
            return None
        if id(module) not in self._nodes:
            found = self._nodes[id(module)] = {}
            for s in module.tree.statements:
                for node in _below(s):
                    if isinstance(node, ast.Expr) and not isinstance(node, ast.Paren):
                        found[node.span.start, node.span.end] = node
        return self._nodes[id(module)].get((e.span.start, e.span.end))

    def condition(self, term: TypedTerm) -> ast.Expr | None:
        """The syntax after the `when` of a term."""
        module = self.module(term.source)
        for s in module.tree.statements if module is not None else ():
            if isinstance(s, ast.Term) and s.span == term.span:
                return s.when
        return None

    def times_read(self, source: Source, span: Span) -> int:
        """How often the `let` that a place is in is named in the program; 1 for a place in no `let`."""
        module = self.module(source)
        for s in module.tree.statements if module is not None else ():
            if isinstance(s, ast.Let) and s.span.start <= span.start and span.end <= s.span.end:
                trees = (m.tree for m in self._modules())
                return sum(isinstance(n, ast.Name) and n.id == s.name.text for tree in trees for n in _below(tree))
        return 1

    def takes_a_sum(self, source: Source, span: Span) -> bool:
        """Whether a sum can stand at the place of a value without brackets."""
        module = self.module(source)
        for s in module.tree.statements if module is not None else ():
            if not (s.span.start <= span.start and span.end <= s.span.end):
                continue
            for node in _below(s):
                at = next((n for n in node.children() if n.span == span and not isinstance(n, ast.Paren)), None)
                if at is not None:
                    first = isinstance(node, ast.Binary) and node.op in ("+", "-") and node.left is at
                    return first or isinstance(node, (ast.Statement, ast.Call, ast.Keyword, ast.Paren))
        return False

    def find(self, e: Expr, outer: Expr) -> ast.Expr | None:
        """The syntax that stands for a value in the text of another that is made of it: often only a name."""
        top, module = self.node(outer), self.module(outer.source)
        if top is None or module is None:
            return None
        queue: list[tuple[ast.Expr, Expr]] = [(top, outer)]
        for node, value in queue:
            if value is e:
                return node
            if len(queue) < MOST_NODES:
                queue.extend((strip(n), v) for n, v in _parts(node, value, module))
        return None

    def exact(self, e: Expr, outer: Expr) -> str | None:
        """What to write for a value in the text of another; None where no text there would mean it."""
        node = self.find(e, outer)
        if node is not None:
            return _one_line(outer.source.slice(node.span))
        module = self.module(outer.source)
        if module is None:
            return None
        named = next((name for name, value in module.values.items() if value is e), None)
        if named is not None:
            return named
        same = e.source is outer.source
        if same and self.definition(e.source, e.span) is self.definition(outer.source, outer.span):
            return _one_line(e.source.slice(e.span))
        return None


def strip(node: ast.Expr) -> ast.Expr:
    """A node without the brackets around it."""
    while isinstance(node, ast.Paren):
        node = node.value
    return node


def _one_line(text: str) -> str | None:
    return None if "#" in text else " ".join(text.split())


def _below(node: ast.Node) -> Iterator[ast.Node]:
    stack = [node]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(top.children())


def _called(name: str, module: Module) -> ast.Def | None:
    """The definition that a call in a file names."""
    at: Module | None = module
    while at is not None and name not in at.defs:
        at = at.imports.get(name)
    return None if at is None else at.defs[name].definition


def _parts(node: ast.Expr, value: Expr, module: Module) -> Iterator[tuple[ast.Expr, Expr]]:
    """What a value is made of, beside its syntax; nothing where the two do not go together."""
    if isinstance(node, (ast.Binary, ast.Compare)):
        if value.op == OPS[node.op] and len(value.args) == 2:
            yield node.left, value.args[0]
            yield node.right, value.args[1]
    elif isinstance(node, ast.Unary):
        if value.op == ("not" if node.op == "not" else "neg"):
            yield node.operand, value.args[0]
    elif isinstance(node, ast.Conditional):
        if value.op == "if":
            yield node.then, value.args[0]
            yield node.condition, value.args[1]
            yield node.otherwise, value.args[2]
    elif isinstance(node, ast.Field):
        if value.op in ("component", "field") and value.args:
            yield node.value, value.args[0]
    elif isinstance(node, ast.Call):
        yield from _arguments(node, value, module)


def _arguments(node: ast.Call, value: Expr, module: Module) -> Iterator[tuple[ast.Expr, Expr]]:
    name = node.function.text
    via = None if value.via is None else value.via.called(name)
    if via is not None:
        given = {key: [argument] for key, argument in via.args.items()}
    elif value.op == "call" and value.builtin.name == name:
        given = {}
        for key, argument in zip(value.names, value.args):
            given.setdefault(key, []).append(argument)
    else:
        return
    function = module.defs.get(name) or library(name)
    if function is not None and function.comparing and len(node.args) == 1:
        names = ["r"]
    else:
        names = [p.name for p in function.params if not p.keyword_only] if function is not None else list(given)
    for i, written in enumerate(node.args):
        at = min(i, len(names) - 1)
        values = given.get(names[at], []) if names else []
        if i - at < len(values):
            yield written, values[i - at]
    for keyword in node.keywords:
        for first in given.get(keyword.name.text, [])[:1]:
            yield keyword.value, first
