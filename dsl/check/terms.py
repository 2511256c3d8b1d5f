"""Terms: a value that is a single number, and the condition under which it exists."""

from __future__ import annotations

from .. import ast
from ..diagnostics import Applicability, Edit, Fix, Label
from ..source import Source
from ..typed import Expr, TypedTerm
from ..types import FLAG, NUMBER, STATE, TENSOR, Origin
from .arguments import condition_help, data_help
from .expressions import Checker, Scope
from .functions import primitive
from .modules import Module
from .operators import error, is_error
from .report import describe


def type_term(checker: Checker, s: ast.Term | ast.Bare, module: Module) -> TypedTerm | None:
    """A term with its condition; None after reporting that it is none."""
    name = ".".join(part.text for part in s.name) if isinstance(s, ast.Term) else "loss"
    group = s.name[0].text if isinstance(s, ast.Term) and len(s.name) > 1 else ""
    scope = Scope(module.source, None, module)
    value = checker.infer(s.value, scope)
    when = None if s.when is None else _when(checker, s.when, scope)
    if is_error(value) or (when is not None and is_error(when)):
        checker.incomplete = True
        return None
    if value.type.kind != NUMBER:
        _not_a_number(checker, name, value)
        checker.incomplete = True
        return None
    for origin in value.type.similarity:
        _minimised(checker, name, s, origin, value, module.source)
    return TypedTerm(name, value, when, s.span, module.source, group)


def _minimised(
    checker: Checker, name: str, s: ast.Term | ast.Bare, origin: Origin, value: Expr, source: Source
) -> None:
    """A term that gets smaller as two images get less alike."""
    text = " ".join(origin.source.slice(origin.span).split())
    called = text.split("(")[0].strip()
    record = primitive(called)
    measure = record.builtin if record is not None and record.builtin is not None else None
    if measure is None or not measure.similarity:
        message = f"term `{name}` maximises a loss: `{called}` is better when smaller, and it enters with a minus"
        help_ = f"remove the minus before `{text}`, or measure likeness with `ssim`"
    else:
        message = f"term `{name}` minimises a similarity: `{called}` is better when larger"
        help_ = measure.instead.format(call=text, arguments=text[len(called) :])
    whole = origin.source is value.source and origin.span == value.span
    labels = () if whole else (Label(s.span, "training makes this term small", source),)
    fixes = [] if measure is None or not measure.similarity else _turned(checker, origin, text, measure.instead)
    checker.report.emit("SSM001", message, origin.source, origin.span, labels=labels, help=[help_], fixes=fixes)


def _not_a_number(checker: Checker, name: str, value: Expr) -> None:
    help_: list[str] = []
    whole, value = value, _unreduced(value)
    if value.type.kind.is_tensor:
        text = " ".join(value.source.slice(value.span).split())
        help_ = [f"reduce it: `mean({text})`, or over a region, `mean({text}, masked)`"]
        if value.type.kind.layout in ("gaussians", "images"):
            help_ = [f"reduce it: `mean({text})`"]
        elif value.type.kind.name == "region":
            help_ = [f"a region belongs inside a loss, as in `l1({text})`"]
    elif value.type.kind == STATE:
        help_ = ["reduce one of its fields, as in `mean(state.opacities)`"]
    elif value.type.kind == FLAG:
        help_ = ["a condition belongs after `when`"]
    checker.report.emit(
        "TYP002",
        f"term `{name}` must be a single number, but this is {describe(value)}",
        value.source,
        value.span,
        caption="" if value is whole else "this summand is not reduced",
        help=help_,
    )


def _unreduced(value: Expr) -> Expr:
    """The summand that makes a sum more than a number, where others are numbers; else the value itself."""
    found = value
    while found.op in ("add", "sub", "mul", "neg", "div"):
        inside = [
            a
            for a in found.args
            if a.type.kind.is_tensor
            and a.source is value.source
            and value.span.start <= a.span.start
            and a.span.end <= value.span.end
        ]
        if len(inside) != 1 or sum(a.type.kind.is_tensor for a in found.args) != 1:
            break
        found = inside[0]
    split = any(e.op in ("add", "sub") and len(e.args) == 2 for e in _around(value, found))
    return found if split else value


def _around(value: Expr, inner: Expr) -> list[Expr]:
    """The values from one to the only tensor inside it."""
    path = []
    while value is not inner:
        path.append(value)
        value = next(a for a in value.args if a.type.kind.is_tensor)
    return path


def _when(checker: Checker, node: ast.Expr, scope: Scope) -> Expr:
    condition = checker.infer(node, scope)
    if is_error(condition):
        return condition
    if condition.type.stage == TENSOR:
        help_ = ["to choose per pixel use a region, as in `l1(alpha > 0.5)`, or `where`"]
        checker.report.stage(condition, "the condition after `when`", data_help(checker, condition) or help_)
        return error(node.span, scope.source)
    if condition.type.kind != FLAG:
        wanted = "a condition, such as `after(step, 100)`"
        checker.report.kind(wanted, condition, "what follows `when`", condition_help(condition))
        return error(node.span, scope.source)
    return condition


def _turned(checker: Checker, origin: Origin, text: str, instead: str) -> list[Fix]:
    """A similarity that is bounded by 1, turned into a loss."""
    if not instead.startswith("write `1 - "):
        return []
    turned = f"1 - {origin.source.slice(origin.span)}"
    texts = checker.report.texts
    if texts is None or not texts.takes_a_sum(origin.source, origin.span):
        turned = f"({turned})"
    # Where several statements read it, it may be right for another one.
    shared = texts is not None and texts.times_read(origin.source, origin.span) > 1
    kind = Applicability.DISPLAY if shared else Applicability.UNSAFE
    return [Fix(f"write `1 - {text}`", [Edit(origin.span, turned)], kind)]
