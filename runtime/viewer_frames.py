"""The viewer's pictures: the gaussians from a camera, and where each term of the loss pulls at them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..dsl.diagnostics import LossError
from .compiled import CompiledLossFn
from .data.base import SplatDataItem, SplatDataProvider, ViewListProvider
from .payload import SplatRenderPayload
from .poses import inverse_pose
from .renderers.base import SplatRenderer
from .splat.model import PARAMETERS
from .training.seeding import background_colors, borrowed_generators
from .training.selection import SelectedLossFn
from .viewer_pictures import Camera, Frame, Nothing, depth_picture, fitted, heat, top_of

PLAIN = ("render", "target", "error", "alpha", "depth")
C0 = 0.28209479177387814
"""The constant spherical harmonic: 1 / (2 sqrt(pi))."""


@dataclass(frozen=True)
class TermRow:
    """A term at one step and view.

    Attributes:
        name: the term.
        weight: that the host gives it.
        value: without the weight; None: it cannot be evaluated here.
        share: of its magnitude in the sum over all terms, 0..1.
    """

    name: str
    weight: float
    value: float | None
    share: float | None


class Frames:
    """Makes pictures of gaussians that are given to it, from any camera or from the views of the data.

    It changes nothing: neither gradients nor memories of the loss nor random numbers.

    Args:
        renderer: draws them.
        provider: the data, whose views can be stood at.
        loss_fn: the loss, whose terms are shown if it is one of the language.
        max_steps: length of the run.
        background: what renders are composited on, as in the config.
        host: numbers of the run by name, see `LossAccess.host`.
        correct: corrections of colour at a view, see `Appearance.apply`; None: none.
        sh_interval: steps after which one more degree of the spherical harmonics is used; 0: all of them always.

    Attributes:
        state: the gaussians; None: there are none yet.
        step: the step that terms are shown at, counted from 0.
    """

    def __init__(
        self,
        renderer: SplatRenderer,
        provider: SplatDataProvider,
        loss_fn: Any,
        max_steps: int,
        background: str = "black",
        host: Mapping[str, float] | None = None,
        correct: Callable[..., tuple[Tensor, SplatRenderPayload]] | None = None,
        sh_interval: int = 0,
    ) -> None:
        self._renderer, self._provider, self._loss = renderer, provider, loss_fn
        self._max_steps, self._host, self._correct = max_steps, dict(host or {}), correct
        self._background = "white" if background == "white" else "black"
        self._interval = sh_interval
        self._alone: dict[str, SelectedLossFn] = {}
        self._program: Any = None
        self.state: Any = None
        self.step = 0

    # What there is

    @property
    def size(self) -> int:
        """Pixels along the longer side of a picture that the renderer draws without much delay."""
        return 800 if self._renderer.name == "gsplat" else 320

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms that can be shown."""
        return tuple(t.name for t in self._loss.program.terms) if isinstance(self._loss, CompiledLossFn) else ()

    def modes(self) -> list[str]:
        """What can be shown. A term that reads several buffers is shown at the image unless another is named."""
        found = list(PLAIN)
        for name in self.terms:
            reads = self._reads(name)
            found.append(f"term {name}")
            found += [f"term {name} at {buffer}" for buffer in reads[1:]]
        return found

    def _reads(self, name: str) -> list[str]:
        """The buffers that a term reads at some step, the image first; ``gaussians`` last."""
        alone, last = self._of(name), self._max_steps - 1
        steps = {0, last // 2, last, min(self.step, last)}
        found = frozenset().union(*(alone.requires(s, self._max_steps, **self._known(alone)) for s in sorted(steps)))
        buffers = [b for b in ("rendered", "depth", "depth.accumulated", "alpha") if b in found]
        return buffers + (["gaussians"] if "state" in found else [])

    def views(self) -> list[str]:
        """Names of the data's views, in the order of their numbers."""
        if isinstance(self._provider, ViewListProvider):
            held_out = set(self._provider.test_indices)
            count = len(held_out) + len(self._provider.train_indices)
            return [f"view {i}" + (" (held out)" if i in held_out else "") for i in range(count)]
        return [f"training item {i}" for i in range(self._provider.get_train_data_size())]

    def item(self, view: int) -> SplatDataItem:
        """The data of a view."""
        provider = self._provider
        if isinstance(provider, ViewListProvider):
            return provider.view(view)
        return provider.next_train_data(view)

    def camera(self, view: int) -> Camera:
        """The camera of a view; what it sees beyond its principal point is left out."""
        item = self.item(view)
        fov = 2 * math.atan(item.height / 2 / float(item.K[0, 1, 1]))
        return Camera(item.cam_to_world[0].cpu(), fov)

    # Pictures

    def frame(self, camera: Camera, mode: str, size: tuple[int, int], view: int | None = None) -> Frame:
        """One picture.

        Args:
            camera: where from.
            mode: one of `modes`.
            size: width and height in pixels.
            view: the data's view that the camera stands at, whose own camera and size then count; the picture is
                fitted into ``size``, black beside it. None: anywhere.
        """
        width, height = size
        with borrowed_generators():  # a term may draw random numbers, and training goes on with its own
            try:
                image, note = self._picture(camera, mode, size, view)
            except Nothing as reason:
                image, note = torch.zeros(height, width, 3), str(reason)
            except LossError as error:
                image, note = torch.zeros(height, width, 3), "; ".join(d.message for d in error.diagnostics)
        return Frame(fitted(image, width, height), note)

    def _picture(self, camera: Camera, mode: str, size: tuple[int, int], view: int | None) -> tuple[Tensor, str]:
        if self.state is None:
            raise Nothing("there are no gaussians yet")
        item = None if view is None else self.item(view).to(self.state.device)
        if mode in ("target", "error") and item is None:
            raise Nothing(f"{mode}: only at a view of the data, choose one")
        if mode == "target" and item is not None:
            return item.image[0], f"target: {item.image_name}"
        if mode.startswith("term "):
            return self._term(mode, camera, size, item)
        buffers = frozenset({"rendered", "alpha"} | ({"depth"} if mode == "depth" else set()))
        if not buffers - {"rendered"} <= self._renderer.buffers | {"alpha"}:
            raise Nothing(f"the renderer `{self._renderer.name}` makes no depth")
        rendered, payload = self._render(camera, size, item, buffers)
        if mode == "alpha":
            return payload.alphas[0].expand(-1, -1, 3), "alpha: 0 black, 1 white"
        if mode == "depth":
            return depth_picture(payload)
        if mode == "error" and item is not None:
            rendered, payload = self._corrected(rendered, payload, item)
            error = (rendered - item.image)[0].abs().mean(dim=-1)
            return heat(error, 1.0), f"|render - target|, mean {float(error.mean()):.4f}; white is 1"
        if mode != "render":
            raise Nothing(f"there is no `{mode}` to show")
        return rendered[0], ""

    @torch.no_grad()
    def _render(
        self,
        camera: Camera,
        size: tuple[int, int],
        item: SplatDataItem | None,
        buffers: frozenset[str],
        state: Any = None,
        degree: int | None = None,
    ) -> tuple[Tensor, SplatRenderPayload]:
        held, device = self.state, self.state.device
        if degree is None:
            degree = held.sh_degree if not self._interval else min(self.step // self._interval, held.sh_degree)
        if item is not None:
            pose, K, (width, height) = item.cam_to_world, item.K, (item.width, item.height)
        else:
            (width, height), pose = size, camera.cam_to_world.to(device, torch.float32)[None]
            K = camera.intrinsics(width, height).to(device)[None]
        rendered, payload = self._renderer.render(
            splat_state=held if state is None else state,
            cam_to_worlds=pose,
            Ks=K,
            width=width,
            height=height,
            sh_degree=degree,
            backgrounds=self._colours(len(pose)),
            buffers=buffers,
        )
        return rendered, payload

    def _colours(self, count: int) -> Tensor:
        return background_colors(self._background, count, 0, 0, self.state.device)

    @torch.no_grad()
    def _corrected(
        self, rendered: Tensor, payload: SplatRenderPayload, item: SplatDataItem
    ) -> tuple[Tensor, SplatRenderPayload]:
        return (rendered, payload) if self._correct is None else self._correct(rendered, payload, item)

    # Terms

    def _of(self, name: str) -> SelectedLossFn:
        """The loss with one term alone, with the parameters and memories that the whole loss has now."""
        if self._program is not self._loss.program:  # it may be exchanged while training
            self._program = self._loss.program
            self._alone.clear()
        if name not in self._alone:
            self._alone[name] = SelectedLossFn(self._loss, [name], backend="eager")
        return self._alone[name]

    def _known(self, alone: SelectedLossFn) -> dict[str, Any]:
        return {name: value for name, value in self._host.items() if name in alone.program.inputs}

    def _evaluate(
        self, name: str, camera: Camera, size: tuple[int, int], item: SplatDataItem | None
    ) -> tuple[Tensor, dict[str, Tensor], SelectedLossFn]:
        """A term alone: what it adds to the loss, the tensors that it was given by their names, and it itself.

        The tensors are cut off from what they were made of, so nothing flows into the gaussians' own gradients.
        """
        alone = self._of(name)
        needs = alone.requires(self.step, self._max_steps, **self._known(alone))
        if not needs:
            raise Nothing(f"term {name}: it does not exist at step {self.step}")
        wanted = (needs & self._renderer.buffers) | {"rendered", "alpha"}
        rendered, payload = self._render(camera, size, item, wanted)
        if item is not None:
            rendered, payload = self._corrected(rendered, payload, item)
        leaves = {"rendered": _leaf(rendered), "alpha": _leaf(payload.alphas)}
        if payload.depths_expected is not None:
            leaves["depth"] = _leaf(payload.depths_expected)
        if payload.depths_accumulated is not None:
            leaves["depth.accumulated"] = _leaf(payload.depths_accumulated)
        payload = replace(
            payload,
            renders=leaves["rendered"],
            alphas=leaves["alpha"],
            depths=leaves.get("depth"),
            depths_expected=leaves.get("depth"),
            depths_accumulated=leaves.get("depth.accumulated"),
        )
        params = {group: _leaf(self.state.params[group]) for group in PARAMETERS}
        leaves.update((f"state.{group}", leaf) for group, leaf in params.items())
        alone.load_state_dict(self._loss.state_dict())
        place: Any = item if item is not None else {"camera": _camera(camera, size, self.state.device)}
        try:
            with torch.enable_grad():
                value = alone.compute_loss(
                    rendered_frames=leaves["rendered"],
                    target_frames=None if item is None else item.image,
                    training_state=params,
                    rend_out=payload,
                    masks=None if item is None else item.mask,
                    step=self.step,
                    max_steps=self._max_steps,
                    item=place,
                    background=self._colours(len(rendered)),
                    host=self._host,
                )
        except LossError as error:
            why = "; ".join(d.message for d in error.diagnostics)
            where = "" if item is not None else ": only at a view of the data, choose one"
            raise Nothing(f"term {name}{where} ({why})") from error
        return value, leaves, alone

    def _term(self, mode: str, camera: Camera, size: tuple[int, int], item: SplatDataItem | None) -> tuple[Tensor, str]:
        name, _, asked = mode.removeprefix("term ").partition(" at ")
        if name not in self.terms:
            raise Nothing(f"the loss has no term `{name}`")
        value, leaves, _ = self._evaluate(name, camera, size, item)
        slopes: dict[str, Tensor] = {}
        if value.requires_grad:
            found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
            slopes = {key: slope for key, slope in zip(leaves, found) if slope is not None}
        images = [key for key in ("rendered", "depth", "depth.accumulated", "alpha") if key in slopes]
        at = asked or (images[0] if images else "gaussians")
        about = f"term {name}: {float(value.detach()):.5g} of the loss"
        if at != "gaussians":
            if at not in slopes:
                raise Nothing(f"{about}; it has no slope at {at} here")
            pull = torch.linalg.vector_norm(slopes[at][0], dim=-1)
            top = top_of(pull)
            return heat(pull, top), f"{about}; pull at {at}, white is {top:.3g} per pixel"
        groups = [slope.reshape(len(slope), -1) for key, slope in slopes.items() if key.startswith("state.")]
        if not groups:
            raise Nothing(f"{about}; it has no slope at gaussians here")
        norms = torch.linalg.vector_norm(torch.cat(groups, dim=1), dim=1)
        top = top_of(norms)
        params = {group: self.state.params[group].detach() for group in PARAMETERS}
        grey = (norms / (top or 1.0)).clamp(0, 1).reshape(-1, 1, 1).expand_as(params["sh0"])
        params["sh0"], params["shN"] = (grey - 0.5) / C0, torch.zeros_like(params["shN"])
        painted, payload = self._render(camera, size, item, frozenset({"rendered", "alpha"}), params, 0)
        alone_grey = painted[0, ..., 0] - (1 - payload.alphas[0, ..., 0]) * self._colours(1)[0, 0]
        return heat(alone_grey, 1.0), f"{about}; slope at the gaussians themselves, white is {top:.3g}"

    def table(self, camera: Camera, size: tuple[int, int], view: int | None = None) -> list[TermRow]:
        """All terms at the present step, evaluated from a camera or at a view as `frame` does."""
        if not self.terms or self.state is None:
            return []
        item = None if view is None else self.item(view).to(self.state.device)
        weights = self._loss.weights(self.step, self._max_steps, **self._known(self._loss))
        found: dict[str, tuple[float, float] | None] = {}
        with borrowed_generators():
            for name in self.terms:
                try:
                    value, _, alone = self._evaluate(name, camera, size, item)
                    found[name] = float(alone.terms[name]), float(value.detach())
                except Nothing:
                    found[name] = None
        total = sum(abs(pair[1]) for pair in found.values() if pair is not None)
        return [
            TermRow(
                name,
                float(weights.get(name, 0.0)),
                None if pair is None else pair[0],
                None if pair is None or not total else abs(pair[1]) / total,
            )
            for name, pair in found.items()
        ]


def _leaf(value: Tensor) -> Tensor:
    return value.detach().requires_grad_()


def _camera(camera: Camera, size: tuple[int, int], device: torch.device) -> dict[str, Tensor]:
    pose = camera.cam_to_world.to(device, torch.float32)[None]
    intrinsics = camera.intrinsics(*size).to(device)[None]
    return {"intrinsics": intrinsics, "extrinsics": inverse_pose(pose), "index": torch.zeros(1, device=device)}
