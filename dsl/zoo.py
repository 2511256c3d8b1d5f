"""The zoo: programs of published systems that come with the package, what they say of themselves and what they use.

A program's docstring starts with ``NAME: one sentence.`` and goes on with fields at the start of a line: ``System``
(number and name), ``Paper``, ``Code``, ``Steps``, ``Follows`` and ``Scope``. What a program uses is found in the
checked program and not in its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from .api import analyse
from .check_files import read_source
from .diagnostics import LossError
from .files import LOSS_LIMIT, ZOO, read_text, zoo_names
from .host import PRESENT, environment, evaluate
from .typed import Expr, TypedProgram
from .types import NUMBER, STEP, TENSOR

FIELDS = ("System", "Paper", "Code", "Steps", "Follows", "Scope")

_DOCSTRING = re.compile(r'\s*(?:#[^\n]*\s*)*"""(.*?)"""', re.S)
_FIELD = re.compile(rf"^({'|'.join(FIELDS)}): (.*(?:\n  +\S.*)*)", re.M)
_USE = re.compile(r'^use "([^"\n]+)"', re.M)
_COMPLETE = "complete"
_LEFT = "Left to the trainer:"


class Entry(NamedTuple):
    """One program of the zoo, as it describes itself.

    Attributes:
        name: of its file, without the ending: ``zoo:NAME`` loads it.
        number, system: of the published system; several programs may share one. The number is 0 where none is given.
        sentence: what it is, from the first line.
        paper, code, steps, follows: the fields, "" where they are missing.
        complete: whether the program is the whole loss of the system.
        left: what is left to the trainer, "" where nothing is.
        uses: the files that it uses.
        text: the program.
    """

    name: str
    number: int
    system: str
    sentence: str
    paper: str
    code: str
    steps: str
    follows: str
    complete: bool
    left: str
    uses: tuple[str, ...]
    text: str

    @property
    def scope(self) -> str:
        """In two words at most: ``complete`` or ``loss part``."""
        return _COMPLETE if self.complete else "loss part"

    @property
    def path(self) -> str:
        """Its file in the repository."""
        return f"examples/zoo/{self.name}.loss"


def entries() -> list[Entry]:
    """All programs, by the number of the system and then by name."""
    return sorted((entry(name) for name in zoo_names()), key=lambda e: (e.number, e.name))


def entry(name: str) -> Entry:
    """What a program says of itself.

    Raises:
        Unreadable: there is no such program.
    """
    text = read_text(ZOO + name, LOSS_LIMIT)
    found = _DOCSTRING.match(text)
    docstring = found[1] if found else ""
    first = docstring.strip().partition("\n")[0]
    title, _, sentence = first.partition(": ")
    fields = {match[1]: " ".join(match[2].split()) for match in _FIELD.finditer(docstring)}
    number, _, system = fields.get("System", "").partition(" ")
    scope = fields.get("Scope", "")
    return Entry(
        name=name,
        number=int(number) if number.isdecimal() else 0,
        system=system or title,
        sentence=sentence,
        paper=fields.get("Paper", ""),
        code=fields.get("Code", ""),
        steps=fields.get("Steps", ""),
        follows=fields.get("Follows", ""),
        complete=scope.rstrip(".") == _COMPLETE,
        left=scope.partition(_LEFT)[2].strip(),
        uses=tuple(_USE.findall(text)),
        text=text,
    )


def program(name: str) -> TypedProgram:
    """A program, checked.

    Raises:
        LossError: there is no such program, or it has an error.
    """
    typed, found = analyse(read_source(ZOO + name))
    if typed is None:
        raise LossError(found)
    return typed


# Features


class Feature(NamedTuple):
    """Something that a program can use. ``has`` tells it of what was collected from the program."""

    name: str
    doc: str
    has: Callable[[Uses], bool]


class Uses:
    """What occurs in a checked program: in its terms, their conditions, and the memories.

    Attributes:
        program: the checked program.
        ops: kinds of values, as `Expr.op` has them.
        calls: builtins.
        reads: inputs and regions, without the view that they belong to.
        gates: whether something depends on whether a step is before or after another.
        rises, falls: whether a number that the host computes does so gradually over the run.
    """

    def __init__(self, program: TypedProgram) -> None:
        self.program = program
        self.nodes = list({id(e): e for root in _roots(program) for e in root.walk()}.values())
        self.ops = {e.op for e in self.nodes}
        self.calls = {e.builtin.name for e in self.nodes if e.op == "call"}
        self.reads = {_bare(e.value, program) for e in self.nodes if e.op in ("input", "region")}
        self.reads |= {e.value for e in self.nodes if e.op == "field" and isinstance(e.value, str)}
        self.gates = any(_is_gate(e) for e in self.nodes)
        self.rises, self.falls = _slopes(program)

    def kinds(self) -> set[str]:
        """The kinds of the inputs that the program declares."""
        return {info.kind.name for info in self.program.inputs.values()}

    def read(self, *names: str) -> bool:
        """Whether one of these inputs is read, or a field of it."""
        return any(r == name or r.startswith(f"{name}.") for r in self.reads for name in names)


def _calls(*names: str) -> Callable[[Uses], bool]:
    return lambda uses: not uses.calls.isdisjoint(names)


def _reads(*names: str) -> Callable[[Uses], bool]:
    return lambda uses: uses.read(*names)


FEATURES: tuple[Feature, ...] = (
    Feature("mask", "the item's mask, or the region `masked`", _reads("mask", "masked", "unmasked")),
    Feature("ssim", "structural similarity, on one scale or several", _calls("ssim", "ssim_map", "ms_ssim")),
    Feature("lpips", "LPIPS", _calls("lpips")),
    Feature(
        "depth",
        "rendered depth",
        lambda uses: uses.read("depth") or any(name.endswith(".depth") for name in uses.program.inputs),
    ),
    Feature(
        "normals",
        "rendered normals, normals of a depth map or of gaussians",
        lambda uses: (
            uses.read("normals", "normals_from_depth") or bool(uses.calls & {"depth_normals", "gaussian_normals"})
        ),
    ),
    Feature("alpha", "accumulated opacity", _reads("alpha")),
    Feature("distortion", "the distortion map of 2DGS-style renderers", _reads("distortion")),
    Feature("opacities", "opacities of gaussians", _reads("state.opacities", "state.opacity_logits")),
    Feature("scales", "scales of gaussians", _reads("state.scales", "state.log_scales")),
    Feature("poses", "positions or rotations of gaussians", _reads("state.means", "state.quats")),
    Feature(
        "inputs",
        "tensors that the item or the host brings: priors, sensor data, extra parameters",
        lambda uses: any(
            i.stage == TENSOR and i.kind.name not in ("view", "list") and "." not in name
            for name, i in uses.program.inputs.items()
        ),
    ),
    Feature("optional", "something that may be missing", lambda uses: "has" in uses.ops),
    Feature("view", "a second render", lambda uses: "view" in uses.kinds()),
    Feature("extern", "a function that the host registers", lambda uses: "extern" in uses.ops),
    Feature("memory", "a value that lasts from step to step", lambda uses: bool(uses.program.memories)),
    Feature("list", "a list of tensors, views or boxes", lambda uses: "over" in uses.ops or "list" in uses.kinds()),
    Feature("group", "terms of several objectives", lambda uses: bool(uses.program.groups)),
    Feature("gate", "something that begins or ends at a step", lambda uses: uses.gates),
    Feature("every", "something that happens at every k-th step", _calls("every")),
    Feature("ramp", "a weight, or another number of the schedule, that rises gradually", lambda uses: uses.rises),
    Feature("decay", "a weight, or another number of the schedule, that falls gradually", lambda uses: uses.falls),
    Feature("random", "random numbers", _calls("chance", "bernoulli", "random_boxes", "depth_rank")),
    Feature("detach", "a value through which no gradient goes", _calls("detach")),
    Feature(
        "stencil",
        "neighbouring pixels or cells: differences, filters, pooling, wavelets, patches",
        _calls(
            *("dx", "dy", "second_difference", "laplacian", "sobel", "tv", "blur", "box", "shift", "pool"),
            *("block_mean", "block_median", "patches", "haar", "fft_magnitude", "gradient_l1", "depth_normals"),
            *("erode", "dilate", "resize"),
        ),
    ),
    Feature(
        "order",
        "order statistics: quantile, median, the smallest part",
        _calls("quantile", "median", "smallest_mean", "largest_mean", "histogram_quantile", "block_median"),
    ),
    Feature("fit", "correlation or least-squares alignment", _calls("pearson_loss", "align")),
    Feature("neighbours", "neighbours of gaussians", _calls("gather")),
    Feature("points", "values at projected or given points", _calls("sample_at", "project")),
)


def features(program: TypedProgram) -> dict[str, bool]:
    """What a program uses, by the names of `FEATURES`, in that order."""
    uses = Uses(program)
    return {feature.name: feature.has(uses) for feature in FEATURES}


def _roots(program: TypedProgram) -> Iterator[Expr]:
    for term in program.terms:
        yield term.value
        if term.when is not None:
            yield term.when
    for memory in program.memories.values():
        yield memory.init
        yield memory.update
        if memory.when is not None:
            yield memory.when


def _bare(name: str, program: TypedProgram) -> str:
    """The name of an input without the view that it belongs to."""
    head, _, rest = name.partition(".")
    info = program.inputs.get(head)
    return rest if rest and info is not None and info.kind.name == "view" else name


_GATES = frozenset({"after", "before", "between"})
_COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})


def _is_gate(e: Expr) -> bool:
    if e.op == "call":
        return e.builtin.name in _GATES
    return e.op in _COMPARISONS and e.type.stage == STEP and any(n.op == "input" for n in e.walk())


_GRID = 50  # steps between two values of a weight; the shortest ramp of a published system takes 500
_RUN = 30_000


def _slopes(program: TypedProgram) -> tuple[bool, bool]:
    """Whether a number of step stage rises, and whether one falls, over several points of a grid in a row."""
    env = _host(program)
    rises = falls = False
    for e in _numbers(program):
        values = []
        for step in range(0, _RUN, _GRID):
            values.append(float(evaluate(e, {**env, **environment(step, _RUN, {})})))
        signs = [(b > a) - (b < a) for a, b in pairwise(values)]
        rises = rises or any(a == b == 1 for a, b in pairwise(signs))
        falls = falls or any(a == b == -1 for a, b in pairwise(signs))
    return rises, falls


def _numbers(program: TypedProgram) -> list[Expr]:
    """The largest parts of the terms' values that the host computes anew at every step."""
    found: dict[int, Expr] = {}
    seen: set[int] = set()
    stack = [term.value for term in program.terms]
    while stack:
        e = stack.pop()
        if id(e) in seen:
            continue
        seen.add(id(e))
        if e.type.stage < TENSOR:
            if e.type.stage == STEP and e.type.kind == NUMBER:
                found[id(e)] = e
        else:
            stack += e.args
    return list(found.values())


def _host(program: TypedProgram) -> Mapping[str, Any]:
    """Host values to look at a schedule with: parameters as declared, everything there, and 1 for what is unknown."""
    env: dict[str, Any] = {name: info.value for name, info in program.params.items()}
    env.update({name: 1.0 for name, info in program.inputs.items() if info.stage == STEP})
    env.update({e.value: 1.0 for root in _roots(program) for e in root.walk() if e.op == "size"})
    env[PRESENT] = frozenset(program.inputs) | {"mask", "target"}
    return env
