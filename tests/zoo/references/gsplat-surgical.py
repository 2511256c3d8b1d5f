"""L = 0.8 L1 + 0.2 (1 - S(M I, M Ĩ)) + 1.0 Ld + 1e-3 TV(I) + 1e-4 Σ_xy,xz,yz B(p)
+ 1e-4 Σ_xt,yt,zt B(p) + 1e-4 Σ_xt,yt,zt mean|1 - p|, at every step.

M = 1 on tissue. L1 = mean of |I - Ĩ| over the pixels with M = 1; S is the mean SSIM over the image without a border of
5 pixels: 11 x 11 gaussian window, σ = 1.5, C1 = 0.01², C2 = 0.03², each channel alone.
Ld, binocular: mean of |1/D - 1/D̃| over the pixels with M = 1 where both depths are > 0; monocular: 1 - ρ(D, D̃) over
the pixels with M = 1, ρ the Pearson correlation of an image.
TV = (Σ|I(y+1, x) - I(y, x)| + Σ|I(y, x+1) - I(y, x)|) / (3 H W) per image, unmasked.
B(p) = mean of (p(y+1) - 2 p(y) + p(y-1))², along the first axis of a plane p of the HexPlane, which is time in xt, yt,
zt.

nerfstudio-project/gsplat at 90d7b4b, examples/dynamic_surgical_trainer.py, gsplat/losses.py, gsplat/regularizers.py and
gsplat/contrib/dynamic/regulation.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, mask_of, masked_mean, pearson, rand, ssim
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 29_999)
GRADIENTS = ("rendered", "depth", "spatial_planes.0", "spatial_planes.2", "temporal_planes.1")
VARIANTS = (
    {"params": {"depth_mode": "monocular"}, "masked": True},
    {"params": {"depth_mode": "monocular"}},
    {"without": ("stereo",)},
)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two images with depths, of which a tenth is missing on either side, and planes of two resolutions."""
    x: dict[str, Any] = images(g, masked)
    for name in ("depth", "stereo"):
        d = rand(g, 2, 24, 20, 1, lo=0.5, hi=6.0)
        x[name] = torch.where(rand(g, 2, 24, 20, 1) < 0.1, torch.zeros_like(d), d)
    x["mono"] = rand(g, 2, 24, 20, 1) + 0.1 * x["depth"]
    x["spatial_planes"] = [rand(g, 4, 6, 5), rand(g, 4, 3, 7), rand(g, 4, 12, 10)]
    x["temporal_planes"] = [rand(g, 4, 5, 6), rand(g, 4, 5, 12)]
    return x


def bent(p: Tensor) -> Tensor:
    """Mean squared second difference along the axis before the last."""
    rows = [p[:, i + 1] - 2 * p[:, i] + p[:, i - 1] for i in range(1, p.shape[1] - 1)]
    return torch.stack(rows).pow(2).mean()


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """The same at every step."""
    a, b, m = x["rendered"], x["target"], mask_of(x)
    steps = (a[:, 1:] - a[:, :-1]).abs().sum() + (a[:, :, 1:] - a[:, :, :-1]).abs().sum()
    found = {
        "l1": (0.8, masked_mean((a - b).abs(), m)),
        "ssim": (0.2, 1 - ssim(a * m, b * m, "valid")[1]),
        "smooth": (1e-3, steps / a.numel()),
        "spatial": (1e-4, torch.stack([bent(p) for p in x["spatial_planes"]]).sum()),
        "temporal": (1e-4, torch.stack([bent(p) for p in x["temporal_planes"]]).sum()),
        "still": (1e-4, torch.stack([(1 - p).abs().mean() for p in x["temporal_planes"]]).sum()),
    }
    if x["params"].get("depth_mode") == "monocular":
        found["mono"] = (1.0, (1 - pearson(x["depth"], x["mono"], m)).mean())
    elif "stereo" in x:
        both = (x["depth"] > 0) & (x["stereo"] > 0) & (m > 0)
        found["stereo"] = (1.0, (1 / x["depth"][both] - 1 / x["stereo"][both]).abs().mean())
    return found
