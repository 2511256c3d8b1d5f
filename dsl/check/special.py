"""Calls with rules of their own: `has`, sums over lists, functions of the host, fields inside the prelude."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import ast
from ..facts import disagreements
from ..interval import NONNEGATIVE, REALS, UNIT
from ..typed import Expr, ExternInfo
from ..types import FLAG, NUMBER, PARAMETER, STATE, TENSOR, Kind, Type
from .operators import error, is_arithmetic, is_error

if TYPE_CHECKING:
    from .expressions import Checker, Scope


def record_field(checker: Checker, node: ast.Call, scope: Scope) -> Expr:
    """``_field(x, "name")`` of the prelude: the field of a record, or x itself."""
    value = checker.infer(node.args[0], scope)
    name = node.args[1]
    assert isinstance(name, ast.String)
    if value.type.kind == STATE:
        return checker.field_of(value, name.value, value.span, value.source)
    return value


def has(checker: Checker, node: ast.Call, scope: Scope) -> Expr:
    """``has(a, b)``: whether optional inputs are there; known when the program is specialised."""
    report, source = checker.report, scope.source
    names: list[str] = []
    if not node.args or node.keywords:
        usage = "has(name), has(name, name, ...)"
        report.argument_count(
            "has", "one or more names", str(len(node.args) + len(node.keywords)), source, node.span, usage
        )
        return error(node.span, source)
    for argument in node.args:
        name = _dotted(argument)
        optional = checker.may_be_missing(name, scope) if name else None
        if optional is None:
            text = source.slice(argument.span)
            help_ = ["`has` takes the names of optional inputs, `mask`, `target`, views and their fields"]
            if name and "." not in name:
                checker.infer(argument, scope)  # reports a name that does not exist
                if checker.value(name, scope, argument.span) is None and name not in checker.fixed_names():
                    return error(node.span, source)
            report.emit("TYP001", f"`has` asks for an input, but `{text}` is none", source, argument.span, help=help_)
            return error(node.span, source)
        if not optional:
            report.emit(
                "NAM011",
                f"`{name}` is always there: `has` is always true",
                source,
                argument.span,
                help=[f"leave `has({name})` out, or declare the input optional with `?`"],
            )
        names.append(name or "")
    return Expr("has", (), Type(PARAMETER, FLAG, UNIT), node.span, source, tuple(names))


def _dotted(node: ast.Expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Field) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.name.text}"
    return None


def over(checker: Checker, node: ast.Call, items: ast.Comprehension, scope: Scope) -> Expr:
    """``sum(f(p) for p in LIST)`` and ``mean(...)``: unrolled when the list is bound."""
    from .expressions import Scope

    report, source = checker.report, scope.source
    name = node.function.text
    several = checker.infer(items.items, scope)
    if name not in ("sum", "mean"):
        message = f"`for` goes with `sum` and `mean`, not with `{name}`"
        report.emit("SYN024", message, source, items.span, help=["write `sum(f(p) for p in LIST)`"])
        return error(node.span, source)
    if is_error(several):
        unknown = error(items.variable.span, source)
        checker.infer(items.value, Scope(source, {**scope.locals, items.variable.text: unknown}, scope.module))
        return error(node.span, source)
    element = several.type.kind.element
    if element is None:
        help_ = ["declare one with `input NAME: list of view`, or make one with `random_boxes`"]
        report.kind("a list", several, "what `for` goes through", help_)
        return error(node.span, source)
    t = Type(TENSOR, element, several.type.range, facts=several.type.facts)
    item = Expr("item", (several,), t, items.variable.span, source, items.variable.text)
    value = checker.infer(items.value, Scope(source, {**scope.locals, items.variable.text: item}, scope.module))
    if is_error(value):
        return error(node.span, source)
    if not is_arithmetic(value):
        report.kind("a number, or a value per pixel or per gaussian", value, f"what `{name}` adds up")
        return error(node.span, source)
    range_ = value.type.range
    if name == "sum":
        range_ = NONNEGATIVE if range_.lo >= 0 else -NONNEGATIVE if range_.hi <= 0 else REALS
    kind = NUMBER if value.type.kind == FLAG else value.type.kind
    made = Type(TENSOR, kind, range_, value.type.similarity, value.type.dissimilarity, value.type.facts)
    return Expr("over", (several, value), made, node.span, source, name, (items.variable.text,))


def extern_call(checker: Checker, extern: ExternInfo, node: ast.Call, scope: Scope) -> Expr:
    """A call of a function that the host registers."""
    report, source = checker.report, scope.source
    given: dict[str, Expr] = {}
    names = [p[0] for p in extern.params]
    values = [checker.infer(a, scope) for a in node.args]
    if len(values) > len(names):
        _extern_count(checker, extern, node, scope)
        return error(node.span, source)
    given.update(zip(names, values))
    for keyword in node.keywords:
        value, key = checker.infer(keyword.value, scope), keyword.name.text
        if key not in names or key in given:
            report.unknown_argument(key, extern.name, source, keyword.name.span, names, key in given)
            return error(node.span, source)
        given[key] = value
    args: list[Expr] = []
    bound: dict[str, int | str] = {}
    for name, kind, facts, range_, default in extern.params:
        argument = given.get(name) or default
        if argument is None:
            _extern_count(checker, extern, node, scope)
            return error(node.span, source)
        value = argument
        if is_error(value):
            return value
        if kind is not None and name in given:
            where = f"`{name}` of `{extern.name}`"
            if not _fits(kind, value.type.kind, bound):
                report.kind(kind.describe(), value, where)
                return error(node.span, source)
            differ = disagreements(facts, value.type.facts)
            for spec, wanted, found in differ:
                message = f"{where} is declared {wanted.value}, but this is {found.value}"
                help_ = [spec.convert.get(wanted.value, ""), "if that is meant, write `raw(...)`"]
                report.emit(spec.code, message, value.source, value.span, help=[h for h in help_ if h])
            if differ:
                return error(node.span, source)
            if value.type.range.disjoint(range_):
                report.out_of_domain(where, value, range_)
                return error(node.span, source)
        args.append(value)
    call_names = tuple(names)
    if len(extern.results) == 1 and not extern.results[0][0]:
        t = _bound_type(extern.results[0][1], bound, args)
    else:
        t = Type(TENSOR, Kind("record", fields=tuple((n, _bound_type(r, bound, args)) for n, r in extern.results)))
    return Expr("extern", tuple(args), t, node.span, source, extern, call_names)


def _fits(wanted: Kind, found: Kind, bound: dict[str, int | str]) -> bool:
    """Whether a value is what a parameter asks for; letters stand for any size, the same everywhere in a call."""
    if wanted.name in ("number", "flag"):
        return found in (NUMBER, FLAG)
    if wanted.name in ("state", "camera", "view"):
        return wanted.name == found.name
    if wanted.name == "list":
        return (
            found.name == "list"
            and wanted.element is not None
            and found.element is not None
            and _fits(wanted.element, found.element, bound)
        )
    if wanted.name == "region" and found.space == "any":
        return True
    if not found.is_tensor or (wanted.name == "region") != (found.name == "region"):
        return False
    if wanted.layout in ("pixels", "gaussians", "images"):
        if wanted.layout != found.layout:
            return False
    else:
        letters, sizes = wanted.space.split(), _letters(found).split()
        if len(letters) != len(sizes):
            return False
        for letter, size in zip(letters, sizes):
            if bound.setdefault(letter, size) != size:
                return False
    if isinstance(wanted.components, str):
        return bound.setdefault(wanted.components, found.components) == found.components
    return wanted.components == found.components or isinstance(found.components, str)


def _letters(kind: Kind) -> str:
    return kind.dims.strip("[]").rpartition(" ")[0] if kind.components != 1 else kind.dims.strip("[]")


def _bound_type(t: Type, bound: dict[str, int | str], args: list[Expr]) -> Type:
    """The type of a result: in the view of the arguments, with the sizes that the arguments bound."""
    view = next((a.type.kind.view for a in args if a.type.kind.view), "")
    components = (
        bound.get(str(t.kind.components), t.kind.components)
        if isinstance(t.kind.components, str)
        else t.kind.components
    )
    space = f"{view}:{t.kind.space}" if view and t.kind.layout in ("pixels", "images", "gaussians") else t.kind.space
    return Type(TENSOR, Kind(t.kind.name, space, components, t.kind.element), t.range, facts=t.facts)


def _extern_count(checker: Checker, extern: ExternInfo, node: ast.Call, scope: Scope) -> None:
    required = sum(d is None for *_, d in extern.params)
    total = len(extern.params)
    expected = (
        f"{total} argument{'s' if total != 1 else ''}" if required == total else f"{required} to {total} arguments"
    )
    usage = f"{extern.name}({', '.join(p[0] for p in extern.params)})"
    checker.report.argument_count(
        extern.name, expected, str(len(node.args) + len(node.keywords)), scope.source, node.span, usage
    )
