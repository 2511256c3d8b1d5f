"""nerfstudio's splatfacto with its loss from a `.loss` file, trained for some steps on the built-in scene.

    pip install 'splatdsl[nerfstudio]'
    python examples/embedding/nerfstudio_splatfacto.py [--loss zoo:splatfacto] [--steps 40]

Of nerfstudio's own are the model, its outputs and loss dictionary, its optimisers and densification; the scene is
splatdsl's. A real run is ``ns-train splatdsl-splatfacto --pipeline.model.loss my.loss --data ...``. On a CUDA device
gsplat draws; elsewhere `stand_ins` puts functions in torch in the place of what needs CUDA. Where nerfstudio is not
installed it says so and ends with status 3.
"""

from __future__ import annotations

import argparse
import copy
import functools
import importlib
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from unittest.mock import patch

import torch

from splatdsl import LossError
from splatdsl.runtime import SyntheticDataProvider
from splatdsl.runtime.renderers import gsplat_like

NO_NERFSTUDIO = 3


def stand_ins(device: str) -> AbstractContextManager[Any]:
    """Put functions in torch where splatfacto has CUDA's alone: its renderer, its ``.cuda()``, compiled helpers.

    On a CUDA device only LPIPS is left out, whose weights are downloaded when a model is made; it is a metric of
    held-out images.
    """
    import torchmetrics.image.lpip as lpip
    from nerfstudio.models import splatfacto

    stack = ExitStack()
    stack.enter_context(patch.object(lpip, "LearnedPerceptualImagePatchSimilarity", NoLpips))
    if device == "cpu":
        stack.enter_context(patch.object(splatfacto, "rasterization", gsplat_like.rasterization))
        stack.enter_context(patch.object(torch.Tensor, "cuda", lambda self, *_, **__: self))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
    return stack


class NoLpips(torch.nn.Module):
    """In the place of LPIPS; not a number."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()

    def forward(self, *images: torch.Tensor) -> torch.Tensor:
        """What a metric that was not computed is."""
        return torch.tensor(float("nan"))


def cameras_of(items: Sequence[Any]) -> Any:
    """The views of a scene as nerfstudio's cameras, whose y points up and z backward."""
    from nerfstudio.cameras.cameras import Cameras

    poses, K = torch.cat([i.cam_to_world for i in items]), torch.cat([i.K for i in items])
    poses = torch.cat([poses[:, :3, :3] * poses.new_tensor([1.0, -1.0, -1.0]), poses[:, :3, 3:]], dim=2)
    height, width = items[0].image.shape[1:3]
    return Cameras(poses, K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2], width=width, height=height)


def train(cfg: argparse.Namespace) -> list[dict[str, float]]:
    """Train, and give the loss dictionary of each step as numbers."""
    from nerfstudio.data.scene_box import SceneBox
    from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation
    from nerfstudio.engine.optimizers import Optimizers

    from splatdsl.runtime.adapters.nerfstudio import SplatDslSplatfactoModelConfig, splatdsl_splatfacto

    torch.manual_seed(0)
    scene = SyntheticDataProvider(width=64, height=48, views=8, points=300)
    scene.load_data()
    items = [scene.next_train_data(i) for i in range(scene.get_train_data_size())]
    start = scene.init_splat_model(sh_degree=0)
    colours = 255 * (0.5 + 0.28209479177387814 * start.sh0[:, 0]).clamp(0, 1)

    on_cuda = cfg.device == "cuda"
    config = SplatDslSplatfactoModelConfig(
        loss=cfg.loss,
        backend="inductor" if on_cuda else "eager",
        max_steps=cfg.steps,
        num_downscales=0,  # the images are small as they are
        warmup_length=cfg.steps // 4,
        refine_every=max(cfg.steps // 4, 1),
        densify_grad_thresh=0.002,
        stop_screen_size_at=0,  # a few pixels are much of such an image
        background_color="black",  # as the scene has it
        use_absgrad=on_cuda,  # only gsplat has them
    )
    box = SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    model = config.setup(
        scene_box=box,
        num_train_data=len(items),
        metadata={},
        device=cfg.device,
        grad_scaler=None,
        seed_points=(start.means, colours),
    ).to(cfg.device)
    optimizers = Optimizers(copy.deepcopy(splatdsl_splatfacto.config.optimizers), model.get_param_groups())
    callbacks = model.get_training_callbacks(TrainingCallbackAttributes(optimizers, None, None, None))
    cameras, rows = cameras_of(items).to(cfg.device), []
    model.train()
    for step in range(cfg.steps):  # what nerfstudio's trainer does at each step
        index = step % len(items)
        camera = cameras[index : index + 1]
        camera.metadata = {"cam_idx": index}
        batch = {"image": items[index].image[0], "mask": items[index].mask[0].unsqueeze(-1)}
        for callback in callbacks:
            callback.run_callback_at_location(step, TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
        optimizers.zero_grad_all()
        outputs = model(camera)
        losses = model.get_loss_dict(outputs, batch, model.get_metrics_dict(outputs, batch))
        functools.reduce(torch.add, losses.values()).backward()
        optimizers.optimizer_step_all()
        optimizers.scheduler_step_all(step)
        for callback in callbacks:
            callback.run_callback_at_location(step, TrainingCallbackLocation.AFTER_TRAIN_ITERATION)
        rows.append({name: float(value) for name, value in losses.items()})
        if step % 10 == 0 or step == cfg.steps - 1:
            print(
                f"step {step}: {model.num_points} gaussians, " + ", ".join(f"{k} {v:.4f}" for k, v in rows[-1].items())
            )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", default="zoo:splatfacto", help="a .loss file, zoo:NAME, or an expression")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    cfg = parser.parse_args(arguments)
    try:
        importlib.import_module("splatdsl.runtime.adapters.nerfstudio")
    except LossError as error:
        print(error, file=sys.stderr)
        return NO_NERFSTUDIO
    try:
        with stand_ins(cfg.device):
            train(cfg)
    except LossError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
