"""nerfstudio 1.1.5: splatfacto with its loss replaced by a program of the language, as a method for ``ns-train``.

``get_loss_dict`` returns the terms of the program, each with its weight, beside the losses of splatfacto's camera
optimiser and bilateral grid, which stay. Rendering, densification, data and everything else are splatfacto's own.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ...dsl.diagnostics import LossError, LossWarning
from ..extras import require
from . import splatfacto as of
from .splatfacto_model import LossInSplatfacto

require("nerfstudio.models.splatfacto", "nerfstudio")  # where it is missing, this says how to get it

from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes  # noqa: E402
from nerfstudio.engine.trainer import Trainer  # noqa: E402
from nerfstudio.model_components.lib_bilagrid import total_variation_loss  # noqa: E402
from nerfstudio.models.splatfacto import SplatfactoModel, SplatfactoModelConfig  # noqa: E402
from nerfstudio.plugins.types import MethodSpecification  # noqa: E402

__all__ = ["SplatDslSplatfactoModel", "SplatDslSplatfactoModelConfig", "SplatDslTrainer", "splatdsl_splatfacto"]  # noqa: F822

METHOD = "splatdsl-splatfacto"


@dataclass
class SplatDslSplatfactoModelConfig(SplatfactoModelConfig):  # type: ignore[misc]
    """Splatfacto with its loss replaced by a program of the language.

    Raises, when the loss is made:
        LossError: the program or a setting is wrong.
    """

    _target: type[Any] = field(default_factory=lambda: SplatDslSplatfactoModel)
    loss: str = "zoo:splatfacto"
    """The loss: a `.loss` file, `zoo:NAME`, or an expression such as `0.8*l1(masked) + 0.2*ssim_loss(masked)`."""
    loss_params: dict[str, str] = field(default_factory=dict)
    """Values of the program's parameters, such as `ssim_weight 0.3 use_normals true`."""
    backend: str = "inductor"
    """How the loss is compiled: `inductor`, `eager`, or any backend of torch.compile."""
    kernels: str = "auto"
    """What computes windows and means: `auto`, `torch`, or `triton`."""
    max_steps: int | None = None
    """Length of the run for schedules that depend on it; the step at which the trainer ends if not given."""

    def check_loss(self, max_steps: int) -> None:
        """Find what is wrong with the loss before anything is loaded.

        Raises:
            LossError: the program, a parameter or a setting is wrong, or it reads what splatfacto does not render.
        """
        of.check_replaced(self, SplatfactoModelConfig())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LossWarning)  # training says them
            loss_fn = of.make_loss(self.loss, self.loss_params, self.backend, self.kernels)
        of.check_buffers(loss_fn, self.max_steps or max_steps)


class SplatDslSplatfactoModel(LossInSplatfacto, SplatfactoModel):  # type: ignore[misc]
    """Splatfacto whose `get_loss_dict` is a compiled loss."""

    config: SplatDslSplatfactoModelConfig

    def host_losses(self) -> dict[str, Tensor]:
        """Those of the camera optimiser and of the bilateral grid, as splatfacto weighs them."""
        losses: dict[str, Tensor] = {}
        self.camera_optimizer.get_loss_dict(losses)
        if self.config.use_bilateral_grid:
            losses["tv_loss"] = 10 * total_variation_loss(self.bil_grids.grids)
        return losses

    def make_loss(self) -> Any:
        """See `LossInSplatfacto.make_loss`; settings without effect are refused.

        Raises:
            LossError: the program or a setting is wrong.
        """
        of.check_replaced(self.config, SplatfactoModelConfig())
        return super().make_loss()

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        """See splatfacto; the run's length and cameras are known here, and the loss is made."""
        trainer, pipeline = training_callback_attributes.trainer, training_callback_attributes.pipeline
        data = getattr(getattr(pipeline, "datamanager", None), "train_dataset", None)
        # A resumed run trains for that many steps more.
        end = 30_000 if trainer is None else trainer._start_step + trainer.config.max_num_iterations
        self.begin(end, None if data is None else data.cameras.camera_to_worlds[:, :3, 3])
        callbacks: list[TrainingCallback] = super().get_training_callbacks(training_callback_attributes)
        return callbacks


class SplatDslTrainer(Trainer):  # type: ignore[misc]
    """nerfstudio's trainer, which ends with the finding, not with a traceback, where the loss has one.

    The program is checked before data is loaded.
    """

    def __init__(self, config: Any, local_rank: int = 0, world_size: int = 1) -> None:
        check = getattr(config.pipeline.model, "check_loss", None)
        if check is not None:
            with told():
                check(config.max_num_iterations)
        super().__init__(config, local_rank, world_size)

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """See nerfstudio."""
        with told():
            super().setup(*args, **kwargs)

    def train(self) -> None:
        """See nerfstudio."""
        with told():
            super().train()


@contextmanager
def told() -> Iterator[None]:
    """End the program with the text of a `LossError`, exit status 1."""
    try:
        yield
    except LossError as error:
        raise SystemExit(str(error)) from None


def _method() -> MethodSpecification:
    """The method: nerfstudio's own settings of splatfacto, with our model and trainer in them."""
    from nerfstudio.configs.method_configs import method_configs

    config = copy.deepcopy(method_configs["splatfacto"])
    config.method_name = METHOD
    config._target = SplatDslTrainer
    config.pipeline.model = SplatDslSplatfactoModelConfig()
    return MethodSpecification(config=config, description="Splatfacto with its loss from a .loss file.")


def __getattr__(name: str) -> Any:
    # On demand: nerfstudio's module of methods looks for plugins, and so for this one, while it is imported itself.
    if name == "splatdsl_splatfacto":
        return globals().setdefault(name, _method())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
