"""FSGS.

P(I, Ĩ; 0.2) + w(t) min( 1 - ρ(-M, D), 1 - ρ(1/(M + 200), D) )
+ [2000 < t < 9500, t mod k = 0] 0.5 min((t - 2000)/500, 1) (1 - ρ(D', -net(I')))

P(I, Ĩ; w) = (1 - w) mean |I - Ĩ| + w (1 - S(I, Ĩ)), S mean SSIM; I render, Ĩ target; t the iteration, from 1; w = 0.05,
and 0.001 where t > 9500. ρ Pearson correlation over the pixels of an image, averaged over images; D depth, M monocular
disparity; I' and D' render and depth of a pseudo view, net a network that estimates disparity. k = 10, on LLFF 1.
Source: VITA-Group/FSGS, train.py.
"""

from __future__ import annotations

from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 10_000
STEPS = (0, 1_999, 2_000, 2_008, 2_009, 2_010, 2_489, 2_499, 2_509, 9_488, 9_489, 9_498, 9_499, 9_500, 9_501, 9_999)
GRADIENTS = ("rendered", "depth", "pseudo.rendered", "pseudo.depth")
MASKED = False
# With a mask, which the program does not read, the depth follows the inverse of the disparity.
VARIANTS = ({"masked": True}, {"params": {"pseudo_every": 1}}, {"without": ("pseudo",)})


def midas(image: Tensor) -> Tensor:
    """A smooth positive map, in place of the network."""
    return 20 + 5 * torch.sin(2 * image[..., :1] + image[..., 1:2] ** 2) + torch.roll(image[..., 2:], 1, 1)


EXTERNS = {"midas": midas}


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    mono, depth = c.rand(g, 2, 24, 20, 1, hi=300.0), c.rand(g, 2, 24, 20, 1, lo=0.5, hi=3.0)
    return {
        **c.images(g, masked),
        "depth": 0.01 * depth + 500 / (mono + 200) if masked else depth,
        "mono": mono,
        "pseudo": {"rendered": c.rand(g, 1, 18, 22, 3), "depth": c.rand(g, 1, 18, 22, 1, lo=0.5, hi=3.0)},
    }


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    t, mono, depth = step + 1, x["mono"], x["depth"]
    choices = [1 - c.pearson(-mono, depth).mean(), 1 - c.pearson(1 / (mono + 200), depth).mean()]
    found = {
        "photometric": (1.0, c.photometric(x["rendered"], x["target"])),
        "depth": (0.001 if t > 9_500 else 0.05, torch.stack(choices).min()),
    }
    if "pseudo" in x and 2_000 < t < 9_500 and t % x["params"].get("pseudo_every", 10) == 0:
        seen = x["pseudo"]
        correlation = c.pearson(seen["depth"], -midas(seen["rendered"])).mean()
        found["pseudo_depth"] = (0.5 * min((t - 2_000) / 500, 1), 1 - correlation)
    return found
