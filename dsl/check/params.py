"""Parameters: their defaults and limits, and the values that are given in place of the defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real

from .. import ast
from ..diagnostics import Label
from ..host import evaluate
from ..interval import REALS, UNIT, Interval, inf, show
from ..source import Source, Span
from ..suggest import closest
from ..typed import Expr, ParamInfo
from ..types import CONSTANT, FLAG, NUMBER, STEP
from . import hints
from .expressions import Checker
from .operators import is_error
from .report import Reporter

UNITS = {"steps": Interval(0, inf), "number": REALS, "flag": UNIT}


def declare(checker: Checker, s: ast.Param, source: Source) -> ParamInfo | None:
    """A parameter with its default in force; None after reporting what is wrong with it."""
    name, unit = s.name.text, s.unit.text if s.unit else "number"
    report = checker.report
    if unit not in UNITS:
        report.emit(
            "NAM008",
            f"`{unit}` is not a unit of parameters",
            source,
            s.unit.span if s.unit else s.span,
            help=[hints.unit(unit) or "the units are `steps`, `number` and `flag`"],
        )
        return None
    if isinstance(s.limits, ast.Choices) or isinstance(s.default, ast.String):
        return _mode(checker, s, source)
    limited = limits(checker, s.limits, source)
    default = _constant(checker, s.default, source, "the default of a parameter")
    if default is None or limited is None:
        return None
    value = default.value
    if isinstance(value, bool) != (unit == "flag"):
        if unit == "flag":
            truth = [f"write `{'true' if float(value) else 'false'}`"] if float(value) in (0, 1) else []
            report.kind("`true` or `false`", default, f"the default of `{name}`", truth)
        else:
            help_ = [f"declare a flag: `param {name}: flag = {str(value).lower()}`"] if s.unit is None else []
            report.kind("a number", default, f"the default of `{name}`", help_)
        return None
    range_ = UNITS[unit] if s.limits is None else limited
    if not range_.within(UNITS[unit]):
        least = UNITS[unit].lo
        range_ = Interval(max(range_.lo, least), range_.hi, range_.lo_open and range_.lo > least, range_.hi_open)
    if not isinstance(value, bool) and float(value) not in range_:
        report.emit(
            "RNG001",
            f"the default of `{name}` is {show(value)}, outside its range {range_}",
            source,
            s.default.span,
            labels=[Label(s.limits.span, "the range", source)] if s.limits else (),
            help=["change the default or the range"]
            if s.limits
            else ["steps are counted from 0"]
            if unit == "steps"
            else (),
        )
        return None
    if unit == "steps" and not _whole(float(value)):
        message = f"the default of `{name}` is {show(float(value))}, but steps are whole numbers"
        report.emit("RNG001", message, source, s.default.span, help=["round it, or leave out `: steps`"])
        return None
    return ParamInfo(name, unit, value, value, range_, s.name.span, source)


def _whole(value: float) -> bool:
    return math.isinf(value) or value.is_integer()


def _constant(checker: Checker, node: ast.Expr, source: Source, what: str) -> Expr | None:
    """A value that is known from the text alone; folded to a single constant."""
    e = checker.constant(node, source)
    if is_error(e):
        return None
    if e.type.stage != CONSTANT and e.type.is_host:
        depends = "the step" if e.type.stage == STEP else "another parameter"
        message = f"{what} must be a plain number, but this depends on {depends}"
        checker.report.emit("TYP001", message, e.source, e.span, help=["name what you want to compute with `let`"])
        return None
    if e.type.stage != CONSTANT or e.type.kind not in (NUMBER, FLAG):
        checker.report.kind("a plain number", e, what)
        return None
    return Expr("const", (), e.type, node.span, source, evaluate(e, {}))


def limits(checker: Checker, node: ast.Range | ast.Bound | None, source: Source) -> Interval | None:
    """The range of a parameter or an input; None after reporting that it is none."""
    if node is None:
        return REALS
    if isinstance(node, ast.Bound):
        bound = _constant(checker, node.value, source, "the limit of a parameter")
        return None if bound is None else Interval(float(bound.value), inf, lo_open=node.op == ">")
    lo = _constant(checker, node.lo, source, "the lower end of a range")
    hi = _constant(checker, node.hi, source, "the upper end of a range")
    if lo is None or hi is None:
        return None
    low, high = float(lo.value), float(hi.value)
    nan = math.isnan(low) or math.isnan(high)
    if nan or low > high or (low == high and (node.lo_open or node.hi_open)):
        help_ = ["write the smaller end first"] if low > high else ["close both ends with `[` and `]`"]
        if nan:
            help_ = ["both ends must be numbers or `inf`"]
        message = f"no number is in the range {source.slice(node.span)}"
        checker.report.emit("RNG004", message, source, node.span, help=help_)
        return None
    return Interval(low, high, node.lo_open, node.hi_open)


def _mode(checker: Checker, s: ast.Param, source: Source) -> ParamInfo | None:
    """A parameter that is one of several texts; a constant of the compiled program."""
    name, report = s.name.text, checker.report
    items = s.limits.items if isinstance(s.limits, ast.Choices) else ()
    odd = next((i for i in items if not isinstance(i, ast.String)), None)
    if odd is not None or s.unit is not None:
        at = odd.span if odd is not None else s.unit.span if s.unit else s.span
        help_ = ['write the choices as texts, as in `in {"a", "b"}`; numbers have a range, as in `in [0, 1]`']
        report.emit("TYP001", f"the choices of `{name}` must be texts", source, at, help=help_)
        return None
    choices = tuple(i.value for i in items if isinstance(i, ast.String))
    if not isinstance(s.default, ast.String):
        checker.report.emit(
            "TYP001",
            f"the default of `{name}` must be a text",
            source,
            s.default.span,
            help=[f'write one of its choices, or of several: `param {name} = "a" in {{"a", "b"}}`'],
        )
        return None
    value = s.default.value
    if not items:
        help_ = [f'list them: `param {name} = "{value}" in {{"{value}", "other"}}`']
        report.emit("TYP001", f"a mode such as `{name}` must list its choices", source, s.default.span, help=help_)
        return None
    if value not in choices:
        near = closest(value, choices)
        help_ = [f'did you mean "{near[0]}"?'] if near else ["change the default or the choices"]
        labels = [Label(s.limits.span, "the choices", source)] if s.limits else []
        message = f'the default of `{name}` is "{value}", which is none of its choices'
        report.emit("RNG001", message, source, s.default.span, labels=labels, help=help_)
        return None
    return ParamInfo(name, "mode", value, value, UNIT, s.name.span, source, choices)


def set_param(params: Mapping[str, ParamInfo], name: str, value: object, report: Reporter, source: Source) -> bool:
    """Give a parameter a value after checking it; False after reporting why that cannot be."""
    whole = Span(0, len(source.text))
    info = params.get(name)
    if info is None:
        candidates = list(params)
        report.emit(
            "NAM009",
            f"this loss has no parameter `{name}`",
            source,
            whole,
            help=near_params(name, candidates),
        )
        return False
    if info.unit == "mode":
        if value not in info.choices:
            shown = ", ".join(f'"{c}"' for c in info.choices)
            near = closest(str(value), info.choices)
            help_ = [f'did you mean "{near[0]}"?'] if near else ()
            report.emit("RNG002", f"`{name}` must be one of {shown}, not {value!r}", source, whole, help=help_)
            return False
        info.value = str(value)
        return True
    if info.unit == "flag":
        if not isinstance(value, bool):
            report.emit("RNG002", f"`{name}` must be true or false, not {value!r}", source, whole)
            return False
        info.value = value
        return True
    if isinstance(value, bool) or not isinstance(value, (int, float, Real)):
        report.emit("RNG002", f"`{name}` must be a number, not {value!r}", source, whole)
        return False
    try:
        number = float(value)
    except OverflowError:
        report.emit("RNG002", f"the number given for `{name}` is too large for a float", source, whole)
        return False
    if info.unit == "steps" and not math.isnan(number) and not _whole(number):
        report.emit("RNG002", f"`{name}` counts steps and must be a whole number, not {show(number)}", source, whole)
        return False
    if number not in info.range:
        report.emit(
            "RNG002",
            f"`{name}` must be in {info.range}, but is set to {show(number)}",
            source,
            whole,
            labels=[Label(info.span, f"declared here with the default {show(float(info.default))}", info.source)],
        )
        return False
    info.value = number
    return True


def near_params(name: str, names: list[str]) -> list[str]:
    """Help for a parameter that does not exist."""
    near = closest(name, names)
    if near:
        return ["did you mean " + " or ".join(f"`{n}`" for n in near) + "?"]
    return ["its parameters are " + ", ".join(f"`{n}`" for n in names)] if names else ["it declares no `param`"]
