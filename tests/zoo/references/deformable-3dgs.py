"""Deformable-3DGS.

P(I, Ĩ; 0.2) = 0.8 mean|I - Ĩ| + 0.2 (1 - S(I, Ĩ)), constant.

Yang et al., Deformable 3D Gaussians, CVPR 2024; ingra14m/Deformable-3D-Gaussians at ac42372, train.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, photometric
from torch import Tensor

MAX_STEPS = 40_000
STEPS = (0, 2_999, 3_000, 39_999)
GRADIENTS = ("rendered",)
MASKED = False


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    return dict(images(g, masked))


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    return {"loss": (1.0, photometric(x["rendered"], x["target"]))}
