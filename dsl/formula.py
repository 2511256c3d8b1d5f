"""Formulas as text: pieces of a program printed as a reader would write them.

A formula is printed from the text that the user wrote, so that names stay names and calls stay calls; a value that has
no text of its own (a definition was opened to find a factor in it) is turned back into syntax by `syntax`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from . import ast
from .check.functions import Function, library
from .interval import show
from .source import Span
from .typed import Expr

CONDITIONAL, OR, AND, NOT, COMPARISON, SUM, PRODUCT, FACTOR, POWER, ATOM = range(10)
"""How tightly each form binds, loosest first; the levels of the grammar."""

LEVELS = {"or": OR, "and": AND, "+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "^": POWER}

MAX_NODES = 20_000
"""Pieces of one formula that are printed: definitions can multiply without end, and nobody reads further."""

MAX_DEPTH = 200
"""Levels of one formula that are printed: a value may be made of a thousand others, each of the one before."""

_SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "^", "and": "and", "or": "or"}
_COMPARED = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_NOWHERE = Span(0, 0)


class View:
    """A piece of syntax, what the parameters of the definitions around it stand for, and its typed value if known."""

    __slots__ = ("env", "expr", "node")

    def __init__(self, node: ast.Node, env: Mapping[str, View] | None = None, expr: Expr | None = None) -> None:
        self.node, self.env, self.expr = node, env or {}, expr

    def at(self, node: ast.Node, expr: Expr | None = None) -> View:
        """A part of this piece."""
        return View(node, self.env, expr)


Lookup = Callable[[str], "Function | None"]


class Printer:
    """Prints one formula.

    Args:
        functions: the definition behind a call, for `full`.
        full: show the operands that a comparing loss takes by default: ``l1(masked)`` is
            ``l1(rendered, target, masked)``.
    """

    def __init__(self, functions: Lookup = library, full: bool = False) -> None:
        self.functions, self.full = functions, full
        self.left, self.depth = MAX_NODES, 0

    def text(self, view: View, level: int = CONDITIONAL) -> str:
        """The formula, in brackets where it binds less than ``level``."""
        if self.left <= 0 or self.depth >= MAX_DEPTH:
            return "..."
        self.left -= 1
        self.depth += 1
        try:
            return self._text(view, level)
        finally:
            self.depth -= 1

    def _text(self, view: View, level: int) -> str:
        node = view.node
        if isinstance(node, ast.Paren):
            return self.text(view.at(node.value), level)
        if isinstance(node, ast.Name) and node.id in view.env:
            return self.text(view.env[node.id], level)
        if isinstance(node, ast.Binary):
            return self._binary(view, node, level)
        if isinstance(node, ast.Compare):
            sides = (self.text(view.at(side), SUM) for side in (node.left, node.right))
            return _wrap(f" {node.op} ".join(sides), COMPARISON, level)
        if isinstance(node, ast.Unary):
            if node.op == "not":
                return _wrap(f"not {self.text(view.at(node.operand), NOT)}", NOT, level)
            return _wrap(f"-{self.text(view.at(node.operand), FACTOR)}", FACTOR, level)
        if isinstance(node, ast.Conditional):
            then, condition = (self.text(view.at(part), OR) for part in (node.then, node.condition))
            whole = f"{then} if {condition} else {self.text(view.at(node.otherwise))}"
            return _wrap(whole, CONDITIONAL, level)
        if isinstance(node, ast.Call):
            return f"{node.function.text}({', '.join(self.arguments(view, node))})"
        if isinstance(node, ast.Field):
            return f"{self.text(view.at(node.value), ATOM)}.{node.name.text}"
        return self._atom(view, node, level)

    def _atom(self, view: View, node: ast.Node, level: int) -> str:
        if isinstance(node, ast.Number):
            return _wrap(node.text, FACTOR if node.text.startswith("-") else ATOM, level)
        if isinstance(node, ast.Constant):
            return node.name
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.String):
            return f'"{node.value}"'
        if isinstance(node, ast.Tuple):
            return f"({', '.join(self.text(view.at(item)) for item in node.items)})"
        if isinstance(node, ast.Comprehension):
            inner = View(node.value, {k: v for k, v in view.env.items() if k != node.variable.text})
            return f"{self.text(inner)} for {node.variable.text} in {self.text(view.at(node.items), OR)}"
        return "..."

    def arguments(self, view: View, node: ast.Call) -> list[str]:
        """The arguments of a call, as printed."""
        shown = [self.text(view.at(a)) for a in node.args]
        named = {k.name.text for k in node.keywords}
        function = self.functions(node.function.text) if self.full else None
        if function is not None and function.comparing and len(node.args) <= 1 and not named & {"a", "b"}:
            shown = [*self.defaults(function)[:2], *shown]
        return shown + [f"{k.name.text}={self.text(view.at(k.value))}" for k in node.keywords]

    def defaults(self, function: Function) -> list[str]:
        """The default of each parameter of a function, as printed; "" where there is none."""
        if function.definition is None:
            return [p.default or "" for p in function.params]
        return ["" if p.default is None else self.text(View(p.default)) for p in function.definition.parameters]

    def _binary(self, view: View, node: ast.Binary, level: int) -> str:
        at = LEVELS[node.op]
        if at == POWER:
            base, exponent = self.text(view.at(node.left), ATOM), self.text(view.at(node.right), FACTOR)
            return _wrap(f"{base}^{exponent}", POWER, level)
        # In a loop: a sum may have thousands of operands.
        parts: list[str] = []
        left: ast.Node = node
        while isinstance(left, ast.Binary) and LEVELS[left.op] == at and self.left > 0:
            self.left -= 1
            parts += [self.text(view.at(left.right), at + 1), f" {left.op} "]
            left = left.left
            while isinstance(left, ast.Paren):
                left = left.value
        parts.append(self.text(view.at(left), at))
        return _wrap("".join(reversed(parts)), at, level)


def _wrap(text: str, binds: int, level: int) -> str:
    return f"({text})" if binds < level else text


def text(view: View, level: int = CONDITIONAL, full: bool = False, functions: Lookup = library) -> str:
    """A formula as one line of text."""
    return Printer(functions, full).text(view, level)


def expression_text(e: Expr) -> str:
    """A typed value as one line of text."""
    return text(View(syntax(e)))


# From values back to syntax


def syntax(e: Expr) -> ast.Expr:
    """Syntax for a typed value: what it is made of, definitions opened, defaults left out."""
    made: dict[int, ast.Expr] = {}
    for node in e.operands_first():
        made[id(node)] = _syntax(node, [made[id(a)] for a in node.args])
    return made[id(e)]


def _syntax(e: Expr, args: list[ast.Expr]) -> ast.Expr:
    if e.op == "const":
        return _constant(e.value)
    if e.op in ("param", "input", "region") and isinstance(e.value, str):
        return named(e.value)
    if e.op in _SYMBOLS and len(args) == 2:
        return ast.Binary(_SYMBOLS[e.op], args[0], args[1], e.span)
    if e.op in _COMPARED and len(args) == 2:
        return ast.Compare(_COMPARED[e.op], args[0], args[1], e.span)
    if e.op in ("neg", "not"):
        return ast.Unary("-" if e.op == "neg" else "not", args[0], e.span)
    if e.op == "if":
        return ast.Conditional(args[0], args[1], args[2], e.span)
    if e.op == "tuple":
        return ast.Tuple(tuple(args), e.span)
    if e.op == "component" and isinstance(e.value, int):
        letters = "rgb" if e.args[0].type.kind.space == "pixels" else "xyz"
        return ast.Field(args[0], ast.Ident(letters[e.value : e.value + 1] or str(e.value), _NOWHERE), e.span)
    if e.op == "call":
        return _call(e, args)
    return _other(e, args)


def _other(e: Expr, args: list[ast.Expr]) -> ast.Expr:
    """What is neither an operator nor a builtin: declared values, fields, sums over lists, functions of the host."""
    word = e.value if isinstance(e.value, str) else getattr(e.value, "name", e.op)
    if e.op == "has" and isinstance(e.value, tuple):
        return ast.Call(ast.Ident("has", _NOWHERE), tuple(named(str(n)) for n in e.value), (), e.span)
    if e.op == "field" and args:
        return ast.Field(args[0], ast.Ident(word, _NOWHERE), e.span)
    if e.op == "over" and len(args) == 2:
        several = e.args[0]
        items = (n.value for n in e.args[1].walk() if n.op == "item" and n.args and n.args[0] is several)
        inner = ast.Comprehension(args[1], ast.Ident(str(next(items, "item")), _NOWHERE), args[0], e.span)
        return ast.Call(ast.Ident(word, _NOWHERE), (inner,), (), e.span)
    if e.op == "item" or not args:
        return named(word)
    return ast.Call(ast.Ident(word, _NOWHERE), tuple(args), (), e.span)


def _constant(value: object) -> ast.Expr:
    if isinstance(value, bool):
        return ast.Constant("true" if value else "false", _NOWHERE)
    if isinstance(value, str):
        return ast.String(value, _NOWHERE)
    if isinstance(value, tuple):
        return ast.Tuple(tuple(_constant(v) for v in value), _NOWHERE)
    number = float(value) if isinstance(value, (int, float)) else math.nan
    if number == math.inf:
        return ast.Constant("inf", _NOWHERE)
    return ast.Number(number, show(number), _NOWHERE)


def named(name: str) -> ast.Expr:
    """Syntax for a name, with its dots."""
    first, *fields = name.split(".")
    node: ast.Expr = ast.Name(first, _NOWHERE)
    for field in fields:
        node = ast.Field(node, ast.Ident(field, _NOWHERE), _NOWHERE)
    return node


def _call(e: Expr, args: list[ast.Expr]) -> ast.Expr:
    record = e.builtin
    specs = {p.name: p for p in record.parsed.params}
    positional: list[ast.Expr] = []
    keywords: list[ast.Keyword] = []
    skipped = False
    for name, arg in zip(e.names, args):
        spec = specs.get(name)
        default = spec is not None and spec.default is not None and text(View(arg)) == spec.default
        if default and (name not in ("a", "b") or skipped):
            skipped = skipped or not (spec is not None and spec.keyword_only)
        elif skipped or spec is None or spec.keyword_only:
            keywords.append(ast.Keyword(ast.Ident(name, _NOWHERE), arg, _NOWHERE))
        else:
            positional.append(arg)
    return ast.Call(ast.Ident(record.name, _NOWHERE), tuple(positional), tuple(keywords), e.span)
