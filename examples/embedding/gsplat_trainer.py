"""A `.loss` file in a loop like that of gsplat's `simple_trainer.py`, on the built-in scene.

On a CUDA device gsplat draws; elsewhere functions in torch with its signature do, for small scenes such as this one.

    python examples/embedding/gsplat_trainer.py [--loss zoo:gsplat] [--steps 80] [--mcmc] [--packed] [--batch 2]
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
from splatdsl.runtime.renderers.gsplat_mcmc import mcmc_strategy


class Runner:
    """Gaussians, optimisers, a strategy and a loss."""

    def __init__(self, cfg: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.cfg, self.device = cfg, torch.device(cfg.device)
        self.data = SyntheticDataProvider(width=64, height=48, views=16, points=600, device=self.device)
        self.scene_scale = self.data.load_data()
        state = SplatTrainingState.from_splat_model(
            self.data.init_splat_model(sh_degree=1), self.scene_scale, cfg.device
        )
        self.splats, self.optimizers = state.params, state.optimizers
        self.rasterization, _ = functions(self.device)

        refine = {"refine_start_iter": cfg.steps // 8, "refine_every": max(cfg.steps // 8, 1)}
        if cfg.mcmc:
            self.strategy = mcmc_strategy(self.device, cap_max=1_000, **refine)
            self.strategy_state = self.strategy.initialize_state()
        else:
            # gradients on the screen are large where a gaussian covers a large part of it, as on these small images
            self.strategy = DefaultStrategy(**refine, refine_stop_iter=cfg.steps // 2, grow_grad2d=0.002)
            self.strategy_state = self.strategy.initialize_state(scene_scale=self.scene_scale)
        self.strategy.check_sanity(self.splats, self.optimizers)

        weights = {"opacity_weight": 0.01, "scale_weight": 0.01} if cfg.mcmc else {}
        settings = {"depth_loss": cfg.depth_loss, **weights} if cfg.loss == "zoo:gsplat" else {}
        backend = "inductor" if self.device.type == "cuda" else "eager"
        loss_fn = splatdsl.load(cfg.loss, params=settings, backend=backend)
        self.objective = GsplatLoss(loss_fn, max_steps=cfg.steps, scene_scale=self.scene_scale)

    def rasterize_splats(
        self, camtoworlds: Tensor, Ks: Tensor, width: int, height: int, **kwargs: Any
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """As in gsplat's trainer."""
        return self.rasterization(
            means=self.splats["means"],
            quats=self.splats["quats"],
            scales=torch.exp(self.splats["scales"]),
            opacities=torch.sigmoid(self.splats["opacities"]),
            colors=torch.cat([self.splats["sh0"], self.splats["shN"]], 1),
            viewmats=torch.linalg.inv(camtoworlds),
            Ks=Ks,
            width=width,
            height=height,
            packed=self.cfg.packed,
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

            renders, alphas, info = self.rasterize_splats(
                camtoworlds=camtoworlds,
                Ks=Ks,
                width=pixels.shape[2],
                height=pixels.shape[1],
                sh_degree=min(step // 20, 1),
                **objective.asks(step),
            )
            self.strategy.step_pre_backward(self.splats, self.optimizers, self.strategy_state, step, info)
            loss = objective(
                self.splats,
                (renders, alphas, info),
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
            extra = {"lr": scheduler.get_last_lr()[0]} if cfg.mcmc else {"packed": cfg.packed}
            with objective.rows_followed(self.splats):
                self.strategy.step_post_backward(self.splats, self.optimizers, self.strategy_state, step, info, **extra)

    @torch.no_grad()
    def eval(self) -> float:
        """PSNR over the held-out views, dB."""
        found = []
        for index in range(self.data.get_test_data_size()):
            item = self.data.test_item(index)
            renders, _, _ = self.rasterize_splats(item.cam_to_world, item.K, 64, 48, sh_degree=1)
            found.append(-10 * torch.log10((renders[..., :3].clamp(0, 1) - item.image)[item.mask].square().mean()))
        return float(torch.stack(found).mean())


def main(argv: Sequence[str] | None = None) -> tuple[float, float]:
    """Train; returns the PSNR before and after."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loss", default="zoo:gsplat", help="a .loss file")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--batch", type=int, default=1, help="images a step")
    parser.add_argument("--packed", action="store_true", help="packed metadata")
    parser.add_argument("--mcmc", action="store_true", help="gsplat's MCMC strategy in place of the default one")
    parser.add_argument("--depth_loss", action="store_true", help="with the depth of sparse points")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    runner = Runner(parser.parse_args(argv))
    before = runner.eval()
    runner.train()
    after = runner.eval()
    print(f"held-out PSNR: {before:.2f} dB before, {after:.2f} dB after")
    return before, after


if __name__ == "__main__":
    main()
