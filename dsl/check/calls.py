"""Calls: binding of arguments, the four operand forms, checks against signatures, expansion of definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import ast
from ..builtins.spec import Builtin, facets
from ..diagnostics import Severity
from ..interval import Interval
from ..source import Source, Span
from ..typed import Expansion, Expr
from ..types import CONSTANT, FLAG, NUMBER, Origin, Type, join_spaces
from .arguments import accept, default, region_help, result_type, single_help
from .functions import Function
from .operators import Signs, agree, error, is_arithmetic, is_error, is_region, union_signs
from .report import Frame
from .special import extern_call, has, over, record_field

if TYPE_CHECKING:
    from .expressions import Checker, Scope

MAX_DEPTH = 60
"""Definitions that may call one another in a chain."""

Bound = dict[str, "Expr | list[Expr] | None"]


def call(checker: Checker, node: ast.Call, scope: Scope) -> Expr:
    """Type a call."""
    name, source, report = node.function.text, scope.source, checker.report
    if name == "_field" and source is report.hidden:
        return record_field(checker, node, scope)
    if name == "has":
        return has(checker, node, scope)
    if node.args and isinstance(node.args[0], ast.Comprehension):
        return over(checker, node, node.args[0], scope)
    function = checker.function(name, scope)
    if function is None:
        if name not in checker.lost or source is report.hidden:
            checker.unknown_function(node.function, scope)
        for argument in (*node.args, *(k.value for k in node.keywords)):
            checker.infer(argument, scope)
        return error(node.span, source)
    if function.extern is not None:
        return extern_call(checker, function.extern, node, scope)
    bound = _bind(checker, function, node, scope)
    if bound is None:
        return error(node.span, source)
    if function.builtin is not None:
        return _primitive(checker, function.builtin, function, bound, node, scope)
    return _expand(checker, function, bound, node, scope)


def _bind(checker: Checker, function: Function, node: ast.Call, scope: Scope) -> Bound | None:
    """Arguments by parameter name, each typed; None after reporting what does not fit."""
    report, source = checker.report, scope.source
    params = function.params
    positional = [p for p in params if not p.keyword_only]
    given: dict[str, Expr | list[Expr] | None] = {}
    values = [checker.infer(a, scope) for a in node.args]
    failed = False
    if function.comparing and len(values) == 1:
        if not is_region(values[0]) and not is_error(values[0]):
            report.emit(
                "TYP010",
                f"a single argument of `{function.name}` must be a region",
                values[0].source,
                values[0].span,
                caption=f"this is {values[0].type.kind.describe()}",
                help=single_help(function.name, values[0]),
            )
            failed = True
        given["r"] = values[0]
    else:
        variadic = positional[-1] if positional and positional[-1].variadic else None
        fixed = positional[:-1] if variadic else positional
        for p, value in zip(fixed, values):
            given[p.name] = value
        if variadic:
            given[variadic.name] = values[len(fixed) :]
        elif len(values) > len(fixed):
            _count(checker, function, node, scope)
            failed = True
    names = {p.name for p in params if not p.variadic}
    for keyword in node.keywords:
        key, value = keyword.name.text, checker.infer(keyword.value, scope)
        if key not in names or key in given:
            taken = key in names
            report.unknown_argument(key, function.name, source, keyword.name.span, sorted(names - set(given)), taken)
            failed = True
        else:
            given[key] = value
    missing = [p for p in params if p.name not in given and p.default is None]
    short = any(p.variadic and p.name in given and len(_many(given[p.name])) < 2 for p in params)
    if not failed and (missing or short):
        _count(checker, function, node, scope)
        failed = True
    return None if failed else given


def _many(value: Expr | list[Expr] | None) -> list[Expr]:
    return value if isinstance(value, list) else []


def _count(checker: Checker, function: Function, node: ast.Call, scope: Scope) -> None:
    required = [p for p in function.params if p.default is None]
    variadic = next((p for p in function.params if p.variadic), None)
    low = len(required) + (1 if variadic else 0)
    high = len(function.params)
    got = len(node.args) + len(node.keywords)
    if variadic:
        expected = f"at least {low} arguments"
    elif low == high:
        expected = f"{low} argument{'s' if low != 1 else ''}"
    else:
        expected = f"{low} to {high} arguments"
    given = {k.name.text for k in node.keywords}
    missing = [p.name for p in required if p.keyword_only and p.name not in given]
    if missing:
        expected += f", {', '.join(f'`{m}=`' for m in missing)} among them"
    named = [p.name for p in function.params if p.keyword_only and p.name not in given]
    texts = [" ".join(scope.source.slice(a.span).split()) for a in node.args]
    extra = texts[sum(not p.keyword_only for p in function.params) :] if variadic is None else []
    hint = ""
    if extra and named:
        written = ", ".join(f"`{name}={text}`" for name, text in zip(named, extra))
        hint = f"{'name them' if len(extra) > 1 and len(named) > 1 else 'name it'}: {written}"
    elif function.name in ("max", "min") and len(texts) == 1 and not isinstance(node.args[0], ast.Number):
        over = f"`component_{function.name}({texts[0]})`, over pixels or gaussians `{function.name}_over({texts[0]})`"
        hint = f"over the components of a value write {over}"
    checker.report.argument_count(
        function.name, expected, str(got) if got else "none", scope.source, node.span, function.usage, hint
    )


def _expand(checker: Checker, function: Function, bound: Bound, node: ast.Call, scope: Scope) -> Expr:
    """Type the body of a definition with its parameters bound, as if it were written in place."""
    from .expressions import Scope

    definition, source = function.definition, function.source
    assert definition is not None
    assert source is not None
    report = checker.report
    if function in checker.active:
        chain = " -> ".join(f.name for f in [*checker.active, function])
        report.emit(
            "TYP007",
            f"`{function.name}` calls itself: {chain}",
            scope.source,
            node.span,
            help=["definitions are expanded in place, so they cannot be recursive"],
        )
        return error(node.span, scope.source)
    if any(is_error(value) for value in bound.values() if isinstance(value, Expr)):
        return error(node.span, scope.source)
    if len(checker.active) >= MAX_DEPTH:
        message = f"`{function.name}` stands at the end of a chain of {MAX_DEPTH} definitions that call one another"
        help_ = ["definitions are expanded at each call: let fewer of them call one another in a chain"]
        report.emit("TYP008", message, scope.source, node.span, help=help_)
        return error(node.span, scope.source)
    report.frames.append(Frame(function.name, scope.source, node.span))
    checker.active.append(function)
    try:
        values: dict[str, Expr] = {}
        for parameter in definition.parameters:
            given = bound.get(parameter.name.text)
            if isinstance(given, Expr):
                values[parameter.name.text] = given
            elif parameter.default is not None:
                inner = Scope(source, dict(values), function.module)
                values[parameter.name.text] = checker.infer(parameter.default, inner)
        if function.pairs and not _operands_agree(checker, function.name, values, node, scope):
            return error(node.span, scope.source)
        result = checker.infer(definition.body, Scope(source, values, function.module))
    finally:
        checker.active.pop()
        report.frames.pop()
    if is_error(result):
        return result
    hidden = source is report.hidden
    t, at, text = result.type, result.span, result.source
    if hidden and result.source is report.hidden:
        # What the prelude makes belongs to the call in the user's text.
        moved = (_moved(t.similarity, report.hidden, node, scope), _moved(t.dissimilarity, report.hidden, node, scope))
        t, at, text = Type(t.stage, t.kind, t.range, *moved, t.facts), node.span, scope.source
    if hidden and function.loss and t.kind == NUMBER and not t.similarity and not t.dissimilarity:
        t = Type(t.stage, t.kind, t.range, (), (Origin(scope.source, node.span),), t.facts)
    via = Expansion(function.name, hidden, values, node.span, scope.source, result.via)
    return Expr(result.op, result.args, t, at, text, result.value, result.names, via)


def _moved(origins: tuple[Origin, ...], hidden: Source, node: ast.Call, scope: Scope) -> tuple[Origin, ...]:
    """A similarity inside a definition of the prelude stands, for the user, at the call."""
    return tuple(dict.fromkeys(Origin(scope.source, node.span) if o.source is hidden else o for o in origins))


def _operands_agree(
    checker: Checker,
    name: str,
    values: dict[str, Expr],
    node: ast.Call,
    scope: Scope,
    ignored: tuple[str, ...] = (),
    strict: bool = True,
) -> bool:
    """Whether the operands of a comparing function go together and the region is one of theirs.

    Without ``strict`` their components may differ: the function's own parameters say what goes.
    """
    a, b, r = values["a"], values["b"], values["r"]
    report, source = checker.report, scope.source
    if is_error(a, b, r):
        return False
    what = f"`{name}`"
    for operand in (a, b):
        if not is_arithmetic(operand) or operand.type.kind == FLAG:
            report.kind("an image, a map, or a value per gaussian", operand, f"an operand of {what}")
            return False
    both = [v for v in (a, b) if v.type.kind.is_tensor]
    if not both:
        report.kind("an image, a map, or a value per gaussian", a, f"the first operand of {what}")
        return False
    if len(both) == 2 and "any" not in (a.type.kind.space, b.type.kind.space):
        if join_spaces(a.type.kind.space, b.type.kind.space) is None:
            report.spaces(a, b, source, node.span, what)
            return False
        if a.type.kind.components != b.type.kind.components and strict:
            report.components(a, b, source, node.span, what)
            return False
        agree(report, a, b, source, node.span, what, ignored)
    if not is_region(r):
        report.kind("a region", r, f"the third operand of {what}", region_help(r, checker.function(name, scope)))
        return False
    if all(join_spaces(v.type.kind.space, r.type.kind.space) != v.type.kind.space for v in both):
        report.spaces(both[0], r, source, node.span, what)
        return False
    return True


def _primitive(
    checker: Checker, record: Builtin, function: Function, bound: Bound, node: ast.Call, scope: Scope
) -> Expr:
    report, source = checker.report, scope.source
    names: list[str] = []
    args: list[Expr] = []
    for p in record.parsed.params:
        value = bound.get(p.name)
        if value is None:
            if p.default == "none":
                continue
            value = default(checker, p, node.span, source)
        for item in value if isinstance(value, list) else [value]:
            checked = accept(checker, function, p, item)
            if checked is None:
                return error(node.span, source)
            names.append(p.name)
            args.append(checked)
    by_name = dict(zip(names, args))
    if is_error(*args):
        return error(node.span, source)
    if function.pairs and not _operands_agree(
        checker, record.name, by_name, node, scope, record.ignores, function.comparing
    ):
        return error(node.span, source)
    region, x = by_name.get("r"), by_name.get("x")
    to = by_name.get("to")
    if to is not None and x is not None:
        agree(report, x, to, source, node.span, f"`{record.name}`", record.ignores)
    if region is not None and x is not None and not covers(region, x):
        report.spaces(x, region, source, node.span, f"`{record.name}`")
        return error(node.span, source)
    made = result_type(checker, record, names, args, node.span, source)
    if made is None or not _related(checker, record, names, args):
        return error(node.span, source)
    kind, facts = made
    stage = max((a.type.stage for a in args), default=CONSTANT)
    ranges = _ranges(names, args)
    range_ = record.range(ranges) if record.range else record.parsed.range
    positive, negative = _signs(record, names, args, node.span, source)
    if function.loss and kind == NUMBER and not positive and not negative:
        negative = (Origin(source, node.span),)
    checker.count(node.span, source)
    if "key" in record.needs:
        record = record._replace(seed=checker.next_seed())
    t = Type(stage, kind, range_, positive, negative, facts)
    return Expr("call", tuple(args), t, node.span, source, record, tuple(names))


def covers(region: Expr, x: Expr) -> bool:
    """Whether a region says something of each pixel, gaussian, ... of a value."""
    space = x.type.kind.space
    return join_spaces(space, region.type.kind.space) == space


def _ranges(names: list[str], args: list[Expr]) -> dict[str, Interval | None]:
    ranges: dict[str, Interval | None] = {}
    for i, (name, arg) in enumerate(zip(names, args)):
        known = arg.type.range if is_arithmetic(arg) and arg.type.kind.space != "any" else None
        key = name if name not in ranges else f"{name}.{i}"
        ranges[key] = known
        ranges.update(facets(key, arg))
    return ranges


def _signs(record: Builtin, names: list[str], args: list[Expr], span: Span, source: Source) -> Signs:
    if record.similarity:
        return (Origin(source, span),), ()
    if record.stops:
        return (), ()
    through = {*record.keeps, *record.increasing}
    return union_signs(*(arg for name, arg in zip(names, args) if name in through))


def _related(checker: Checker, record: Builtin, names: list[str], args: list[Expr]) -> bool:
    """The record's own check of its arguments together; whether the call has a value."""
    if record.check is None:
        return True
    grouped: dict[str, list[Expr]] = {}
    for name, arg in zip(names, args):
        grouped.setdefault(name, []).append(arg)
    problem = record.check(grouped)
    if problem is None:
        return True
    checker.report.emit(
        problem.code,
        problem.message,
        problem.at.source,
        problem.at.span,
        help=[problem.help],
        severity=Severity.ERROR if problem.fatal else None,
    )
    return not problem.fatal
