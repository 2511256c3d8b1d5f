"""A `.loss` file in a loop like that of gsplat's `simple_trainer_2dgs.py`, on the built-in scene.

On a CUDA device gsplat draws; elsewhere functions in torch with its signature do, for small scenes such as this one.

    python examples/embedding/gsplat_2dgs_trainer.py [--loss zoo:gsplat-2dgs] [--steps 60] [--batch 2]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from gsplat.strategy import DefaultStrategy
from torch import Tensor

import splatdsl
from splatdsl.runtime import SplatTrainingState, SyntheticDataProvider
from splatdsl.runtime.adapters.gsplat import GsplatLoss, stack_points
from splatdsl.runtime.renderers.gsplat_like import functions


class Runner:
    """2D gaussians, optimisers, a strategy and a loss."""

    def __init__(self, cfg: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.cfg, self.device = cfg, torch.device(cfg.device)
        self.data = SyntheticDataProvider(width=64, height=48, views=16, points=600, device=self.device)
        self.scene_scale = self.data.load_data()
        model = self.data.init_splat_model(sh_degree=1)
        state = SplatTrainingState.from_splat_model(model, self.scene_scale, cfg.device)
        self.splats, self.optimizers = state.params, state.optimizers
        _, self.rasterization_2dgs = functions(self.device)

        every = max(cfg.steps // 6, 1)
        self.strategy = DefaultStrategy(
            refine_start_iter=every,
            refine_every=every,
            refine_stop_iter=cfg.steps // 2,
            key_for_gradient="gradient_2dgs",
        )
        self.strategy.check_sanity(self.splats, self.optimizers)
        self.strategy_state = self.strategy.initialize_state(scene_scale=self.scene_scale)

        starts = {"dist_start": cfg.steps // 10, "normal_start": cfg.steps // 4}  # of 3,000 and 7,000 in 30,000
        settings = {"normal_loss": True, "dist_loss": True, **starts} if cfg.loss == "zoo:gsplat-2dgs" else {}
        backend = "inductor" if self.device.type == "cuda" else "eager"
        loss_fn = splatdsl.load(cfg.loss, params=settings, backend=backend)
        self.objective = GsplatLoss(loss_fn, model="2dgs", max_steps=cfg.steps, scene_scale=self.scene_scale)

    def rasterize_splats(self, camtoworlds: Tensor, Ks: Tensor, width: int, height: int, **kwargs: Any) -> Any:
        """As in gsplat's trainer; 7 results."""
        return self.rasterization_2dgs(
            means=self.splats["means"],
            quats=self.splats["quats"],
            scales=torch.exp(self.splats["scales"]),
            opacities=torch.sigmoid(self.splats["opacities"]),
            colors=torch.cat([self.splats["sh0"], self.splats["shN"]], 1),
            viewmats=torch.linalg.inv(camtoworlds),
            Ks=Ks,
            width=width,
            height=height,
            packed=False,
            **kwargs,
        )

    def train(self) -> None:
        """The loop."""
        cfg, objective = self.cfg, self.objective
        scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizers["means"], gamma=0.01 ** (1.0 / cfg.steps))
        for step in range(cfg.steps):
            items = [self.data.next_train_data(step * cfg.batch + i) for i in range(cfg.batch)]
            camtoworlds, Ks = torch.cat([i.cam_to_world for i in items]), torch.cat([i.K for i in items])
            pixels, masks = torch.cat([i.image for i in items]), torch.cat([i.mask for i in items])
            sparse = stack_points([i.points for i in items], [i.depths for i in items])

            outputs = self.rasterize_splats(
                camtoworlds=camtoworlds,
                Ks=Ks,
                width=pixels.shape[2],
                height=pixels.shape[1],
                sh_degree=min(step // 20, 1),
                **objective.asks(step),
            )
            info = outputs[-1]
            self.strategy.step_pre_backward(self.splats, self.optimizers, self.strategy_state, step, info)
            loss = objective(
                self.splats,
                outputs,
                pixels,
                masks=masks,
                Ks=Ks,
                camtoworlds=camtoworlds,
                step=step,
                item=sparse,
            )
            loss.backward()
            if step % max(cfg.steps // 4, 1) == 0:
                terms = "  ".join(f"{name} {float(value):.4f}" for name, value in objective.terms.items())
                mode = objective.render_mode(step)
                print(f"step {step}: loss {loss.item():.4f}  {terms}  [{mode}, {len(self.splats['means'])} gaussians]")

            for optimizer in self.optimizers.values():
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            scheduler.step()
            with objective.rows_followed(self.splats):
                self.strategy.step_post_backward(self.splats, self.optimizers, self.strategy_state, step, info)

    @torch.no_grad()
    def eval(self) -> float:
        """PSNR over the held-out views, dB."""
        found = []
        for index in range(self.data.get_test_data_size()):
            item = self.data.test_item(index)
            renders = self.rasterize_splats(item.cam_to_world, item.K, 64, 48, sh_degree=1)[0]
            found.append(-10 * torch.log10((renders[..., :3].clamp(0, 1) - item.image)[item.mask].square().mean()))
        return float(torch.stack(found).mean())


def main(argv: Sequence[str] | None = None) -> tuple[float, float]:
    """Train; returns the PSNR before and after."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loss", default="zoo:gsplat-2dgs", help="a .loss file")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=1, help="images a step")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    runner = Runner(parser.parse_args(argv))
    before = runner.eval()
    runner.train()
    after = runner.eval()
    print(f"held-out PSNR: {before:.2f} dB before, {after:.2f} dB after")
    return before, after


if __name__ == "__main__":
    main()
