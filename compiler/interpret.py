"""The oracle: an eager walk of the checked program, in any precision, without the graph and its passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..dsl.builtins.chances import KEY
from ..dsl.host import call_host, evaluate
from ..dsl.inputs import BY_NAME, HOST_SIZES
from ..dsl.typed import Expr, TypedProgram
from ..dsl.types import CONSTANT
from .call import AXES, axes_of, base_name, shape_of
from .emit import ARITHMETIC, kernel
from .ir import joined
from .kernels import pointwise, regions
from .lower_inputs import is_sparse
from .resolve import resolve
from .specialise import Schedule

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"exp": torch.exp, "sigmoid": torch.sigmoid, "": lambda x: x}


class Interpreter:
    """Evaluates one step of a program on tensors bound by input name (see `runtime.binding`).

    Args:
        program: the checked program.
        tensors: `[B, H, W, k]` and `[N, k]` tensors by input name (`state.scales` is the raw parameter); no "mask"
            entry means that the item has none. Memories and results of extern functions, such as ``memory:mean``,
            are among them.
        step: counted from 0.
        max_steps: length of the run.
    """

    def __init__(self, program: TypedProgram, tensors: Mapping[str, Tensor], step: int, max_steps: int) -> None:
        self.program, self.tensors = program, tensors
        schedule = Schedule(program)
        self.env = schedule.environment(step, max_steps, frozenset(tensors) | {n.partition(".")[0] for n in tensors})
        self.env.update(_sizes(tensors))
        lists = {n.partition("[")[0] for n in tensors if "[" in n}
        lengths = {name: len({n.partition("]")[0] for n in tensors if n.startswith(f"{name}[")}) for name in lists}
        facts = schedule.facts(self.env, "mask" in tensors, None, lengths)
        self._zeros = facts.zeros()
        self.resolved = resolve(program, facts.terms, self._zeros, facts.given())
        self.reference = next(t for t in tensors.values() if t.is_floating_point())
        self._known: dict[tuple[int, int], Any] = {}
        self._guards: list[Tensor] = []

    def run(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The total, and the weighted value of each term that exists at this step."""
        terms: dict[str, Tensor] = {}
        for t in self.resolved.terms:
            value = self._tensor(self.value(t.core, None))
            for divides, factor in t.factors:
                number = float(evaluate(factor, self.env))
                value = value / number if divides else value * number
            terms[t.term.name] = value
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
                stack.extend((a, False) for a in reversed(args) if a.type.kind.name not in ("state", "camera"))
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
            return regions.component(x, e.value) if isinstance(x, Tensor) and x.dim() else x
        if e.op == "field":
            return self.value(e.args[0], guard)[e.value]
        args = self._aligned([self.value(a, guard) for a in e.args], e)
        if guard is not None and e.op in ("div", "pow"):
            at = 1 if e.op == "div" else 0
            args[at] = _guarded(args[at], guard)
        if e.op in ARITHMETIC:
            return ARITHMETIC[e.op](*args)
        return regions.compare(self._tensor(args[0]), args[1], e.op)

    def _aligned(self, values: list[Any], e: Expr) -> list[Any]:
        """Operands with as many dimensions as the widest: a value per image beside that image's pixels."""
        shapes = [shape_of(a.type.kind) for a in e.args]
        rank = joined(shapes).rank
        return [
            regions.lift(v, rank - s.rank) if isinstance(v, Tensor) and v.dim() and 0 <= s.rank < rank else v
            for v, s in zip(values, shapes)
        ]

    def _input(self, e: Expr, holes: bool = False) -> Tensor:
        view, name = base_name(e.value)
        if name.startswith("pixel."):
            return regions.position(self._pixels(view), -2 if name == "pixel.x" else -3)
        spec = BY_NAME.get(name)
        if spec is None:
            found = self.tensors[e.value]
            return found if holes or not is_sparse(e) else pointwise.without_holes(found)
        raw, activation = spec.raw
        return _ACTIVATIONS[activation](self.tensors[f"{view}state.{raw}" if raw else e.value])

    def _pixels(self, view: str) -> Tensor:
        names = (f"{view}rendered", f"{view}target", f"{view}alpha", f"{view}depth")
        return next(self.tensors[n] for n in names if n in self.tensors)

    def _region(self, name: str) -> Any:
        view, name = base_name(name)
        mask = self.tensors.get(f"{view}mask")
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
        operand = next((a for n, a in zip(e.names, e.args) if n in ("x", "a")), e)
        kinds = {p.name: p.kind for p in record.parsed.params}
        for i, (name, a) in enumerate(zip(e.names, e.args)):
            if kinds[name] == "state":
                continue
            if kinds[name] == "camera":
                values[name] = (self.tensors[f"{a.value}.intrinsics"], self.tensors[f"{a.value}.extrinsics"])
                continue
            if kinds[name] == "whole" and a.type.stage == CONSTANT:
                values[name] = int(evaluate(a, {}))
                continue
            if name in AXES and not a.type.is_host and a.type.kind.name in ("mode", "string"):
                values[name] = axes_of(operand.type.kind, str(self._zeros.text(a)), name == "axes")
                continue
            inner = guard
            if condition is not None:
                inner = self._keep(_both(guard, condition if i == 1 else ~condition))
            item = self._input(a, True) if "holes" in record.needs and a.op == "input" else self.value(a, inner)
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
        self._context(e, values)
        region = values.get("r")
        if isinstance(region, Tensor) and region.dim() and region.dim() < shape_of(operand.type.kind).rank + 1:
            values["r"] = regions.spread(region, values["x"] if "x" in values else values["a"])
        if pixel_by_pixel:
            many, values = self._spread_out(e, many, values, variadic)
        if isinstance(region, float) and record.of_region:
            return region
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

    def _spread_out(
        self, e: Expr, many: list[Any], values: dict[str, Any], variadic: str | None
    ) -> tuple[list[Any], dict[str, Any]]:
        """The operands of a function of each value, with as many dimensions as the widest."""
        places = [i for i, n in enumerate(e.names) if n == variadic or n in values]
        if len(places) != len(e.args) or any(isinstance(v, tuple) for v in values.values()):
            return many, values
        if variadic is not None and values:
            return many, values
        aligned = self._aligned(many if variadic else [values[n] for n in e.names], e)
        return (aligned, values) if variadic else (many, dict(zip(e.names, aligned)))

    def _context(self, e: Expr, values: dict[str, Any]) -> None:
        """What the kernel needs beyond its arguments."""
        first = next((a for a in e.args if a.type.kind.is_tensor), e)
        for need in e.builtin.needs:
            if need == "per_image":
                values[need] = first.type.kind.layout == "pixels"
            elif need == "key":
                key = Expr("call", (), e.type, e.span, e.source, KEY._replace(seed=e.builtin.seed), ("x",))
                values[need] = float(call_host(key, [self.env["step"]]))
            elif need == "pixels":
                values[need] = self._pixels(f"{e.type.kind.view}." if e.type.kind.view else "")
            elif need.startswith("state."):
                state = next(a for a in e.args if a.type.kind.name == "state")
                name = base_name(str(state.value))[0] + need
                values[need.partition(".")[2]] = self._input(Expr("input", (), e.type, e.span, e.source, name))

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
        if isinstance(x, tuple):
            return x
        like = self._pixels("") if space == "pixels" else self.tensors["state.opacities"]
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


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """The sizes of the frame and the model, from inputs that have them."""
    found: dict[str, float] = {}
    for name, tensor in tensors.items():
        spec = BY_NAME.get(name)
        if spec is not None and spec.kind.layout == "pixels":
            found.update(zip(HOST_SIZES, map(float, tensor.shape[:3])))
        elif name.startswith("state."):
            found["N"] = float(tensor.shape[0])
    return found
