"""Densification: gsplat's strategies, driven so that a resumed run draws the same numbers."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from ..extras import require
from ..splat.state import SplatTrainingState
from .config import SplatTrainerConfig, describe_object, scaled_refinement, training_error
from .strategies import capped_strategy, changes_gaussians, default_strategy


class Densifier:
    """Runs a strategy around the backward pass of every step.

    Args:
        strategy: a gsplat ``Strategy``, or None for no densification.
        state: the gaussians, which the strategy changes in place.
        scene_scale: in scene units; thresholds of the default strategy are relative to it.

    Attributes:
        memory: the strategy's running state, part of checkpoints.
    """

    def __init__(self, strategy: Any, state: SplatTrainingState, scene_scale: float) -> None:
        self.strategy = strategy
        self.memory: dict[str, Any] = {}
        self._names: frozenset[str] = frozenset()
        if strategy is None:
            return
        strategy.check_sanity(state.params, state.optimizers)
        if hasattr(strategy, "initialize_state"):
            accepts = inspect.signature(strategy.initialize_state).parameters
            scale = {"scene_scale": scene_scale} if "scene_scale" in accepts else {}
            self.memory = strategy.initialize_state(**scale)
        self._names = frozenset(inspect.signature(strategy.step_post_backward).parameters)

    def reads_views(self, step: int) -> bool:
        """Whether the strategy looks at centres and radii of a render at this step; gsplat's tell by their class."""
        if self.strategy is None:
            return False
        gsplat = require("gsplat.strategy")
        if isinstance(self.strategy, gsplat.MCMCStrategy):
            return False
        return not isinstance(self.strategy, gsplat.DefaultStrategy) or step < self.strategy.refine_stop_iter

    def acts(self, step: int) -> bool:
        """Whether the strategy may add, remove or reset gaussians at this step."""
        return changes_gaussians(self.strategy, step)

    def before_backward(self, state: SplatTrainingState, info: dict[str, Any], step: int) -> None:
        """Called with the render's metadata before ``loss.backward()``."""
        if not self._names:
            return
        means2d = info["means2d"]
        if means2d.requires_grad:
            means2d.retain_grad()
            self.strategy.step_pre_backward(
                params=state.params, optimizers=state.optimizers, state=self.memory, step=step, info=info
            )

    def after_step(self, state: SplatTrainingState, info: dict[str, Any], step: int, track: bool) -> Tensor | None:
        """Called after the optimisers have stepped.

        Args:
            state: the gaussians; their number may change.
            info: the render's metadata; ``means2d`` has its gradient.
            step: counted from 0.
            track: whether the caller wants to know where each gaussian comes from.

        Returns:
            `[N]` int64, for every gaussian its row before the call, if ``track`` and anything moved; None otherwise.
        """
        if not self._names:
            return None
        means2d = info["means2d"]
        if means2d.grad is None:  # the loss did not look at the image at this step
            means2d.grad = torch.zeros_like(means2d)
        if getattr(self.strategy, "absgrad", False) and not hasattr(means2d, "absgrad"):
            raise training_error(
                "RUN008",
                "the strategy has `absgrad=True`, but the renderer does not supply absolute gradients",
                help=("use a strategy with `absgrad=False`",),
            )
        extra = {"packed": False, "lr": state.optimizers["means"].param_groups[0]["lr"]}
        if track:
            # A frozen parameter rides along: whatever a strategy does to rows, it does to this one.
            rows = torch.arange(len(state.params["means"]), device=means2d.device)
            state.params["rows"] = torch.nn.Parameter(rows, requires_grad=False)
        try:
            self.strategy.step_post_backward(
                params=state.params,
                optimizers=state.optimizers,
                state=self.memory,
                step=step,
                info=info,
                **{name: value for name, value in extra.items() if name in self._names},
            )
        finally:
            moved: Tensor | None = state.params.pop("rows").data if track else None
        if moved is None or not self.acts(step) or (len(moved) == len(rows) and torch.equal(moved, rows)):
            return None  # the last question waits for the device
        return moved

    def state_dict(self) -> dict[str, Any]:
        """The running state, for a checkpoint."""
        return dict(self.memory)

    def load_state_dict(self, saved: dict[str, Any], device: torch.device) -> None:
        """Take over a saved running state."""
        self.memory = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in saved.items()}

    def describe(self) -> Any:
        """The strategy and its settings as plain values."""
        return describe_object(self.strategy)


def make_strategy(strategy: Any, config: SplatTrainerConfig, device: torch.device) -> Any:
    """The strategy that was asked for; None for ``"none"``.

    Args:
        strategy: one of the names, or a gsplat ``Strategy``, which is returned as it is.
        config: settings for a strategy that is named.
        device: where training will run.

    Raises:
        LossError: RUN003, an object that is no strategy; RUN007, ``"mcmc"`` without CUDA; DAT001, gsplat is not
            installed.
    """
    if strategy is None or strategy == "none":
        return None
    gsplat = require("gsplat.strategy")
    if (strategy == "mcmc" or isinstance(strategy, gsplat.MCMCStrategy)) and device.type != "cuda":
        raise training_error(
            "RUN007",
            f"the strategy `mcmc` needs a CUDA device, and this run is on `{device.type}`",
            notes=("gsplat relocates gaussians and perturbs their positions in CUDA code only",),
            help=("use `strategy: default` or `strategy: none` here",),
        )
    if not isinstance(strategy, str):
        if not callable(getattr(strategy, "step_post_backward", None)):
            raise training_error("RUN003", f"`strategy` is a {type(strategy).__name__}, not a gsplat `Strategy`")
        return strategy
    steps = scaled_refinement(config)
    if strategy == "mcmc":
        steps.pop("reset_every")
        cap = {} if config.max_gaussians is None else {"cap_max": config.max_gaussians}
        return gsplat.MCMCStrategy(**cap, **steps)
    if config.max_gaussians is not None:
        return capped_strategy()(max_gaussians=config.max_gaussians, **steps)
    return default_strategy()(**steps)
