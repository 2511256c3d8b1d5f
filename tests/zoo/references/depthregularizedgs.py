"""DepthRegularizedGS.

P(I, Ĩ; 0.2) + 0.5 mean |D̃ v - D v| + 1 mean (D̄ - D [D > 0])²

P(I, Ĩ; w) = (1 - w) mean |I - Ĩ| + w (1 - S(I, Ĩ)), S mean SSIM; I render, Ĩ target. D depth, D̃ monocular depth fitted
to the sparse points, v = [D̃ > 0]. D̄: mean of D over those of a pixel and its four neighbours that are not on a Canny
edge and have D > 0, 0 where there are none. The first two means are over all pixels, the last is over those with four
neighbours.
Source: robot0321/DepthRegularizedGS, train.py, utils/loss_utils.py.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor
from torch.nn import functional

MAX_STEPS = 30_000
STEPS = (0, 1, 29_999)
GRADIENTS = ("rendered", "depth")
MASKED = False


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    depth, prior = (c.rand(g, 2, 24, 20, 1, lo=0.5, hi=3.0) for _ in range(2))
    depth[:, 4:9, 5:9] = 0
    prior[:, 10:14, 2:7] = 0
    edges = (c.rand(g, 2, 24, 20) > 0.6).double()
    edges[:, 15:20, 12:18] = 1
    return {**c.images(g, masked), "depth": depth, "prior": prior, "edges": edges}


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    d, prior = x["depth"], x["prior"]
    kept = ((x["edges"][..., None] < 0.5) & (d > 0)).double()
    plus = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=torch.float64)[None, None]
    total, count = (functional.conv2d(v.permute(0, 3, 1, 2), plus) for v in (d * kept, kept))
    near = torch.where(count > 0, total / count.clamp(min=1), 0.0).permute(0, 2, 3, 1)
    own = (d * (d > 0))[:, 1:-1, 1:-1]
    known = (prior > 0).double()
    return {
        "photometric": (1.0, c.photometric(x["rendered"], x["target"])),
        "depth": (0.5, c.l1(prior * known, d * known)),
        "smooth": (1.0, functional.mse_loss(near, own)),
    }
