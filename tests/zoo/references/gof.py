"""Gaussian Opacity Fields.

0.8 L + 0.2 (1 - S(I, Ĩ)) + [t >= 15000] ( 0.05 mean (1 - N/‖N‖ · Nd) + 100 mean E )

L = mean |I - Ĩ|, or with the appearance model mean_C |I ∘ a(I, e) - Ĩ| over the largest rectangle C in the middle of
the image with sides that are multiples of 32, a the factor that a network gives each pixel and channel from the render
and the image's code e. I render, Ĩ target, S mean SSIM; t the iteration, from 1; N rendered normal, Nd normal of the
rendered depth, E distortion of each ray.
Source: autonomousvision/gaussian-opacity-fields, train.py.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 14_998, 14_999, 15_000, 29_999)
GRADIENTS = ("rendered", "normals", "normals_from_depth", "distortion", "embedding")
MASKED = False
VARIANTS = ({"without": ("embedding",)},)

H, W = 37, 40


def appearance(image: Tensor, code: Tensor) -> Tensor:
    """A smooth positive factor, in place of the network."""
    return 1 + 0.3 * torch.sin(3 * image + code[:, None, None, :3]) * torch.cos(code[:, None, None, 5:6])


EXTERNS = {"appearance": appearance}


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    return {
        **c.images(g, masked, h=H, w=W),
        "normals": 0.8 * c.directions(g, 2, H, W),
        "normals_from_depth": c.directions(g, 2, H, W),
        "distortion": c.rand(g, 2, H, W, 1, hi=0.1),
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
        cosine = (c.unit(x["normals"]) * x["normals_from_depth"]).sum(-1)
        found["normals"] = (0.05, (1 - cosine).mean())
        found["distortion"] = (100.0, x["distortion"].mean())
    return found
