"""Names of fixed inputs, and what a dot reads: a field of a record, or a component."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import ast
from ..facts import at as said_at
from ..facts import without
from ..inputs import BY_NAME, COMPONENTS, FIELDS, HOST_SIZES, REGIONS, VIEW_FIELDS
from ..interval import UNIT, Interval, inf
from ..source import Source, Span
from ..typed import Expr
from ..types import (
    EVERYWHERE,
    NUMBER,
    REGION,
    STEP,
    TENSOR,
    VIEW,
    Fact,
    Origin,
    Type,
    arithmetic_kind,
    in_view,
)
from .operators import error, is_error, named

RECORDS = ("state", "camera", "pixel")

if TYPE_CHECKING:
    from .expressions import Checker, Scope


def fixed(checker: Checker, name: str, span: Span, source: Source, of: Expr | None = None) -> Expr:
    """A fixed input or region by name; ``of`` is the view that it is read from, if not the render itself."""
    view = "" if of is None or checker.shares_camera(of) else str(of.value).rpartition(".")[2]
    origin = Origin(source, span)
    if name in REGIONS:
        kind = EVERYWHERE if name == "everywhere" else in_view(REGION, view)
        range_ = Interval(1, 1) if name == "everywhere" else UNIT
        facts = {} if name == "everywhere" else {"role": Fact("validity", origin)}
        t = Type(TENSOR, kind, range_, facts=facts)
        return _read(name, t, span, source, of, "region")
    spec = BY_NAME[name]
    range_ = spec.range
    if checker.max_steps is not None and name == "step":
        range_ = Interval(0, checker.max_steps - 1)
    if checker.max_steps is not None and name == "max_steps":
        range_ = Interval(checker.max_steps, checker.max_steps)
    kind = in_view(spec.kind, view if spec.kind.layout != "gaussians" or of is None else str(of.value))
    t = Type(spec.stage, kind, range_, facts=said_at(spec.facts, origin))
    return _read(name, t, span, source, of, "input")


def _read(name: str, t: Type, span: Span, source: Source, of: Expr | None, op: str) -> Expr:
    if of is None:
        return Expr(op, (), t, span, source, name)
    if of.op == "input":
        return Expr("input", (), t, span, source, f"{of.value}.{name}")
    return Expr("field", (of,), t, span, source, name)


def size(letter: str, span: Span, source: Source) -> Expr:
    """A dimension read as a number."""
    return Expr("size", (), Type(STEP, NUMBER, Interval(0 if letter == "N" else 1, inf)), span, source, letter)


def is_size(checker: Checker, name: str) -> bool:
    """Whether a name is a dimension of some input."""
    return name in HOST_SIZES or name in checker.sizes


def field(checker: Checker, node: ast.Field, scope: Scope) -> Expr:
    """``value.name``."""
    value = checker.infer(node.value, scope)
    if is_error(value):
        return value
    made = field_of(checker, value, node.name.text, node.span, scope.source)
    if made is not None:
        return made
    _unknown(checker, value, node, scope)
    return error(node.span, scope.source)


def field_of(checker: Checker, value: Expr, name: str, span: Span, source: Source) -> Expr | None:
    """The field or component of a value, or None if it has none of this name."""
    kind = value.type.kind
    if kind.name in RECORDS:
        if name not in FIELDS[kind.name]:
            return None
        return fixed(checker, f"{kind.name}.{name}", span, source, _view_of(value))
    if kind == VIEW:
        return _view_field(checker, value, name, span, source)
    if kind.name == "record":
        t = dict(kind.fields).get(name)
        return None if t is None else Expr("field", (value,), t, span, source, name)
    if _is_fixed_depth(value) and name in FIELDS["depth"]:
        return fixed(checker, f"depth.{name}", span, source, _view_of(value))
    if name in COMPONENTS and kind.is_tensor and kind.components in (2, 3) and COMPONENTS[name] < int(kind.components):
        facts = without(value.type.facts, "length", "frame")
        t = Type(value.type.stage, named(arithmetic_kind(kind.space, 1), facts), value.type.range, facts=facts)
        return Expr("component", (value,), t, span, source, COMPONENTS[name])
    return None


def _is_fixed_depth(value: Expr) -> bool:
    return value.op in ("input", "field") and str(value.value).rpartition(".")[2] == "depth"


def _view_of(value: Expr) -> Expr | None:
    """The view that a record was read from, as in ``near.state``."""
    if value.op == "field":
        return value.args[0]
    name, _, _ = str(value.value).rpartition(".")
    if not name or name not in value_views(value):
        return None
    return Expr("input", (), Type(TENSOR, VIEW), value.span, value.source, name)


def value_views(value: Expr) -> tuple[str, ...]:
    """The view in the name of an input: ``near`` of ``near.depth``, but not ``depth`` of ``depth.median``."""
    name = str(value.value).partition(".")[0]
    return () if name in BY_NAME else (name,)


def _view_field(checker: Checker, value: Expr, name: str, span: Span, source: Source) -> Expr | None:
    if name in VIEW_FIELDS or name in ("unmasked", "normals_from_depth", "distortion", "visible", "radii", "camera"):
        return fixed(checker, name, span, source, value)
    info = checker.declared_inputs.get(name)
    if info is None or info.stage != TENSOR or info.kind == VIEW:
        return None
    view = "" if checker.shares_camera(value) else str(value.value)
    t = Type(TENSOR, in_view(info.kind, view), info.range, facts=info.facts)
    return _read(name, t, span, source, value, "input")


def _unknown(checker: Checker, value: Expr, node: ast.Field, scope: Scope) -> None:
    name, source, kind, report = node.name.text, scope.source, value.type.kind, checker.report
    if kind.name in RECORDS:
        report.unknown_field(name, f"`{kind.name}`", source, node.name.span, FIELDS[kind.name])
    elif kind == VIEW:
        declared = [n for n, i in checker.declared_inputs.items() if i.stage == TENSOR and i.kind != VIEW]
        report.unknown_field(name, "a view", source, node.name.span, [*VIEW_FIELDS, *declared])
    elif kind.name == "record":
        report.unknown_field(name, "this result", source, node.name.span, [n for n, _ in kind.fields])
    elif _is_fixed_depth(value):
        report.unknown_field(name, "`depth`", source, node.name.span, FIELDS["depth"])
    elif name in FIELDS["state"]:
        report.kind("the state record", value, f"what `.{name}` is read from")
    elif kind.is_tensor and kind.components in (2, 3):
        report.unknown_field(name, kind.describe(), source, node.name.span, list(COMPONENTS))
    else:
        report.unknown_field(name, kind.describe(), source, node.name.span, ())
