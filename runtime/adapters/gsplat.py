"""Compiled losses in a training loop of gsplat's: `simple_trainer`, `simple_trainer_2dgs`, and those that follow them.

The loop stays as it is. `GsplatLoss` says which render mode to ask for at a step, takes what the rasterisation function
returned, and gives the loss::

    objective = GsplatLoss(splatdsl.load("my.loss"), max_steps=cfg.max_steps, scene_scale=self.scene_scale)
    ...
    renders, alphas, info = self.rasterize_splats(..., **objective.asks(step))
    loss = objective(self.splats, (renders, alphas, info), pixels, masks=masks, step=step)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ...dsl.diagnostics import Diagnostic, LossError
from ...dsl.inputs import RENDER_BUFFERS
from ...dsl.live import where_read
from ..compiled import CompiledLossFn
from .gsplat_buffers import (
    flat_images,
    flat_rows,
    from_rasterization,
    from_rasterization_2dgs,
    gsplat_error,
    per_image,
    render_mode,
    supplied,
)
from .gsplat_points import stack_points

__all__ = ["GsplatLoss", "from_rasterization", "from_rasterization_2dgs", "render_mode", "stack_points", "supplied"]

_RESULTS = {"3dgs": ("rasterization", 3), "2dgs": ("rasterization_2dgs", 7)}
_ROWS = "rows"


class GsplatLoss:
    """A compiled loss for a loop that draws with gsplat.

    Args:
        loss_fn: the loss, from `splatdsl.load` or `splatdsl.compile`.
        model: "3dgs" for ``rasterization``, "2dgs" for ``rasterization_2dgs``.
        max_steps: length of the run.
        own: buffers of a render that the loop makes itself and passes by name, such as ``["normals"]`` for normals from
            a second call; gsplat is not asked for them.
        **constants: numbers and other inputs that are the same at every step, such as ``scene_scale``; those that the
            program does not declare are left out, so that one loop serves many programs.

    Attributes:
        loss_fn: the loss, for its terms, weights, parameters and ``state_dict``.

    Raises:
        LossError: RUN020, there is no such model, or the loss was loaded for images with channels first.
    """

    def __init__(
        self,
        loss_fn: CompiledLossFn,
        model: str = "3dgs",
        max_steps: int = 30_000,
        own: Iterable[str] = (),
        **constants: Any,
    ) -> None:
        supplied(model, "RGB")
        if loss_fn.parts.binder.layout != "BHWC":
            message = "gsplat's images have their channels last, and the loss was loaded for channels first"
            raise gsplat_error("RUN020", message, "load it without `layout=`")
        self.loss_fn, self.model, self.max_steps, self.own = loss_fn, model, max_steps, frozenset(own)
        self._constants = {name: value for name, value in constants.items() if name in loss_fn.program.inputs}

    def requires(self, step: int, group: str | None = None, **inputs: Any) -> frozenset[str]:
        """What the loss reads at a step, see `CompiledLossFn.requires`; numbers of the step by name."""
        numbers = {**self._constants, **inputs}
        host = {name: value for name, value in numbers.items() if isinstance(value, (bool, int, float))}
        return self.loss_fn.requires(step, self.max_steps, group, **host)

    def render_mode(self, step: int, group: str | None = None, **inputs: Any) -> str:
        """The render mode that the loss needs at a step, see `gsplat_buffers.render_mode`.

        Raises:
            LossError: RUN008, the loss reads what gsplat's function does not make.
        """
        return render_mode(self.requires(step, group, **inputs) - self.own, self.model)

    def asks(self, step: int, group: str | None = None, **inputs: Any) -> dict[str, Any]:
        """Arguments of the rasterisation function that a loss decides: ``render_mode``, and in 2DGS ``distloss``."""
        mode = self.render_mode(step, group, **inputs)
        if self.model == "3dgs":
            return {"render_mode": mode}
        return {"render_mode": mode, "distloss": "distortion" in self.requires(step, group, **inputs) - self.own}

    def __call__(
        self,
        splats: Any,
        outputs: tuple[Any, ...],
        pixels: Tensor,
        *,
        step: int,
        masks: Tensor | None = None,
        rendered: Tensor | None = None,
        background: Tensor | None = None,
        Ks: Tensor | None = None,
        camtoworlds: Tensor | None = None,
        viewmats: Tensor | None = None,
        render_mode: str | None = None,
        item: Any = None,
        group: str | None = None,
        view: Hashable = None,
        **inputs: Any,
    ) -> Tensor:
        """The loss of one step.

        Args:
            splats: the raw parameters, a ``ParameterDict`` or mapping with gsplat's names and batch dimensions.
            outputs: what the rasterisation function returned: 3 results, in 2DGS 7.
            pixels: `[..., C, H, W, 3]`, 0..1.
            step: counted from 0.
            masks: `[..., C, H, W]`, True = this pixel counts.
            rendered: `[..., C, H, W, 3]`, the image that is compared, where the loop changed it: a background laid
                under it, a bilateral grid or exposure applied. None: that of ``outputs``.
            background: `[3]` or `[..., C, 3]`, for a loss that reads it; it is not laid under the image here.
            Ks: `[..., C, 3, 3]`, for a loss that reads the camera; with either of the next two.
            camtoworlds: `[..., C, 4, 4]`.
            viewmats: `[..., C, 4, 4]`, its inverse.
            render_mode: the mode that was drawn; None: what `render_mode` says for this step.
            item, group, view: see `CompiledLossFn`.
            **inputs: what the program declares, such as ``points``, ``depths``, ``grids``; and the buffers in ``own``.

        Returns:
            A scalar, ready for ``backward()``.

        Raises:
            LossError: BND001, something is read that was not drawn or given, with the mode that draws it; RUN020,
                ``splats`` or ``outputs`` are not gsplat's; and what the loss raises itself.
        """
        inputs = {**self._constants, **inputs}
        wanted = self.requires(step, group, **inputs)
        drawn = (wanted & RENDER_BUFFERS) - self.own
        mode = self.render_mode(step, group, **inputs) if render_mode is None else render_mode
        function, count = _RESULTS[self.model]
        if not isinstance(outputs, (tuple, list)) or len(outputs) != count:
            found = len(outputs) if isinstance(outputs, (tuple, list)) else type(outputs).__name__
            message = f"`{function}` returns {count} results, but `outputs` is {found}"
            raise gsplat_error("RUN020", message, "pass all of them as they came, and the model that drew them: model=")
        means = _means(splats)
        self._check_mode(drawn - ({"rendered"} if rendered is not None else set()), mode, outputs[0])
        take: Callable[..., dict[str, Tensor]] = from_rasterization if count == 3 else from_rasterization_2dgs
        buffers = take(*outputs, render_mode=mode, gaussians=means.shape[-2], wanted=drawn)
        image = buffers.pop("rendered", None)
        if rendered is not None:
            image = flat_images(rendered)
        target = flat_images(pixels)
        batch = means.dim() - 2
        state = {name: flat_rows(value, batch) for name, value in splats.items()} if batch else splats
        if background is not None:
            inputs["background"] = per_image(background, len(target), target)
        if "camera" in wanted:
            inputs["camera"] = _camera(Ks, camtoworlds, viewmats)
        return self.loss_fn(
            rendered=image,
            target=target,
            mask=None if masks is None else _mask(masks, target),
            state=state,
            render=buffers,
            step=step,
            max_steps=self.max_steps,
            item=item,
            group=group,
            view=view,
            **inputs,
        )

    @property
    def terms(self) -> dict[str, Tensor]:
        """After a call, the raw value of each term."""
        return self.loss_fn.terms

    @contextmanager
    def rows_followed(self, splats: Any) -> Iterator[None]:
        """Around ``strategy.step_post_backward``: a loss with a memory for each gaussian learns where they went.

        A frozen parameter of row numbers rides along while the strategy works, since whatever it does to the rows of
        the parameters it does to this one. Nothing happens for a loss without such a memory.

        Args:
            splats: the ``ParameterDict`` that the strategy changes.
        """
        follow = getattr(self.loss_fn, "on_densification", None)
        if follow is None:
            yield
            return
        rows = torch.arange(len(splats["means"]), device=splats["means"].device)
        splats[_ROWS] = torch.nn.Parameter(rows, requires_grad=False)
        try:
            yield
        finally:
            moved = splats.pop(_ROWS).data
        if len(moved) != len(rows) or not torch.equal(moved, rows):
            follow(moved)

    def _check_mode(self, wanted: frozenset[str], mode: str, renders: Tensor) -> None:
        """Refuse a render in which something is not that the loss reads."""
        lacking = sorted(wanted - supplied(self.model, mode))
        deep = sorted(wanted - supplied(self.model, "RGB"))
        if not lacking and (not deep or "RGB" not in mode or renders.shape[-1] > 3):
            return
        needed = render_mode(wanted, self.model)
        name = next((n for n in deep if n in lacking), (lacking or deep)[0])
        shown = f"was drawn with render_mode={mode!r}" if lacking else f"has only {renders.shape[-1]} channels"
        source, span = where_read(self.loss_fn.program, name)
        message = f"this loss reads `{name}`, but the render {shown}"
        help_ = f"draw with render_mode={needed!r}; `asks(step)` says what a step needs"
        raise LossError([Diagnostic("BND001", message, source, span, help=[help_])])


def _means(splats: Any) -> Tensor:
    try:
        means = splats["means"]
    except (KeyError, TypeError, IndexError):
        means = None
    if not isinstance(means, Tensor) or means.dim() < 2 or means.shape[-1] != 3:
        message = "`splats` has no parameter `means` `[N, 3]`"
        raise gsplat_error("RUN020", message, "pass the raw parameters by gsplat's names: means, quats, scales, ...")
    return means


def _mask(masks: Tensor, target: Tensor) -> Tensor:
    """`[I, H, W]`; what does not fit is left for the loss to refuse."""
    return masks.reshape(target.shape[:3]) if masks.numel() == target[..., 0].numel() else masks


def _camera(Ks: Tensor | None, camtoworlds: Tensor | None, viewmats: Tensor | None) -> dict[str, Tensor]:
    if viewmats is None and camtoworlds is not None:
        viewmats = torch.linalg.inv(camtoworlds)
    given = {"intrinsics": Ks, "extrinsics": viewmats}
    return {name: x.reshape(-1, *x.shape[-2:]) for name, x in given.items() if x is not None}
