"""What a renderer returns beside the image."""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, ValuesView
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor


@dataclass(frozen=True)
class SplatRenderPayload:
    """Buffers and metadata of one render of B cameras (field names as in splatkit).

    Attributes:
        renders: `[B, H, W, 3]`, 0..1 but may overshoot.
        alphas: `[B, H, W, 1]`, accumulated opacity, 0..1.
        radii: `[B, N, 2]` int, screen radii in pixels; 0 where a gaussian is not drawn.
        depths: `[B, H, W, 1]`, expected depth along z in scene units, or None when it was not asked for.
        n_cameras: B.
        n_batches: number of scenes, 1.
        width: W in pixels.
        height: H in pixels.
        means2d: `[B, N, 2]`, projected centres in pixels, part of the autograd graph (densification reads its grad).
        gaussian_ids: rows that packed outputs belong to, or None.
        depths_expected: same as ``depths``.
        depths_accumulated: `[B, H, W, 1]`, sum of weight times z (not divided by alpha), or None.
    """

    renders: Tensor
    alphas: Tensor
    radii: Tensor
    depths: Tensor | None
    n_cameras: int
    n_batches: int
    width: int
    height: int
    means2d: Tensor
    gaussian_ids: Tensor | None = None
    depths_expected: Tensor | None = None
    depths_accumulated: Tensor | None = None

    def __getitem__(self, key: str) -> Any:
        if key not in self.__dict__:
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in self.__dict__

    def keys(self) -> KeysView[str]:
        """Field names."""
        return self.__dict__.keys()

    def values(self) -> ValuesView[Any]:
        """Field values."""
        return self.__dict__.values()

    def items(self) -> ItemsView[str, Any]:
        """Field names and values."""
        return self.__dict__.items()

    def to_dict(self) -> dict[str, Any]:
        """A shallow copy as a dictionary, as gsplat's strategies read it."""
        return dict(self.__dict__)


SplatRenderPayloadT = TypeVar("SplatRenderPayloadT", bound=SplatRenderPayload, contravariant=True)
