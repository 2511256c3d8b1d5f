"""SC-GS, first stage, on the control nodes as gaussians of their own.

P(I, Ĩ; 0.2), and with t from 1, when t > 2,000
+ 1e-3 mean_i sum_k g_ik v_ik / (sg(v_ik) + 1e-5), v the variance over sampled times of the length of the edge from
node i to its neighbour k, g the weight of the neighbour
+ 1e-5 mean_i a_i / (sg(a_i) + 1e-5), a the length of the second difference of the node's path
+ 1e-2 sum_ik g'_ik ||e'_ik - R_i e_ik||^2, as in the second stage.

Huang et al., SC-GS, CVPR 2024; yihua7/SC-GS at 26cd57d, train_gui.py, utils/time_utils.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, photometric, rand, randn
from torch import Tensor

MAX_STEPS = 10_000
STEPS = (0, 1_999, 2_000, 2_001, 9_999)
GRADIENTS = ("rendered", "length_spread", "nearness", "acceleration", "edges_then", "edges_now", "turn")
MASKED = False
VARIANTS = ({"params": {"motion_start": 0, "ssim_weight": 0.5}},)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked)
    made["length_spread"] = 1e-4 * rand(g, 6, 2)
    made["nearness"] = rand(g, 6, 2)
    made["acceleration"] = 1e-3 * randn(g, 6, 3)
    made["edges_then"] = randn(g, 6, 4, 3)
    made["edges_now"] = made["edges_then"] + 0.2 * randn(g, 6, 4, 3)
    made["turn"] = torch.nn.functional.normalize(randn(g, 6, 4), dim=-1)
    made["edge_weight"] = (rand(g, 6, 4, 1) < 0.8).double()
    return made


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
    params = x["params"]
    found = {"photometric": (1.0, photometric(x["rendered"], x["target"], params.get("ssim_weight", 0.2)))}
    if step + 1 > params.get("motion_start", 2_000):
        v, a = x["length_spread"], x["acceleration"].norm(dim=-1)
        found["elastic"] = (1e-3, (x["nearness"] * v / (v.detach() + 1e-5)).sum(1).mean())
        found["acceleration"] = (1e-5, (a / (a.detach() + 1e-5)).mean())
        found["arap"] = (1e-2, arap(x))
    return found
