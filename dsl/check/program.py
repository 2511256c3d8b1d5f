"""Programs: declarations, parameters and their limits, terms."""

from __future__ import annotations

from collections.abc import Mapping

from .. import ast
from ..diagnostics import Label, Severity, Sink
from ..inputs import BY_NAME, REGIONS
from ..interval import ZERO
from ..source import Source, Span
from ..typed import Expr, ParamInfo, TypedProgram, TypedTerm
from ..types import FLAG, NUMBER, PARAMETER, STATE, TENSOR, Origin, Type
from .expressions import Checker, Scope, TooLarge
from .functions import Function, library, prelude, primitive
from .operators import error, is_error
from .params import declare, set_param
from .report import Reporter, describe

LATER = {
    ast.Input: "`input` declarations",
    ast.Use: "`use` statements",
    ast.Extern: "`extern` functions",
    ast.Memory: "`memory` declarations",
}


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
    ) -> None:
        super().__init__(Reporter(sink, prelude()[0]), max_steps)
        self.program, self.source, self.sink = program, source, sink
        self.overrides = params
        self.typed = TypedProgram(source, "", {}, ())
        self.lets: dict[str, ast.Let] = {}
        self.params: dict[str, ParamInfo] = {}
        self.pending: dict[str, ast.Param] = {}
        self.lost = set(lost)  # declared, but with a mistake that is reported already
        self.defs: dict[str, Function] = {}
        self._values: dict[str, Expr] = {}
        self._open: list[str] = []

    # What names mean

    def value(self, name: str, scope: Scope, span: Span) -> Expr | None:
        """A ``let`` or a parameter of the program; the prelude sees neither."""
        if scope.source is self.report.hidden:
            return None
        if name in self.pending:
            self._param(self.pending[name])
        if name in self.params:
            info = self.params[name]
            t = Type(PARAMETER, FLAG if info.unit == "flag" else NUMBER, info.range)
            return Expr("param", (), t, span, scope.source, name)
        if name in self._open and name not in self._values:
            chain = " -> ".join([*self._open[self._open.index(name) :], name])
            help_ = ["what a value is made of must be known without it"]
            self.report.emit("TYP007", f"`{name}` is defined by itself: {chain}", scope.source, span, help=help_)
            return error(span, scope.source)
        let = self.lets.get(name)
        if let is None:
            return error(span, scope.source) if name in self.lost else None
        if name not in self._values:
            self._open.append(name)
            self._read_first(name)
            # A `let` is read where it stands, not inside the definitions that happen to need it first.
            frames, self.report.frames = self.report.frames, []
            active, self.active = self.active, []
            try:
                self._values[name] = self.infer(let.value, Scope(self.source))
            finally:
                self.report.frames, self.active = frames, active
                self._open.pop()
        return self._values[name]

    def _read_first(self, name: str) -> None:
        """Type the lets that a let reads before itself, in a loop: chains of them may be long."""
        before = self._open
        path = [(name, iter(_names(self.lets[name].value)))]
        seen = {name}
        while path:
            found = next((n for n in path[-1][1] if n in self.lets and n not in seen and n not in before), None)
            if found is not None:
                seen.add(found)
                if found not in self._values:
                    path.append((found, iter(_names(self.lets[found].value))))
                continue
            done, _ = path.pop()
            if path and done not in self._values:
                self._open = before + [n for n, _ in path[1:]]
                self.value(done, Scope(self.source), self.lets[done].name.span)
        self._open = before

    def value_names(self) -> list[str]:
        """Parameters and lets."""
        return [*self.params, *self.pending, *self.lets]

    def own_function(self, name: str) -> Function | None:
        """A ``def`` of the program."""
        return self.defs.get(name)

    def own_functions(self) -> list[str]:
        """Names of the program's definitions."""
        return list(self.defs)

    def term_names(self) -> list[str]:
        """Names of the program's terms."""
        return [s.name[-1].text for s in self.program.statements if isinstance(s, ast.Term)]

    # The program

    def check(self) -> TypedProgram | None:
        """The typed program, or None when it has an error."""
        terms: list[TypedTerm] = []
        docstring = ""
        try:
            self._declare()
            for statement in self.program.statements:
                if isinstance(statement, ast.Docstring):
                    docstring = statement.text
                elif isinstance(statement, ast.Let):
                    self.value(statement.name.text, Scope(self.source), statement.name.span)
                elif isinstance(statement, ast.Def):
                    self._check_unused_definition(statement)
                elif isinstance(statement, (ast.Term, ast.Bare)):
                    term = self._term(statement)
                    if term is not None:
                        terms.append(term)
            self._shape_of_program()
            self._check_overrides()
        except TooLarge:
            pass
        except RecursionError:
            self.report.frames.clear()
            message = "the definitions of this program call each other too deeply"
            help_ = ["definitions are expanded at each call: let fewer of them call one another in a chain"]
            self.report.emit("TYP008", message, self.source, self.program.span, help=help_)
        self.typed = TypedProgram(self.source, docstring, self.params, tuple(terms))
        return None if self.sink.has_errors else self.typed

    def _declare(self) -> None:
        first: dict[str, Span] = {}
        functions: dict[str, Span] = {}
        terms: dict[str, Span] = {}
        for s in self.program.statements:
            what = LATER.get(type(s))
            if what is not None:
                self.lost.update(_introduced(s))
                self.report.emit("SYN050", f"{what} are not part of this version of the language", self.source, s.span)
            elif isinstance(s, ast.Def):
                if self._new(s.name, functions) and library(s.name.text) is not None:
                    self.report.emit(
                        "NAM007",
                        f"`{s.name.text}` is a builtin and cannot be defined again",
                        self.source,
                        s.name.span,
                        help=[f"call it `my_{s.name.text}`"],
                    )
                if s.name.text not in self.defs:
                    self.defs[s.name.text] = Function(s.name.text, None, s, self.source)
                self._check_parameters(s)
            elif isinstance(s, ast.Term):
                if len(s.name) > 1:
                    message = "term groups are not part of this version of the language"
                    self.report.emit("SYN050", message, self.source, s.name[0].span.to(s.name[-1].span))
                self._new(s.name[-1], terms)
            elif isinstance(s, (ast.Let, ast.Param)):
                name = s.name.text
                if name in BY_NAME or name in REGIONS:
                    what = "a fixed input" if name in BY_NAME else "a region"
                    self.report.reserved(name, what, self.source, s.name.span)
                elif self._new(s.name, first):
                    if isinstance(s, ast.Let):
                        self.lets[name] = s
                    else:
                        self.pending[name] = s
        for p in list(self.pending.values()):
            if p.name.text in self.pending:
                self._param(p)

    def _param(self, s: ast.Param) -> None:
        name = s.name.text
        del self.pending[name]
        self._open.append(name)
        info = declare(self, s, self.source)
        self._open.pop()
        if info is None:
            self.lost.add(name)
        else:
            self.params[name] = info

    def _new(self, name: ast.Ident, seen: dict[str, Span]) -> bool:
        if name.text in seen:
            self.report.duplicate(name.text, self.source, name.span, Origin(self.source, seen[name.text]))
            return False
        seen[name.text] = name.span
        return True

    def _check_parameters(self, s: ast.Def) -> None:
        seen: dict[str, Span] = {}
        optional = False
        for p in s.parameters:
            self._new(p.name, seen)
            if p.default is None and optional:
                message = f"`{p.name.text}` has no default but follows a parameter that has one"
                self.report.emit("TYP006", message, self.source, p.span, help=["put it before those with defaults"])
            optional = optional or p.default is not None

    def _check_unused_definition(self, s: ast.Def) -> None:
        """Names inside a definition are checked even if it is never called: with parameters of unknown kind."""
        function = self.defs.get(s.name.text)
        if function is None or function.definition is not s:
            return
        unknown = {p.name.text: error(p.name.span, self.source) for p in s.parameters}
        self.active.append(function)
        try:
            for p in s.parameters:
                if p.default is not None:
                    self.infer(p.default, Scope(self.source, unknown))
            self.infer(s.body, Scope(self.source, unknown))
        finally:
            self.active.pop()

    def _shape_of_program(self) -> None:
        terms = [s for s in self.program.statements if isinstance(s, ast.Term)]
        bare = [s for s in self.program.statements if isinstance(s, ast.Bare)]
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
        elif not bare and not terms and not self.sink.has_errors:
            self.report.emit(
                "SYN051",
                "this program has no term: nothing would be trained",
                self.source,
                Span(len(self.source.text), len(self.source.text)),
                help=["add a line such as `term colour = photometric(masked)`"],
            )

    def _check_overrides(self) -> None:
        """Put the values that a config or a caller gives in place of the defaults."""
        for name, value in self.overrides.items():
            if name in self.lost:
                continue
            source = Source(str(value), f"<param {name}>")
            set_param(self.params, name, value, self.report, source)

    # Terms

    def _term(self, s: ast.Term | ast.Bare) -> TypedTerm | None:
        name = s.name[-1].text if isinstance(s, ast.Term) else "loss"
        scope = Scope(self.source)
        value = self.infer(s.value, scope)
        when = None if s.when is None else self._when(s.when, scope)
        if is_error(value) or (when is not None and is_error(when)):
            return None
        if value.type.kind != NUMBER:
            self._not_a_number(name, value)
            return None
        for origin in value.type.similarity:
            self._minimised(name, s, origin, value)
        return TypedTerm(name, value, when, s.span, self.source)

    def _minimised(self, name: str, s: ast.Term | ast.Bare, origin: Origin, value: Expr) -> None:
        """A term that gets smaller as two images get less alike."""
        text = " ".join(origin.source.slice(origin.span).split())
        called = text.split("(")[0].strip()
        record = primitive(called)
        if record is None or record.builtin is None:  # a loss of the prelude, which is 1 - ssim inside
            message = f"term `{name}` maximises a loss: `{called}` is better when smaller, and it enters with a minus"
            help_ = f"remove the minus before `{text}`, or measure likeness with `ssim`"
        else:
            message = f"term `{name}` minimises a similarity: `{called}` is better when larger"
            help_ = record.builtin.instead.format(call=text, arguments=text[len(called) :])
        whole = origin.source is value.source and origin.span == value.span
        labels = () if whole else (Label(s.span, "training makes this term small", self.source),)
        self.report.emit("SSM001", message, origin.source, origin.span, labels=labels, help=[help_])

    def _not_a_number(self, name: str, value: Expr) -> None:
        help_: list[str] = []
        if value.type.kind.is_tensor:
            text = value.source.slice(value.span)
            help_ = [f"reduce it: `mean({text})`, or over a region, `mean({text}, masked)`"]
            if value.type.kind.space == "gaussians":
                help_ = [f"reduce it: `mean({text})`"]
            elif value.type.kind.name == "region":
                help_ = [f"a region belongs inside a loss, as in `l1({text})`"]
        elif value.type.kind == STATE:
            help_ = ["reduce one of its fields, as in `mean(state.opacities)`"]
        elif value.type.kind == FLAG:
            help_ = ["a condition belongs after `when`"]
        self.report.emit(
            "TYP002",
            f"term `{name}` must be a single number, but this is {describe(value)}",
            value.source,
            value.span,
            help=help_,
        )

    def _when(self, node: ast.Expr, scope: Scope) -> Expr:
        condition = self.infer(node, scope)
        if is_error(condition):
            return condition
        if condition.type.stage == TENSOR:
            help_ = ["to choose per pixel use a region, as in `l1(alpha > 0.5)`, or `where`"]
            self.report.stage(condition, "the condition after `when`", help_)
            return error(node.span, scope.source)
        if condition.type.kind != FLAG:
            self.report.kind("a condition, such as `after(step, 100)`", condition, "what follows `when`")
            return error(node.span, scope.source)
        if condition.type.range == ZERO:
            within = f" within {self.max_steps} steps" if self.max_steps is not None else ""
            self.report.emit(
                "SCH002",
                f"this condition is never true{within}: the term never exists",
                condition.source,
                condition.span,
                help=["change the steps, or remove the term"],
                severity=Severity.WARNING,
            )
        return condition


def _introduced(s: ast.Node) -> list[str]:
    """Names that a statement would declare if this version had it."""
    if isinstance(s, ast.Input):
        return [s.name[-1].text]
    if isinstance(s, ast.Use):
        return [n.text for n in s.names or ()]
    return [s.name.text] if isinstance(s, (ast.Extern, ast.Memory)) else []


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
