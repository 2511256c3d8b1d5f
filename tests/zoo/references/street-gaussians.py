"""Street Gaussians.

0.8 mean_M|I - Ĩ| + 0.2 (1 - S(M I, M Ĩ)), M the mask, the first mean over the masked pixels, SSIM over all
+ 0.05 mean(k_c (sky ? -ln(1 - A) : -ln A)), k_c a weight of each camera
+ [t >= 15,000, from 1] 0.1 mean(in a box ? H(A_obj) : -ln(1 - A_obj)), A_obj of a render of the moving objects alone
+ 0.1 mean of the smallest floor(0.95 n) of the n values |D / (A + 1e-10) - D̃| where M = 1 and D̃ > 0, D accumulated
+ w mean|affine colour transform - identity|, w = 0.
A and A_obj are cut to 1e-6..1 - 1e-6 in the logarithms. H(p) = -p ln p - (1 - p) ln(1 - p).

Yan et al., Street Gaussians, ECCV 2024; zju3dv/street_gaussians at 0924b0c, train.py, lib/utils/loss_utils.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import binary_entropy, images, mask_of, rand, randn, ssim
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 14_998, 14_999, 15_000, 29_999)
GRADIENTS = ("rendered", "alpha", "objects.alpha", "render.depths_accumulated", "colour_drift")
VARIANTS = (
    {"params": {"colour_weight": 0.5, "lidar_kept": 0.8, "l1_weight": 2, "ssim_weight": 0.4}, "masked": True},
    {"params": {"object_start": 10, "sky_weight": 0.3}},
)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked)
    made["alpha"] = rand(g, 2, 24, 20, 1, lo=0.05, hi=0.95)
    made["alpha"][0, 0, :4, 0] = torch.tensor([0.0, 1.0, 1e-7, 1 - 1e-7], dtype=torch.float64)
    made["render"] = {"depths_accumulated": 20 * rand(g, 2, 24, 20, 1, lo=0.1)}
    made["sky"] = (rand(g, 2, 24, 20) < 0.4).double()
    made["camera_weight"] = torch.tensor([1.0, 0.3], dtype=torch.float64)
    made["lidar"] = 20 * rand(g, 2, 24, 20, 1, lo=0.1) * (rand(g, 2, 24, 20, 1) < 0.4)
    made["lidar"][0, 0, :4] = 0.0  # so little coverage makes any depth of an accumulated one
    made["boxes"] = (rand(g, 2, 24, 20) < 0.3).double()
    made["objects"] = {"alpha": rand(g, 2, 24, 20, 1, lo=0.05, hi=0.95)}
    made["objects"]["alpha"][0, 1, :4, 0] = made["alpha"][0, 0, :4, 0]
    made["colour_drift"] = 0.1 * randn(g, 2, 3, 4)
    return made


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    keep = mask_of(x)[..., 0] > 0.5
    rendered, target = x["rendered"], x["target"]
    w = params.get("ssim_weight", 0.2)
    black = torch.zeros_like(rendered)
    structure = ssim(torch.where(keep[..., None], rendered, black), torch.where(keep[..., None], target, black))[1]
    l1 = (rendered[keep] - target[keep]).abs().mean()
    a = x["alpha"][..., 0].clamp(1e-6, 1 - 1e-6)
    sky = torch.where(x["sky"] > 0.5, -torch.log(1 - a), -torch.log(a))
    per_image = sky.reshape(2, -1).mean(1)
    found = {
        "photometric": (1.0, (1 - w) * params.get("l1_weight", 1) * l1 + w * (1 - structure)),
        "sky": (params.get("sky_weight", 0.05), (x["camera_weight"] * per_image).mean()),
    }
    if step + 1 >= params.get("object_start", 15_000):
        o = x["objects"]["alpha"][..., 0].clamp(1e-6, 1 - 1e-6)
        found["objects"] = (0.1, torch.where(x["boxes"] > 0.5, binary_entropy(o), -torch.log(1 - o)).mean())
    lidar = x["lidar"][..., 0]
    measured = keep & (lidar > 0)
    depth = x["render"]["depths_accumulated"][..., 0] / (x["alpha"][..., 0] + 1e-10)
    errors = (depth[measured] - lidar[measured]).abs()
    kept = int(params.get("lidar_kept", 0.95) * len(errors))
    found["lidar"] = (0.1, torch.topk(errors, kept, largest=False).values.mean())
    if params.get("colour_weight"):
        found["colours"] = (params["colour_weight"], x["colour_drift"].abs().mean())
    return found
