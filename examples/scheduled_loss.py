"""A scheduled loss in Python against the `SplatLossFn` protocol; `losses/scheduled.loss` says the same."""

from __future__ import annotations

import torch

from splatdsl.runtime import SplatLossFn, SplatRenderPayload, SplatTrainingState


class ScheduledLoss(SplatLossFn[SplatRenderPayload]):
    """Mean L1 plus a regulariser whose weight rises over the first 10,000 steps."""

    def compute_regularization(self, training_state: SplatTrainingState) -> torch.Tensor:
        """Mean opacity plus mean scale of the gaussians."""
        params = training_state.params
        return params["opacities"].sigmoid().mean() + params["scales"].exp().mean()

    def compute_loss(
        self, rendered_frames, target_frames, training_state, rend_out, masks=None, step=0, max_steps=30000
    ) -> torch.Tensor:
        """Image error plus the weighted regulariser, a scalar."""
        image = (rendered_frames - target_frames).abs().mean()
        return image + min(step / 10000, 1.0) * self.compute_regularization(training_state)
