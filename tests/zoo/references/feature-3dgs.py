"""Feature-3DGS.

P(I, Ĩ; 0.2) + mean|c(resize(F)) - F̃|, F a rendered feature of 128 numbers, brought to the size of the teacher's
feature F̃ by bilinear interpolation, c a 1 x 1 convolution to 512 numbers. Pixel j of n covers [j / n, (j + 1) / n]:
its centre is at ((j + 0.5) H / n) - 0.5 of the render, cut to its first and last row.

Zhou et al., Feature 3DGS, CVPR 2024; ShijieZhou-UCLA/feature-3dgs at 6c570d6, train.py.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from _common import images, photometric, randn
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 1, 29_999)
GRADIENTS = ("rendered", "feature")
MASKED = False
VARIANTS = ({"params": {"feature_weight": 0.5, "ssim_weight": 0.5}},)

WEIGHTS = torch.randn(128, 512, generator=torch.Generator().manual_seed(7), dtype=torch.float64) / 11


def widen(feature: Tensor) -> Tensor:
    """A 1 x 1 convolution."""
    return feature @ WEIGHTS.to(feature.dtype)


EXTERNS = {"widen": widen}


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked, 2, 16, 18)
    made["feature"] = randn(g, 2, 16, 18, 128)
    made["teacher"] = randn(g, 2, 10, 7, 512)
    return made


def interpolation(n: int, size: int) -> Tensor:
    """The matrix `[n, size]` of linear interpolation along one direction."""
    matrix = torch.zeros(n, size, dtype=torch.float64)
    for j in range(n):
        at = min(max((j + 0.5) * size / n - 0.5, 0.0), size - 1.0)
        low = min(math.floor(at), size - 2)
        matrix[j, low] = 1 - (at - low)
        matrix[j, low + 1] = at - low
    return matrix


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    rows, columns = interpolation(10, 16), interpolation(7, 18)
    small = torch.einsum("yh,bhwk,xw->byxk", rows, x["feature"], columns)
    return {
        "photometric": (1.0, photometric(x["rendered"], x["target"], params.get("ssim_weight", 0.2))),
        "feature": (params.get("feature_weight", 1), (widen(small) - x["teacher"]).abs().mean()),
    }
