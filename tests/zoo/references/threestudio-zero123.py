"""threestudio-3dgs, Zero123, on the reference view.

w(t) mean((M I - M Ĩ)^2) + 50 mean((A - M)^2) + 0.05 mean_M (D - sg(a D̃ + b))^2 + 0.05 (1 - pearson_M(D, D̃))
+ 0.05 mean_M (1 - cos(N, Ñ)) + mean of squared differences of N / 2 along the rows + along the columns.
w is 500 up to t = 100 (from 0), rises linearly to 1,000 at t = 400 and stays; M the silhouette, mean_M the mean where
it is above 0.5, the others over all pixels; a, b the least-squares fit over M, image by image; N the normals times
alpha.

DSaurus/threestudio-3dgs at 8c2ab7b, system/gaussian_zero123.py; threestudio at 28d9d80, utils/misc.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, masked_mean, pearson, rand, randn, total_variation
from torch import Tensor

MAX_STEPS = 1_200
STEPS = (0, 99, 100, 101, 250, 399, 400, 401, 1_199)
GRADIENTS = ("rendered", "alpha", "depth", "normals")
MASKED = False
VARIANTS = ({"params": {"normal_weight": 1, "depth_weight": 0, "silhouette_weight": 10}},)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked)
    made["alpha"] = rand(g, 2, 24, 20, 1)
    made["depth"] = 3 * rand(g, 2, 24, 20, 1, lo=0.1)
    directions = randn(g, 2, 24, 20, 3)
    made["normals"] = rand(g, 2, 24, 20, 1, lo=0.1) * directions / directions.norm(dim=-1, keepdim=True)
    made["silhouette"] = (2.5 * rand(g, 2, 24, 20, 1, lo=-0.4, hi=0.6) + 0.5).clamp(0, 1)  # with soft edges
    made["reference_depth"] = 0.5 * made["depth"] + rand(g, 2, 24, 20, 1)
    directions = randn(g, 2, 24, 20, 3)
    made["reference_normals"] = directions / directions.norm(dim=-1, keepdim=True)
    return made


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    w = 500 + 500 * min(max((step - 100) / 300, 0.0), 1.0)
    m, depth, reference = x["silhouette"], x["depth"], x["reference_depth"]
    inside = m > 0.5
    fitted = []
    for d, r, i in zip(depth.detach(), reference, inside):
        a = torch.stack([r[i], torch.ones_like(r[i])], -1)
        fitted.append(a @ torch.linalg.lstsq(a, d[i][:, None]).solution)
    error = (depth[inside] - torch.cat(fitted)[:, 0]) ** 2
    cosine = torch.nn.functional.cosine_similarity(x["normals"], x["reference_normals"], dim=-1)[..., None]
    found = {
        "reference": (w, ((m * x["rendered"] - m * x["target"]) ** 2).mean()),
        "silhouette": (params.get("silhouette_weight", 50), ((x["alpha"] - m) ** 2).mean()),
        "depth_relative": (0.05, (1 - pearson(depth, reference, inside.double())).mean()),
        "normals": (params.get("normal_weight", 0.05), masked_mean(1 - cosine, inside.double())),
        "smooth_normals": (1.0, total_variation((x["normals"] + 1) / 2, (1, 2), 2)),
    }
    if params.get("depth_weight", 0.05):
        found["depth"] = (0.05, error.mean())
    return found
