"""PGSR.

0.8 L + 0.2 (1 - S(I, Ĩ)) + 100 mean_visible s_min
+ [t > 7000] 0.015 mean ( (1 - ḡ)² ‖N - A' Nd‖₁ )
+ [t > 7000] 0.03 mean_Ω ω φ + [t > 7000] 0.15 mean_K ω (1 - ρ)

L = mean |I* - Ĩ| with I* = exp(a) I + b if t > 1000 and S(I, Ĩ) > 0.5, a and b learned for each image, else
L = mean |I - Ĩ|. I render, Ĩ target, S mean SSIM; t the iteration, from 1; s_min smallest scale of a gaussian; N
rendered normal, A' accumulated alpha without gradient, Nd normal of the depth. ḡ: the larger of
mean_c |Ĩ(x+1) - Ĩ(x-1)| and mean_c |Ĩ(y+1) - Ĩ(y-1)|, brought to 0..1 by its least and largest in the image, and 1 at a
border of one pixel.
φ: distance in pixels of a pixel from its image after projection into the neighbour view, at that view's depth there,
and back; Ω: where the neighbour sees it and φ < 1; ω = exp(-φ) without gradient. ρ: correlation of the grey patches
around a pixel in both photographs under the homography of its plane; K: tested pixels of Ω with 1 - ρ < 0.9. Means over
an empty set are 0. Here φ, ρ and where they exist are given by smooth functions of depth and normals.
Source: zju3dv/PGSR, train.py and utils/loss_utils.py, but for ρ, whose square stands there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import _common as c
import torch
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 999, 1_000, 1_001, 6_999, 7_000, 7_001, 29_999)
GRADIENTS = (
    "rendered",
    "state.scales",
    "alpha",
    "normals",
    "normals_from_depth",
    "depth",
    "near.depth",
    "exposure_gain",
    "exposure_offset",
)
MASKED = False
# With a mask, which the program does not read, the render is unlike the target.
VARIANTS = ({"masked": True}, {"without": ("near",)}, {"without": ("near.target", "exposure_gain")})


def reproject(depth: Tensor, other: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """In place of the geometry: an error around 1 pixel, and where it is known."""
    error = 1.2 * torch.sin(4 * depth - 3 * other["depth"]) ** 2
    return error, (depth < 2.7).double()


def plane_ncc(normals: Tensor, depth: Tensor, other: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """In place of the patches: a correlation of both signs, and the pixels that are tested."""
    ncc = torch.cos(2 * normals[..., :1] + depth - other["depth"])
    return ncc, (other["depth"] > 1.8).double()


EXTERNS = {"reproject": reproject, "plane_ncc": plane_ncc}


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    visible = torch.ones(7, dtype=torch.float64)
    visible[[1, 4]] = 0
    made = c.images(g, masked)
    likeness = 0.0 if masked else 0.75
    made["rendered"] = likeness * made["target"] + (1 - likeness) * c.rand(g, 2, 24, 20, 3)
    return {
        **made,
        "state": c.gaussians(g),
        "visible": visible,
        "alpha": c.rand(g, 2, 24, 20, 1),
        "normals": 0.8 * c.directions(g, 2, 24, 20),
        "normals_from_depth": c.directions(g, 2, 24, 20),
        "depth": c.rand(g, 2, 24, 20, 1, lo=1.5, hi=3.0),
        "near": {"depth": c.rand(g, 2, 24, 20, 1, lo=1.5, hi=3.0), "target": c.rand(g, 2, 24, 20, 3)},
        "exposure_gain": 0.1 * c.randn(g, 2),
        "exposure_offset": 0.1 * c.randn(g, 2),
    }


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    iteration, i, t = step + 1, x["rendered"], x["target"]
    similarity = c.ssim(i, t)[1]
    assert not 0.45 < float(similarity.detach()) < 0.55
    colour = c.l1(i, t)
    if "exposure_gain" in x and iteration > 1_000 and float(similarity.detach()) > 0.5:
        exposed = [torch.exp(a) * one + b for a, b, one in zip(x["exposure_gain"], x["exposure_offset"], i)]
        colour = c.l1(torch.stack(exposed), t)
    smallest = c.scales(x["state"]).amin(-1)
    found = {
        "photometric": (1.0, 0.8 * colour + 0.2 * (1 - similarity)),
        "scale": (100.0, smallest[x["visible"] > 0.5].mean()),
    }
    if iteration <= 7_000:
        return found
    weights = torch.zeros(2, 24, 20, dtype=torch.float64)
    for b in range(2):
        across = (t[b, 1:-1, 2:] - t[b, 1:-1, :-2]).abs().mean(-1)
        along = (t[b, 2:, 1:-1] - t[b, :-2, 1:-1]).abs().mean(-1)
        slope = torch.where(across > along, across, along)
        slope = (slope - slope.min()) / (slope.max() - slope.min())
        weights[b, 1:-1, 1:-1] = (1 - slope) ** 2
    difference = x["normals"] - x["alpha"].detach() * x["normals_from_depth"]
    found["normals"] = (0.015, (weights * difference.abs().sum(-1)).mean())
    if "near" not in x:
        return found
    error, seen = reproject(x["depth"], x["near"])
    both = (seen > 0.5) & (error < 1)
    trust = torch.exp(-error.detach())
    found["reprojection"] = (0.03, (trust * error)[both].mean())
    if "target" in x["near"]:
        ncc, tested = plane_ncc(x["normals"], x["depth"], x["near"])
        kept = both & (tested > 0.5) & (1 - ncc < 0.9)
        found["ncc"] = (0.15, (trust * (1 - ncc))[kept].mean())
    return found
