"""L = P(M I, M Ĩ; 0.2) + 1.0 mean(A (1 - M)) + w_o mean(o) + w_s mean(s)
+ 0.05 [t ≥ 7000] mean(1 - N · (sg(A) Nd)) + 0.01 [t ≥ 3000] mean(dist).

P = 0.8 mean|·| + 0.2 (1 - S) over all pixels, S the mean SSIM over the image without a border of 5 pixels: 11 x 11
gaussian window, σ = 1.5, C1 = 0.01², C2 = 0.03², each channel alone. A accumulated alpha, M mask; the second term only
for items that have a mask. w_o = w_s = 0 by default; o = sigmoid(logit), s = exp(log-scale).
N rendered normals, Nd unit normals from depth, sg(A) alpha without gradient, dist the distortion; t counts from 1.

splatkit 0.1.0 on PyPI, splatkit/loss_fn/base.py and _2dgs.py, with the fused-ssim package.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import gaussians, images, mask_of, opacities, photometric, rand, randn, scales
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 2_998, 2_999, 3_000, 6_998, 6_999, 7_000, 29_999)
GRADIENTS = ("rendered", "alpha", "normals", "normals_from_depth", "distortion", "state.opacities", "state.scales")
VARIANTS = ({"params": {"opacity_weight": 0.01, "scale_weight": 0.02}, "masked": True},)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two images with what a 2DGS renderer makes, and seven gaussians."""
    x: dict[str, Any] = {**images(g, masked), "state": gaussians(g)}
    x["alpha"] = rand(g, 2, 24, 20, 1, lo=0.1, hi=0.95)
    n = randn(g, 2, 24, 20, 3)
    x["normals"] = 0.9 * x["alpha"] * n / n.norm(dim=-1, keepdim=True)
    n = randn(g, 2, 24, 20, 3)
    x["normals_from_depth"] = n / n.norm(dim=-1, keepdim=True)
    x["distortion"] = rand(g, 2, 24, 20, 1)
    return x


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """t = step + 1."""
    m, p = mask_of(x), x["params"]
    found = {"photometric": (1.0, photometric(x["rendered"] * m, x["target"] * m, 0.2, "valid"))}
    if "mask" in x:
        found["outside"] = (1.0, (x["alpha"] * (1 - m)).mean())
    if p.get("opacity_weight"):
        found["opacity"] = (p["opacity_weight"], opacities(x["state"]).mean())
    if p.get("scale_weight"):
        found["scale"] = (p["scale_weight"], scales(x["state"]).mean())
    if step + 1 >= 7_000:
        surface = x["alpha"].detach() * x["normals_from_depth"]
        found["normals"] = (0.05, 1 - (x["normals"] * surface).sum(-1).mean())
    if step + 1 >= 3_000:
        found["distortion"] = (0.01, x["distortion"].mean())
    return found
