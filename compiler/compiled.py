"""Runs a program: one compiled graph per variant, and an account of how many there are and why."""

from __future__ import annotations

import math
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._dynamo.decorators import mark_unbacked

from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.host import PRESENT, evaluate
from ..dsl.live import buffers
from ..dsl.typed import Expr, TypedProgram
from .emit import argument_names, emit
from .events import CompileEvent, publish
from .ir import Graph
from .lower import HostSlot, lower
from .passes import optimise
from .specialise import Facts, Schedule, weight

INDUCTOR_SPLIT = 4096
"""Number of values above which Inductor splits a reduction; a guard of graphs with dynamic sizes."""


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
    size: tuple[Any, ...]
    dtype: torch.dtype
    device: torch.device
    gradients: tuple[bool, ...]
    grad_mode: bool


class Variant(NamedTuple):
    """A compiled graph with the names of its inputs and the numbers that the host supplies."""

    call: Callable[..., tuple[Tensor, Tensor, Tensor]]
    names: tuple[str, ...]
    slots: tuple[HostSlot, ...]
    terms: tuple[str, ...]
    dynamic_size: bool


class Result(NamedTuple):
    """One evaluation: the total (0-d), the raw term values `[T]` in the order of ``names``, and empty regions."""

    total: Tensor
    values: Tensor
    names: tuple[str, ...]
    empty_regions: Tensor


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
        self._graphs: dict[Facts, tuple[Graph, tuple[HostSlot, ...], tuple[str, ...]]] = {}
        self._required: dict[Facts, frozenset[str]] = {}
        self._variants: dict[Key, Variant] = {}
        self._first_size: tuple[Any, ...] | None = None

    def graph(self, facts: Facts) -> tuple[Graph, tuple[HostSlot, ...], tuple[str, ...]]:
        """The optimised graph of a variant, its host numbers and the names of its inputs."""
        found = self._graphs.get(facts)
        if found is None:
            lowered = lower(self.program, facts)
            graph = optimise(lowered.graph)
            found = self._graphs[facts] = (graph, lowered.slots, tuple(argument_names(graph)[:-1]))
        return found

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
                names = self.graph(variant)[2]
                found |= {"state" if name.startswith("state.") else name for name in names}
            self._required[facts] = found
        return found

    def __call__(self, facts: Facts, tensors: Mapping[str, Tensor], env: Mapping[str, Any]) -> Result:
        """Evaluate one step.

        Args:
            facts: the variant, from ``schedule.facts``.
            tensors: bound tensors by input name, all of one dtype and device: `[B, H, W, k]` and `[N, k]`.
            env: host values of the step, from ``schedule.environment``.

        Raises:
            LossError: a weight or schedule is not finite at this step.
        """
        names = self.graph(facts)[2]
        bound = [tensors[name] for name in names]
        key = self._key(facts, bound)
        variant = self._variants.get(key)
        if variant is None:
            return self._first_call(key, facts, bound, env)
        return self._run(variant, bound, env)

    def _key(self, facts: Facts, bound: list[Tensor]) -> Key:
        image = next((t for t in bound if t.dim() == 4), None)
        size: tuple[Any, ...] = () if image is None else tuple(image.shape[:3])
        if self._first_size is None and size:
            self._first_size = size
        if size and size != self._first_size:
            # Further sizes share one graph per batch size; torch would tie equal height and width together, and
            # Inductor reduces up to 4096 values in another way than more.
            pixels = size[1] * size[2]
            small = (pixels <= INDUCTOR_SPLIT) + (3 * pixels <= INDUCTOR_SPLIT)
            size = (size[0], small, "square" if size[1] == size[2] else "any")
        grad_mode = torch.is_grad_enabled()
        gradients = tuple(grad_mode and t.requires_grad for t in bound)
        reference = bound[0]
        return Key(facts, size, reference.dtype, reference.device, gradients, grad_mode)

    def _run(self, variant: Variant, bound: list[Tensor], env: Mapping[str, Any]) -> Result:
        reference = bound[0]
        numbers = self._numbers(variant.slots, env)
        host = torch.tensor(numbers or [0.0], dtype=reference.dtype)
        if reference.device.type != "cpu":
            host = host.pin_memory().to(reference.device, non_blocking=True)
        args = [_prepare(t, variant.dynamic_size) for t in bound]
        if torch.is_autocast_enabled(reference.device.type):
            with torch.autocast(reference.device.type, enabled=False):
                total, values, empty = variant.call(*args, host)
        else:
            total, values, empty = variant.call(*args, host)
        return Result(total, values, variant.terms, empty)

    def _numbers(self, slots: tuple[HostSlot, ...], env: Mapping[str, Any]) -> list[float]:
        memo: dict[int, Any] = {}
        numbers: list[float] = []
        for slot in slots:
            if not all(bool(evaluate(condition, env, memo)) == truth for condition, truth in slot.path):
                numbers.append(1.0)
                continue
            number = weight(list(slot.factors), env) if slot.value is None else float(evaluate(slot.value, env, memo))
            if not math.isfinite(number):
                raise LossError([_not_finite(slot, number, env)])
            numbers.append(number)
        return numbers

    def constant(self, facts: Facts, env: Mapping[str, Any]) -> Result:
        """Evaluate a variant that reads no tensor at all."""
        graph, slots, _ = self.graph(facts)
        total, values, empty = emit(graph)(torch.tensor(self._numbers(slots, env) or [0.0]))
        return Result(total, values, facts.terms, empty)

    def _first_call(self, key: Key, facts: Facts, bound: list[Tensor], env: Mapping[str, Any]) -> Result:
        graph, slots, names = self.graph(facts)
        module = emit(graph)  # code of its own: torch limits how often one piece of code may be compiled
        self.stats.predicted += 1
        dynamic = bool(key.size) and isinstance(key.size[-1], str)
        backend = self._usable_backend(key.device)
        call: Callable[..., Any] = module
        if backend == "eager":
            self.stats.graphs += 1
        else:
            call = torch.compile(module, fullgraph=True, backend=self._counting(backend))
        variant = self._variants[key] = Variant(call, names, slots, facts.terms, dynamic)
        if backend == "eager":
            return self._run(variant, bound, env)
        publish(CompileEvent("start", f"compiling the loss graph: {self._reason(key)}"))
        breaks = _graph_breaks()
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
        self.stats.graph_breaks += _graph_breaks() - breaks
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
        size = ""
        if key.size:
            several = isinstance(key.size[-1], str)
            size = ", any image size" if several else f", {key.size[2]}x{key.size[1]} pixels"
        return f"{key.facts.describe()}{size}{' (the first call)' if first else ' (new here)'}"

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
        _warn_once(f"the loss runs without compilation: {missing}")
        return "eager"


def _prepare(t: Tensor, dynamic_size: bool) -> Tensor:
    """An input in the form that never recompiles: any number of gaussians, and any image size if asked for."""
    if t.dim() == 2:
        # A view is no leaf: torch fixes the shape of parameters, but not of what is made from them.
        view = t.view_as(t)
        mark_unbacked(view, 0)
        return view
    if dynamic_size:
        view = t.view_as(t)
        torch._dynamo.mark_dynamic(view, (1, 2))
        return view
    return t


def _graph_breaks() -> int:
    return sum(torch._dynamo.utils.counters["graph_break"].values())


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=5)


@cache
def missing_compiler(device: str) -> str:
    """What `torch.compile` would need on this machine, in words; "" when nothing is missing."""
    if device == "cuda":
        from torch.utils._triton import has_triton

        return "" if has_triton() else "Triton is not installed (`pip install triton`)"
    from torch._inductor import cpp_builder, exc

    try:
        compiler = cpp_builder.get_cpp_compiler()
    except (exc.InvalidCxxCompiler, RuntimeError, OSError):
        return "no C++ compiler was found (install g++, or set CXX)"
    found = shutil.which(str(compiler))
    return "" if found else f"the C++ compiler `{compiler}` was not found (install g++, or set CXX)"


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
