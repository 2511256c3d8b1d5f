"""Dynamic 3D Gaussians.

P(exp(a_c) I + b_c, Ĩ; 0.2) + 3 P(segmentation render, its target; 0.2), and from the second frame on
+ 4 mean sqrt(w_ij ||R_i^-1 (x_j - x_i) - (x_j - x_i)_prev||^2 + 1e-20), R_i the turn q_i q_i,prev^-1
+ 4 mean sqrt(w_ij ||q_j q_j,prev^-1 - q_i q_i,prev^-1||^2 + 1e-20)
+ 2 mean sqrt(w_ij (||x_j - x_i|| - d_ij)^2 + 1e-20), d the distance in the first frame
  over the foreground gaussians i and their 20 neighbours j, w = exp(-2000 d^2)
+ 2 mean max(y, 0) over the foreground
+ 20 mean of sum|x - x_first| and of sum|q - q_first| over the background, q of length 1
+ 0.01 mean of sum|c - c_prev| over all.

Luiten et al., Dynamic 3D Gaussians, 3DV 2024; JonathonLuiten/Dynamic3DGaussians at 7dbbd4d, train.py, helpers.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import gaussians, images, photometric, quats, rand, randn
from torch import Tensor

MAX_STEPS = 10_000
STEPS = (0, 1, 1_999, 9_999)
GRADIENTS = ("rendered", "segmentation", "gain", "offset", "colours", "state.means", "state.quats")
MASKED = False
VARIANTS = (
    {"without": ("neighbours", "previous_offset", "previous_quats", "previous_colours", "first_means")},
    {"params": {"ssim_weight": 0.1, "segmentation_weight": 1, "rigid_weight": 2, "turn_weight": 0}},
)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked)
    made["gain"] = 0.2 * randn(g, 2, 3)
    made["offset"] = 0.1 * randn(g, 2, 3)
    made["segmentation"] = rand(g, 2, 24, 20, 3)
    made["segmentation_target"] = rand(g, 2, 24, 20, 3)
    state = made["state"] = gaussians(g)
    made["foreground"] = torch.tensor([0.9, 0.1, 0.7, 0.8, 0.2, 0.95, 0.6], dtype=torch.float64)
    made["colours"] = rand(g, 7, 3)
    neighbours = torch.tensor([[2, 3], [4, 4], [0, 5], [6, 0], [1, 1], [6, 2], [3, 5]])
    made["neighbours"] = neighbours
    made["neighbour_weight"] = rand(g, 7, 2, 1, lo=0.05)
    made["first_distance"] = rand(g, 7, 2, 1, lo=0.5, hi=2.0)
    offsets = state["means"][neighbours] - state["means"][:, None]
    made["previous_offset"] = offsets + 0.2 * randn(g, 7, 2, 3)
    made["previous_quats"] = state["quats"] + 0.2 * randn(g, 7, 4)
    made["previous_colours"] = rand(g, 7, 3)
    made["first_means"] = state["means"] + 0.3 * randn(g, 7, 3)
    made["first_quats"] = state["quats"] + 0.3 * randn(g, 7, 4)
    return made


def product(a: Tensor, b: Tensor) -> Tensor:
    """Of quaternions: the real part is aw bw - a.b, the others aw b + bw a + a x b."""
    real = a[..., :1] * b[..., :1] - (a[..., 1:] * b[..., 1:]).sum(-1, keepdim=True)
    rest = a[..., :1] * b[..., 1:] + b[..., :1] * a[..., 1:] + torch.linalg.cross(a[..., 1:], b[..., 1:])
    return torch.cat([real, rest], -1)


def turned(q: Tensor, v: Tensor) -> Tensor:
    """q v q*, v as a quaternion without a real part."""
    conjugate = torch.cat([q[..., :1], -q[..., 1:]], -1)
    return product(product(q, torch.cat([torch.zeros_like(v[..., :1]), v], -1)), conjugate)[..., 1:]


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    w = params.get("ssim_weight", 0.2)
    corrected = torch.exp(x["gain"])[:, None, None] * x["rendered"] + x["offset"][:, None, None]
    found = {
        "photometric": (1.0, photometric(corrected, x["target"], w)),
        "segmentation": (
            params.get("segmentation_weight", 3),
            photometric(x["segmentation"], x["segmentation_target"], w),
        ),
    }
    front = [i for i, f in enumerate(x["foreground"].tolist()) if f > 0.5]
    back = [i for i, f in enumerate(x["foreground"].tolist()) if f <= 0.5]
    means, q = x["state"]["means"], quats(x["state"])

    def length(v: Tensor, i: int, k: int) -> Tensor:
        return torch.sqrt(x["neighbour_weight"][i, k, 0] * (v * v).sum() + 1e-20)

    if "previous_quats" in x:
        before = x["previous_quats"] / x["previous_quats"].norm(dim=-1, keepdim=True)
        turn = product(q, torch.cat([before[:, :1], -before[:, 1:]], -1))
        found["floor"] = (2, means[front, 1].clamp(min=0).mean())
    pairs = [(i, k, int(x["neighbours"][i, k])) for i in front for k in range(2)] if "neighbours" in x else []
    if pairs:
        offset = {(i, k): means[j] - means[i] for i, k, j in pairs}
        back_turn = torch.cat([turn[:, :1], -turn[:, 1:]], -1)
        rigid = [length(turned(back_turn[i], offset[i, k]) - x["previous_offset"][i, k], i, k) for i, k, _ in pairs]
        found["rigid"] = (params.get("rigid_weight", 4), torch.stack(rigid).mean())
        if params.get("turn_weight", 4):
            found["turn"] = (4, torch.stack([length(turn[j] - turn[i], i, k) for i, k, j in pairs]).mean())
        iso = [length(offset[i, k].norm() - x["first_distance"][i, k, 0], i, k) for i, k, _ in pairs]
        found["distances"] = (2, torch.stack(iso).mean())
    if "first_means" in x:
        first = x["first_quats"] / x["first_quats"].norm(dim=-1, keepdim=True)
        moved = (means[back] - x["first_means"][back]).abs().sum(-1).mean()
        found["still"] = (20, moved + (q[back] - first[back]).abs().sum(-1).mean())
    if "previous_colours" in x:
        found["colours"] = (0.01, (x["colours"] - x["previous_colours"]).abs().sum(-1).mean())
    return found
