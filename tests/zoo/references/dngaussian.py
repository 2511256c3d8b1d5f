"""DNGaussian.

hard: Q(D₁) + [t > 3000] 0.1 E(D₁)
soft: [t > 1000] ( Q(D₂) if h < τ else 0 ) + [t > 3000] 0.1 E(D₂)
backdrop: mean_B A²
colour: mean |I - Ĩ| + 0.2 (1 - S(I, Ĩ)) + 0.002 mean s_max/s_min + 0.001 mean s_max²
        + 0.001 (1 - mean_{o > 0.2} o² + mean_{o <= 0.2} o²)

t the iteration, from 1. I render, Ĩ target, S mean SSIM; D₁ depth of a render with opacities of 0.95, D₂ and A depth
and alpha of one where only opacities have gradient; D̃ monocular depth; s_max, s_min largest and smallest scale, o
opacity of a gaussian; B dark background. h is a running mean of Q(D₁), h_t = 0.9 h_{t-1} + 0.1 Q(D₁) from 0; the limit
τ is never reached but on DTU, where it is 0.1.

Q(D) = 0.1 R(l(D) - l(D̃)) + 1 R(m(D) - m(D̃)), R(e) the mean of e² over the pixels with |e| > 2.5e-4. With the mean μ and
variance v of the p × p patch that a pixel is in, and the standard deviation σ of the image,
l(D) = (D - μ)/(√v + 0.01 σ + 1e-6) and m(D) = (D - μ)/σ, σ without gradient; p is drawn for each of the two. Patches
begin at the top left; the last ones can be smaller. Variances divide by the number of values.

E(D) = ( Σ |∂x D| e_x + Σ |∂y D| e_y ) / ( Σ e_x + Σ e_y ), e_x = exp(-mean_c |∂x Ĩ|), e_y the same along y, ∂ the next
pixel less this one.
Source: Fictionarry/DNGaussian, train_llff.py, train_dtu.py, utils/loss_utils.py, where the last mean is of (1 - o)².
"""

from __future__ import annotations

import math
from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 6_000
STEPS = (0, 1, 999, 1_000, 1_001, 2_999, 3_000, 3_001, 5_999)
GRADIENTS = (
    "rendered",
    "hard.depth",
    "soft.depth",
    "soft.alpha",
    "state.scales",
    "state.opacities",
)
MASKED = False
VARIANTS = (
    {"params": {"hard_converged": 1.14, "ssim_weight": 0.6, "margin": 0.2}},
    {"without": ("backdrop",)},
)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    def depth() -> Tensor:
        return c.rand(g, 2, 24, 20, 1, lo=0.5, hi=3.0)

    backdrop = torch.zeros(2, 24, 20, dtype=torch.float64)
    backdrop[:, 15:, 3:14] = 1
    return {
        **c.images(g, masked),
        "mono": depth(),
        "hard": {"depth": depth()},
        "soft": {"depth": depth(), "alpha": c.rand(g, 2, 24, 20, 1)},
        "local_size": 7,
        "global_size": 9,
        "backdrop": backdrop,
        "state": c.gaussians(g, n=20),
    }


def normalised(d: Tensor, p: int, local: bool) -> Tensor:
    images = []
    for image in d[..., 0]:
        sigma = torch.std(image, correction=0)
        rows = []
        for top in range(0, image.shape[0], p):
            row = []
            for left in range(0, image.shape[1], p):
                patch = image[top : top + p, left : left + p]
                centred = patch - patch.mean()
                scale = torch.std(patch, correction=0) + 1e-2 * sigma + 1e-6 if local else sigma.detach()
                row.append(centred / scale)
            rows.append(torch.cat(row, 1))
        images.append(torch.cat(rows, 0))
    return torch.stack(images)


def patch_loss(x: dict[str, Any], d: Tensor, margin: float) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for weight, p, local in ((0.1, x["local_size"], True), (1.0, x["global_size"], False)):
        error = normalised(d, p, local) - normalised(x["mono"], p, local)
        total = total + weight * (error[error.abs() > margin] ** 2).mean()
    return total


def smoothness(x: dict[str, Any], d: Tensor) -> Tensor:
    t = x["target"]
    calm_x = torch.exp(-(t[:, :, 1:] - t[:, :, :-1]).abs().mean(-1))
    calm_y = torch.exp(-(t[:, 1:] - t[:, :-1]).abs().mean(-1))
    d = d[..., 0]
    total = ((d[:, :, 1:] - d[:, :, :-1]).abs() * calm_x).sum() + ((d[:, 1:] - d[:, :-1]).abs() * calm_y).sum()
    return total / (calm_x.sum() + calm_y.sum())


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    t = step + 1
    given = {"hard_converged": math.inf, "ssim_weight": 0.2, "margin": 2.5e-4, **x["params"]}
    hard = patch_loss(x, x["hard"]["depth"], given["margin"])
    memory["hard"] = 0.9 * memory.get("hard", 0.0) + 0.1 * float(hard.detach())
    found = {"hard.patches": (1.0, hard)}
    if t > 3_000:
        found["hard.smooth"] = (0.1, smoothness(x, x["hard"]["depth"]))
    if t > 1_000:
        soft = patch_loss(x, x["soft"]["depth"], given["margin"])
        found["soft.patches"] = (1.0, soft if memory["hard"] < given["hard_converged"] else 0 * soft)
    if t > 3_000:
        found["soft.smooth"] = (0.1, smoothness(x, x["soft"]["depth"]))
    if "backdrop" in x:
        found["backdrop.empty"] = (1.0, (x["soft"]["alpha"][x["backdrop"] > 0.5] ** 2).mean())
    s, o = c.scales(x["state"]), c.opacities(x["state"])
    image = c.l1(x["rendered"], x["target"])
    found["colour.photometric"] = (1.0, image + given["ssim_weight"] * (1 - c.ssim(x["rendered"], x["target"])[1]))
    found["colour.shape"] = (0.002, (s.amax(-1) / s.amin(-1)).mean())
    found["colour.size"] = (0.001, (s.amax(-1) ** 2).mean())
    found["colour.opacity"] = (0.001, 1 - (o[o > 0.2] ** 2).mean() + (o[o <= 0.2] ** 2).mean())
    return found
