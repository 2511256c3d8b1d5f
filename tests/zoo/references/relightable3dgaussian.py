"""Relightable 3D Gaussian, stage 1.

P(I, Ĩ; 0.2) + 0.1 BCE(A, M) + 0.01 mean ((N̂ - N') M)² + 0.01 E(N̂, Ĩ) + 0.01 E(D, Ĩ)
+ 0.01 min(10^(t/5000), 100) mean √max(V, 1e-6) + λ_e mean b H(o) + [t > 5000] λ_o mean min(b, 1) max(n · v, 0)
+ λ_s exp(-mean |μ - med μ|) + λ_i (1 - 0.99 min(1, 4t/T)) mean_i Σ_k |s_ik - s̄_i|

P(I, Ĩ; w) = (1 - w) mean |I - Ĩ| + w (1 - S(I, Ĩ)), S mean SSIM; I render, Ĩ target; t the iteration, from 1, of
T = 30000. BCE(A, M) = -mean( M ln A + (1 - M) ln(1 - A) ) of alpha, cut to 1e-6 .. 1 - 1e-6, and silhouette M.
N̂ = N/‖N‖ rendered normal, N' normal of the depth without gradient. E(x, y): mean over pixels and channels of
Σ_d |∂_d x| exp(-|∂_d y|), ∂ the Sobel derivatives along x and y, kernels over 8, channel by channel, one channel of x
with each of y; in the image less a border of one pixel. D depth, V its variance on each ray. b largest blending weight,
o opacity, H(o) = -o ln o - (1 - o) ln(1 - o), n normal, μ centre, s scales of a gaussian, s̄_i their mean, v direction
from the camera to it; med the median of each coordinate. λ_e, λ_o, λ_s, λ_i are 0 by default.
Source: NJU-3DV/Relightable3DGaussian, gaussian_renderer/render.py, utils/loss_utils.py.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor
from torch.nn import functional

MAX_STEPS = 30_000
STEPS = (0, 1, 4_999, 5_000, 5_001, 7_498, 7_499, 7_500, 9_998, 9_999, 10_000, 29_999)
GRADIENTS = (
    "rendered",
    "alpha",
    "normals",
    "depth",
    "depth_variance",
    "own_normals",
    "blend_weight",
    "state.means",
    "state.scales",
    "state.opacities",
)
MASKED = False
PARAMS = {"entropy_weight": 0.03, "orientation_weight": 0.2, "spread_weight": 0.4, "isotropy_weight": 0.7}
VARIANTS = ({"params": dict.fromkeys(PARAMS, 0.0)},)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    return {
        **c.images(g, masked),
        "alpha": c.rand(g, 2, 24, 20, 1, lo=0.02, hi=0.98),
        "normals": 0.8 * c.directions(g, 2, 24, 20),
        "normals_from_depth": c.directions(g, 2, 24, 20),
        "depth": c.rand(g, 2, 24, 20, 1, lo=1.5, hi=3.0),
        "silhouette": c.rand(g, 2, 24, 20, 1),
        "depth_variance": c.rand(g, 2, 24, 20, 1, lo=-0.2),
        "blend_weight": c.rand(g, 7, hi=3.0),
        "own_normals": c.directions(g, 7),
        "view_direction": c.directions(g, 7),
        "state": c.gaussians(g),
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
    t, state, weights = step + 1, x["state"], x["params"]
    hat, m = c.unit(x["normals"]), x["silhouette"]
    found = {
        "photometric": (1.0, c.photometric(x["rendered"], x["target"])),
        "silhouette": (0.1, functional.binary_cross_entropy(x["alpha"], m)),
        "normals": (0.01, functional.mse_loss(hat * m, x["normals_from_depth"].detach() * m)),
        "smooth_normals": (0.01 / 3, 3 * edge_aware(hat, x["target"])),
        "smooth_depth": (0.01 / 3, 3 * edge_aware(x["depth"], x["target"])),
        "variance": (0.01 * min(10 ** (t / 5000), 100), torch.sqrt(x["depth_variance"].clamp_min(1e-6)).mean()),
    }
    o, s, means = c.opacities(state), c.scales(state), state["means"]
    found["entropy"] = (weights["entropy_weight"], (x["blend_weight"] * c.binary_entropy(o)).mean())
    if t > 5_000:
        facing = (x["own_normals"] * x["view_direction"]).sum(-1).clamp_min(0)
        found["orientation"] = (weights["orientation_weight"], (x["blend_weight"].clamp_max(1) * facing).mean())
    centre = torch.median(means, dim=0).values
    found["spread"] = (weights["spread_weight"], torch.exp(-(means - centre).abs().mean()))
    spread = (s - s.mean(-1, keepdim=True)).abs().sum(-1)
    found["isotropy"] = (weights["isotropy_weight"] * (1 - 0.99 * min(1, 4 * t / max_steps)), spread.mean())
    return {name: (weight, value) for name, (weight, value) in found.items() if weight != 0}
