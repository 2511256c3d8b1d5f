"""A checked program beside its text: which statement made a term, and which piece of text made a value.

The typed program has every definition opened. What a reader wants to see is the text, so this walks both together.
"""

from __future__ import annotations

from . import ast
from .check.functions import Function, library, prelude
from .diagnostics import Sink
from .formula import Printer, View, named, syntax
from .live import Zeros
from .parse import parse
from .source import Source
from .typed import Expr, TypedProgram, TypedTerm

Factors = list[tuple[bool, View]]
"""The host factors of a term, outermost first: whether it divides, and what it is."""

_OPS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "^": "pow"}
_OPENED = 500  # names and calls that are followed to find one operator
_WHERE = 200  # names that one list of meanings explains


class Written:
    """The statements of a program's files by what they declare.

    Attributes:
        lets, defs: by name, in the order of the text; other declarations (`memory`, `extern`) are in ``others``.
    """

    def __init__(self, program: TypedProgram) -> None:
        self.program = program
        self.lets: dict[str, ast.Let] = {}
        self.defs: dict[str, Function] = {}
        self.others: dict[str, tuple[ast.Memory | ast.Extern, Source]] = {}
        self._terms: list[tuple[ast.Term | ast.Bare, Source]] = []
        declared: dict[str, Source] = {}
        for source in self._sources():
            for s in parse(source, Sink()).statements:
                if isinstance(s, (ast.Term, ast.Bare)):
                    self._terms.append((s, source))
                elif isinstance(s, (ast.Let, ast.Def, ast.Memory, ast.Extern)):
                    name = s.name.text
                    if declared.setdefault(name, source) is source:
                        self._declare(name, s, source)
                    else:  # two files that mean different things by it: the text alone does not say which
                        for table in (self.lets, self.defs, self.others):
                            table.pop(name, None)

    def _declare(self, name: str, s: ast.Let | ast.Def | ast.Memory | ast.Extern, source: Source) -> None:
        if isinstance(s, ast.Let):
            self.lets[name] = s
        elif isinstance(s, ast.Def):
            self.defs[name] = Function(name, None, s, source)
        else:
            self.others[name] = (s, source)

    def _sources(self) -> list[Source]:
        """The program's file and those that it uses; the prelude is not one of them."""
        found = [self.program.source]
        known = {id(self.program.source), id(prelude()[0])}
        for source in getattr(self.program, "sources", ()):
            if id(source) not in known:
                known.add(id(source))
                found.append(source)
        for term in self.program.terms:
            places = [term.source, *(e.source for root in (term.value, term.when) if root for e in root.walk())]
            for source in places:
                if id(source) not in known:
                    known.add(id(source))
                    found.append(source)
        return found

    @property
    def memories(self) -> dict[str, ast.Memory]:
        """The declarations of `memory` by name."""
        return {name: s for name, (s, _) in self.others.items() if isinstance(s, ast.Memory)}

    def function(self, name: str) -> Function | None:
        """What a call names."""
        return self.defs.get(name) or library(name)

    def statement(self, term: TypedTerm) -> ast.Term | ast.Bare | None:
        """The statement that a term is from."""
        for s, source in self._terms:
            if source is term.source and s.span.start <= term.span.start and term.span.end <= s.span.end:
                return s
        return None

    def value(self, term: TypedTerm) -> View:
        """What a term is, as written."""
        s = self.statement(term)
        return View(syntax(term.value) if s is None else s.value, {}, term.value)

    def when(self, term: TypedTerm) -> View | None:
        """The condition under which a term exists, as written."""
        if term.when is None:
            return None
        s = self.statement(term)
        return View(syntax(term.when) if s is None or s.when is None else s.when, {}, term.when)

    def printer(self, full: bool = False) -> Printer:
        """Prints formulas of this program."""
        return Printer(self.function, full)

    # Text and values together

    def resolve(self, view: View) -> View:
        """The same value without brackets around it and without a name that only stands for it."""
        for _ in range(_OPENED):
            node = view.node
            if isinstance(node, ast.Paren):
                view = view.at(node.value, view.expr)
            elif isinstance(node, ast.Name) and node.id in view.env:
                found = view.env[node.id]
                view = View(found.node, found.env, view.expr or found.expr)
            elif isinstance(node, ast.Name) and node.id in self.lets:
                view = View(self.lets[node.id].value, {}, view.expr)
            else:
                break
        return view

    def body(self, view: View) -> View | None:
        """What a call of a definition stands for, its parameters bound; None for anything else."""
        node = view.node
        function = self.function(node.function.text) if isinstance(node, ast.Call) else None
        if function is None or function.definition is None or not isinstance(node, ast.Call):
            return None
        names = [p.name.text for p in function.definition.parameters]
        given: dict[str, View] = {}
        if function.comparing and len(node.args) == 1:
            given["r"] = view.at(node.args[0])
        else:
            given.update(zip(names, (view.at(a) for a in node.args)))
        given.update((k.name.text, view.at(k.value)) for k in node.keywords)
        env: dict[str, View] = {}
        for p in function.definition.parameters:
            if p.name.text in given:
                env[p.name.text] = given[p.name.text]
            elif p.default is not None:
                env[p.name.text] = View(p.default, dict(env))
        return View(function.definition.body, env, view.expr)

    def open(self, view: View) -> View:
        """The text whose outermost operator makes the value: calls and names are followed as far as that takes.

        Where the text does not lead there, the value itself is turned into syntax.
        """
        expr = view.expr
        for _ in range(_OPENED):
            view = self.resolve(view)
            if expr is None or _same(view.node, expr):
                return view
            inside = self.body(view)
            if inside is None:
                break
            view = inside
        assert expr is not None
        return View(syntax(expr), {}, expr)

    def operands(self, view: View) -> list[View]:
        """The operands of an opened operator, each with its value."""
        node, expr = view.node, view.expr
        if isinstance(node, (ast.Binary, ast.Compare)):
            parts: tuple[ast.Node, ...] = (node.left, node.right)
        elif isinstance(node, ast.Unary):
            parts = (node.operand,)
        elif isinstance(node, ast.Conditional):
            parts = (node.then, node.condition, node.otherwise)
        else:
            return []
        values = expr.args if expr is not None and _same(node, expr) else [None] * len(parts)
        return [view.at(p, e) for p, e in zip(parts, values)]

    def split(self, view: View, zeros: Zeros) -> tuple[Factors, View]:
        """A term as host factors times the rest, as the compiler splits it."""
        factors: Factors = []
        while view.expr is not None:
            e = view.expr
            if e.op == "neg":
                minus = View(ast.Number(-1.0, "-1", e.span), {}, minus_one(e))
                factors.append((False, minus))
                view = self.operands(self.open(view))[0]
            elif e.op == "mul" and e.args[0].type.is_host != e.args[1].type.is_host:
                left, right = self.operands(self.open(view))
                host, view = (left, right) if e.args[0].type.is_host else (right, left)
                factors.append((False, host))
            elif e.op == "div" and e.args[1].type.is_host and not e.args[0].type.is_host:
                view, divisor = self.operands(self.open(view))
                factors.append((True, divisor))
            elif e.op in ("add", "sub") and sum(not zeros.is_zero(a) for a in e.args) == 1:
                which = 0 if not zeros.is_zero(e.args[0]) else 1
                if which == 1 and e.op == "sub":
                    break
                view = self.operands(self.open(view))[which]
            else:
                break
        node = view.node
        while isinstance(node, ast.Paren):
            node = node.value
        return factors, view.at(node, view.expr) if factors else self.resolve(view)

    def factors(self, view: View) -> list[View]:
        """The factors of a host product that the text writes as one."""
        parts: list[View] = []
        pending = [view]
        while pending:
            view = pending.pop()
            node = view.node
            while isinstance(node, ast.Paren):
                node = node.value
            e = view.expr
            if isinstance(node, ast.Binary) and node.op == "*" and e is not None and e.op == "mul":
                pending += reversed(self.operands(view.at(node, e)))
            else:
                parts.append(view.at(node, e))
        return parts

    # Names

    def names(self, *views: View) -> list[str]:
        """Lets, definitions and other declarations that formulas read, and those that these read, in textual order."""
        found: set[str] = set()
        pending, seen, kept = list(views), set[tuple[int, int]](), list[View]()
        while pending and len(found) < _WHERE:
            view = pending.pop()
            if (id(view.node), id(view.env)) in seen:
                continue
            seen.add((id(view.node), id(view.env)))
            kept.append(view)  # what is identified by its address must stay alive
            stack: list[ast.Node] = [view.node]
            while stack:
                node = stack.pop()
                stack.extend(reversed(list(node.children())))
                if isinstance(node, ast.Name) and node.id in view.env:
                    pending.append(view.env[node.id])
                    continue
                name = self._declared(node)
                if name is not None and name not in found:
                    found.add(name)
                    pending.append(self._part(name))
        return sorted(found, key=lambda name: (self._place(name), name))

    def _declared(self, node: ast.Node) -> str | None:
        """The name of the program's own declaration that a node reads."""
        if isinstance(node, ast.Name) and (node.id in self.lets or node.id in self.others):
            return node.id
        if isinstance(node, ast.Call) and (node.function.text in self.defs or node.function.text in self.others):
            return node.function.text
        return None

    def _part(self, name: str) -> View:
        """What a declaration is made of; the parameters of a definition hide other names."""
        if name in self.lets:
            return View(self.lets[name].value)
        definition = self.defs[name].definition if name in self.defs else None
        if definition is not None:
            hidden = View(ast.Number(0.0, "0", definition.span))
            return View(definition.body, {p.name.text: hidden for p in definition.parameters})
        s = self.others[name][0]
        return View(s.update if isinstance(s, ast.Memory) else s)

    def _place(self, name: str) -> int:
        if name in self.lets:
            return self.lets[name].span.start
        definition = self.defs[name].definition if name in self.defs else None
        return definition.span.start if definition is not None else self.others[name][0].span.start

    def meaning(self, name: str) -> str:
        """A declaration as one line: ``near = 0.5 * scale``, ``disparity(d) = 1 / max(d, 1e-3)``."""
        show = self.printer().text
        if name in self.lets:
            return f"{name} = {show(View(self.lets[name].value))}"
        if name in self.defs:
            definition = self.defs[name].definition
            assert definition is not None
            parameters = ", ".join(
                p.name.text + ("" if p.default is None else f"={show(View(p.default))}") for p in definition.parameters
            )
            return f"{name}({parameters}) = {show(View(definition.body))}"
        s, source = self.others[name]
        if isinstance(s, ast.Memory):
            when = "" if s.when is None else f" when {show(View(s.when))}"
            return f"{name} = {show(View(s.init))} then {show(View(s.update))}{when}"
        lines = (line.partition("#")[0] for line in source.slice(s.span).splitlines())
        return " ".join(" ".join(lines).split())


def _same(node: ast.Node, expr: Expr) -> bool:
    """Whether the outermost operator of the text is that of the value."""
    if isinstance(node, ast.Binary):
        return expr.op == _OPS.get(node.op, node.op)
    if isinstance(node, ast.Unary):
        return expr.op == ("neg" if node.op == "-" else "not")
    if isinstance(node, ast.Compare):
        return expr.op in ("lt", "le", "gt", "ge", "eq", "ne")
    if isinstance(node, ast.Conditional):
        return expr.op == "if"
    if isinstance(node, ast.Call):
        return expr.op == "call" and expr.builtin.name == node.function.text
    return expr.op not in (*_OPS.values(), "neg", "not", "if", "call")


def minus_one(e: Expr) -> Expr:
    """The factor of a minus sign."""
    from .interval import point
    from .types import CONSTANT, NUMBER, Type

    return Expr("const", (), Type(CONSTANT, NUMBER, point(-1.0)), e.span, e.source, -1.0)


def defaults(function: Function) -> list[tuple[str, ast.Expr]]:
    """The two operands that a comparing function has if the call names none."""
    if function.definition is not None:
        return [(p.name.text, p.default) for p in function.definition.parameters[:2] if p.default is not None]
    return [(p.name, named(p.default)) for p in function.params[:2] if p.default]
