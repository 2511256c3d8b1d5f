"""Evaluation on the held-out views: numbers and pictures."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import metrics
from ..data.base import SplatDataItem, SplatDataProvider
from ..extras import require
from ..renderers.base import SplatRenderer
from ..splat.state import SplatTrainingState
from .checkpoint import writing
from .ranks_steps import OneRank


class Evaluator:
    """Measures a training state on all held-out views.

    Args:
        provider: where the views come from.
        renderer: draws them.
        background: `[1, 3]`, what renders are composited on, 0..1.
        images: number of views that pictures are made of, at most.
        note: gets a sentence about whatever is left out, once.
    """

    def __init__(
        self,
        provider: SplatDataProvider,
        renderer: SplatRenderer,
        background: Tensor,
        images: int,
        note: Callable[[str], None],
    ) -> None:
        self._provider = provider
        self._renderer = renderer
        self._background = background
        self._images = images
        self._note = note
        self._noted: set[str] = set()
        self._lpips: metrics.Lpips | None = None
        self.views = provider.get_test_data_size()
        if self.views == 0:
            self._once("no views are held out, so nothing is evaluated; the data option `test_every` holds some out")
        else:
            self._lpips = metrics.Lpips.if_available(background.device)
            if self._lpips is None:
                self._once("LPIPS is left out: its weights are not on this machine, and nothing is downloaded")

    def _once(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)

    @torch.no_grad()
    def __call__(
        self, state: SplatTrainingState, folder: Path | None, ranks: OneRank | None = None
    ) -> dict[str, float]:
        """Render and measure every held-out view. Of several ranks each does its part, and rank 0 writes the pictures.

        Args:
            state: the gaussians.
            folder: where pictures go; None: no pictures.
            ranks: the place of this process among those that train together; None: it is alone.

        Returns:
            Means over the views, by names such as ``eval/psnr``, and their number ``eval/views``. Empty without
            held-out views.
        """
        if self.views == 0:
            return {}
        ranks = ranks or OneRank()
        measured: dict[int, dict[str, float]] = {}
        pictures: dict[str, bytes] = {}
        pictured = _spread(self.views, self._images) if folder is not None else frozenset()
        for i, item, own in ranks.turns(self.views, lambda i: self._provider.test_item(i).to(state.device)):
            rendered, _ = self._renderer.render(
                splat_state=state,
                cam_to_worlds=item.cam_to_world,
                Ks=item.K,
                width=item.image.shape[2],
                height=item.image.shape[1],
                sh_degree=state.sh_degree,
                backgrounds=self._background.expand(item.image.shape[0], 3),
            )
            if not own:
                continue
            measured[i] = {f"eval/{name}": float(value) for name, value in self._measure(rendered, item).items()}
            if folder is not None and i in pictured:
                path = folder / f"{i:03d}_{_stem(item.image_name)}.png"
                if ranks.first:
                    save_comparison(path, rendered, item.image, item.mask)
                else:  # rank 0 writes for all: another machine need not see the folder
                    pictures[path.name] = comparison(rendered, item.image, item.mask)
        measured, pictures = ranks.measured(measured, pictures)
        for name, picture in pictures.items():
            if folder is not None:
                _write(folder / name, picture)
        sums: dict[str, list[float]] = {}
        for values in measured.values():
            for name, value in values.items():
                sums.setdefault(name, []).append(value)
        return {**{name: sum(values) / len(values) for name, values in sums.items()}, "eval/views": self.views}

    def _measure(self, rendered: Tensor, item: SplatDataItem) -> dict[str, Tensor]:
        found: dict[str, Tensor | None] = {
            "psnr": metrics.psnr(rendered, item.image),
            "ssim": metrics.ssim(rendered, item.image),
        }
        if found["ssim"] is None:
            self._once(f"SSIM is left out for images smaller than its window of {metrics.WINDOW} pixels")
        if item.mask is not None:
            found["psnr_masked"] = metrics.masked_psnr(rendered, item.image, item.mask)
            found["ssim_masked"] = metrics.ssim(rendered, item.image, item.mask)
        if self._lpips is not None:
            found["lpips"] = self._lpips(rendered, item.image)
        return {name: value for name, value in found.items() if value is not None}


def _spread(views: int, count: int) -> frozenset[int]:
    """Which views are pictured: ``count`` of them, evenly spaced, the same at every evaluation."""
    count = min(views, count)
    return frozenset(i * views // count for i in range(count))


def _stem(name: str) -> str:
    """An image name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", re.sub(r"\.[A-Za-z]{2,4}$", "", name))


def save_comparison(path: Path, rendered: Tensor, target: Tensor, mask: Tensor | None) -> None:
    """Write what `comparison` makes.

    Args:
        path: a ``.png`` file; its folder is made.
        rendered: `[B, H, W, 3]`, 0..1.
        target: `[B, H, W, 3]`, 0..1.
        mask: `[B, H, W]`, bool or 0..1.

    Raises:
        LossError: RUN014, the file cannot be written.
    """
    _write(path, comparison(rendered, target, mask))


def _write(path: Path, content: bytes) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def comparison(rendered: Tensor, target: Tensor, mask: Tensor | None) -> bytes:
    """Target, render and absolute error side by side, and the mask if there is one, as a PNG file.

    Args:
        rendered: `[B, H, W, 3]`, 0..1.
        target: `[B, H, W, 3]`, 0..1.
        mask: `[B, H, W]`, bool or 0..1.
    """
    image: Any = require("PIL.Image")
    panels = [target, rendered, (rendered - target).abs()]
    if mask is not None:
        panels.append(mask.to(target.dtype)[..., None].expand_as(target))
    # Views of a batch below each other.
    joined = torch.cat([panel.clamp(0, 1).flatten(0, 1) for panel in panels], dim=1)
    stream = io.BytesIO()
    image.fromarray((joined * 255).round().to(torch.uint8).cpu().numpy()).save(stream, format="png")
    return stream.getvalue()
