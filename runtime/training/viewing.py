"""The viewer beside a training, and of a run that is over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...dsl.config import RunConfig, load_config
from ...dsl.diagnostics import LossError
from ..modules import SplatBaseModule
from ..payload import SplatRenderPayload
from ..renderers.base import make_renderer
from ..splat.model import SplatModel
from ..splat.state import SplatTrainingState
from ..viewer import HOST, PORT, Viewer
from ..viewer_frames import Frames
from .appearance import Appearance
from .checkpoint import CheckpointStore, read_or_explain
from .config import SplatTrainerConfig, training_error
from .loss_access import restore_state
from .records import RUN
from .setup import build_loss, build_provider, trainer_config
from .trainer import pick_device

SHARE = 0.2
"""Part of the time that drawing may take from a training that is not paused."""


class TrainingViewer(SplatBaseModule[SplatRenderPayload]):
    """A module of the trainer that shows the run in a browser. It draws between steps, in the thread that trains.

    What it does changes no number of the run.

    Args:
        config: the settings of the run.
        host, port: see `Viewer`.
        say: gets the address.
        share: part of the time that drawing may take, 0..1, exclusive.
        clock: seconds.

    Attributes:
        viewer: the viewer, while the run lasts.
        stopped: whether the run is to end, so that a pause must too.
    """

    def __init__(
        self,
        config: SplatTrainerConfig,
        host: str = HOST,
        port: int = PORT,
        say: Callable[[str], None] = lambda text: None,
        share: float = SHARE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._host, self._port = config, host, port
        self._say, self._share, self._clock = say, share, clock
        self._next = 0.0
        self.viewer: Viewer | None = None
        self.stopped: Callable[[], bool] = lambda: False

    def on_setup(  # type: ignore[override]
        self,
        renderer: Any = None,
        data_provider: Any = None,
        loss_fn: Any = None,
        max_steps: int = 0,
        world_size: int = 1,
        scene_scale: float = 1.0,
        appearance: Any = None,
        **others: Any,
    ) -> None:
        """Start to serve.

        Raises:
            LossError: RUN003, several processes train together: a pause of one would hold all.
        """
        if world_size > 1:
            raise training_error("RUN003", f"the viewer is for one process, and {world_size} train together")
        frames = Frames(
            renderer,
            data_provider,
            loss_fn,
            max_steps,
            self._config.background,
            {"scene_scale": float(scene_scale)},
            appearance.apply if appearance else None,
            self._config.sh_degree_interval,
        )
        self.viewer = Viewer(frames, self._host, self._port, can_pause=True, clock=self._clock)
        self._say(f"viewer: {self.viewer.address}")

    def post_step(self, step: int = 0, training_state: Any = None, **others: Any) -> None:  # type: ignore[override]
        """Draw what browsers wait for, if it has not taken too much time lately; stay while they pause the run."""
        viewer = self.viewer
        if viewer is None:
            return
        viewer.frames.state, viewer.frames.step = training_state, step
        try:
            self._look(viewer)
        except Exception as error:  # such as a lack of memory: whoever looks on must not end the run
            self._say(f"the viewer is closed, training goes on: {type(error).__name__}: {error}")
            self.on_cleanup()

    def _look(self, viewer: Viewer) -> None:
        began = self._clock()
        if began >= self._next:
            viewer.advance()
            if viewer.pending():
                viewer.serve()
                took = self._clock() - began
                self._next = self._clock() + took * (1 - self._share) / self._share
        while viewer.paused and not self.stopped():
            viewer.serve()
            viewer.wait(0.1)

    def on_cleanup(self, **others: Any) -> None:  # type: ignore[override]
        """Stop to serve."""
        if self.viewer is not None:
            self.viewer.close()
            self.viewer = None


def open_run(path: Path, device: str = "auto") -> tuple[Frames, list[str]]:
    """The pictures of a run that has ended or been stopped, and what the reader should know.

    Args:
        path: the run's folder, or one of its checkpoints.
        device: where to draw.

    Raises:
        LossError: there is no run or no checkpoint (RUN006), or what it was made of is not there any more.
    """
    folder = path.parent.parent if path.is_file() else path
    config = _config_of(folder)
    saved: dict[str, Any] | None
    unreadable: list[Path] = []
    if path.is_file():
        saved = read_or_explain(path)
    else:
        saved, unreadable = CheckpointStore(folder / "checkpoints").load_newest()
    if saved is None:
        raise training_error("RUN006", f"{folder} holds no checkpoint")
    notes = [f"{damaged} cannot be read and is passed over for the one before" for damaged in unreadable]
    settings = trainer_config(config)
    place = pick_device(device)
    loss = build_loss(config, place)
    if loss.fingerprint != saved["identity"]["loss"].get("fingerprint"):
        notes.append("the loss has changed since this checkpoint was written: its terms are those of now")
    provider = build_provider(config.data, settings.seed, place, settings.background, loss.program.inputs)
    scale = provider.load_data() * settings.global_scale
    try:
        restore_state(loss, saved["loss"])
    except LossError as error:
        notes += [f"the state of the loss is left out: {found.message}" for found in error.diagnostics]
    appearance: Appearance | None = None
    if "appearance" in saved:
        views = provider.get_train_data_size() + provider.get_test_data_size()
        appearance = Appearance(settings, views, place, False)
        appearance.load_state_dict(saved["appearance"])
    frames = Frames(
        # A run on CUDA can be looked at without: gsplat and the reference draw the same.
        make_renderer("reference" if config.renderer.kind == "reference" else "auto", place),
        provider,
        loss,
        settings.max_steps,
        settings.background,
        {"scene_scale": float(scale)},
        appearance.apply if appearance else None,
        settings.sh_degree_interval,
    )
    frames.state = SplatTrainingState(SplatModel.from_parameters(saved["state"]["params"]), device=place)
    frames.step = min(max(saved["step"] - 1, 0), settings.max_steps - 1)
    return frames, notes


def _config_of(folder: Path) -> RunConfig:
    """The config that a run was started with, as its `run.json` has it.

    Raises:
        LossError: RUN006, there is no run, or it was not started with a config; what is wrong with the config.
    """
    try:
        record = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise training_error(
            "RUN006",
            f"{folder} holds no run: {error}",
            help=("name the `output` folder of a run, or a checkpoint in it",),
        ) from error
    values = record.get("run_config") if isinstance(record, Mapping) else None
    if not isinstance(values, Mapping):
        raise training_error("RUN006", f"the run in {folder} was not started with a config, so its data is not known")
    config, found = load_config(folder / RUN, text=json.dumps(values))  # JSON is YAML
    if config is None:
        raise LossError(found)
    return config
