"""L = 0.8 mean|I - Ĩ| + 0.2 (1 - S(I, Ĩ)) + 0.01 mean(s) + 0.01 mean(o) + 10 TV(grids)
+ [30000 ≤ t < 45000] ½ ρ ‖o - z + u‖².

t counts from 1. S is the mean SSIM over the image without a border of 5 pixels: 11 x 11 gaussian window, σ = 1.5,
C1 = 0.01², C2 = 0.03², each channel alone. TV: over the three axes of the bilateral grids, the sum of the mean squared
differences of neighbours. o = sigmoid(logit), s = exp(log-scale), ρ = 5e-4.
z and u, without gradient: z = h(o), u = 0 at t = 30000; at the end of every 50th iteration after that, with the
opacities after the optimiser's step, z ← h(o + u), then u ← u + o - z. h keeps what is above the ⌊0.6 N⌋-th smallest
value and makes the rest 0.

MrNeRF/LichtFeld-Studio at 0ff1dc2, src/training/trainer.cpp and src/training/components/sparsity_optimizer.cpp, mcmc
preset; the default preset has 0, 0 and 5 in place of 0.01, 0.01 and 10.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import gaussians, images, opacities, photometric, rand, scales, total_variation
from torch import Tensor

MASKED = False
MAX_STEPS = 45_000
# Iterations 30000 to 44999 have the term; the state changes between iterations 30050 and 30051, and so on.
STEPS = (0, 29_998, 29_999, 30_000, 30_001, 30_049, 30_050, 30_051, 30_100, 30_150, 44_950, 44_998, 44_999)
GRADIENTS = ("rendered", "state.opacities", "state.scales", "grids")
VARIANTS = (
    {"params": {"scale_weight": 0.0, "opacity_weight": 0.0, "grid_weight": 5.0}},
    {"params": {"prune_ratio": 0.35, "rho": 1e-2}, "without": ("grids",)},
)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two images, nine gaussians, two bilateral grids."""
    return {**images(g, masked), "state": gaussians(g, 9), "grids": rand(g, 2, 12, 3, 4, 5)}


def split(v: Tensor, ratio: float) -> Tensor:
    """What is above the value of rank ⌊ratio N⌋, else 0."""
    threshold = v.sort().values[int(ratio * v.shape[0]) - 1]
    return v * (v > threshold)


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """Iteration t = step + 1; the state was changed at the end of iteration t - 1."""
    p, t = x["params"], step + 1
    ratio, rho = p.get("prune_ratio", 0.6), p.get("rho", 5e-4)
    o, s = opacities(x["state"]), scales(x["state"])
    found = {"photometric": (1.0, photometric(x["rendered"], x["target"], 0.2, "valid"))}
    for name, value in (("scale", s.mean()), ("opacity", o.mean())):
        weight = p.get(f"{name}_weight", 0.01)
        if weight > 0:
            found[name] = (weight, value)
    if "grids" in x:
        found["grid"] = (p.get("grid_weight", 10.0), total_variation(x["grids"], (2, 3, 4), power=2))
    if 30_000 <= t < 45_000:
        with torch.no_grad():
            if not memory:
                memory["u"] = torch.zeros_like(o)
                memory["z"] = split(o, ratio)
            before = t - 1
            if before > 30_000 and (before - 30_000) % 50 == 0:
                memory["z"] = split(o + memory["u"], ratio)
                memory["u"] = memory["u"] + o - memory["z"]
        found["sparsity"] = (0.5 * rho, (o - memory["z"] + memory["u"]).pow(2).sum())
    return found
