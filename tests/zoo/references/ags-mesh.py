"""AGS-Mesh.

0.8 mean |M I - M Ĩ| + 0.2 (1 - S_valid(M I, M Ĩ)) + mean s_min + 0.2 ( mean_Ω l e_x + mean_Ω l e_y )
+ 0.1 mean |N̂ - Ñ| + [7000 < t < 15000] 0.1 mean_U |Nd - Ñ| + [t >= 15000] 0.1 mean_V |Nd - Ñ|

I render, Ĩ target, M mask (1 without one); S_valid mean SSIM over the windows that lie inside the image; t the step,
from 0. l = ln(1 + |D - D̃|), D depth, D̃ sensor depth; Ω: D̃ > 0, and from t = 7000 on also confidence > 0; e_x =
exp(-mean_c |∂x Ĩ|), e_y the same along y, ∂ the next pixel less this one, where there is one. N̂ = N/‖N‖ rendered
normal, Ñ prior normal, Nd normal of the depth; s_min smallest scale of a gaussian. U: no pixel of the 3 × 3 window has
a Laplacian of 1/D above 0.01, which counts as 0 at a border of one pixel; V: the angle of Nd and Ñ is 0.1 or less.
Source: maturk/dn-splatter, regularization_strategy.py, where U is made of Ñ in place of D.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor
from torch.nn import functional

MAX_STEPS = 30_000
STEPS = (0, 6_999, 7_000, 7_001, 14_999, 15_000, 15_001, 29_999)
GRADIENTS = ("rendered", "depth", "normals", "normals_from_depth", "state.scales")


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    sensor = c.rand(g, 2, 24, 20, 1, lo=0.05, hi=3.0)
    sensor[:, 4:8, 3:9] = 0
    step = (torch.arange(20) > 11).double().reshape(1, 1, 20, 1)
    prior = c.directions(g, 2, 24, 20)
    return {
        **c.images(g, masked),
        "depth": 2 + c.rand(g, 2, 24, 20, 1, hi=0.01) + step,
        "sensor": sensor,
        "confidence": torch.randint(0, 3, (2, 24, 20, 1), generator=g).double(),
        "normals": 0.8 * c.directions(g, 2, 24, 20),
        "normals_from_depth": c.unit(prior + 0.08 * c.randn(g, 2, 24, 20, 3)),
        "prior_normals": prior,
        "state": c.gaussians(g),
    }


def edge_aware(x: dict[str, Any], region: Tensor) -> Tensor:
    """mean l e_x + mean l e_y over a region ``[B, H, W]`` of bool."""
    error = torch.log(1 + (x["depth"] - x["sensor"]).abs())[..., 0]
    t = x["target"]
    along_x = error[:, :, :-1] * torch.exp(-(t[:, :, 1:] - t[:, :, :-1]).abs().mean(-1))
    along_y = error[:, :-1] * torch.exp(-(t[:, 1:] - t[:, :-1]).abs().mean(-1))
    return along_x[region[:, :, :-1]].mean() + along_y[region[:, :-1]].mean()


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    m = c.mask_of(x)
    region = x["sensor"][..., 0] > 0
    if step >= 7_000:
        region = region & (x["confidence"][..., 0] > 0)
    error = (x["normals_from_depth"] - x["prior_normals"]).abs()
    found = {
        "photometric": (1.0, c.photometric(x["rendered"] * m, x["target"] * m, padding="valid")),
        "flat": (1.0, c.scales(x["state"]).amin(-1).mean()),
        "depth": (0.2, edge_aware(x, region)),
        "normals": (0.1, (c.unit(x["normals"]) - x["prior_normals"]).abs().mean()),
    }
    if 7_000 < step < 15_000:
        kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=torch.float64)[None, None]
        bend = functional.conv2d(1 / x["depth"].detach().permute(0, 3, 1, 2), kernel)
        edges = functional.pad((bend > 0.01).double(), (1, 1, 1, 1))[:, 0, :, :, None]
        flat = c.dilate(edges, 1)[..., 0] < 0.5
        assert 0.1 < float(flat.double().mean()) < 0.9
        found["depth_normals"] = (0.1, error[flat].mean())
    if step >= 15_000:
        angle = torch.acos((x["normals_from_depth"] * x["prior_normals"]).sum(-1).clamp(-1, 1)).detach()
        assert 0.1 < float((angle <= 0.1).double().mean()) < 0.9
        found["agreeing_normals"] = (0.1, error[angle <= 0.1].mean())
    return found
