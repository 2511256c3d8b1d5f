"""Training modules and their hooks, in the vocabulary of splatkit."""

from __future__ import annotations

import inspect
from abc import ABC
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic

from .payload import SplatRenderPayloadT

if TYPE_CHECKING:
    from torch import Tensor

    from .splat.state import SplatTrainingState


class SplatBaseModule(ABC, Generic[SplatRenderPayloadT]):
    """Base of everything that takes part in training: loss functions, renderers, data providers, loggers.

    Every hook does nothing by default. The trainer passes keyword arguments, and only those that an override
    accepts, so an override may name just what it uses. ``logger`` is a standard `logging.Logger`. Steps count from 0.
    """

    @property
    def module_name(self) -> str:
        """Name for logs."""
        return type(self).__name__

    def on_setup(
        self,
        logger: Any = None,
        renderer: Any = None,
        data_provider: Any = None,
        loss_fn: Any = None,
        densification: Any = None,
        modules: Sequence[Any] = (),
        max_steps: int = 0,
        world_rank: int = 0,
        world_size: int = 1,
        scene_scale: float = 1.0,
    ) -> None:
        """Called once before the first step."""

    def pre_step(
        self,
        logger: Any = None,
        step: int = 0,
        max_steps: int = 0,
        target_frames: Tensor | None = None,
        training_state: SplatTrainingState | None = None,
        masks: Tensor | None = None,
        world_rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Called before a step renders. ``target_frames`` is `[B, H, W, 3]`, ``masks`` `[B, H, W]` or None."""

    def pre_compute_loss(
        self,
        logger: Any = None,
        step: int = 0,
        max_steps: int = 0,
        rendered_frames: Tensor | None = None,
        target_frames: Tensor | None = None,
        training_state: SplatTrainingState | None = None,
        rend_out: Any = None,
        masks: Tensor | None = None,
        world_rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Called after the render, before the loss is computed."""

    def post_compute_loss(
        self,
        logger: Any = None,
        step: int = 0,
        max_steps: int = 0,
        loss: Tensor | None = None,
        training_state: SplatTrainingState | None = None,
        masks: Tensor | None = None,
        world_rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Called after the loss is computed, before its backward pass."""

    def on_optimize(
        self,
        logger: Any = None,
        step: int = 0,
        max_steps: int = 0,
        training_state: SplatTrainingState | None = None,
    ) -> None:
        """Called after the optimisers have stepped, before densification."""

    def post_step(
        self,
        logger: Any = None,
        step: int = 0,
        max_steps: int = 0,
        rendered_frames: Tensor | None = None,
        target_frames: Tensor | None = None,
        training_state: SplatTrainingState | None = None,
        rend_out: Any = None,
        masks: Tensor | None = None,
        world_rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Called at the end of a step, after densification."""

    def on_cleanup(self, logger: Any = None, world_rank: int = 0, world_size: int = 1) -> None:
        """Called once when training ends, also when it was interrupted."""


HOOKS = ("on_setup", "pre_step", "pre_compute_loss", "post_compute_loss", "on_optimize", "post_step", "on_cleanup")


@lru_cache(maxsize=512)
def _accepted(function: Callable[..., Any]) -> frozenset[str] | None:
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))


def call_hook(hook: Callable[..., Any], **kwargs: Any) -> Any:
    """Call a hook with those of ``kwargs`` that its signature names (all of them if it takes ``**kwargs``)."""
    accepted = _accepted(getattr(hook, "__func__", hook))
    return hook(**(kwargs if accepted is None else {k: v for k, v in kwargs.items() if k in accepted}))
