"""Arguments against signatures: what a parameter takes, what a call gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..builtins.spec import Builtin, ParamSpec
from ..interval import Interval
from ..source import Source, Span
from ..typed import Expr
from ..types import CONSTANT, ERROR, FLAG, IMAGE, NUMBER, STATE, STRING, TENSOR, Kind, Type, arithmetic_kind
from .operators import broadcast, is_arithmetic, is_error, is_region

if TYPE_CHECKING:
    from .expressions import Checker


def region_help(e: Expr) -> list[str]:
    """How to make a region of what was given instead."""
    return ["make a region by comparison, as in `alpha > 0.5`"] if e.type.kind.is_tensor else []


def default(checker: Checker, p: ParamSpec, span: Span, source: Source) -> Expr:
    """The value of a parameter that the call left out."""
    text = p.default or ""
    if text.startswith('"'):
        return Expr("const", (), Type(CONSTANT, STRING), span, source, text.strip('"'))
    if text[0].isdigit() or text[0] == "-":
        number = float(text)
        return Expr("const", (), Type(CONSTANT, NUMBER, Interval(number, number)), span, source, number)
    return checker.fixed(text, span, source)


def accept(checker: Checker, record: Builtin, p: ParamSpec, value: Expr) -> Expr | None:
    """The argument if it is what the parameter takes; None after reporting why not."""
    if is_error(value):
        return value
    report, where, kind = checker.report, f"`{p.name}` of `{record.name}`", value.type.kind
    help_: list[str] = []
    if p.kind == "host":
        if is_arithmetic(value) and value.type.stage == TENSOR:
            help_ = ["schedules are functions of `step`"]
            if kind == NUMBER:
                help_.append("on numbers made from the render use `clamp`, `min` or `where`")
            report.stage(value, where, help_)
            return None
        good = kind in (NUMBER, FLAG)
    elif p.kind == "visual":
        good = kind.space == "pixels"
    elif p.kind == "image":
        good = kind == IMAGE
    elif p.kind == "region":
        good, help_ = is_region(value), region_help(value)
    elif p.kind == "condition":
        good = is_region(value) or kind == FLAG
        help_ = ["compare it, as in `depth > 0`"] if is_arithmetic(value) else []
    elif p.kind == "tensor":
        good = kind.is_tensor and kind.space != "any"
        if kind == NUMBER and record.reduces:
            help_ = ["a number has nothing to reduce: use it as it is"]
    elif p.kind == "value":
        good = is_arithmetic(value) and kind.space != "any"
        if kind == STATE:
            help_ = ["name a field, such as `state.opacities` or `state.scales`"]
    elif p.kind == "number":
        good = kind in (NUMBER, FLAG)
    elif p.kind == "point":
        good = kind.name == "tuple" and len(value.args) == 2
        if good and any(item.type.kind == ERROR for item in value.args):
            return value.args[0] if value.args[0].type.kind == ERROR else value.args[1]
        for item in value.args if good else ():
            if not item.type.is_host:
                report.stage(item, f"a point of `{record.name}`", ["write numbers or parameters"])
                return None
        help_ = ["write points as pairs, as in `(1000, 0.5)`"]
    elif p.kind == "mode":
        good = kind == STRING and value.value in p.choices
        help_ = [f"write {p.name}={' or '.join(chr(34) + c + chr(34) for c in p.choices)}"]
    else:
        good = kind.name == p.kind
    if not good:
        report.kind(p.describe(), value, where, help_)
        return None
    allowed = p.range or (record.domain[1] if record.domain and record.domain[0] == p.name else None)
    if allowed is not None and value.type.range.disjoint(allowed):
        report.out_of_domain(where, value, allowed)
        return None
    return value


def result_kind(
    checker: Checker, record: Builtin, names: list[str], args: list[Expr], span: Span, source: Source
) -> Kind | None:
    """The kind of a call's result, or None after reporting that its operands do not go together."""
    result = record.parsed.result
    if result in ("number", "host"):
        return NUMBER
    if result == "flag":
        return FLAG
    rule, *of = result.split()
    operands = [a for n, a in zip(names, args) if n in of]
    if rule == "component":
        return arithmetic_kind(operands[0].type.kind.space, 1)
    return broadcast(checker.report, operands, source, span, f"`{record.name}`")
