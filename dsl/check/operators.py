"""Types of operators: broadcasting, ranges, and the sign with which similarities enter."""

from __future__ import annotations

from collections.abc import Callable

from ..facts import changed, common, disagreements, without
from ..interval import UNIT, ZERO, Interval
from ..source import Source, Span
from ..typed import Expr
from ..types import (
    ERROR,
    FLAG,
    MODE,
    NO_FACTS,
    NUMBER,
    PARAMETER,
    STRING,
    TENSOR,
    Fact,
    Facts,
    Kind,
    Origin,
    Type,
    arithmetic_kind,
    join_spaces,
)
from .report import Reporter

RANGES: dict[str, Callable[[Interval, Interval], Interval]] = {
    "add": Interval.__add__,
    "sub": Interval.__sub__,
    "mul": Interval.__mul__,
    "div": Interval.__truediv__,
    "pow": Interval.power,
}

Signs = tuple[tuple[Origin, ...], tuple[Origin, ...]]
"""Origins of similarities that enter with a positive, and with a negative sign."""

MOST_ORIGINS = 50
"""Similarities that a value remembers: a sum of thousands would copy a long list at every operator."""


def error(span: Span, source: Source) -> Expr:
    """The value that stands for a mistake already reported; whatever is made of it reports nothing more."""
    return Expr("error", (), Type(0, ERROR), span, source)


def is_error(*values: Expr) -> bool:
    """Whether any of the values is a mistake already reported."""
    return any(v.type.kind == ERROR for v in values)


def is_arithmetic(e: Expr) -> bool:
    """Whether the value can be added and multiplied: numbers, flags and tensors, regions included."""
    return e.type.kind in (NUMBER, FLAG) or e.type.kind.is_tensor


def choices_of(e: Expr) -> tuple[str, ...]:
    """The texts that a mode can be."""
    return e.names if e.type.kind == MODE else (str(e.value),)


def is_region(e: Expr) -> bool:
    """Whether the value says which pixels or gaussians are meant."""
    return e.type.kind.name == "region"


def broadcast(report: Reporter, operands: list[Expr], source: Source, span: Span, what: str) -> Kind | None:
    """The kind that arithmetic on the operands gives, or None after reporting why there is none.

    Numbers go with anything, one component with several; pixels never meet gaussians, nor one view another.
    """
    space, components, at, wide = "", 1, operands[0], operands[0]
    found: int | str = components
    for e in operands:
        kind = e.type.kind
        if kind.space in ("", "any"):
            continue
        row = kind.space.isdigit()  # components alone, such as the mean of `[N 3]` over `N`: they go with any others
        count = int(kind.space) if row else kind.components
        joined = join_spaces(space, "" if row else kind.space)
        if joined is None:
            report.spaces(at, e, source, span, what)
            return None
        if joined != space:
            space, at = joined, e
        if count not in (found, 1):
            if found != 1:
                report.components(wide, e, source, span, what)
                return None
            found, wide = count, e
    if not space and found != 1:
        return Kind("tensor", str(found))
    return arithmetic_kind(space, found)


def named(kind: Kind, facts: Facts) -> Kind:
    """The kind of a result that still means what its operand meant: a depth times a number is a depth."""
    if kind.layout != "pixels":
        return kind
    if kind.components == 1 and ("measure" in facts or "form" in facts):
        return Kind("depth", kind.space, 1)
    if kind.components == 3 and ("frame" in facts or "length" in facts):
        return Kind("normals", kind.space, 3)
    return kind


def agree(
    report: Reporter,
    left: Expr,
    right: Expr,
    source: Source,
    span: Span,
    what: str,
    ignored: tuple[str, ...] = (),
) -> None:
    """Report each fact in which two values that meet disagree. The result is still a value of its kind."""
    for spec, a, b in disagreements(left.type.facts, right.type.facts, ignored):
        report.facts(spec, left, a, right, b, source, span, what)


def combined_facts(op: str, left: Expr, right: Expr) -> Facts:
    """What is still known of the result of ``+ - * / ^``."""
    a, b = left.type.facts, right.type.facts
    if not a and not b:
        return NO_FACTS
    left_number, right_number = not left.type.kind.is_tensor, not right.type.kind.is_tensor
    if left_number or right_number:
        facts, number = (b, left) if left_number else (a, right)
        if op == "pow" or (op == "div" and left_number and "form" not in facts):
            return NO_FACTS
        if op == "div" and left_number:
            return changed(without(facts, "role", "parameter"), "form", direct="inverse", inverse="direct")
        falls = (op == "sub" and left_number) or (op in ("mul", "div") and number.type.range.sign != 1)
        return without(facts, "form", "role", "parameter") if falls else facts
    if op == "mul":
        for one, other in ((left, b), (right, a)):
            if one.type.kind.name == "region":
                return other
            if one.type.facts.get("role", Fact("")).value == "coverage":
                scaled = changed(other, "measure", expected="accumulated")
                return without(changed(scaled, "length", unit="weighted"), "role")
    if op == "div" and b.get("role", Fact("")).value == "coverage":
        scaled = changed(a, "measure", accumulated="expected")
        return without(changed(scaled, "length", weighted="unit"), "role")
    return without(common(a, b), "role") if op == "add" else NO_FACTS


def signs(op: str, left: Expr, right: Expr) -> Signs:
    """How similarities pass through a binary operator."""
    (a, b), (c, d) = _signs(left), _signs(right)
    if op == "add":
        return _once(a, c), _once(b, d)
    if op == "sub":
        return _once(a, d), _once(b, c)
    if op == "mul" and bool(a or b) != bool(c or d):
        return scale((a, b), right.type.range) if a or b else scale((c, d), left.type.range)
    if op == "div" and (a or b):
        return scale((a, b), right.type.range)
    return (), ()


def scale(both: Signs, factor: Interval) -> Signs:
    """How similarities pass through a factor of known or unknown sign."""
    if factor.sign == 1:
        return both
    return (both[1], both[0]) if factor.sign == -1 else ((), ())


def _signs(e: Expr) -> Signs:
    return e.type.similarity, e.type.dissimilarity


def _once(*origins: tuple[Origin, ...]) -> tuple[Origin, ...]:
    """Each origin once: a value that is read twice has one, and doubling values must not double the list."""
    several = [o for o in origins if o]
    if len(several) < 2:
        return several[0] if several else ()
    return tuple(dict.fromkeys(o for each in several for o in each))[:MOST_ORIGINS]


def union_signs(*values: Expr) -> Signs:
    """How similarities pass through a choice between values."""
    return _once(*(v.type.similarity for v in values)), _once(*(v.type.dissimilarity for v in values))


def _common_kind(report: Reporter, left: Expr, right: Expr, span: Span, source: Source, text: str) -> Kind | None:
    """The kind of two operands together; None if one is a mistake, or after reporting why they do not go together."""
    if is_error(left, right):
        return None
    for side in (left, right):
        if not is_arithmetic(side):
            report.kind("a number, or a value per pixel or per gaussian", side, f"an operand of `{text}`")
            return None
    return broadcast(report, [left, right], source, span, f"`{text}`")


def binary(report: Reporter, op: str, left: Expr, right: Expr, span: Span, source: Source, text: str) -> Expr:
    """``+ - * / ^`` on two values."""
    kind = _common_kind(report, left, right, span, source, text)
    if kind is None:
        return error(span, source)
    if op in ("add", "sub"):
        agree(report, left, right, source, span, f"`{text}`")
    if op == "div" and right.type.range == ZERO:
        report.emit("RNG003", "this divides by 0", right.source, right.span)
        return error(span, source)
    if op == "pow" and left.type.range.hi < 0 and right.type.range.is_point and not right.type.range.lo.is_integer():
        report.emit("RNG003", "a fractional power of a value that is always negative", left.source, left.span)
        return error(span, source)
    stage = max(left.type.stage, right.type.stage)
    positive, negative = signs(op, left, right)
    range_ = RANGES[op](left.type.range, right.type.range)
    if op == "mul" and left is right:
        range_ = left.type.range.power(Interval(2, 2))
    facts = combined_facts(op, left, right)
    return Expr(op, (left, right), Type(stage, named(kind, facts), range_, positive, negative, facts), span, source)


def negate(report: Reporter, operand: Expr, span: Span, source: Source) -> Expr:
    """``-x``."""
    if is_error(operand):
        return error(span, source)
    if not is_arithmetic(operand):
        report.kind("a number, or a value per pixel or per gaussian", operand, "the operand of `-`")
        return error(span, source)
    kind = arithmetic_kind(operand.type.kind.space, operand.type.kind.components)
    # What grew with distance now falls with it, and the other way round: neither direct nor inverse.
    facts = without(operand.type.facts, "form", "role", "parameter")
    signs = operand.type.dissimilarity, operand.type.similarity
    t = Type(operand.type.stage, named(kind, facts), -operand.type.range, *signs, facts)
    return Expr("neg", (operand,), t, span, source)


def compare(report: Reporter, op: str, left: Expr, right: Expr, span: Span, source: Source, text: str) -> Expr:
    """A comparison: a flag of host values, a condition of numbers, a region of pixels or gaussians."""
    if left.type.kind in (STRING, MODE) or right.type.kind in (STRING, MODE):
        return _compare_modes(report, op, left, right, span, source, text)
    kind = _common_kind(report, left, right, span, source, text)
    if kind is None:
        return error(span, source)
    agree(report, left, right, source, span, f"`{text}`")
    stage = max(left.type.stage, right.type.stage)
    if not kind.is_tensor:
        return Expr(op, (left, right), Type(stage, FLAG, _outcome(op, left, right)), span, source)
    region = Kind("region", kind.space, kind.components)
    return Expr(op, (left, right), Type(TENSOR, region, UNIT), span, source)


def _compare_modes(report: Reporter, op: str, left: Expr, right: Expr, span: Span, source: Source, text: str) -> Expr:
    """A mode parameter against one of its choices."""
    if is_error(left, right):
        return error(span, source)
    mode, word = (left, right) if left.type.kind == MODE else (right, left)
    if mode.type.kind != MODE or word.type.kind not in (STRING, MODE) or op not in ("eq", "ne"):
        odd = word if mode.type.kind == MODE else mode
        report.kind("a mode parameter", odd, f"an operand of `{text}`", ["modes are compared with `==` and `!=`"])
        return error(span, source)
    choices = choices_of(mode)
    if word.type.kind == STRING and word.value not in choices:
        report.not_a_choice(str(word.value), f"`{source.slice(mode.span)}`", choices, word)
        return error(span, source)
    return Expr(op, (left, right), Type(PARAMETER, FLAG, UNIT), span, source)


def _outcome(op: str, left: Expr, right: Expr) -> Interval:
    a, b = left.type.range, right.type.range
    if op in ("gt", "ge"):
        a, b, op = b, a, "lt" if op == "gt" else "le"
    if op in ("lt", "le"):
        always = a.hi < b.lo or (a.hi == b.lo and (op == "le" or a.hi_open or b.lo_open))
        never = a.lo > b.hi or (a.lo == b.hi and (op == "lt" or a.lo_open or b.hi_open))
        return Interval(1, 1) if always else ZERO if never else UNIT
    if a.disjoint(b):
        return ZERO if op == "eq" else Interval(1, 1)
    return UNIT


def logical(report: Reporter, op: str, operands: tuple[Expr, ...], span: Span, source: Source) -> Expr:
    """``and``, ``or`` and ``not``: on flags, or on regions as a*b, 1-(1-a)(1-b), 1-a."""
    if is_error(*operands):
        return error(span, source)
    for e in operands:
        if e.type.kind != FLAG and not is_region(e):
            help_ = ["compare it first, as in `alpha > 0.5`"] if is_arithmetic(e) else []
            report.kind("a region or a condition", e, f"an operand of `{op}`", help_)
            return error(span, source)
    if len({e.type.kind == FLAG for e in operands}) == 2:
        flag = next(e for e in operands if e.type.kind == FLAG)
        report.kind(
            "a region, like the other operand",
            flag,
            f"this operand of `{op}`",
            ["a condition on steps belongs after `when`, or in `a if condition else b`"],
        )
        return error(span, source)
    stage = max(e.type.stage for e in operands)
    if operands[0].type.kind == FLAG:
        return Expr(op, operands, Type(stage, FLAG, _truth(op, operands)), span, source)
    kind = broadcast(report, list(operands), source, span, f"`{op}`")
    if kind is None:
        return error(span, source)
    components = next((c for e in operands if (c := e.type.kind.components) != 1), 1)
    space = kind.space or "any"
    region = Kind("region", space, components)
    facts = common(*(e.type.facts for e in operands if e.type.kind.space != "any"))
    return Expr(op, operands, Type(TENSOR, region, UNIT, facts=facts), span, source)


def _truth(op: str, operands: tuple[Expr, ...]) -> Interval:
    if op == "not":
        return Interval(1, 1) - operands[0].type.range
    a, b = (e.type.range for e in operands)
    return a.least(b) if op == "and" else a.greatest(b)
