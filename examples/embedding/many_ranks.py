"""A compiled loss in a loop of one's own on several processes, each with its own views of the same gaussians.

    torchrun --nproc-per-node 2 examples/embedding/many_ranks.py [--loss FILE] [--steps 20]

Two ranks with one view each take the same steps as one process with both: started without torchrun, this is that
process. The scene and the renderer are splatdsl's own, for small scenes on any machine.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import torch
import torch.distributed as dist

import splatdsl
from splatdsl.runtime import SplatTrainingState, SyntheticDataProvider, make_renderer

PROGRAM = """
term photometric = 0.8 * l1(masked) + 0.2 * ssim_loss(masked)
term few         = ramp(step, 20) * 0.002 * reg(state)
"""


def main(arguments: Sequence[str] | None = None) -> list[float]:
    """Train; the losses of the steps, which are the same on every rank."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--loss", help="a .loss file, or zoo:NAME")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--backend", default="inductor")
    parser.add_argument("--views", type=int, default=2, help="in a step, on all ranks together")
    cfg = parser.parse_args(arguments)

    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)

    data = SyntheticDataProvider(width=64, height=48, views=12, points=500, masks=True)
    scale = data.load_data()
    params = SplatTrainingState.from_splat_model(data.init_splat_model(sh_degree=1), scale, "cpu").params
    optimizer = torch.optim.Adam(
        [{"params": [p], "lr": 1e-3 * scale if name == "means" else 1e-2} for name, p in params.items()]
    )
    renderer = make_renderer("reference", "cpu")
    make = splatdsl.load if cfg.loss else splatdsl.compile
    loss_fn = make(cfg.loss or PROGRAM, backend=cfg.backend)

    losses = []
    for step in range(cfg.steps):
        # Views of the step by turns: each rank renders its own.
        mine = [data.next_train_data(step * cfg.views + i) for i in range(rank, cfg.views, size)]
        image, mask = torch.cat([x.image for x in mine]), torch.cat([x.mask for x in mine])
        pose, K = torch.cat([x.cam_to_world for x in mine]), torch.cat([x.K for x in mine])
        rendered, payload = renderer.render(params, pose, K, image.shape[2], image.shape[1])

        loss = loss_fn(
            rendered=rendered, target=image, mask=mask, state=params, render=payload, step=step, max_steps=cfg.steps
        )
        optimizer.zero_grad()
        loss.backward()
        if size > 1:  # the sum over ranks is the gradient of one process with all views
            for parameter in params.values():
                dist.all_reduce(parameter.grad)
        optimizer.step()
        losses.append(loss.item())
        if rank == 0 and step % 5 == 0:
            terms = ", ".join(f"{name} {value:.4f}" for name, value in loss_fn.terms.items())
            print(f"step {step}: loss {losses[-1]:.4f} ({terms})")
    if rank == 0:
        print(f"loss {losses[0]:.6f} -> {losses[-1]:.6f} on {size} rank{'s' if size > 1 else ''}")
    if dist.is_initialized():
        dist.destroy_process_group()
    return losses


if __name__ == "__main__":
    main()
