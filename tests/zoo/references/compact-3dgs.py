"""L = P(I, Ĩ; 0.2) + 5e-4 mean sigmoid(m_i) at every step; m_i the mask logit of a gaussian.

I render, Ĩ target.
P(I, Ĩ; λ) = (1 - λ) mean|I - Ĩ| + λ (1 - S(I, Ĩ)), with S the mean SSIM: 11 x 11 gaussian window, σ = 1.5,
C1 = 0.01², C2 = 0.03², each channel alone, zeros outside the image.

Lee et al., CVPR 2024; maincold2/Compact-3DGS at c5d761f, train.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, photometric, randn
from torch import Tensor

MASKED = False
MAX_STEPS = 30_000
STEPS = (0, 29_999)
GRADIENTS = ("rendered", "mask_logits")


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two images and the logits of seven gaussians."""
    return {**images(g, masked), "mask_logits": 2 * randn(g, 7)}


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """The same at every step."""
    return {
        "photometric": (1.0, photometric(x["rendered"], x["target"], 0.2)),
        "keep": (5e-4, (1 / (1 + torch.exp(-x["mask_logits"]))).mean()),
    }
