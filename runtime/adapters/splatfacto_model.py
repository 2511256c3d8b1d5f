"""The part of a splatfacto model that a compiled loss is in; nothing here imports nerfstudio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...dsl.manifest import RUN_VALUES
from ..compiled import CompiledLossFn
from . import splatfacto as of

STATE_KEY = "splatdsl_loss"
"""Where a checkpoint of the model has the memories of its loss."""


class LossInSplatfacto:
    """Methods in front of splatfacto's own: the loss is a program, everything else is left to the class behind.

    The loss is made when training first needs it: who only looks at a trained scene needs no program.

    Attributes:
        max_steps: length of the run, for schedules that depend on it.
        end: the step at which this run really ends, which settings may put elsewhere.
        scale: of the scene, see `splatfacto.scene_scale`; for programs that declare ``scene_scale``.
    """

    config: Any
    step: int
    training: bool
    max_steps: int = 30_000
    end: int = 0
    scale: float = 1.0
    _loss_fn: CompiledLossFn | None = None
    _shown: frozenset[str] = frozenset()
    _saved: Mapping[str, Any] | None = None
    _camera: Mapping[str, Tensor] | None = None
    _wants_camera: bool = False

    # What the class behind has

    def host_losses(self) -> dict[str, Tensor]:
        """The losses of splatfacto that stay: those of what only its own model has."""
        return {}

    # The loss

    def make_loss(self) -> CompiledLossFn:
        """The loss of the settings; override it to register functions for a program's ``extern`` declarations."""
        c = self.config
        return of.make_loss(c.loss, c.loss_params, c.backend, c.kernels)

    @property
    def loss_fn(self) -> CompiledLossFn:
        """The compiled loss.

        Raises:
            LossError: the program is wrong, or reads what splatfacto does not render.
        """
        if self._loss_fn is None:
            loss_fn = self.make_loss()
            steps = max(self.max_steps, self.end)
            of.check_buffers(loss_fn, steps)
            _, may = of.reads(loss_fn, steps)
            if any(name.partition(".")[0] == "depth" for name in may):
                self.config.output_depth_during_training = True
            self._wants_camera = "camera" in may
            if self._saved is not None:
                loss_fn.memories.load_state_dict(moved(self._saved, self.device))
            self._loss_fn = loss_fn
        return self._loss_fn

    device: Any

    def get_outputs(self, camera: Any) -> Any:
        """See splatfacto; depth is rendered if the loss reads it, and the camera is kept for the loss."""
        if not self.training and self._loss_fn is None:
            return super().get_outputs(camera)  # type: ignore[misc]
        _ = self.loss_fn
        self._camera = None
        if self._wants_camera and hasattr(camera, "camera_to_worlds"):
            self._camera = self._camera_of(camera)
        return super().get_outputs(camera)  # type: ignore[misc]

    def _camera_of(self, camera: Any) -> Mapping[str, Tensor]:
        poses = self.camera_optimizer.apply_to_camera(camera) if self.training else camera.camera_to_worlds  # type: ignore[attr-defined]
        index = (camera.metadata or {}).get("cam_idx")
        return of.camera_of(poses, camera.get_intrinsics_matrices(), self._get_downscale_factor(), index)  # type: ignore[attr-defined]

    def get_loss_dict(self, outputs: Any, batch: Any, metrics_dict: Any = None) -> dict[str, Tensor]:
        """The terms of the loss, each with its weight, and splatfacto's losses that stay; see `term_entries`.

        Outside of training there is no gradient, and the losses that stay are left out, as in splatfacto.
        """
        others = self.host_losses() if self.training else {}
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.training):
            return {**self._terms(outputs, batch), **others}

    def _terms(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
        loss_fn, declared = self.loss_fn, self.loss_fn.program.inputs
        given = self.arguments(outputs, batch)
        total = loss_fn(**given, step=self.step, max_steps=self.max_steps)
        if self.training:
            self._shown |= loss_fn.terms.keys()
        there = {n for n in declared if given["item"].get(n) is not None or n in given}
        missing = [*(n for n in declared if n not in there), *(["mask"] if given["mask"] is None else [])]
        return of.term_entries(loss_fn, total, self.step, self.max_steps, self._shown, missing)

    def arguments(self, outputs: Any, batch: Any) -> dict[str, Any]:
        """What the loss is called with: splatfacto's outputs and batch as `CompiledLossFn.__call__` takes them."""
        declared = self.loss_fn.program.inputs
        host: Any = self
        background = outputs["background"].to(self.device)
        image = host.get_gt_img(batch["image"])
        factor = host._get_downscale_factor()
        item = of.own_inputs(self.loss_fn.program, batch, factor, self.device)
        if image.shape[-1] == 4 and of.TARGET_ALPHA in declared and of.TARGET_ALPHA not in item:
            item[of.TARGET_ALPHA] = image[..., 3:].unsqueeze(0)  # the program lays the target over the background
            target = image[..., :3]
        else:
            target = host.composite_with_background(image, background)
        mask = batch.get("mask")
        if mask is not None:
            mask = host._downscale_if_required(mask).to(self.device).squeeze(-1).unsqueeze(0)
        values = {"scene_scale": self.scale}
        return {
            "rendered": outputs["rgb"].unsqueeze(0),
            "target": target.unsqueeze(0),
            "mask": mask,
            "state": of.gaussians(host.gauss_params, host.shs_0),
            "render": of.payload(outputs, getattr(self, "info", None)),
            "item": item,
            "background": of.background_colour(background),
            "camera": self._camera,
            **{name: value for name, value in values.items() if name in declared and name in RUN_VALUES},
        }

    def get_image_metrics_and_images(self, outputs: Any, batch: Any) -> Any:
        """See splatfacto; while a run trains, also ``loss/TERM``, the weighted terms on the held-out image."""
        metrics, images = super().get_image_metrics_and_images(outputs, batch)  # type: ignore[misc]
        if self._loss_fn is not None and self._shown:
            with torch.no_grad():
                terms = self._terms(outputs, batch)
            # The same keys for every image, whose metrics are averaged by key.
            metrics.update({f"loss/{name}": float(terms[name]) for name in map(of.entry_name, sorted(self._shown))})
        return metrics, images

    # The run

    def begin(self, end: int, centres: Tensor | None) -> None:
        """A run begins: make its loss.

        Args:
            end: the number of steps at the end of the run; the length of the run, unless the settings say another.
            centres: `[V, 3]`, those of the training cameras.
        """
        self.max_steps, self.end = self.config.max_steps or end, end
        if centres is not None:
            self.scale = of.scene_scale(centres)
        _ = self.loss_fn

    def step_post_backward(self, step: int) -> None:
        """See splatfacto, which adds and removes gaussians here; memories of gaussians follow them."""
        means2d = self.info["means2d"]  # type: ignore[attr-defined]
        if means2d.requires_grad and means2d.grad is None:  # the loss did not look at the image at this step
            means2d.grad = torch.zeros_like(means2d)
            if not hasattr(means2d, "absgrad"):
                means2d.absgrad = torch.zeros_like(means2d)
        follow = getattr(self._loss_fn, "on_densification", None)
        if follow is None:
            super().step_post_backward(step)  # type: ignore[misc]
            return
        state: Any = self.strategy_state  # type: ignore[attr-defined]
        count = len(self.gauss_params["means"])  # type: ignore[attr-defined]
        # gsplat's default strategy does to each tensor of its state what it does to the gaussians.
        rows = state["splatdsl_rows"] = torch.arange(count, device=means2d.device)
        try:
            super().step_post_backward(step)  # type: ignore[misc]
        finally:
            after = state.pop("splatdsl_rows")
        if len(after) != len(rows) or not torch.equal(after, rows):
            follow(after)

    # Checkpoints

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """See `torch.nn.Module`; with the memories of the loss where it has any."""
        state = super().state_dict(*args, **kwargs)  # type: ignore[misc]
        memories = self._saved if self._loss_fn is None else self._loss_fn.memories.state_dict()
        if memories:
            state[f"{kwargs.get('prefix', '')}{STATE_KEY}"] = dict(memories)
        return state

    def load_state_dict(self, dict: Mapping[str, Any], **kwargs: Any) -> Any:
        """See splatfacto; checkpoints of splatfacto itself fit too."""
        saved = {name: value for name, value in dict.items() if name != STATE_KEY}
        self._saved = dict.get(STATE_KEY)
        if self._loss_fn is not None and self._saved is not None:
            self._loss_fn.memories.load_state_dict(moved(self._saved, self.device))
        return super().load_state_dict(saved, **kwargs)  # type: ignore[misc]


def moved(saved: Mapping[str, Any], device: Any) -> dict[str, Any]:
    """Memories as `Memories.state_dict` gives them, on a device."""
    return {
        name: {key: value.to(device) if isinstance(value, Tensor) else value for key, value in entry.items()}
        for name, entry in saved.items()
    }
