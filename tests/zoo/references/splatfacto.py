"""L = P(M I, M Ĩ'; 0.2) + [t mod 10 = 0] 0.1 mean(max(r, 10) - 10) + 0.01 mean(o) + 0.01 mean(s) + C + 10 TV(grids).

The second term with use_scale_reg, the third and fourth with mcmc, the others where the model has the parameters.
Ĩ' = (1 - Ã) bg + Ã Ĩ for a target with alpha Ã: laid over the background of the render. Means over all pixels; P =
0.8 mean|·| + 0.2 (1 - S), S the mean SSIM over the image without a border of 5 pixels: 11 x 11 gaussian window,
σ = 1.5, C1 = 0.01², C2 = 0.03², each channel alone. r = max_j s_j / min_j s_j of a gaussian.
C = 0.01 mean‖Δtranslation‖ + 0.001 mean‖Δrotation‖ over the cameras. TV: over the three axes of the bilateral grids,
the sum of the mean squared differences of neighbours. t counts from 0.

nerfstudio-project/nerfstudio at 50e0e3c, nerfstudio/models/splatfacto.py and nerfstudio/cameras/camera_optimizers.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import gaussians, images, mask_of, opacities, photometric, rand, randn, scales, total_variation
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 1, 9, 10, 11, 29_990, 29_999)
GRADIENTS = ("rendered", "state.opacities", "state.scales", "camera_shift", "camera_turn", "grids")
ALL = {"use_scale_reg": True, "mcmc": True}
VARIANTS = (
    {"params": ALL, "masked": True},
    {"params": ALL, "without": ("target_alpha", "grids", "camera_turn")},
    {"params": {"mcmc": True}, "without": ("target_alpha", "background")},
)


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    """Two transparent images, gaussians of all shapes, five cameras, two bilateral grids."""
    x: dict[str, Any] = {**images(g, masked), "state": gaussians(g, 12)}
    x["target_alpha"] = rand(g, 2, 24, 20, 1)
    x["background"] = rand(g, 2, 3)
    x["camera_shift"] = 0.1 * randn(g, 5, 3)
    x["camera_turn"] = 0.1 * randn(g, 5, 3)
    x["grids"] = rand(g, 2, 12, 3, 4, 5)
    return x


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    """t = step."""
    p, m, s = x["params"], mask_of(x), scales(x["state"])
    truth = x["target"]
    if "target_alpha" in x:
        truth = x["target_alpha"] * truth + (1 - x["target_alpha"]) * x["background"][:, None, None, :]
    found = {"photometric": (1.0, photometric(x["rendered"] * m, truth * m, 0.2, "valid"))}
    if p.get("use_scale_reg") and step % 10 == 0:
        ratio = s.amax(-1) / s.amin(-1)
        found["scale"] = (0.1, (torch.maximum(ratio, torch.full_like(ratio, 10.0)) - 10).mean())
    if p.get("mcmc"):
        found["mcmc_opacity"] = (0.01, opacities(x["state"]).mean())
        found["mcmc_scale"] = (0.01, s.mean())
    if "camera_shift" in x and "camera_turn" in x:
        shift, turn = (x[n].pow(2).sum(-1).sqrt().mean() for n in ("camera_shift", "camera_turn"))
        found["camera"] = (1.0, 1e-2 * shift + 1e-3 * turn)
    if "grids" in x:
        found["grid"] = (10.0, total_variation(x["grids"], (2, 3, 4), power=2))
    return found
