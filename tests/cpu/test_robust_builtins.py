"""Every builtin and every definition of the prelude at the edges of what it may be given.

The right example of a builtin's record, and each one above a definition of the prelude, is a program; its inputs are
made here by their kind. Whatever an edge does to them, the total, the terms and the gradients of all floating inputs
are finite, or the call is refused with a code that `REFUSED` allows there.
"""

from __future__ import annotations

import functools
import math
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import splatdsl
from splatdsl.dsl.api import analyse
from splatdsl.dsl.builtins import ALL
from splatdsl.dsl.builtins.shapes import letters
from splatdsl.dsl.check.functions import PRELUDE_PATH
from splatdsl.dsl.inputs import BY_NAME
from splatdsl.dsl.source import Source
from splatdsl.dsl.typed import InputInfo
from splatdsl.dsl.types import STEP

STEPS = (0, 8_000)
MAX_STEPS = 30_000

Scene = dict[str, Any]


# Programs


def _prelude_examples() -> Iterator[tuple[str, str]]:
    good: list[str] = []
    for line in PRELUDE_PATH.read_text(encoding="utf-8").splitlines():
        if line.startswith("# good:"):
            good.append(line.removeprefix("# good:").strip())
        elif match := re.match(r"def (\w+)\(", line):
            yield from ((f"{match[1]}{i or ''}", text) for i, text in enumerate(good))
            good = []


MORE = {
    "acos-clamped": "term t = mean(acos(clamp(dot(normals, normals_from_depth), -0.9999, 0.9999)), masked)",
    "align-masked": "input mono: depth[inverse, relative]\n"
    "term t = mean(abs(align(mono, to=depth.inverse, r=masked) - depth.inverse), masked)",
    "blur-wide": "term t = mean(abs(blur(rendered, 4.0) - blur(target, 4.0)), masked)",
    "block_median-masked": "term t = mean(abs(block_median(depth, 4, region=masked) - depth), masked)",
    "bce-clamped": "term t = bce(clamp(rendered.r, 0, 1), target.r, masked)",
    "charbonnier-0": "term t = charbonnier(masked, eps=1e-6)",
    "cosine-of-quats": "term t = mean(norm(normalize(state.quats) - detach(state.quats)))",
    "curvature": "term t = mean(norm(laplacian(depth)), masked) + mean(norm(sobel(rendered.r)), masked)",
    "effective-rank": "term t = mean(-log(max(effective_rank(state) - 1, 1e-5)))",
    "expected-depth": "term t = mean(abs(depth - depth.median), masked and alpha > 0.5)",
    "fft-of-error": "term t = mean(fft_magnitude(rendered - target))",
    "gradient_l1-scales": "term t = gradient_l1(rendered, target, masked, scales=4)",
    "haar-of-error": "let h = haar(rendered - target)\nterm t = mean(norm(h.lh) + norm(h.hl) + norm(h.hh))",
    "minmax-masked": "input mono: depth[relative]\n"
    "term t = mean(abs(minmax(depth, masked) - minmax(mono, masked)), masked)",
    "normals-of-depth": "term t = normal_cosine(normalize(normals), depth_normals(depth), masked)",
    "normals-of-holes": "input lidar: depth[metric, sparse]\n"
    "term t = mean(1 - dot(normals, depth_normals(lidar, valid=masked)), masked and valid(lidar))",
    "normals-world": 'term t = mean(depth_normals(depth.median, frame="world").z, masked and alpha > 0.5)',
    "pearson-both": "term t = pearson_loss(depth, depth.median, masked)",
    "pearson-plain": "term t = pearson_loss(depth, depth.median)",
    "pool-modes": 'let most = pool(depth, 2, mode="max", region=masked)\n'
    'term t = mean(most - pool(depth, 2, mode="min", region=masked))',
    "project-all": "let seen = project(state.means)\nterm t = mean(norm(seen.pixels)) + mean(abs(seen.depth))",
    "quantiles": "term t = mean(quantile(abs(rendered - target), 0.9, masked)) + quantile(state.scales, 0.5)",
    "resize-area": 'term t = mean(abs(resize(rendered - target, scale=0.3, mode="area")))',
    "rotations": "term t = mean(norm(quat_rotate(quat_inverse(state.quats), state.means)))",
    "sparse-depth": "input lidar: depth[metric, sparse]\nterm t = mean(abs(depth - lidar), valid(lidar) and masked)",
    "sparse-disparity": "input lidar: depth[metric, sparse]\nterm t = disparity_l1(depth, lidar, masked)",
    "sparse-log": "input lidar: depth[metric, sparse]\nterm t = log_l1(depth, lidar, valid(lidar) and masked)",
    "sparse-product": "input lidar: depth[metric, sparse]\n"
    "term t = mean(abs(depth - lidar) * valid(lidar), everywhere)",
    "sparse-squares": "input lidar: depth[metric, sparse]\nterm t = l2(depth, lidar, valid(lidar))",
    "sparse-pearson": "input lidar: depth[metric, sparse]\n"
    "term t = pearson_loss(depth, lidar, valid(lidar) and masked)",
    "sparse-align": "input lidar: depth[relative, sparse]\nlet r = valid(lidar) and masked\n"
    "term t = mean(abs(align(lidar, r, to=depth) - depth), r)",
    "ssim-valid": 'term t = ssim_loss(masked, padding="valid")',
    "ssim-window": "term t = ssim_loss(masked, window_mask=true)",
    "spread": "term t = mean(std(rendered, masked)) + std(state.scales) + var(state.opacities, visible)",
    "trimmed": "term t = smallest_mean(abs(rendered - target), 0.8, masked) + largest_mean(state.scales, 0.1, visible)",
    "extremes": "term t = max_over(state.scales, visible) - min_over(depth, masked)",
    "tv-squared": "term t = tv(depth, masked, power=2) + tv(alpha)",
    "neighbours": "input near_by: index [N K]\nlet d = norm(gather(state.means, near_by) - state.means)\n"
    'term t = mean(std(d, over="K")) + mean(median(d, over="K"))',
    "points": "input points: [B M 2]\ninput lidar: [B M]\nterm t = mean(abs(sample_at(depth, points) - lidar))",
    "values": "input found: [M 3]\nterm t = mean(norm(found)) + std(found) + median(found) + max_over(found)",
    "views": "input near: view?\nterm t = l1(near.rendered, near.target, near.masked) when has(near)",
    "grids": "input planes: list of [C Y X]\n"
    'term t = sum(tv(p, axes="yx") for p in planes) + mean(mean(sq(p)) for p in planes)',
}
"""Options and combinations that the examples do not show."""

PROGRAMS: dict[str, str] = {
    **{record.name: record.good for record in ALL},
    **dict(_prelude_examples()),
    **MORE,
}


@functools.cache
def typed(name: str) -> Any:
    program, found = analyse(Source(PROGRAMS[name], name), {})
    assert program is not None, found
    return program


def smallest(name: str) -> int:
    """The least side of the images that the program works on."""
    walked = (e for t in typed(name).terms for e in t.value.walk() if e.op == "call")
    return max((e.builtin.window for e in walked), default=1)


def lpips(a: Tensor, b: Tensor, net: str) -> Tensor:
    """In place of the network: its weights are not needed to see that edges pass through."""
    return (a - b).square().mean(-1, keepdim=True)


def load(name: str, backend: str = "eager") -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reads = any(e.op == "call" and e.builtin.name == "lpips" for t in typed(name).terms for e in t.value.walk())
        return splatdsl.compile(PROGRAMS[name], backend=backend, register={"lpips": lpips} if reads else None)


# Inputs

SIZES = {"M": 6, "K": 3, "C": 2, "T": 4, "Y": 5, "X": 4}


class Maker:
    """Random inputs of a program by their kinds."""

    def __init__(self, name: str, batch: int = 2, side: int = 0, n: int = 7, **sizes: int) -> None:
        self.g = torch.Generator().manual_seed(1)
        least = smallest(name)
        self.h, self.w = (side, side) if side else (max(least, 14) + 3, max(least, 14))
        self.batch, self.n = batch, n
        self.sizes = {**SIZES, "B": batch, "H": self.h, "W": self.w, "N": n, **sizes}

    def rand(self, *shape: int, lo: float = 0.0, hi: float = 1.0) -> Tensor:
        return lo + (hi - lo) * torch.rand(*shape, generator=self.g)

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.g)

    def pixels(self, k: int, lo: float = 0.0, hi: float = 1.0) -> Tensor:
        return self.rand(self.batch, self.h, self.w, k, lo=lo, hi=hi)

    def directions(self) -> Tensor:
        v = self.randn(self.batch, self.h, self.w, 3)
        return v / v.norm(dim=-1, keepdim=True)

    def frame(self) -> Scene:
        depths = {f"depth{f}": self.pixels(1, 1.5, 3.0) for f in ("", ".accumulated", ".median")}
        return {
            "rendered": self.pixels(3),
            "target": self.pixels(3),
            "mask": (self.pixels(1) > 0.3).float()[..., 0],
            "alpha": self.pixels(1),
            **depths,
            "depth.inverse": self.pixels(1, 0.3, 0.7),
            "normals": 0.9 * self.directions(),
            "normals_from_depth": self.directions(),
            "distortion": self.pixels(1, hi=0.1),
            "visible": (self.rand(self.n) > 0.3).float(),
            "radii": self.rand(self.n, hi=20.0),
            "background": self.rand(self.batch, 3),
            "state": self.state(),
            "camera": self.camera(),
        }

    def state(self) -> Scene:
        n = self.n
        return {
            "means": self.randn(n, 3),
            "scales": self.rand(n, 3, lo=-3.0, hi=0.5),
            "quats": self.randn(n, 4),
            "opacities": 1.5 * self.randn(n),
            "sh0": 0.3 * self.randn(n, 1, 3),
            "shN": 0.1 * self.randn(n, 15, 3),
        }

    def camera(self) -> Scene:
        intrinsics = torch.eye(3).repeat(self.batch, 1, 1)
        intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = 1.2 * self.w
        intrinsics[:, 0, 2], intrinsics[:, 1, 2] = self.w / 2, self.h / 2
        extrinsics = torch.eye(4).repeat(self.batch, 1, 1)
        extrinsics[:, 2, 3] = 4.0
        return {"intrinsics": intrinsics, "extrinsics": extrinsics, "index": torch.arange(float(self.batch))}

    def declared(self, info: InputInfo) -> Any:
        kind = info.kind
        if info.stage <= STEP:
            return False if kind.name == "flag" else 1.0
        if kind.name == "view":
            frame = self.frame()
            return {k: frame[k] for k in ("rendered", "target", "mask", "alpha", "depth", "normals", "state")}
        if kind.element is not None:
            return [self.declared(info._replace(kind=kind.element)) for _ in range(2)]
        shape = [self.sizes.get(x, 4) for x in letters(kind)]
        if kind.name == "index":
            of = max(self.n, 1)
            shape = [*shape, *([] if kind.components == 1 else [self.sizes[str(kind.components)]])]
            return torch.randint(0, of, shape, generator=self.g)
        if kind.layout == "pixels":
            shape = [self.batch, self.h, self.w]
        components = kind.components if isinstance(kind.components, int) else self.sizes[kind.components]
        lo, hi = max(info.range.lo, -2.0), min(info.range.hi, 3.0)
        if info.range.hi == 15:
            return torch.randint(0, 16, (*shape, components), generator=self.g).float()
        if components == 2:
            return torch.cat([self.rand(*shape, 1, hi=float(self.w)), self.rand(*shape, 1, hi=float(self.h))], -1)
        made = self.rand(*shape, components, lo=lo, hi=hi)
        return made.squeeze(-1) if components == 1 and kind.layout not in ("pixels", "gaussians") else made

    def scene(self, name: str) -> Scene:
        single = any(
            "one_image" in e.builtin.needs for t in typed(name).terms for e in t.value.walk() if e.op == "call"
        )
        if single and not any("B" in letters(i.kind) for i in typed(name).inputs.values()):
            self.batch = self.sizes["B"] = 1
        return {**self.frame(), **{n: self.declared(i) for n, i in typed(name).inputs.items()}}


# Walking through inputs


def mapped(values: Any, change: Callable[[str, Tensor], Any], path: str = "") -> Any:
    """A copy, each tensor through a function of its dotted name."""
    if isinstance(values, Tensor):
        return change(path, values)
    if isinstance(values, dict):
        return {k: mapped(v, change, f"{path}.{k}" if path else k) for k, v in values.items()}
    if isinstance(values, list):
        return [mapped(v, change, f"{path}[{i}]") for i, v in enumerate(values)]
    return values


def with_leaves(values: Scene) -> tuple[Scene, dict[str, Tensor]]:
    """A copy whose floating tensors carry gradient, but for regions and the camera, and these tensors by name."""
    leaves: dict[str, Tensor] = {}

    def leaf(name: str, x: Tensor) -> Tensor:
        x = x.detach().clone()
        if x.is_floating_point() and not re.search(r"mask|visible|radii|camera|labels", name):
            leaves[name] = x.requires_grad_()
        return x

    return mapped(values, leaf), leaves


# Edges


def _only(pattern: str, change: Callable[[Tensor], Any]) -> Callable[[Scene], Scene]:
    def edge(scene: Scene) -> Scene:
        return mapped(scene, lambda name, x: change(x) if re.search(pattern, name) else x)

    return edge


def _both(*edges: Callable[[Scene], Scene]) -> Callable[[Scene], Scene]:
    return lambda scene: functools.reduce(lambda s, edge: edge(s), edges, scene)


def _equal(scene: Scene) -> Scene:
    """What can be compared is equal: images, depths, inverse depths and normals."""
    made = dict(scene)
    for name, like in (
        ("target", "rendered"),
        *((d, "depth") for d in ("depth.median", "depth.accumulated", "prior", "mono", "lidar")),
        ("normals", "normals_from_depth"),
    ):
        if name in made and made[name].shape == made[like].shape:
            made[name] = made[like].clone()
    return made


def _first_image(x: Tensor) -> Tensor:
    """1 in the first image, 0 in the others."""
    x = torch.zeros_like(x)
    x[0] = 1
    return x


def _one_pixel(x: Tensor) -> Tensor:
    x = torch.zeros_like(x)
    x.reshape(-1)[x.numel() // 2] = 1
    return x


def _holes(value: float) -> Callable[[Tensor], Tensor]:
    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x.reshape(-1)[::3] = value
        return x

    return change


IMAGES = r"(^|\.)(rendered|target)$"
DEPTHS = r"(^|\.)depth(\.median|\.accumulated|\.inverse)?$"
PRIORS = r"^(mono|prior|lidar)$"
NORMALS = r"normals"
LISTS = r"\["

UNDRAWN = _both(
    _only(rf"alpha|distortion|{NORMALS}|{DEPTHS}", torch.zeros_like),
    _only(r"(^|\.)rendered$", torch.zeros_like),
)

EDGES: dict[str, Callable[[Scene], Scene]] = {
    "as-it-is": lambda scene: scene,
    "equal": _equal,
    "equal-undrawn": _both(UNDRAWN, _equal),
    "black": _only(IMAGES, torch.zeros_like),
    "white": _only(IMAGES, torch.ones_like),
    "constant": _only(rf"{IMAGES}|{DEPTHS}|{PRIORS}|alpha|distortion", lambda x: torch.full_like(x, 0.3)),
    "overshoot": _only(r"(^|\.)rendered$", lambda x: 6 * x - 3),
    "no-mask": lambda scene: {k: v for k, v in scene.items() if k != "mask"},
    "mask-0": _only("mask", torch.zeros_like),
    "mask-0-black": _both(_only("mask", torch.zeros_like), _only(IMAGES, torch.zeros_like)),
    "mask-1": _only("mask", torch.ones_like),
    "mask-fraction": _only("mask", lambda x: torch.full_like(x, 0.37)),
    "mask-faint": _only("mask", lambda x: 1e-30 * x),
    "mask-one-image": _only("mask", _first_image),
    "mask-one-pixel": _only("mask", _one_pixel),
    "undrawn": UNDRAWN,
    "opaque": _only("alpha", torch.ones_like),
    "near": _only(DEPTHS, lambda x: 1e-6 * x),
    "far": _only(DEPTHS, lambda x: 1e6 * x),
    "flat-depth": _only(rf"{DEPTHS}|{PRIORS}", torch.ones_like),
    "holes-0": _only(rf"{DEPTHS}|{PRIORS}", _holes(0.0)),
    "priors-0": _only(PRIORS, torch.zeros_like),
    "normals-0": _only(NORMALS, torch.zeros_like),
    "normals-tiny": _only(NORMALS, lambda x: 1e-22 * x),
    "normals-equal": lambda scene: {**scene, "normals": scene["normals_from_depth"].clone()},
    "normals-opposite": lambda scene: {**scene, "normals": -scene["normals_from_depth"]},
    "invisible": _only("visible|radii", torch.zeros_like),
    "state-0": _only("state", torch.zeros_like),
    "scales-small": _only(r"state\.scales", lambda x: torch.full_like(x, -20.0)),
    "scales-mixed": _only(r"state\.scales", lambda x: torch.tensor([-18.0, 0.0, 12.0]).expand_as(x)),
    "scales-smallest": _only(r"state\.scales", lambda x: torch.full_like(x, -60.0)),
    "scales-large": _only(r"state\.scales", lambda x: torch.full_like(x, 20.0)),
    "scales-0": _only(r"state\.scales", lambda x: torch.full_like(x, -200.0)),
    "solid": _only(r"state\.opacities", lambda x: torch.full_like(x, 100.0)),
    "gone": _only(r"state\.opacities", lambda x: torch.full_like(x, -200.0)),
    "quats-0": _only(r"quats|before", torch.zeros_like),
    "quats-tiny": _only(r"quats|before", lambda x: 1e-21 * x),
    "means-equal": _only(r"state\.means", torch.ones_like),
    "means-behind": _only(r"state\.means", lambda x: torch.tensor([0.0, 0.0, -4.0]).expand_as(x)),
    "means-at-plane": _only(r"state\.means|points", lambda x: torch.full_like(x, -4.0)),
    "means-far": _only(r"state\.means", lambda x: 1e6 * x),
    "declared-0": _only(r"^(points|lidar|found|scores|up|planes.*|mono|prior)$", torch.zeros_like),
    "declared-1": _only(r"^(points|lidar|found|scores|up|planes.*|mono|prior)$", torch.ones_like),
    "scores-large": _only("scores", lambda x: 1e4 * x),
    "points-outside": _only("^points$", lambda x: x - 1e4),
    "no-items": lambda scene: {k: [] if isinstance(v, list) else v for k, v in scene.items()},
    "no-view": lambda scene: {k: v for k, v in scene.items() if k != "near"},
}

SIZED: dict[str, dict[str, int]] = {
    "one-image": {"batch": 1},
    "one-gaussian": {"n": 1},
    "no-gaussians": {"n": 0},
    "no-points": {"M": 0},
    "one-point": {"M": 1},
    "no-neighbours": {"K": 0},
    "one-neighbour": {"K": 1},
    "thin-grids": {"Y": 1, "X": 1},
    "two": {"side": 2},
    "three": {"side": 3},
    "one": {"side": 1, "batch": 1},
}
"""Sizes; ``side`` where the program has no window that is larger."""

REFUSED: dict[str, set[str]] = {"one": {"BND006"}, "two": {"BND006"}, "three": {"BND006"}}
"""What an edge may be answered with instead of numbers."""

HOLES: dict[str, Callable[[Tensor], Tensor]] = {
    "holes-nan": _holes(math.nan),
    "holes-inf": _holes(math.inf),
    "only-nan": lambda x: torch.full_like(x, math.nan),
}
"""For priors that may have them: sparse ones, and what `finite` and `finite_or` are asked about."""


def with_holes(name: str) -> list[str]:
    """The inputs of a program that may hold what is not finite."""
    asks = re.search(r"\bfinite(_or)?\(", PROGRAMS[name])
    density = {n: i.facts.get("density") for n, i in typed(name).inputs.items()}
    return [n for n, fact in density.items() if fact is not None and (asks or fact.value == "sparse")]


def scene_at(name: str, edge: str) -> Scene:
    if edge in SIZED:
        return Maker(name, **SIZED[edge]).scene(name)
    return EDGES[edge](Maker(name).scene(name))


def problems(name: str, edge: str, scene: Scene, loss: Any = None) -> list[str]:
    """What is not finite."""
    loss = load(name) if loss is None else loss
    wrong: list[str] = []
    for step in STEPS:
        given, leaves = with_leaves(scene)
        try:
            total = loss(**given, step=step, max_steps=MAX_STEPS)
        except splatdsl.LossError as problem:
            codes = {d.code for d in problem.diagnostics}
            if not codes <= REFUSED.get(edge, set()):
                wrong.append(f"step {step}: refused: {problem.diagnostics[0].message}")
            continue
        wrong += [f"step {step}: {term} is {float(v)}" for term, v in loss.terms.items() if not math.isfinite(float(v))]
        if not total.isfinite():
            wrong.append(f"step {step}: the total is {total.item()}")
        found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True) if leaves else ()
        for leaf, gradient in zip(leaves, found):
            if gradient is not None and not gradient.isfinite().all():
                bad = gradient[~gradient.isfinite()]
                wrong.append(f"step {step}: {bad.numel()} of {gradient.numel()} of the gradient of {leaf}: {bad[0]}")
    return wrong


@functools.cache
def reads(name: str) -> frozenset[str]:
    """What a program reads: fixed inputs, fields of the state and declared inputs, all of a view or a list."""
    found: set[str] = set()
    program = typed(name)
    for e in (e for t in program.terms for e in t.value.walk()):
        if e.op == "input":
            spec = BY_NAME.get(e.value)
            found.add(f"state.{spec.raw[0]}" if spec is not None and spec.raw[0] else e.value)
        elif e.op == "region" and e.value != "everywhere":
            found.add(f"{e.value[: e.value.rfind('.') + 1]}mask")
        elif e.op == "call":
            found |= set(e.builtin.needs)
    return frozenset(found | set(program.inputs) | ({"camera"} if any("camera" in f for f in found) else set()))


def tensors(scene: Scene) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    mapped(scene, lambda name, x: found.setdefault(name, x))
    return found


def concerns(name: str, scene: Scene, plain: Scene) -> bool:
    """Whether an edge changed anything that the program reads."""
    before, after = tensors(plain), tensors(scene)
    changed = {
        n
        for n in before.keys() | after.keys()
        if n not in after
        or n not in before
        or before[n].shape != after[n].shape
        or not torch.equal(before[n], after[n])
    }
    roots = {re.split(r"[.\[]", n)[0] for n in typed(name).inputs}
    return any(n in reads(name) or re.split(r"[.\[]", n)[0] in roots for n in changed)


@pytest.mark.parametrize("name", PROGRAMS)
def test_edges_give_finite_values_and_gradients(name: str) -> None:
    loss = load(name)
    plain = scene_at(name, "as-it-is")
    wrong = problems(name, "as-it-is", plain, loss)
    for edge in (*EDGES, *SIZED):
        scene = scene_at(name, edge)
        if concerns(name, scene, plain):
            wrong += [f"{edge}: {p}" for p in problems(name, edge, scene, loss)]
    for prior in with_holes(name):
        for edge, change in HOLES.items():
            wrong += [f"{edge}: {p}" for p in problems(name, edge, {**plain, prior: change(plain[prior])}, loss)]
    assert not wrong, "\n".join(wrong)


# Precision


def value_and_gradients(loss: Any, scene: Scene) -> tuple[Tensor, dict[str, Tensor]]:
    given, leaves = with_leaves(scene)
    total = loss(**given, step=STEPS[1], max_steps=MAX_STEPS)
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return total.detach(), {n: g for n, g in zip(leaves, found) if g is not None}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_half_precision_is_only_how_inputs_are_stored(name: str, dtype: torch.dtype) -> None:
    """Everything is computed in float32: the result is that of the rounded inputs, and so is each gradient."""
    loss = load(name)
    stored = mapped(Maker(name).scene(name), lambda _, x: x.to(dtype) if x.is_floating_point() else x)
    total, gradients = value_and_gradients(loss, stored)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total_in_autocast, gradients_in_autocast = value_and_gradients(loss, stored)
    wide = mapped(stored, lambda _, x: x.float() if x.is_floating_point() else x)
    expected, expected_gradients = value_and_gradients(loss, wide)
    assert total.dtype == torch.float32
    assert total.isfinite()
    assert torch.equal(total, expected)
    assert torch.equal(total_in_autocast, expected)
    assert gradients.keys() == expected_gradients.keys() == gradients_in_autocast.keys()
    for leaf, gradient in expected_gradients.items():
        assert gradients[leaf].dtype == dtype
        assert torch.equal(gradients[leaf], gradient.to(dtype)), leaf
        assert torch.equal(gradients_in_autocast[leaf], gradient.to(dtype)), leaf


def test_depth_that_is_made_of_accumulated_depth() -> None:
    """Half precision has no 1e-10 to divide by, and autocast no matrix product in full precision."""
    maker = Maker("l1")
    text = "term t = mean(depth) + mean(camera.position)"
    loss = splatdsl.compile(text, backend="eager")
    accumulated, alpha = maker.pixels(1, 1.5, 3.0), maker.pixels(1)
    alpha[:, :5], accumulated[:, :5] = 0, 0
    camera = maker.camera()
    camera["extrinsics"][:, :3] += 0.1 * maker.randn(2, 3, 4)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        stored = {"depths_accumulated": accumulated.to(dtype), "alpha": alpha.to(dtype)}
        stored_camera = {name: x.to(dtype) for name, x in camera.items()}
        wide, wide_camera = mapped(stored, lambda _, x: x.float()), mapped(stored_camera, lambda _, x: x.float())
        leaves = mapped(stored, lambda _, x: x.clone().requires_grad_())
        total = loss(render=leaves, camera=stored_camera)
        total.backward()
        depth = torch.where(wide["alpha"] > 0, wide["depths_accumulated"] / wide["alpha"].clamp(min=1e-10), 0.0)
        turned = wide_camera["extrinsics"][:, :3, :3].mT @ wide_camera["extrinsics"][:, :3, 3:]
        assert torch.allclose(total.detach(), depth.mean() - turned.mean(), rtol=1e-6)
        for leaf in leaves.values():
            assert leaf.grad.isfinite().all()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(loss(render=stored, camera=stored_camera), total.detach())


# Compiled

COMPILED = ("photometric", "effective_rank", "normal_consistency", "pearson_loss", "sparse-depth", "quat_rotate")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_edges_of_compiled_programs(name: str) -> None:
    loss = load(name, backend="aot_eager")
    plain = scene_at(name, "as-it-is")
    wrong = []
    for edge in EDGES:
        scene = scene_at(name, edge)
        if edge == "as-it-is" or concerns(name, scene, plain):
            wrong += [f"{edge}: {p}" for p in problems(name, edge, scene, loss)]
    assert not wrong, "\n".join(wrong)


SIZES_OF_IMAGES = ((24, 20), (11, 30), (40, 36), (1, 24), (2, 3))
"""The first one is the size that a graph is made for; sides down to the window, and below it where there is none."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ssim-valid", "haar-of-error", "patches"])
def test_compiled_programs_take_any_image_size(name: str) -> None:
    compiled, plain = load(name, backend="aot_eager"), load(name)
    for height, width in SIZES_OF_IMAGES:
        maker = Maker(name)
        maker.h, maker.w = height, width
        scene = maker.scene(name)
        if min(height, width) < smallest(name):
            with pytest.raises(splatdsl.LossError, match="pixels, but"):
                compiled(**scene)
            continue
        expected, expected_gradients = value_and_gradients(plain, scene)
        total, gradients = value_and_gradients(compiled, scene)
        assert torch.allclose(total, expected, rtol=1e-5)
        for leaf, gradient in expected_gradients.items():
            assert gradients[leaf].isfinite().all()
            assert torch.allclose(gradients[leaf], gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "value",
    [
        *("mean(state.opacities)", "mean(state.opacities, visible)", "sum(state.scales)", "std(state.scales)"),
        *("var(state.opacities, visible)", "median(state.scales)", "quantile(state.opacities, 0.3, visible)"),
        *("max_over(state.scales)", "min_over(state.scales, visible)", "smallest_mean(state.scales, 0.5)"),
        *("largest_mean(state.opacities, 0.5, visible)", "reg(state)", "flatten(state, visible)", "scale_reg(state)"),
        *("opacity_entropy(state)", "mean(anisotropy(state))", "mean(effective_rank(state))"),
        *("mean(norm(gaussian_normals(state)))", "mean(project(state.means).depth)", "mean(minmax(state.opacities))"),
        *(
            "mean(norm(gather(state.means, near_by) - state.means))",
            'mean(std(gather(state.means, near_by), over="K"))',
        ),
        'mean(median(gather(state.opacities, near_by), over="K"))',
    ],
)
def test_a_mean_over_no_gaussians_is_0(value: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss = splatdsl.compile(f"input near_by: index [N K]\nterm t = {value}", backend="eager")
    scene, leaves = with_leaves(Maker("reg", n=0).frame())
    total = loss(**scene, near_by=torch.zeros(0, 3, dtype=torch.int64))
    assert total.item() == 0
    for gradient in torch.autograd.grad(total, list(leaves.values()), allow_unused=True):
        assert gradient is None or gradient.isfinite().all()


def test_an_index_of_gaussians_that_are_gone_is_refused() -> None:
    loss = splatdsl.compile("input owner: index [M]\nterm t = mean(gather(state.opacities, owner))", backend="eager")
    state = Maker("reg").state()
    owner = torch.tensor([0, 6, 3])
    assert loss(state=state, owner=owner).isfinite()
    fewer = mapped(state, lambda _, x: x[:5])
    with pytest.raises(splatdsl.LossError, match=r"`owner` holds rows 0 to 6, but there are 5 gaussians"):
        loss(state=fewer, owner=owner)
    with pytest.raises(splatdsl.LossError, match=r"rows -1 to 2"):
        loss(state=state, owner=torch.tensor([-1, 2]))


def test_a_background_image_has_the_size_of_the_render() -> None:
    loss = splatdsl.compile("term t = mean(abs(rendered - background))", backend="eager")
    maker = Maker("l1")
    rendered = maker.pixels(3)
    assert loss(rendered=rendered, background=maker.pixels(3)).isfinite()
    with pytest.raises(splatdsl.LossError, match="differ in the image size"):
        loss(rendered=rendered, background=maker.pixels(3)[:, 1:])


def test_gradients_of_half_precision_are_summed_in_float32() -> None:
    """What is read by a function of the host and by the graph is widened once."""
    text = "extern double(image) -> image\nterm t = mean(sq(double(rendered) - target)) + mean(sq(rendered))"
    loss = splatdsl.compile(text, backend="eager", register={"double": lambda x: 2 * x})
    maker = Maker("l1")
    rendered, target = maker.pixels(3).half().requires_grad_(), maker.pixels(3).half()
    loss(rendered=rendered, target=target).backward()
    wide = rendered.detach().float().requires_grad_()
    loss(rendered=wide, target=target.float()).backward()
    assert torch.equal(rendered.grad, wide.grad.half())
