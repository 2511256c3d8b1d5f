"""Runs a program: one compiled graph per variant, and an account of how many there are and why."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.host import PRESENT, evaluate
from ..dsl.inputs import BY_NAME, buffer_of
from ..dsl.live import buffers
from ..dsl.typed import Expr, TypedProgram
from .backend import graph_breaks, missing_compiler, warn_once
from .call import base_name
from .emit import argument_names, emit
from .events import CompileEvent, publish
from .frames import Frames, prepare
from .ir import Graph
from .lower import HostSlot, Lowered, lower, lower_values
from .passes import optimise
from .resolve import ExternCall, Resolved, resolve
from .specialise import Facts, Schedule, weight

MAIN = "main"
"""The part of a variant that has its terms; others make what extern functions and memories begin with."""


class Stats:
    """What was compiled so far.

    Attributes:
        predicted: graphs that the calls so far should have needed: one per variant, image size class, dtype, device
            and pattern of inputs that carry gradients.
        graphs: graphs that were handed to the backend.
        graph_breaks: places where torch had to leave the graph.
        compile_seconds: time that first calls took, compilation included.
    """

    def __init__(self) -> None:
        self.predicted = 0
        self.graphs = 0
        self.graph_breaks = 0
        self.compile_seconds = 0.0

    @property
    def recompiles(self) -> int:
        """Graphs beyond the predicted ones: a value that should not have mattered did."""
        return max(0, self.graphs - self.predicted)

    def __repr__(self) -> str:
        return (
            f"Stats(graphs={self.graphs}, predicted={self.predicted}, recompiles={self.recompiles}, "
            f"graph_breaks={self.graph_breaks}, compile_seconds={self.compile_seconds:.1f})"
        )


class Key(NamedTuple):
    """Everything that decides which graph a call needs. The number of gaussians is not part of it."""

    facts: Facts
    part: str
    size: tuple[Any, ...]
    dtype: torch.dtype
    device: torch.device
    gradients: tuple[bool, ...]
    grad_mode: bool


class Variant(NamedTuple):
    """A compiled graph with the names of its inputs and the numbers that the host supplies."""

    call: Callable[..., tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]]
    part: Part
    terms: tuple[str, ...]
    dynamic: tuple[tuple[int, ...], ...]


class Part(NamedTuple):
    """A graph of a variant: the numbers of its host, and its inputs with the spaces that they have."""

    graph: Graph
    slots: tuple[HostSlot, ...]
    names: tuple[str, ...]
    spaces: tuple[str, ...]


class Result(NamedTuple):
    """One evaluation: the total (0-d), the raw term values `[T]` in the order of ``names``, empty regions, outputs."""

    total: Tensor
    values: Tensor
    names: tuple[str, ...]
    empty_regions: Tensor
    outputs: dict[str, Tensor]


class CompiledProgram:
    """Calls the right variant of a program, compiling it first if it is new.

    Args:
        program: the checked program.
        backend: "inductor", "eager" (no compilation), or any backend that `torch.compile` knows.
    """

    def __init__(self, program: TypedProgram, backend: str = "inductor") -> None:
        self.program = program
        self.backend = backend
        self.schedule = Schedule(program)
        self.stats = Stats()
        self._resolved: dict[Facts, Resolved] = {}
        self._levels: dict[Facts, tuple[tuple[ExternCall, ...], ...]] = {}
        self._parts: dict[tuple[Facts, str], Part] = {}
        self._required: dict[Facts, frozenset[str]] = {}
        self._variants: dict[Key, Variant] = {}
        self._frames = Frames()

    def resolved(self, facts: Facts) -> Resolved:
        """The program of a variant: lists unrolled, extern functions and memories as inputs."""
        found = self._resolved.get(facts)
        if found is None:
            found = self._resolved[facts] = resolve(self.program, facts.terms, facts.zeros(), facts.given())
        return found

    def levels(self, facts: Facts) -> tuple[tuple[ExternCall, ...], ...]:
        """The calls of extern functions in the order in which they can be made, as many at once as possible."""
        found = self._levels.get(facts)
        if found is None:
            calls = self.resolved(facts).externs
            reads = {call.name: self._reads(facts, call) for call in calls}
            depth = dict.fromkeys(reads, 0)
            for _ in calls:  # as often as one can wait for another
                for name, read in reads.items():
                    depth[name] = max((depth[other] + 1 for other in read & depth.keys()), default=0)
            found = self._levels[facts] = tuple(
                tuple(c for c in calls if depth[c.name] == level) for level in sorted(set(depth.values()))
            )
        return found

    def _reads(self, facts: Facts, call: ExternCall) -> set[str]:
        """Inputs of a call, and of what the memories that it reads start as."""
        starts = {f"memory:{m.info.name}": m.init for m in self.resolved(facts).memories}
        pending, found = list(call.args), set[str]()
        while pending:
            for e in pending.pop().walk():
                name = str(e.value).partition(".")[0]
                if e.op == "input" and name not in found:
                    found.add(name)
                    pending += [starts[name]] if name in starts else []
        return found

    def part(self, facts: Facts, name: str = MAIN) -> Part:
        """The optimised graph of a part of a variant.

        That is the terms and new values of memories ("main"), the tensors that the extern functions of one level are
        called with ("externs 0"), or what a memory starts as ("init NAME").
        """
        found = self._parts.get((facts, name))
        if found is None:
            lowered = lower(self.resolved(facts), facts) if name == MAIN else self._values(facts, name)
            graph = optimise(lowered.graph)
            names = tuple(argument_names(graph)[:-1])
            spaces = {node.attr: node.shape.space for node in graph.nodes if node.op == "input"}
            found = Part(graph, lowered.slots, names, tuple(spaces[n] for n in names))
            self._parts[facts, name] = found
        return found

    def _values(self, facts: Facts, part: str) -> Lowered:
        word, _, of = part.partition(" ")
        resolved = self.resolved(facts)
        if word == "init":
            memory = next(m for m in resolved.memories if m.info.name == of)
            return lower_values(resolved, facts, {"init": memory.init})
        values = {}
        for call in self.levels(facts)[int(of)]:
            for i, argument in enumerate(call.args):
                if is_computed(argument):
                    values[f"{call.name} {i}"] = argument
        return lower_values(resolved, facts, values)

    def requires(
        self, step: int, max_steps: int, group: str | None = None, host: Mapping[str, float | bool] | None = None
    ) -> frozenset[str]:
        """Render buffers and item fields that a step reads, whether the item has a mask and optional inputs or not."""
        env = self.schedule.environment(step, max_steps, host=host)
        facts = self.schedule.facts(env, True, group)
        found = self._required.get(facts)
        if found is None:
            found = buffers(self.schedule.inputs(facts))
            for variant in (facts, facts._replace(has_mask=False)) if facts.terms else ():
                # The graph may read an input only for its size.
                found |= {"state" if n.startswith("state.") else buffer_of(n) for n in self.read(variant)}
            self._required[facts] = found
        return found

    def read(self, facts: Facts) -> frozenset[str]:
        """The tensors that all parts of a variant read, without those that parts give each other."""
        parts = [MAIN, *(f"externs {i}" for i in range(len(self.levels(facts))))]
        parts += [f"init {m.info.name}" for m in self.resolved(facts).memories]
        names = {n for part in parts for n in self.part(facts, part).names}
        names |= {n for call in self.resolved(facts).externs for a in call.args if (n := given_input(a))}
        return frozenset(n for n in names if ":" not in n)

    def __call__(self, facts: Facts, tensors: Mapping[str, Tensor], env: Mapping[str, Any], part: str = MAIN) -> Result:
        """Evaluate one step, or a part of it.

        Args:
            facts: the variant, from ``schedule.facts``.
            tensors: bound tensors by input name, all of one dtype and device: `[B, H, W, k]` and `[N, k]`.
            env: host values of the step, from ``schedule.environment``.
            part: which graph of the variant.

        Raises:
            LossError: a weight or schedule is not finite at this step.
        """
        graph = self.part(facts, part)
        bound = [tensors[name] for name in graph.names]
        if not bound:
            total, values, empty, outputs = emit(graph.graph)(torch.tensor(self._numbers(graph.slots, env) or [0.0]))
            return _result(graph, facts.terms, total, values, empty, outputs)
        key, dynamic = self._key(facts, part, graph, bound)
        variant = self._variants.get(key)
        if variant is None:
            terms = facts.terms if part == MAIN else ()
            return self._first_call(key, Variant(emit(graph.graph), graph, terms, dynamic), bound, env)
        return self._run(variant, bound, env)

    def _key(
        self, facts: Facts, part: str, graph: Part, bound: list[Tensor]
    ) -> tuple[Key, tuple[tuple[int, ...], ...]]:
        size, dynamic = self._frames.classes(graph.names, graph.spaces, bound)
        grad_mode = torch.is_grad_enabled()
        gradients = tuple(grad_mode and t.requires_grad for t in bound)
        reference = _reference(bound)
        return Key(facts, part, size, reference.dtype, reference.device, gradients, grad_mode), dynamic

    def _run(self, variant: Variant, bound: list[Tensor], env: Mapping[str, Any]) -> Result:
        reference = _reference(bound)
        numbers = self._numbers(variant.part.slots, env)
        host = torch.tensor(numbers or [0.0], dtype=reference.dtype)
        if reference.device.type != "cpu":
            host = host.pin_memory().to(reference.device, non_blocking=True)
        args = [prepare(t, d) for t, d in zip(bound, variant.dynamic)]
        if torch.is_autocast_enabled(reference.device.type):
            with torch.autocast(reference.device.type, enabled=False):
                made = variant.call(*args, host)
        else:
            made = variant.call(*args, host)
        return _result(variant.part, variant.terms, *made)

    def _numbers(self, slots: tuple[HostSlot, ...], env: Mapping[str, Any]) -> list[float]:
        memo: dict[int, Any] = {}
        numbers: list[float] = []
        for slot in slots:
            if not all(bool(evaluate(condition, env, memo)) == truth for condition, truth in slot.path):
                numbers.append(1.0)
                continue
            number = weight(list(slot.factors), env) if slot.value is None else float(evaluate(slot.value, env, memo))
            limit = slot.value is not None and slot.value.op == "param"  # `inf` as a limit that nothing reaches
            if math.isnan(number) or (math.isinf(number) and not limit):
                raise LossError([_not_finite(slot, number, env)])
            numbers.append(number)
        return numbers

    def _first_call(self, key: Key, variant: Variant, bound: list[Tensor], env: Mapping[str, Any]) -> Result:
        module = variant.call  # code of its own: torch limits how often one piece of code may be compiled
        self.stats.predicted += 1
        backend = self._usable_backend(key.device)
        call: Callable[..., Any] = module
        if backend == "eager":
            self.stats.graphs += 1
        else:
            call = torch.compile(module, fullgraph=True, backend=self._counting(backend))
        variant = self._variants[key] = variant._replace(call=call)
        if backend == "eager":
            return self._run(variant, bound, env)
        publish(CompileEvent("start", f"compiling the loss graph: {self._reason(key)}"))
        breaks = graph_breaks()
        started = time.perf_counter()
        try:
            with warnings.catch_warnings():
                # Tracing looks at `.grad` of the views that stand for parameters; nobody needs to hear of it.
                warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
                result = self._run(variant, bound, env)
        except torch._dynamo.exc.BackendCompilerFailed as problem:
            result = self._without_compiler(key, variant._replace(call=module), bound, env, problem)
        seconds = time.perf_counter() - started
        self.stats.compile_seconds += seconds
        self.stats.graph_breaks += graph_breaks() - breaks
        publish(CompileEvent("end", f"compiled the loss graph in {seconds:.1f} s", seconds))
        return result

    def _without_compiler(
        self,
        key: Key,
        variant: Variant,
        bound: list[Tensor],
        env: Mapping[str, Any],
        problem: BaseException,
    ) -> Result:
        first = str(problem).strip().splitlines()
        warnings.warn(
            f"the loss runs without compilation, because the backend `{self.backend}` failed: "
            f"{first[0] if first else type(problem).__name__}",
            stacklevel=4,
        )
        self._variants[key] = variant
        return self._run(variant, bound, env)

    def _reason(self, key: Key) -> str:
        first = len(self._variants) == 1
        what = key.facts.describe() if key.part == MAIN else f"{key.part} of {key.facts.describe()}"
        return f"{what}{self._frames.describe(key.size)}{' (the first call)' if first else ' (new here)'}"

    def _counting(self, name: str) -> Callable[..., Any]:
        """The backend, counting the graphs that it is given."""
        compile_fn = torch._dynamo.lookup_backend(name)

        def backend(module: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
            self.stats.graphs += 1
            return compile_fn(module, inputs)

        return backend

    def _usable_backend(self, device: torch.device) -> str:
        if self.backend != "inductor":
            return self.backend
        missing = missing_compiler(device.type)
        if not missing:
            return self.backend
        warn_once(f"the loss runs without compilation: {missing}")
        return "eager"


def is_computed(argument: Expr) -> bool:
    """Whether an argument of an extern function is a tensor that a graph has to make."""
    kind = argument.type.kind
    given = argument.type.is_host or kind.name in ("view", "state", "camera", "list", "mode", "string")
    return not given and not given_input(argument)


def given_input(argument: Expr) -> str:
    """The graph input that an argument of an extern function is as it stands; "" if it is none."""
    if argument.op != "input" or not argument.type.kind.is_tensor or argument.type.kind.element is not None:
        return ""
    name = str(argument.value)
    spec = BY_NAME.get(base_name(name)[1])
    made = spec is not None and (spec.raw[1] or not spec.buffer)  # activated, or made from the pixels
    return "" if made else f"{base_name(name)[0]}state.{spec.raw[0]}" if spec is not None and spec.raw[0] else name


def _reference(bound: list[Tensor]) -> Tensor:
    return next((t for t in bound if t.is_floating_point()), bound[0])


def _result(part: Part, terms: tuple[str, ...], total: Tensor, values: Tensor, empty: Tensor, more: Any) -> Result:
    outputs = {name: value for (name, _), value in zip(part.graph.outputs, more)}
    return Result(total, values, terms, empty, outputs)


def _not_finite(slot: HostSlot, number: float, env: Mapping[str, Any]) -> Diagnostic:
    at: Expr = slot.value if slot.value is not None else slot.factors[0][1]
    return Diagnostic(
        "BND008",
        f"`{slot.name}` is {number} at step {int(env['step'])}",
        at.source,
        at.span,
        notes=[f"`{name}` is {value}" for name, value in env.items() if name not in ("progress", PRESENT)],
        help=["keep divisors and arguments of `log` above 0 over the whole run, for instance with `max(x, 1e-6)`"],
    )
