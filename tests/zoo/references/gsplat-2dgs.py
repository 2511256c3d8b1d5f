"""L = P(M I, M Ĩ; 0.2) + [depth] 0.01 c Ld + [normal] 0.05 [t > 7000] mean(1 - N · (sg(A) Nd))
+ [dist] 0.01 [t > 3000] mean(dist).

t counts from 0; the three bracketed terms are off by default. All means are over all pixels; P = 0.8 mean|·| +
0.2 (1 - S), S the mean SSIM over the image without a border of 5 pixels: 11 x 11 gaussian window, σ = 1.5, C1 = 0.01²,
C2 = 0.03², each channel alone. N rendered normals, Nd unit normals from depth, A accumulated alpha without gradient.
Ld = mean_k |1/D(p_k) - 1/d̃_k| over the COLMAP points in the view, 1/d = 0 where d = 0; c is the extent of the scene.

nerfstudio-project/gsplat at 90d7b4b, examples/simple_trainer_2dgs.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, mask_of, photometric, rand, randn
from torch import Tensor
from torch.nn import functional

MAX_STEPS = 30_000
STEPS = (0, 2_999, 3_000, 3_001, 6_999, 7_000, 7_001, 29_999)
GRADIENTS = ("rendered", "depth", "alpha", "normals", "normals_from_depth", "distortion")
ALL = {"depth_loss": True, "normal_loss": True, "dist_loss": True}
VARIANTS = ({"params": ALL, "masked": True}, {"params": ALL}, {"params": ALL, "without": ("depths",)})


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two images with what a 2DGS renderer makes, and points."""
    x: dict[str, Any] = {**images(g, masked), "scene_scale": 1.7}
    x["depth"] = rand(g, 2, 24, 20, 1, lo=0.5, hi=6.0)
    x["points"] = torch.stack([rand(g, 2, 9, lo=0.6, hi=19.4), rand(g, 2, 9, lo=0.6, hi=23.4)], -1)
    x["points"][0, 3] = torch.tensor([-4.0, 7.0], dtype=torch.float64)  # not on the image
    x["points"][1, 5] = torch.tensor([7.7, 9.2], dtype=torch.float64)
    x["depth"][1, 7:11, 6:10] = 0  # nothing is drawn about that point
    x["depths"] = rand(g, 2, 9, 1, lo=0.5, hi=6.0)
    x["alpha"] = rand(g, 2, 24, 20, 1, lo=0.1, hi=0.95)
    n = randn(g, 2, 24, 20, 3)
    x["normals"] = 0.9 * x["alpha"] * n / n.norm(dim=-1, keepdim=True)
    n = randn(g, 2, 24, 20, 3)
    x["normals_from_depth"] = n / n.norm(dim=-1, keepdim=True)
    x["distortion"] = rand(g, 2, 24, 20, 1)
    return x


def at_points(depth: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Depth at points in pixels, bilinear, centres at integers + 0.5; and which points are on the image."""
    _, h, w, _ = depth.shape
    size = torch.tensor([w, h], dtype=depth.dtype)
    grid = (2 * points / size - 1).unsqueeze(1)
    found = functional.grid_sample(depth.permute(0, 3, 1, 2), grid, align_corners=False, padding_mode="border")
    inside = ((points >= 0) & (points <= size)).all(-1, keepdim=True)
    return found[:, 0, 0].unsqueeze(-1), inside


def disparity(d: Tensor) -> Tensor:
    """1 / d where d > 0, else 0."""
    return torch.where(d > 0, 1 / torch.where(d > 0, d, torch.ones_like(d)), torch.zeros_like(d))


def sparse_disparity_l1(x: dict[str, Any]) -> Tensor:
    """mean |1/D(p) - 1/d̃| over the points on the image."""
    found, inside = at_points(x["depth"], x["points"])
    return (disparity(found) - disparity(x["depths"])).abs()[inside].mean()


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """t = step."""
    m, p = mask_of(x), x["params"]
    found = {"photometric": (1.0, photometric(x["rendered"] * m, x["target"] * m, 0.2, "valid"))}
    if p.get("depth_loss") and "depths" in x:
        found["depth"] = (0.01 * x["scene_scale"], sparse_disparity_l1(x))
    if p.get("normal_loss") and step > 7_000:
        surface = x["alpha"].detach() * x["normals_from_depth"]
        found["normals"] = (0.05, (1 - (x["normals"] * surface).sum(-1)).mean())
    if p.get("dist_loss") and step > 3_000:
        found["distortion"] = (0.01, x["distortion"].mean())
    return found
