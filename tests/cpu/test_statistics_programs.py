"""Programs with statistics, fits, points, classes and chance: compiled, and interpreted, in float64."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

import splatdsl
from splatdsl.compiler.interpret import Interpreter
from splatdsl.dsl.api import analyse
from splatdsl.dsl.builtins import table
from splatdsl.dsl.source import Source

H, W, N, M, K = 12, 14, 9, 7, 4
KERNELS = ("statistics", "depth", "geometry", "classification", "chances")
SMALLER = {"size=128": "size=5", "bins=1000": "bins=40"}
PROGRAMS = {b.name: b.good for b in table().values() if b.kernel.partition(":")[0] in KERNELS and b.name != "patches"}
PROGRAMS |= {
    "std of gaussians": "term t = mean(state.scales, visible) * std(state.scales, visible)",
    "median over a dimension": "input near_by: index [N K]\n"
    'term t = mean(median(gather(state.means, near_by), over="K"))',
    "quantile that changes": "term t = mean(rendered, rendered < quantile(rendered, 0.5 + 0.1 * step / max_steps))",
    "minmax of gaussians": "term t = mean(minmax(state.scales))",
    "correlation of images": "term t = pearson_loss(rendered, target)",
    "two draws": "term a = l1(bernoulli(0.5, like=rendered))\nterm b = l1(bernoulli(0.5, like=rendered))",
    "a share of each pixel": "term t = l1(bernoulli(alpha))",
    "points outside": "input points: [M 2]\nterm t = mean(sample_at(rendered, 3 * points))",
    "points as a condition": "input points: [M 3]\nlet seen = project(points)\n"
    "term t = mean(abs(sample_at(depth, seen.pixels) - seen.depth), sample_at(alpha, seen.pixels) > 0.5)",
    "normals in the world": 'term t = mean(depth_normals(depth, valid=masked, frame="world").z)',
    "probabilities of classes": "input scores: [B H W 5]\ninput shares: [B H W 5]\n"
    "term t = cross_entropy(scores, softmax(shares), masked)",
}


def rand(*shape: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed + sum(shape))
    return torch.rand(*shape, generator=g, dtype=torch.float64)


def frame() -> dict[str, Any]:
    depth = rand(1, H, W, 1, seed=3) + 1.5
    found: dict[str, Any] = {
        "rendered": rand(1, H, W, 3),
        "target": rand(1, H, W, 3, seed=1),
        "alpha": rand(1, H, W, 1, seed=2),
        "depth": depth,
        "depth.inverse": 1 / depth,
        "depth.median": depth + 0.1 * rand(1, H, W, 1, seed=4),
        "normals": torch.nn.functional.normalize(rand(1, H, W, 3, seed=5) - 0.5, dim=-1),
    }
    state = {"means": rand(N, 3) - 0.5, "scales": rand(N, 3) - 2, "quats": rand(N, 4) - 0.5, "opacities": rand(N, 1)}
    for x in (*found.values(), *state.values()):
        x.requires_grad_(True)
    visible = (rand(N, 1, seed=6) > 0.3).double()
    return {**found, **{f"state.{n}": x for n, x in state.items()}, "visible": visible}


def inputs(name: str) -> dict[str, Tensor]:
    """What the programs declare."""
    return {
        "mono": rand(1, H, W, 1, seed=7) + 0.5,
        "labels": (rand(1, H, W, 1, seed=8) * 16).floor(),
        "scores": 3 * rand(1, H, W, 5 if name == "probabilities of classes" else 16, seed=9),
        "shares": rand(1, H, W, 5, seed=10),
        "points": rand(M, 2) * 12 if "[M 2]" in PROGRAMS[name] else rand(M, 3) - 0.5,
        "lidar": rand(M, 1) + 1,
        "near_by": torch.randint(0, N, (N, K), generator=torch.Generator().manual_seed(0)),
        "up": rand(N, 3, seed=11),
    }


def camera() -> dict[str, Tensor]:
    extrinsics = torch.eye(4, dtype=torch.float64)[None].clone()
    extrinsics[:, 2, 3] = 2
    return {
        "intrinsics": torch.tensor([[[11.0, 0, 6.8], [0, 12.0, 6.1], [0, 0, 1]]]).double(),
        "extrinsics": extrinsics,
    }


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_compiled_and_interpreted(name: str) -> None:
    text = PROGRAMS[name]
    for long, short in SMALLER.items():
        text = text.replace(long, short)
    tensors, mask = frame(), (rand(1, H, W, seed=12) > 0.3).double()
    declared = {n: x for n, x in inputs(name).items() if re.search(rf"input {n}:", text)}
    state = {n.partition(".")[2]: x for n, x in tensors.items() if n.startswith("state.")}
    state["opacities"] = state["opacities"][:, 0]
    buffers = {n: x for n, x in tensors.items() if not n.startswith("state.")}
    buffers["visible"] = buffers["visible"][:, 0]
    flat = {n: x[..., 0] if n in ("lidar", "labels") else x for n, x in declared.items()}
    call = {**buffers, **flat, "state": state, "mask": mask, "camera": camera(), "step": 30, "max_steps": 100}
    found = splatdsl.compile(text, backend="eager")(**call)

    program, findings = analyse(Source(text))
    assert program is not None, findings
    of_camera = {f"camera.{n}": x for n, x in camera().items()}
    memories = {f"memory:{m}": torch.zeros(40, 1).double() for m in program.memories}
    every = {**tensors, **declared, **of_camera, **memories, "mask": mask[..., None]}
    expected, _ = Interpreter(program, every, 30, 100).run()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert found.isfinite()
    if expected.requires_grad:
        leaves = [x for x in tensors.values() if x.requires_grad]
        both = (torch.autograd.grad(v, leaves, allow_unused=True) for v in (found, expected))
        for a, b in zip(*both):
            a, b = (torch.zeros(1) if g is None else g for g in (a, b))
            assert a.isfinite().all()
            torch.testing.assert_close(a, b.to(a.dtype).expand_as(a) if b.numel() == 1 else b, rtol=1e-9, atol=1e-12)


def test_two_places_draw_apart_and_a_step_draws_anew() -> None:
    fn = splatdsl.compile(PROGRAMS["two draws"], backend="eager")
    tensors = frame()
    drawn = []
    for step in (1, 2, 1):
        fn(rendered=tensors["rendered"], target=tensors["target"], step=step, max_steps=10)
        drawn.append(tuple(fn.terms[name].item() for name in ("a", "b")))
    assert drawn[0] == drawn[2]
    assert len({*drawn[0], *drawn[1]}) == 4


def test_points_outside_the_image_are_left_out_of_the_mean() -> None:
    tensors = frame()
    points = torch.tensor([[3.5, 2.5], [-1.0, 2.0], [W + 1.0, 4.0], [5.5, 6.5]]).double()
    fn = splatdsl.compile("input points: [M 2]\nterm t = mean(sample_at(depth, points))", backend="eager")
    inside = tensors["depth"][0, [2, 6], [3, 5], 0]
    torch.testing.assert_close(fn(depth=tensors["depth"], points=points), inside.mean())
