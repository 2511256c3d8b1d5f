"""SplaTAM.

Tracking: sum_O |D̃ - D| + 0.5 sum_O |I - Ĩ|, O = [D̃ > 0] and [A > 0.99], sums over pixels and colours, no means.
Mapping: mean_{D̃ > 0} |D̃ - D| + 0.5 P(I, Ĩ; 0.2).
D is the accumulated depth of the render. As an option both masks leave out errors of 10 times their median over
[D̃ > 0] or more, image by image.

Keetha et al., SplaTAM, CVPR 2024; spla-tam/SplaTAM at da6bbcd, scripts/splatam.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, photometric, rand
from torch import Tensor

MAX_STEPS = 60
STEPS = (0, 1, 59)
GRADIENTS = ("rendered", "alpha", "render.depths_accumulated")
MASKED = False
VARIANTS = ({"params": {"drop_outliers": True}}, {"params": {"silhouette": 0.5, "ssim_weight": 0.4}})


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked)
    made["alpha"] = rand(g, 2, 24, 20, 1, lo=0.97, hi=1.0)
    made["render"] = {"depths_accumulated": 5 * rand(g, 2, 24, 20, 1, lo=0.1)}
    # Most errors are small, some are not.
    error = 0.1 * rand(g, 2, 24, 20, 1) + rand(g, 2, 24, 20, 1) * (rand(g, 2, 24, 20, 1) < 0.2)
    made["sensor"] = (made["render"]["depths_accumulated"] + error) * (rand(g, 2, 24, 20, 1) < 0.8)
    return made


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    error = (x["sensor"] - x["render"]["depths_accumulated"]).abs()[..., 0]
    mask = x["sensor"][..., 0] > 0
    if params.get("drop_outliers"):
        typical = [torch.quantile(e.detach()[m], 0.5) for e, m in zip(error, mask)]
        mask = mask & torch.stack([e < 10 * t for e, t in zip(error, typical)])
    trusted = mask & (x["alpha"][..., 0] > params.get("silhouette", 0.99))
    return {
        "tracking.depth": (1.0, error[trusted].sum()),
        "tracking.colour": (0.5, (x["rendered"] - x["target"])[trusted].abs().sum()),
        "mapping.depth": (1.0, error[mask].mean()),
        "mapping.colour": (0.5, photometric(x["rendered"], x["target"], params.get("ssim_weight", 0.2))),
    }
