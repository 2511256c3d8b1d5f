"""L = P(I, Ĩ; 0.2) + 0.01 mean_i(s_i1 s_i2 s_i3) at every step.

I render, Ĩ target; s_i scales of the gaussians that the anchors spawn for this view.
P(I, Ĩ; λ) = (1 - λ) mean|I - Ĩ| + λ (1 - S(I, Ĩ)), with S the mean SSIM: 11 x 11 gaussian window, σ = 1.5,
C1 = 0.01², C2 = 0.03², each channel alone, zeros outside the image.

Lu et al., CVPR 2024; city-super/Scaffold-GS at 59c833b, train.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, photometric, rand
from torch import Tensor

MASKED = False
MAX_STEPS = 30_000
STEPS = (0, 29_999)
GRADIENTS = ("rendered", "neural_scales")


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two images and eleven spawned gaussians."""
    return {**images(g, masked), "neural_scales": rand(g, 11, 3, lo=0.01, hi=2.0)}


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """The same at every step."""
    s = x["neural_scales"]
    return {
        "photometric": (1.0, photometric(x["rendered"], x["target"], 0.2)),
        "volume": (0.01, (s[:, 0] * s[:, 1] * s[:, 2]).mean()),
    }
