"""threestudio-3dgs.

Guidance: 0.1 (1/2) sum (z - sg(z - g(z)))^2 / B, z the latents of the B renders, g the gradient that the diffusion
model returns.
Regularisers: mean ||x|| + 1e-4 sum_i sg(||s_i||) o_i + 1e-4 sum s + TV(I) + TV(N / 2) + TV(D)
(MVDream: + mean sqrt(A^2 + 0.01) + mean((N_pred - sg(N))^2)), sums over the gaussians,
TV(x) = 2 (mean of squared differences along the rows + along the columns), N the normals times alpha.

DSaurus/threestudio-3dgs at 8c2ab7b, system/gaussian_splatting.py, system/gaussian_mvdream.py; threestudio at 28d9d80,
utils/loss.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import gaussians, images, opacities, rand, randn, scales
from torch import Tensor

MAX_STEPS = 15_000
STEPS = (0, 1, 14_999)
GRADIENTS = (
    "rendered",
    "alpha",
    "depth",
    "normals",
    "predicted",
    "state.means",
    "state.scales",
    "state.opacities",
)
MASKED = False
VARIANTS = (
    {"params": {"sparsity_weight": 1, "predicted_weight": 1}},
    {"params": {"predicted_weight": 1, "guidance_weight": 1}, "without": ("predicted",)},
)


def encode(image: Tensor) -> Tensor:
    """Stands for the encoder: blocks of 4 x 4 pixels to four numbers."""
    b, h, w, _ = image.shape
    blocks = image.reshape(b, h // 4, 4, w // 4, 4, 3).mean((2, 4))
    weights = torch.tensor([[1.0, -0.5, 0.3, 0.8], [0.2, 1.1, -0.7, 0.1], [-0.4, 0.6, 0.9, -1.2]], dtype=image.dtype)
    return torch.tanh(blocks @ weights)


def guidance(latents: Tensor) -> Tensor:
    """Stands for the gradient that the diffusion model returns."""
    return 0.3 * torch.sin(3 * latents) + 0.1


EXTERNS = {"encode": encode, "guidance": guidance}


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked, 2, 16, 20)
    made["state"] = gaussians(g)
    made["alpha"] = rand(g, 2, 16, 20, 1)
    made["depth"] = 3 * rand(g, 2, 16, 20, 1, lo=0.1)
    directions = randn(g, 2, 16, 20, 3)
    made["normals"] = rand(g, 2, 16, 20, 1) * directions / directions.norm(dim=-1, keepdim=True)
    made["predicted"] = randn(g, 2, 16, 20, 3)
    return made


def tv(x: Tensor) -> Tensor:
    b, h, w, k = x.shape
    rows = ((x[:, 1:] - x[:, :-1]) ** 2).sum() / (k * (h - 1) * w)
    columns = ((x[:, :, 1:] - x[:, :, :-1]) ** 2).sum() / (k * h * (w - 1))
    return (rows + columns) / b


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    z = encode(x["rendered"])
    aim = (z - guidance(z)).detach()
    s, o = scales(x["state"]), opacities(x["state"])
    found = {
        "guidance.sds": (params.get("guidance_weight", 0.1), 0.5 * ((z - aim) ** 2).sum() / 2),
        "regularisers.position": (1.0, x["state"]["means"].norm(dim=-1).mean()),
        "regularisers.opacity": (1e-4, (s.norm(dim=-1).detach() * o).sum()),
        "regularisers.scale": (1e-4, s.sum()),
        "regularisers.colour": (2.0, tv(x["rendered"])),
        "regularisers.surface": (1.0, 2 * tv((x["normals"] + 1) / 2) + 2 * tv(x["depth"])),
    }
    if params.get("sparsity_weight"):
        found["regularisers.sparsity"] = (1.0, torch.sqrt(x["alpha"] ** 2 + 0.01).mean())
    if params.get("predicted_weight") and "predicted" in x:
        found["regularisers.predicted"] = (1.0, ((x["predicted"] - x["normals"].detach()) ** 2).mean())
    return found
