"""DN-Splatter.

0.8 mean |M I - M Ĩ| + 0.2 (1 - S_valid(M I, M Ĩ)) + 0.2 ( mean_Ω l e_x + mean_Ω l e_y ) + mean |N̂ - Ñ|
+ mean |∂x N̂| + mean |∂y N̂| + mean s_min + [t mod 10 = 0] 0.1 mean max(s_max/s_min - 10, 0)

I render, Ĩ target, M mask (1 without one); S_valid mean SSIM over the windows that lie inside the image; t the step,
from 0. l = ln(1 + |D - D̃|), D depth, D̃ sensor depth; Ω: D̃ > 0.1; e_x = exp(-mean_c |∂x Ĩ|), e_y the same along y, ∂
the next pixel less this one, where there is one. N̂ = N/‖N‖ rendered normal, Ñ prior normal; s_min, s_max smallest and
largest scale of a gaussian. The last term is an option of splatfacto, off by default.
Source: maturk/dn-splatter, dn_model.py, regularization_strategy.py, losses.py, where 0.2 is 1.2.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 1, 9, 10, 11, 29_999)
GRADIENTS = ("rendered", "depth", "normals", "state.scales")
VARIANTS = ({"params": {"use_scale_ratio": True}, "masked": True},)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    sensor = c.rand(g, 2, 24, 20, 1, lo=0.05, hi=3.0)
    sensor[:, 4:8, 3:9] = 0
    sensor[:, 10], sensor[:, 11] = 0.099, 0.101
    state = c.gaussians(g)
    state["scales"][:3, 0] -= 3
    return {
        **c.images(g, masked),
        "depth": c.rand(g, 2, 24, 20, 1, lo=0.5, hi=3.0),
        "sensor": sensor,
        "normals": 0.8 * c.directions(g, 2, 24, 20),
        "prior_normals": c.directions(g, 2, 24, 20),
        "state": state,
    }


def edge_aware(x: dict[str, Any], region: Tensor) -> Tensor:
    """mean l e_x + mean l e_y over a region ``[B, H, W]`` of bool."""
    error = torch.log(1 + (x["depth"] - x["sensor"]).abs())[..., 0]
    t = x["target"]
    along_x = error[:, :, :-1] * torch.exp(-(t[:, :, 1:] - t[:, :, :-1]).abs().mean(-1))
    along_y = error[:, :-1] * torch.exp(-(t[:, 1:] - t[:, :-1]).abs().mean(-1))
    return along_x[region[:, :, :-1]].mean() + along_y[region[:, :-1]].mean()


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    m = c.mask_of(x)
    hat = c.unit(x["normals"])
    s = c.scales(x["state"])
    found = {
        "photometric": (1.0, c.photometric(x["rendered"] * m, x["target"] * m, padding="valid")),
        "depth": (0.2, edge_aware(x, x["sensor"][..., 0] > 0.1)),
        "normals": (1.0, (hat - x["prior_normals"]).abs().mean()),
        "smooth_normals": (1.0, c.total_variation(hat, (1, 2))),
        "flat": (1.0, s.amin(-1).mean()),
    }
    if x["params"].get("use_scale_ratio") and step % 10 == 0:
        found["scale_ratio"] = (0.1, torch.clamp(s.amax(-1) / s.amin(-1) - 10, min=0).mean())
    return found
