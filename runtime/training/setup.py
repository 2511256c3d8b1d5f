"""A trainer's parts from a run config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...dsl.config import DataConfig, RunConfig, config_to_dict
from ...dsl.config_data import scene_kind
from ...dsl.typed import InputInfo
from ..data.base import SplatDataProvider
from ..renderers.base import make_renderer
from .config import SplatTrainerConfig
from .display import Display
from .trainer import SplatTrainer, pick_device

if TYPE_CHECKING:
    from ..compiled import CompiledLossFn
    from .watch import Watched


def trainer_config(config: RunConfig) -> SplatTrainerConfig:
    """The trainer's settings that a run config asks for."""
    train = config.train
    return SplatTrainerConfig(
        max_steps=train.max_steps,
        batch_size=train.batch_size,
        sh_degree=train.sh_degree,
        sh_degree_interval=train.sh_degree_interval,
        init_opacity=train.init_opacity,
        init_scale=train.init_scale,
        seed=train.seed,
        eval_every=train.eval_every,
        log_every=train.log_every,
        checkpoint_every=train.checkpoint_every,
        keep_checkpoints=train.keep_checkpoints,
        strategy=train.strategy,
        max_gaussians=train.max_gaussians,
        refine_start_iter=train.refine_start,
        refine_every=train.refine_every,
        refine_stop_iter=train.refine_stop,
        num_workers=train.num_workers,
        optimizer=train.optimizer,
        exposure=train.exposure,
        bilateral_grid=train.bilateral_grid,
        lr={name: factor for name, factor in vars(train.lr).items() if factor != 1.0},
        device=train.device,
        background=train.background,
        tensorboard=train.tensorboard,
        images=train.images,
    )


def build_provider(
    data: DataConfig,
    seed: int,
    device: torch.device,
    background: str = "black",
    inputs: Mapping[str, InputInfo] | None = None,
) -> SplatDataProvider:
    """The data provider of a config.

    Args:
        data: the config's section.
        seed: of the order of training views, where it is not the scene's own.
        background: what renders are composited on; the sky of the synthetic scene has that colour (black for
            "random"), since splats have no sky and would be blamed for one. Transparent images of `transforms.json`
            are laid over it.
        inputs: what the program declares; those of them that have files beside the images come with the items. None:
            the loss is no program.
        device: where items live.

    Raises:
        LossError: the scene does not exist or cannot be read, or a package for it is missing.
    """
    if data.kind == "synthetic":
        from ..data.synthetic import SyntheticDataProvider

        width = 96 if data.width is None else data.width
        return SyntheticDataProvider(
            width=width,
            height=round(0.75 * width) if data.height is None else data.height,
            views=data.views,
            test_every=data.test_every,
            seed=data.seed,
            masks=data.masks != "none",
            background=(1.0, 1.0, 1.0) if background == "white" else (0.0, 0.0, 0.0),
            device=device,
        )
    common: dict[str, Any] = {
        "path": data.path or ".",
        "width": data.width,
        "downscale": data.downscale,
        "test_every": data.test_every,
        "masks": data.masks,
        "normalize": data.normalize,
        "seed": seed,
        "device": device,
        "inputs": inputs,
        "input_options": data.inputs,
    }
    if scene_kind(data.kind, data.path) == "transforms":
        from ..data.transforms import TransformsDataProvider

        colours = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}
        common["background"] = colours.get(background) if data.alpha == "composite" else None
        return TransformsDataProvider(**common, alpha=data.alpha, random_points=data.random_points)
    from ..data.colmap import ColmapDataProvider

    return ColmapDataProvider(**common, points=data.points)


def build_loss(config: RunConfig, device: torch.device) -> CompiledLossFn:
    """The compiled loss of a config.

    Raises:
        LossError: the program or its parameters are wrong.
    """
    from .. import loading  # loads the compiler, which the other parts do without

    arguments: dict[str, Any] = {
        "params": dict(config.loss_params),
        "backend": config.train.backend,
        "kernels": config.train.kernels,
        "view_cache": config.train.view_cache * 10**6 or None,
        "device": device,
    }
    if config.loss_path is not None:
        return loading.load(config.loss_path, **arguments)
    return loading.compile(config.loss_source().text, **arguments)


def build_trainer(
    config: RunConfig,
    output: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    display: Display | str = "auto",
    run_info: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
    modules: Sequence[Any] = (),
) -> SplatTrainer[Any, Any]:
    """A trainer for a config.

    Args:
        config: the run.
        output: folder for everything that is written.
        resume: continue the run in that folder.
        overwrite: replace the run in that folder.
        display: see `SplatTrainer`.
        run_info: more entries for ``run.json``.
        without: names of terms that the loss is trained without; everything else stays as it is.
        modules: more objects whose hooks are called.

    Raises:
        LossError: bad input of any kind.
    """
    settings = trainer_config(config)
    device = pick_device(settings.device)
    loss = build_loss(config, device)
    declared = getattr(getattr(loss, "program", None), "inputs", None)
    watch: bool | Watched = False
    if config.train.watch_loss and config.loss_path is not None and not without:
        from .watch import Watched

        watch = Watched(config.loss_path, dict(config.loss_params))
    if without:
        from .selection import without as leave_out

        loss = leave_out(loss, without)
    return SplatTrainer(
        config=settings,
        loss_fn=loss,
        data_provider=build_provider(config.data, settings.seed, device, settings.background, declared),
        renderer=make_renderer(config.renderer.kind, device),
        modules=modules,
        output=output,
        resume=resume,
        overwrite=overwrite,
        display=display,
        run_info={"run_config": config_to_dict(replace(config, output=str(output))), **(run_info or {})},
        watch_loss=watch,
    )
