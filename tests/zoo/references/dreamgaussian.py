"""DreamGaussian, stage 1.

With an image: 10000 r mean((I - Ĩ)^2) + 1000 r mean((A - M)^2) + G_zero123, M its silhouette, r = t / T, t from 1, or 1
without warm-up. With a text: G_sd, weight 1 (0 here).
G = 1/2 sum (z - sg(z - g(z)))^2, z the latents of a render from a random camera, g what the diffusion model returns as
their gradient.

Tang et al., DreamGaussian, ICLR 2024; dreamgaussian/dreamgaussian at 69a3c70, main.py, guidance/.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, rand
from torch import Tensor

MAX_STEPS = 500
STEPS = (0, 1, 249, 498, 499)
GRADIENTS = ("rendered", "alpha", "orbit.rendered")
MASKED = False
VARIANTS = (
    {"without": ("orbit",), "params": {"warm_up": False}},
    {"without": ("silhouette",), "params": {"text_weight": 1}},
    {"params": {"text_weight": 0.1, "image_weight": 5_000, "zero123_weight": 2}},
)


def encode(image: Tensor) -> Tensor:
    """Stands for the encoder: blocks of 4 x 4 pixels to four numbers."""
    b, h, w, _ = image.shape
    blocks = image.reshape(b, h // 4, 4, w // 4, 4, 3).mean((2, 4))
    weights = torch.tensor([[1.0, -0.5, 0.3, 0.8], [0.2, 1.1, -0.7, 0.1], [-0.4, 0.6, 0.9, -1.2]], dtype=image.dtype)
    return torch.tanh(blocks @ weights)


def zero123(latents: Tensor) -> Tensor:
    """Stands for the gradient that one diffusion model returns."""
    return 0.3 * torch.sin(3 * latents) + 0.1


def stable_diffusion(latents: Tensor) -> Tensor:
    """Stands for that of another."""
    return 0.2 * torch.cos(2 * latents) - 0.05


EXTERNS = {"encode": encode, "zero123": zero123, "stable_diffusion": stable_diffusion}


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked, 1)
    made["alpha"] = rand(g, 1, 24, 20, 1)
    made["silhouette"] = (rand(g, 1, 24, 20, 1) < 0.6).double()
    made["orbit"] = {"rendered": rand(g, 2, 16, 16, 3)}
    return made


def guided(z: Tensor, gradient: Tensor) -> Tensor:
    aim = (z - gradient).detach()
    return ((z - aim) ** 2).sum()


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    r = (step + 1) / max_steps if params.get("warm_up", True) else 1.0
    found = {}
    if "silhouette" in x:
        found["reference"] = (params.get("image_weight", 10_000) * r, ((x["rendered"] - x["target"]) ** 2).mean())
        found["silhouette"] = (1_000 * r, ((x["alpha"] - x["silhouette"]) ** 2).mean())
    if "orbit" in x:
        z = encode(x["orbit"]["rendered"])
        if "silhouette" in x:
            found["guidance"] = (0.5 * params.get("zero123_weight", 1), guided(z, zero123(z)))
        if params.get("text_weight"):
            found["text"] = (0.5 * params["text_weight"], guided(z, stable_diffusion(z)))
    return found
