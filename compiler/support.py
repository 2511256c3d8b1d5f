"""Where values exist: differences have none at the border, and points outside the image none at all."""

from __future__ import annotations

from typing import NamedTuple

from ..dsl.builtins.regions import INSIDE
from ..dsl.builtins.spec import Builtin
from ..dsl.interval import UNIT, point
from ..dsl.typed import Expr
from ..dsl.types import CONSTANT, NUMBER, TENSOR, Kind, Type

Border = tuple[int, int, int, int]
NO_BORDER: Border = (0, 0, 0, 0)

EXISTS = Builtin(
    "exists",
    "(x: tensor, left: whole, right: whole, top: whole, bottom: whole) -> region x",
    "The pixels that are so far from each edge; written by the compiler only.",
    good="",
    bad="",
    bad_code="",
    kernel="regions:exists",
)


class Support(NamedTuple):
    """How many pixels at the left, right, top and bottom have no value, and regions outside which there is none."""

    border: Border = NO_BORDER
    regions: tuple[Expr, ...] = ()

    def __bool__(self) -> bool:
        return self.border != NO_BORDER or bool(self.regions)


class Supports:
    """The support of each value, from those of what it is made of."""

    def __init__(self) -> None:
        self._of: dict[int, Support] = {}
        self._kept: list[Expr] = []

    def of(self, e: Expr) -> Support:
        """The support of a value that was added."""
        return self._of.get(id(e), Support())

    def add(self, e: Expr) -> None:
        """Note the support of a value whose operands are known."""
        found = self._find(e)
        if found:
            self._of[id(e)] = found
            self._kept.append(e)

    def narrowed(self, e: Expr, args: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """The arguments of a call, with a region that leaves out where its operands have no value."""
        if e.op != "call" or "r" not in e.names:
            return args
        support, operand = Support(), None
        for name, a in zip(e.names, args):
            if name in ("x", "a", "b"):
                support = _together(support, self.of(a), a)
                operand = operand if operand is not None or not a.type.kind.is_tensor else a
        at = e.names.index("r")
        support = _together(support, self.of(args[at]), args[at])
        if operand is None:  # a region made of this one: where it has no value counts as outside
            operand = args[at]
        if not support or not operand.type.kind.is_tensor:
            return args
        region = args[at]
        for part in self._regions(support, operand):
            region = part if _is_everything(region) else Expr("and", (region, part), _region(operand), e.span, e.source)
        return (*args[:at], region, *args[at + 1 :])

    def _regions(self, support: Support, x: Expr) -> tuple[Expr, ...]:
        if support.border == NO_BORDER:
            return support.regions
        sides = [_whole(s, x) for s in support.border]
        names = ("x", "left", "right", "top", "bottom")
        return (Expr("call", (x, *sides), _region(x), x.span, x.source, EXISTS, names), *support.regions)

    def _find(self, e: Expr) -> Support:
        if e.op == "call":
            return self._of_call(e)
        support = Support()
        for a in e.args:
            support = _together(support, self.of(a), e)
        if e.op == "mul":  # what is multiplied by a region is 0 outside it
            for region, other in (e.args, e.args[::-1]):
                support = _settled(support, self.of(other), _kept_inside(region))
        return support

    def _of_call(self, e: Expr) -> Support:
        record = e.builtin
        if record.reduces or e.type.kind == NUMBER:
            return Support()
        support = Support()
        for name, a in zip(e.names, e.args):
            if name != "r" and a.type.kind.space == e.type.kind.space:
                support = _together(support, self.of(a), e)
        if record.parsed.params[0].kind == "condition":
            support = _settled(support, self.of(e.args[1]), _kept_inside(e.args[0]))
        by_name = dict(zip(e.names, e.args))
        own = record.support_of(by_name)
        border = tuple(a + b for a, b in zip(support.border, own))
        regions = support.regions
        if record.exists:
            exists = record._replace(kernel=record.exists, exists="", support=NO_BORDER)
            regions = (*regions, Expr("call", e.args, _region(e), e.span, e.source, exists, e.names))
        return Support(border, regions)  # type: ignore[arg-type]


def _together(a: Support, b: Support, at: Expr) -> Support:
    border = tuple(max(left, right) for left, right in zip(a.border, b.border))
    known = {id(r) for r in a.regions}
    return Support(border, (*a.regions, *(r for r in b.regions if id(r) not in known)))  # type: ignore[arg-type]


def _settled(whole: Support, part: Support, inside: int) -> Support:
    """The support without that of a part which is only read this far from the border."""
    if not inside or part.border == NO_BORDER or max(part.border) > inside:
        return whole
    return whole._replace(border=NO_BORDER) if whole.border == part.border else whole


def _kept_inside(region: Expr) -> int:
    """How far from the border a region stays."""
    if region.op == "call" and region.builtin.name == INSIDE.name:
        border = region.arg("border")
        return int(border.type.range.lo) if border is not None and border.type.range.is_point else 0
    return max((_kept_inside(a) for a in region.args), default=0) if region.op == "and" else 0


def _is_everything(region: Expr) -> bool:
    return region.op == "region" and str(region.value).rpartition(".")[2] == "everywhere"


def _region(e: Expr) -> Type:
    return Type(TENSOR, Kind("region", e.type.kind.space, 1), UNIT)


def _whole(value: int, e: Expr) -> Expr:
    return Expr("const", (), Type(CONSTANT, NUMBER, point(float(value))), e.span, e.source, float(value))
