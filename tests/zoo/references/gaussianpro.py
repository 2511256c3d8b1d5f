"""GaussianPro.

0.8 mean_Ω |I - Ĩ| + 0.2 (1 - mean_Ω S) + 100 mean min(s_min, 30) + 1e-3 mean_visible H(o)
+ 0.01 mean_F ‖N̂ - Ñ‖₁ + 0.01 mean_F (1 - N̂ · Ñ)

I render, Ĩ target; S the map of SSIM over the whole image; Ω: A > 0.999 while the sky model is trained, else A > 0, A
accumulated alpha. s_min smallest scale of a gaussian, o opacity, H(o) = -o ln o - (1 - o) ln(1 - o). N̂ = N/‖N‖
rendered normal, Ñ propagated normal, F where there is one and no sky.
Source: kcheng1021/GaussianPro, train.py.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 1, 29_999)
GRADIENTS = ("rendered", "state.scales", "state.opacities", "normals")
MASKED = False
# With a mask, which the program does not read, it is the phase of the sky model.
VARIANTS = ({"masked": True}, {"without": ("propagated",)}, {"without": ("propagated_region",)})


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    alpha = torch.where(c.rand(g, 2, 24, 20, 1) > 0.3, 0.9995, 0.6).double()
    alpha[:, 4:9, 3:12] = 0
    visible = torch.ones(7, dtype=torch.float64)
    visible[[0, 5]] = 0
    state = c.gaussians(g)
    state["scales"][2] = torch.tensor([4.0, 5.0, 4.5])
    return {
        **c.images(g, masked),
        "sky_phase": masked,
        "alpha": alpha,
        "state": state,
        "visible": visible,
        "normals": 0.8 * c.directions(g, 2, 24, 20),
        "propagated": c.directions(g, 2, 24, 20),
        "propagated_region": (c.rand(g, 2, 24, 20) > 0.5).double(),
    }


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    drawn = (x["alpha"] > (0.999 if x["sky_phase"] else 0.0))[..., 0]
    smallest = torch.clamp(c.scales(x["state"]).amin(-1), 0, 30)
    found = {
        "l1": (0.8, (x["rendered"] - x["target"]).abs()[drawn].mean()),
        "ssim": (0.2, 1 - c.ssim(x["rendered"], x["target"])[0][drawn].mean()),
        "flat": (100.0, smallest.mean()),
        "sparse": (1e-3, c.binary_entropy(c.opacities(x["state"])[x["visible"] > 0.5]).mean()),
    }
    if "propagated" in x and "propagated_region" in x:
        where, hat = x["propagated_region"] > 0.5, c.unit(x["normals"])
        found["normal_l1"] = (0.01, (hat - x["propagated"]).abs().sum(-1)[where].mean())
        found["normal_cos"] = (0.01, (1 - (hat * x["propagated"]).sum(-1))[where].mean())
    return found
