"""Runs a program: one compiled graph per variant, and an account of how many there are and why."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from ..dsl.inputs import BY_NAME
from ..dsl.typed import Expr, TypedProgram
from .backend import graph_breaks, missing_compiler, warn_once
from .call import base_name
from .emit import argument_names, emit
from .events import compiling
from .frames import Frames
from .gradients import Made, carrying, value_and_gradients, with_gradients
from .ir import DIFFERENTIATED, TRACKED, VALUES
from .lower import Lowered, lower, lower_values
from .numbers import Numbers
from .passes import optimise
from .ranks import Layout, of_externs, over_ranks
from .resolve import ExternCall, Resolved, resolve
from .specialise import Facts, Schedule
from .variants import GraphRun, Key, Part, Result, Stats, Variant, reference
from .windows.direct import Direct, is_direct
from .windows.routes import AUTO, choose, route_of, runner, with_kernels

EAGER = "eager"
MAIN = "main"
"""The part of a variant that has its terms; others make what extern functions and memories begin with."""


class CompiledProgram:
    """Calls the right variant of a program, compiling it first if it is new.

    Args:
        program: the checked program.
        backend: "inductor", "eager" (no compilation), or any backend that `torch.compile` knows.
        kernels: what computes windows: "auto" chooses; see `windows.routes`.
        layout: how ranks divide a batch; None: this process has all of it.
    """

    def __init__(
        self, program: TypedProgram, backend: str = "inductor", kernels: str = AUTO, layout: Layout | None = None
    ) -> None:
        self.program = program
        self.layout = layout
        self.backend = backend
        self.kernels = kernels
        self.schedule = Schedule(program)
        self.stats = Stats()
        self._resolved: dict[Facts, Resolved] = {}
        self._levels: dict[Facts, tuple[tuple[ExternCall, ...], ...]] = {}
        self._parts: dict[tuple[Facts, str], Part] = {}
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
            if self.layout is not None:
                graph = over_ranks(graph, of_externs(self.resolved(facts).externs, self.layout))
            names = tuple(argument_names(graph)[:-1])
            spaces = {node.attr: node.shape.space for node in graph.nodes if node.op == "input"}
            found = Part(graph, Numbers(lowered.slots), names, tuple(spaces[n] for n in names))
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
            made = Made(*emit(graph.graph)(torch.tensor(graph.numbers(env) or [0.0])))
            return _result(graph, facts.terms, made)
        like, tracking = reference(bound), torch.is_grad_enabled()
        gradients = tuple(tracking and t.requires_grad for t in bound)
        key = Key(facts, part, (), like.dtype, like.device, gradients)
        variant = self._variants.get(key)
        if variant is None:
            size, dynamic = self._frames.classes(graph.names, graph.spaces, bound)
            key = key._replace(size=size)
            variant = self._variants.get(key)
            if variant is None:
                return self._first_call(key, graph, dynamic, bound, env)
        return self._run(variant, bound, env)

    def _run(self, variant: Variant, bound: list[Tensor], env: Mapping[str, Any]) -> Result:
        numbers = variant.part.numbers(env)
        if variant.wanted:
            made = with_gradients(variant.run, bound, numbers, variant.wanted)
        elif variant.tracked:
            made = variant.run(bound, numbers)
        else:
            with torch.no_grad():
                made = variant.run(bound, numbers)
        return _result(variant.part, variant.terms, made)

    def _first_call(
        self, key: Key, part: Part, dynamic: tuple[tuple[int, ...], ...], bound: list[Tensor], env: Mapping[str, Any]
    ) -> Result:
        self.stats.predicted += 1
        backend = self._usable_backend(key.device)
        breaks, started = graph_breaks(), time.perf_counter()
        with nullcontext() if backend == EAGER else compiling(f"the loss graph: {self._reason(key)}"):
            result = self._attempt(key, part, dynamic, backend, bound, env)
        self.stats.compile_seconds += time.perf_counter() - started
        self.stats.graph_breaks += graph_breaks() - breaks
        return result

    def _attempt(
        self,
        key: Key,
        part: Part,
        dynamic: tuple[tuple[int, ...], ...],
        backend: str,
        bound: list[Tensor],
        env: Mapping[str, Any],
    ) -> Result:
        """The first result, of the best way to evaluate a part that works."""
        planned = self._planned(key, part, backend)
        for variant in self._attempts(key, planned, dynamic, backend):
            direct = isinstance(variant.run, Direct)
            self._variants[key._replace(size=()) if direct else key] = variant
            if direct or backend == EAGER:
                self.stats.graphs += 1
            try:
                with warnings.catch_warnings():
                    # Tracing looks at `.grad` of the views that stand for parameters; nobody needs to hear of it.
                    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
                    return self._run(variant, bound, env)
            except torch._dynamo.exc.BackendCompilerFailed as problem:
                self._warn_of(problem)
                break
            except torch._dynamo.exc.TorchDynamoException:
                if not variant.wanted:
                    raise  # the ordinary way of autograd is the last
        variant = self._variants[key] = self._eager(key, part, dynamic)
        return self._run(variant, bound, env)

    def _planned(self, key: Key, part: Part, backend: str) -> Part:
        """The part with window kernels in it, where there are any and they can be used here."""
        if key.part != MAIN:
            return part
        gradients = frozenset(n for n, carries in zip(part.names, key.gradients) if carries)
        graph = with_kernels(part.graph, gradients, choose(self.kernels, backend, key.device, key.dtype), key.dtype)
        if graph is part.graph:
            return part
        return part._replace(graph=graph)

    def _attempts(self, key: Key, part: Part, dynamic: tuple[tuple[int, ...], ...], backend: str) -> Iterator[Variant]:
        """Ways to evaluate a part, the best first."""
        terms = key.facts.terms if key.part == MAIN else ()
        tracked = any(key.gradients)
        wanted: tuple[int, ...] = ()
        direct = key.device.type == "cpu" and is_direct(part.graph)
        if tracked and key.part == MAIN and (direct or backend != EAGER):
            reached = carrying(part.graph)
            wanted = tuple(i for i, n in enumerate(part.names) if key.gradients[i] and n in reached)
            tracked = False
        if direct:
            run: Callable[..., Any] = Direct(part.graph, part.names, wanted, runner(route_of(part.graph)))
            yield Variant(run, part, terms, wanted)
        if wanted:
            run = self._compiled(value_and_gradients(emit(part.graph, part.names, DIFFERENTIATED), wanted), backend)
            yield Variant(GraphRun(run, dynamic, detached=True), part, terms, wanted)
            tracked = True
        # Code of its own: torch limits how often one piece of code may be compiled.
        module = emit(part.graph, part.names, TRACKED if tracked else VALUES)
        run = module if backend == EAGER else self._compiled(module, backend)
        yield Variant(GraphRun(run, dynamic, detached=not tracked), part, terms, (), tracked)

    def _compiled(self, function: Callable[..., Any], backend: str) -> Callable[..., Any]:
        return torch.compile(function, fullgraph=True, backend=self._counting(backend))

    def _eager(self, key: Key, part: Part, dynamic: tuple[tuple[int, ...], ...]) -> Variant:
        terms = key.facts.terms if key.part == MAIN else ()
        tracked = any(key.gradients)
        return Variant(GraphRun(emit(part.graph, part.names), dynamic, detached=not tracked), part, terms, (), tracked)

    def _warn_of(self, problem: BaseException) -> None:
        first = str(problem).strip().splitlines()
        warnings.warn(
            f"the loss runs without compilation, because the backend `{self.backend}` failed: "
            f"{first[0] if first else type(problem).__name__}",
            stacklevel=5,
        )

    def _reason(self, key: Key) -> str:
        first = not self._variants
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


def _result(part: Part, terms: tuple[str, ...], made: Made) -> Result:
    outputs = {name: value for (name, _), value in zip(part.graph.outputs, made.outputs)}
    return Result(made.total, made.terms, terms, made.empty, outputs)
