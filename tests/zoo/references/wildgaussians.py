"""WildGaussians.

0.8 mean(m |I_toned - Ĩ|) + 0.2 mean(m (1 - S(I, Ĩ))) + U, means over all pixels and colours, S the SSIM map.
m = 1 + r ([1 / (2 s^2) > 1] - 1), s the uncertainty that a network makes of Ĩ, r = clamp((t - start) / warmup, 0, 1)
with t from 1, start = 0, warmup = 2,000 (35,000 and 5,000 on Phototourism). A mask M of the data enters as
x M + sg(x) (1 - M) in place of I and I_toned: it stops the gradient and leaves the value.
U = mean(D / (2 s^2)) + 0.5 mean ln s, D = clip(1 - (c - 0.5) / 0.5, 0, 1), c the cosine between the DINO features of Ĩ
and of sg(I_toned). U is left out in the 500 steps after a reset of the opacities.

Kulhanek et al., WildGaussians, NeurIPS 2024; jkulhanek/wild-gaussians at 8e58093, wildgaussians/method.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, mask_of, rand, ssim
from torch import Tensor

MAX_STEPS = 70_000
STEPS = (0, 1, 999, 1_998, 1_999, 2_000, 34_998, 34_999, 35_000, 37_000, 39_998, 39_999, 40_000, 69_999)
GRADIENTS = ("rendered", "toned")
VARIANTS = (
    {"params": {"warmup_start": 35_000, "warmup": 5_000, "reset_pause": 1_500}, "masked": True},
    {"params": {"reset_pause": 499, "ssim_weight": 0.4}},
    {"params": {"reset_pause": 501}},
)
SINCE_RESET = 500


def sigma(image: Tensor) -> Tensor:
    """Stands for the uncertainty of an image: between 0.3 and 1.3."""
    weights = torch.tensor([3.0, -4.0, 2.0], dtype=image.dtype)
    return 0.3 + 1 / (1 + torch.exp(-(image * weights).sum(-1, keepdim=True)))


def similarity(a: Tensor, b: Tensor) -> Tensor:
    """Stands for the cosine between features of two images."""
    return torch.exp(-6 * ((a - b) ** 2).mean(-1, keepdim=True))


EXTERNS = {"uncertainty": sigma, "dino_similarity": similarity}


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked)
    made["toned"] = rand(g, 2, 24, 20, 3)
    made["since_reset"] = SINCE_RESET
    return made


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    keep = mask_of(x)

    def scaled(image: Tensor) -> Tensor:
        return image * keep + image.detach() * (1 - keep)

    target = x["target"]
    s = sigma(target)
    start, warmup = params.get("warmup_start", 0), params.get("warmup", 2_000)
    iteration = step + 1
    m = (1 / (2 * s * s) > 1).double()
    if iteration < start:
        m = torch.ones_like(m)
    elif iteration < start + warmup:
        p = (iteration - start) / warmup
        m = 1 + p * (m - 1)
    w = params.get("ssim_weight", 0.2)
    l1 = (m * (scaled(x["toned"]) - target).abs()).mean()
    structure = (m * (1 - ssim(scaled(x["rendered"]), target)[0])).mean()
    found = {"photometric": (1.0, (1 - w) * l1 + w * structure)}
    if params.get("reset_pause", 500) <= SINCE_RESET:
        d = (1 - (similarity(target, x["toned"].detach()) - 0.5) / 0.5).clip(0, 1)
        found["uncertainty"] = (1.0, (d / (2 * s**2)).mean() + 0.5 * torch.log(s).mean())
    return found
