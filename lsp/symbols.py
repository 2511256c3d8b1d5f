"""What the names in a program mean: declarations, and the places that refer to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..dsl import ast
from ..dsl.check.kinds import DIMENSION
from ..dsl.inputs import BY_NAME, COMPONENTS, FIELDS, HOST_SIZES, REGIONS, VIEW_FIELDS
from ..dsl.source import Source, Span
from .describe import is_builtin

BUILTIN = frozenset({"builtin", "fixed", "region"})
"""Kinds of symbols that the language declares."""


class Symbol:
    """One thing that has a name.

    Attributes:
        kind: ``param``, ``input``, ``let``, ``memory``, ``local`` (a parameter of a ``def``, or the name after
            ``for``), ``def``, ``extern``, ``term``, ``used`` (a name that a ``use`` brings), ``file`` (the path of
            one), ``size`` (a letter of a kind), or of the language: ``builtin``, ``fixed``, ``region``.
        name: as written; a field of a record with its dot.
        span: where it is declared; None for what the language declares.
        statement: the declaration.
        owner: for a ``local``, what it belongs to.
        locals: for a ``def``, its parameters.
    """

    __slots__ = ("kind", "locals", "name", "owner", "span", "statement")

    def __init__(
        self,
        kind: str,
        name: str,
        span: Span | None = None,
        statement: ast.Node | None = None,
        owner: ast.Node | None = None,
    ) -> None:
        self.kind, self.name, self.span, self.statement, self.owner = kind, name, span, statement, owner
        self.locals: dict[str, Symbol] = {}


class Place:
    """A place in the text that names a symbol.

    Attributes:
        span: the name alone.
        whole: the value that it is part of: a call with its arguments, a field with its record.
        declares: whether this is the declaration.
        inside: what gives names a meaning of their own around it: a ``def``, names after ``for``.
    """

    __slots__ = ("declares", "inside", "span", "symbol", "whole")

    def __init__(self, span: Span, symbol: Symbol, declares: bool, inside: tuple[Symbol, ...], whole: Span) -> None:
        self.span, self.symbol, self.declares, self.inside, self.whole = span, symbol, declares, inside, whole


class Scope(Mapping[str, Symbol]):
    """The locals that are in force somewhere; inner ones hide outer ones."""

    __slots__ = ("_names",)

    def __init__(self, names: Mapping[str, Symbol] | None = None) -> None:
        self._names = dict(names or {})

    def __getitem__(self, name: str) -> Symbol:
        return self._names[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Names:
    """The names of one program. Of two declarations with one name, the first counts, as it does for the checker.

    Attributes:
        values: what can be read: parameters, inputs, lets, memories; without the fixed inputs.
        functions: what can be called, without the builtins.
        terms: the terms, which have a namespace of their own.
        uses: the names that ``use`` statements list.
        sizes: the letters that the kinds of inputs bind; they can be read as numbers.
        places: every place that names something, in the order of the text.
    """

    def __init__(self, program: ast.Program, source: Source) -> None:
        self.source = source
        self.values: dict[str, Symbol] = {}
        self.functions: dict[str, Symbol] = {}
        self.terms: dict[str, Symbol] = {}
        self.uses: dict[str, Symbol] = {}
        self.places: list[Place] = []
        self.sizes: dict[str, Symbol] = {}
        self._language: dict[tuple[str, str], Symbol] = {}
        self._views = any(isinstance(s, ast.Input) and _holds_views(s.kind) for s in program.statements)
        for statement in program.statements:
            self._declare(statement)
        for statement in program.statements:
            self._walk(statement, Scope(), ())
        self.places.sort(key=lambda place: (place.span.start, place.span.end))

    # Questions

    def at(self, offset: int) -> Place | None:
        """The place that a cursor is in or touches; where two meet, the later one."""
        touching = [place for place in self.places if place.span.start <= offset <= place.span.end]
        return touching[-1] if touching else None

    def of(self, symbol: Symbol) -> list[Place]:
        """Every place of a symbol, its declaration among them."""
        return [place for place in self.places if place.symbol is symbol]

    def value(self, name: str, locals: Mapping[str, Symbol] | None = None) -> Symbol | None:
        """What a value's name means, or None."""
        if locals and name in locals:
            return locals[name]
        if name in self.values:
            return self.values[name]
        if name in BY_NAME:
            return self._of_language("fixed", name)
        if name in HOST_SIZES:
            return self._of_language("size", name)
        return self._of_language("region", name) if name in REGIONS else self.sizes.get(name)

    def function(self, name: str) -> Symbol | None:
        """What a function's name means, or None."""
        if name in self.functions:
            return self.functions[name]
        if is_builtin(name):
            return self._of_language("builtin", name)
        return self.uses.get(name)

    def is_view(self, name: str) -> bool:
        """Whether an input is the record of a second render."""
        symbol = self.values.get(name)
        statement = symbol.statement if symbol is not None else None
        return isinstance(statement, ast.Input) and statement.kind.element is None and _holds_views(statement.kind)

    def locals_at(self, offset: int) -> dict[str, Symbol]:
        """The parameters of the ``def`` that a place stands in."""
        for symbol in self.functions.values():
            statement = symbol.statement
            if isinstance(statement, ast.Def) and statement.span.start <= offset <= statement.span.end + 1:
                return symbol.locals
        return {}

    # Declarations

    def _of_language(self, kind: str, name: str) -> Symbol:
        return self._language.setdefault((kind, name), Symbol(kind, name))

    def _declare(self, s: ast.Statement) -> None:
        if isinstance(s, (ast.Param, ast.Let, ast.Memory)):
            kind = type(s).__name__.lower()
            self.values.setdefault(s.name.text, Symbol(kind, s.name.text, s.name.span, s))
        elif isinstance(s, ast.Input):
            name = ".".join(part.text for part in s.name)
            self.values.setdefault(name, Symbol("input", name, s.name[-1].span, s))
            for word in _letters(s.kind):
                if word.text not in HOST_SIZES:
                    self.sizes.setdefault(word.text, Symbol("size", word.text, word.span, s))
        elif isinstance(s, (ast.Def, ast.Extern)):
            kind = "def" if isinstance(s, ast.Def) else "extern"
            symbol = self.functions.setdefault(s.name.text, Symbol(kind, s.name.text, s.name.span, s))
            if isinstance(s, ast.Def) and symbol.statement is s:
                for p in s.parameters:
                    symbol.locals.setdefault(p.name.text, Symbol("local", p.name.text, p.name.span, p, s))
        elif isinstance(s, ast.Term):
            name = ".".join(part.text for part in s.name)
            self.terms.setdefault(name, Symbol("term", name, s.name[-1].span, s))
        elif isinstance(s, ast.Use):
            for word in s.names or ():
                self.uses.setdefault(word.text, Symbol("used", word.text, word.span, s))

    # Places

    def _add(
        self,
        span: Span,
        symbol: Symbol | None,
        declares: bool = False,
        inside: tuple[Symbol, ...] = (),
        whole: Span | None = None,
    ) -> None:
        if symbol is not None:
            self.places.append(Place(span, symbol, declares, inside, whole or span))

    def _walk(self, root: ast.Node, locals: Scope, inside: tuple[Symbol, ...]) -> None:
        """Every name below a node, by a list of what is still to do: sums are as deep as they are long."""
        pending: list[tuple[ast.Node, Scope, tuple[Symbol, ...]]] = [(root, locals, inside)]
        while pending:
            node, locals, inside = pending.pop()
            children, scope, inner = self._visit(node, locals, inside)
            pending.extend((child, scope, inner) for child in children)

    def _visit(
        self, node: ast.Node, locals: Scope, inside: tuple[Symbol, ...]
    ) -> tuple[list[ast.Node], Scope, tuple[Symbol, ...]]:
        """Note the names of one node; its other children, and the scope that holds for them."""
        children = [child for child in node.children() if not isinstance(child, ast.Ident)]
        if isinstance(node, ast.Name):
            self._add(node.span, self.value(node.id, locals), inside=inside)
        elif isinstance(node, ast.Field):
            self._field(node, locals, inside)
        elif isinstance(node, ast.Call):
            self._call(node, inside)
        elif isinstance(node, ast.Comprehension):
            variable = Symbol("local", node.variable.text, node.variable.span, node, node)
            self._add(node.variable.span, variable, True, inside)
            self._walk(node.value, Scope({**locals, variable.name: variable}), (*inside, variable))
            return [node.items], locals, inside
        elif isinstance(node, ast.Def):
            symbol = self.functions[node.name.text]
            own = symbol if symbol.statement is node else Symbol("def", node.name.text, node.name.span, node)
            self._add(node.name.span, symbol, True)
            for p in node.parameters:
                self._add(p.name.span, own.locals.get(p.name.text), True, (own,))
            return children, Scope(own.locals), (own,)
        elif isinstance(node, ast.Extern):
            self._add(node.name.span, self.functions[node.name.text], True)
            children = [value for _, value in (*node.arguments, *node.results)]
        elif isinstance(node, (ast.Param, ast.Let, ast.Memory)):
            self._add(node.name.span, self.values[node.name.text], True)
        elif isinstance(node, (ast.Input, ast.Term)):
            known = self.values if isinstance(node, ast.Input) else self.terms
            self._add(node.name[-1].span, known[".".join(part.text for part in node.name)], True)
            if isinstance(node, ast.Input) and len(node.name) > 1:
                self._add(node.name[0].span, self.value(node.name[0].text))
        elif isinstance(node, ast.KindExpr):
            for word in _letters(node):
                size = self.value(word.text) if word.text in HOST_SIZES else self.sizes.get(word.text)
                if size is not None and size.kind == "size":
                    self._add(word.span, size, size.span == word.span)
            children = [node.range] if node.range is not None else []
        elif isinstance(node, ast.Use):
            self._add(node.path.span, Symbol("file", node.path.value, node.path.span, node))
            for name in node.names or ():
                self._add(name.span, self.uses[name.text], True)
        return children, locals, inside

    def _field(self, node: ast.Field, locals: Scope, inside: tuple[Symbol, ...]) -> None:
        name = node.name.text
        record = node.value.id if isinstance(node.value, ast.Name) else ""
        if record in FIELDS and record not in locals and name in FIELDS[record]:
            symbol: Symbol | None = self._of_language("fixed", f"{record}.{name}")
        elif record not in locals and f"{record}.{name}" in self.values:
            symbol = self.values[f"{record}.{name}"]
        else:
            symbol = self.values.get(name) if self._of_view(node.value, name, locals) else None
        if symbol is not None and symbol.kind in ("fixed", "input"):
            self._add(node.name.span, symbol, inside=inside, whole=node.span)

    def _of_view(self, record: ast.Expr, name: str, locals: Scope) -> bool:
        """Whether a field is an input of a second render's item: ``near.mono`` of ``input mono``."""
        if isinstance(record, ast.Name) and record.id not in locals and self.is_view(record.id):
            return True
        known = name in COMPONENTS or name in VIEW_FIELDS or any(name in fields for fields in FIELDS.values())
        return self._views and not known

    def _call(self, node: ast.Call, inside: tuple[Symbol, ...]) -> None:
        symbol = self.function(node.function.text)
        self._add(node.function.span, symbol, inside=inside, whole=node.span)
        parameters = symbol.locals if symbol is not None else {}
        for keyword in node.keywords:
            self._add(keyword.name.span, parameters.get(keyword.name.text), inside=inside)


def _holds_views(kind: ast.KindExpr) -> bool:
    """Whether an input is a second render, or a list of them."""
    if kind.element is not None:
        return _holds_views(kind.element)
    return kind.name is not None and kind.name.text == "view"


def _letters(kind: ast.KindExpr) -> list[ast.Ident]:
    """The dimensions of a kind that have a name, of a list's elements too."""
    found: list[ast.Ident] = []
    at: ast.KindExpr | None = kind
    while at is not None:
        found += [word for word in at.attributes if DIMENSION.match(word.text)]
        at = at.element
    return found
