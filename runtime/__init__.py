"""Executes compiled losses and trains with them. The names below are imported when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compiled import CompiledLossFn
    from .data.base import SplatDataItem, SplatDataProvider
    from .data.colmap import ColmapDataProvider
    from .data.synthetic import SyntheticDataProvider
    from .externs import register
    from .loading import compile, load
    from .loss_fn import SplatLossFn
    from .modules import SplatBaseModule
    from .payload import SplatRenderPayload
    from .renderers.base import SplatRenderer, make_renderer
    from .splat.model import SplatModel
    from .splat.state import SplatTrainingState
    from .ssim_package import fused_ssim
    from .training.config import SplatTrainerConfig
    from .training.trainer import SplatTrainer

_HOMES = {
    "CompiledLossFn": "compiled",
    "compile": "loading",
    "load": "loading",
    "register": "externs",
    "SplatDataItem": "data.base",
    "SplatDataProvider": "data.base",
    "ColmapDataProvider": "data.colmap",
    "SyntheticDataProvider": "data.synthetic",
    "fused_ssim": "ssim_package",
    "SplatLossFn": "loss_fn",
    "SplatBaseModule": "modules",
    "SplatRenderPayload": "payload",
    "SplatRenderer": "renderers.base",
    "make_renderer": "renderers.base",
    "SplatModel": "splat.model",
    "SplatTrainingState": "splat.state",
    "SplatTrainerConfig": "training.config",
    "SplatTrainer": "training.trainer",
}

__all__ = [
    "ColmapDataProvider",
    "CompiledLossFn",
    "SplatBaseModule",
    "SplatDataItem",
    "SplatDataProvider",
    "SplatLossFn",
    "SplatModel",
    "SplatRenderPayload",
    "SplatRenderer",
    "SplatTrainer",
    "SplatTrainerConfig",
    "SplatTrainingState",
    "SyntheticDataProvider",
    "compile",
    "fused_ssim",
    "load",
    "make_renderer",
    "register",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        from .extras import require

        require("torch", extra="train")
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
