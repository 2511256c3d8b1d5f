"""GaussianAvatars.

P(I, Ĩ; 0.2) + 0.01 mean relu(||x|| - 1) + mean ||relu(s - 0.6)||, over the gaussians that are seen, positions x and
scales s in the frame of the triangle that a gaussian is bound to, the last norm over the three axes.

Qian et al., GaussianAvatars, CVPR 2024; ShenhanQian/GaussianAvatars at 30cc4bd, train.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import gaussians, images, photometric, scales
from torch import Tensor

MAX_STEPS = 600_000
STEPS = (0, 1, 599_999)
GRADIENTS = ("rendered", "state.means", "state.scales")
MASKED = False
VARIANTS = ({"params": {"position_free": 0.5, "scale_free": 0.2, "ssim_weight": 0.4, "position_weight": 0.1}},)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked)
    made["state"] = gaussians(g)
    made["visible"] = torch.tensor([1, 0, 1, 1, 0, 1, 1], dtype=torch.float64)
    return made


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    seen = x["visible"] > 0
    far = torch.relu(x["state"]["means"][seen].norm(dim=1) - params.get("position_free", 1))
    large = torch.relu(scales(x["state"])[seen] - params.get("scale_free", 0.6))
    # The length of a vector of zeros has no slope.
    lengths = [row.norm() if float(row.detach().max()) > 0 else row.sum() for row in large]
    return {
        "photometric": (1.0, photometric(x["rendered"], x["target"], params.get("ssim_weight", 0.2))),
        "near": (params.get("position_weight", 0.01), far.mean()),
        "small": (1.0, torch.stack(lengths).mean()),
    }
