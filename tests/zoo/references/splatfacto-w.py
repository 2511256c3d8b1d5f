"""splatfacto-w.

P(K I, K Ĩ; 0.2), SSIM with "valid" padding, means over all pixels. K = M, the mask of the data, before t = 6,000 (from
0); after it K = M R. e = mean over the colours of |M I - M Ĩ|, set to 0 in the upper floor(0.4 H) rows; E = mean e.
E_min is the least E since t = 6,000, E_max the largest, or since the last t that 6,000 divides. R = [e <= the
(1 - q)-quantile of e] or [its mean over 5 x 5 pixels > 0.4], q = 0.4 (E - E_min) / (E_max - E_min + 1e-6).
+ 0.15 mean of A over Q, Q = [mean over 3 x 3 pixels of [mean over the colours of |M Ĩ - background| < 0.003] > 0.6].
+ [t mod 10 = 0] 0.1 mean relu(s_max / s_min - 10).
+ 0.01 mean ||shift|| + 0.001 mean ||turn||, over the corrections of the cameras.
R has no gradient; boxes at the border are over the pixels inside the image.

Xu et al., Splatfacto-W, 2024; KevinXu02/splatfacto-w at 119a3bf, splatfactow/splatfactow_model.py.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from _common import gaussians, images, mask_of, photometric, rand, randn, scales
from torch import Tensor

MAX_STEPS = 65_000
STEPS = (0, 1, 9, 10, 11, 5_999, 6_000, 6_001, 6_010, 11_999, 12_000, 12_001, 12_010)
GRADIENTS = ("rendered", "alpha", "state.scales", "pose_shift", "pose_turn")
VARIANTS = (
    {"params": {"use_scale_ratio": False, "ssim_weight": 0.5}},
    {"params": {"never_masked": 0.0}, "masked": True},
)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked)
    made["alpha"] = rand(g, 2, 24, 20, 1)
    # Much of the image is like the background, but for single pixels.
    near = made["target"] + 0.005 * rand(g, 2, 24, 20, 3)
    unlike = (rand(g, 2, 24, 20, 1) < 0.15).double()
    made["background"] = near * (1 - unlike) + rand(g, 2, 24, 20, 3) * unlike
    made["background"][:, 14:] = rand(g, 2, 10, 20, 3)
    made["state"] = gaussians(g)
    made["pose_shift"] = randn(g, 4, 3)
    made["pose_turn"] = randn(g, 4, 3)
    return made


def box(x: Tensor, px: int) -> Tensor:
    b, h, w, _ = x.shape
    found = torch.empty_like(x)
    for n in range(b):
        for i in range(h):
            for j in range(w):
                found[n, i, j] = x[n, max(i - px, 0) : i + px + 1, max(j - px, 0) : j + px + 1].mean()
    return found


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    keep = mask_of(x)
    rendered, target = keep * x["rendered"], keep * x["target"]
    w = params.get("ssim_weight", 0.2)
    found: dict[str, tuple[float, Tensor]] = {}
    if step < 6_000:
        found["photometric"] = (1.0, photometric(rendered, target, w, "valid"))
    else:
        e = (rendered.detach() - target).abs().mean(-1, keepdim=True)
        e[:, : math.floor(params.get("never_masked", 0.4) * e.shape[1])] = 0.0
        mean = float(e.mean())
        memory["min"] = min(memory.get("min", math.inf), mean)
        memory["max"] = mean if step % 6_000 == 0 else max(memory.get("max", 0.0), mean)
        q = 0.4 * (mean - memory["min"]) / (memory["max"] - memory["min"] + 1e-6)
        inlier = torch.stack([(one <= torch.quantile(one, 1 - q)).double() for one in e])
        r = ((inlier + (box(inlier, 2) > 0.4).double()) > 0).double()
        found["robust"] = (1.0, photometric(r * rendered, r * target, w, "valid"))
    like = ((target - x["background"]).abs().mean(-1, keepdim=True) < 0.003).double()
    sky = box(like, 1) > 0.6
    found["empty_sky"] = (0.15, x["alpha"][sky].mean())
    if step % 10 == 0 and params.get("use_scale_ratio", True):
        s = scales(x["state"])
        found["scale_ratio"] = (0.1, torch.relu(s.max(-1).values / s.min(-1).values - 10).mean())
    shift, turn = x["pose_shift"].norm(dim=-1).mean(), x["pose_turn"].norm(dim=-1).mean()
    found["poses"] = (1.0, 0.01 * shift + 0.001 * turn)
    return found
