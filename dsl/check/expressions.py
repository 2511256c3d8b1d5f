"""Types of expressions: one method per kind of syntax node."""

from __future__ import annotations

import math

from .. import ast
from ..inputs import BY_NAME, COMPONENTS, FIELDS, REGIONS
from ..interval import UNIT, Interval
from ..source import Source, Span
from ..typed import Expr
from ..types import (
    CONSTANT,
    EVERYWHERE,
    FLAG,
    NUMBER,
    REGION,
    STATE,
    STRING,
    TENSOR,
    TUPLE,
    Type,
    arithmetic_kind,
)
from . import operators
from .calls import call
from .functions import Function, library, library_names
from .operators import error, is_error
from .report import Reporter

OPS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "^": "pow"}
COMPARISONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}

MAX_VALUES = 50_000
"""Values that one program may expand to: definitions that call definitions can multiply without end."""


class TooLarge(Exception):
    """The program expands to too many values; already reported."""


class Scope:
    """Where an expression stands: its text, and the parameters of the definition around it."""

    __slots__ = ("locals", "source")

    def __init__(self, source: Source, locals: dict[str, Expr] | None = None) -> None:
        self.source = source
        self.locals = locals or {}


class Checker:
    """Types expressions of one program. Names outside the fixed inputs are found by the subclass."""

    def __init__(self, report: Reporter, max_steps: int | None) -> None:
        self.report = report
        self.max_steps = max_steps
        self.active: list[Function] = []
        self.lost: set[str] = set()
        self._count = 0

    # What the program declares; see `program.py`.

    def value(self, name: str, scope: Scope, span: Span) -> Expr | None:
        """The value of a name that the program declares, or None."""
        return None

    def value_names(self) -> list[str]:
        """Names of the values that the program declares."""
        return []

    def own_function(self, name: str) -> Function | None:
        """A definition of the program, or None."""
        return None

    def own_functions(self) -> list[str]:
        """Names of the program's definitions."""
        return []

    def term_names(self) -> list[str]:
        """Names of the program's terms."""
        return []

    def function(self, name: str, scope: Scope) -> Function | None:
        """What a call names. The prelude never sees the program's definitions."""
        own = None if scope.source is self.report.hidden else self.own_function(name)
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
                f"this program expands to more than {MAX_VALUES} values",
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
            return self._field(node, scope)
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
        if name in REGIONS:
            kind = EVERYWHERE if name == "everywhere" else REGION
            range_ = Interval(1, 1) if name == "everywhere" else UNIT
            return Expr("region", (), Type(TENSOR, kind, range_), span, source, name)
        spec = BY_NAME[name]
        range_ = spec.range
        if self.max_steps is not None and name == "step":
            range_ = Interval(0, self.max_steps - 1)
        if self.max_steps is not None and name == "max_steps":
            range_ = Interval(self.max_steps, self.max_steps)
        return Expr("input", (), Type(spec.stage, spec.kind, range_), span, source, name)

    def _name(self, node: ast.Name, scope: Scope) -> Expr:
        if node.id in scope.locals:
            return scope.locals[node.id]
        own = self.value(node.id, scope, node.span)
        if own is not None:
            return own
        if node.id in BY_NAME or node.id in REGIONS:
            return self.fixed(node.id, node.span, scope.source)
        self._unknown_name(node, scope)
        return error(node.span, scope.source)

    def _unknown_name(self, node: ast.Name, scope: Scope) -> None:
        hint = ""
        function = self.function(node.id, scope)
        if function is not None:
            hint = f"`{node.id}` is a function; call it: {function.usage}"
        elif node.id in self.term_names():
            hint = "terms are results only: name the value with `let` and use it in both"
        names = [*scope.locals, *self.value_names(), *(n for n in BY_NAME if "." not in n), *REGIONS]
        near = [f"{record}.{field}" for record, fields in FIELDS.items() for field in fields if field == node.id]
        if near and not hint:
            hint = "did you mean " + " or ".join(f"`{n}`" for n in near) + "?"
        self.report.unknown_name(node.id, scope.source, node.span, names, hint)

    def unknown_function(self, name: ast.Ident, scope: Scope) -> None:
        """Report a call of something that is no function."""
        hint = ""
        if name.text in scope.locals or name.text in BY_NAME or name.text in self.value_names() or name.text in REGIONS:
            hint = f"`{name.text}` is a value, not a function: to multiply write `{name.text} * (...)`"
        self.report.unknown_function(
            name.text, scope.source, name.span, [*self.own_functions(), *library_names()], hint
        )

    def _field(self, node: ast.Field, scope: Scope) -> Expr:
        name, source = node.name.text, scope.source
        depth = isinstance(node.value, ast.Name) and node.value.id == "depth" and "depth" not in scope.locals
        if depth and name in FIELDS["depth"]:
            return self.fixed(f"depth.{name}", node.span, source)
        value = self.infer(node.value, scope)
        if is_error(value):
            return value
        if value.type.kind == STATE:
            if name in FIELDS["state"]:
                return self.fixed(f"state.{name}", node.span, source)
            self.report.unknown_field(name, "`state`", source, node.name.span, FIELDS["state"])
            return error(node.span, source)
        kind = value.type.kind
        if name in COMPONENTS and kind.is_tensor and kind.components == 3:
            t = Type(value.type.stage, arithmetic_kind(kind.space, 1), value.type.range)
            return Expr("component", (value,), t, node.span, source, COMPONENTS[name])
        if value.op == "input" and value.value == "depth":
            self.report.unknown_field(name, "`depth`", source, node.name.span, FIELDS["depth"])
        elif name in FIELDS["state"]:
            self.report.kind("the state record", value, f"what `.{name}` is read from")
        elif kind.is_tensor and kind.components == 3:
            self.report.unknown_field(name, kind.describe(), source, node.name.span, list(COMPONENTS))
        else:
            self.report.unknown_field(name, kind.describe(), source, node.name.span, ())
        return error(node.span, source)

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
            self.report.kind("a condition, such as `after(step, 100)`", condition, "what follows `if`")
            return error(node.span, source)
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
        t = Type(stage, kind, range_, positive, negative)
        return Expr("if", (then, condition, otherwise), t, node.span, source)
