"""LangSplat.

Stage rgb: P(I, Ĩ; 0.2). Stage language: mean|M F - M F̃|, over all pixels and the three numbers of a compressed CLIP
feature, M the pixels that have one.

Qin et al., LangSplat, CVPR 2024; minghanqin/LangSplat at d70edb8, train.py.
"""

from __future__ import annotations

from typing import Any

import torch
from _common import images, photometric, rand, randn
from torch import Tensor

MAX_STEPS = 30_000
STEPS = (0, 1, 29_999)
GRADIENTS = ("rendered", "feature")
MASKED = False
VARIANTS = ({"params": {"stage": "rgb"}}, {"params": {"stage": "rgb", "ssim_weight": 0.5}})


def inputs(g: torch.Generator, masked: bool) -> dict[str, Any]:
    made: dict[str, Any] = images(g, masked)
    made["feature"] = randn(g, 2, 24, 20, 3)
    made["feature_target"] = randn(g, 2, 24, 20, 3)
    made["labelled"] = (rand(g, 2, 24, 20) < 0.7).double()
    return made


def terms(x: dict[str, Any], step: int, max_steps: int, memory: dict[str, Any]) -> dict[str, tuple[float, Tensor]]:
    params = x["params"]
    if params.get("stage") == "rgb":
        return {"rgb": (1.0, photometric(x["rendered"], x["target"], params.get("ssim_weight", 0.2)))}
    m = x["labelled"][..., None]
    return {"language": (1.0, (m * x["feature"] - m * x["feature_target"]).abs().mean())}
