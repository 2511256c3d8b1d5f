"""4DGaussians.

mean|I - Ĩ| + w (1 - S), w = 0, over a batch of views; in the fine stage
+ 1e-4 sum over the planes of space of mean((second difference along Y)^2)
+ 0.01 sum over the planes of space and time of the same, Y their time
+ 1e-4 sum over the planes of space and time of mean|1 - P|.
A plane is C components on a grid of Y x X. The second difference p_{y+1} - 2 p_y + p_{y-1} exists at Y - 2 rows.
2e-4, 1e-3 and 1e-4 on dynerf and hypernerf.

Wu et al., 4D Gaussian Splatting, CVPR 2024; hustvl/4DGaussians at 843d5ac, train.py, scene/regulation.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, l1, rand, randn, ssim
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 1, 29_999)
GRADIENTS = (
    "rendered",
    "space_planes.0",
    "space_planes.1",
    "space_planes.2",
    "time_planes.0",
    "time_planes.1",
    "time_planes.2",
)
MASKED = False
VARIANTS = (
    {"params": {"stage": "coarse"}},
    {"params": {"ssim_weight": 0.2, "space_weight": 2e-4, "time_weight": 1e-3, "still_weight": 0}},
)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked)
    made["space_planes"] = [randn(g, 4, 8, 7), randn(g, 4, 8, 6), randn(g, 4, 7, 6)]
    made["time_planes"] = [1 + 0.1 * randn(g, 4, 5, 8), 1 + 0.1 * randn(g, 4, 5, 7), rand(g, 4, 5, 6)]
    return made


def bent(plane: Tensor) -> Tensor:
    rows = plane.shape[1]
    squares = [(plane[:, y + 1] - 2 * plane[:, y] + plane[:, y - 1]) ** 2 for y in range(1, rows - 1)]
    return torch.stack(squares).mean()


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    colour = l1(x["rendered"], x["target"])
    w = params.get("ssim_weight", 0)
    found = {"photometric": (1.0, colour + w * (1 - ssim(x["rendered"], x["target"])[1]))}
    if params.get("stage", "fine") == "fine":
        space = torch.stack([bent(p) for p in x["space_planes"]]).sum()
        time = torch.stack([bent(p) for p in x["time_planes"]]).sum()
        still = torch.stack([(1 - p).abs().mean() for p in x["time_planes"]]).sum()
        found["space"] = (params.get("space_weight", 1e-4), space)
        found["time"] = (params.get("time_weight", 0.01), time)
        if params.get("still_weight", 1e-4):
            found["still"] = (1e-4, still)
    return found
