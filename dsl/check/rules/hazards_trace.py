"""Where a value that must not occur comes from: the input, parameter or reduction that it goes back to."""

from __future__ import annotations

from ...diagnostics import Label
from ...inputs import BY_NAME
from ...interval import REALS, Interval, show
from ...typed import Expr, TypedProgram
from ..ranges import SATURATING, Env, Ranges
from .context import Context, shortened
from .places import Places

STEPS = 50
THROUGH = frozenset({"detach", "raw", "abs", "relu"})
AT_ZERO = frozenset({"sq", "sqrt", "norm", "component_sum", "component_product", "dot", "sum", "mean", "sign", "floor"})
MIDDLE = frozenset(
    {"component_min", "component_max", "component_mean", "min_over", "max_over", "mean", "quantile", "median"}
)

EMPTY = {
    "alpha": {0.0: "0 where nothing is drawn", 1.0: "1 where the render is opaque"},
    "depth": {0.0: "0 where nothing is drawn"},
    "normals": {0.0: "0 where nothing is drawn"},
    "normals_from_depth": {0.0: "0 where nothing is drawn"},
    "rendered": {0.0: "0 where the render is black"},
    "target": {0.0: "0 where the photograph is black"},
    "state.opacities": {0.0: "rounded to 0 for gaussians that fade away", 1.0: "rounded to 1 for solid gaussians"},
    "step": {0.0: "0 at the first step"},
    "progress": {0.0: "0 at the first step"},
    "radii": {0.0: "0 for gaussians that are not drawn"},
    "mask": {0.0: "0 outside the mask", 1.0: "1 inside the mask"},
}
"""When fixed inputs take the values that matter."""


class Origin:
    """The end of the trace: the value that goes back no further, which number it is there, and what it can be.

    ``reduced`` says whether all pixels or gaussians must have that number.
    """

    __slots__ = ("at", "e", "range", "reduced")

    def __init__(self, e: Expr, at: float, range_: Interval, reduced: bool) -> None:
        self.e, self.at, self.range, self.reduced = e, at, range_, reduced

    def likely(self, program: TypedProgram) -> bool:
        """Whether the number really occurs.

        Two images are not equal in every pixel. Sizes, lengths of runs and differences of parameters are not what
        the ends of their ranges say, and a number whose limits nobody declared is what the host makes it. A running
        average that starts above 0 does not come to 0.
        """
        e = self.e
        if e.op == "memory":
            return self.at in program.memories[str(e.value)].init.type.range
        if self.reduced and e.op == "sub":
            return False
        if not e.type.is_host:
            return True
        if e.op == "input":
            return e.value != "max_steps" and e.type.range != REALS
        return e.op in ("param", "const")


def origin(ranges: Ranges, e: Expr, env: Env, at: float) -> Origin:
    """Follow a value to what makes it the number ``at``."""
    reduced = False
    for _ in range(STEPS):
        step = _back(ranges, e, env, at)
        if step is None:
            break
        index, at = step
        env = ranges.inside(e, index, env)
        reduced = reduced or (e.op == "call" and e.builtin.reduces)
        e = e.args[index]
    return Origin(e, at, ranges.at(e, env).range, reduced)


def _back(ranges: Ranges, e: Expr, env: Env, at: float) -> tuple[int, float] | None:
    """The operand to blame, and which number it is."""
    if e.op in ("neg", "component"):
        return 0, -at if e.op == "neg" else at
    if e.op in ("add", "sub", "mul", "div", "pow"):
        return _operator(ranges, e, env, at)
    if e.op == "if":
        return next(((i, at) for i in (0, 2) if _can_be(ranges, e, i, env, at)), None)
    if e.op != "call" or not e.args:
        return None
    name = e.builtin.name
    if name == "where":
        return next(((i, at) for i in (1, 2) if _can_be(ranges, e, i, env, at)), None)
    if name in ("max", "min"):
        tensors = [i for i, a in enumerate(e.args) if not a.type.is_host]
        found = [i for i in (*tensors, *range(len(e.args))) if _can_be(ranges, e, i, env, at)]
        return (found[0], at) if found else None
    if name == "clamp":
        return next(((i, at) for i in (0, 1, 2) if _can_be(ranges, e, i, env, at)), None)
    region = e.arg("r")
    if region is not None and (region.type.kind.space != "any" or e.args[0].type.kind.name == "region"):
        return None
    if name == "log" and at == 0:
        return 0, 1.0
    if name in THROUGH or name in MIDDLE or (at == 0 and name in AT_ZERO):
        return (0, at) if _can_be(ranges, e, 0, env, at) else None
    return None


def _can_be(ranges: Ranges, e: Expr, i: int, env: Env, at: float) -> bool:
    found = ranges.at(e.args[i], ranges.inside(e, i, env))
    return found.can_be_zero if at == 0 else at in found.range


def _operator(ranges: Ranges, e: Expr, env: Env, at: float) -> tuple[int, float] | None:
    a, b = (ranges.at(x, env).range for x in e.args)
    if e.op in ("mul", "div", "pow") and at == 0:
        candidates = (0, 1) if e.op == "mul" else (0,)
        return next(((i, 0.0) for i in candidates if _can_be(ranges, e, i, env, 0.0)), None)
    if e.op == "div" and a.is_point and at:
        return 1, a.lo / at
    if e.op == "mul":
        return (1, at / a.lo) if a.is_point and a.lo else (0, at / b.lo) if b.is_point and b.lo else None
    if e.op == "add":
        if a.is_point or b.is_point:
            return (1, at - a.lo) if a.is_point else (0, at - b.lo)
        return (0, a.lo) if a.lo + b.lo == at else None
    if e.op == "sub" and (a.is_point or b.is_point):
        return (1, a.lo - at) if a.is_point else (0, at + b.lo)
    return None


class Names:
    """What messages call a value: the name of its `let`, or its text."""

    def __init__(self, context: Context, places: Places) -> None:
        self._context, self._places = context, places
        self._lets = {id(value): name for name, value in context.program.lets.items()}

    def of(self, e: Expr) -> str:
        """The name or the text of a value."""
        return self._lets.get(id(e)) or self._context.text(self._places.of(e))

    def at(self, e: Expr, outer: Expr) -> str:
        """What to call a value beside the text of another: in a definition by the definition's names."""
        text = self._context.exact(e, outer)
        return self.of(e) if text is None else shortened(text)


def reason(names: Names, found: Origin, beyond: bool = False) -> str:
    """Why a value is the number that it is, as words after its name; ``beyond`` if any number past an end will do."""
    e, number = found.e, show(found.at)
    if beyond:
        return f"is in {found.range}"
    if e.op in ("input", "field"):
        name = str(e.value)
        field = name if name in BY_NAME else name.partition(".")[2] or name
        known = EMPTY.get(field) or EMPTY.get(field.partition(".")[0])
        if known and found.at in known:
            return f"is {known[found.at]}"
        return f"can be {number}"
    if e.op == "memory":
        return f"starts at {number}"
    if e.op == "param":
        return f"may be {number}"
    if e.op == "call" and e.builtin.reduces and e.builtin.name != "psnr":
        region = e.arg("r")
        if region is not None and region.type.kind.space != "any":
            return f"is 0 where `{names.of(region)}` is empty" if found.at == 0 else f"can be {number}"
        x = e.arg("x")
        if x is not None and x.type.kind.name == "region":
            return f"is 0 where `{names.of(x)}` is empty"
    if e.op == "call" and e.builtin.name in SATURATING:
        return f"is rounded to {number} far out"
    if e.op == "call" and e.builtin.name in ("std", "var"):
        return "is 0 where all values are equal"
    if e.op == "sub" and found.at == 0:
        return "is 0 where both sides are equal"
    return f"can be {number}"


def labels(
    context: Context,
    places: Places,
    names: Names,
    found: Origin,
    operand: Expr,
    primary: Expr,
    beyond: bool = False,
) -> list[Label]:
    """The places that lead from the origin of a value to the operation that it spoils."""
    out: list[Label] = []
    hidden = context.report.hidden
    at = places.of(found.e)
    text = f"`{names.of(found.e)}` {reason(names, found, beyond)}"
    if at.source is not hidden and (at.source, at.span) != (primary.source, primary.span):
        out.append(Label(at.span, text, at.source))
    middle = places.of(operand)
    if (
        middle is not at
        and middle.source is not hidden
        and not (middle.source is primary.source and _within(middle, primary))
        and (middle.source, middle.span) != (at.source, at.span)
    ):
        out.append(Label(middle.span, "this value comes from here", middle.source))
    declared = context.program.params.get(str(found.e.value)) if found.e.op == "param" else None
    if declared is not None:
        out.append(Label(declared.span, f"declared in {declared.range}", declared.source))
    given = context.program.inputs.get(str(found.e.value)) if found.e.op == "input" else None
    if given is not None:
        out.append(Label(given.span, f"declared in {given.range}", given.source))
    return out


def _within(inner: Expr, outer: Expr) -> bool:
    return outer.span.start <= inner.span.start and inner.span.end <= outer.span.end
