"""Arguments against signatures: what a parameter takes, what a call gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..builtins.spec import Builtin, ParamSpec, record_fields
from ..facts import common, without
from ..interval import Interval, show
from ..source import Source, Span
from ..typed import Expr
from ..types import (
    CONSTANT,
    ERROR,
    FLAG,
    MODE,
    NO_FACTS,
    NUMBER,
    REGION,
    STATE,
    STRING,
    TENSOR,
    VARIES,
    Fact,
    Facts,
    Kind,
    Type,
    arithmetic_kind,
)
from . import hints
from .operators import broadcast, choices_of, is_arithmetic, is_error, is_region, named

if TYPE_CHECKING:
    from .expressions import Checker
    from .functions import Function


def region_help(e: Expr, function: Function | None = None) -> list[str]:
    """How to make a region of what was given instead to a function."""
    if e.type.kind == NUMBER:
        return _number_help(e, function)
    role = e.type.facts.get("role")
    if role is not None and role.value == "coverage":
        text = " ".join(e.source.slice(e.span).split())
        return [
            "coverage says how opaque a pixel is, a region which pixels count: for the pixels that count write "
            f"`masked`, for those that are drawn `{text} > 0.5`",
            f"to let pixels count by their coverage write `region({text})`",
        ]
    return ["make a region by comparison, as in `alpha > 0.5`"] if e.type.kind.is_tensor else []


def _number_help(e: Expr, function: Function | None) -> list[str]:
    """What a number where a region is was meant for: an argument that is named, or a dimension."""
    text = " ".join(e.source.slice(e.span).split())
    words = " such as `masked`, or leave it out to take everything"
    if function is None:
        return ["write a region" + words]
    named = next((n for n in function.numbers if n not in ("a", "b", "r")), "")
    dimension = e.op == "const" and e.value in (-1.0, 0.0, 1.0, 2.0, 3.0)
    if function.builtin is not None and dimension and not named:
        return [hints.ARGUMENTS["dim"]] if function.name in ("mean", "sum", "median") else ["write a region" + words]
    if named:
        return [f"name it: `{named}={text}`; the argument before the names is a region, such as `masked`"]
    return ["write a region" + words]


def single_help(name: str, e: Expr) -> list[str]:
    """What to write where the only argument of a comparing loss is no region."""
    text = " ".join(e.source.slice(e.span).split())
    region = f"or restrict the defaults to a region, as in `{name}(masked)`"
    role = e.type.facts.get("role")
    if role is not None and role.value == "coverage":
        return region_help(e)
    if e.type.kind.name not in ("image", "normals"):
        return [f"name both operands, as in `{name}({text}, b)`", region]
    first, second = ("normals", "normals_from_depth") if e.type.kind.name == "normals" else ("rendered", "target")
    own = any(n.op == "input" and n.value == first for n in e.walk())
    both = f"{text}, {second}" if own else f"{first}, {text}"
    return [f"name both operands, as in `{name}({both})`", region]


def condition_help(e: Expr) -> list[str]:
    """How to make a condition of what was given instead."""
    text = " ".join(e.source.slice(e.span).split())
    if e.op == "param" and e.type.kind == NUMBER:
        return [f"declare it as a flag, `param {e.value}: flag = true`, or compare it, as in `{e.value} > 0`"]
    return [f"compare it, as in `{text} > 0`"] if e.type.kind == NUMBER and e.op != "const" else []


def data_help(checker: Checker, e: Expr) -> list[str]:
    """How to ask whether an input is there, of one that may be missing."""
    name = str(e.value) if e.op in ("input", "region") else ""
    info = checker.declared_inputs.get(name)
    if name == "mask" or (info is not None and info.optional):
        return [f"to ask whether the item has one write `has({name})`"]
    return []


def default(checker: Checker, p: ParamSpec, span: Span, source: Source) -> Expr:
    """The value of a parameter that the call left out."""
    text = p.default or ""
    if text.startswith('"'):
        return Expr("const", (), Type(CONSTANT, STRING), span, source, text.strip('"'))
    if text in ("true", "false"):
        truth = Interval(float(text == "true"), float(text == "true"))
        return Expr("const", (), Type(CONSTANT, FLAG, truth), span, source, text == "true")
    if text[0].isdigit() or text[0] == "-":
        number = float(text)
        return Expr("const", (), Type(CONSTANT, NUMBER, Interval(number, number)), span, source, number)
    return checker.fixed(text, span, source)


Test = Callable[[Expr], bool]


def _components(count: int) -> Test:
    return lambda e: e.type.kind.components in (count, VARIES) or isinstance(e.type.kind.components, str)


ACCEPTS: dict[str, Test] = {
    "host": lambda e: e.type.kind in (NUMBER, FLAG) and e.type.stage < TENSOR,
    "whole": lambda e: e.type.kind in (NUMBER, FLAG) and e.type.stage < TENSOR,
    "visual": lambda e: e.type.kind.layout == "pixels",
    "image": lambda e: e.type.kind.layout == "pixels" and e.type.kind.name == "image",
    "map": lambda e: e.type.kind.layout == "pixels" and e.type.kind.components == 1,
    "depth": lambda e: e.type.kind.layout == "pixels" and e.type.kind.components == 1 and not is_region(e),
    "normals": lambda e: e.type.kind.layout == "pixels" and e.type.kind.components == 3,
    "region": is_region,
    "condition": lambda e: is_region(e) or e.type.kind == FLAG,
    "tensor": lambda e: e.type.kind.is_tensor and e.type.kind.space != "any" and e.type.kind.name != "index",
    "gaussians": lambda e: e.type.kind.layout == "gaussians" or e.type.kind.layout.startswith("N "),
    "value": lambda e: is_arithmetic(e) and e.type.kind.space != "any",
    "number": lambda e: e.type.kind in (NUMBER, FLAG),
    "flag": lambda e: e.type.kind == FLAG and e.type.stage == CONSTANT,
    "list": lambda e: e.type.kind.name == "list",
}
"""What a parameter of each kind takes; other kinds take values of their own name."""


def accept(checker: Checker, function: Function, p: ParamSpec, value: Expr) -> Expr | None:
    """The argument if it is what the parameter takes; None after reporting why not."""
    record = function.builtin
    assert record is not None
    if is_error(value):
        return value
    report, where, kind = checker.report, f"`{p.name}` of `{record.name}`", value.type.kind
    if p.kind in ("host", "whole") and is_arithmetic(value) and value.type.stage == TENSOR:
        help_ = ["schedules are functions of `step`"]
        if kind == NUMBER:
            help_.append("on numbers made from the render use `clamp`, `min` or `where`")
        report.stage(value, where, help_)
        return None
    if p.kind == "point":
        return _point(checker, record, p, value, where)
    if p.kind == "mode":
        return _mode(checker, p, value, where)
    test = ACCEPTS.get(p.kind)
    good = test(value) if test is not None else kind.name == p.kind
    if not good or (p.components and not _components(p.components)(value)):
        report.kind(p.describe(), value, where, _kind_help(function, p, value))
        return None
    if p.kind == "whole" and value.type.range.is_point and value.type.range.lo % 1:
        message = f"{where} must be a whole number, not {show(value.type.range.lo)}"
        report.emit("RNG003", message, value.source, value.span, help=["round it"])
        return None
    allowed = p.range or (record.domain[1] if record.domain and record.domain[0] == p.name else None)
    if allowed is not None and value.type.range.disjoint(allowed):
        report.out_of_domain(where, value, allowed)
        return None
    return value


def _kind_help(function: Function, p: ParamSpec, value: Expr) -> list[str]:
    kind, record = value.type.kind, function.builtin
    if p.kind == "region":
        return region_help(value, function)
    if kind.name == "record" and kind.fields:
        text = " ".join(value.source.slice(value.span).split())
        return ["name one of its fields: " + " or ".join(f"`{text}.{name}`" for name, _ in kind.fields[:4])]
    if p.kind == "condition" and is_arithmetic(value):
        return ["compare it, as in `depth > 0`"]
    if p.kind == "tensor" and kind == NUMBER and record is not None and record.reduces:
        return ["a number has nothing to reduce: use it as it is"]
    if p.kind in ("value", "tensor") and kind == STATE:
        return ["name a field, such as `state.opacities` or `state.scales`"]
    if p.kind in ("value", "tensor", "visual") and kind.name == "view":
        return [f"name a field, such as `{value.source.slice(value.span)}.rendered`"]
    if p.kind == "flag" and is_arithmetic(value):
        return ["it decides what is compiled, so it must be written out, not computed"]
    return []


def _point(checker: Checker, record: Builtin, p: ParamSpec, value: Expr, where: str) -> Expr | None:
    if value.type.kind.name != "tuple" or len(value.args) != 2:
        checker.report.kind(p.describe(), value, where, ["write points as pairs, as in `(1000, 0.5)`"])
        return None
    for item in value.args:
        if item.type.kind == ERROR:
            return item
        if not item.type.is_host:
            checker.report.stage(item, f"a point of `{record.name}`", ["write numbers or parameters"])
            return None
    return value


def _mode(checker: Checker, p: ParamSpec, value: Expr, where: str) -> Expr | None:
    turned = next((c for c in p.choices if sorted(c) == sorted(str(value.value))), "")
    shown = [turned] if turned and value.type.kind == STRING else p.choices
    help_ = ["write " + " or ".join(f'`{p.name}="{c}"`' for c in shown)]
    if value.type.kind == MODE:  # a parameter: all of its choices must be choices of this argument
        odd = [c for c in choices_of(value) if c not in p.choices]
        if not odd:
            return value
        message = f'{where} must be {p.describe()}, but the parameter can also be "{odd[0]}"'
        checker.report.emit("TYP001", message, value.source, value.span, help=help_)
        return None
    if value.type.kind != STRING or value.value not in p.choices:
        checker.report.kind(p.describe(), value, where, help_)
        return None
    return value


def result_type(
    checker: Checker, record: Builtin, names: list[str], args: list[Expr], span: Span, source: Source
) -> tuple[Kind, Facts] | None:
    """Kind and facts of a call's result, or None after reporting that its operands do not go together."""
    by_name = dict(reversed(list(zip(names, args))))
    if record.kind is not None:
        kind: Kind | None = record.kind(by_name)
    else:
        kind = _kind_of(checker, record, record.parsed.result, names, args, span, source)
    if kind is None:
        return None
    facts = _facts_of(record, names, args)
    rule = record.parsed.result.split()[0]
    return named(kind, facts) if rule in ("like", "component") else kind, facts


def _facts_of(record: Builtin, names: list[str], args: list[Expr]) -> Facts:
    if record.refact is not None:
        return record.refact({n: _said(a) for n, a in reversed(list(zip(names, args)))})
    kept = [a.type.facts for n, a in zip(names, args) if n in record.facts and a.type.kind.is_tensor]
    return without(common(*kept), *record.drops) if kept else NO_FACTS


def _said(e: Expr) -> Facts:
    """The facts of an argument; a mode is one that is called ``mode``."""
    return {"mode": Fact(str(e.value))} if e.type.kind == STRING else e.type.facts


def _kind_of(
    checker: Checker, record: Builtin, result: str, names: list[str], args: list[Expr], span: Span, source: Source
) -> Kind | None:
    if result in ("number", "host"):
        return NUMBER
    if result == "flag":
        return FLAG
    if result == "list of region":
        return Kind("list", element=REGION)
    if result.startswith("("):
        fields = []
        for name, rule, range_ in record_fields(result):
            kind = _kind_of(checker, record, rule, names, args, span, source)
            if kind is None:
                return None
            fields.append((name, Type(TENSOR, kind, range_)))
        return Kind("record", fields=tuple(fields))
    rule, *of = result.split()
    operands = [a for n, a in zip(names, args) if n in of]
    first = operands[0].type.kind if operands else _first_pixels(args)
    if rule == "like":
        return broadcast(checker.report, operands, source, span, f"`{record.name}`")
    if rule == "same":
        return first
    if rule == "component":
        kind = broadcast(checker.report, operands, source, span, f"`{record.name}`")
        return None if kind is None else arithmetic_kind(kind.space, 1)
    if rule == "components":
        kind = next(a for n, a in zip(names, args) if n == of[1]).type.kind
        return arithmetic_kind(kind.space, int(of[0]))
    if rule == "region":
        space = first.space if first.is_tensor and of else f"{first.view}:pixels".lstrip(":")
        return Kind("region", space, 1)
    if rule == "statistic":
        if first.layout != "pixels":
            return NUMBER
        return Kind("images", f"{first.view}:images".lstrip(":"), 1)
    if rule == "per":
        return Kind("images", f"{first.view}:images".lstrip(":"), int(of[1]))
    if rule == "gaussians":
        return Kind("gaussians", "gaussians", int(of[0]))
    return Kind(rule, f"{first.view}:pixels".lstrip(":"), {"image": 3, "normals": 3}.get(rule, 1))


def _first_pixels(args: list[Expr]) -> Kind:
    return next((a.type.kind for a in args if a.type.kind.layout == "pixels"), Kind("map", "pixels"))
