"""L = mean(M (0.8 |I - Ĩ'| - 0.2 SSIM(I, Ĩ'))) + [Ã] 0.1 mean|A - Ã| + w LPIPS(I, Ĩ'), at every step.

Ĩ' = Ĩ + (1 - Ã) bg for a target whose colours are premultiplied with its alpha Ã: laid over the background of the
render; else Ĩ' = Ĩ. The first mean is over all pixels and channels; M = 1 without a mask. SSIM is the map of the
unmasked images: 11 x 11 gaussian window, σ = 1.5, C1 = 0.01², C2 = 0.03², each channel alone, zeros outside the image.
A accumulated alpha; w = 0 by default.

ArthurBrussee/brush at 8b7f5c6, crates/brush-train/src/train.rs and crates/brush-loss/src/lib.rs.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, mask_of, rand, ssim
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 29_999)
GRADIENTS = ("rendered", "alpha")
VARIANTS = (
    {"without": ("target_alpha",), "masked": True},
    {"without": ("target_alpha", "alpha", "background")},
    {"params": {"lpips_weight": 0.05}},
)


def lpips_vgg(a: Tensor, b: Tensor) -> Tensor:
    """A smooth distance in the place of the network."""
    return (torch.sin(3 * a) - torch.sin(3 * b)).pow(2).mean()


EXTERNS = {"lpips_vgg": lpips_vgg}


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two transparent images, their render and its background."""
    x: dict[str, Any] = images(g, masked)
    x["target_alpha"] = rand(g, 2, 24, 20, 1)
    x["target"] = x["target"] * x["target_alpha"]
    x["background"] = rand(g, 2, 3)
    x["alpha"] = rand(g, 2, 24, 20, 1)
    return x


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """The same at every step."""
    truth = x["target"]
    if "target_alpha" in x:
        truth = truth + (1 - x["target_alpha"]) * x["background"].reshape(-1, 1, 1, 3)
    each = 0.8 * (x["rendered"] - truth).abs() - 0.2 * ssim(x["rendered"], truth)[0]
    found = {"photometric": (1.0, (mask_of(x) * each).mean())}
    if "target_alpha" in x:
        found["alpha"] = (0.1, (x["alpha"] - x["target_alpha"]).abs().mean())
    if x["params"].get("lpips_weight"):
        found["lpips"] = (x["params"]["lpips_weight"], lpips_vgg(x["rendered"], truth))
    return found
