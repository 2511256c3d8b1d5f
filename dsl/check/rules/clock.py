"""Conditions on the step that hold at no step, however long the run is.

What a condition compares is taken as a sum of multiples of the step, the length of the run and the progress, and a
constant. Such a sum is bounded over all runs: 0 <= step < max_steps, 1 <= max_steps, 0 <= progress < 1. Two bounds
contradict each other where their sum does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from ...interval import inf
from ...typed import Expr

MOST_BOUNDS = 50
"""Bounds of one condition that are compared with each other."""

_SIGNS = {"ge": (1.0, False), "gt": (1.0, True), "le": (-1.0, False), "lt": (-1.0, True)}


class Form(NamedTuple):
    """``constant + step * s + run * m + progress * s / m`` at step s of m."""

    constant: float = 0.0
    step: float = 0.0
    run: float = 0.0
    progress: float = 0.0

    def times(self, factor: float) -> Form:
        """The form, each part multiplied."""
        return Form(*(factor * part for part in self))

    def over(self, divisor: float) -> Form:
        """The form, each part divided: exact where multiplying by the reciprocal is not."""
        return Form(*(part / divisor for part in self))

    def plus(self, other: Form) -> Form:
        """The sum of two forms."""
        return Form(*(a + b for a, b in zip(self, other)))

    @property
    def is_constant(self) -> bool:
        """Whether it is the same at every step of every run."""
        return not (self.step or self.run or self.progress)

    @property
    def greatest(self) -> tuple[float, bool]:
        """The least upper bound, and whether it is never reached."""
        bounded = self.run <= 0 and self.step + self.run <= 0
        return (self.constant + self.run + max(0.0, self.progress) if bounded else inf), self.progress > 0

    @property
    def never_zero(self) -> bool:
        """Whether it is a fraction at every step: a sum of whole numbers and one that is not whole."""
        whole = self.progress == 0 and self.step.is_integer() and self.run.is_integer()
        return whole and abs(self.constant) < inf and not self.constant.is_integer()


class Bound(NamedTuple):
    """That a form is at least 0, or with ``strict`` above 0."""

    form: Form
    strict: bool

    @property
    def impossible(self) -> bool:
        """Whether it holds at no step of any run."""
        greatest, unreached = self.form.greatest
        return greatest < 0 or (greatest == 0 and (self.strict or unreached))

    def scaled(self) -> Bound:
        """The same bound, its largest multiple 1, so that the parts of two bounds cancel."""
        size = max(abs(self.form.step), abs(self.form.run), abs(self.form.progress))
        return self if size in (0, 1) else Bound(self.form.over(size), self.strict)


def literals(condition: Expr, wanted: bool = True) -> list[tuple[Expr, bool]]:
    """The conditions that must all hold for a condition to be as wanted, each with False where it must not."""
    found: list[tuple[Expr, bool]] = []
    stack, seen = [(condition, wanted)], set[tuple[int, bool]]()
    while stack:
        e, wanted = stack.pop()
        if (id(e), wanted) in seen:
            continue
        seen.add((id(e), wanted))
        if e.op == "not":
            stack.append((e.args[0], not wanted))
        elif e.op == ("and" if wanted else "or"):
            stack.extend((a, wanted) for a in reversed(e.args))
        else:
            found.append((e, wanted))
    return found


class Clock:
    """Bounds that conditions put on the step, with the values of parameters in force."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = params
        self._forms: dict[int, Form | None] = {}
        self._kept: list[Expr] = []  # what is remembered by its address must stay alive

    def impossible(self, conditions: Sequence[tuple[Expr, bool]]) -> bool:
        """Whether conditions, as `literals` gives them, hold together at no step of any run."""
        bounds: list[Bound] = []
        for e, wanted in conditions:
            if e.op == "const" and isinstance(e.value, bool) and e.value != wanted:
                return True
            if self._never_equal(e, wanted):
                return True
            bounds += (b.scaled() for b in self._bounds(e, wanted))
        if any(b.impossible for b in bounds):
            return True
        pairs = combinations(bounds[:MOST_BOUNDS], 2)
        return any(Bound(a.form.plus(b.form), a.strict or b.strict).impossible for a, b in pairs)

    def _never_equal(self, e: Expr, wanted: bool) -> bool:
        if e.op != ("eq" if wanted else "ne"):
            return False
        form = self._difference(*e.args)
        return form is not None and not form.is_constant and form.never_zero

    def _bounds(self, e: Expr, wanted: bool) -> list[Bound]:
        """The bounds that a condition is made of; [] for one that is none."""
        if e.op in _SIGNS:
            sign, strict = _SIGNS[e.op]
            return self._bound(e.args[0], e.args[1], sign, strict, wanted)
        if e.op == ("eq" if wanted else "ne"):
            left, right = e.args
            return self._bound(left, right, 1.0, False, True) + self._bound(left, right, -1.0, False, True)
        if e.op != "call":
            return []
        x, a, b = (e.arg(name) for name in ("x", "a", "b"))
        name = e.builtin.name
        if name == "after" and x is not None and a is not None:
            return self._bound(x, a, 1.0, False, wanted)
        if name == "before" and x is not None and b is not None:
            return self._bound(x, b, -1.0, True, wanted)
        if name == "between" and wanted and x is not None and a is not None and b is not None:
            return self._bound(x, a, 1.0, False, True) + self._bound(x, b, -1.0, True, True)
        return []

    def _bound(self, left: Expr, right: Expr, sign: float, strict: bool, wanted: bool) -> list[Bound]:
        form = self._difference(left, right)
        # A comparison of constants or parameters alone is a switch.
        if form is None or form.is_constant:
            return []
        return [Bound(form.times(sign), strict) if wanted else Bound(form.times(-sign), not strict)]

    def _difference(self, left: Expr, right: Expr) -> Form | None:
        a, b = self.form(left), self.form(right)
        return None if a is None or b is None else a.plus(b.times(-1.0))

    def form(self, e: Expr) -> Form | None:
        """A value as a sum of multiples, or None for one that is no such sum."""
        if id(e) not in self._forms:
            self._kept.append(e)
            for node in e.operands_first(self._forms):
                self._forms[id(node)] = self._form(node)
        return self._forms[id(e)]

    def _form(self, e: Expr) -> Form | None:
        if e.op in ("const", "param"):
            value: Any = e.value if e.op == "const" else self.params.get(e.value)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            return Form(float(value)) if number and abs(value) < inf else None
        if e.op == "input":
            return {"step": Form(step=1.0), "max_steps": Form(run=1.0), "progress": Form(progress=1.0)}.get(e.value)
        args = [self._forms[id(a)] for a in e.args]
        if e.op == "neg" and args[0] is not None:
            return args[0].times(-1.0)
        if len(args) != 2 or args[0] is None or args[1] is None:
            return None
        a, b = args[0], args[1]
        if e.op in ("add", "sub"):
            return a.plus(b if e.op == "add" else b.times(-1.0))
        if e.op == "mul":
            if a.is_constant or b.is_constant:
                return b.times(a.constant) if a.is_constant else a.times(b.constant)
            return _product(a, b) or _product(b, a)
        return _quotient(a, b) if e.op == "div" else None


def _product(a: Form, b: Form) -> Form | None:
    """A multiple of the progress times one of the length of the run: a multiple of the step."""
    whole = a == Form(progress=a.progress) and b == Form(run=b.run)
    return Form(step=a.progress * b.run) if whole else None


def _quotient(a: Form, b: Form) -> Form | None:
    if b.is_constant:
        return a.over(b.constant) if b.constant else None
    if b == Form(run=b.run) and b.run and a == Form(step=a.step, run=a.run):  # step / max_steps is the progress
        return Form(constant=a.run / b.run, progress=a.step / b.run)
    return None
