"""VCR-GauS.

0.8 mean |I - Ĩ| + 0.2 (1 - S(I, Ĩ)) + 1 mean_box s_min + w_e mean_box H(o) + 0.01 d(N̂, Ñ)
+ 0.01 mean w (‖Nd - Ñ‖₁ + 1 - Nd · Ñ) + w_c mean ‖∇² Nd‖₁ + [t > 15000] w_n d(Nd, N̂)
+ [t > 15000] w_d mean E e + [t > 15000] w_v mean V e + 0.005 CE / ln C + w_m ( ½ mean_M (a D + b - D̃)² + ½ G )

I render, Ĩ target, S mean SSIM; t the iteration, from 1. box: gaussians with centres inside the unit box |μ| < 1; s_min
smallest scale, o opacity, H(o) = -o ln o - (1 - o) ln(1 - o). d(a, b) = mean (‖a - b‖₁ + 1 - a · b). N̂ = N/‖N‖
rendered normal, Ñ prior normal, Nd normal of the depth; w = exp((N̂ · Ñ - 1)/τ) without gradient, τ = 0.01. ∇²: the
four neighbours less four times the pixel, where they exist. E distortion, V variance of depth on each ray; e = exp(-g),
g the largest of mean_c |I(p) - I(q)| of the target over the four neighbours q of a pixel p, and e = 0 at a border of
one pixel. CE: cross-entropy of rendered scores of C classes. M: mask and D > 0; a and b, without gradient, the
least-squares fit of the depth D to its prior D̃ in M, image by image; G: mean of the absolute differences between
horizontal neighbours in M of a D + b - D̃, plus the same of vertical ones. Defaults are 0 for w_e, w_c, w_n, w_d, w_v,
w_m.
Source: HLinChen/VCR-GauS, trainer.py, tools/loss_utils.py, tools/normal_utils.py; the mask is not used there.
"""

from __future__ import annotations

import math
from typing import Any

import _common as c
import torch
from torch import Tensor
from torch.nn import functional

MAX_STEPS = 30_000
STEPS = (0, 14_999, 15_000, 15_001, 29_999)
GRADIENTS = (
    "rendered",
    "state.scales",
    "state.opacities",
    "normals",
    "normals_from_depth",
    "depth",
    "distortion",
    "depth_variance",
    "class_scores",
    "mono_normals",
)
PARAMS = {
    "entropy_weight": 0.1,
    "curvature_weight": 0.02,
    "consistent_weight": 0.05,
    "distortion_weight": 1000.0,
    "variance_weight": 0.3,
    "mono_depth_weight": 0.2,
    "temperature": 0.5,
}
OFF = dict.fromkeys(PARAMS, 0.0)
VARIANTS = (
    {"params": {**OFF, "temperature": 0.01}, "masked": True},
    {"without": ("mono_normals", "mono", "depth_variance", "labels")},
)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    depth = c.rand(g, 2, 24, 20, 1, lo=1.5, hi=3.0)
    mono = 0.7 * depth + 0.3 * c.rand(g, 2, 24, 20, 1)
    depth[:, :3, 5:9] = 0
    return {
        **c.images(g, masked),
        "state": c.gaussians(g, n=30),
        "normals": 0.8 * c.directions(g, 2, 24, 20),
        "normals_from_depth": c.directions(g, 2, 24, 20),
        "mono_normals": c.directions(g, 2, 24, 20),
        "depth": depth,
        "mono": mono,
        "distortion": c.rand(g, 2, 24, 20, 1, hi=0.1),
        "depth_variance": c.rand(g, 2, 24, 20, 1),
        "class_scores": c.randn(g, 2, 24, 20, 5),
        "labels": torch.randint(0, 5, (2, 24, 20, 1), generator=g).double(),
    }


def disagreement(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().sum(-1) + 1 - (a * b).sum(-1)


def evenness(target: Tensor) -> Tensor:
    """e of the docstring, ``[B, H, W, 1]``."""
    middle = target[:, 1:-1, 1:-1]
    around = (target[:, 1:-1, :-2], target[:, 1:-1, 2:], target[:, :-2, 1:-1], target[:, 2:, 1:-1])
    largest = torch.stack([(middle - q).abs().mean(-1) for q in around]).amax(0)
    return functional.pad(torch.exp(-largest), (1, 1, 1, 1))[..., None]


def depth_loss(d: Tensor, mono: Tensor, mask: Tensor) -> Tensor:
    errors, squares, across, along = [], [], [], []
    for i in range(d.shape[0]):
        keep = (mask[i] > 0.5) & (d[i].detach() > 0)
        system = torch.stack([d[i][keep].detach(), torch.ones_like(d[i][keep])], -1)
        fit = torch.linalg.lstsq(system, mono[i][keep][:, None]).solution.detach()
        errors.append((fit[0] * d[i] + fit[1] - mono[i], keep))
    for error, keep in errors:
        squares.append(error[keep] ** 2)
        across.append((error[:, 1:] - error[:, :-1]).abs()[keep[:, 1:] & keep[:, :-1]])
        along.append((error[1:] - error[:-1]).abs()[keep[1:] & keep[:-1]])
    return 0.5 * torch.cat(squares).mean() + 0.5 * (torch.cat(across).mean() + torch.cat(along).mean())


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    given, late = x["params"], step + 1 > 15_000
    inside = x["state"]["means"].abs().amax(-1) < 1
    assert 0 < int(inside.sum()) < 30
    hat, behind = c.unit(x["normals"]), x["normals_from_depth"]
    found = {
        "l1": (0.8, c.l1(x["rendered"], x["target"])),
        "ssim": (0.2, 1 - c.ssim(x["rendered"], x["target"])[1]),
        "flat": (1.0, c.scales(x["state"]).amin(-1)[inside].mean()),
        "entropy": (given["entropy_weight"], c.binary_entropy(c.opacities(x["state"])[inside]).mean()),
    }
    around = behind[:, 1:-1, 2:] + behind[:, 1:-1, :-2] + behind[:, 2:, 1:-1] + behind[:, :-2, 1:-1]
    found["curvature"] = (given["curvature_weight"], (around - 4 * behind[:, 1:-1, 1:-1]).abs().sum(-1).mean())
    if "mono_normals" in x:
        prior = x["mono_normals"]
        with torch.no_grad():
            trust = torch.exp(((hat * prior).sum(-1) - 1) / given["temperature"])
        found["mono_normal"] = (0.01, disagreement(hat, prior).mean())
        found["depth_normal"] = (0.01, (trust * disagreement(behind, prior)).mean())
    if late:
        even = evenness(x["target"])
        found["consistent"] = (given["consistent_weight"], disagreement(behind, hat).mean())
        found["distortion"] = (given["distortion_weight"], (x["distortion"] * even).mean())
        if "depth_variance" in x:
            found["variance"] = (given["variance_weight"], (x["depth_variance"] * even).mean())
    if "labels" in x:
        scores, labels = x["class_scores"].reshape(-1, 5), x["labels"].reshape(-1).long()
        chosen = scores[torch.arange(len(labels)), labels] - torch.logsumexp(scores, -1)
        found["semantic"] = (0.005 / math.log(5), -chosen.mean())
    if "mono" in x and given["mono_depth_weight"]:
        found["mono_depth"] = (given["mono_depth_weight"], depth_loss(x["depth"], x["mono"], c.mask_of(x)))
    return {name: (weight, value) for name, (weight, value) in found.items() if weight != 0}
