"""`fused_ssim`, callable as the package of that name: losses that import it run here with another import line.

With `fused_ssim`, or with `fussim` from PyPI, which has the same function, installed, float32 tensors on CUDA go to
its kernel. Everywhere else the same numbers come from the language's own `ssim`.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from ..compiler.kernels import photometric
from ..compiler.kernels.ssim_packages import Unusable
from ..compiler.kernels.ssim_packages import packages as _kernels
from ..dsl.builtins.photometric import WINDOW
from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.source import Source


def fused_ssim(img1: Tensor, img2: Tensor, padding: str = "same", train: bool = True) -> Tensor:
    """Mean structural similarity, 0-d; 1 for equal images.

    Args:
        img1: `[B, C, H, W]`, 0..1; gradients flow to this one.
        img2: `[B, C, H, W]`, 0..1. The package gives it no gradient; neither does this function.
        padding: ``"same"`` pads with zeros; ``"valid"`` leaves out a border of 5 pixels, where the window would
            reach over the edge.
        train: whether a gradient is wanted.

    Raises:
        LossError: RUN012, the shapes differ or are not 4-d, the padding is unknown, or nothing is left inside of
            the border.
    """
    _check(img1, img2, padding)
    with torch.set_grad_enabled(train and torch.is_grad_enabled()):
        if img1.is_cuda and img1.dtype == img2.dtype == torch.float32:  # the kernels know no other
            for kernel in _kernels():
                # Within autocast fussim would compute in half precision.
                with torch.autocast("cuda", enabled=False), contextlib.suppress(Unusable):
                    return kernel(img1.contiguous(), img2.contiguous(), padding, train)
        return photometric.ssim(img1.movedim(1, -1), img2.detach().movedim(1, -1), padding=padding)


def _check(img1: Tensor, img2: Tensor, padding: str) -> None:
    shapes = f"{list(img1.shape)} and {list(img2.shape)}"
    if padding not in ("same", "valid"):
        _fail(f"`padding` is {padding!r}, but must be 'same' or 'valid'")
    if img1.dim() != 4 or img1.shape != img2.shape:
        _fail(
            f"`fused_ssim` compares two images of one shape [B, C, H, W], not {shapes}",
            "images `[B, H, W, C]` become `[B, C, H, W]` with `.permute(0, 3, 1, 2)`",
        )
    if padding == "valid" and min(img1.shape[2:]) < WINDOW:
        _fail(
            f"with padding 'valid' the images must have at least {WINDOW} x {WINDOW} pixels, not {shapes}",
            "use padding 'same'",
        )


def _fail(message: str, *help: str) -> None:
    raise LossError([Diagnostic("RUN012", message, Source("", "fused_ssim"), None, help=help)])
