"""Programs: declarations, parameters and their limits, terms."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .. import ast
from ..diagnostics import Diagnostic, Label, Sink
from ..inputs import VIEW_FIELDS
from ..source import Source, Span
from ..typed import Expr, ExternInfo, MemoryInfo, ParamInfo, TypedProgram, TypedTerm
from ..types import FLAG, MODE, NUMBER, PARAMETER, VIEW, Origin, Type
from .declare import declare, declare_input, extern_function, type_memory
from .expressions import Checker, Scope
from .functions import Function, prelude
from .modules import Library, Module
from .operators import error, is_error
from .params import declare as declare_param
from .params import set_param
from .report import Reporter, TooLarge
from .size import Size
from .terms import type_term
from .texts import Texts


class ProgramChecker(Checker):
    """Checks one program. Declarations are found in any order; each value is typed once, when first needed."""

    def __init__(
        self,
        program: ast.Program,
        source: Source,
        sink: Sink,
        params: Mapping[str, object],
        max_steps: int | None,
        lost: frozenset[str] = frozenset(),
        folder: str | None = None,
    ) -> None:
        super().__init__(Reporter(sink, prelude()[0]), max_steps)
        self.program, self.source, self.sink = program, source, sink
        self.overrides = params
        self.typed = TypedProgram(source, "", {}, ())
        path = os.path.realpath(source.name) if os.path.isfile(source.name) else ""
        self.main = Module(source, program, path, lost)
        self.lost = self.main.lost
        self.library = Library(self.report, source, folder)
        self.report.texts = Texts(self)
        self.params: dict[str, ParamInfo] = {}
        self.memories: dict[str, MemoryInfo] = {}
        self.externs: dict[str, ExternInfo] = {}
        self.memory_types: dict[str, Type] = {}
        self._declared_by: dict[str, Module] = {}
        self.lost_file = False
        self._terms: dict[str, Origin] = {}
        self.size = Size(sink)
        self._open: list[tuple[Module, str]] = []

    # What names mean

    def value(self, name: str, scope: Scope, span: Span) -> Expr | None:
        """A name that the program declares; the prelude sees none of them."""
        if scope.module is None:
            return None
        module = owner(name, scope.module)
        if module is None:
            return error(span, scope.source) if name in scope.module.lost else None
        if name in module.lost:
            return error(span, scope.source)
        if name in module.lets:
            return self._let(name, module, scope, span)
        statement = module.values_declared.get(name)
        if isinstance(statement, ast.Param):
            return self._param_value(name, statement, module, scope, span)
        if isinstance(statement, ast.Memory):
            return self._memory_value(name, statement, module, scope, span)
        if isinstance(statement, ast.Input):
            return self._input_value(name, statement, module, scope, span)
        return None

    def _let(self, name: str, module: Module, scope: Scope, span: Span) -> Expr:
        if name not in module.values:
            if (module, name) in self._open:
                return self._circular(name, module, scope, span)
            self._open.append((module, name))
            self._read_first(name, module)
            self._open.pop()
            self._type_let(name, module)
        return module.values[name]

    def _type_let(self, name: str, module: Module) -> None:
        """Type a let; those that it reads have been typed, but for those that read it in turn."""
        self._open.append((module, name))
        try:
            module.values[name] = self.elsewhere(module.lets[name].value, module)
        finally:
            self._open.pop()

    def elsewhere(self, node: ast.Expr, module: Module) -> Expr:
        """An expression read where it stands, not inside the definitions that happen to need it first."""
        frames, self.report.frames = self.report.frames, []
        active, self.active = self.active, []
        try:
            return self.infer(node, Scope(module.source, None, module))
        finally:
            self.report.frames, self.active = frames, active

    def _circular(self, name: str, module: Module, scope: Scope, span: Span) -> Expr:
        names = [n for _, n in self._open]
        names = [*names[names.index(name) :], name]
        chain = " -> ".join(names if len(names) <= 12 else [*names[:6], "...", *names[-5:]])
        help_ = ["what a value is made of must be known without it"]
        self.report.emit("TYP007", f"`{name}` is defined by itself: {chain}", scope.source, span, help=help_)
        return error(span, scope.source)

    def _param_value(self, name: str, statement: ast.Param, module: Module, scope: Scope, span: Span) -> Expr:
        if (module, name) in self._open:
            return self._circular(name, module, scope, span)
        if self._declared_by.get(name) is not module:
            self._declare_param(statement, module)
        info = self.params.get(name)
        if info is None or name in module.lost:
            return error(span, scope.source)
        kind = {"flag": FLAG, "mode": MODE}.get(info.unit, NUMBER)
        return Expr("param", (), Type(PARAMETER, kind, info.range), span, scope.source, name, info.choices)

    def _memory_value(self, name: str, statement: ast.Memory, module: Module, scope: Scope, span: Span) -> Expr:
        if name not in self.memory_types:
            type_memory(self, statement, module)
        t = self.memory_types.get(name)
        return error(span, scope.source) if t is None else Expr("memory", (), t, span, scope.source, name)

    def _input_value(self, name: str, statement: ast.Input, module: Module, scope: Scope, span: Span) -> Expr:
        info = self.declared_inputs.get(name)
        if info is None:
            info = declare_input(self, statement, module)
        if info is None:
            return error(span, scope.source)
        t = Type(info.stage, info.kind, info.range, facts=info.facts)
        return Expr("input", (), t, span, scope.source, name)

    def _read_first(self, name: str, module: Module) -> None:
        """Type the lets that a let reads before itself, in a loop: chains of them may be long."""
        before = len(self._open)
        opened = {n for m, n in self._open if m is module}
        path = [(name, iter(_names(module.lets[name].value)))]
        seen = {name}
        while path:
            found = next((n for n in path[-1][1] if n in module.lets and n not in seen and n not in opened), None)
            if found is not None:
                seen.add(found)
                if found not in module.values:
                    path.append((found, iter(_names(module.lets[found].value))))
                    self._open.append((module, found))
                continue
            done, _ = path.pop()
            if path:
                self._open.pop()
            if path and done not in module.values:
                self._type_let(done, module)
        del self._open[before:]

    def value_names(self) -> list[str]:
        """Names of the values that the program declares."""
        return [*self.main.names, *(n for n in self.main.imports if n not in self.main.defs)]

    def own_function(self, name: str, scope: Scope) -> Function | None:
        """A ``def`` or ``extern`` that the file of the scope declares or uses."""
        module = scope.module
        while module is not None and name not in module.defs:
            module = module.imports.get(name)
        if module is None:
            return None
        return extern_function(self, name, module) if name in module.extern_statements else module.defs[name]

    def own_functions(self) -> list[str]:
        """Names of the program's definitions."""
        return [*self.main.defs, *(n for n, m in self.main.imports.items() if n in m.defs)]

    def term_names(self) -> list[str]:
        """Names of the program's terms."""
        return [s.name[-1].text for s in self.program.statements if isinstance(s, ast.Term)]

    def constant(self, node: ast.Expr, source: Source) -> Expr:
        """A value that should be known from the text alone; the names in it are those of its file."""
        modules = (self.main, *self.library.modules.values())
        module = next(m for m in modules if m.source is source)
        return self.infer(node, Scope(source, None, module))

    def shares_camera(self, view: Expr) -> bool:
        """Whether a second render is declared ``view[same]``."""
        name = view.args[0].value if view.op == "item" else view.value
        info = self.declared_inputs.get(str(name))
        return info is not None and info.same

    def may_be_missing(self, name: str, scope: Scope) -> bool | None:
        """Whether an input can be missing; None for what is no input."""
        if name in ("mask", "target"):
            return True
        view, _, field = name.partition(".")
        module = owner(view, scope.module or self.main)
        statement = module.values_declared.get(view) if module else None
        if module is None or not isinstance(statement, ast.Input):
            return None
        if view not in self.declared_inputs and declare_input(self, statement, module) is None:
            return True
        info = self.declared_inputs[view]
        if not field:
            return info.optional
        fields = (*VIEW_FIELDS, *self.declared_inputs)
        return True if info.kind == VIEW and field in fields else None

    # The program

    def check(self) -> TypedProgram | None:
        """The typed program, or None when it has an error."""
        terms: list[TypedTerm] = []
        docstring = ""
        try:
            declare(self, self.main)
            self._terms = {name: Origin(self.source, t.name[-1].span) for name, t in self.main.terms.items()}
            for statement in self.program.statements:
                if isinstance(statement, ast.Docstring):
                    docstring = statement.text
                elif isinstance(statement, ast.Def):
                    self._check_unused_definition(statement)
                elif isinstance(statement, ast.Use):
                    terms += self._used_terms(statement)
                elif isinstance(statement, (ast.Term, ast.Bare)):
                    term = type_term(self, statement, self.main)
                    if term is not None:
                        terms.append(term)
                else:
                    self._visit(statement)
            for whole in terms:
                self.size.add(whole)
            for memory in self.memories.values():
                self.size.add(memory)
            self._shape_of_program(terms)
            self._check_overrides()
        except TooLarge:
            self.report.frames.clear()
            terms.clear()
            if not self.sink.has_errors:  # what is left of the program must not pass for all of it
                message = "the rest of this program is not checked: it has too many findings"
                self.sink.add(Diagnostic("TYP008", message, self.source, self.program.span))
        except RecursionError:
            self.report.frames.clear()
            message = "the definitions of this program call each other too deeply"
            help_ = ["definitions are expanded at each call: let fewer of them call one another in a chain"]
            self.report.emit("TYP008", message, self.source, self.program.span, help=help_)
        sources = (self.source, *(m.source for m in self.library.modules.values()))
        lets = {name: value for name, value in self.main.values.items() if not is_error(value)}
        self.typed = TypedProgram(
            self.source,
            docstring,
            self.params,
            tuple(terms),
            self.declared_inputs,
            lets,
            self.memories,
            self.externs,
            sources,
        )
        return None if self.sink.has_errors else self.typed

    def _visit(self, statement: ast.Statement) -> None:
        """Type what a statement declares, whether or not a term reads it."""
        if isinstance(statement, ast.Extern):
            if self.main.extern_statements.get(statement.name.text) is statement:
                extern_function(self, statement.name.text, self.main)
        elif isinstance(statement, (ast.Let, ast.Param, ast.Input, ast.Memory)):
            name = statement.name[-1] if isinstance(statement, ast.Input) else statement.name
            if name.text not in self.main.lost:
                self.value(name.text, Scope(self.source, None, self.main), name.span)

    def _declare_param(self, s: ast.Param, module: Module) -> None:
        name = s.name.text
        other = self._declared_by.get(name)
        if other is not None and other is not module:
            origin = Origin(self.params[name].source, self.params[name].span)
            self.report.duplicate(name, module.source, s.name.span, origin)
            module.lost.add(name)
            return
        self._open.append((module, name))
        info = declare_param(self, s, module.source)
        self._open.pop()
        if info is None:
            module.lost.add(name)
        else:
            self.params[name], self._declared_by[name] = info, module

    def _used_terms(self, s: ast.Use) -> list[TypedTerm]:
        """The terms that a `use` brings, checked in their own file."""
        module = self.main.used.get(id(s))
        if module is None:
            return []
        found = []
        for name in [n.text for n in s.names] if s.names is not None else list(module.terms):
            if name not in module.terms:
                continue
            if name in self._terms:
                first, origin = self._terms[name], Origin(module.source, module.where(name))
                self.report.duplicate(name, first.source, first.span, origin)
                continue
            term = type_term(self, module.terms[name], module)
            self._terms[name] = Origin(self.source, s.span)
            if term is not None:
                found.append(term)
        return found

    def _check_unused_definition(self, s: ast.Def) -> None:
        """Names inside a definition are checked even if it is never called: with parameters of unknown kind."""
        function = self.main.defs.get(s.name.text)
        if function is None or function.definition is not s:
            return
        unknown = {p.name.text: error(p.name.span, self.source) for p in s.parameters}
        self.active.append(function)
        try:
            for p in s.parameters:
                if p.default is not None:
                    self.infer(p.default, Scope(self.source, unknown, self.main))
            self.infer(s.body, Scope(self.source, unknown, self.main))
        finally:
            self.active.pop()

    def _shape_of_program(self, typed: list[TypedTerm]) -> None:
        terms = [s for s in self.program.statements if isinstance(s, ast.Term)]
        bare = [s for s in self.program.statements if isinstance(s, ast.Bare)]
        used = any(isinstance(s, ast.Use) for s in self.program.statements)
        if bare and terms:
            self.report.emit(
                "SYN052",
                "an expression on its own cannot stand beside terms",
                self.source,
                bare[0].span,
                labels=[Label(terms[0].span, "a term is declared here", self.source)],
                help=[f"name it: `term rest = {self.source.slice(bare[0].value.span)}`"],
            )
        elif len(bare) > 1:
            self.report.emit(
                "SYN052",
                "a program has at most one expression on its own",
                self.source,
                bare[1].span,
                labels=[Label(bare[0].span, "the first one", self.source)],
                help=["give each a name with `term`; the loss is their sum"],
            )
        elif not bare and not terms and not (used and typed) and not self.sink.has_errors:
            self.report.emit(
                "SYN051",
                "this program has no term: nothing would be trained",
                self.source,
                Span(len(self.source.text), len(self.source.text)),
                help=["add a line such as `term colour = photometric(masked)`"],
            )
        self._groups(typed)

    def _groups(self, terms: list[TypedTerm]) -> None:
        """A program uses groups for all of its terms or for none."""
        grouped = next((t for t in terms if t.group), None)
        lone = next((t for t in terms if not t.group), None)
        if grouped is not None and lone is not None:
            self.report.emit(
                "SYN054",
                f"term `{lone.name}` is in no group, but `{grouped.name}` is in one",
                lone.source,
                lone.span,
                labels=[Label(grouped.span, f"in the group `{grouped.group}`", grouped.source)],
                help=[f"write `term {grouped.group}.{lone.name} = ...`, or use no groups at all"],
            )

    def _check_overrides(self) -> None:
        """Put the values that a config or a caller gives in place of the defaults."""
        for name, value in self.overrides.items():
            if name in self.lost:
                continue
            source = Source(str(value), f"<param {name}>")
            set_param(self.params, name, value, self.report, source)


def owner(name: str, module: Module) -> Module | None:
    """The file that declares a value that this file declares or uses."""
    at: Module | None = module
    while at is not None and name not in at.names and name not in at.lost:
        at = at.imports.get(name)
    return at


def _names(node: ast.Node) -> list[str]:
    """Names of values that are read below a node, in the order of the text."""
    names: list[str] = []
    stack = [node]
    while stack:
        top = stack.pop()
        if isinstance(top, ast.Name):
            names.append(top.id)
        stack.extend(reversed(list(top.children())))
    return names
