"""Types of expressions: one method per kind of syntax node."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .. import ast
from ..facts import common
from ..inputs import BY_NAME, FIELDS, REGIONS
from ..interval import Interval
from ..source import Source, Span
from ..suggest import closest
from ..typed import Expr, InputInfo
from ..types import CONSTANT, FLAG, MODE, NUMBER, PARAMETER, STRING, TENSOR, TUPLE, Type
from . import fields, hints, operators
from .arguments import condition_help
from .calls import call
from .functions import Function, library, library_names
from .operators import error, is_error
from .report import Reporter, TooLarge

if TYPE_CHECKING:
    from .modules import Module

OPS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "^": "pow"}
COMPARISONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}

MAX_VALUES = 20_000
"""Values that one program may expand to: definitions that call definitions can multiply without end.

The programs of published systems have at most some hundreds.
"""


MOST_SUGGESTIONS = 30
"""Unknown names and functions with a suggestion: comparing each of them with all others takes its time."""


class Scope:
    """Where an expression stands: its text, the parameters of the definition around it, and its file.

    The prelude has no module: its names mean the same in every program.
    """

    __slots__ = ("locals", "module", "source")

    def __init__(self, source: Source, locals: dict[str, Expr] | None = None, module: Module | None = None) -> None:
        self.source = source
        self.locals = locals or {}
        self.module = module


class Checker:
    """Types expressions of one program. Names outside the fixed inputs are found by the subclass."""

    def __init__(self, report: Reporter, max_steps: int | None) -> None:
        self.report = report
        self.max_steps = max_steps
        self.active: list[Function] = []
        self.lost: set[str] = set()
        self.declared_inputs: dict[str, InputInfo] = {}
        self.sizes: set[str] = set()
        self.incomplete = False  # a term is missing from the typed program, because of a mistake
        self.seeds = 0
        self._count = 0

    def next_seed(self) -> int:
        """The number of the next place where something is drawn at random."""
        self.seeds += 1
        return self.seeds - 1

    # What the program declares; see `program.py`.

    def value(self, name: str, scope: Scope, span: Span) -> Expr | None:
        """The value of a name that the program declares, or None."""
        return None

    def value_names(self) -> list[str]:
        """Names of the values that the program declares."""
        return []

    def own_function(self, name: str, scope: Scope) -> Function | None:
        """A definition of the program, or None."""
        return None

    def own_functions(self) -> list[str]:
        """Names of the program's definitions."""
        return []

    def constant(self, node: ast.Expr, source: Source) -> Expr:
        """A value that should be known from the text alone; the names in it are those of the program."""
        return self.infer(node, Scope(source))

    def shares_camera(self, view: Expr) -> bool:
        """Whether a second render is of this camera, so that its pixels are the render's own."""
        return False

    def may_be_missing(self, name: str, scope: Scope) -> bool | None:
        """Whether an input can be missing; None for what is no input."""
        return None

    def fixed_names(self) -> list[str]:
        """Names of the fixed inputs and regions."""
        return [*(n for n in BY_NAME if "." not in n), *REGIONS]

    def term_names(self) -> list[str]:
        """Names of the program's terms."""
        return []

    def function(self, name: str, scope: Scope) -> Function | None:
        """What a call names. The prelude never sees the program's definitions."""
        own = None if scope.module is None else self.own_function(name, scope)
        return own or library(name)

    def count(self, span: Span, source: Source) -> None:
        """Count a value; give up on a program that expands without end.

        Raises:
            TooLarge: after reporting.
        """
        self._count += 1
        if self._count > MAX_VALUES:
            self.report.emit(
                "TYP008",
                f"this program expands to more than {MAX_VALUES:,} values",
                source,
                span,
                help=["definitions are expanded at each call: let fewer of them call each other several times"],
            )
            raise TooLarge

    # Expressions

    def infer(self, node: ast.Expr, scope: Scope) -> Expr:
        """The typed value of an expression; mistakes are reported and give the absorbing error value."""
        self.count(node.span, scope.source)
        source, span = scope.source, node.span
        if isinstance(node, ast.Paren):
            return self.infer(node.value, scope)
        if isinstance(node, ast.Number):
            return self.number(node.value, span, source)
        if isinstance(node, ast.Constant):
            return self._word(node, source)
        if isinstance(node, ast.String):
            return Expr("const", (), Type(CONSTANT, STRING), span, source, node.value)
        if isinstance(node, ast.Name):
            return self._name(node, scope)
        if isinstance(node, ast.Field):
            return fields.field(self, node, scope)
        if isinstance(node, ast.Call):
            return call(self, node, scope)
        if isinstance(node, ast.Tuple):
            items = tuple(self.infer(i, scope) for i in node.items)
            return Expr("tuple", items, Type(CONSTANT, TUPLE), span, source)
        if isinstance(node, ast.Unary):
            operand = self.infer(node.operand, scope)
            if node.op == "not":
                return operators.logical(self.report, "not", (operand,), span, source)
            return operators.negate(self.report, operand, span, source)
        if isinstance(node, ast.Conditional):
            return self._conditional(node, scope)
        if isinstance(node, ast.Comprehension):  # inside a call that takes one, `calls.py` has gone through it
            self.report.emit(
                "SYN024", "`for` cannot stand here", source, span, help=["write `sum(f(p) for p in LIST)`"]
            )
            return error(span, source)
        return self._chain(node, scope)

    def _chain(self, node: ast.Binary | ast.Compare, scope: Scope) -> Expr:
        """Operators that group to the left, in a loop: a sum may have thousands of operands."""
        chain: list[ast.Binary | ast.Compare] = [node]
        while isinstance(chain[-1].left, (ast.Binary, ast.Compare)):
            chain.append(chain[-1].left)
        left = self.infer(chain[-1].left, scope)
        for link in reversed(chain):
            if link is not node:
                self.count(link.span, scope.source)
            left = self._operator(link, left, self.infer(link.right, scope), scope.source)
        return left

    def _operator(self, node: ast.Binary | ast.Compare, left: Expr, right: Expr, source: Source) -> Expr:
        if isinstance(node, ast.Compare):
            return operators.compare(self.report, COMPARISONS[node.op], left, right, node.span, source, node.op)
        if node.op in ("and", "or"):
            return operators.logical(self.report, node.op, (left, right), node.span, source)
        return operators.binary(self.report, OPS[node.op], left, right, node.span, source, node.op)

    def number(self, value: float, span: Span, source: Source) -> Expr:
        """A literal number."""
        return Expr("const", (), Type(CONSTANT, NUMBER, Interval(value, value)), span, source, float(value))

    def _word(self, node: ast.Constant, source: Source) -> Expr:
        if node.name in ("true", "false"):
            truth = node.name == "true"
            t = Type(CONSTANT, FLAG, Interval(float(truth), float(truth)))
            return Expr("const", (), t, node.span, source, truth)
        value = math.pi if node.name == "pi" else math.inf
        t = Type(CONSTANT, NUMBER, Interval(value, value))
        return Expr("const", (), t, node.span, source, value)

    def fixed(self, name: str, span: Span, source: Source) -> Expr:
        """A fixed input or region by name."""
        return fields.fixed(self, name, span, source)

    def field_of(self, value: Expr, name: str, span: Span, source: Source) -> Expr:
        """A field that the value is known to have."""
        made = fields.field_of(self, value, name, span, source)
        return error(span, source) if made is None else made

    def _name(self, node: ast.Name, scope: Scope) -> Expr:
        if node.id in scope.locals:
            return scope.locals[node.id]
        own = self.value(node.id, scope, node.span)
        if own is not None:
            return own
        if node.id in BY_NAME or node.id in REGIONS:
            return self.fixed(node.id, node.span, scope.source)
        if fields.is_size(self, node.id):
            return fields.size(node.id, node.span, scope.source)
        self._unknown_name(node, scope)
        return error(node.span, scope.source)

    def _unknown_name(self, node: ast.Name, scope: Scope) -> None:
        if self.report.errors > MOST_SUGGESTIONS:
            self.report.unknown_name(node.id, scope.source, node.span, ())
            return
        hint = ""
        function = self.function(node.id, scope)
        if function is not None:
            self.report.bare_function(node.id, function.comparing, function.usage, scope.source, node.span)
            return
        elif node.id in self.term_names():
            hint = "terms are results only: name the value with `let` and use it in both"
        names = [*scope.locals, *self.value_names(), *self.fixed_names()]
        near = [f"{record}.{field}" for record, fields in FIELDS.items() for field in fields if field == node.id]
        if near and not hint:
            hint = "did you mean " + " or ".join(f"`{n}`" for n in near) + "?"
        if not hint and not closest(node.id, [*scope.locals, *self.value_names()]):
            hint = hints.value(node.id)
        self.report.unknown_name(node.id, scope.source, node.span, names, hint)

    def unknown_function(self, name: ast.Ident, scope: Scope) -> None:
        """Report a call of something that is no function."""
        if self.report.errors > MOST_SUGGESTIONS:
            self.report.unknown_function(name.text, scope.source, name.span, ())
            return
        hint = ""
        if name.text in scope.locals or name.text in BY_NAME or name.text in self.value_names() or name.text in REGIONS:
            hint = f"`{name.text}` is a value, not a function: to multiply write `{name.text} * (...)`"
        if not hint and not closest(name.text, self.own_functions()):
            hint = hints.function(name.text)
        self.report.unknown_function(
            name.text, scope.source, name.span, [*self.own_functions(), *library_names()], hint
        )

    def _conditional(self, node: ast.Conditional, scope: Scope) -> Expr:
        condition = self.infer(node.condition, scope)
        then, otherwise = self.infer(node.then, scope), self.infer(node.otherwise, scope)
        source = scope.source
        if is_error(condition, then, otherwise):
            return error(node.span, source)
        if condition.type.stage == TENSOR:
            self.report.emit(
                "TYP009",
                "the condition of `if` must be known before the step is computed",
                condition.source,
                condition.span,
                caption=f"this is {condition.type.kind.describe()}, known only after the render",
                help=[f"write `where({source.slice(node.condition.span)}, a, b)` to choose per value"],
            )
            return error(node.span, source)
        if condition.type.kind != FLAG:
            wanted = "a condition, such as `after(step, 100)`"
            self.report.kind(wanted, condition, "what follows `if`", condition_help(condition))
            return error(node.span, source)
        if then.type.kind == otherwise.type.kind == STRING:
            choices = tuple(dict.fromkeys((str(then.value), str(otherwise.value))))
            t = Type(max(condition.type.stage, PARAMETER), MODE)
            return Expr("if", (then, condition, otherwise), t, node.span, source, names=choices)
        for branch in (then, otherwise):
            if not operators.is_arithmetic(branch):
                self.report.kind("a number, or a value per pixel or per gaussian", branch, "a branch of `if`")
                return error(node.span, source)
        if operators.is_region(then) and operators.is_region(otherwise):
            kind = then.type.kind if then.type.kind.space != "any" else otherwise.type.kind
        else:
            found = operators.broadcast(self.report, [then, otherwise], source, node.span, "`if`")
            if found is None:
                return error(node.span, source)
            kind = FLAG if then.type.kind == otherwise.type.kind == FLAG else found
        stage = max(condition.type.stage, then.type.stage, otherwise.type.stage)
        range_ = then.type.range.hull(otherwise.type.range)
        if condition.type.range.is_point:
            range_ = then.type.range if condition.type.range.lo else otherwise.type.range
        positive, negative = operators.union_signs(then, otherwise)
        facts = common(*(b.type.facts for b in (then, otherwise) if b.type.kind.is_tensor))
        t = Type(stage, operators.named(kind, facts), range_, positive, negative, facts)
        return Expr("if", (then, condition, otherwise), t, node.span, source)
