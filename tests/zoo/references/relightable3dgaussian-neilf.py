"""Relightable 3D Gaussian, stage 2.

P(I, Ĩ; 0.2) + 1 P(J, Ĩ; 0.2) + 0.01 mean |l - mean_c l| + 1 E(M B, Ĩ) + 0.5 E(M R, Ĩ) + 1 E(M F, N)
+ 0.01 TV(env) + 1 TV(M N)

P(I, Ĩ; w) = (1 - w) mean |I - Ĩ| + w (1 - S(I, Ĩ)), S mean SSIM; I render, J physically based render, Ĩ target. l
diffuse light that reaches each gaussian; M silhouette; B base colour, R roughness, F diffuse light, N normals, all
rendered. E(x, y): mean over pixels and channels of Σ_d |∂_d x| exp(-|∂_d y|), ∂ the Sobel derivatives along x and y,
kernels over 8, channel by channel, one channel of x with each of y; in the image less a border of one pixel. TV: mean
of the squared differences of neighbours along y, plus that along x; env the light from far away.
Source: NJU-3DV/Relightable3DGaussian, gaussian_renderer/neilf.py, utils/loss_utils.py.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 10_000
STEPS = (0, 1, 9_999)
GRADIENTS = ("rendered", "shaded", "base_colour", "roughness", "diffuse", "light", "environment", "normals")
MASKED = False


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made = c.images(g, masked)
    return {
        **made,
        "shaded": (made["target"] + 0.3 * c.randn(g, 2, 24, 20, 3)).abs(),
        "silhouette": c.rand(g, 2, 24, 20, 1),
        "base_colour": c.rand(g, 2, 24, 20, 3),
        "roughness": c.rand(g, 2, 24, 20, 1),
        "diffuse": c.rand(g, 2, 24, 20, 3, hi=2),
        "light": c.rand(g, 7, 3, hi=2),
        "environment": c.rand(g, 3, 8, 16),
        "normals": 0.8 * c.directions(g, 2, 24, 20),
    }


def edge_aware(data: Tensor, guide: Tensor) -> Tensor:
    """E(data, guide)."""
    total = []
    for channel in range(3):
        one = data[..., channel : channel + 1] if data.shape[-1] == 3 else data
        pairs = zip(c.sobel_of(one), c.sobel_of(guide[..., channel : channel + 1]))
        total.append(sum((d.abs() * torch.exp(-y.abs())).mean() for d, y in pairs))
    return torch.stack(total).mean()


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    m = x["silhouette"]
    return {
        "photometric": (1.0, c.photometric(x["rendered"], x["target"])),
        "shaded": (1.0, c.photometric(x["shaded"], x["target"])),
        "white_light": (0.01, (x["light"] - x["light"].mean(-1, keepdim=True)).abs().mean()),
        "base_colour": (1 / 3, 3 * edge_aware(x["base_colour"] * m, x["target"])),
        "roughness": (0.5 / 3, 3 * edge_aware(x["roughness"] * m, x["target"])),
        "diffuse": (1 / 3, 3 * edge_aware(x["diffuse"] * m, x["normals"])),
        "environment": (0.01, c.total_variation(x["environment"], (1, 2), power=2)),
        "smooth_normals": (1.0, c.total_variation(x["normals"] * m, (1, 2), power=2)),
    }
