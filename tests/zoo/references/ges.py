"""L = 0.3 mean|I - Ĩ| + 0.2 (1 - S(I, Ĩ)) + 0.5 mean|M (I - Ĩ)| at every step.

M, without gradient, from the render alone: mean of the channels; to a fifth of the size, bilinear; G_σ - G_2σ, gaussian
blurs; back to the full size, bilinear; to 0..1 by the least and largest value v of the image; M = [v ≥ ½] for f ≥ 50,
[1 - v ≥ ½] for f < 50. f = 100 t / T, t counts from 1; σ = 0.1 + 0.1 min(f, 100 - f) pixels of the small image. A blur
ends at 3σ, to the nearest pixel; at the border its weights are those of the pixels inside, scaled to sum to 1.
S is the mean SSIM: 11 x 11 gaussian window, σ = 1.5, C1 = 0.01², C2 = 0.03², each channel alone, zeros outside the
image.

Hamdi et al., CVPR 2024; ajhamdi/ges-splatting at c05fc7d, train_ges.py and utils/image_utils.py.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from _common import images, l1, ssim
from torch import Tensor
from torch.nn import functional

MASKED = False
MAX_STEPS = 40_000
STEPS = (0, 1, 400, 8_000, 19_998, 19_999, 20_000, 20_199, 31_000, 39_998, 39_999)
GRADIENTS = ("rendered",)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two images of 40 x 30, whose fifth is 8 x 6."""
    return images(g, masked, h=40, w=30)


def smoothing(n: int, sigma: float) -> Tensor:
    """The blur of n values as a matrix: gaussian weights up to 3 sigma, to the nearest pixel; its rows sum to 1."""
    weights = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            if abs(i - j) <= math.floor(3 * sigma + 0.5):
                weights[i, j] = math.exp(-((i - j) ** 2) / (2 * sigma**2))
    return weights / weights.sum(1, keepdim=True)


def band(image: Tensor, f: float) -> Tensor:
    """M, `[H, W, 1]`, of one image `[H, W, 3]`."""
    h, w, _ = image.shape
    sigma = 0.1 + 0.1 * (100 - f if f >= 50 else f)
    grey = image.mean(-1)[None, None]
    small = functional.interpolate(grey, size=(h // 5, w // 5), mode="bilinear", align_corners=False)[0, 0]
    fine, coarse = (smoothing(h // 5, k * sigma) @ small @ smoothing(w // 5, k * sigma).T for k in (1, 2))
    v = functional.interpolate((fine - coarse)[None, None], size=(h, w), mode="bilinear", align_corners=False)[0, 0]
    v = (v - v.min()) / (v.max() - v.min())
    return ((v if f >= 50 else 1 - v) >= 0.5).double().unsqueeze(-1)


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """Iteration t = step + 1."""
    a, b = x["rendered"], x["target"]
    f = (step + 1) / max_steps * 100
    m = torch.stack([band(image.detach(), f) for image in a])
    return {
        "l1": (1 - 0.2 - 0.5, l1(a, b)),
        "ssim": (0.2, 1 - ssim(a, b)[1]),
        "band": (0.5, l1(a * m, b * m)),
    }
