"""GaussianShader.

P(I, Ĩ; 0.2) + [0 < t < 30000] 0.2 mean w (1 - N̂ · N') + [0 < t] 1e-3 mean w δ + [0 < t] 1e-3 mean ( ln a + ln(1 - a) )

P(I, Ĩ; w) = (1 - w) mean |I - Ĩ| + w (1 - S(I, Ĩ)), S mean SSIM; I render, Ĩ target; t the iteration, from 1; the last
three with the shading model only. N̂ = N/‖N‖ rendered normal, N' normal of the depth without gradient, δ the rendered
lengths of the gaussians' offsets of their normals. w: the least alpha in the window of 4 × 4 pixels from two before to
one after, without gradient; the two means with w are over the image without its first row and column. a = alpha, cut to
1e-3 .. 1 - 1e-3.
Source: Asparagus15/GaussianShader, train.py, utils/loss_utils.py, utils/image_utils.py.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor
from torch.nn import functional

MAX_STEPS = 30_000
STEPS = (0, 1, 29_997, 29_998, 29_999)
GRADIENTS = ("rendered", "alpha", "normals", "normal_residual")
MASKED = False
VARIANTS = ({"params": {"use_brdf": False}}, {"params": {"normal_start": 29_998}})


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    alpha = c.rand(g, 2, 24, 20, 1)
    alpha[:, :3, :3], alpha[:, -3:, -3:] = 0, 1
    return {
        **c.images(g, masked),
        "alpha": alpha,
        "normals": 0.8 * c.directions(g, 2, 24, 20),
        "normals_from_depth": c.directions(g, 2, 24, 20),
        "normal_residual": c.rand(g, 2, 24, 20, 1),
    }


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    iteration, given = step + 1, {"use_brdf": True, "normal_start": 0, **x["params"]}
    found = {"photometric": (1.0, c.photometric(x["rendered"], x["target"]))}
    if not given["use_brdf"] or iteration <= given["normal_start"]:
        return found
    alpha = x["alpha"].permute(0, 3, 1, 2)
    padded = functional.pad(alpha.detach(), (2, 1, 2, 1), value=1.0)
    weight = -functional.max_pool2d(-padded, 4, stride=1)
    weight = weight.permute(0, 2, 3, 1)[:, 1:, 1:]
    if iteration < 30_000:
        cosine = (c.unit(x["normals"]) * x["normals_from_depth"].detach()).sum(-1, keepdim=True)
        found["normals"] = (0.2, (weight * (1 - cosine)[:, 1:, 1:]).mean())
    found["residuals"] = (1e-3, (weight * x["normal_residual"][:, 1:, 1:]).mean())
    a = torch.clamp(x["alpha"], 1e-3, 1 - 1e-3)
    found["polarised"] = (1e-3, torch.log(a * (1 - a)).mean())
    return found
