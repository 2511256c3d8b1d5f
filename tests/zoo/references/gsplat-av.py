"""L = 0.8 L1 + 0.2 (1 - S(clamp(I, 0, 1), Ĩ)) + 0.005 mean(s) + 0.005 mean(o) + 0.001 mean(A K)
+ 3e-4 Lr + 0.01 Ld, at every step.

L1 = mean of |I - Ĩ| over the pixels that are neither sky (K = 1) nor the vehicle itself (M = 0). S is the mean SSIM of
the unmasked images without a border of 5 pixels: 11 x 11 gaussian window, σ = 1.5, C1 = 0.01², C2 = 0.03², each channel
alone. A accumulated alpha; mean(A K) is over all pixels.
Lr = mean of |r - r̃| over the rays with a LiDAR return: r the hit distance in a second render, through the sensor.
Ld = mean_k |1/D(p_k) - 1/d̃_k| over the LiDAR points in the view, 1/d = 0 where d = 0. Both where the data has them.

nerfstudio-project/gsplat at 90d7b4b, examples/av_trainer.py and gsplat/losses.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import gaussians, images, mask_of, opacities, rand, scales, ssim
from torch import Tensor
from torch.nn import functional

MAX_STEPS = 15_000
STEPS = (0, 14_999)
GRADIENTS = ("rendered", "alpha", "depth", "lidar.depth", "state.opacities", "state.scales")
VARIANTS = ({"without": ("lidar",), "masked": True}, {"without": ("points",)}, {"without": ("lidar.ranges",)})


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two images that overshoot a little, points in them, and a LiDAR render of 6 x 30 rays, a third without return."""
    x: dict[str, Any] = {**images(g, masked), "state": gaussians(g)}
    x["rendered"] = 1.3 * x["rendered"] - 0.1
    x["alpha"] = rand(g, 2, 24, 20, 1, lo=0.05, hi=0.95)
    x["sky"] = (rand(g, 2, 24, 20) > 0.7).double()
    x["depth"] = rand(g, 2, 24, 20, 1, lo=0.5, hi=6.0)
    x["points"] = torch.stack([rand(g, 2, 9, lo=0.6, hi=19.4), rand(g, 2, 9, lo=0.6, hi=23.4)], -1)
    x["points"][0, 3] = torch.tensor([-4.0, 7.0], dtype=torch.float64)  # not on the image
    x["points"][1, 5] = torch.tensor([7.7, 9.2], dtype=torch.float64)
    x["depth"][1, 7:11, 6:10] = 0  # nothing is drawn about that point
    x["depths"] = rand(g, 2, 9, 1, lo=0.5, hi=6.0)
    ranges = rand(g, 1, 6, 30, 1, lo=1.0, hi=50.0)
    x["lidar"] = {
        "depth": rand(g, 1, 6, 30, 1, lo=1.0, hi=50.0),
        "ranges": torch.where(rand(g, 1, 6, 30, 1) < 1 / 3, torch.zeros_like(ranges), ranges),
    }
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
    a, b = x["rendered"], x["target"]
    sky = x["sky"].unsqueeze(-1)
    kept = ((mask_of(x) > 0) & (sky == 0)).squeeze(-1)
    found = {
        "l1": (0.8, (a - b)[kept].abs().mean()),
        "ssim": (0.2, 1 - ssim(a.clamp(0, 1), b, "valid")[1]),
        "scale": (0.005, scales(x["state"]).mean()),
        "opacity": (0.005, opacities(x["state"]).mean()),
        "sky": (0.001, (x["alpha"] * sky).mean()),
    }
    if "ranges" in x.get("lidar", {}):
        returned = x["lidar"]["ranges"] > 0
        found["lidar"] = (3e-4, (x["lidar"]["depth"] - x["lidar"]["ranges"])[returned].abs().mean())
    if "points" in x:
        found["disparity"] = (0.01, sparse_disparity_l1(x))
    return found
