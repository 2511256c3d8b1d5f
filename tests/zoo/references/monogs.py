"""MonoGS.

Tracking: 0.95 mean(A m |e^a I + b - Ĩ|) + 0.05 mean([D̃ > 0.01] [A > 0.95] |D - D̃|); the first alone, without its
factor, where there is no sensor. m = [sum over the colours of Ĩ > 0.01] and [g > 1.1 median g], g the length of the
Scharr gradient of the mean over the colours, 0 where one of the 3 x 3 pixels is at most 0.01; on Replica
[g > 4 times its median over the block of 32 x 32 pixels]. The outermost pixels have no g and are left out of the
median and of the mean.
Mapping: sum over the views of 0.95 mean([sum Ĩ > 0.01] |e^a I + b - Ĩ|) + 0.05 mean([D̃ > 0.01] |D - D̃|)
+ 10 mean |s - mean over the axes of s|.
Refinement: P(I, Ĩ; 0.2).
Means are over all pixels, masked or not, and colours; a, b are the exposure of the frame; A has a gradient.
Scharr: (3, 10, 3) / 32 across the difference of the two neighbours.

Matsuki et al., Gaussian Splatting SLAM, CVPR 2024; muskie82/MonoGS at 6c9254c, utils/slam_utils.py,
utils/slam_backend.py, utils/camera_utils.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import gaussians, images, photometric, rand, randn, scales
from torch import Tensor

MAX_STEPS = 26_000
STEPS = (0, 1, 25_999)
GRADIENTS = (
    "rendered",
    "alpha",
    "depth",
    "gain",
    "offset",
    "state.scales",
    "window.0.rendered",
    "window.0.depth",
    "window.1.rendered",
    "window.1.gain",
    "window.2.depth",
)
MASKED = False
VARIANTS = (
    {"params": {"edge_blocks": True, "edge_ratio": 1.2, "colour_share": 0.9}},
    {"without": ("sensor", "window.0.sensor", "window.1.sensor", "window.2.sensor")},
)


def frame(g: torch.Generator, b: int = 1, h: int = 18, w: int = 16) -> dict[str, Any]:
    made: dict[str, Any] = images(g, False, b, h, w)
    made["target"][:, 2:6, 3:8] = 0.0  # a black part, and what is just not black
    made["target"][:, 7, :8] = 0.004
    made["target"][:, 12:14, :8] = 0.012
    made["depth"] = 5 * rand(g, b, h, w, 1, lo=0.1)
    made["sensor"] = 5 * rand(g, b, h, w, 1, lo=0.1) * (rand(g, b, h, w, 1) < 0.8)
    made["sensor"][:, 0, :3] = 0.005
    made["sensor"][:, 0, 3:6] = 0.012
    made["gain"] = 0.1 * randn(g, b)
    made["offset"] = 0.05 * randn(g, b)
    return made


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    # Two blocks and a rest in each direction.
    made = frame(g, 1, 70, 66)
    made["alpha"] = rand(g, 1, 70, 66, 1, lo=0.9, hi=1.0)
    made["window"] = [frame(g), frame(g), frame(g, 1, 16, 20)]
    made["state"] = gaussians(g)
    return made


def slope(target: Tensor) -> Tensor:
    """Of one image `[H, W, 3]`, without its border: `[H - 2, W - 2]`."""
    light = target.mean(-1)
    h, w = light.shape
    smooth = (3, 10, 3)
    found = torch.zeros(h - 2, w - 2, dtype=light.dtype)
    for i in range(1, h - 1):
        for j in range(1, w - 1):
            around = light[i - 1 : i + 2, j - 1 : j + 2]
            across = sum(k * (around[n, 2] - around[n, 0]) for n, k in enumerate(smooth)) / 32
            along = sum(k * (around[2, n] - around[0, n]) for n, k in enumerate(smooth)) / 32
            if bool((around > 0.01).all()):
                found[i - 1, j - 1] = torch.sqrt(across * across + along * along)
    return found


def middle(values: Tensor) -> Tensor:
    """The median, between the two middle values of an even number."""
    return torch.quantile(values, 0.5)


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    share = params.get("colour_share", 0.95) if "sensor" in x else 1.0
    target = x["target"][0]
    g = slope(target.detach())
    usual = middle(g).expand(g.shape).clone()
    if params.get("edge_blocks"):
        for i in range(0, target.shape[0], 32):
            for j in range(0, target.shape[1], 32):
                rows, columns = slice(max(i - 1, 0), i + 31), slice(max(j - 1, 0), j + 31)
                usual[rows, columns] = middle(g[rows, columns].reshape(-1))
    m = (target.sum(-1)[1:-1, 1:-1] > 0.01) & (g > params.get("edge_ratio", 1.1) * usual)

    def exposed(v: dict[str, Any]) -> Tensor:
        return (torch.exp(v["gain"]) * v["rendered"] + v["offset"] - v["target"]).abs()

    def colour(v: dict[str, Any]) -> Tensor:
        return (exposed(v) * (v["target"].sum(-1, keepdim=True) > 0.01)).mean()

    def depth(v: dict[str, Any], opaque: Tensor | bool = True) -> Tensor:
        return ((v["sensor"] - v["depth"]).abs() * ((v["sensor"] > 0.01) & opaque)).mean()

    textured = x["alpha"] * exposed(x)
    s = scales(x["state"])
    round_scales = (s - s.mean(-1, keepdim=True)).abs().mean()
    found = {
        "tracking.colour": (share, (textured[0, 1:-1, 1:-1] * m[..., None]).mean()),
        "mapping.colour": (share, torch.stack([colour(v) for v in x["window"]]).sum()),
        "mapping.isotropy": (10.0, round_scales),
        "refinement.photometric": (1.0, photometric(x["rendered"], x["target"])),
    }
    if "sensor" in x:
        found["tracking.depth"] = (1 - share, depth(x, x["alpha"] > 0.95))
        found["mapping.depth"] = (1 - share, torch.stack([depth(v) for v in x["window"]]).sum())
    return found
