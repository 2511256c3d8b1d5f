"""L = P(M I, M Ĩ; 0.2) + 1.0 mean(A (1 - M)) + w_o mean(o) + w_s mean(s), at every step.

P = 0.8 mean|·| + 0.2 (1 - S) over all pixels, S the mean SSIM over the image without a border of 5 pixels: 11 x 11
gaussian window, σ = 1.5, C1 = 0.01², C2 = 0.03², each channel alone. A accumulated alpha, M mask; the second term only
for items that have a mask. w_o = w_s = 0 by default; o = sigmoid(logit), s = exp(log-scale).

splatkit 0.1.0 on PyPI, splatkit/loss_fn/base.py and _3dgs.py, with the fused-ssim package.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import gaussians, images, mask_of, opacities, photometric, rand, scales
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 29_999)
GRADIENTS = ("rendered", "alpha", "state.opacities", "state.scales")
VARIANTS = ({"params": {"opacity_weight": 0.01, "scale_weight": 0.02}, "masked": True},)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two images with their alpha, and seven gaussians."""
    return {**images(g, masked), "alpha": rand(g, 2, 24, 20, 1), "state": gaussians(g)}


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """The same at every step."""
    m, p = mask_of(x), x["params"]
    found = {"photometric": (1.0, photometric(x["rendered"] * m, x["target"] * m, 0.2, "valid"))}
    if "mask" in x:
        found["outside"] = (1.0, (x["alpha"] * (1 - m)).mean())
    if p.get("opacity_weight"):
        found["opacity"] = (p["opacity_weight"], opacities(x["state"]).mean())
    if p.get("scale_weight"):
        found["scale"] = (p["scale_weight"], scales(x["state"]).mean())
    return found
