"""Gaussian in the Wild.

P(I, Ĩ; 0.2) up to t = 2,500, from 1; after it P(M I, M Ĩ; 0.2) + 0.15 mean((1 - M)^2), M a map that a network makes of
Ĩ, trained through all of it; means over all pixels
+ 0.005 LPIPS_vgg(I, Ĩ) + 0.001 mean relu(|uv| - 1), uv where gaussians read the feature map, + 0 mean s (0.005 as an
option), s the scales.
The network of LPIPS is stood in for by another distance around each pixel.

Zhang et al., Gaussian in the Wild, ECCV 2024; EastbeanZhang/Gaussian-Wild at fbe12be, train.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import gaussians, images, photometric, randn, scales
from torch import Tensor

MAX_STEPS = 70_000
STEPS = (0, 2_498, 2_499, 2_500, 2_501, 69_999)
GRADIENTS = ("rendered", "sampling", "state.scales")
MASKED = False
VARIANTS = ({"params": {"scale_weight": 0.005, "map_start": 1, "lpips_weight": 0.1, "ssim_weight": 0.4}},)


def visibility(image: Tensor) -> Tensor:
    """Stands for the network: a map between 0 and 1."""
    weights = torch.tensor([2.0, -3.0, 2.0], dtype=image.dtype)
    return 1 / (1 + torch.exp(-(image * weights).sum(-1, keepdim=True)))


def distance(a: Tensor, b: Tensor, net: str) -> Tensor:
    """Stands for the map of LPIPS distances of images in 0..1."""
    assert net == "vgg"
    return ((torch.sin(3 * a) - torch.sin(3 * b)) ** 2).mean(-1, keepdim=True)


EXTERNS = {"visibility": visibility, "lpips": distance}


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked, 1, 34, 32)
    made["sampling"] = randn(g, 7, 2)
    made["state"] = gaussians(g)
    return made


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params, iteration = x["params"], step + 1
    rendered, target = x["rendered"], x["target"]
    w = params.get("ssim_weight", 0.2)
    found: dict[str, tuple[float, Tensor]] = {}
    if iteration > params.get("map_start", 2_500):
        m = visibility(target)
        found["photometric"] = (1.0, photometric(m * rendered, m * target, w))
        found["clear"] = (0.15, ((1 - m) ** 2).mean())
    else:
        found["plain"] = (1.0, photometric(rendered, target, w))
    if params.get("scale_weight"):
        found["scales"] = (params["scale_weight"], scales(x["state"]).mean())
    found["perceptual"] = (params.get("lpips_weight", 0.005), distance(rendered, target, "vgg").mean())
    found["inside"] = (0.001, torch.relu(x["sampling"].abs() - 1).mean())
    return found
