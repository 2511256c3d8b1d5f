"""DreamGaussian, stage 2, the texture of a mesh.

mean((v I - v Ĩ)^2) + mean((I' - sg(refine(I', n)))^2), v = [A > 0 and the cosine between surface and view > 0.5],
without gradient, the means over all pixels; I' a render from a random camera, n = 0.8 + 0.15 t / T, t from 1, the
strength of the noise from which a diffusion model refines it.

Tang et al., DreamGaussian, ICLR 2024; dreamgaussian/dreamgaussian at 69a3c70, main2.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, rand
from torch import Tensor

MAX_STEPS = 50
STEPS = (0, 1, 24, 48, 49)
GRADIENTS = ("rendered", "orbit.rendered")
MASKED = False
VARIANTS = ({"without": ("orbit",)}, {"params": {"reference_weight": 0.5, "refine_weight": 2}})


def refine(image: Tensor, strength: Tensor | float) -> Tensor:
    """Stands for the diffusion model: more contrast."""
    return 1 / (1 + torch.exp(-8 * strength * (image - 0.5)))


EXTERNS = {"refine": refine}


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked, 1)
    made["alpha"] = torch.relu(rand(g, 1, 24, 20, 1, lo=-0.5))
    made["facing"] = rand(g, 1, 24, 20, 1, lo=-1)
    made["orbit"] = {"rendered": rand(g, 2, 18, 16, 3)}
    return made


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    v = ((x["alpha"] > 0) & (x["facing"] > 0.5)).double()
    found = {
        "reference": (params.get("reference_weight", 1), ((v * x["rendered"] - v * x["target"]) ** 2).mean()),
    }
    if "orbit" in x:
        image = x["orbit"]["rendered"]
        refined = refine(image, 0.8 + 0.15 * (step + 1) / max_steps).detach()
        found["refined"] = (params.get("refine_weight", 1), ((image - refined) ** 2).mean())
    return found
