"""Corrections of colour by training view: for photographs of one scene with different exposures and white balances.

Both are trained with the gaussians, applied to the render before the loss, and saved in checkpoints. Held-out views
have none: they are measured on the render as it is.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Adam

from ..data.base import SplatDataItem
from ..payload import SplatRenderPayload
from . import guard
from .config import SplatTrainerConfig, training_error

EXPOSURE_RATES = 0.01, 0.001
"""Learning rates of the exposure at the first and last step, 3DGS's `exposure_lr_init` and `_final`."""

GRID = 8, 16, 16
"""Cells of a bilateral grid by luminance, rows and columns, as gsplat's trainer has them."""

GRID_RATE, GRID_WARMUP, GRID_DECAY, GRID_TV = 2e-3, 1000, 0.01, 10.0
"""Of gsplat's trainer: learning rate, steps that it grows over from a hundredth, its decay over the run, weight of the
total variation."""

LUMINANCE = 0.299, 0.587, 0.114


def identity(views: int, device: torch.device) -> Tensor:
    """`[V, 3, 4]`, affine maps that change nothing."""
    return torch.eye(3, 4, device=device).expand(views, 3, 4).clone()


def exposed(image: Tensor, maps: Tensor) -> Tensor:
    """`[B, H, W, 3]`, each image under its affine map `[B, 3, 4]`: a row of colours times the left part, plus the rest.

    The convention is that of 3DGS (`gaussian_renderer.render`).
    """
    return torch.einsum("bhwi,bij->bhwj", image, maps[:, :, :3]) + maps[:, None, None, :, 3]


def sliced(grids: Tensor, image: Tensor) -> Tensor:
    """`[B, H, W, 3]`: each pixel under the affine map that its grid has at its place and luminance.

    Args:
        grids: `[B, 12, L, Y, X]`, rows of 3x4 maps; trilinear in between, cells at the corners of the image.
        image: `[B, H, W, 3]`, 0..1; its gradient goes through the colours and through the luminance.

    Wang et al., Bilateral Guided Radiance Field Processing, SIGGRAPH 2024 (https://bilarfpro.github.io).
    """
    b, h, w, _ = image.shape
    y = ((torch.arange(h, device=image.device, dtype=image.dtype) + 0.5) / h).view(1, h, 1).expand(b, h, w)
    x = ((torch.arange(w, device=image.device, dtype=image.dtype) + 0.5) / w).view(1, 1, w).expand(b, h, w)
    red, green, blue = image.unbind(-1)
    grey = LUMINANCE[0] * red + LUMINANCE[1] * green + LUMINANCE[2] * blue
    at = torch.stack([x, y, grey], dim=-1) * 2 - 1
    found = F.grid_sample(grids, at[:, None], mode="bilinear", padding_mode="border", align_corners=True)
    maps = found[:, :, 0].permute(0, 2, 3, 1).reshape(b, h, w, 3, 4)
    return (maps[..., :3] * image[..., None, :]).sum(dim=-1) + maps[..., 3]


def total_variation(grids: Tensor) -> Tensor:
    """Mean square of the differences between neighbouring cells of `[V, 12, L, Y, X]`, summed over the three axes."""
    total = grids.new_zeros(())
    for axis in (2, 3, 4):
        n = grids.shape[axis]
        total = total + (grids.narrow(axis, 1, n - 1) - grids.narrow(axis, 0, n - 1)).square().mean()
    return total


def _fused_package() -> Any:
    """fused_bilagrid, where it is installed; its kernels run on CUDA only."""
    with suppress(ImportError):
        return importlib.import_module("fused_bilagrid")
    return None


class Exposure:
    """An affine map of colours for each view, `[V, 3, 4]`, at first one that changes nothing."""

    name = "exposure"

    def __init__(self, views: int, device: torch.device, config: SplatTrainerConfig) -> None:
        self.values = Parameter(identity(views, device))
        self._steps = config.max_steps

    def apply(self, image: Tensor, rows: list[int]) -> Tensor:
        """The images of these views, corrected."""
        return exposed(image, torch.stack([self.values[row] for row in rows]))

    def penalty(self) -> Tensor | None:
        """What is added to the loss."""
        return None

    def rate(self, step: int) -> float:
        """Learning rate: log-linear over the run."""
        first, last = EXPOSURE_RATES
        t = min(step / self._steps, 1.0)
        return math.exp((1 - t) * math.log(first) + t * math.log(last))


class BilateralGrid:
    """A grid of affine maps for each view, `[V, 12, 8, 16, 16]`, at first maps that change nothing."""

    name = "bilateral_grid"

    def __init__(self, views: int, device: torch.device, config: SplatTrainerConfig) -> None:
        start = identity(1, device).reshape(1, 12, 1, 1, 1)
        self.values = Parameter(start.expand(views, 12, *GRID).clone())
        self._steps, self._batch = config.max_steps, config.batch_size
        self._fused = _fused_package() if device.type == "cuda" else None

    def apply(self, image: Tensor, rows: list[int]) -> Tensor:
        """The images of these views, corrected."""
        grids = torch.stack([self.values[row] for row in rows])
        if self._fused is None:
            return sliced(grids, image)
        # Without coordinates it takes the centres of the pixels; `[B, 1, H, W, 3]`, one image for each grid.
        found: Tensor = self._fused.fused_bilagrid_sample(grids, None, image[:, None])
        return found[:, 0]

    def penalty(self) -> Tensor:
        """What is added to the loss: the total variation."""
        return GRID_TV * total_variation(self.values)

    def rate(self, step: int) -> float:
        """Learning rate: grows linearly at first, and decays exponentially over the run."""
        grown = 0.01 + 0.99 * min(step / GRID_WARMUP, 1.0)
        return float(GRID_RATE * self._batch**0.5 * grown * GRID_DECAY ** (step / self._steps))


class Appearance:
    """The corrections that a run trains, and their optimisers.

    Args:
        config: says which.
        views: how many views the scene has, training and held-out ones.
        device: where they live.
        fused: whether their optimisers are fused ones, which can skip an update by themselves.
    """

    def __init__(self, config: SplatTrainerConfig, views: int, device: torch.device, fused: bool) -> None:
        kinds: list[Callable[..., Exposure | BilateralGrid]] = [BilateralGrid] if config.bilateral_grid else []
        kinds += [Exposure] if config.exposure else []
        self.parts = [kind(views, device, config) for kind in kinds]
        self.optimizers = {
            part.name: Adam([part.values], lr=part.rate(0), eps=1e-15, fused=fused) for part in self.parts
        }
        self._views = views
        self._penalties: dict[str, Tensor] = {}

    def __bool__(self) -> bool:
        return bool(self.parts)

    def apply(
        self, rendered: Tensor, payload: SplatRenderPayload, item: SplatDataItem
    ) -> tuple[Tensor, SplatRenderPayload]:
        """The images of a step as the loss sees them.

        Args:
            rendered: `[B, H, W, 3]`.
            payload: its ``renders`` become the same images.
            item: the views; its ``ids`` tell which.

        Raises:
            LossError: RUN003, a view's ``id`` is not below the number of views.
        """
        if not self.parts:
            return rendered, payload
        rows = list(item.ids or (item.id,) * len(rendered))
        if max(rows) >= self._views or min(rows) < 0:
            raise training_error(
                "RUN003",
                f"corrections of colour need views that are numbered 0 to {self._views - 1}, and one has {max(rows)}",
                help=("give the items of the data provider such an `id`, or leave the corrections out",),
            )
        for part in self.parts:
            rendered = part.apply(rendered, rows)
        return rendered, replace(payload, renders=rendered)

    def descend(self) -> None:
        """Backward pass of what is added to the loss."""
        self._penalties = {}
        for part in self.parts:
            penalty = part.penalty()
            if penalty is not None:
                penalty.backward()  # type: ignore[no-untyped-call]
                self._penalties[f"appearance/{part.name}_tv"] = penalty.detach()

    def gradients(self) -> Mapping[str, Tensor]:
        """What is trained, by name, for the guard."""
        return {part.name: part.values for part in self.parts}

    def is_finite(self) -> bool:
        """Whether all gradients are; waits for the device."""
        return all(guard.is_finite(torch.zeros(()), {part.name: part.values}) for part in self.parts)

    def step(self, step: int, finite: Tensor | None = None) -> None:
        """One step of the optimisers; none where ``finite``, 0-d bool, is False."""
        skip = None if finite is None else (~finite).float()
        for part in self.parts:
            optimizer = self.optimizers[part.name]
            optimizer.param_groups[0]["lr"] = part.rate(step)
            if skip is not None:
                optimizer.found_inf = skip  # type: ignore[attr-defined]
            optimizer.step()
            if skip is not None:
                del optimizer.found_inf  # type: ignore[attr-defined]
            optimizer.zero_grad(set_to_none=True)

    def row(self) -> dict[str, float]:
        """Entries of a row of the metrics; waits for the device."""
        return {name: float(value) for name, value in self._penalties.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything that a continued run needs."""
        return {
            part.name: {
                "values": part.values.detach().clone(),
                "optimizer": self.optimizers[part.name].state_dict()["state"].get(0, {}),
            }
            for part in self.parts
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for part in self.parts:
            entry = saved[part.name]
            with torch.no_grad():
                part.values.copy_(entry["values"])
            optimizer = self.optimizers[part.name]
            state = {name: value.clone() for name, value in entry["optimizer"].items()}
            content = optimizer.state_dict()
            optimizer.load_state_dict({**content, "state": {0: state} if state else {}})
