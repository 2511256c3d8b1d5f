"""The protocol of loss functions: what the trainer calls, whether written in Python or in the loss language."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Generic

from .modules import SplatBaseModule
from .payload import SplatRenderPayloadT

if TYPE_CHECKING:
    from torch import Tensor

    from .splat.state import SplatTrainingState


class SplatLossFn(SplatBaseModule[SplatRenderPayloadT], Generic[SplatRenderPayloadT]):
    """A loss function; subclass it and implement `compute_loss`. Its hooks are called like any module's.

    A subclass needs no call to ``super().__init__()``.
    """

    @abstractmethod
    def compute_loss(
        self,
        rendered_frames: Tensor,
        target_frames: Tensor,
        training_state: SplatTrainingState,
        rend_out: SplatRenderPayloadT,
        masks: Tensor | None = None,
        step: int = 0,
        max_steps: int = 30000,
    ) -> Tensor:
        """The training loss of one step.

        Args:
            rendered_frames: `[B, H, W, 3]`, 0..1.
            target_frames: `[B, H, W, 3]`, 0..1.
            training_state: the gaussians; ``training_state.params`` holds the raw parameters.
            rend_out: what else the renderer made.
            masks: `[B, H, W]` bool or float, 1 = this pixel counts; None = every pixel does.
            step: counted from 0.
            max_steps: length of the run.

        Returns:
            A scalar tensor, ready for ``backward()``.
        """
