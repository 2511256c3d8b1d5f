"""What others write by hand for the losses of the suite: plain functions of tensors, eager, with nothing of ours in.

Each states where its operations are from. The lines are written here; the operations and their order are those of the
source, because it is them that cost time. Images are `[B, H, W, 3]`, maps and masks `[B, H, W, 1]`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

C1, C2 = 0.01**2, 0.03**2


def gaussian_window(channels: int = 3, device: str = "cpu") -> Tensor:
    """The 11x11 window, sigma 1.5, once per channel `[C, 1, 11, 11]`. Trainers make it once and keep it."""
    x = torch.arange(11, dtype=torch.float32, device=device) - 5
    line = torch.exp(-(x**2) / (2 * 1.5**2))
    line = line / line.sum()
    return (line[:, None] * line[None, :]).expand(channels, 1, 11, 11).contiguous()


def ssim_map(a: Tensor, b: Tensor, window: Tensor, padding: int = 5) -> Tensor:
    """SSIM of every pixel, `[B, C, H, W]` in and out (smaller by the border without padding).

    Operations of gsplat's `torch_ssim_loss` (gsplat/losses.py), which its trainers use without CUDA; those of the
    original 3DGS trainer are the same: five depth-wise convolutions by the full window.
    """

    def blur(v: Tensor) -> Tensor:
        return F.conv2d(v, window, padding=padding, groups=window.shape[0])

    mu_a, mu_b = blur(a), blur(b)
    aa, bb, ab = mu_a.pow(2), mu_b.pow(2), mu_a * mu_b
    var_a, var_b, cov = blur(a * a) - aa, blur(b * b) - bb, blur(a * b) - ab
    return ((2 * ab + C1) * (2 * cov + C2)) / ((aa + bb + C1) * (var_a + var_b + C2))


def nchw(x: Tensor) -> Tensor:
    """The view that image packages take."""
    return x.permute(0, 3, 1, 2)


def photometric(rendered: Tensor, target: Tensor, window: Tensor) -> Tensor:
    """0.8 L1 + 0.2 (1 - SSIM) with zero padding: gsplat's `simple_trainer` where its SSIM falls back to torch."""
    l1 = F.l1_loss(rendered, target)
    ssim = ssim_map(nchw(rendered), nchw(target), window).mean()
    return l1 * 0.8 + (1 - ssim) * 0.2


def photometric_valid(rendered: Tensor, target: Tensor, window: Tensor) -> Tensor:
    """The same, SSIM only of the pixels whose window lies inside the image, as the fused packages are called."""
    l1 = F.l1_loss(rendered, target)
    ssim = ssim_map(nchw(rendered), nchw(target), window, padding=0).mean()
    return l1 * 0.8 + (1 - ssim) * 0.2


def photometric_msssim(rendered: Tensor, target: Tensor, ssim: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The same with the module `SSIM` of pytorch-msssim, which leaves out the border of 5 pixels."""
    return F.l1_loss(rendered, target) * 0.8 + (1 - ssim(nchw(rendered), nchw(target))) * 0.2


def photometric_fused(
    rendered: Tensor, target: Tensor, fused_ssim: Callable[..., Tensor], padding: str = "valid"
) -> Tensor:
    """The same with a fused SSIM kernel, as gsplat's `simple_trainer` calls it on CUDA.

    The kernels need contiguous images and copy what is not; the copies are made here, once each.
    """
    l1 = F.l1_loss(rendered, target)
    ssim = fused_ssim(nchw(rendered).contiguous(), nchw(target).contiguous(), padding=padding)
    return l1 * 0.8 + (1 - ssim) * 0.2


def masked_photometric(rendered: Tensor, target: Tensor, mask: Tensor, window: Tensor) -> Tensor:
    """L1 and 1 - SSIM of the images that are black outside the mask, both as means over the mask."""
    kept = 3 * mask.sum()
    l1 = ((rendered - target).abs() * mask).sum() / kept
    similarity = ssim_map(nchw(rendered * mask), nchw(target * mask), window)
    return l1 * 0.8 + ((1 - similarity) * nchw(mask)).sum() / kept * 0.2


def splatkit_combined(rendered: Tensor, target: Tensor, mask: Tensor, window: Tensor) -> Tensor:
    """0.8 L1 over the mask + 0.2 (1 - SSIM) of the whole image, without its border.

    The formulas of the loss that splatkit's documentation builds, with its depth term off; in torch, because the
    package that it calls needs CUDA.
    """
    error = (rendered - target).abs()
    l1 = (error * mask).sum() / (3 * mask.sum() + 1e-8)
    return 0.8 * l1 + 0.2 * (1 - ssim_map(nchw(rendered), nchw(target), window, padding=0).mean())


def surface(
    rendered: Tensor,
    target: Tensor,
    alpha: Tensor,
    normals: Tensor,
    normals_from_depth: Tensor,
    distortion: Tensor,
    window: Tensor,
) -> Tensor:
    """Photometric, normal consistency and distortion, all on: gsplat's `simple_trainer_2dgs` after its start steps."""
    loss = photometric(rendered, target, window)
    error = 1 - (normals * (normals_from_depth * alpha.detach())).sum(dim=-1)
    return loss + 0.05 * error.mean() + 100.0 * distortion.mean()


def mcmc(opacities: Tensor, scales: Tensor) -> Tensor:
    """Mean opacity and mean scale of raw parameters `[N]` and `[N, 3]`, as in gsplat's MCMC preset."""
    return 0.01 * torch.sigmoid(opacities).mean() + 0.01 * torch.exp(scales).mean()


def disparity(depth: Tensor, sensor: Tensor, mask: Tensor) -> Tensor:
    """L1 of 1 / depth over the pixels of the mask where both are measured, the rest as 0.

    Operations of `binocular_disparity_l1` of gsplat/losses.py, with the mean over a mask by multiplication, as its
    trainers do for colour.
    """
    there = ((depth > 0) & (sensor > 0)).to(depth.dtype) * mask
    ones = torch.ones_like(depth)
    one = 1 / torch.where(depth > 0, depth, ones)
    other = 1 / torch.where(sensor > 0, sensor, ones)
    return 0.1 * ((one - other).abs() * there).sum() / there.sum()


def huber_terms(rendered: Tensor, target: Tensor, deltas: tuple[float, ...]) -> Tensor:
    """A sum of as many Huber losses, each with its own width, by the function of torch."""
    total = rendered.new_zeros(())
    for i, delta in enumerate(deltas):
        total = total + F.huber_loss(rendered, target, delta=delta) * (1 / (i + 1))
    return total


@cache
def fused_package() -> tuple[str, Any] | None:
    """A package with a fused SSIM kernel that works on this GPU, and its function: the original, or the one on PyPI."""
    for package in ("fused_ssim", "fussim"):
        try:
            function = importlib.import_module(package).fused_ssim
            images = torch.rand(2, 1, 3, 16, 16, device="cuda")
            function(images[0].requires_grad_(), images[1]).backward()  # fussim looks for its CUDA part only now
        except (ImportError, AttributeError, OSError, RuntimeError):
            continue
        return package, function
    return None
