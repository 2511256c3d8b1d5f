"""SuGaR, refinement stage.

P(I, Ĩ; 0.2) + 0.1 mean_e (1 - cos(n_e, m_e))

P(I, Ĩ; w) = (1 - w) mean |I - Ĩ| + w (1 - S(I, Ĩ)), S mean SSIM; I render, Ĩ target. e runs over the edges of the mesh
that two faces share, n_e and m_e are the normals of the two.
Source: Anttwo/SuGaR, sugar_trainers/refine.py; the normal consistency is that of PyTorch3D.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 15_000
STEPS = (0, 1, 14_999)
GRADIENTS = ("rendered", "left_normals", "right_normals")
MASKED = False


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    return {**c.images(g, masked), "left_normals": c.randn(g, 11, 3), "right_normals": c.randn(g, 11, 3)}


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    angles = torch.nn.functional.cosine_similarity(x["left_normals"], x["right_normals"], dim=1)
    return {
        "photometric": (1.0, c.photometric(x["rendered"], x["target"])),
        "mesh": (0.1, (1 - angles).mean()),
    }
