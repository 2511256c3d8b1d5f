"""Trim3DGS.

P(I, Ĩ; 0.2) + [t > t₀] λ ( mean W |½(N̂ + 1) - ½(Nd + 1)| + mean_G |½(n_i + 1) - ½(n̄_i + 1)| )

P(I, Ĩ; w) = (1 - w) mean |I - Ĩ| + w (1 - S(I, Ĩ)), S mean SSIM; I render, Ĩ target; t the iteration, from 1. λ = 0.5
and t₀ = 0; on DTU 0.05 and 5000. N̂ = N/‖N‖ rendered normal, Nd normal of the rendered depth D. W, without gradient, is
1 where in the whole 3 × 3 window |(Gx D, Gy D)| < 0.03, with the Sobel kernels G divided by 3; the derivative counts as
0, and W is 0, at a border of one pixel. n_i: shortest axis of a gaussian; n̄_i: direction of the mean of the shortest
axes of its nearest gaussians, each turned to the side of n_i (the sign without gradient). G: visible gaussians whose
depth in a view is less than 1 from D at the place of their centre there, read between pixel centres. Means are over all
pixels, and over the three components.
Source: YuxueYang1204/TrimGS, Trim3DGS/tune.py.
"""

from __future__ import annotations

import math
from typing import Any

import _common as c
import torch
from torch import Tensor
from torch.nn import functional

MAX_STEPS = 7_000
STEPS = (0, 1, 4_999, 5_000, 5_001, 6_999)
GRADIENTS = ("rendered", "normals", "normals_from_depth", "state.quats", "depth", "state.means")
MASKED = False
VARIANTS = ({"params": {"normal_weight": 0.05, "normal_start": 5_000}},)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    visible = torch.ones(16, dtype=torch.float64)
    visible[[2, 11]] = 0
    # Steeper and steeper, so that the slope passes the limit by small steps.
    y, x = torch.meshgrid(torch.arange(24.0).double(), torch.arange(20.0).double(), indexing="ij")
    bowl = torch.stack([0.0006 * x**2 * (1 + 0.02 * y), 0.0005 * (y - 3.3) ** 2 * (1 + 0.03 * x)])[..., None]
    return {
        **c.images(g, masked),
        "state": c.gaussians(g, n=16),
        "visible": visible,
        "normals": 0.8 * c.directions(g, 2, 24, 20),
        "normals_from_depth": c.directions(g, 2, 24, 20),
        "depth": 3.8 + bowl + c.rand(g, 2, 24, 20, 1, hi=1e-4),
        "camera": c.cameras(g),
        "neighbours": torch.stack([torch.randperm(16, generator=g)[:5] for _ in range(16)]),
    }


def on_surface(x: dict[str, Any]) -> list[int]:
    """The gaussians of G."""
    kept = []
    for i, mean in enumerate(x["state"]["means"].detach()):
        near = False
        for b in range(2):
            seen = x["camera"]["extrinsics"][b] @ torch.cat([mean, torch.ones(1, dtype=mean.dtype)])
            at = x["camera"]["intrinsics"][b] @ seen[:3]
            u, v = float(at[0] / at[2]), float(at[1] / at[2])
            if not (float(seen[2]) > 0 and 0 <= u < 20 and 0 <= v < 24):
                continue
            # Bilinear between pixel centres; beyond the outermost ones their values go on.
            left, top = math.floor(u - 0.5), math.floor(v - 0.5)
            right, down = u - 0.5 - left, v - 0.5 - top
            value = 0.0
            for row, share_y in ((top, 1 - down), (top + 1, down)):
                for column, share_x in ((left, 1 - right), (left + 1, right)):
                    pixel = x["depth"][b, min(max(row, 0), 23), min(max(column, 0), 19), 0]
                    value += share_y * share_x * float(pixel.detach())
            near = near or abs(float(seen[2]) - value) < 1
        if near and float(x["visible"][i]) > 0.5:
            kept.append(i)
    assert 1 < len(kept) < 14
    return kept


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    given = {"normal_weight": 0.5, "normal_start": 0, **x["params"]}
    found = {"photometric": (1.0, c.photometric(x["rendered"], x["target"]))}
    if step + 1 <= given["normal_start"]:
        return found
    right, down = c.sobel_of(x["depth"].detach())
    rough = functional.pad((torch.hypot(right, down) * 8 / 3 >= 0.03).double(), (1, 1, 1, 1))[..., None]
    weight = 1 - c.dilate(rough, 1)
    weight[:, [0, -1]] = 0
    weight[:, :, [0, -1]] = 0
    half = given["normal_weight"] * 0.5
    found["normals"] = (half, ((c.unit(x["normals"]) - x["normals_from_depth"]).abs() * weight).mean())
    axes = c.shortest_axes(x["state"])
    differences = []
    for i in on_surface(x):
        others = axes[x["neighbours"][i]]
        turned = torch.stack([n if float((n @ axes[i]).detach()) > 0 else -n for n in others])
        differences.append(((axes[i] + 1) - (c.unit(turned.mean(0)) + 1)).abs())
    found["neighbours"] = (half, torch.stack(differences).mean())
    return found
