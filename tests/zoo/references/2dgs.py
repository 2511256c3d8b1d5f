"""2DGS.

P(I, Ĩ; 0.2) + [t > 7000] 0.05 mean (1 - N · A' Nd) + [t > 3000] w_d mean E

P(I, Ĩ; w) = (1 - w) mean |I - Ĩ| + w (1 - S(I, Ĩ)), S mean SSIM; I render, Ĩ target; t the iteration, from 1. N the
rendered normal, weighted by alpha; A' accumulated alpha without gradient; E the distortion of each ray. Nd is the unit
normal of the depth D = (1 - r) D_expected + r D_median: with P(x, y) the point at depth D behind pixel (x, y), the
direction of (P(x, y+1) - P(x, y-1)) × (P(x+1, y) - P(x-1, y)), and 0 at a border of one pixel. Means are over all
pixels. r = 0 and w_d = 0 by default; r = 1 and w_d = 1000 in the DTU script.
Source: hbb1/2d-gaussian-splatting, train.py, gaussian_renderer/__init__.py, utils/point_utils.py.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 2_999, 3_000, 3_001, 6_999, 7_000, 7_001, 29_999)
GRADIENTS = ("rendered", "alpha", "normals", "depth", "render.depths_median", "distortion")
MASKED = False
PARAMS = {"distortion_weight": 1000.0, "depth_ratio": 0.3}
VARIANTS = ({"params": {"distortion_weight": 0.0, "depth_ratio": 0.0}}, {"params": {"depth_ratio": 1.0}})


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    return {
        **c.images(g, masked),
        "alpha": c.rand(g, 2, 24, 20, 1),
        "normals": 0.8 * c.directions(g, 2, 24, 20),
        "depth": c.rand(g, 2, 24, 20, 1, lo=1.5, hi=3.0),
        "render": {"depths_median": c.rand(g, 2, 24, 20, 1, lo=1.5, hi=3.0)},
        "distortion": c.rand(g, 2, 24, 20, 1, hi=0.1),
        "camera": c.cameras(g),
    }


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    iteration, given = step + 1, x["params"]
    found = {"photometric": (1.0, c.photometric(x["rendered"], x["target"]))}
    if iteration > 7_000:
        r = given["depth_ratio"]
        surface = x["depth"] * (1 - r) + x["render"]["depths_median"] * r
        behind = c.normals_of_depth(surface, x["camera"]["intrinsics"]) * x["alpha"].detach()
        found["normals"] = (0.05, (1 - (x["normals"] * behind).sum(-1)).mean())
    if iteration > 3_000 and given["distortion_weight"] > 0:
        found["distortion"] = (given["distortion_weight"], x["distortion"].mean())
    return found
