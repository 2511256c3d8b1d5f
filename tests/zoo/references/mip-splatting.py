"""L = P(I, Ĩ'; 0.2) at every step; I render, Ĩ' the target at jittered positions, or the target itself.

P(I, Ĩ; λ) = (1 - λ) mean|I - Ĩ| + λ (1 - S(I, Ĩ)), with S the mean SSIM: 11 x 11 gaussian window, σ = 1.5,
C1 = 0.01², C2 = 0.03², each channel alone, zeros outside the image.

Yu et al., CVPR 2024; autonomousvision/mip-splatting at dda02ab, train.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, photometric, rand
from torch import Tensor

MASKED = False
MAX_STEPS = 30_000
STEPS = (0, 29_999)
GRADIENTS = ("rendered",)
VARIANTS = ({"without": ("resampled",)},)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two images and what a jittered target would be."""
    x: dict[str, Any] = images(g, masked)
    x["resampled"] = rand(g, 2, 24, 20, 3)
    return x


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """The jittered target where there is one."""
    return {"photometric": (1.0, photometric(x["rendered"], x.get("resampled", x["target"]), 0.2))}
