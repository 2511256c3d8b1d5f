"""The oracle: an eager walk of the checked program, in any precision, without the graph and its passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..dsl.host import environment, evaluate
from ..dsl.inputs import BY_NAME
from ..dsl.live import Zeros
from ..dsl.typed import Expr, TypedProgram
from .emit import ARITHMETIC, kernel
from .kernels import pointwise, regions

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"exp": torch.exp, "sigmoid": torch.sigmoid, "": lambda x: x}


class Interpreter:
    """Evaluates one step of a program on tensors bound by input name (see `runtime.binding`).

    Args:
        program: the checked program.
        tensors: `[B, H, W, k]` and `[N, k]` tensors by input name (`state.scales` is the raw parameter); no "mask"
            entry means that the item has none.
        step: counted from 0.
        max_steps: length of the run.
    """

    def __init__(self, program: TypedProgram, tensors: Mapping[str, Tensor], step: int, max_steps: int) -> None:
        self.program, self.tensors = program, tensors
        self.env = environment(step, max_steps, {n: p.value for n, p in program.params.items()})
        self.reference = next(iter(tensors.values()))
        self._zeros = Zeros({n: p.value for n, p in program.params.items()})
        self._known: dict[tuple[int, int], Any] = {}
        self._guards: list[Tensor] = []

    def run(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The total, and the weighted value of each term that exists at this step."""
        terms: dict[str, Tensor] = {}
        for t in self.program.terms:
            if t.when is None or evaluate(t.when, self.env):
                terms[t.name] = self._tensor(self.value(t.value, None))
        zero = torch.zeros((), dtype=self.reference.dtype)
        return sum(terms.values(), zero), terms

    def _tensor(self, x: Any) -> Tensor:
        return x if isinstance(x, Tensor) else torch.full((), float(x), dtype=self.reference.dtype)

    def value(self, e: Expr, guard: Tensor | None) -> Any:
        """The value of an expression: a tensor, or a float for host values and regions that are all or nothing."""
        if (id(e), id(guard)) not in self._known:
            for node in self._alike(e, guard):
                self._known[id(node), id(guard)] = self._evaluate(node, guard)
        return self._known[id(e), id(guard)]

    def _alike(self, e: Expr, guard: Tensor | None) -> list[Expr]:
        """The value and what it is made of under the same guard, operands first: long sums must not recurse."""
        order: list[Expr] = []
        seen: set[int] = set()
        stack = [(e, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                order.append(node)
            elif id(node) not in seen and (id(node), id(guard)) not in self._known:
                seen.add(id(node))
                stack.append((node, True))
                if self._zeros.is_zero(node) or node.type.is_host:
                    continue
                args = node.args
                if node.op == "if":
                    args = (args[0] if evaluate(args[1], self.env) else args[2],)
                elif (node.op == "call" and (guard is not None or _chooses(node))) or node.op == "component":
                    args = ()
                stack.extend((a, False) for a in reversed(args))
        return order

    def _evaluate(self, e: Expr, guard: Tensor | None) -> Any:
        if self._zeros.is_zero(e):
            return 0.0
        if e.type.is_host:
            return float(evaluate(e, self.env))
        if e.op == "input":
            return self._input(e)
        if e.op == "region":
            return self._region(e.value)
        if e.op == "tuple":
            return tuple(self.value(a, guard) for a in e.args)
        if e.op == "const":
            return e.value
        if e.op == "if":
            return self._wide(self.value(e.args[0] if evaluate(e.args[1], self.env) else e.args[2], guard), e)
        if e.op == "call":
            return self._call(e, guard)
        if e.op == "component":
            x = self._wide(self.value(e.args[0], _uniform(guard)), e.args[0])
            return regions.component(x, e.value)
        args = [self.value(a, guard) for a in e.args]
        if guard is not None and e.op in ("div", "pow"):
            at = 1 if e.op == "div" else 0
            args[at] = _guarded(args[at], guard)
        if e.op in ARITHMETIC:
            return ARITHMETIC[e.op](*args)
        return regions.compare(self._tensor(args[0]), args[1], e.op)

    def _input(self, e: Expr) -> Tensor:
        raw, activation = BY_NAME[e.value].raw
        return _ACTIVATIONS[activation](self.tensors[f"state.{raw}" if raw else e.value])

    def _region(self, name: str) -> Any:
        mask = self.tensors.get("mask")
        if name == "everywhere" or mask is None:
            return 0.0 if name == "unmasked" else 1.0
        return mask if name == "masked" else 1 - mask

    def _call(self, e: Expr, guard: Tensor | None) -> Any:
        record = e.builtin
        pixel_by_pixel = record.kernel.startswith("pointwise:")
        if not pixel_by_pixel:  # the guard changes values that this call may look at from elsewhere
            guard = _uniform(guard) if record.parsed.result.startswith("component ") else None
        values: dict[str, Any] = {}
        many: list[Any] = []
        variadic = next((p.name for p in record.parsed.params if p.variadic), None)
        condition: Tensor | None = None
        for i, (name, a) in enumerate(zip(e.names, e.args)):
            inner = guard
            if condition is not None:
                inner = self._keep(_both(guard, condition if i == 1 else ~condition))
            item = self.value(a, inner)
            if i == 0 and _chooses(e):
                condition = self._tensor(item) > 0.5
            if guard is not None and record.domain and record.domain[0] == name:
                item = _guarded(item, guard)
            if name != "r" or isinstance(item, Tensor):  # a region that is all or nothing is dealt with below
                item = self._wide(item, a)
            if name == variadic:
                many.append(item)
            else:
                values[name] = item
        region = values.get("r")
        if isinstance(region, float):
            del values["r"]
            if region == 0:
                return self._tensor(record.empty)
        if variadic and values:
            values[variadic] = many
            many = []
        if pixel_by_pixel and not any(isinstance(v, Tensor) for v in (*many, *values.values())):
            values = {n: self._tensor(v) if isinstance(v, float) else v for n, v in values.items()}
            many = [self._tensor(v) for v in many]
        return kernel(record.kernel)(*many, **values)

    def _keep(self, guard: Tensor) -> Tensor:
        self._guards.append(guard)  # results are kept by the identity of their guard, so it must stay alive
        return guard

    def _wide(self, x: Any, e: Expr) -> Any:
        """A value with all the pixels, gaussians and components that its kind has."""
        space, components = e.type.kind.space, int(e.type.kind.components)
        if space not in ("pixels", "gaussians") or (isinstance(x, Tensor) and x.dim() and x.shape[-1] == components):
            return x
        if isinstance(x, Tensor) and x.dim():
            return x.expand(*x.shape[:-1], components) if components > 0 else x
        like = self.tensors["rendered" if space == "pixels" else "state.opacities"]
        return pointwise.filled(self._tensor(x), like, max(components, 1))


def _chooses(e: Expr) -> bool:
    return e.builtin.parsed.params[0].kind == "condition"


def _uniform(guard: Tensor | None) -> Tensor | None:
    """The guard, if it says the same of all components."""
    return guard if guard is None or guard.dim() == 0 or guard.shape[-1] == 1 else None


def _both(guard: Tensor | None, condition: Tensor) -> Tensor:
    return condition if guard is None else guard & condition


def _guarded(x: Any, guard: Tensor) -> Any:
    fits = isinstance(x, Tensor) and guard.dim() in (0, x.dim())
    return torch.where(guard, x, torch.ones((), dtype=x.dtype)) if fits else x
