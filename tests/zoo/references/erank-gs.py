"""Erank-GS.

P(I, Ĩ; 0.2) + [7000 <= t <= 30000] ( 0.01 mean max(-ln(r - 1 + 1e-7), 0) + 1 mean s_min )

P(I, Ĩ; w) = (1 - w) mean |I - Ĩ| + w (1 - S(I, Ĩ)), S mean SSIM; I render, Ĩ target; t the iteration, from 1.
r = exp(-Σ p ln p) with p = s² / Σ s² over the three scales s of a gaussian, s_min the smallest of them.
Source: junhahyung/erank_gs, train.py and utils/get_stats.py; weights of train.sh.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 6_997, 6_998, 6_999, 7_000, 29_998, 29_999)
GRADIENTS = ("rendered", "state.scales")
MASKED = False
VARIANTS = ({"params": {"first": 5, "last": 7_000, "erank_weight": 1.0, "thinness_weight": 0.0}},)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    return {**c.images(g, masked), "state": c.gaussians(g)}


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    given = {"first": 7_000, "last": 30_000, "erank_weight": 0.01, "thinness_weight": 1.0, **x["params"]}
    found = {"photometric": (1.0, c.photometric(x["rendered"], x["target"]))}
    iteration = step + 1
    if not given["first"] <= iteration <= given["last"]:
        return found
    scales = c.scales(x["state"])
    barrier, thinness = [], []
    for s in scales:
        p = s**2 / (s**2).sum()
        rank = torch.exp(-(p * torch.log(p)).sum())
        barrier.append(torch.clamp(-torch.log(rank - 1 + 1e-7), min=0))
        thinness.append(torch.sort(s).values[0])
    found["erank"] = (given["erank_weight"], torch.stack(barrier).mean())
    if given["thinness_weight"] != 0:
        found["thinness"] = (given["thinness_weight"], torch.stack(thinness).mean())
    return found
