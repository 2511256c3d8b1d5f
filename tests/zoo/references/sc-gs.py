"""SC-GS.

P(I, Ĩ; 0.2), t from 1
+ [t > 3,000] w_arap(t) sum_ik g_ik ||e'_ik - R_i e_ik||^2, e and e' the edges of node i at two times near that of the
image, R_i the rotation between them without a gradient, g_ik 1 for an edge and 0 for none
+ [t >= 3,000] w_flow(t) mean(m |F - F̃|), over all pixels and both components,
  m = ([A > 0.9] and consistent, or occluded) max(cos(gap pi / 2), 0.2) cos(d pi / 2), d the mean over the colours of
  |sg(I) - Ĩ|
+ w_mask(t) mean|motion - its target|.
Weights are interpolated in their logarithm between landmarks and 0 one step after the last:
w_arap 1e-4, 1e-4, 1e-5, 1e-5 at 0, 5,000, 10,000, 20,000; w_flow 0.1, 0.1, 1e-3 at 0, 15,000, 25,000;
w_mask 0.5, 0.01 at 0, 10,000.

Huang et al., SC-GS, CVPR 2024; yihua7/SC-GS at 26cd57d, train_gui.py, utils/time_utils.py, utils/deform_utils.py.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from _common import images, photometric, rand, randn
from torch import Tensor

MAX_STEPS = 80_000
STEPS = (
    0,
    2_998,
    2_999,
    3_000,
    3_001,
    4_998,
    4_999,
    5_000,
    7_500,
    9_998,
    9_999,
    10_000,
    14_998,
    14_999,
    15_000,
    19_998,
    19_999,
    20_000,
    24_998,
    24_999,
    25_000,
    79_999,
)
GRADIENTS = ("rendered", "alpha", "edges_then", "edges_now", "turn", "flow", "motion")
MASKED = False
VARIANTS = (
    {"without": ("flow", "flow_target")},
    {"without": ("motion_target",), "params": {"warm_up": 5_000, "ssim_weight": 0.1}},
    {"params": {"frame_gap_floor": 0.05}},
)
ARAP = ((0, 1e-4), (5_000, 1e-4), (10_000, 1e-5), (20_000, 1e-5))
FLOW = ((0, 0.1), (15_000, 0.1), (25_000, 1e-3))
MOTION = ((0, 0.5), (10_000, 0.01))


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked)
    made["alpha"] = 0.7 + 0.3 * rand(g, 2, 24, 20, 1)
    made["edges_then"] = randn(g, 6, 4, 3)
    made["edges_now"] = made["edges_then"] + 0.2 * randn(g, 6, 4, 3)
    made["turn"] = torch.nn.functional.normalize(randn(g, 6, 4), dim=-1)
    made["edge_weight"] = (rand(g, 6, 4, 1) < 0.8).double()
    made["flow"] = 3 * randn(g, 2, 24, 20, 2)
    made["flow_target"] = 3 * randn(g, 2, 24, 20, 2)
    made["flow_consistent"] = (rand(g, 2, 24, 20) < 0.6).double()
    made["flow_occluded"] = (rand(g, 2, 24, 20) < 0.2).double()
    made["frame_gap"] = 0.9
    made["motion"] = rand(g, 2, 24, 20, 1)
    made["motion_target"] = rand(g, 2, 24, 20, 1)
    return made


def landmarks(t: int, points: tuple[tuple[int, float], ...]) -> float:
    if t > points[-1][0]:
        return 0.0
    for (t0, v0), (t1, v1) in pairwise(points):
        if t <= t1:
            u = (t - t0) / (t1 - t0)
            return math.exp((1 - u) * math.log(v0) + u * math.log(v1))
    raise AssertionError


def rotations(q: Tensor) -> Tensor:
    """Matrices of unit quaternions w, x, y, z."""
    w, i, j, k = (q / q.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (j * j + k * k), 2 * (i * j - k * w), 2 * (i * k + j * w)], -1),
        torch.stack([2 * (i * j + k * w), 1 - 2 * (i * i + k * k), 2 * (j * k - i * w)], -1),
        torch.stack([2 * (i * k - j * w), 2 * (j * k + i * w), 1 - 2 * (i * i + j * j)], -1),
    ]
    return torch.stack(rows, -2)


def arap(x: dict[str, Any]) -> Tensor:
    turned = torch.einsum("mab,mkb->mka", rotations(x["turn"].detach()), x["edges_then"])
    return (x["edge_weight"][..., 0] * ((x["edges_now"] - turned) ** 2).sum(-1)).sum()


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params, t = x["params"], step + 1
    warm_up = params.get("warm_up", 3_000)
    found = {"photometric": (1.0, photometric(x["rendered"], x["target"], params.get("ssim_weight", 0.2)))}
    if t > warm_up:
        found["arap"] = (landmarks(t, ARAP), arap(x))
    if t >= warm_up and "flow" in x:
        gap = max(math.cos(x["frame_gap"] * math.pi / 2), params.get("frame_gap_floor", 0.2))
        seen = (x["alpha"] > 0.9)[..., 0] & (x["flow_consistent"] > 0.5) | (x["flow_occluded"] > 0.5)
        colour = torch.cos((x["rendered"].detach() - x["target"]).abs().mean(-1) * math.pi / 2)
        trust = seen.double() * gap * colour
        found["flow"] = (landmarks(t, FLOW), (trust[..., None] * (x["flow_target"] - x["flow"]).abs()).mean())
    if "motion_target" in x:
        found["motion"] = (landmarks(t, MOTION), (x["motion"] - x["motion_target"]).abs().mean())
    return found
