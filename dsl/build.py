"""Grammar rules to nodes of the syntax tree: one method for each rule or alias of ``loss.lark``.

Called bottom up by the driver while it parses, so no tree is ever walked by recursion here. What the grammar lets
through and the language does not (a chain of comparisons, a string in a sum) is reported as a fault of the statement.
"""
# ruff: noqa: D102  (the name of a method is the rule that it builds)

from __future__ import annotations

from typing import TYPE_CHECKING

from . import ast
from .source import Span

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .lalr import Action, Token

MAX_DIGITS = 100
"""Characters of one number."""


class Fault:
    """What is wrong with a statement: a key of the message table, its place, words for the message, further places."""

    __slots__ = ("key", "labels", "span", "words")

    def __init__(
        self, key: str, span: Span, labels: tuple[tuple[Span, str], ...] = (), words: dict[str, str] | None = None
    ) -> None:
        self.key, self.span, self.labels, self.words = key, span, labels, words or {}


class Builder:
    """Builds statements; collects the faults that it meets in ``faults``."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._guarded = False

    def actions(self, names: Sequence[str | None]) -> list[Action | None]:
        """What builds each rule, in the order of the tables; rules whose children are spliced are plain lists."""
        return [None if n is None else self._spliced if n.startswith("_") else getattr(self, "on_" + n) for n in names]

    def finish(self, statement: ast.Statement | None) -> list[Fault]:
        """The faults of the statement that was just built (None: it does not parse); then ready for the next."""
        if self._guarded and statement is not None:
            self._misplaced(statement)
        faults, self.faults, self._guarded = self.faults, [], False
        return faults

    def _fault(self, key: str, span: Span, *labels: tuple[Span, str], **words: str) -> None:
        self.faults.append(Fault(key, span, labels, words))

    @staticmethod
    def _spliced(children: list[Any], start: int, end: int) -> list[Any]:
        return children

    def _misplaced(self, statement: ast.Statement) -> None:
        """Report strings and tuples where the language has no place for them."""
        pending: list[ast.Node] = [statement]
        while pending:
            node = pending.pop()
            children = below(node)
            pending.extend(children)
            no_strings = isinstance(node, _NO_STRINGS) or (type(node) is ast.Compare and node.op not in ("==", "!="))
            for child in children:
                if type(child) is ast.Tuple and not isinstance(node, (ast.Call, ast.Keyword)):
                    self._fault("misplaced tuple", child.span)
                elif type(child) is ast.String and no_strings:
                    alone = type(node) is ast.Bare and node.value is child
                    self._fault("quoted docstring" if alone else "misplaced string", child.span)

    # ---- statements

    def on_docstring(self, children: list[Any], start: int, end: int) -> ast.Docstring:
        return ast.Docstring(children[0][1][3:-3], Span(start, end))

    def on_param(self, children: list[Any], start: int, end: int) -> ast.Param:
        name, unit, default, limits = children
        return ast.Param(_ident(name), unit and _ident(unit), default, limits, Span(start, end))

    def on_bound(self, children: list[Any], start: int, end: int) -> ast.Bound:
        op, value = children
        if op[1] not in (">=", ">"):
            self._fault("param limit upper" if op[1][0] == "<" else "param limit equal", _span(op), op=op[1])
        return ast.Bound(op[1], value, Span(start, end))

    def on_interval(self, children: list[Any], start: int, end: int) -> ast.Range:
        left, lo, hi, right = children
        return ast.Range(lo, hi, left[1] == "(", right[1] == ")", Span(start, end))

    def on_choices(self, children: list[Any], start: int, end: int) -> ast.Choices:
        return ast.Choices(tuple(children), Span(start, end))

    def on_path(self, children: list[Any], start: int, end: int) -> tuple[ast.Ident, ...]:
        if len(children) > 2:
            self._fault("long name", Span(start, end), name=".".join(token[1] for token in children))
        return tuple(_ident(token) for token in children)

    def on_input(self, children: list[Any], start: int, end: int) -> ast.Input:
        name, kind, optional = children
        return ast.Input(name, kind, optional is not None, Span(start, end))

    def on_let(self, children: list[Any], start: int, end: int) -> ast.Let:
        return ast.Let(_ident(children[0]), children[1], Span(start, end))

    def on_parameter(self, children: list[Any], start: int, end: int) -> ast.Parameter:
        return ast.Parameter(_ident(children[0]), children[1], Span(start, end))

    def on_parameters(self, children: list[Any], start: int, end: int) -> tuple[ast.Parameter, ...]:
        return tuple(children)

    def on_define(self, children: list[Any], start: int, end: int) -> ast.Def:
        return ast.Def(_ident(children[0]), children[1] or (), children[2], Span(start, end))

    def on_names(self, children: list[Any], start: int, end: int) -> tuple[ast.Ident, ...]:
        return tuple(_ident(token) for token in children)

    def on_use(self, children: list[Any], start: int, end: int) -> ast.Use:
        path = ast.String(children[0][1][1:-1], _span(children[0]))
        return ast.Use(path, children[1], Span(start, end))

    def on_named_slot(self, children: list[Any], start: int, end: int) -> tuple[ast.Ident, ast.KindExpr]:
        return _ident(children[0]), children[1]

    def on_default_slot(self, children: list[Any], start: int, end: int) -> tuple[ast.Ident, ast.Expr]:
        return _ident(children[0]), children[1]

    def on_slots(self, children: list[Any], start: int, end: int) -> tuple[Any, ...]:
        return tuple(child if isinstance(child, tuple) else (None, child) for child in children)

    on_results = on_slots

    def on_extern(self, children: list[Any], start: int, end: int) -> ast.Extern:
        name, slots, results, word = children
        return ast.Extern(_ident(name), slots or (), results, word and _ident(word), Span(start, end))

    def on_memory(self, children: list[Any], start: int, end: int) -> ast.Memory:
        name, init, update, when = children
        return ast.Memory(_ident(name), init, update, when, Span(start, end))

    def on_term(self, children: list[Any], start: int, end: int) -> ast.Term:
        name, value, when = children
        return ast.Term(name, value, when, Span(start, end))

    def on_bare(self, children: list[Any], start: int, end: int) -> ast.Bare:
        value, when = children
        return ast.Bare(value, when, Span(start, end))

    # ---- kinds

    def on_type(self, children: list[Any], start: int, end: int) -> ast.KindExpr:
        kind: ast.KindExpr = children[0]
        kind.range, kind.span = children[1], Span(start, end)
        return kind

    def on_named_kind(self, children: list[Any], start: int, end: int) -> ast.KindExpr:
        name, attributes = children
        return ast.KindExpr(_ident(name), _words(attributes or ()), None, None, Span(start, end))

    def on_dimensions(self, children: list[Any], start: int, end: int) -> ast.KindExpr:
        for token in children[0]:
            if token[1] == ",":
                written = " ".join(word[1] for word in children[0] if word[1] != ",")
                self._fault("dimension comma", _span(token), list=f"[{written}]")
                break
        return ast.KindExpr(None, _words(children[0]), None, None, Span(start, end))

    def on_collection(self, children: list[Any], start: int, end: int) -> ast.KindExpr:
        return ast.KindExpr(_ident(children[0]), (), children[1], None, Span(start, end))

    def on_attributes(self, children: list[Any], start: int, end: int) -> list[Token]:
        return children

    # ---- expressions

    def on_conditional(self, children: list[Any], start: int, end: int) -> ast.Conditional:
        then, condition, otherwise = children
        return ast.Conditional(then, condition, otherwise, Span(start, end))

    def on_binary(self, children: list[Any], start: int, end: int) -> ast.Binary:
        left, op, right = children
        return ast.Binary("^" if op[1] == "**" else op[1], left, right, Span(start, end))

    def on_unary(self, children: list[Any], start: int, end: int) -> ast.Unary:
        return ast.Unary(children[0][1], children[1], Span(start, end))

    def on_compare(self, children: list[Any], start: int, end: int) -> ast.Compare:
        left, op, right = children
        if type(left) is ast.Compare and not self.faults:
            self._fault("chain", Span(start, end), (_span(op), "the second comparison"), op=left.op, second=op[1])
        return ast.Compare(op[1], left, right, Span(start, end))

    def on_field(self, children: list[Any], start: int, end: int) -> ast.Field:
        if type(children[0]) is ast.Number:
            self._fault("number field", Span(start, end))
        return ast.Field(children[0], _ident(children[1]), Span(start, end))

    def on_call(self, children: list[Any], start: int, end: int) -> ast.Call:
        positional: list[ast.Expr] = []
        keywords: list[ast.Keyword] = []
        for argument in children[1] or ():
            if type(argument) is ast.Keyword:
                keywords.append(argument)
            else:
                if keywords and not self.faults:
                    self._fault("positional", argument.span, (keywords[0].span, "the first keyword argument"))
                positional.append(argument)
        several = next((a for a in positional if type(a) is ast.Comprehension), None)
        if several is not None and (len(positional) > 1 or keywords) and not self.faults:
            self._fault("comprehension beside", several.span)
        return ast.Call(_ident(children[0]), tuple(positional), tuple(keywords), Span(start, end))

    def on_arguments(self, children: list[Any], start: int, end: int) -> list[Any]:
        return children

    def on_keyword(self, children: list[Any], start: int, end: int) -> ast.Keyword:
        return ast.Keyword(_ident(children[0]), children[1], Span(start, end))

    def on_comprehension(self, children: list[Any], start: int, end: int) -> ast.Comprehension:
        value, variable, items = children
        return ast.Comprehension(value, _ident(variable), items, Span(start, end))

    def on_name(self, children: list[Any], start: int, end: int) -> ast.Name:
        return ast.Name(children[0][1], Span(start, end))

    def on_number(self, children: list[Any], start: int, end: int) -> ast.Number:
        text: str = children[0][1]
        if len(text) > MAX_DIGITS:
            self._fault("long number", Span(start, end), count=str(len(text)), limit=str(MAX_DIGITS))
            return ast.Number(0.0, text, Span(start, end))
        value = float(text)
        if value == float("inf"):
            self._fault("huge number", Span(start, end), number=text)
        elif value == 0.0 and text.lower().partition("e")[0].strip("0._"):
            self._fault("tiny number", Span(start, end), number=text)
        return ast.Number(value, text, Span(start, end))

    def on_constant(self, children: list[Any], start: int, end: int) -> ast.Constant:
        return ast.Constant(children[0][1], Span(start, end))

    def on_string(self, children: list[Any], start: int, end: int) -> ast.String:
        self._guarded = True
        return ast.String(children[0][1][1:-1], Span(start, end))

    def on_paren(self, children: list[Any], start: int, end: int) -> ast.Paren:
        return ast.Paren(children[0], Span(start, end))

    def on_tuple(self, children: list[Any], start: int, end: int) -> ast.Tuple:
        self._guarded = True
        return ast.Tuple(tuple(children), Span(start, end))


_NO_STRINGS = (ast.Binary, ast.Unary, ast.Field, ast.Term, ast.Bare, ast.Memory, ast.Range, ast.Bound)


def below(node: ast.Node) -> list[ast.Node]:
    """The nodes directly below a node, with those that an ``extern`` pairs with names."""
    children = list(node.children())
    if type(node) is ast.Extern:
        children.extend(child for _, child in node.arguments)
        children.extend(child for _, child in node.results)
    return children


def _span(token: Token) -> Span:
    return Span(token[2], token[3])


def _ident(token: Token) -> ast.Ident:
    return ast.Ident(token[1], Span(token[2], token[3]))


def _words(tokens: Sequence[Token]) -> tuple[ast.Ident, ...]:
    return tuple(_ident(token) for token in tokens if token[1] != ",")
