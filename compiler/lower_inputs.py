"""The leaves of a graph: inputs and regions, and what kernels need beyond their arguments."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from ..dsl.builtins.chances import KEY
from ..dsl.builtins.spec import Builtin
from ..dsl.inputs import BY_NAME
from ..dsl.typed import Expr
from ..dsl.types import NUMBER, STEP, TENSOR, Type
from .call import Call, Ref, base_name, shape_of
from .ir import SCALAR, Builder, Shape
from .specialise import BACKGROUND_IMAGE, Facts

FOR_OTHERS = ("network", "one_image", "holes")
"""What records need from others than the kernel's call."""


def is_sparse(e: Expr) -> bool:
    """Whether a value has holes, which may be NaN or infinite as well as 0."""
    density = e.type.facts.get("density")
    return density is not None and density.value == "sparse"


class Inputs:
    """The part of lowering that makes leaves; the subclass makes everything else."""

    builder: Builder
    facts: Facts

    @abstractmethod
    def value(self, e: Expr, guard: int | None) -> int:
        """The node of a value."""

    @abstractmethod
    def _add(self, op: str, args: tuple[int, ...], attr: Any, shape: Shape, e: Expr) -> int: ...

    @abstractmethod
    def _const(self, value: float, e: Expr) -> int: ...

    @abstractmethod
    def _host(self, e: Expr, divides: bool = False) -> int: ...

    def _input(self, e: Expr, holes: bool = False) -> int:
        """The node of an input: 0 where a sparse one is not finite, unless it is asked for with its holes."""
        view, name = base_name(e.value)
        spec = BY_NAME.get(name)
        shape = shape_of(e.type.kind)
        if name.startswith("pixel."):
            call = Call("regions:position", (Ref(0),), (("axis", -2 if name == "pixel.x" else -3),), 0.0)
            return self._add("kernel", (self._pixels(view, e),), call, shape, e)
        if name == "background" and f"{view}{BACKGROUND_IMAGE}" in self.facts.present:
            shape = Shape(f"{view.rstrip('.')}:pixels".lstrip(":"), 3)
        if spec is None:
            node = self._add("input", (), e.value, shape, e)
            if holes or not is_sparse(e):
                return node
            return self._add("kernel", (node,), Call("pointwise:without_holes", (Ref(0),), (), 0.0), shape, e)
        raw, activation = spec.raw
        node = self._add("input", (), f"{view}state.{raw}" if raw else e.value, shape, e)
        if not activation:
            return node
        return self._add("kernel", (node,), Call(f"pointwise:{activation}", (Ref(0),), (), 0.0), shape, e)

    def _pixels(self, view: str, e: Expr) -> int:
        """An input that has the pixels of a render: one that is read anyway, if there is one."""
        space = f"{view}:pixels".lstrip(":").replace(".:", ":")
        for i, found in enumerate(self.builder.graph.nodes):
            if found.op == "input" and found.shape.space == space and ":" not in str(found.attr):
                return i
        return self._add("input", (), f"{view}rendered", Shape(space, 3), e)

    def _region(self, e: Expr) -> int:
        view, name = base_name(e.value)
        there = f"{view}mask" in self.facts.present if view else self.facts.has_mask
        if name == "everywhere" or not there:
            return self._const(0.0 if name == "unmasked" else 1.0, e)
        shape = shape_of(e.type.kind)
        mask = self._add("input", (), f"{view}mask", shape, e)
        return mask if name == "masked" else self._add("not", (mask,), None, shape, e)

    def _camera(self, camera: Expr, nodes: list[int]) -> tuple[Ref, Ref]:
        refs = []
        for field in ("intrinsics", "extrinsics"):
            shape = shape_of(BY_NAME[f"camera.{field}"].kind)
            nodes.append(self._add("input", (), f"{camera.value}.{field}", shape, camera))
            refs.append(Ref(len(nodes) - 1))
        return refs[0], refs[1]

    def _spread(self, region: int, operand: Expr, guard: int | None, e: Expr) -> int:
        """A region over outer dimensions, as wide as the operand that it is a region of."""
        found, wanted = self.builder.graph.nodes[region].shape, shape_of(operand.type.kind)
        if not found.space or found.rank >= wanted.rank:
            return region
        call = Call("regions:spread", (Ref(0), Ref(1)), (), 0.0)
        shape = Shape(wanted.space, found.components)
        return self._add("kernel", (region, self.value(operand, guard)), call, shape, e)

    def _lift_operand(self, item: Any, nodes: list[int], e: Expr) -> None:
        """One operand of a comparison, with as many dimensions as the other."""
        if isinstance(item, Ref):
            wanted = max(
                (shape_of(a.type.kind) for a in e.args if a.type.kind.is_tensor), key=lambda s: s.rank, default=SCALAR
            )
            at = self.builder.graph.nodes[nodes[item.position]].origin
            nodes[item.position] = self.builder.lifted(nodes[item.position], wanted, at)

    def _context(self, record: Builtin, e: Expr, nodes: list[int], template: dict[str, Any]) -> None:
        """What the kernel needs beyond its arguments."""
        first = next((a for a in e.args if a.type.kind.is_tensor), e)
        for need in record.needs:
            if need in FOR_OTHERS:
                continue
            if need == "per_image":
                template[need] = first.type.kind.layout == "pixels"
                continue
            if need == "key":
                step = Expr("input", (), Type(STEP, NUMBER), e.span, e.source, "step")
                key = KEY._replace(seed=record.seed)
                node = self._host(Expr("call", (step,), Type(STEP, NUMBER), e.span, e.source, key, ("x",)))
            elif need == "pixels":
                node = self._pixels(f"{e.type.kind.view}." if e.type.kind.view else "", e)
            else:
                state = next(a for a in e.args if a.type.kind.name == "state")
                view, _ = base_name(str(state.value))
                spec = BY_NAME[need]
                node = self._input(Expr("input", (), Type(TENSOR, spec.kind), e.span, e.source, view + need))
            nodes.append(node)
            template[need.rpartition(".")[2]] = Ref(len(nodes) - 1)
