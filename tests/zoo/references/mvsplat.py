"""MVSplat.

mean((I - Ĩ)^2) + 0.05 [t >= t0] LPIPS_vgg(I, Ĩ), over a batch of views, t from 0, t0 = 0 in every experiment
+ w (mean(|u_{i,j+1} - u_{i,j}| exp(-k g)) + the same along the columns), w = 0 (0.25 as an option),
u = (ln clamp(D, near, far) - ln near) / (ln far - ln near), g the largest over the colours of |Ĩ_{i,j+1} - Ĩ_{i,j}|,
k = 0; each mean over the pixels that have a neighbour.
The network of LPIPS is stood in for by another distance around each pixel.

Chen et al., MVSplat, ECCV 2024; donydchen/mvsplat at 175b17a, src/loss/, config/loss/.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from _common import images, rand
from torch import Tensor

MAX_STEPS = 300_001
STEPS = (0, 1, 149_999, 150_000, 150_001, 300_000)
GRADIENTS = ("rendered", "depth")
MASKED = False
VARIANTS = (
    {"params": {"lpips_start": 150_000, "smooth_weight": 0.25}},
    {"params": {"smooth_weight": 0.25, "edge_scale": 5, "near": 2, "far": 20, "mse_weight": 2}},
)


def distance(a: Tensor, b: Tensor, net: str) -> Tensor:
    """Stands for the map of LPIPS distances of images in 0..1."""
    assert net == "vgg"
    return ((torch.sin(3 * a) - torch.sin(3 * b)) ** 2).mean(-1, keepdim=True)


EXTERNS = {"lpips": distance}


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked, 2, 32, 33)
    made["depth"] = torch.exp(rand(g, 2, 32, 33, 1, lo=-0.5, hi=5.5))
    return made


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    rendered, target = x["rendered"], x["target"]
    found = {"mse": (params.get("mse_weight", 1), ((rendered - target) ** 2).mean())}
    if step >= params.get("lpips_start", 0):
        found["lpips"] = (0.05, distance(rendered, target, "vgg").mean())
    if params.get("smooth_weight"):
        near, far = math.log(params.get("near", 1)), math.log(params.get("far", 100))
        u = (torch.log(x["depth"]).clamp(near, far) - near) / (far - near)
        total = u.new_zeros(())
        for d in (1, 2):
            edge = target.diff(dim=d).abs().max(-1, keepdim=True).values
            total = total + (u.diff(dim=d).abs() * torch.exp(-params.get("edge_scale", 0) * edge)).mean()
        found["smooth"] = (params["smooth_weight"], total)
    return found
