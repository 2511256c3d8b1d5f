"""Pictures of the viewer from numbers, and where they are looked at from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .payload import SplatRenderPayload

Picture = NDArray[np.uint8]
QUANTILE = 0.995
"""The brightest few pixels would leave the others black."""

HEAT = ((0, 0, 0), (58, 15, 110), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191))
"""From none to most: dark to light, so that it reads in grey too."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without intrinsics in pixels, as a viewer has it.

    Attributes:
        cam_to_world: `[4, 4]`, OpenCV axes (x right, y down, z forward).
        fov: vertical angle of view, radians.
    """

    cam_to_world: Tensor
    fov: float

    def intrinsics(self, width: int, height: int) -> Tensor:
        """`[3, 3]` for an image of this size in pixels."""
        focal = height / 2 / math.tan(self.fov / 2)
        return torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Frame:
    """One picture.

    Attributes:
        image: `[H, W, 3]`.
        note: what it shows, or why it shows nothing.
    """

    image: Picture
    note: str


class Nothing(Exception):
    """There is no picture to show; the text says why."""


def top_of(values: Tensor) -> float:
    """The value that only one in 200 exceeds; the largest, if that is 0."""
    finite = values[torch.isfinite(values)].flatten().float()
    if not finite.numel():
        return 0.0
    # `quantile` takes no more than 2^24 values.
    rank = max(1, math.ceil(QUANTILE * finite.numel()))
    return float(finite.kthvalue(rank).values) or float(finite.max())


def heat(values: Tensor, top: float) -> Tensor:
    """`[H, W, 3]`, 0..1: colours of `[H, W]`, from dark at 0 to light at ``top``; what is not finite is green."""
    table = torch.tensor(HEAT, dtype=torch.float32, device=values.device) / 255
    finite = torch.isfinite(values)
    at = (torch.where(finite, values, 0.0).float() / (top or 1.0)).clamp(0, 1) * (len(HEAT) - 1)
    low = at.floor().long().clamp(max=len(HEAT) - 2)
    colours = torch.lerp(table[low], table[low + 1], (at - low)[..., None])
    return torch.where(finite[..., None], colours, colours.new_tensor([0.0, 1.0, 0.0]))


def depth_picture(payload: SplatRenderPayload) -> tuple[Tensor, str]:
    """Expected depth as colours, light where it is near, over the range that most of what is seen has; and a note.

    Raises:
        Nothing: the payload has no depth.
    """
    if payload.depths_expected is None:
        raise Nothing("the renderer makes no depth")
    depth, seen = payload.depths_expected[0, ..., 0], payload.alphas[0, ..., 0] > 0.5
    inside = depth[seen].float()
    if not inside.numel():
        return torch.zeros(*depth.shape, 3), "depth: nothing is seen from here"
    count = inside.numel()
    near = float(inside.kthvalue(max(1, round(0.02 * count))).values)
    far = float(inside.kthvalue(max(1, round(0.98 * count))).values)
    shade = (far - depth).clamp(0, max(far - near, 1e-12)) * seen
    return heat(shade, max(far - near, 1e-12)), f"depth: light is {near:.3g}, dark is {far:.3g}"


def fitted(image: Tensor, width: int, height: int) -> Picture:
    """`[height, width, 3]` bytes: the image as large as it fits, in the middle."""
    h, w = image.shape[:2]
    if (w, h) != (width, height):
        scale = min(width / w, height / h)
        new_h, new_w = max(1, min(height, round(h * scale))), max(1, min(width, round(w * scale)))
        planes = image.detach().float().permute(2, 0, 1)[None]
        small = scale < 1
        planes = F.interpolate(planes, (new_h, new_w), mode="area" if small else "bilinear")
        image = planes[0].permute(1, 2, 0)
        top, left = (height - new_h) // 2, (width - new_w) // 2
        image = F.pad(image, (0, 0, left, width - new_w - left, top, height - new_h - top))
    found: Picture = (image.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return found
