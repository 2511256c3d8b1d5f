"""3DGAT.

[ mean (I - Ĩ)² + w_f (0.8 (1 - t/T) + 0.2) mean |F(I) - F(Ĩ)| + w_s (1 - S(I, Ĩ)) + w_e mean ln(4 - r)⁴ ] / (1 + w_s)

I render, Ĩ target, S mean SSIM, F the two-dimensional discrete Fourier transform of each channel without normalisation,
|.| of complex numbers; t counts from 0 to T. r = exp(-Σ p ln p) with p = s² / Σ s² over the three scales s of a
gaussian. mean |I - Ĩ| in place of the squares is the other choice. w_f = 0.01, w_s = 0.2, w_e = 0.001 are examples.
Source: Chaos1025/3DGAT, 3DGAT.py and misc/losses.py.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 1_000
STEPS = (0, 1, 500, 999)
GRADIENTS = ("rendered", "state.scales")
MASKED = False
VARIANTS = ({"params": {"data_loss": "L1"}},)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    return {**c.images(g, masked), "state": c.gaussians(g)}


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    i, t = x["rendered"], x["target"]
    differences = [
        torch.fft.fft2(i[b, :, :, k]) - torch.fft.fft2(t[b, :, :, k]) for b in range(i.shape[0]) for k in range(3)
    ]
    fourier = torch.stack([torch.abs(d).mean() for d in differences]).mean()
    squares = torch.exp(2 * x["state"]["scales"])
    p = squares / squares.sum(-1, keepdim=True)
    rank = torch.exp(-(p * torch.log(p)).sum(-1))
    w = 1 / 1.2
    return {
        "data": (w, c.l1(i, t) if x["params"].get("data_loss") == "L1" else ((i - t) ** 2).mean()),
        "fourier": (w * 0.01 * (0.8 * (1 - step / max_steps) + 0.2), fourier),
        "ssim": (w * 0.2, 1 - c.ssim(i, t)[1]),
        "rank": (w * 0.001, (torch.log(4 - rank) ** 4).mean()),
    }
