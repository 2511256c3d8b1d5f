"""Trainings of one process or of one of several, for `test_train_ranks.py`: ``python train_ranks_worker.py FOLDER``.

Rank 0 prints one line of JSON for each training.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from splatdsl.dsl.diagnostics import Diagnostic, LossError
from splatdsl.dsl.source import Source
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.loading import compile
from splatdsl.runtime.loss_fn import SplatLossFn
from splatdsl.runtime.modules import SplatBaseModule
from splatdsl.runtime.renderers.gsplat_renderer import GsplatRenderer
from splatdsl.runtime.renderers.reference import ReferenceRenderer
from splatdsl.runtime.training.config import SplatTrainerConfig
from splatdsl.runtime.training.ranks import Team
from splatdsl.runtime.training.ranks_many import checksum
from splatdsl.runtime.training.ranks_shards import Shards
from splatdsl.runtime.training.ranks_start import find_place, started
from splatdsl.runtime.training.trainer import SplatTrainer

STEPS = 6
LOSS = "term photometric = l1(rendered, target)\nterm regulariser = 0.01 * mean(state.opacities)\n"


class RowsOfAll(torch.autograd.Function):
    """Rows of all ranks, in their order, as gsplat's exchange brings them together; gradients go back to the owner."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, value.detach())
        ctx.counts = [len(part) for part in parts]
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.split(ctx.counts)[dist.get_rank()]


def rasterization(means, quats, scales, opacities, colors, viewmats, Ks, width, height, distributed=False, **options):
    """The results of `gsplat.rasterization`, drawn by the reference renderer."""
    assert options["packed"] is False
    assert not options["absgrad"]
    state = {"means": means, "quats": quats, "scales": scales.log(), "opacities": opacities.logit()}
    state.update(sh0=colors[:, :1], shN=colors[:, 1:])
    cameras = len(viewmats)
    if distributed:
        cameras *= dist.get_world_size()
        state = {name: RowsOfAll.apply(value) for name, value in state.items()}
    images, payload = ReferenceRenderer().render(
        state, torch.linalg.inv(viewmats), Ks, width, height, options["sh_degree"], options["backgrounds"]
    )
    radii = torch.ones(cameras, len(means), 2, dtype=torch.int32)
    return images, payload.alphas, {"radii": radii, "means2d": torch.zeros(cameras, len(means), 2, requires_grad=True)}


def gsplat_renderer() -> GsplatRenderer:
    made = GsplatRenderer()
    made._rasterization = rasterization
    return made


class ByHand(SplatLossFn[Any]):
    """A loss in Python, which knows nothing of ranks."""

    def compute_loss(self, rendered_frames, target_frames, **others):
        return (rendered_frames - target_frames).square().mean()


class BadOnOne(ByHand):
    """The same, which rank 1 cannot compute once."""

    def compute_loss(self, rendered_frames, target_frames, step, **others):
        value = super().compute_loss(rendered_frames, target_frames)
        return value * float("nan") if step == 2 and dist.get_rank() == 1 else value


class Nudge(SplatBaseModule[Any]):
    """Moves a gaussian on rank 1 alone."""

    def on_optimize(self, step, training_state):
        if step == 1 and dist.get_rank() == 1:
            training_state.params["means"].data[0] += 1e-4


class Interrupt(SplatBaseModule[Any]):
    """Sends Ctrl-C to rank 1 alone."""

    def pre_step(self, step, world_rank):
        if step == 2 and world_rank == 1:
            os.kill(os.getpid(), signal.SIGINT)


class Fail(SplatBaseModule[Any]):
    """Gives up on rank 1 alone, in the middle of a step."""

    def pre_compute_loss(self, step, world_rank):
        if step == 2 and world_rank == 1:
            raise LossError([Diagnostic("RUN003", "this rank gives up", Source("", "<test>"), None)])


class Views(SyntheticDataProvider):
    """The built-in scene, one view of which cannot be read, or is smaller."""

    unreadable = odd = -1

    def next_train_data(self, step):
        item = super().next_train_data(step)
        if step == self.unreadable:
            raise LossError([Diagnostic("DAT016", "the image cannot be read", Source("", "<test>"), None)])
        return replace(item, image=item.image[:, 1:], mask=None, depth_map=None) if step == self.odd else item


def scene(**options: Any) -> Views:
    made = Views(width=24, height=16, views=9, test_every=3, points=101)
    vars(made).update(options)
    return made


def trainer(folder: Path, loss: Any = None, data: Any = None, batch: int = 2, **options: Any) -> SplatTrainer[Any, Any]:
    """A training with two views a step, on as many ranks as there are."""
    config = SplatTrainerConfig(
        max_steps=STEPS,
        batch_size=batch // (dist.get_world_size() if dist.is_initialized() else 1),
        strategy="none",
        sh_degree=1,
        checkpoint_every=3,
        keep_checkpoints=0,
        log_every=1,
        images=2,
        tensorboard=False,
        device="cpu",
        background="random",
        exposure=True,
    )
    loss = loss or compile(LOSS, backend="eager", kernels="torch")
    return SplatTrainer(config, loss, data or scene(), output=folder, display="none", **options)


def failing(made: SplatTrainer[Any, Any]) -> dict[str, Any]:
    """How a training fails."""
    try:
        made.run()
    except LossError as error:
        found = error.diagnostics
        return {"codes": [d.code for d in found], "text": "\n".join([found[0].message, *found[0].notes])}
    return {"codes": []}


def say(**values: Any) -> None:
    if dist.get_rank() == 0:
        print(json.dumps(values), flush=True)


def divided(folder: Path) -> None:
    """Trainings on shards, in emulation of gsplat's exchange."""
    Shards.suits = staticmethod(lambda renderer, strategy, device: True)  # type: ignore[method-assign, assignment]
    made = trainer(folder / "shards", renderer=gsplat_renderer()).run()
    say(own=made.state.num_gaussians, after=made.after)
    trainer(folder / "from one", renderer=gsplat_renderer(), resume=True).run()
    Shards.suits = staticmethod(lambda renderer, strategy, device: False)  # type: ignore[method-assign, assignment]


def copied(folder: Path, team: Team) -> None:
    """Trainings on copies, and failures of them."""
    made = trainer(folder / "by hand", loss=ByHand()).run()
    sums: list[Any] = [None, None]
    dist.all_gather_object(sums, [checksum(value) for value in made.state.params.values()])
    say(same=sums[0] == sums[1], after=made.after)
    view = 3 if dist.get_rank() == 1 else -1
    say(**failing(trainer(folder / "unreadable", data=scene(unreadable=view))))
    say(**failing(trainer(folder / "odd", data=scene(odd=view))))
    say(**failing(trainer(folder / "drifted", modules=[Nudge()])))
    say(**failing(trainer(folder / "by hand", loss=ByHand(), batch=4, resume=True)))
    say(**failing(trainer(folder / "not finite", loss=BadOnOne())))
    made = trainer(folder / "interrupted", modules=[Interrupt()])
    with team.watch.signals(made.request_stop):
        result = made.run()
    steps: list[Any] = [None, None]
    dist.all_gather_object(steps, (result.steps, result.finished))
    say(steps=steps, checkpoint=str(result.checkpoint))
    last = trainer(folder / "failed", modules=[Fail()])
    if dist.get_rank() == 1:
        last.run()
    say(**failing(last))


if __name__ == "__main__":
    place = find_place()
    assert place is not None
    with started(place) as joined:
        divided(Path(sys.argv[1]))
        copied(Path(sys.argv[1]), joined)
        sys.stdout.flush()
        os._exit(1)  # the last of them has lost the other rank
