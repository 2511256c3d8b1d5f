"""gsplat's default densification without what makes every step wait for the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..extras import require


def default_strategy() -> type:
    """gsplat's ``DefaultStrategy``, whose running sums are kept without a list of the gaussians that a view shows.

    gsplat 1.5.3 makes that list with ``torch.where`` at every step until densification ends, and the host has to wait
    for its length. The sums are the same numbers here: gaussians that a view does not show add 0.
    """
    base = require("gsplat.strategy").DefaultStrategy

    class DefaultStrategy(base):  # type: ignore[misc, valid-type]
        def _update_state(self, params: Any, state: Any, info: Any, packed: bool = False) -> None:
            if packed:
                super()._update_state(params, state, info, packed=packed)
                return
            means2d = info[self.key_for_gradient]
            slopes = (means2d.absgrad if self.absgrad else means2d.grad).clone()
            # Pixels to half the width and height of the image, by the number of images, as gsplat has it.
            slopes[..., 0] *= info["width"] / 2.0 * info["n_cameras"]
            slopes[..., 1] *= info["height"] / 2.0 * info["n_cameras"]
            norms, radii = slopes.norm(dim=-1), info["radii"]
            shown = (radii > 0.0).all(dim=-1)
            wanted = ["grad2d", "count", *(["radii"] if self.refine_scale2d_stop_iter > 0 else [])]
            for name in wanted:
                if state[name] is None:
                    state[name] = torch.zeros(norms.shape[-1], device=norms.device)
            for camera in range(len(norms)):  # in their order, in which floating-point sums are taken
                seen = shown[camera]
                state["grad2d"] += torch.where(seen, norms[camera], 0.0)
                state["count"] += seen
                if "radii" in wanted:
                    part = radii[camera].amax(dim=-1) / float(max(info["width"], info["height"]))
                    state["radii"] = torch.where(seen, torch.maximum(state["radii"], part), state["radii"])

    return DefaultStrategy


def capped_strategy() -> type:
    """`default_strategy` with an upper limit on the number of gaussians."""
    base = default_strategy()

    @dataclass
    class CappedStrategy(base):  # type: ignore[misc, valid-type]
        max_gaussians: int = 0
        grow_grad2d: float = 0.0002

        def _grow_gs(self, params: Any, optimizers: Any, state: Any, step: int) -> tuple[int, int]:
            # Every gaussian above the threshold becomes two, so the threshold decides how many are added.
            room = self.max_gaussians - len(params["means"])
            gradients = state["grad2d"] / state["count"].clamp_min(1)
            threshold = self.grow_grad2d
            if room <= 0:
                self.grow_grad2d = float("inf")
            elif room < len(gradients):
                largest = torch.topk(gradients, room + 1).values[-1]
                self.grow_grad2d = max(threshold, float(largest))
            try:
                grown: tuple[int, int] = super()._grow_gs(params, optimizers, state, step)
                return grown
            finally:
                self.grow_grad2d = threshold

    return CappedStrategy


def changes_gaussians(strategy: Any, step: int) -> bool:
    """Whether a strategy may add, remove or reset gaussians at a step. Of one that acts in a way of its own: always."""
    if strategy is None:
        return False
    gsplat = require("gsplat.strategy")
    known = (gsplat.DefaultStrategy.step_post_backward, gsplat.MCMCStrategy.step_post_backward)
    if type(strategy).step_post_backward not in known:
        return True
    refines = step < strategy.refine_stop_iter and step % strategy.refine_every == 0
    return refines or step % getattr(strategy, "reset_every", step + 1) == 0
