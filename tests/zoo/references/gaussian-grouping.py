"""Gaussian Grouping.

P(I, Ĩ; 0.2) + mean over pixels of -ln softmax(c(F))_k / ln K, F the rendered identity of 16 numbers, c a linear
classifier into K = 256 classes, k the class of the pixel
+ [t mod 2 = 0, t from 1] (2 / K) mean over sampled gaussians i and their neighbours j of
  sum over the classes of p_i (ln(p_i + 1e-10) - ln(p_j + 1e-10)), p = softmax of the classifier on a gaussian.
Every fifth step in the shipped configuration.

Ye et al., Gaussian Grouping, ECCV 2024; lkeab/gaussian-grouping at 0ab60af, train.py, utils/loss_utils.py.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from _common import images, photometric, randn
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 1, 2, 3, 4, 5, 8, 9, 10, 29_999)
GRADIENTS = ("rendered", "identity", "sampled", "nearby")
MASKED = False
VARIANTS = ({"params": {"neighbour_every": 5, "neighbour_weight": 1, "identity_weight": 0.5, "ssim_weight": 0.4}},)

WEIGHTS = torch.randn(16, 256, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def classifier(identity: Tensor) -> Tensor:
    """One linear layer."""
    return identity @ WEIGHTS.to(identity.dtype) + 0.1


EXTERNS = {"classifier": classifier}


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked, 2, 16, 16)
    made["identity"] = randn(g, 2, 16, 16, 16)
    made["labels"] = torch.randint(0, 256, (2, 16, 16, 1), generator=g).double()
    made["sampled"] = randn(g, 5, 256)
    made["nearby"] = randn(g, 5, 3, 256)
    return made


def probabilities(logits: Tensor) -> Tensor:
    powers = torch.exp(logits)
    return powers / powers.sum(-1, keepdim=True)


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    p = probabilities(classifier(x["identity"])).reshape(-1, 256)
    labels = x["labels"].reshape(-1).long().tolist()
    likelihood = torch.stack([p[i, k] for i, k in enumerate(labels)])
    found = {
        "photometric": (1.0, photometric(x["rendered"], x["target"], params.get("ssim_weight", 0.2))),
        "identity": (params.get("identity_weight", 1) / math.log(256), -torch.log(likelihood).mean()),
    }
    if (step + 1) % params.get("neighbour_every", 2) == 0:
        own, others = probabilities(x["sampled"]), probabilities(x["nearby"])
        divergence = [
            (own[i] * (torch.log(own[i] + 1e-10) - torch.log(others[i, j] + 1e-10))).sum()
            for i in range(5)
            for j in range(3)
        ]
        found["neighbours"] = (params.get("neighbour_weight", 2) / 256, torch.stack(divergence).mean())
    return found
