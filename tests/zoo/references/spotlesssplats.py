"""SpotLessSplats.

Splats: (1 - w) mean(sg(W) |I - Ĩ|) + w (1 - S(I, Ĩ)), w = 0, the mean over all pixels and colours. W is 1 with
probability (1 - a) m + a, a = exp(-0.003 floor((1 + t) / 1.5)), t from 0. With e the mean of |I - Ĩ| over the colours
and e_q the q-quantile of a histogram H of e, M_q = [e < e_q] or [mean of [e < e_q] over 3 x 3 pixels > 0.5].
m = M_0.7 (robust), or m = sg(p), p what a network makes of image features.
H has 10,000 bins over 0..1 and is 0.95 H + h at every step, h the histogram of this step's e; what a bin counts is
spread evenly over it.
Network: mean(relu(p - M_0.9) + relu(M_0.5 - p)) + 0.5 max|W1| max|W2|, W1 and W2 its two layers.

Sabour et al., SpotLessSplats, TOG 2025; lilygoli/SpotLessSplats at 98c7823, examples/spotless_trainer.py.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from _common import as_map, bernoulli, images, l1, randn, ssim
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 1, 2, 100, 1_000, 10_000, 29_999)
GRADIENTS = ("rendered", "features", "layer1", "layer2")
MASKED = False
VARIANTS = (
    {"params": {"selection": "robust", "ssim_weight": 0.2}},
    {"params": {"selection": "robust", "inlier_quantile": 0.3, "smooth_weight": 0}},
)


def network(features: Tensor) -> Tensor:
    """Stands for the network: a logistic function of a fixed combination of the features."""
    weights = torch.tensor([0.9, -1.7, 0.6, 1.1, -0.4], dtype=features.dtype)
    return 1 / (1 + torch.exp(-(features * weights).sum(-1, keepdim=True)))


EXTERNS = {"inlier_network": network}


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    # No quantile of 483 pixels falls between two of them.
    made: dict[str, Any] = images(g, masked, 1, 23, 21)
    made["features"] = randn(g, 1, 23, 21, 5)
    made["layer1"] = randn(g, 16, 5)
    made["layer2"] = randn(g, 1, 16)
    return made


def quantile(histogram: list[float], q: float) -> float:
    left = q * sum(histogram)
    for i, count in enumerate(histogram):
        if left <= count:
            return (i + left / count) / len(histogram)
        left -= count
    raise AssertionError


def robust_mask(error: Tensor, threshold: float) -> Tensor:
    inlier = (error < threshold).double()
    b, h, w, _ = inlier.shape
    kept = inlier.clone()
    for n in range(b):
        for y in range(h):
            for x in range(w):
                around = inlier[n, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
                if float(around.mean()) > 0.5:
                    kept[n, y, x] = 1.0
    return kept


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    rendered, target = x["rendered"], x["target"]
    error = as_map((rendered.detach() - target).abs().mean(-1))
    counts = [0.0] * 10_000
    for e in error.reshape(-1).tolist():
        counts[min(int(e * 10_000), 9_999)] += 1
    memory["h"] = [0.95 * old + new for old, new in zip(memory.get("h", [0.0] * 10_000), counts)]

    p = network(x["features"])
    if params.get("selection") == "robust":
        m = robust_mask(error, quantile(memory["h"], params.get("inlier_quantile", 0.7)))
    else:
        m = p.detach()
    a = math.exp(-0.003 * math.floor((1 + step) / 1.5))
    kept = bernoulli((1 - a) * m + a, (1, 23, 21, 1), step)
    w = params.get("ssim_weight", 0.0)
    masked_l1 = l1(kept * rendered, kept * target)
    found = {}
    if w:
        found["splats.photometric"] = (1.0, (1 - w) * masked_l1 + w * (1 - ssim(rendered, target)[1]))
    else:
        found["splats.photometric"] = (1.0, masked_l1)
    upper, lower = (robust_mask(error, quantile(memory["h"], q)) for q in (0.9, 0.5))
    found["network.band"] = (1.0, (torch.relu(p - upper) + torch.relu(lower - p)).mean())
    smooth = params.get("smooth_weight", 0.5)
    if smooth:
        found["network.smooth"] = (1.0, smooth * x["layer1"].abs().max() * x["layer2"].abs().max())
    return found
