"""PhysGaussian.

P(I, Ĩ; 0.2) + 0.01 mean(max(s_max / s_min, 10) - 10), over all gaussians, constant: the mean over steps of
nerfstudio's 0.1 at every tenth.

Xie et al., PhysGaussian, CVPR 2024; nerfstudio at 50e0e3c, nerfstudio/models/splatfacto.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import gaussians, images, photometric, scales
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 9, 10, 29_999)
GRADIENTS = ("rendered", "state.scales")
MASKED = False
VARIANTS = ({"params": {"ratio": 2, "weight": 0.5, "ssim_weight": 0}},)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked)
    made["state"] = gaussians(g)
    return made


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    r = params.get("ratio", 10)
    excess = []
    for s in scales(x["state"]):
        ratio = s.max() / s.min()
        excess.append(ratio - r if float(ratio.detach()) > r else 0 * ratio)
    return {
        "photometric": (1.0, photometric(x["rendered"], x["target"], params.get("ssim_weight", 0.2))),
        "needles": (params.get("weight", 0.01), torch.stack(excess).mean()),
    }
