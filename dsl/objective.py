"""The objective that a checked program stands for, as records: what each term is, weighs, reads and moves.

A term is a sum of parts, and each part a weight, which the host computes, times a value, which the step computes. The
records are what ``splatdsl explain`` prints and ``splatdsl plot`` draws; nothing here depends on how they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .curves import Curve, Piece, number
from .formula import PRODUCT, View, expression_text
from .host import evaluate
from .inputs import BY_NAME
from .live import Zeros, buffers
from .spans import Timeline
from .steps import ALWAYS, Existence, Gate, Steps
from .typed import Expr, TypedProgram, TypedTerm
from .types import CONSTANT, TENSOR
from .written import Factors, Written, minus_one

GEOMETRY = ("means", "scales", "quats", "opacities")
COLOURS = ("sh0", "shN")
EVERYTHING = (*GEOMETRY, *COLOURS)

_THROUGH: dict[str, tuple[str, ...]] = {
    "rendered": EVERYTHING,
    "alpha": GEOMETRY,
    "depth": GEOMETRY,
    "normals": GEOMETRY,
    "normals_from_depth": GEOMETRY,
    "distortion": GEOMETRY,
}
"""Parameters of the gaussians that a render buffer depends on; buffers that are not here carry no gradient."""

_COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "has", "memory"})
MOST_READ, MOST_FACTORS = 1_600_000, 1_000  # values that the parts of a term read together, and factors of a weight
_ITEM = frozenset({"target", "mask"})


class Weight(NamedTuple):
    """The factor of a part that the host computes.

    Attributes:
        formula: as written; "1" if there is none.
        curve: its value at every step, gates left out.
        pieces: its shape over the steps at which the term exists; () where the value is not known beforehand.
        nonzero: when it is not 0; the gates among its factors are here.
        unknown: what a value that is not known beforehand depends on.
    """

    formula: str
    curve: Curve
    pieces: tuple[Piece, ...]
    nonzero: Existence
    unknown: tuple[str, ...]

    @property
    def constant(self) -> float | None:
        """The value, if it is the same at every step."""
        return self.pieces[0].start if len(self.pieces) == 1 and self.pieces[0].shape == "constant" else None


class Part(NamedTuple):
    """One summand of a term.

    Attributes:
        formula: as written.
        core: the value without its weight; ``full`` shows the operands that are taken by default.
        weight: the weight.
        regions: the regions that it is restricted to; "everywhere" is one.
        buffers: what the renderer must make for it; ``fields`` what the data item must have, ``optional`` what is
            used if it is there.
        gradient: what it moves: parameters of the gaussians and inputs that carry gradient.
        view, factors: the core and the host factors in the text, for other notations.
    """

    formula: str
    core: str
    full: str
    weight: Weight
    regions: tuple[str, ...]
    buffers: tuple[str, ...]
    fields: tuple[str, ...]
    optional: tuple[str, ...]
    gradient: tuple[str, ...]
    view: View
    factors: tuple[tuple[bool, View], ...]


class TermRecord(NamedTuple):
    """One term.

    Attributes:
        name, group: as declared; the group is "" outside groups.
        formula: as written.
        when: its condition as written, "" if there is none.
        exists: the steps at which it exists.
        off: parameters whose value 0 makes the whole term 0; it is then not computed.
        guards: inputs that its condition or value asks for with ``has``.
        parts: what it is the sum of; () if it is off.
    """

    name: str
    group: str
    formula: str
    when: str
    exists: Existence
    off: tuple[str, ...]
    guards: tuple[str, ...]
    parts: tuple[Part, ...]


class ParamRecord(NamedTuple):
    """A parameter: the value in force, its default and its limits as written."""

    name: str
    unit: str
    value: float | bool | str
    default: float | bool | str
    limits: str


class Objective(NamedTuple):
    """A whole program. ``where`` explains the names that the formulas of a term read, by term."""

    name: str
    docstring: str
    max_steps: int | None
    params: tuple[ParamRecord, ...]
    inputs: tuple[tuple[str, str], ...]
    terms: tuple[TermRecord, ...]
    where: tuple[str, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """The term groups in order of their first term; ("",) without groups."""
        return tuple(dict.fromkeys(t.group for t in self.terms))


def objective(program: TypedProgram, max_steps: int | None = None) -> Objective:
    """The objective of a checked program under its parameters' values in force.

    Args:
        program: without errors.
        max_steps: length of the run; None: spans without an end, and weights that depend on it stay formulas.
    """
    return _Reader(program, max_steps).read()


class _Reader:
    def __init__(self, program: TypedProgram, max_steps: int | None) -> None:
        self.program, self.max_steps = program, max_steps
        self.written = Written(program)
        self.values: dict[str, Any] = {name: info.value for name, info in program.params.items()}
        self.zeros = Zeros(self.values)
        self.timeline = Timeline(self.values, max_steps)
        self.declared: Mapping[str, Any] = getattr(program, "inputs", None) or {}

    def read(self) -> Objective:
        terms = tuple(self.term(t) for t in self.program.terms)
        shown = [v for t in self.program.terms for v in (self.written.value(t), self.written.when(t)) if v is not None]
        where = tuple(self.written.meaning(name) for name in self.written.names(*shown))
        return Objective(
            self.program.source.name,
            self.program.docstring,
            self.max_steps,
            tuple(self.params()),
            tuple((name, self.describe_input(name)) for name in self.declared),
            terms,
            where,
        )

    def params(self) -> Iterator[ParamRecord]:
        for name, info in self.program.params.items():
            choices = getattr(info, "choices", ())
            limits = ""
            if choices:
                limits = "in {" + ", ".join(f'"{c}"' for c in choices) + "}"
            elif info.unit != "flag" and not (math.isinf(info.range.lo) and math.isinf(info.range.hi)):
                limits = f"in {info.range}"
                if math.isinf(info.range.hi):
                    limits = f"{'>' if info.range.lo_open else '>='} {number(info.range.lo)}"
            yield ParamRecord(name, info.unit, info.value, info.default, limits)

    def describe_input(self, name: str) -> str:
        info = self.declared[name]
        return str(info.kind.describe()) + (", may be missing" if info.optional else "")

    # Terms

    def term(self, term: TypedTerm) -> TermRecord:
        value, when = self.written.value(term), self.written.when(term)
        show = self.written.printer().text
        exists = Existence((ALWAYS._replace(stop=self.max_steps),))
        if term.when is not None:
            exists = self.timeline.nonzero(term.when)
        off = self.zeros.is_zero(term.value)
        roots = [term.value] if term.when is None else [term.value, term.when]
        guarded = tuple(dict.fromkeys(name for root in roots for name in guards(root)))
        group = getattr(term, "group", "")
        return TermRecord(
            term.name.removeprefix(f"{group}.") if group else term.name,
            group,
            show(value),
            "" if when is None else show(when),
            exists,
            self.blamed(term.value) if off else (),
            guarded,
            () if off else tuple(self.part(view, factors, exists, guarded) for factors, view in self.parts(value)),
        )

    def blamed(self, e: Expr) -> tuple[str, ...]:
        """The parameters whose zeros make a value 0."""
        names = (n.value for n in e.walk() if n.op == "param" and n.value in self.zeros.zero_params)
        return tuple(dict.fromkeys(names))

    def parts(self, view: View) -> list[tuple[Factors, View]]:
        """The summands of a term with their host factors, in the order of the text."""
        found, pending = list[tuple[Factors, View]](), list[tuple[Factors, View]]([([], view)])
        left = MOST_READ
        while pending:
            outer, view = pending.pop()
            inner, core = self.written.split(view, self.zeros)
            factors, e, node = [*outer, *inner], core.expr, core.node
            opens = e is not None and e.op in ("add", "sub") and left > 0
            operands = self.written.operands(core) if opens else []
            if not operands or e is None or any(a.type.is_host for a in e.args):
                found.append((factors, core))
                continue
            left -= max(sum(1 for _ in e.args[1].walk()), 400)
            first, second = operands
            minus: Factors = [(False, View(node, {}, minus_one(e)))] if e.op == "sub" else []
            pending.append(([*factors, *minus], second))
            pending.append((factors, first))
        return [f for f in found if f[1].expr is None or not self.zeros.is_zero(f[1].expr)]

    def part(self, core: View, factors: Factors, exists: Existence, guarded: tuple[str, ...]) -> Part:
        e = core.expr
        assert e is not None
        show = self.written.printer().text
        weight = self.weight(factors, exists)
        read = self.zeros.inputs(e)
        needed = buffers(frozenset(n for n in read if n in BY_NAME or n in ("masked", "unmasked")))
        own = sorted({n.partition(".")[0] for n in read} & set(self.declared))
        soft = {"mask"} if "mask" in needed and ("mask" not in read or "mask" in guarded) else set()
        optional = {n for n in own if self.declared[n].optional} | soft
        core_text = show(core, PRODUCT if weight.formula != "1" else 0)
        return Part(
            core_text if weight.formula == "1" else _product(weight.formula, core_text),
            show(core),
            self.written.printer(full=True).text(core),
            weight,
            regions(e, self.zeros),
            tuple(sorted(n for n in needed if n not in _ITEM)),
            tuple(sorted(({n for n in needed if n in _ITEM} | set(own)) - optional)),
            tuple(sorted(optional)),
            self.gradient(e),
            core,
            tuple(factors),
        )

    # Weights

    def weight(self, factors: Factors, exists: Existence) -> Weight:
        line = self.timeline
        exprs = [(divides, part) for divides, v in factors if v.expr is not None for part in _flat(v.expr)]
        gates: list[Gate] = []
        spans = Existence((ALWAYS._replace(stop=self.max_steps),))
        moving: list[tuple[bool, Expr]] = []
        for divides, part in exprs:
            found = Existence((ALWAYS,)) if divides else line.nonzero(part)
            spans = spans.also(found)
            gates += found.gates
            if not (found.gates and found.spans and part.op == "call" and part.builtin.name == "every"):
                moving.append((divides, part))
        curve = Curve(moving, line)
        unknown = tuple(dict.fromkeys(n for _, part in moving for n in self.unknown(part)))
        pieces: list[Piece] = []
        if curve.known and not exists.never:
            whole = Steps(exists.spans[0].start, exists.spans[-1].stop)
            pieces = curve.pieces(whole)
        return Weight(self.weight_text(factors), curve, tuple(pieces), spans, unknown)

    def unknown(self, e: Expr) -> Iterator[str]:
        """What keeps a host value from being known before the run."""
        for node in e.walk() if not self.timeline.known(e) else ():
            if not node.args and not self.timeline.known(node):
                yield "max_steps" if node.value == "progress" else str(node.value)
            elif node.args and not self.timeline.known(node) and all(map(self.timeline.known, node.args)):
                yield expression_text(node)

    def weight_text(self, factors: Factors) -> str:
        """Host factors as written: signs first, products, then divisors; plain ones left out."""
        show = self.written.printer().text
        sign = 1
        times: list[str] = []
        over: list[str] = []
        flat = [(d, v) for d, whole in factors for v in ([whole] if d else self.written.factors(whole))]
        for divides, view in flat:
            e = view.expr
            folded = None
            if e is not None and e.op == "neg":
                sign, e, view = -sign, e.args[0], self.written.operands(self.written.open(view))[0]
            if e is not None and e.type.stage == CONSTANT:
                folded = float(evaluate(e, {}))
                if abs(folded) == 1:
                    sign = -sign if folded < 0 else sign
                    continue
            text = show(view, PRODUCT + 1 if divides else PRODUCT)
            if folded is not None and e is not None and e.op != "const":
                text = number(folded)
            (over if divides else times).append(text)
        whole = " / ".join([" * ".join(times) or "1", *over])
        return f"-{whole}" if sign < 0 else whole

    # Gradient

    def gradient(self, e: Expr) -> tuple[str, ...]:
        """What a value carries gradient to, in a fixed order: the gaussians' parameters, then inputs by name."""
        found: set[str] = set()
        seen: set[int] = set()
        stack = [e]
        while stack:
            node = stack.pop()
            if id(node) in seen or node.type.stage < TENSOR or node.op in _COMPARISONS:
                continue
            seen.add(id(node))
            if node.op == "call" and node.builtin.stops:
                continue
            if node.op == "field" and node.value in _THROUGH:  # of a render in a list of views
                found.update(_THROUGH[node.value])
            if node.op == "input":
                found.update(self.moved_by(str(node.value)))
            stack.extend(self.zeros.live_args(node))
        rest = sorted(found - set(EVERYTHING))
        return (*(n for n in EVERYTHING if n in found), *rest)

    def moved_by(self, name: str) -> tuple[str, ...]:
        """What an input carries gradient to."""
        spec = BY_NAME.get(name)
        if spec is not None and spec.buffer == "state":
            return (spec.raw[0],) if spec.raw[0] else ()
        first, _, rest = name.partition(".")
        if spec is None and first in self.declared and rest:  # a field of a second render of the same gaussians
            inside = BY_NAME.get(rest)
            if inside is not None:
                return self.moved_by(rest)
        if spec is None:
            info = self.declared.get(name)
            element = None if info is None else getattr(info.kind, "element", None) or info.kind
            plain = element is None or element.name in ("index", "region", "view", "number", "flag")
            return () if plain else (f"input {name}",)
        return _THROUGH.get(first, ())


def _product(weight: str, core: str) -> str:
    """A weight before what it weighs: ``1 / 3 * x`` reads better as ``x / 3``."""
    if weight.startswith("1 / "):
        return f"{core}{weight[1:]}"
    return f"-{core}" if weight == "-1" else f"{weight} * {core}"


def _flat(e: Expr) -> list[Expr]:
    """The factors of a host product."""
    out, stack = list[Expr](), [e]
    while stack:
        node = stack.pop()
        if node.op == "mul" and len(out) < MOST_FACTORS:
            stack.extend(reversed(node.args))
        else:
            out.append(node)
    return out


def regions(e: Expr, zeros: Zeros) -> tuple[str, ...]:
    """The regions that losses and reductions below a value are restricted to, as text, in the order of the text."""
    found: list[str] = []
    seen: set[int] = set()
    stack = [e]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.op == "call":
            found += [expression_text(a) for n, a in zip(node.names, node.args) if n == "r"]
        stack.extend(reversed(zeros.live_args(node)))
    return tuple(dict.fromkeys(found))


def guards(e: Expr) -> Iterator[str]:
    """Names that ``has`` asks for below a value."""
    for node in e.walk():
        if node.op == "has" or (node.op == "call" and node.builtin.name == "has"):
            names = node.value if isinstance(node.value, tuple) else (node.value,)
            yield from (n for n in names if isinstance(n, str))
            yield from (str(a.value) for a in node.args if isinstance(a.value, str))
