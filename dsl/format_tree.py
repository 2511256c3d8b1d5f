"""A statement's tree and tokens to the pieces that the formatter lays out.

The tree says how the tokens belong together, the tokens carry the text and the comments between them. The tree is
walked in the order of the text and consumes every token, so nothing can be lost or change places. A comment that
stands where no line may end moves to the nearest place where one may: one on its own line goes back to it, so that it
stays in front of what it speaks of, one behind a token goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from . import ast
from .format_layout import INDENT, Note, Pieces
from .format_writer import Writer

if TYPE_CHECKING:
    from .lalr import Token

_LEVELS = ({"or"}, {"and"}, {"+", "-"}, {"*", "/"})
_LEVEL = {op: level for level, ops in enumerate(_LEVELS) for op in ops}


def pieces_of(statement: ast.Statement, tokens: Sequence[Token], notes: Mapping[int, list[Note]]) -> Pieces:
    """The pieces of a statement.

    Args:
        statement: not a docstring.
        tokens: its tokens; what follows its last one is not looked at.
        notes: comments, by the index of the token that they follow.
    """
    return _Builder(tokens, notes).build(statement)


class _Builder(Writer):
    def build(self, statement: ast.Statement) -> Pieces:
        """All of the statement."""
        match statement:
            case ast.Param():
                self._param(statement)
            case ast.Input():
                self._input(statement)
            case ast.Let():
                self._head(1)
                self._value(statement.value)
            case ast.Def():
                self._define(statement)
            case ast.Use():
                self._use(statement)
            case ast.Extern():
                self._extern(statement)
            case ast.Memory():
                self._head(1)
                self._value(statement.init)
                self._tail(statement.update)
                self._when(statement.when)
            case ast.Term():
                self._head(2 * len(statement.name) - 1)
                self._value(statement.value)
                self._when(statement.when)
            case ast.Bare():
                self._value(statement.value, hang=True)
                self._when(statement.when)
            case _:
                raise TypeError(f"the formatter does not know {type(statement).__name__}")
        return self.finish()

    # ---- statements

    def _head(self, names: int) -> None:
        """The keyword and the tokens of the name."""
        self.take(after=" ")
        for _ in range(names):
            self.take()

    def _equals(self) -> None:
        self.text(" ")
        self.pieces.equals = len(self._items)
        self.take()
        self.indent += INDENT
        self.pieces.assign = self.break_line(" ")
        self.indent -= INDENT

    def _value(self, value: ast.Expr, hang: bool = False) -> None:
        """The value; ``hang`` for one that no ``=`` stands before."""
        if not hang:
            self._equals()
        if (isinstance(value, ast.Call) and (value.args or value.keywords)) or isinstance(value, ast.Paren):
            opener = 1 if isinstance(value, ast.Call) else 0
            self.pieces.hug = sum(len(text) for _, text, _, _ in self.tokens[self.next : self.next + opener + 1])
        self.pieces.value = self.begin()
        self._expr(value, hang)
        self.end()

    def _tail(self, value: ast.Expr) -> None:
        """A word or sign and an expression: ``when has(mono)``."""
        self.indent += INDENT
        self.break_line(" ")
        self.take(after=" ")
        self.begin()
        self._expr(value, True)
        self.end()
        self.indent -= INDENT

    def _when(self, condition: ast.Expr | None) -> None:
        if condition is not None:
            self._tail(condition)

    def _param(self, node: ast.Param) -> None:
        self._head(1)
        if node.unit is not None:
            self.take(after=" ")
            self.take()
        self._value(node.default)
        match node.limits:
            case ast.Bound(value=value):
                self._tail(value)
            case ast.Range() as limits:
                self._limits(limits)
            case ast.Choices(items=items):
                self.indent += INDENT
                self.break_line(" ")
                self.take(after=" ")
                self.bracket(items, self._argument)
                self.indent -= INDENT

    def _limits(self, node: ast.Range) -> None:
        self.indent += INDENT
        self.break_line(" ")
        self.take(after=" ")
        self._interval(node)
        self.indent -= INDENT

    def _input(self, node: ast.Input) -> None:
        self._head(2 * len(node.name) - 1)
        self.take(after=" ")
        self._kind(node.kind, tail=True)
        if node.optional:
            self.take()

    def _define(self, node: ast.Def) -> None:
        self._head(1)
        self.bracket(node.parameters, self._parameter)
        self._value(node.body)

    def _parameter(self, node: ast.Parameter) -> None:
        self.take()
        if node.default is not None:
            self.take()
            self._expr(node.default, True)

    def _use(self, node: ast.Use) -> None:
        self.take(after=" ")
        self.take()
        if node.names is not None:
            self.text(" ")
            self.bracket(node.names, lambda _: self.take())

    def _extern(self, node: ast.Extern) -> None:
        self._head(1)
        self.bracket(node.arguments, self._slot)
        self.take(before=" ", after=" ")
        if node.results[0][0] is None:
            self._slot(node.results[0])
        else:
            self.bracket(node.results, self._slot)
        if node.word is not None:
            self.take(before=" ")

    def _slot(self, slot: tuple[ast.Ident | None, ast.KindExpr | ast.Expr]) -> None:
        name, what = slot
        if isinstance(what, ast.KindExpr):
            if name is not None:
                self.take()
                self.take(after=" ")
            self._kind(what)
        else:
            self.take()
            self.take()
            self._expr(what, True)

    # ---- kinds

    def _kind(self, node: ast.KindExpr, tail: bool = False) -> None:
        """A kind; ``tail`` if its range may stand on a line of its own."""
        if node.name is None:
            self._words(node.attributes, " ")
        else:
            self.take()
            if node.element is not None:
                self.take(" ", " ")
                self._kind(node.element)
            elif node.attributes:
                dimensions = all(word.text[0].isupper() or word.text[0].isdigit() for word in node.attributes)
                self.text(" " if dimensions else "")
                self._words(node.attributes, " " if dimensions else ", ")
        if node.range is not None and tail:
            self._limits(node.range)
        elif node.range is not None:
            self.take(" ", " ")
            self._interval(node.range)

    def _words(self, words: Sequence[ast.Ident], between: str) -> None:
        self.take()
        for n in range(len(words)):
            if self.at(","):
                self.skip()
            self.take(before=between if n else "")
        self.take()

    def _interval(self, node: ast.Range) -> None:
        self.bracket((node.lo, node.hi), self._argument, comma="never")

    # ---- expressions

    def _argument(self, node: ast.Expr | ast.Keyword) -> None:
        """What stands between two commas: it begins its line if the brackets are broken."""
        if isinstance(node, ast.Keyword):
            self.take()
            self.take()
            self._expr(node.value, True)
        else:
            self._expr(node, False)

    def _expr(self, node: ast.Expr, hang: bool) -> None:
        """An expression; ``hang`` to indent what is continued, since it does not begin its line alone."""
        match node:
            case ast.Binary(op="^"):
                self._expr(node.left, True)
                self.take()
                self._expr(node.right, True)
            case ast.Binary() | ast.Compare():
                self._chain(node, hang)
            case ast.Conditional():
                self._conditional(node, hang)
            case ast.Unary():
                self.take(after=" " if node.op == "not" else "")
                self._expr(node.operand, True)
            case ast.Paren():
                self.bracket((node.value,), self._argument, comma="never")
            case ast.Tuple():
                self.bracket(node.items, self._argument, comma="maybe" if len(node.items) > 1 else "always")
            case ast.Call():
                self.take()
                several = node.args[:1] and isinstance(node.args[0], ast.Comprehension)
                self.bracket((*node.args, *node.keywords), self._argument, comma="never" if several else "maybe")
            case ast.Comprehension():
                self._comprehension(node)
            case ast.Field():
                self._field(node)
            case ast.Name() | ast.Number() | ast.Constant() | ast.String():
                self.take()
            case _:
                raise TypeError(f"the formatter does not know {type(node).__name__}")

    def _chain(self, node: ast.Binary | ast.Compare, hang: bool) -> None:
        """Operands of operators of one level: a long sum nests to the left, so this is a loop."""
        links = [node]
        level = _LEVEL.get(node.op, -1)
        while isinstance(left := links[-1].left, ast.Binary) and _LEVEL.get(left.op) == level:
            links.append(left)
        self.begin()
        self._expr(links[-1].left, True)
        self.indent += INDENT * hang
        for link in reversed(links):
            self.break_line(" ")
            self.take(after=" ")
            self._expr(link.right, True)
        self.indent -= INDENT * hang
        self.end()

    def _conditional(self, node: ast.Conditional, hang: bool) -> None:
        self.begin()
        self._expr(node.then, True)
        self.indent += INDENT * hang
        while True:
            self.break_line(" ")
            self.take(after=" ")
            self._expr(node.condition, True)
            self.break_line(" ")
            self.take(after=" ")
            if not isinstance(node.otherwise, ast.Conditional):
                break
            node = node.otherwise
            self._expr(node.then, True)
        self._expr(node.otherwise, True)
        self.indent -= INDENT * hang
        self.end()

    def _comprehension(self, node: ast.Comprehension) -> None:
        self.begin()
        self._expr(node.value, True)
        self.break_line(" ")
        self.take(after=" ")
        self.take()
        self.take(" ", " ")
        self._expr(node.items, True)
        self.end()

    def _field(self, node: ast.Field) -> None:
        names = 1
        value = node.value
        while isinstance(value, ast.Field):
            names, value = names + 1, value.value
        self._expr(value, True)
        for _ in range(names):
            self.take()
            self.take()
