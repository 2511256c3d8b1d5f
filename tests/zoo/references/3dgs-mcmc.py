"""L = P(I, Ĩ; 0.2) + 0.01 mean(o) + 0.01 mean(s) at every step.

I render, Ĩ target; o = sigmoid(logit) over all gaussians, s = exp(log-scale) over all gaussians and axes.
P(I, Ĩ; λ) = (1 - λ) mean|I - Ĩ| + λ (1 - S(I, Ĩ)), with S the mean SSIM: 11 x 11 gaussian window, σ = 1.5,
C1 = 0.01², C2 = 0.03², each channel alone, zeros outside the image.

Kheradmand et al., NeurIPS 2024; ubc-vision/3dgs-mcmc at 7b4fc9f, train.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import gaussians, images, opacities, photometric, scales
from torch import Tensor

MASKED = False
MAX_STEPS = 30_000
STEPS = (0, 29_999)
GRADIENTS = ("rendered", "state.opacities", "state.scales")
VARIANTS = ({"params": {"opacity_weight": 0.001}},)  # the configuration of the scene drjohnson


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two images and seven gaussians."""
    return {**images(g, masked), "state": gaussians(g)}


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """The same at every step."""
    return {
        "photometric": (1.0, photometric(x["rendered"], x["target"], 0.2)),
        "opacity": (x["params"].get("opacity_weight", 0.01), opacities(x["state"]).abs().mean()),
        "scale": (0.01, scales(x["state"]).abs().mean()),
    }
