"""Periodic Vibration Gaussian.

P(I, Ĩ; 0.2), t from 1
+ 0.1 exp(-t d / 8000) mean|1 / (D̃ + 1e-5) - 1 / (D + 1e-5)| where D̃ > 0, d = 1 (0.3 on KITTI)
+ 0.05 mean(-sky ln(1 - A)) + 0.05 mean(-A ln A), A cut to 1e-6..1 - 1e-6
+ 1e-3 E(1 / (D + 1e-5)) + 0.01 mean|v| + 0 E(v) - 0 mean|l| (KITTI: 0.001 mean|v|, for novel views - 0.01 mean|l|)
with 1 / D = A / D' + (1 - A) / 900, D' the expected depth, v and l the rendered velocity and lifetime over
max(A, 1e-5), E(x) = mean(|x_{i,j} - x_{i,j+1}| exp(-g)) + the same along the columns, g the mean over the colours of
the same difference of Ĩ; each mean over the pixels that have a neighbour and over the components.

Chen et al., Periodic Vibration Gaussian, 2023; fudan-zvg/PVG at b4162a9, train.py; kornia, losses/depth_smooth.py.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from _common import images, photometric, rand, randn
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 1, 7_999, 8_000, 29_999)
GRADIENTS = ("rendered", "alpha", "depth", "velocity", "lifetime")
MASKED = False
VARIANTS = (
    {"params": {"lifetime_reward": 0.01, "velocity_weight": 0.001, "velocity_smooth": 0.2, "lidar_decay": 0.3}},
    {"params": {"sky_depth": 50, "smooth_weight": 0, "ssim_weight": 0.5}},
)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked)
    made["alpha"] = rand(g, 2, 24, 20, 1, lo=0.05, hi=0.95)
    made["alpha"][0, 0, :4, 0] = torch.tensor([0.0, 1.0, 1e-7, 1 - 1e-7], dtype=torch.float64)
    made["depth"] = 30 * rand(g, 2, 24, 20, 1, lo=0.1)
    made["sky"] = (rand(g, 2, 24, 20) < 0.4).double()
    made["lidar"] = 30 * rand(g, 2, 24, 20, 1, lo=0.1) * (rand(g, 2, 24, 20, 1) < 0.4)
    made["velocity"] = randn(g, 2, 24, 20, 3)
    made["velocity"][0, 0, :4] *= 1e-5
    made["lifetime"] = rand(g, 2, 24, 20, 1)
    made["lifetime"][0, 0, :4] *= 1e-5
    return made


def edge_aware(x: Tensor, image: Tensor) -> Tensor:
    total = x.new_zeros(())
    for d in (1, 2):
        n = x.shape[d] - 1
        change = (x.narrow(d, 0, n) - x.narrow(d, 1, n)).abs()
        edge = (image.narrow(d, 0, n) - image.narrow(d, 1, n)).abs().mean(-1, keepdim=True)
        total = total + (change * torch.exp(-edge)).mean()
    return total


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params, iteration = x["params"], step + 1
    alpha, target = x["alpha"], x["target"]
    depth = 1 / (alpha / x["depth"] + (1 - alpha) / params.get("sky_depth", 900))
    inverse = 1 / (depth + 1e-5)
    o = alpha.clamp(1e-6, 1 - 1e-6)
    speed = x["velocity"] / alpha.clamp_min(1e-5)
    measured = x["lidar"] > 0
    lidar = (1 / (x["lidar"][measured] + 1e-5) - inverse[measured]).abs().mean()
    decay = math.exp(-iteration / 8000 * params.get("lidar_decay", 1))
    found = {
        "photometric": (1.0, photometric(x["rendered"], target, params.get("ssim_weight", 0.2))),
        "lidar": (0.1 * decay, lidar),
        "sky": (0.05, (-x["sky"][..., None] * torch.log(1 - o)).mean()),
        "opacity": (0.05, -(o * torch.log(o)).mean()),
        "velocity": (params.get("velocity_weight", 0.01), speed.abs().mean()),
    }
    if params.get("smooth_weight", 1e-3):
        found["smooth"] = (1e-3, edge_aware(inverse, target))
    if params.get("velocity_smooth"):
        found["velocity_smooth"] = (params["velocity_smooth"], edge_aware(speed, target))
    if params.get("lifetime_reward"):
        found["lifetime"] = (-params["lifetime_reward"], (x["lifetime"] / alpha.clamp_min(1e-5)).abs().mean())
    return found
