"""L = P(I, Ĩ; 0.2) at every step; I render, Ĩ target.

P(I, Ĩ; λ) = (1 - λ) mean|I - Ĩ| + λ (1 - S(I, Ĩ)), with S the mean SSIM: 11 x 11 gaussian window, σ = 1.5,
C1 = 0.01², C2 = 0.03², each channel alone, zeros outside the image.

Kerbl et al., SIGGRAPH 2023; graphdeco-inria/gaussian-splatting at 82bc469, train.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, photometric
from torch import Tensor

MASKED = False
MAX_STEPS = 30_000
STEPS = (0, 29_999)
GRADIENTS = ("rendered",)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two images."""
    return images(g, masked)


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """P(I, Ĩ; 0.2) at every step."""
    return {"photometric": (1.0, photometric(x["rendered"], x["target"], 0.2))}
