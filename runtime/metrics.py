"""Image quality of renders against photographs: PSNR, SSIM, and LPIPS where its weights are at hand.

PSNR and SSIM are torchmetrics' (SSIM: Wang et al. 2004, window 11, sigma 1.5, data range 1, reflected borders), so
that they compare with published tables. Inputs are clamped to 0..1, as a saved picture would be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .extras import require

WINDOW = 11

# AlexNet's weights as torchvision names the file; torchmetrics brings those of the linear layers itself.
_ALEXNET = "alexnet-owt-7be5be79.pth"


def psnr(rendered: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, 0-d; infinite for equal images.

    Args:
        rendered: `[B, H, W, 3]`, 0..1.
        target: `[B, H, W, 3]`, 0..1.
    """
    functional = require("torchmetrics.functional.image")
    value: Tensor = functional.peak_signal_noise_ratio(rendered.clamp(0, 1), target.clamp(0, 1), data_range=1.0)
    return value


def masked_psnr(rendered: Tensor, target: Tensor, mask: Tensor) -> Tensor | None:
    """PSNR over the pixels of a mask, in dB; None if it holds none.

    Args:
        rendered: `[B, H, W, 3]`, 0..1.
        target: `[B, H, W, 3]`, 0..1.
        mask: `[B, H, W]`, bool or 0..1, 1 = this pixel counts.
    """
    weight = mask.to(rendered.dtype)[..., None]
    total = weight.sum() * rendered.shape[-1]
    if total == 0:
        return None
    error = ((rendered.clamp(0, 1) - target.clamp(0, 1)).square() * weight).sum() / total
    return -10 * torch.log10(error)


def ssim(rendered: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor | None:
    """Structural similarity, -1..1, 0-d; None if the images are smaller than the window, or the mask is empty.

    Args:
        rendered: `[B, H, W, 3]`, 0..1.
        target: `[B, H, W, 3]`, 0..1.
        mask: `[B, H, W]`, bool or 0..1; the similarity map, made of the whole images, is averaged over it.
    """
    if min(rendered.shape[1:3]) < WINDOW:
        return None
    functional = require("torchmetrics.functional.image")
    pair: tuple[Tensor, Tensor] = functional.structural_similarity_index_measure(
        rendered.clamp(0, 1).movedim(-1, 1),
        target.clamp(0, 1).movedim(-1, 1),
        sigma=1.5,
        kernel_size=WINDOW,
        data_range=1.0,
        return_full_image=True,
    )
    value, similarity = pair
    if mask is None:
        return value
    weight = mask.to(similarity.dtype)[:, None]
    total = weight.sum() * similarity.shape[1]
    return None if total == 0 else (similarity * weight).sum() / total


class Lpips:
    """LPIPS (Zhang et al. 2018) with AlexNet, lower is better; built by `Lpips.if_available`."""

    def __init__(self, network: Any) -> None:
        self._network = network

    @classmethod
    def if_available(cls, device: torch.device) -> Lpips | None:
        """The metric if torchmetrics, torchvision and the weights are on this machine; nothing is downloaded."""
        weights = Path(torch.hub.get_dir()) / "checkpoints" / _ALEXNET
        if not weights.is_file():
            return None
        try:
            import torchvision  # noqa: F401
            from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

            return cls(LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).to(device).eval())
        except (ImportError, OSError, RuntimeError):
            return None

    def __call__(self, rendered: Tensor, target: Tensor) -> Tensor:
        """Distance of `[B, H, W, 3]` images, 0..1; 0-d."""
        with torch.no_grad():
            value: Tensor = self._network(rendered.clamp(0, 1).movedim(-1, 1), target.clamp(0, 1).movedim(-1, 1))
            return value
