"""SuGaR, coarse stage.

P(I, Ĩ; 0.2) + [7000 < t < 9000] 0.1 mean_visible H(o)
+ [t > 9000] 0.2 F + [t > 9000] 0.2 mean_k ‖n_k - Σ_j w_kj n_j‖²

P(I, Ĩ; w) = (1 - w) mean |I - Ĩ| + w (1 - S(I, Ĩ)), S mean SSIM; I render, Ĩ target; t the iteration, from 1.
H(o) = -o ln o - (1 - o) ln(1 - o). x_k are points, each drawn from a gaussian g; j runs over the 16 gaussians nearest
to g. d_k = Σ_j o_j exp(-½ ‖S_j⁻¹ R_jᵀ (x_k - μ_j)‖²), divided by its own value without gradient where it is 1 or more;
n is the direction of the shortest axis, f_k = (x_k - μ_g) · n_g, β_k the mean of the smallest scales of the 16.
F = mean_k |d_k - exp(-f_k² / (2 β_k²))| in density mode, and in SDF mode
F = mean_k min( |β_k √(-2 ln d_k) - |f_k|| / (e/10), 10 e ), e the radius of the cameras, d_k within 1e-6 .. 1 - 1e-6.
Each n_j is turned to the side of n_k. w_kj = o_j |(x_k - μ_j) · n_j| / s_j², without gradient, over their sum; s_j
smallest scale, 1e-6 or more.
Source: Anttwo/SuGaR, sugar_trainers/coarse_density.py.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 15_000
STEPS = (0, 6_999, 7_000, 7_001, 8_997, 8_998, 8_999, 9_000, 9_001, 14_999)
GRADIENTS = ("rendered", "points", "state.means", "state.scales", "state.quats", "state.opacities")
MASKED = False
VARIANTS = ({"params": {"mode": "sdf"}},)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    state = c.gaussians(g, n=20)
    state["means"] = 0.7 * state["means"]
    owner = torch.randint(0, 20, (13,), generator=g)
    neighbours = torch.stack([torch.randperm(20, generator=g)[:16] for _ in range(13)])
    points = state["means"][owner] + 0.3 * c.randn(g, 13, 3)
    visible = torch.ones(20, dtype=torch.float64)
    visible[[3, 8, 9]] = 0
    return {
        **c.images(g, masked),
        "state": state,
        "extent": 0.5,
        "points": points,
        "owner": owner,
        "neighbours": neighbours,
        "visible": visible,
    }


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    iteration, state = step + 1, x["state"]
    found = {"photometric": (1.0, c.photometric(x["rendered"], x["target"]))}
    o, s, means = c.opacities(state), c.scales(state), state["means"]
    if 7_000 < iteration < 9_000:
        found["entropy"] = (0.1, c.binary_entropy(o[x["visible"] > 0.5]).mean())
    if iteration <= 9_000:
        return found
    turns, axes = c.rotation(state["quats"]), c.shortest_axes(state)
    field, bends, extent = [], [], x["extent"]
    for point, own, others in zip(x["points"], x["owner"].tolist(), x["neighbours"].tolist()):
        parts = []
        for j in others:
            precision = turns[j] @ torch.diag(s[j] ** -2) @ turns[j].T
            parts.append(o[j] * torch.exp(-0.5 * (point - means[j]) @ precision @ (point - means[j])))
        d = torch.stack(parts).sum()
        if float(d.detach()) >= 1:
            d = d / d.detach()
        f = (point - means[own]) @ axes[own]
        beta = torch.stack([s[j].min() for j in others]).mean()
        if x["params"].get("mode") == "sdf":
            distance = beta * torch.sqrt(-2 * torch.log(torch.clamp(d, 1e-6, 1 - 1e-6)))
            field.append(torch.clamp((distance - f.abs()).abs() / (extent / 10), max=10 * extent))
        else:
            field.append((d - torch.exp(-(f**2) / (2 * beta**2))).abs())
        turned = [axes[j] * torch.sign((axes[j] @ axes[own]).detach()) for j in others]
        with torch.no_grad():
            pulls = torch.stack(
                [
                    o[j] * ((point - means[j]) @ n).abs() / torch.clamp(s[j].min(), min=1e-6) ** 2
                    for j, n in zip(others, turned)
                ]
            )
            weights = pulls / pulls.sum()
        bends.append(((axes[own] - sum(w * n for w, n in zip(weights, turned))) ** 2).sum())
    name = "sdf" if x["params"].get("mode") == "sdf" else "density"
    found[name] = (0.2, torch.stack(field).mean())
    found["normals"] = (0.2, torch.stack(bends).mean())
    return found
