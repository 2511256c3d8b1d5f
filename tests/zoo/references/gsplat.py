"""L = 0.8 L1 + 0.2 (1 - S(M I, M Ĩ)) + 10 TV(grids) + R + w_o mean(o) + w_s mean(s) + [depth] 0.01 c Ld, at every step.

L1 = mean of |I - Ĩ| over the pixels with M = 1 and the channels. S is the mean SSIM over the image without a border of
5 pixels: 11 x 11 gaussian window, σ = 1.5, C1 = 0.01², C2 = 0.03², each channel alone.
Ld = mean_k |1/D(p_k) - 1/d̃_k| over the COLMAP points in the view, 1/d = 0 where d = 0; D is sampled bilinearly, c is
the extent of the scene; off by default. TV: over the three axes of the bilateral grids, the sum of the mean squared
differences of neighbours. R: the regulariser of the camera response package. w_o = w_s = 0 (default) or 0.01 (mcmc).

nerfstudio-project/gsplat at 90d7b4b, examples/simple_trainer.py and gsplat/losses.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import gaussians, images, mask_of, masked_mean, opacities, rand, scales, ssim, total_variation
from torch import Tensor
from torch.nn import functional

MAX_STEPS = 30_000
STEPS = (0, 29_999)
GRADIENTS = ("rendered", "depth", "state.opacities", "state.scales", "grids", "ppisp")
VARIANTS = (
    {"params": {"depth_loss": True, "opacity_weight": 0.01, "scale_weight": 0.01}, "masked": True},
    {"params": {"depth_loss": True}, "without": ("grids", "ppisp")},
    {"params": {"depth_loss": True}, "without": ("points",)},
)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two images, depth with points in them, two bilateral grids of affine matrices."""
    x: dict[str, Any] = {**images(g, masked), "state": gaussians(g), "scene_scale": 1.7}
    x["depth"] = rand(g, 2, 24, 20, 1, lo=0.5, hi=6.0)
    x["points"] = torch.stack([rand(g, 2, 9, lo=0.6, hi=19.4), rand(g, 2, 9, lo=0.6, hi=23.4)], -1)
    x["points"][0, 3] = torch.tensor([-4.0, 7.0], dtype=torch.float64)  # not on the image
    x["points"][1, 5] = torch.tensor([7.7, 9.2], dtype=torch.float64)
    x["depth"][1, 7:11, 6:10] = 0  # nothing is drawn about that point
    x["depths"] = rand(g, 2, 9, 1, lo=0.5, hi=6.0)
    x["grids"] = rand(g, 2, 12, 3, 4, 5)
    x["ppisp"] = rand(g, 1).sum()
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
    """The same at every step."""
    a, b, m, p = x["rendered"], x["target"], mask_of(x), x["params"]
    kept = 0.8 * masked_mean((a - b).abs(), m) + 0.2 * (1 - ssim(a * m, b * m, "valid")[1])
    found = {"photometric": (1.0, kept)}
    if p.get("depth_loss") and "points" in x:
        found["depth"] = (0.01 * x["scene_scale"], sparse_disparity_l1(x))
    if "grids" in x:
        found["grid"] = (10.0, total_variation(x["grids"], (2, 3, 4), power=2))
    if "ppisp" in x:
        found["ppisp"] = (1.0, x["ppisp"])
    if p.get("opacity_weight"):
        found["opacity"] = (p["opacity_weight"], opacities(x["state"]).mean())
    if p.get("scale_weight"):
        found["scale"] = (p["scale_weight"], scales(x["state"]).mean())
    return found
