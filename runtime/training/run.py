"""One call of `SplatTrainer.run`: steps, evaluations, checkpoints and records in their order."""

from __future__ import annotations

import contextlib
import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...dsl.diagnostics import LossError
from ..splat.state import SplatTrainingState
from . import resume as resuming
from .appearance import Appearance
from .batching import ItemLoader
from .checkpoint import read_or_explain
from .config import describe_object
from .densify import Densifier, make_strategy
from .evaluate import Evaluator
from .loop import Hooks, TrainingLoop, scale_for_batch
from .loss_access import LossAccess, restore_state, saved_state
from .ranks import Team
from .ranks_many import ranks_of
from .records import METRICS, RUN, Clock, now, versions
from .result import TrainingResult
from .seeding import background_colors

if TYPE_CHECKING:
    from .trainer import SplatTrainer


class Run:
    """The live parts of one call of `SplatTrainer.run`."""

    def __init__(self, trainer: SplatTrainer[Any, Any], team: Team | None = None) -> None:
        self.trainer = trainer
        self.config = config = trainer.config
        self.strategy = make_strategy(trainer.densification or config.strategy, config, trainer.device)
        self.ranks = ranks = ranks_of(team, trainer.renderer, self.strategy, trainer.loss_fn, trainer.device)
        self.folder = trainer.folder if ranks.first else None  # what only the first writes
        self.renderer = trainer.renderer if ranks.shards is None else ranks.shards.renderer(trainer.renderer)
        provider = trainer.data_provider
        scale = provider.load_data() * config.global_scale
        self.loss = LossAccess(trainer.loss_fn, config.max_steps, {"scene_scale": float(scale)})
        loss_identity = self.loss.identity()  # before any hook: attributes may change while the run goes on
        self.loss.check_buffers(trainer.renderer.buffers, trainer.renderer.name)
        self.loss.check_data(provider)
        model = provider.init_splat_model(
            sh_degree=config.sh_degree, init_opacity=config.init_opacity, init_scale=config.init_scale
        )
        own = model if ranks.shards is None else ranks.shards.model(model)
        self.state = SplatTrainingState.from_splat_model(
            own, scene_scale=scale, device=trainer.device, optimizer=config.optimizer
        )
        scale_for_batch(self.state, config, ranks.world)
        self.densifier = Densifier(ranks.strategy(self.strategy), self.state, scale)
        ranks.reads_views = self.densifier.reads_views
        self.data: dict[str, Any] = {
            "type": type(provider).__name__,
            "train_views": provider.get_train_data_size(),
            "test_views": provider.get_test_data_size(),
            "scene_scale": float(scale),
            "gaussians": model.num_gaussians,
        }
        self.identity = resuming.identity(
            config, loss_identity, describe_object(self.strategy), trainer.renderer.name, self.data, ranks.world
        )
        members = [self.renderer, trainer.loss_fn, provider, self.strategy, *trainer.modules]
        self.hooks = Hooks(members, logger=trainer.logger, world_rank=ranks.rank, world_size=ranks.world)
        views = self.data["train_views"] + self.data["test_views"]
        of_all = replace(config, batch_size=config.batch_size * ranks.world)
        self.appearance = Appearance(of_all, views, trainer.device, self.state.can_skip)
        self.loop = TrainingLoop(
            config, self.state, self.loss, self.renderer, self.densifier, self.hooks, trainer.logger, trainer.note,
            self._recovery, ranks, self.appearance,
        )  # fmt: skip
        self.evaluate = Evaluator(
            provider,
            self.renderer,
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
        self.loss_watch = None
        if trainer.watch_loss:
            from .watch import LossWatch, watched  # loads the compiler

            self.loss_watch = LossWatch(self, watched(trainer.loss_fn, trainer.watch_loss), float(scale), self._save)
        self._saved_at = -1
        self._set_up = False
        self._scale = scale

    def train(self) -> TrainingResult:
        """Everything from the checkpoint to continue from, if there is one, to the exported gaussians."""
        trainer, config, ranks = self.trainer, self.config, self.ranks
        ranks.start(self.state, self.identity)
        for text in ranks.notes:
            trainer.note(text)
        saved = ranks.from_first(self._find_checkpoint)
        ranks.agree(lambda: self._open_folder(saved))
        if self.loss_watch is not None:
            self.loss_watch.start(saved["step"] if saved else 0)
        self._set_up = True
        try:
            self.hooks.call(
                "on_setup",
                renderer=self.renderer,
                data_provider=trainer.data_provider,
                loss_fn=trainer.loss_fn,
                densification=self.strategy,
                modules=trainer.modules,
                max_steps=config.max_steps,
                scene_scale=self._scale,
                appearance=self.appearance,
            )
            if saved is not None:
                self._restore(ranks.own(saved))
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
        place = self.ranks.rank, self.ranks.world
        ahead = config.ahead(trainer.device)
        loader = ItemLoader(trainer.data_provider, config.batch_size, config.max_steps, ahead, *place)
        with loader.running():
            while self.completed < config.max_steps:
                step = self.completed
                item = self.ranks.begin(step, partial(loader.get, step, trainer.device), lambda: trainer.stop_requested)
                if item is None:
                    break
                with self.ranks.connected():
                    if self.loss_watch is not None:
                        self.loss_watch.look(step, item)
                    loss = self.loop.step(step, item)
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
        self.loop.settle()
        row = {
            "step": step,
            **self.loss.numbers(step, loss),
            **self.appearance.row(),
            "gaussians": self.state.num_gaussians,
            "lr/means": self.loop.rate_at(step),
            "seconds": round(self.clock.seconds, 3),
        }
        row = self.ranks.row(row)
        self.trainer.display.row(row)
        if self.folder is not None:
            self.folder.row(row)

    def _evaluate(self) -> None:
        self.loop.settle()
        self.ranks.check_equal(self.state, self.completed, self.appearance.gradients())
        pictures = None
        if self.trainer.folder is not None and self.config.image_count:
            pictures = self.trainer.folder.images_at(self.completed)
        values = self.evaluate(self.state, pictures, self.ranks)
        if not values:
            return
        self.images = pictures
        self.after = values
        if self.completed == 0:
            self.before = values
        self.trainer.display.evaluation(self.completed, values)
        seconds = round(self.clock.seconds, 3)
        row = {"step": self.completed, **values, "gaussians": self.state.num_gaussians, "seconds": seconds}
        row = self.ranks.row(row)
        if self.folder is not None:
            self.folder.row(row)

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
            resuming.check(saved["identity"], self.identity, str(where), (saved.get("ranks", 1), self.ranks.world))
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
        part.update(self.ranks.describe())
        entries = {
            "status": "running",
            "started": earlier.get("started", part["started"]),
            "command": command,
            "seed": config.seed,
            "device": str(trainer.device),
            "config": config.resolved(str(folder.folder), str(trainer.device)),
            "densification": describe_object(self.strategy),
            "renderer": trainer.renderer.name,
            "data": self.data,
            "loss": self.loss.describe(),
            "versions": versions(),
            "parts": [*earlier.get("parts", []), part],
        }
        if changes := [entry for entry in earlier.get("loss_changes", []) if entry["step"] <= step]:
            entries["loss_changes"] = changes
        folder.write_run(**{**trainer.run_info, **entries})

    def _save(self) -> None:
        self.loop.settle()  # nothing that is not finite reaches a checkpoint
        self._saved_at = self.completed
        if self.trainer.folder is None:
            return
        of_gaussians = {
            "state": self.state.state_dict(),
            "densification": self.densifier.state_dict(),
            "loss": saved_state(self.trainer.loss_fn),
            "modules": [saved_state(module) for module in self.trainer.modules],
        }
        if self.appearance:
            of_gaussians["appearance"] = self.appearance.state_dict()
        of_all = self.ranks.collect(of_gaussians, self.state)
        self.checkpoint = self.ranks.from_first(lambda: self._write(of_all))
        self.ranks.saved(self.checkpoint)

    def _write(self, of_gaussians: dict[str, Any]) -> Path | None:
        if self.folder is None:
            return None
        return self.folder.checkpoints.save(
            {
                "step": self.completed,
                "identity": self.identity,
                "versions": versions(),
                **of_gaussians,
                "scheduler": {"means": self.loop.means_rate},
                "metrics_bytes": self.folder.metrics_bytes,
                "seconds": self.clock.seconds,
                "before": self.before,
                "after": self.after,
                "ranks": self.ranks.world,
            }
        )

    def _restore(self, saved: dict[str, Any]) -> None:
        self.completed = self._saved_at = saved["step"]
        self.state.load_state_dict(saved["state"])
        self.loop.means_rate = saved["scheduler"]["means"]
        self.densifier.load_state_dict(saved["densification"], self.state.device)
        if self.appearance:
            self.appearance.load_state_dict(saved["appearance"])
        restore_state(self.trainer.loss_fn, saved["loss"])
        for module, part in zip(self.trainer.modules, saved["modules"]):
            restore_state(module, part)
        self.before, self.after = saved["before"], saved["after"]
        self.clock = Clock(saved["seconds"])
        if self.trainer.folder is not None:
            self.checkpoint = self.ranks.from_first(self._newest)
            self.ranks.saved(self.checkpoint)
        if self.folder is not None:
            pictures = self.folder.images_at(self.completed)
            self.images = pictures if pictures.is_dir() else None
        self.trainer.note(f"continuing at step {self.completed} of {self.config.max_steps}")

    def _newest(self) -> Path | None:
        return None if self.folder is None else next(iter(self.folder.checkpoints.paths()), None)

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
        whole = self.ranks.whole(self.state) if finished and self.trainer.folder is not None else None
        model = folder.export(whole) if folder is not None and whole is not None else None
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
