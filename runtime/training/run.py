"""One call of `SplatTrainer.run`: steps, evaluations, checkpoints and records in their order."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...dsl.diagnostics import LossError
from ..splat.state import SplatTrainingState
from . import resume as resuming
from .batching import ItemLoader
from .checkpoint import read_or_explain
from .densify import Densifier, make_strategy
from .evaluate import Evaluator
from .loop import Hooks, TrainingLoop, scale_for_batch
from .loss_access import LossAccess, restore_state, saved_state
from .records import METRICS, RUN, Clock, now, versions
from .result import TrainingResult
from .seeding import background_colors

if TYPE_CHECKING:
    from .trainer import SplatTrainer


class Run:
    """The live parts of one call of `SplatTrainer.run`."""

    def __init__(self, trainer: SplatTrainer[Any, Any]) -> None:
        self.trainer = trainer
        self.config = config = trainer.config
        self.folder = trainer.folder
        self.strategy = make_strategy(trainer.densification or config.strategy, config, trainer.device)
        provider = trainer.data_provider
        scale = provider.load_data() * config.global_scale
        self.loss = LossAccess(trainer.loss_fn, config.max_steps, {"scene_scale": float(scale)})
        loss_identity = self.loss.identity()  # before any hook: attributes may change while the run goes on
        self.loss.check_buffers(trainer.renderer.buffers, trainer.renderer.name)
        self.loss.check_data(provider)
        model = provider.init_splat_model(
            sh_degree=config.sh_degree, init_opacity=config.init_opacity, init_scale=config.init_scale
        )
        self.state = SplatTrainingState.from_splat_model(model, scene_scale=scale, device=trainer.device)
        scale_for_batch(self.state, config)
        self.densifier = Densifier(self.strategy, self.state, scale)
        self.data = {
            "type": type(provider).__name__,
            "train_views": provider.get_train_data_size(),
            "test_views": provider.get_test_data_size(),
            "scene_scale": float(scale),
            "gaussians": model.num_gaussians,
        }
        self.identity = resuming.identity(
            config, loss_identity, self.densifier.describe(), trainer.renderer.name, self.data
        )
        members = [trainer.renderer, trainer.loss_fn, provider, self.strategy, *trainer.modules]
        self.hooks = Hooks(members, logger=trainer.logger, world_rank=0, world_size=1)
        self.loop = TrainingLoop(
            config, self.state, self.loss, trainer.renderer, self.densifier, self.hooks, trainer.logger, trainer.note,
            self._recovery,
        )  # fmt: skip
        self.evaluate = Evaluator(
            provider,
            trainer.renderer,
            background_colors("white" if config.background == "white" else "black", 1, 0, 0, trainer.device),
            config.image_count,
            trainer.note,
        )
        self.completed = 0
        self.before: dict[str, float] = {}
        self.after: dict[str, float] = {}
        self.images: Path | None = None
        self.checkpoint: Path | None = None
        self.clock = Clock()
        self._saved_at = -1
        self._set_up = False
        self._scale = scale

    def train(self) -> TrainingResult:
        """Everything from the checkpoint to continue from, if there is one, to the exported gaussians."""
        trainer, config = self.trainer, self.config
        saved = self._find_checkpoint()
        self._open_folder(saved)
        self._set_up = True
        try:
            self.hooks.call(
                "on_setup",
                renderer=trainer.renderer,
                data_provider=trainer.data_provider,
                loss_fn=trainer.loss_fn,
                densification=self.strategy,
                modules=trainer.modules,
                max_steps=config.max_steps,
                scene_scale=self._scale,
            )
            if saved is not None:
                self._restore(saved)
            trainer.display.start(self.completed, config.max_steps)
            if self.completed == 0:
                self._evaluate()
                self._save()
            self._steps()
            return self._finish()
        except LossError as error:
            self._end_record("failed", error=[d.message for d in error.diagnostics])
            raise
        except BaseException as error:
            self._end_record("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise

    def _steps(self) -> None:
        config, trainer = self.config, self.trainer
        loader = ItemLoader(trainer.data_provider, config.batch_size, config.max_steps, config.num_workers)
        with loader.running():
            while self.completed < config.max_steps and not trainer.stop_requested:
                step = self.completed
                loss = self.loop.step(step, loader.get(step, trainer.device))
                last = step + 1 == config.max_steps
                if step % config.log_every == 0 or last:
                    self._log(step, loss)
                self.completed = step + 1
                trainer.display.tick(self.completed)
                if last or (config.eval_every and self.completed % config.eval_every == 0):
                    self._evaluate()
                if config.checkpoint_every and self.completed % config.checkpoint_every == 0:
                    self._save()
        if self.completed != self._saved_at:
            self._save()

    def _log(self, step: int, loss: torch.Tensor) -> None:
        row = {
            "step": step,
            **self.loss.numbers(step, loss),
            "gaussians": self.state.num_gaussians,
            "lr/means": self.loop.rate_at(step),
            "seconds": round(self.clock.seconds, 3),
        }
        self.trainer.display.row(row)
        if self.folder is not None:
            self.folder.row(row)

    def _evaluate(self) -> None:
        pictures = None
        if self.folder is not None and self.config.image_count:
            pictures = self.folder.images_at(self.completed)
        values = self.evaluate(self.state, pictures)
        if not values:
            return
        self.images = pictures
        self.after = values
        if self.completed == 0:
            self.before = values
        self.trainer.display.evaluation(self.completed, values)
        if self.folder is not None:
            seconds = round(self.clock.seconds, 3)
            self.folder.row(
                {"step": self.completed, **values, "gaussians": self.state.num_gaussians, "seconds": seconds}
            )

    # Checkpoints and records

    def _recovery(self) -> str:
        if self.checkpoint is None:
            return "no checkpoint was written" + ("" if self.folder else ": the run has no `output` folder")
        return f"nothing was updated at this step; the last checkpoint is {self.checkpoint}"

    def _find_checkpoint(self) -> dict[str, Any] | None:
        """The checkpoint to continue from, checked to belong to this run."""
        trainer = self.trainer
        saved: dict[str, Any] | None
        where: Path | None
        if trainer.ckpt_path is not None:
            saved, where = read_or_explain(trainer.ckpt_path), trainer.ckpt_path
        elif trainer.resume and self.folder is not None:
            saved, unreadable = self.folder.checkpoints.load_newest()
            where = self.folder.folder
            for path in unreadable:
                trainer.note(f"{path} cannot be read and is passed over for the one before")
            if saved is None:
                trainer.note(f"{where} holds no checkpoint yet: the run starts at step 0")
        else:
            return None
        if saved is not None:
            resuming.check(saved["identity"], self.identity, str(where))
            for package, version in versions().items():
                before = saved["versions"].get(package)
                if before not in (None, version):
                    trainer.note(f"{package} was {before}, is {version}: the last digits of numbers may differ")
        return saved

    def _open_folder(self, saved: dict[str, Any] | None) -> None:
        folder, config, trainer = self.folder, self.config, self.trainer
        if folder is None:
            return
        if trainer.overwrite and not trainer.resume:
            folder.clear()
        step = saved["step"] if saved else 0
        keep = saved["metrics_bytes"] if saved and trainer.resume else 0
        folder.checkpoints.drop_after(step if saved else -1)
        folder.open(keep_bytes=keep, first_step=step, tensorboard=config.tensorboard)
        earlier = folder.read_run() if saved else {}
        command = shlex.join(sys.argv)
        part = {"started": now(), "from_step": step, "command": command, "versions": versions()}
        entries = {
            "status": "running",
            "started": earlier.get("started", part["started"]),
            "command": command,
            "seed": config.seed,
            "device": str(trainer.device),
            "config": config.resolved(str(folder.folder), str(trainer.device)),
            "densification": self.densifier.describe(),
            "renderer": trainer.renderer.name,
            "data": self.data,
            "loss": self.loss.describe(),
            "versions": versions(),
            "parts": [*earlier.get("parts", []), part],
        }
        folder.write_run(**{**trainer.run_info, **entries})

    def _save(self) -> None:
        self._saved_at = self.completed
        if self.folder is None:
            return
        self.checkpoint = self.folder.checkpoints.save(
            {
                "step": self.completed,
                "identity": self.identity,
                "versions": versions(),
                "state": self.state.state_dict(),
                "scheduler": {"means": self.loop.means_rate},
                "densification": self.densifier.state_dict(),
                "loss": saved_state(self.trainer.loss_fn),
                "modules": [saved_state(module) for module in self.trainer.modules],
                "metrics_bytes": self.folder.metrics_bytes,
                "seconds": self.clock.seconds,
                "before": self.before,
                "after": self.after,
            }
        )

    def _restore(self, saved: dict[str, Any]) -> None:
        self.completed = self._saved_at = saved["step"]
        self.state.load_state_dict(saved["state"])
        self.loop.means_rate = saved["scheduler"]["means"]
        self.densifier.load_state_dict(saved["densification"], self.state.device)
        restore_state(self.trainer.loss_fn, saved["loss"])
        for module, part in zip(self.trainer.modules, saved["modules"]):
            restore_state(module, part)
        self.before, self.after = saved["before"], saved["after"]
        self.clock = Clock(saved["seconds"])
        if self.folder is not None:
            self.checkpoint = next(iter(self.folder.checkpoints.paths()), None)
            pictures = self.folder.images_at(self.completed)
            self.images = pictures if pictures.is_dir() else None
        self.trainer.note(f"continuing at step {self.completed} of {self.config.max_steps}")

    def _end_record(self, status: str, **entries: Any) -> None:
        if self.folder is None:
            return
        ended = {"ended": now(), "to_step": self.completed, "status": status}
        parts = self.folder.run["parts"]
        parts[-1].update(ended)
        with contextlib.suppress(LossError):  # what ended the run matters more than that it cannot be recorded
            self.folder.write_run(
                status=status, ended=ended["ended"], steps=self.completed, seconds=round(self.clock.seconds, 3),
                before=self.before, after=self.after, **entries,
            )  # fmt: skip

    def _finish(self) -> TrainingResult:
        folder, finished = self.folder, self.completed == self.config.max_steps
        model = folder.export(self.state) if folder is not None and finished else None
        self._end_record("finished" if finished else "interrupted")
        result = TrainingResult(
            state=self.state,
            steps=self.completed,
            finished=finished,
            seconds=self.clock.seconds,
            before=self.before,
            after=self.after,
            output=folder.folder if folder else None,
            metrics=folder.folder / METRICS if folder else None,
            run=folder.folder / RUN if folder else None,
            checkpoint=self.checkpoint,
            model=model,
            images=self.images,
        )
        self.trainer.display.finish(result)
        return result

    def close(self) -> None:
        """Call the last hook and close the files, however the run ended."""
        if self._set_up:
            self.hooks.call("on_cleanup")
        if self.folder is not None:
            self.folder.close()
