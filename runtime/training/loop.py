"""One training step: render, loss, guard, update, densification, with the hooks between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..data.base import SplatDataItem
from ..modules import call_hook
from ..renderers.base import SplatRenderer
from ..splat.optimizers import visible_gaussians
from ..splat.state import SplatTrainingState
from . import guard
from .appearance import Appearance
from .config import SplatTrainerConfig
from .deferred import DeferredCheck, held_gradients
from .densify import Densifier
from .loss_access import LossAccess
from .ranks_steps import OneRank
from .seeding import seed_global

MEANS_DECAY = 0.01  # the rate of the means falls to this part of it over the run, as in gsplat's trainer


class Hooks:
    """Calls one hook on every module, in their order.

    Args:
        modules: those without a hook of that name are passed over.
        common: arguments of every call.
    """

    def __init__(self, modules: Sequence[Any], **common: Any) -> None:
        self._modules = [module for module in modules if module is not None]
        self._common = common

    def call(self, name: str, **kwargs: Any) -> None:
        """Call hook ``name`` with what each module's version of it accepts."""
        for module in self._modules:
            hook = getattr(module, name, None)
            if callable(hook):
                call_hook(hook, **self._common, **kwargs)


class TrainingLoop:
    """The parts of a run that a step needs.

    Args:
        config: the settings.
        state: the gaussians.
        loss: the loss function.
        renderer: draws the gaussians.
        densifier: changes their number.
        hooks: called between the parts of a step.
        logger: passed on to a loss function that asks for one.
        note: gets a sentence about what is unusual.
        recovery: says what there is to go back to, for the message of the guard.
        ranks: the place of this process among those that train together.
        appearance: corrections of colour that are trained with the gaussians.
    """

    def __init__(
        self,
        config: SplatTrainerConfig,
        state: SplatTrainingState,
        loss: LossAccess,
        renderer: SplatRenderer,
        densifier: Densifier,
        hooks: Hooks,
        logger: logging.Logger,
        note: Callable[[str], None],
        recovery: Callable[[], str],
        ranks: OneRank,
        appearance: Appearance,
    ) -> None:
        self.config = config
        self.state = state
        self.loss = loss
        self.renderer = renderer
        self.densifier = densifier
        self.hooks = hooks
        self.logger = logger
        self.means_rate = state.optimizers["means"].param_groups[0]["lr"]
        self._note = note
        self._recovery = recovery
        self._ranks = ranks
        self._appearance = appearance
        self._noted_constant = False
        self._pending: DeferredCheck | None = None
        self._defers = ranks.world == 1 and state.can_skip
        self._follow = getattr(loss.fn, "on_densification", None)

    def step(self, step: int, item: SplatDataItem) -> Tensor:
        """Do one step.

        Args:
            step: counted from 0.
            item: its training views, on the state's device.

        Returns:
            The loss, a detached scalar; that of all ranks.

        Raises:
            LossError: RUN001 or RUN002, the loss or a gradient is not finite; nothing has been updated. Where
                optimisers can skip an update by themselves, that is found in the step that follows, or by `settle`.
        """
        config, state, hooks = self.config, self.state, self.hooks
        seed_global(config.seed, step, "step")
        at = {"step": step, "max_steps": config.max_steps, "training_state": state}
        target, masks = item.image, item.mask
        hooks.call("pre_step", **at, target_frames=target, masks=masks)

        background = self._ranks.background(config.background, len(target), config.seed, step, state.device)
        rendered, payload = self.renderer.render(
            splat_state=state,
            cam_to_worlds=item.cam_to_world,
            Ks=item.K,
            width=target.shape[2],
            height=target.shape[1],
            sh_degree=min(step // config.sh_degree_interval, state.sh_degree),
            backgrounds=background,
            buffers=self.loss.buffers(step, self.renderer.buffers),
        )
        self.settle()  # here the loss function still is as the last step left it
        rendered, payload = self._appearance.apply(rendered, payload, item)
        frames = {"rendered_frames": rendered, "target_frames": target, "rend_out": payload, "masks": masks}
        hooks.call("pre_compute_loss", **at, **frames)
        extras = {"item": item, "background": background, "logger": self.logger, "renders": rendered, "targets": target}
        arguments = {**at, **frames}
        loss = self.loss.compute(arguments, extras)
        hooks.call("post_compute_loss", **at, loss=loss, masks=masks)

        info = payload.to_dict()
        self.densifier.before_backward(state, info, step)
        loss = self._update(step, self._ranks.part(loss), item, {**arguments, **extras, "host": self.loss.host})
        hooks.call("on_optimize", **at)
        if self.densifier.acts(step):  # what it does cannot be told from the gradients' doing any more
            self.settle()

        # Seeded anew: what a loss function or module drew must not decide where gaussians are split to.
        seed_global(config.seed, step, self._ranks.densification)
        moved = self.densifier.after_step(state, self._ranks.views(info), step, track=callable(self._follow))
        if moved is not None and self._follow is not None:
            self._follow(moved)
        hooks.call("post_step", **at, **frames)
        return loss

    def settle(self) -> None:
        """Wait until it is known whether the last step was finite.

        Raises:
            LossError: RUN001 or RUN002, it was not; nothing has been updated by it.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.settle()

    def use_loss(self, loss: LossAccess) -> None:
        """Go on with another loss from the next step on."""
        self.loss = loss
        self._follow = getattr(loss.fn, "on_densification", None)

    def _update(self, step: int, loss: Tensor, item: SplatDataItem, arguments: Mapping[str, Any]) -> Tensor:
        """Backward pass, guard, optimisers. A constant loss, as of a step at which no term exists, updates nothing.

        Returns:
            The loss of all ranks, detached.
        """
        state = self.state
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        if self._defers:
            self._appearance.descend()
            return self._update_deferred(step, loss, item.image_name, arguments)
        total, moves, finite = self._ranks.combine(loss, state, self._appearance.gradients())
        self._appearance.descend()  # the same on every rank, so it is not among what ranks add up
        if not moves and not self._noted_constant:
            self._noted_constant = True
            self._note(f"the loss has no gradient at step {step}, so nothing is updated at such steps")
        if not (finite and self._appearance.is_finite()):
            # A loss that one rank alone cannot compute is that rank's finding: each looks at its own.
            self._ranks.agree(
                lambda: guard.raise_non_finite(
                    loss, self._trained(), self.loss.fn, arguments, item.image_name, self._recovery()
                )
            )
        state.optimizers["means"].param_groups[0]["lr"] = self.rate_at(step)
        if moves:
            state.step(self._visible(arguments))
        self._appearance.step(step)
        state.zero_grad()
        return total

    def _update_deferred(self, step: int, loss: Tensor, image: str, arguments: Mapping[str, Any]) -> Tensor:
        """What `_update` does after the backward pass, where optimisers skip an update that is not finite."""
        state, loss_fn = self.state, self.loss.fn
        if not loss.requires_grad and not self._noted_constant:
            self._noted_constant = True
            self._note(f"the loss has no gradient at step {step}, so nothing is updated at such steps")
        finite, held = guard.finite(loss, self._trained()), held_gradients(self._trained())
        self._pending = DeferredCheck(
            finite,
            lambda: guard.raise_non_finite(loss, held, loss_fn, arguments, image, self._recovery()),
        )
        state.optimizers["means"].param_groups[0]["lr"] = self.rate_at(step)
        if loss.requires_grad:
            state.step(self._visible(arguments), finite)
        self._appearance.step(step, finite)
        state.zero_grad()
        return loss.detach()

    def _trained(self) -> dict[str, Tensor]:
        """Everything that has a gradient, by name."""
        return {**self.state.params, **self._appearance.gradients()}

    def _visible(self, arguments: Mapping[str, Any]) -> Tensor | None:
        """`[N]` bool, the gaussians that a view of this step shows, where the optimisers want to know."""
        if not self.state.is_selective:
            return None
        return self._ranks.anywhere(visible_gaussians(arguments["rend_out"].radii))

    def rate_at(self, step: int) -> float:
        """Learning rate of the means: a function of the step alone, so that a resumed run has it too."""
        return float(self.means_rate * MEANS_DECAY ** (step / self.config.max_steps))


def scale_for_batch(state: SplatTrainingState, config: SplatTrainerConfig, ranks: int = 1) -> None:
    """Set the optimisers up for the batch size, that of all ranks, and the factors on the learning rates.

    For B images a step the rates grow with the square root of B and the averages forget B times as fast, the rule of
    gsplat's trainer (after https://www.cs.princeton.edu/~smalladi/blog/2024/01/22/SDEs-ScalingRules).
    """
    batch = config.batch_size * ranks
    for name, optimizer in state.optimizers.items():
        group = optimizer.param_groups[0]
        group["lr"] *= config.lr.get(name, 1.0) * batch**0.5
        group["eps"] /= batch**0.5
        if batch > 1:  # 1 - (1 - beta) would not be beta to the last bit
            group["betas"] = tuple(max(0.0, 1 - batch * (1 - beta)) for beta in group["betas"])
