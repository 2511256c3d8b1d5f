"""The trainer: a run from its first evaluation to the exported gaussians, with everything that is recorded."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
import torch.distributed as dist

from ..data.base import SplatDataItem, SplatDataProvider
from ..loss_fn import SplatLossFn
from ..payload import SplatRenderPayloadT
from ..renderers.base import SplatRenderer, make_renderer
from .config import SplatTrainerConfig, training_error
from .display import Display, TrainingDisplay
from .ranks import Team
from .ranks_start import find_place, own_device
from .records import RunFolder
from .result import TrainingResult
from .run import Run
from .seeding import borrowed_generators

if TYPE_CHECKING:
    from .watch import Watched

SplatDataItemT = TypeVar("SplatDataItemT", bound=SplatDataItem)


class SplatTrainer(Generic[SplatDataItemT, SplatRenderPayloadT]):
    """Trains gaussians on the views of a data provider by a loss function.

    Where torch.distributed is initialised with several processes, they train together: each renders its own part of
    the views of a step, and the first one writes and shows.

    Example:
        >>> SplatTrainer(config=SplatTrainerConfig(max_steps=300), loss_fn=loss_fn, data_provider=provider).run()

    Args:
        config: the settings.
        loss_fn: compiled from the loss language, or written in Python against `SplatLossFn`.
        data_provider: supplies the views and a model to start from.
        renderer: gsplat on CUDA and the reference renderer elsewhere, if None.
        densification: a gsplat ``Strategy`` object; what ``config.strategy`` says, if None.
        modules: more objects whose hooks are called.
        logger: gets what is worth a note; ``splatdsl.train`` if None.
        ckpt_path: a checkpoint to continue from.
        output: folder for everything that is written; ``config.output`` if None.
        resume: continue the run in the output folder, from its newest checkpoint.
        overwrite: remove the run that the output folder holds, and start anew.
        display: shows the progress; ``"auto"``: a bar if standard error is a terminal, otherwise nothing.
        run_info: more entries for ``run.json``.
        watch_loss: take changes of the loss's file while training, see `watch.LossWatch`: True for the file that the
            loss was loaded from, or that file; False: never look.

    Raises:
        LossError: the device does not exist (RUN007), or the output folder holds a run already (RUN004).
    """

    def __init__(
        self,
        config: SplatTrainerConfig,
        loss_fn: SplatLossFn[Any],
        data_provider: SplatDataProvider,
        renderer: SplatRenderer | None = None,
        densification: Any = None,
        modules: Sequence[Any] = (),
        logger: logging.Logger | None = None,
        ckpt_path: str | Path | None = None,
        output: str | Path | None = None,
        resume: bool = False,
        *,
        overwrite: bool = False,
        display: Display | str = "auto",
        run_info: Mapping[str, Any] | None = None,
        watch_loss: bool | str | Path | Watched = False,
    ) -> None:
        self.config = config
        self.loss_fn = loss_fn
        self.data_provider = data_provider
        self.device = pick_device(config.device)
        self.renderer = renderer or make_renderer("auto", self.device)
        self.densification = densification
        self.modules = tuple(modules)
        self.logger = logger or logging.getLogger("splatdsl.train")
        where = config.output if output is None else output
        self.folder = None if where is None else RunFolder(Path(where), config.keep_checkpoints)
        self.ckpt_path = None if ckpt_path is None else Path(ckpt_path)
        self.resume = resume
        self.overwrite = overwrite
        self.run_info = dict(run_info or {})
        self.watch_loss = watch_loss
        if isinstance(display, Display):
            self.display = display
        else:
            self.display = TrainingDisplay() if display == "auto" and sys.stderr.isatty() else Display()
        self.stop_requested = False
        if self.folder is not None and self.folder.holds_run and not (resume or overwrite):
            raise training_error(
                "RUN004",
                f"{self.folder.folder} already holds a run",
                help=(
                    "continue it with `--resume` (in Python, `resume=True`)",
                    "or start over with `--overwrite` (in Python, `overwrite=True`)",
                    "or choose another `output` folder",
                ),
            )

    def request_stop(self) -> None:
        """Ask the run to end after the present step, with a checkpoint; callable from a signal handler."""
        self.stop_requested = True

    def note(self, text: str) -> None:
        """Tell the reader something, on the display and in the log."""
        self.display.note(text)
        self.logger.info(text)

    def run(self) -> TrainingResult:
        """Train.

        Raises:
            LossError: bad input of any kind; a loss or gradient that is not finite (RUN001, RUN002); one of several
                processes is gone (RUN019).
        """
        with borrowed_generators(), contextlib.ExitStack() as stack:
            stack.callback(self.display.close)
            team = stack.enter_context(Team.present())
            if self.device.type == "cuda" and team is not None:
                torch.cuda.set_device(self.device)
            run = Run(self) if team is None else team.agree(lambda: Run(self, team))
            stack.callback(run.close)
            return run.train()


def pick_device(name: str) -> torch.device:
    """The device of a name; ``"auto"`` is CUDA where there is one. Of several processes each takes one of its own.

    Raises:
        LossError: RUN007, there is no such device; RUN023, there is none for this process.
    """
    place = find_place() if dist.is_available() and dist.is_initialized() else None
    if place is not None:
        name = own_device(name, place)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        present = device.type != "cuda" or (device.index or 0) < torch.cuda.device_count()
    except RuntimeError:  # a name that torch does not know
        present = False
    if not present:
        raise training_error(
            "RUN007", f"`device` is {name!r}, and torch sees no such device", help=("use `device: auto` or `cpu`",)
        )
    return device
