"""L = P(I, Ĩ; 0.2) + 0.01 mean_i(s_i1 s_i2 s_i3) + [t > 10000] 0.004 (r mean(b k) + G / V)
+ [t > 10000] 5e-4 mean sigmoid(m).

I render, Ĩ target, s_i scales of the gaussians that the anchors spawn for this view, m mask logits of all offsets; t
counts from 1.
b = -log2 max(p, 1e-6), p the probability of each quantised value of the sampled anchors under the context network,
k = 0 for offsets that are masked out, r the share of anchors in view that keep an offset. V: stored values in
all.
G = n₊ log2(1/P) + n₋ log2(1/(1-P)) + 32 bits for the hash grid: n₊ of its entries are +1, n₋ are -1, P = n₊/(n₊ + n₋).
P(I, Ĩ; λ) = (1 - λ) mean|I - Ĩ| + λ (1 - S(I, Ĩ)), with S the mean SSIM: 11 x 11 gaussian window, σ = 1.5,
C1 = 0.01², C2 = 0.03², each channel alone, zeros outside the image.

Chen et al., ECCV 2024; YihangChen-ee/HAC at 6a04fea, train.py, gaussian_renderer/__init__.py and utils/encodings.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, photometric, rand, randn
from torch import Tensor

MASKED = False
MAX_STEPS = 30_000
STEPS = (0, 9_999, 10_000, 10_001, 29_999)
GRADIENTS = ("rendered", "neural_scales", "likelihoods", "stored", "hash_signs", "offset_logits")
VARIANTS = ({"params": {"rate_weight": 0.0005}},)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two images, eleven spawned gaussians, five sampled anchors of eight values, a hash grid of forty entries."""
    x: dict[str, Any] = images(g, masked)
    x["neural_scales"] = rand(g, 11, 3, lo=0.01, hi=2.0)
    x["likelihoods"] = rand(g, 5, 8, lo=0.01, hi=0.99)
    x["likelihoods"][0, 0] = 1e-8  # below the floor
    x["stored"] = (rand(g, 5, 8) > 0.2).double()
    x["anchor_share"] = 0.875
    x["hash_signs"] = torch.where(rand(g, 40) < 0.35, 1.0, -1.0).double()
    x["anchor_values"] = 6 * 71.0
    x["offset_logits"] = randn(g, 6, 10)
    return x


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """Iteration t = step + 1."""
    s = x["neural_scales"]
    found = {
        "photometric": (1.0, photometric(x["rendered"], x["target"], 0.2)),
        "volume": (0.01, (s[:, 0] * s[:, 1] * s[:, 2]).mean()),
    }
    if step + 1 > 10_000:
        bits = -torch.log2(torch.clamp(x["likelihoods"], min=1e-6)) * x["stored"]
        positive = ((x["hash_signs"] + 1) / 2).sum()
        negative = x["hash_signs"].numel() - positive
        share = positive / (positive + negative)
        grid = -positive * torch.log2(share) - negative * torch.log2(1 - share) + 32
        rate = bits.sum() / bits.numel() * x["anchor_share"] + grid / x["anchor_values"]
        found["rate"] = (x["params"].get("rate_weight", 0.004), rate)
        found["keep"] = (5e-4, (1 / (1 + torch.exp(-x["offset_logits"]))).mean())
    return found
