"""0.8 L1 + 0.2 (1 - SSIM), forward and backward: ours, the eager lines of a hand-written trainer, and the same lines
under `torch.compile`."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..runtime.compiled import compile as compile_loss

PROGRAM = "term photometric = photometric()"


def by_hand(rendered: Tensor, target: Tensor) -> Tensor:
    """The lines people write: `F.l1_loss`, and SSIM by depth-wise convolution with an 11x11 window, zero padding."""
    x = torch.arange(11, dtype=rendered.dtype, device=rendered.device) - 5
    line = torch.exp(-(x**2) / (2 * 1.5**2))
    window = (line[:, None] * line[None, :] / line.sum() ** 2).expand(3, 1, 11, 11).contiguous()
    a, b = rendered.permute(0, 3, 1, 2), target.permute(0, 3, 1, 2)

    def blur(v: Tensor) -> Tensor:
        return F.conv2d(v, window, padding=5, groups=3)

    mu_a, mu_b = blur(a), blur(b)
    var_a, var_b, cov = blur(a * a) - mu_a**2, blur(b * b) - mu_b**2, blur(a * b) - mu_a * mu_b
    numerator = (2 * mu_a * mu_b + 0.01**2) * (2 * cov + 0.03**2)
    ssim = (numerator / ((mu_a**2 + mu_b**2 + 0.01**2) * (var_a + var_b + 0.03**2))).mean()
    return 0.8 * F.l1_loss(rendered, target) + 0.2 * (1 - ssim)


def variants(height: int, width: int, device: str) -> dict[str, Callable[[], Tensor]]:
    """Calls that compute the loss and the gradient of the render; each returns the loss."""
    generator = torch.Generator().manual_seed(0)
    rendered = torch.rand(1, height, width, 3, generator=generator).to(device).requires_grad_()
    target = torch.rand(1, height, width, 3, generator=generator).to(device)
    ours = compile_loss(PROGRAM)
    compiled = torch.compile(by_hand, fullgraph=True)

    def step(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def call() -> Tensor:
            rendered.grad = None
            value = loss()
            value.backward()
            return value.detach()

        return call

    return {
        "splatdsl": step(lambda: ours(rendered=rendered, target=target)),
        "by hand, eager": step(lambda: by_hand(rendered, target)),
        "by hand, torch.compile": step(lambda: compiled(rendered, target)),
    }
