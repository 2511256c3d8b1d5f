"""A compiled loss in the trainer of splatkit 0.1.0: `loss_fn=` and nothing else.

    pip install 'splatdsl[compat-splatkit]'
    python splatkit_trainer.py

The trainer, renderer, gaussians and densification are splatkit's own. Its data is splatdsl's synthetic scene. splatkit
draws on CUDA alone: where there is none, `on_cpu` puts splatdsl's torch version of gsplat under its renderer, which is
for small scenes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import splatkit
import torch
from splatkit.data_provider import SplatDataItem, SplatDataProvider
from splatkit.modules import SplatBaseModule
from splatkit.splat import SplatModel, SplatTrainingState

import splatdsl
from splatdsl.runtime import SyntheticDataProvider
from splatdsl.runtime.renderers.gsplat_like import functions


class Scene(SplatDataProvider):
    """The synthetic scene of splatdsl as data of splatkit."""

    def __init__(self, **settings) -> None:
        self.scene = SyntheticDataProvider(**settings)

    def load_data(self) -> float:
        """Radius of the scene."""
        return self.scene.load_data()

    def next_train_data(self, step: int) -> SplatDataItem:
        """Splatkit counts steps from 1."""
        return self._item(self.scene.next_train_data(step - 1))

    def next_test_data(self, step: int, world_rank: int = 0, world_size: int = 1) -> SplatDataItem:
        """See `SplatDataProvider`."""
        return self._item(self.scene.next_test_data(step))

    def get_train_data_size(self, world_rank: int = 0, world_size: int = 1) -> int:
        """See `SplatDataProvider`."""
        return self.scene.get_train_data_size()

    def get_test_data_size(self, world_rank: int = 0, world_size: int = 1) -> int:
        """See `SplatDataProvider`."""
        return self.scene.get_test_data_size()

    def init_splat_model(self, sh_degree=3, init_opacity=0.1, init_scale=1.0, **ranks) -> SplatModel:
        """Gaussians at the scene's sparse points."""
        model = self.scene.init_splat_model(sh_degree=sh_degree, init_opacity=init_opacity, init_scale=init_scale)
        arrays = {f"_{name}": value.numpy() for name, value in model.parameters().items()}
        return SplatModel(_sh_degree=sh_degree, _points=arrays.pop("_means"), **arrays)

    def _item(self, item) -> SplatDataItem:
        own = ("id", "image_name", "camera_model", "K", "cam_to_world", "image", "mask")
        return SplatDataItem(**{name: getattr(item, name) for name in own})


class Report(SplatBaseModule):
    """Prints the loss and its terms at some steps."""

    def __init__(self, every: int = 10) -> None:
        self.every, self.losses = every, []

    def on_setup(self, loss_fn, **others) -> None:
        """Keep the loss."""
        self.loss_fn = loss_fn

    def post_compute_loss(self, step, loss, **others) -> None:
        """Print a line."""
        self.losses.append(loss.item())
        if step == 1 or step % self.every == 0:
            terms = "  ".join(f"{name} {value.item():.4f}" for name, value in self.loss_fn.terms.items())
            print(f"step {step:4d}  loss {loss.item():.4f}  {terms}")


class CpuState(SplatTrainingState):
    """Gaussians on the CPU, where splatkit 0.1.0 asks for CUDA whatever there is."""

    @classmethod
    def from_splat_model(cls, *args, **kwargs) -> SplatTrainingState:
        """See `SplatTrainingState`."""
        return super().from_splat_model(*args, device="cpu", **kwargs)


@contextmanager
def on_cpu(trainer: splatkit.SplatTrainer) -> Iterator[None]:
    """Let a trainer of splatkit 0.1.0 run on the CPU."""
    trainer._device = "cpu"
    draw, draw_2dgs = functions("cpu")
    with (
        patch("splatkit.trainer.trainer.SplatTrainingState", CpuState),
        patch("splatkit.renderer._3dgs.rasterization", draw),
        patch("splatkit.renderer._2dgs.rasterization_2dgs", draw_2dgs),
    ):
        yield


def main(steps: int = 60, width: int = 64, height: int = 48) -> list[float]:
    """Train a few steps; the loss of each of them."""
    torch.manual_seed(0)
    report = Report()
    trainer = splatkit.SplatTrainer(
        config=splatkit.SplatTrainerConfig(max_steps=steps, sh_degree=0),
        renderer=splatkit.Splat3DGSRenderer(),
        loss_fn=splatdsl.load("zoo:splatkit-3dgs"),
        data_provider=Scene(width=width, height=height, views=8, points=600),
        densification=splatkit.SplatDefaultDensification(),
        modules=[report],
    )
    if torch.cuda.is_available():
        trainer.run()
    else:
        with on_cpu(trainer):
            trainer.run()
    return report.losses


if __name__ == "__main__":
    main()
