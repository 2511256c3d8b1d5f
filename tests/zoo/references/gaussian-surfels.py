"""Gaussian Surfels.

P(I, Ĩ; 0.2) + 0.1 mean A (1 - max₉(M)) + (0.01 + 0.1 min(2t/T, 1)) cos(N̂, Nd) + 0.005 mean ‖∇² N̂‖₁
+ 0.01 mean m(o) exp(-20 (o - ½)²) + (0.04 - 0.02 t/T) cos(N̂, Ñ)

P(I, Ĩ; w) = (1 - w) mean |I - Ĩ| + w (1 - S(I, Ĩ)), S mean SSIM; I render, Ĩ target; t the iteration, from 1, of
T = 15000. A accumulated alpha, M the silhouette, max₉ the largest value in a window of 9 × 9 pixels. cos(a, b): mean of
1 - a · b over the pixels with a · b < 1. V = [A > 1e-5]; N̂ = V N/‖N‖ with the rendered normal N; Ñ a prior. Nd: with
P(x, y) the point at depth D behind pixel (x, y), the direction of (P(x, y+1) - P(x, y-1)) × (P(x+1, y) - P(x-1, y)),
0 where V is 0 at one of the five pixels, and at a border of one pixel. ∇²: the four neighbours less four times the
pixel, where they exist. o opacity; m = 0.01 for 0.01 <= o < 0.5, 1 for 0.5 <= o < 0.99, else 0.
Source: turandai/gaussian_surfels, train.py, utils/loss_utils.py, utils/image_utils.py.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 15_000
STEPS = (0, 1, 7_498, 7_499, 7_500, 14_999)
GRADIENTS = ("rendered", "alpha", "normals", "depth", "state.opacities", "mono")
MASKED = False
VARIANTS = ({"without": ("silhouette",)}, {"without": ("mono",)})


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    alpha = c.rand(g, 2, 24, 20, 1, lo=0.1)
    alpha[:, 3:6, 4:9] = 0
    silhouette = torch.zeros(2, 24, 20, dtype=torch.float64)
    silhouette[0, 9:14, 8:12] = 1
    silhouette[1, 15:, 15:] = 1
    normals, mono = c.directions(g, 2, 24, 20), c.directions(g, 2, 24, 20)
    long = normals[:, 5:9]
    mono[:, 5:9] = long / long.abs().amax(-1, keepdim=True)  # aligned beyond 1: left out
    state = c.gaussians(g, n=30)
    state["opacities"][:6] = torch.logit(torch.tensor([0.005, 0.0101, 0.495, 0.505, 0.985, 0.995]))
    return {
        **c.images(g, masked),
        "alpha": alpha,
        "normals": 0.8 * normals,
        "depth": c.rand(g, 2, 24, 20, 1, lo=1.5, hi=3.0),
        "camera": c.cameras(g),
        "silhouette": silhouette,
        "mono": mono,
        "state": state,
    }


def cosine_loss(a: Tensor, b: Tensor) -> Tensor:
    cosine = (a * b).sum(-1)
    return (1 - cosine[cosine < 1]).mean()


def bumps(o: Tensor) -> list[Tensor]:
    weights = [1.0 if 0.5 <= v < 0.99 else 0.01 if 0.01 <= v < 0.5 else 0.0 for v in o.detach().tolist()]
    return [w * torch.exp(-20 * (v - 0.5) ** 2) for w, v in zip(weights, o)]


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    t = step + 1
    solid = (x["alpha"].detach() > 1e-5).double()
    surface = c.unit(x["normals"]) * solid
    alone = 1 - solid
    for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        alone = torch.maximum(alone, torch.roll(1 - solid, (dy, dx), (1, 2)))
    behind = c.normals_of_depth(x["depth"], x["camera"]["intrinsics"]) * (1 - alone)
    bend = surface[:, 1:-1, 2:] + surface[:, 1:-1, :-2] + surface[:, 2:, 1:-1] + surface[:, :-2, 1:-1]
    bend = bend - 4 * surface[:, 1:-1, 1:-1]
    o = c.opacities(x["state"])
    found = {
        "photometric": (1.0, c.photometric(x["rendered"], x["target"])),
        "normals": (0.01 + 0.1 * min(2 * t / max_steps, 1), cosine_loss(surface, behind)),
        "curvature": (0.005, bend.abs().sum(-1).mean()),
        "opacity": (0.01, torch.stack(bumps(o)).mean()),
    }
    if "silhouette" in x:
        found["outside"] = (0.1, (x["alpha"] * (1 - c.dilate(c.as_map(x["silhouette"]), 4))).mean())
    if "mono" in x:
        found["mono"] = (0.04 - 0.02 * t / max_steps, cosine_loss(surface, x["mono"]))
    return found
