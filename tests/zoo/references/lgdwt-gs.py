"""LGDWT-GS.

P + κ_t W + 0.1 Σ_{X in LH, HL, HH} mean_Q |X(I) - X(Ĩ)|

P = (1 - w) mean |I - Ĩ| + w (1 - S(I, Ĩ)), w = 0.2, S mean SSIM; I render, Ĩ target. LL, LH, HL, HH: one level of the
orthonormal Haar transform: of each 2 × 2 pixels (a b; c d) their sum, c + d - a - b, b + d - a - c and a + d - b - c,
each over 2. W = Σ_{X in LL, LH, HL} mean |X(I) - X(Ĩ)|. κ_t is ratio_t cut to 0.1 .. 10, without gradient, with
ratio_t = 0.95 ratio_{t-1} + 0.05 P / (W + 1e-8), ratio_0 = 1. Q: pixels of the transform whose patch of 64 × 64 (128 of
the image) is as smooth as the upper 20 percent of them, by the 0.8-quantile over its pixels; a patch's smoothness is
the mean of Σ_c |LL| / Σ_c (|LL| + |LH| + |HL| + |HH|) of the target.
Source: Advanced-Vision-and-Learning-Lab/sparse-view-3dgs-pack, LGDWT-GS, train.py and utils/loss_utils.py.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor
from torch.nn import functional

MAX_STEPS = 30_000
STEPS = (0, 1, 29_999)
GRADIENTS = ("rendered",)
MASKED = False


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made = c.images(g, masked, b=1, h=256, w=256)
    # Patches of different smoothness.
    for row in range(2):
        for column in range(2):
            patch = (0, slice(128 * row, 128 * row + 128), slice(128 * column, 128 * column + 128))
            made["target"][patch] = 0.5 + (0.1 + 0.15 * row + 0.05 * column) * (made["target"][patch] - 0.5)
    return made


def bands(x: Tensor) -> dict[str, Tensor]:
    """Four images ``[B, H/2, W/2, 3]`` by strided convolutions with 2 × 2 kernels."""
    kernels = {"ll": (1, 1, 1, 1), "lh": (-1, -1, 1, 1), "hl": (-1, 1, -1, 1), "hh": (1, -1, -1, 1)}
    found = {}
    for name, taps in kernels.items():
        kernel = torch.tensor(taps, dtype=x.dtype).reshape(1, 1, 2, 2).expand(3, 1, 2, 2) / 2
        found[name] = functional.conv2d(x.permute(0, 3, 1, 2), kernel, stride=2, groups=3).permute(0, 2, 3, 1)
    return found


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    base = c.photometric_of_large(x["rendered"], x["target"])
    r, t = bands(x["rendered"]), bands(x["target"])
    wavelet = torch.stack([c.l1(r[name], t[name]) for name in ("ll", "lh", "hl")]).sum()
    ratio = 0.95 * memory.get("ratio", 1.0) + 0.05 * float(base.detach() / (wavelet.detach() + 1e-8))
    memory["ratio"] = ratio
    sums = {name: t[name].abs().sum(-1) for name in t}
    low = sums["ll"] / (sums["ll"] + sums["lh"] + sums["hl"] + sums["hh"])
    patches = functional.avg_pool2d(low[:, None], 64)[0, 0]
    spread = patches.repeat_interleave(64, 0).repeat_interleave(64, 1)
    limit = torch.quantile(patches.flatten().repeat_interleave(64 * 64), 0.8)
    smooth = spread >= limit
    assert 0 < int((patches >= limit).sum()) < 4
    fine = [(r[name] - t[name]).abs()[0][smooth].mean() for name in ("lh", "hl", "hh")]
    return {
        "photometric": (1.0, base),
        "wavelet": (1.0, min(max(ratio, 0.1), 10.0) * wavelet),
        "patches": (0.1, torch.stack(fine).sum()),
    }
