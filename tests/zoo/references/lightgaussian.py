"""L = P(I, sg(T); 0.2) at every step; I the student's render, T the teacher's at the same camera, without gradient.

P(I, Ĩ; λ) = (1 - λ) mean|I - Ĩ| + λ (1 - S(I, Ĩ)), with S the mean SSIM: 11 x 11 gaussian window, σ = 1.5,
C1 = 0.01², C2 = 0.03², each channel alone, zeros outside the image.

Fan et al., NeurIPS 2024; VITA-Group/LightGaussian at 6676b98, distill_train.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, photometric
from torch import Tensor

MASKED = False
MAX_STEPS = 30_000
STEPS = (0, 29_999)
GRADIENTS = ("rendered", "teacher")


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two renders of the student and of the teacher; a teacher may overshoot."""
    x = images(g, masked)
    return {"rendered": x["rendered"], "teacher": 1.1 * x["target"]}


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """The same at every step."""
    return {"distillation": (1.0, photometric(x["rendered"], x["teacher"].detach(), 0.2))}
