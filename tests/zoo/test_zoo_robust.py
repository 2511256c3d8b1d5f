"""The programs in examples/zoo at the edges of what they may be given.

The inputs of a program's reference, in float32, are changed to equal or black images, empty masks, nothing drawn, no
gaussians, the smallest images, missing optional inputs and so on; other modules hold that the values are right. Here
the total, the terms and all gradients that the reference names are finite at the first step and at the one with most
terms, or the call is refused with a code that `REFUSED` allows.
"""

from __future__ import annotations

import importlib.util
import math
import re
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import splatdsl
from splatdsl.dsl.builtins.shapes import letters

ROOT = Path(__file__).resolve().parents[2]
ZOO = ROOT / "examples" / "zoo"
REFERENCES = Path(__file__).resolve().parent / "references"

PROVED = {p.stem for p in REFERENCES.glob("*.py") if not p.name.startswith("_")}
NAMES = sorted(p.stem for p in ZOO.glob("*.loss") if p.stem in PROVED)

Scene = dict[str, Any]


# Programs and their inputs


@cache
def reference(name: str) -> ModuleType:
    """The module of a reference; it finds ``_common`` beside it, and only while it is loaded."""
    path = REFERENCES / f"{name}.py"
    spec = importlib.util.spec_from_file_location("zoo_edges_" + re.sub(r"\W", "_", name), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(REFERENCES))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(REFERENCES))
    return module


def mapped(values: Any, change: Callable[[str, Tensor], Any], path: str = "") -> Any:
    """A copy of nested mappings and lists, each tensor through a function of its dotted name."""
    if isinstance(values, Tensor):
        return change(path, values)
    if isinstance(values, Mapping):
        return {k: mapped(v, change, f"{path}.{k}" if path else k) for k, v in values.items()}
    if isinstance(values, (list, tuple)):
        return type(values)(mapped(v, change, f"{path}.{i}" if path else str(i)) for i, v in enumerate(values))
    return values


def single(values: Any) -> Any:
    return mapped(values, lambda _, x: x.float() if x.is_floating_point() else x)


def in_double(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reference's function, which computes in float64, between values in float32."""

    def call(*given: Any) -> Any:
        double = mapped(list(given), lambda _, x: x.double() if x.is_floating_point() else x)
        return single(function(*double))

    return call


def load(name: str, backend: str = "eager", variant: Mapping[str, Any] | None = None) -> Any:
    module = reference(name)
    params = {**getattr(module, "PARAMS", {}), **(variant or {}).get("params", {})}
    register = {n: in_double(f) for n, f in getattr(module, "EXTERNS", {}).items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return splatdsl.load(ZOO / f"{name}.loss", params=params, backend=backend, register=register or None)


@cache
def loaded(name: str) -> Any:
    return load(name)


def inputs(name: str, variant: Mapping[str, Any] | None = None) -> Scene:
    module = reference(name)
    g = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    masked = getattr(module, "MASKED", True) if variant is None else bool(variant.get("masked"))
    made: Scene = single(module.inputs(g, masked))
    for path in (variant or {}).get("without", ()):
        above, _, last = path.rpartition(".")
        del (reach(made, above) if above else made)[last]
    return made


def reach(values: Any, path: str) -> Any:
    """A value inside nested mappings and lists; None where there is none."""
    for part in path.split("."):
        # A buffer such as `depth.inverse` has its dot in its name.
        if isinstance(values, Mapping) and path in values:
            return values[path]
        try:
            values = values[part] if isinstance(values, Mapping) else values[int(part)]
        except (KeyError, IndexError, ValueError):
            return None
    return values


def with_leaves(name: str, scene: Scene) -> tuple[Scene, dict[str, Tensor]]:
    leaves: dict[str, Tensor] = {}

    def leaf(path: str, x: Tensor) -> Tensor:
        x = x.detach().clone()
        if path in reference(name).GRADIENTS or (path.startswith("state.") and x.is_floating_point()):
            leaves[path] = x.requires_grad_()
        return x

    return mapped(scene, leaf), leaves


def steps(name: str, loss: Any, scene: Scene) -> tuple[int, ...]:
    """The first step, and that at which most terms exist."""
    module = reference(name)
    counted = {}
    for step in module.STEPS:
        loss.memories.load_state_dict({})
        loss(**scene, step=step, max_steps=module.MAX_STEPS)
        counted[step] = len(loss.terms)
    return tuple(sorted({module.STEPS[0], max(counted, key=lambda s: (counted[s], -s))}))


# Dimensions


def dims(name: str, path: str, x: Tensor) -> list[str]:
    """The letters of the dimensions of an input, components without one as \"\"."""
    loss = loaded(name)
    first, _, rest = path.partition(".")
    if first == "camera":
        return ["B"] + [""] * (x.dim() - 1)
    if first == "render" and rest == "radii":
        return ["B", "N", ""][-x.dim() :] if x.dim() == 3 else ["B", "N"][-x.dim() :]
    if first == "render":
        return ["B", "H", "W", ""] if x.dim() == 4 else ["N"]
    info = loss.program.inputs.get(first)
    if info is not None and info.kind.element is not None and rest.isdigit():
        kind = info.kind.element
    elif info is not None and info.kind.name == "list":
        return dims(name, rest.partition(".")[2], x)
    elif info is not None and not rest:
        kind = info.kind
    elif info is not None:
        return [letter and f"{letter}" for letter in dims(name, rest, x)]
    elif first == "state":
        return ["N"] + [""] * (x.dim() - 1)
    elif first == "background":
        return ["B", "H", "W", ""] if x.dim() == 4 else ["B", ""]
    else:
        kind = loss.parts.binder.lookup.kind("visible" if path == "visible" else path)
    found = letters(kind)
    more = x.dim() - len(found)
    return found + ([str(kind.components)] if isinstance(kind.components, str) and more else [""] * more)


def cut(letter: str, size: int) -> Callable[[str, Scene], Scene]:
    """All dimensions of a letter at most so long."""

    def edge(name: str, scene: Scene) -> Scene:
        def change(path: str, x: Tensor) -> Tensor:
            for axis, found in enumerate(dims(name, path, x)):
                if found == letter:
                    x = x.narrow(axis, 0, min(size, x.shape[axis]))
            if not x.is_floating_point() and letter == "N":
                x = x.clamp(max=max(size - 1, 0))
            return x

        return mapped(scene, change)  # type: ignore[no-any-return]

    return edge


def small(name: str, scene: Scene) -> Scene:
    """The smallest images that the windows allow."""
    walked = (e for t in loaded(name).program.terms for e in t.value.walk() if e.op == "call")
    least = max((e.builtin.window for e in walked), default=1)
    least = max(least, 8) if loaded(name).program.externs else least  # the references' functions work on patches
    return cut("W", least)(name, cut("H", least)(name, scene))


# Edges


def only(pattern: str, change: Callable[[Tensor], Tensor]) -> Callable[[str, Scene], Scene]:
    def edge(name: str, scene: Scene) -> Scene:
        return mapped(scene, lambda path, x: change(x) if re.search(pattern, path) else x)  # type: ignore[no-any-return]

    return edge


def both(*edges: Callable[[str, Scene], Scene]) -> Callable[[str, Scene], Scene]:
    def edge(name: str, scene: Scene) -> Scene:
        for one in edges:
            scene = one(name, scene)
        return scene

    return edge


def equal(name: str, scene: Scene) -> Scene:
    """Each render is its photograph, and all depths and all normals are the same."""

    def change(path: str, x: Tensor) -> Tensor:
        above, _, last = path.rpartition(".")
        like = {"target": "rendered", "depths_median": "depth", "normals_from_depth": "normals"}.get(last)
        like = like or {"mono": "depth", "sensor": "depth", "prior": "depth", "lidar": "depth"}.get(path)
        found = None if like is None else reach(scene, f"{above}.{like}" if above and above != "render" else like)
        return found.clone() if isinstance(found, Tensor) and found.shape == x.shape else x

    return mapped(scene, change)  # type: ignore[no-any-return]


def to(end: str) -> Callable[[str, Scene], Scene]:
    """The declared inputs at an end of their range; at 0 where it has none."""

    def edge(name: str, scene: Scene) -> Scene:
        declared = loaded(name).program.inputs

        def change(path: str, x: Tensor) -> Tensor:
            info = declared.get(path.partition(".")[0])
            if info is None or info.kind.name == "view" or not x.is_floating_point():
                return x
            value = info.range.lo if end == "lo" else info.range.hi
            shut = not (info.range.lo_open if end == "lo" else info.range.hi_open)
            if not math.isfinite(value):
                value, shut = (0.0 if end == "lo" else 1.0), True
            return torch.full_like(x, value if shut else value + 1e-6)

        return mapped(scene, change)  # type: ignore[no-any-return]

    return edge


def flags(value: bool) -> Callable[[str, Scene], Scene]:
    return lambda name, scene: {k: value if isinstance(v, bool) else v for k, v in scene.items()}


def holes(value: float) -> Callable[[str, Scene], Scene]:
    """Sparse inputs with holes of this value."""

    def edge(name: str, scene: Scene) -> Scene:
        declared = loaded(name).program.inputs

        def change(path: str, x: Tensor) -> Tensor:
            fact = declared[path].facts.get("density") if path in declared else None
            if fact is not None and (fact.value == "sparse" or value == 0):
                x = x.clone()
                x.reshape(-1)[::3] = value
            return x

        return mapped(scene, change)  # type: ignore[no-any-return]

    return edge


def one_image(x: Tensor) -> Tensor:
    x = torch.zeros_like(x)
    x[0] = 1
    return x


IMAGES = r"(^|\.)(rendered|target|renders)$"
DEPTHS = r"(^|\.)(depth(\.\w+)?|depths_\w+)$"
DRAWN = rf"{DEPTHS}|(^|\.)(alpha|alphas|distortion|normals|normals_from_depth|render_\w+)$"

EDGES: dict[str, Callable[[str, Scene], Scene]] = {
    "as-it-is": lambda name, scene: scene,
    "equal": equal,
    "black": only(IMAGES, torch.zeros_like),
    "white": only(IMAGES, torch.ones_like),
    "constant": only(rf"{IMAGES}|{DEPTHS}", lambda x: torch.full_like(x, 0.3)),
    "overshoot": only(r"(^|\.)rendered$", lambda x: 6 * x - 3),
    "mask-0": only(r"(^|\.)mask$", torch.zeros_like),
    "mask-1": only(r"(^|\.)mask$", torch.ones_like),
    "mask-fraction": only(r"(^|\.)mask$", lambda x: torch.full_like(x, 0.37)),
    "mask-one-image": only(r"(^|\.)mask$", one_image),
    "undrawn": only(DRAWN, torch.zeros_like),
    "undrawn-black": only(rf"{DRAWN}|rendered$", torch.zeros_like),
    "undrawn-equal": both(only(rf"{DRAWN}|rendered$", torch.zeros_like), equal),
    "transparent": only(r"alphas?$", torch.zeros_like),
    "opaque": only(r"alphas?$", torch.ones_like),
    "depth-0": only(DEPTHS, torch.zeros_like),
    "depth-near": only(DEPTHS, lambda x: 1e-6 * x),
    "depth-far": only(DEPTHS, lambda x: 1e5 * x),
    "depth-flat": only(DEPTHS, torch.ones_like),
    "normals-0": only("normals", torch.zeros_like),
    "invisible": only("visible|radii", torch.zeros_like),
    "state-0": only(r"state\.", torch.zeros_like),
    "scales-small": only(r"state\.scales", lambda x: torch.full_like(x, -20.0)),
    "scales-large": only(r"state\.scales", lambda x: torch.full_like(x, 12.0)),
    "scales-mixed": only(r"state\.scales", lambda x: torch.tensor([-18.0, 0.0, 10.0]).expand_as(x)),
    "scales-0": only(r"state\.scales", lambda x: torch.full_like(x, -200.0)),
    "solid": only(r"state\.opacities", lambda x: torch.full_like(x, 100.0)),
    "gone": only(r"state\.opacities", lambda x: torch.full_like(x, -200.0)),
    "quats-0": only(r"quats|turn$", torch.zeros_like),
    "means-equal": only(r"state\.means", torch.ones_like),
    "means-far": only(r"state\.means", lambda x: 1e4 * x),
    "declared-low": to("lo"),
    "declared-high": to("hi"),
    "holes-0": holes(0.0),
    "holes-nan": holes(math.nan),
    "holes-inf": holes(math.inf),
    "flags-on": flags(True),
    "flags-off": flags(False),
    "one-gaussian": cut("N", 1),
    "no-gaussians": cut("N", 0),
    "one-image": cut("B", 1),
    "small": small,
    "no-items": lambda name, scene: {k: [] if isinstance(v, list) else v for k, v in scene.items()},
}


FIXED = {("spotlesssplats", "C"), ("spotlesssplats", "K"), ("vcr-gaus", "C")}
"""Dimensions that other values depend on: what a reference's function multiplies them with, and numbers of classes."""


def of_letters(name: str) -> Iterator[tuple[str, Callable[[str, Scene], Scene]]]:
    """Dimensions of the program's own, cut to 0 and 1."""
    found: set[str] = set()
    mapped(inputs(name), lambda path, x: found.update(dims(name, path, x)))
    for letter in sorted(found - {"", "B", "H", "W", "N"}):
        if letter.isalpha() and (name, letter) not in FIXED:
            yield f"{letter}=0", cut(letter, 0)
            yield f"{letter}=1", cut(letter, 1)


def without(*names: str) -> Callable[[str, Scene], Scene]:
    return lambda name, scene: {k: v for k, v in scene.items() if k not in names}


def of_optional(name: str) -> Iterator[tuple[str, Callable[[str, Scene], Scene]]]:
    """Each optional input missing, and all of them."""
    found = [n for n, info in loaded(name).program.inputs.items() if info.optional and n in inputs(name)]
    for one in found:
        yield f"no {one}", without(one)
    yield "no mask", without("mask")
    if len(found) > 1:
        yield "nothing optional", without(*found, "mask")


def tensors(scene: Scene) -> dict[str, Any]:
    found: dict[str, Any] = {k: v for k, v in scene.items() if isinstance(v, (bool, list))}
    mapped(scene, lambda path, x: found.setdefault(f"/{path}", x))
    return found


def differs(a: Scene, b: Scene) -> bool:
    one, other = tensors(a), tensors(b)
    return one.keys() != other.keys() or any(
        x.shape != other[n].shape or not torch.equal(x, other[n])
        if isinstance(x, Tensor)
        else not isinstance(x, list) and x is not other[n]
        for n, x in one.items()
    )


REFUSED: dict[str, set[str]] = {"C=0": {"BND002"}, "no-gaussians": {"BND005"}}
"""What an edge may be answered with instead of numbers."""


def problems(name: str, edge: str, scene: Scene, at: tuple[int, ...], loss: Any) -> list[str]:
    """What is not finite."""
    module = reference(name)
    wrong: list[str] = []
    loss.memories.load_state_dict({})
    for step in at:
        given, leaves = with_leaves(name, scene)
        try:
            total = loss(**given, step=step, max_steps=module.MAX_STEPS)
        except splatdsl.LossError as problem:
            if not {d.code for d in problem.diagnostics} <= REFUSED.get(edge, set()):
                wrong.append(f"step {step}: refused: {problem.diagnostics[0].code} {problem.diagnostics[0].message}")
            continue
        wrong += [f"step {step}: {term} is {v.item()}" for term, v in loss.terms.items() if not v.isfinite()]
        if not total.isfinite():
            wrong.append(f"step {step}: the total is {total.item()}")
        if not leaves:
            continue
        found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        for leaf, gradient in zip(leaves, found):
            if gradient is not None and not gradient.isfinite().all():
                bad = gradient[~gradient.isfinite()]
                wrong.append(f"step {step}: {bad.numel()} of {gradient.numel()} of the gradient of {leaf}: {bad[0]}")
        wrong += [f"step {step}: memory {n}" for n, m in loss.memories.items() if not m.isfinite().all()]
    return wrong


def sweep(name: str, loss: Any, variant: Mapping[str, Any] | None = None, sizes: bool = True) -> list[str]:
    plain = inputs(name, variant)
    at = steps(name, loss, plain)
    wrong = [f"as-it-is: {p}" for p in problems(name, "as-it-is", plain, at, loss)]
    for edge, change in (*EDGES.items(), *(of_letters(name) if sizes else ()), *of_optional(name)):
        scene = change(name, plain)
        if differs(plain, scene):
            wrong += [f"{edge}: {p}" for p in problems(name, edge, scene, at, loss)]
    return wrong


@pytest.mark.parametrize("name", NAMES)
def test_edges_give_finite_values_and_gradients(name: str) -> None:
    wrong = sweep(name, load(name))
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "number"), [(n, i) for n in NAMES for i in range(len(getattr(reference(n), "VARIANTS", ())))]
)
def test_edges_of_the_variants(name: str, number: int) -> None:
    variant = reference(name).VARIANTS[number]
    wrong = sweep(name, load(name, variant=variant), variant)
    assert not wrong, "\n".join(wrong)


COMPILED = ("dn-splatter",)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_edges_of_a_compiled_program(name: str) -> None:
    loss = load(name, backend="aot_eager")
    wrong = sweep(name, loss, sizes=False)  # each size is a graph: seconds for what other tests look at
    assert not wrong, "\n".join(wrong)
    assert loss.stats.graph_breaks == 0


# Precision

HANDED_OVER = {"pgsr": "near."}
"""Views that a function of the host is given as they are: it adds its part of the gradient in half precision."""


def value_and_gradients(
    name: str, loss: Any, scene: Scene, step: int, autocast: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    loss.memories.load_state_dict({})
    given, leaves = with_leaves(name, scene)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        total = loss(**given, step=step, max_steps=reference(name).MAX_STEPS)
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True) if leaves else ()
    return total.detach(), {n: g for n, g in zip(leaves, found) if g is not None}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_only_how_inputs_are_stored(name: str, dtype: torch.dtype) -> None:
    """Everything is computed in float32: the result is that of the rounded inputs, and so is each gradient."""
    loss = load(name)
    plain = inputs(name)
    step = max(steps(name, loss, plain))
    stored = mapped(plain, lambda _, x: x.to(dtype) if x.is_floating_point() else x)
    total, gradients = value_and_gradients(name, loss, stored, step)
    total_in_autocast, gradients_in_autocast = value_and_gradients(name, loss, stored, step, autocast=True)
    expected, expected_gradients = value_and_gradients(name, loss, single(stored), step)
    assert total.dtype == torch.float32
    assert total.isfinite()
    assert torch.equal(total, expected)
    assert torch.equal(total_in_autocast, expected)
    assert gradients.keys() == expected_gradients.keys() == gradients_in_autocast.keys()
    for leaf, gradient in expected_gradients.items():
        rounding = torch.finfo(dtype).eps if leaf.startswith(HANDED_OVER.get(name, "-")) else 0.0
        for found in (gradients[leaf], gradients_in_autocast[leaf]):
            atol = rounding * float(gradient.abs().max())
            assert torch.allclose(found, gradient.to(dtype), rtol=0.0, atol=atol), leaf
