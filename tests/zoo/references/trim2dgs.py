"""Trim2DGS.

P(I, Ĩ; 0.2) + [t > 7000] 0.05 mean (1 - N · A' Nd) W + [t > 3000] 100 mean E

P(I, Ĩ; w) = (1 - w) mean |I - Ĩ| + w (1 - S(I, Ĩ)), S mean SSIM; I render, Ĩ target; t the iteration, from 1. N the
rendered normal, weighted by alpha; A' accumulated alpha without gradient; Nd normal of the rendered depth; E distortion
of each ray. W, without gradient, is 1 where in the whole 3 × 3 window |(Gx D, Gy D)| < 0.03, with the Sobel kernels G
divided by 3; the derivative counts as 0, and W is 0, at a border of one pixel. Means are over all pixels.
Source: YuxueYang1204/TrimGS, Trim2DGS/tune.py.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor
from torch.nn import functional

MAX_STEPS = 30_000
STEPS = (0, 2_999, 3_000, 3_001, 6_999, 7_000, 7_001, 29_999)
GRADIENTS = ("rendered", "alpha", "normals", "depth", "normals_from_depth", "distortion")
MASKED = False


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    # Steeper and steeper, so that the slope passes the limit by small steps.
    y, x = torch.meshgrid(torch.arange(24.0).double(), torch.arange(20.0).double(), indexing="ij")
    bowl = torch.stack([0.0006 * x**2 * (1 + 0.02 * y), 0.0005 * (y - 3.3) ** 2 * (1 + 0.03 * x)])[..., None]
    return {
        **c.images(g, masked),
        "alpha": c.rand(g, 2, 24, 20, 1),
        "normals": 0.8 * c.directions(g, 2, 24, 20),
        "normals_from_depth": c.directions(g, 2, 24, 20),
        "depth": 2 + bowl + c.rand(g, 2, 24, 20, 1, hi=1e-4),
        "distortion": c.rand(g, 2, 24, 20, 1, hi=0.1),
    }


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    iteration = step + 1
    found = {"photometric": (1.0, c.photometric(x["rendered"], x["target"]))}
    if iteration > 7_000:
        right, down = c.sobel_of(x["depth"].detach())
        length = torch.hypot(right, down) * 8 / 3
        rough = functional.pad((length >= 0.03).double(), (1, 1, 1, 1))[..., None]
        weight = 1 - c.dilate(rough, 1)
        weight[:, [0, -1]] = 0
        weight[:, :, [0, -1]] = 0
        assert 0.05 < float(weight.mean()) < 0.9
        error = 1 - (x["normals"] * x["alpha"].detach() * x["normals_from_depth"]).sum(-1, keepdim=True)
        found["normals"] = (0.05, (error * weight).mean())
    if iteration > 3_000:
        found["distortion"] = (100.0, x["distortion"].mean())
    return found
