"""SparseGS.

P(I, Ĩ; 0.2) + [not c] 0.05 (1 - ρ(D, D̃)) + [not c] 0.15 mean_b (1 - ρ_b(D, D̃))
+ [t > 2T/3, Bernoulli 0.1] 0.001 · ½ Σ (z - sg(z - g(z)))² + [c] 0.1 ( 0.8 mean_M |I_w - Ĩ_w| + 0.2 (1 - S(I_w, Ĩ_w)) )

P(I, Ĩ; w) = (1 - w) mean |I - Ĩ| + w (1 - S(I, Ĩ)), S mean SSIM; I render, Ĩ target; t the iteration, from 1, of T =
30000. c: t > 4999 and Bernoulli 0.4. ρ Pearson correlation over the pixels of an image, ρ_b over a box; D depth with
softmax weights, D̃ monocular depth; b runs over ⌊0.5 ⌊H/128⌋ ⌊W/128⌋⌋ boxes (one at least) of 128 × 128 pixels at
random places, the same in all images. z = latents of the render of a random camera, g(z) what a diffusion model would
change, sg without gradient. I_w render of a moved camera, Ĩ_w training image warped into it, M where that has content.
Random numbers of the language: places 0 to 2 of the program are c, the boxes and the choice of the third term; box i
begins at row ⌊u_{2i} (H - 127)⌋ and column ⌊u_{2i+1} (W - 127)⌋.
Source: ForMyCat/SparseGS, train.py, utils/loss_utils.py, guidance/sd_utils.py.
"""

from __future__ import annotations

import math
from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 30_000
# Around the two starts; before and after each a step at which its choice is yes, and one where it is no.
STEPS = (0, 4_995, 4_998, 4_999, 5_000, 19_997, 19_999, 20_000, 20_007)
GRADIENTS = ("rendered", "softmax_depth", "orbit.rendered", "warped.rendered")
MASKED = False

H, W = 256, 260


def encode(image: Tensor) -> Tensor:
    """A smooth map to four channels at half size, in place of the network."""
    half = image[:, ::2, ::2]
    return torch.cat([torch.sin(3 * half), half.sum(-1, keepdim=True) ** 2], -1)


def guidance(latents: Tensor) -> Tensor:
    """What a diffusion model would change."""
    return 0.3 * torch.cos(2 * latents) + 0.1


EXTERNS = {"encode": encode, "guidance": guidance}


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    mask = (c.rand(g, 1, 20, 24) > 0.4).double()
    return {
        **c.images(g, masked, b=1, h=H, w=W),
        "softmax_depth": c.rand(g, 1, H, W, 1, lo=0.5, hi=3.0),
        "mono": c.rand(g, 1, H, W, 1, lo=0.5, hi=3.0),
        "orbit": {"rendered": c.rand(g, 1, 16, 12, 3)},
        "warped": {**c.images(g, False, b=1, h=20, w=24), "mask": mask},
    }


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    t = step + 1
    on_warp = t > 4_999 and c.chance(step, 0.4, 0)
    found = {"photometric": (1.0, c.photometric_of_large(x["rendered"], x["target"]))}
    d, mono = x["softmax_depth"], x["mono"]
    if not on_warp:
        found["depth"] = (0.05, 1 - c.pearson(d, mono).mean())
        count = max(1, math.floor(0.5 * (H // 128) * (W // 128)))
        numbers = c.tensor_uniform((2 * count,), step, 1)
        local = []
        for i in range(count):
            top = math.floor(float(numbers[2 * i]) * (H - 127))
            left = math.floor(float(numbers[2 * i + 1]) * (W - 127))
            box = (slice(None), slice(top, top + 128), slice(left, left + 128))
            local.append(1 - c.pearson(d[box], mono[box]).mean())
        found["local_depth"] = (0.15, torch.stack(local).mean())
    if "orbit" in x and t > 2 * max_steps / 3 and c.chance(step, 0.1, 2):
        latents = encode(x["orbit"]["rendered"])
        target = (latents - guidance(latents)).detach()
        found["guidance"] = (0.001 * 0.5, ((latents - target) ** 2).sum())
    if "warped" in x and on_warp:
        image, truth = x["warped"]["rendered"], x["warped"]["target"]
        masked = (image - truth).abs()[x["warped"]["mask"] > 0.5].mean()
        found["warped"] = (0.1, 0.8 * masked + 0.2 * (1 - c.ssim(image, truth)[1]))
    return found
