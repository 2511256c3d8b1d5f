"""CoR-GS, one of its two models.

0.8 mean_M |I - Ĩ| + 0.2 (1 - S(I_M, Ĩ_M)) + mean_B A² + [500 <= t <= 10000, t mod k = 0] P(I', J'; 0.2)

I render, Ĩ target, M mask (all pixels without one), I_M = M I + (1 - M) white outside the mask, S mean SSIM over all
pixels; t the iteration, from 1; A alpha, B backdrop; P(I, J; w) = (1 - w) mean |I - J| + w (1 - S(I, J)), I' the render
of a pseudo view, J' that of the other model, without gradient. k = 1.
Source: jiaw-z/CoR-GS, train.py, utils/loss_utils.py, where the first mean is three times as much.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 10_000
STEPS = (0, 498, 499, 500, 9_998, 9_999)
GRADIENTS = ("rendered", "alpha", "pseudo.rendered", "pseudo.peer")
VARIANTS = (
    {"params": {"pseudo_end": 9_999, "pseudo_every": 3}, "without": ("backdrop",)},
    {"without": ("pseudo.peer",), "masked": True},
)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    backdrop = torch.zeros(2, 24, 20, dtype=torch.float64)
    backdrop[:, 15:, 3:14] = 1
    seen = c.images(g, False, b=1, h=18, w=22)
    return {
        **c.images(g, masked),
        "alpha": c.rand(g, 2, 24, 20, 1),
        "backdrop": backdrop,
        "pseudo": {"rendered": seen["rendered"], "peer": seen["target"]},
    }


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    t = step + 1
    given = {"pseudo_end": 10_000, "pseudo_every": 1, **x["params"]}
    m = c.mask_of(x)
    i, truth = (torch.where(m > 0.5, x[name], torch.ones_like(x[name])) for name in ("rendered", "target"))
    colour = 0.8 * c.masked_mean((x["rendered"] - x["target"]).abs(), m) + 0.2 * (1 - c.ssim(i, truth)[1])
    found = {"photometric": (1.0, colour)}
    if "backdrop" in x:
        found["empty_backdrop"] = (1.0, (x["alpha"][x["backdrop"] > 0.5] ** 2).mean())
    due = 500 <= t <= given["pseudo_end"] and t % given["pseudo_every"] == 0
    if due and "peer" in x.get("pseudo", {}):
        found["co_regularised"] = (1.0, c.photometric(x["pseudo"]["rendered"], x["pseudo"]["peer"].detach()))
    return found
