"""L = P(M I, M Ĩ; 0.2) + w(t) mean(|Dinv - D̃inv| M_d), the second only for images whose prior is reliable.

I render after exposure, Ĩ target, M mask, Dinv rendered inverse depth, D̃inv monocular disparity scaled and shifted per
image, M_d where it is defined; means over all pixels. w(t) = exp((1 - t/30000) ln 1.0 + (t/30000) ln 0.01), constant
after t = 30000; t counts from 1.
P(I, Ĩ; λ) = (1 - λ) mean|I - Ĩ| + λ (1 - S(I, Ĩ)), with S the mean SSIM: 11 x 11 gaussian window, σ = 1.5,
C1 = 0.01², C2 = 0.03², each channel alone, zeros outside the image.

graphdeco-inria/gaussian-splatting, main branch, train.py, read through hierarchical-3d-gaussians at 596dc70.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, log_linear, mask_of, photometric, rand
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 1, 14_999, 29_998, 29_999)
GRADIENTS = ("rendered", "depth.inverse")
VARIANTS = ({"without": ("mono",), "masked": True}, {"without": ("mono_region",)})


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two images, their inverse depths, and priors that are not defined everywhere."""
    x: dict[str, Any] = images(g, masked)
    x["depth.inverse"] = rand(g, 2, 24, 20, 1, lo=0.1, hi=1.0)
    x["mono"] = rand(g, 2, 24, 20, 1, lo=0.1, hi=1.0)
    x["mono_region"] = (rand(g, 2, 24, 20) > 0.2).double()
    x["depth_reliable"] = True
    return x


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """Iteration t = step + 1."""
    m = mask_of(x)
    found = {"photometric": (1.0, photometric(x["rendered"] * m, x["target"] * m, 0.2))}
    if "mono" in x and "mono_region" in x and x["depth_reliable"]:
        error = ((x["depth.inverse"] - x["mono"]) * x["mono_region"].unsqueeze(-1)).abs().mean()
        found["depth"] = (log_linear(step + 1, 1.0, 0.01, 30_000), error)
    return found
