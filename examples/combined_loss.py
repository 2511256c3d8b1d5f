"""A loss function in Python against the `SplatLossFn` protocol; `losses/combined.loss` says the same."""

from __future__ import annotations

import torch

from splatdsl.runtime import SplatLossFn, SplatRenderPayload, SplatTrainingState, fused_ssim


class CombinedLoss(SplatLossFn[SplatRenderPayload]):
    """L1 over the mask, 1 - SSIM, and a term against splats close to the camera."""

    def __init__(
        self, lambda_l1: float = 0.8, lambda_ssim: float = 0.2, lambda_depth: float = 0.0, near: float = 0.5
    ) -> None:
        self.lambda_l1 = lambda_l1
        self.lambda_ssim = lambda_ssim
        self.lambda_depth = lambda_depth
        self.near = near

    def compute_loss(
        self,
        rendered_frames: torch.Tensor,
        target_frames: torch.Tensor,
        training_state: SplatTrainingState,
        rend_out: SplatRenderPayload,
        masks: torch.Tensor | None = None,
        step: int = 0,
        max_steps: int = 30000,
    ) -> torch.Tensor:
        """The weighted sum of the terms, a scalar."""
        error = (rendered_frames - target_frames).abs()
        if masks is None:
            total = self.lambda_l1 * error.mean()
        else:
            kept = masks.unsqueeze(-1).to(error.dtype)
            total = self.lambda_l1 * (error * kept).sum() / (3 * kept.sum() + 1e-8)
        if self.lambda_ssim > 0:
            similarity = fused_ssim(
                rendered_frames.permute(0, 3, 1, 2), target_frames.permute(0, 3, 1, 2), padding="valid"
            )
            total = total + self.lambda_ssim * (1 - similarity)
        if self.lambda_depth > 0 and rend_out.depths is not None:
            solid = (rend_out.alphas > 0.5).to(error.dtype)
            close = (self.near - rend_out.depths).relu() * solid
            total = total + self.lambda_depth * close.sum() / solid.sum().clamp(min=1)
        return total
