"""RaDe-GS.

0.8 L + 0.2 (1 - S(I, Ĩ)) + [t >= 15000] 0.05 ( 0.4 mean (1 - N · Nd(D_expected)) + 0.6 mean (1 - N · Nd(D_median)) )

L = mean |I - Ĩ|, or with the appearance model mean_C |I ∘ a(I, e) - Ĩ| over the largest rectangle C in the middle of
the image with sides that are multiples of 32. I render, Ĩ target, S mean SSIM; t the iteration, from 1; N rendered
normal. Nd(D): with P(x, y) the point at depth D behind pixel (x, y), the direction of
(P(x, y+1) - P(x, y-1)) × (P(x+1, y) - P(x-1, y)), and 0 at a border of one pixel. Means are over all pixels.
Source: BaowenZ/RaDe-GS, train.py.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 14_998, 14_999, 15_000, 29_999)
GRADIENTS = ("rendered", "normals", "depth", "render.depths_median", "embedding")
MASKED = False
VARIANTS = ({"without": ("embedding",)},)

H, W = 35, 41


def appearance(image: Tensor, code: Tensor) -> Tensor:
    """A smooth positive factor, in place of the network."""
    return 1 + 0.3 * torch.sin(3 * image + code[:, None, None, :3]) * torch.cos(code[:, None, None, 5:6])


EXTERNS = {"appearance": appearance}


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    return {
        **c.images(g, masked, h=H, w=W),
        "normals": 0.8 * c.directions(g, 2, H, W),
        "depth": c.rand(g, 2, H, W, 1, lo=1.5, hi=3.0),
        "render": {"depths_median": c.rand(g, 2, H, W, 1, lo=1.5, hi=3.0)},
        "camera": c.cameras(g, h=H, w=W),
        "embedding": c.randn(g, 2, 64),
    }


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    i, t = x["rendered"], x["target"]
    if "embedding" in x:
        top, left = H // 2 - H // 32 * 16, W // 2 - W // 32 * 16
        crop = (slice(None), slice(top, top + H // 32 * 32), slice(left, left + W // 32 * 32))
        colour = c.l1((i * appearance(i, x["embedding"]))[crop], t[crop])
    else:
        colour = c.l1(i, t)
    found = {"photometric": (1.0, 0.8 * colour + 0.2 * (1 - c.ssim(i, t)[1]))}
    if step + 1 >= 15_000:
        errors = [
            (1 - (x["normals"] * c.normals_of_depth(d, x["camera"]["intrinsics"])).sum(-1)).mean()
            for d in (x["depth"], x["render"]["depths_median"])
        ]
        found["normals"] = (0.05, 0.4 * errors[0] + 0.6 * errors[1])
    return found
