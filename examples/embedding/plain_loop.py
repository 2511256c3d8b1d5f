"""A compiled loss in a loop of one's own, whose dictionaries have other names.

    python examples/embedding/plain_loop.py [--loss FILE] [--steps 20] [--amp]

The loop accumulates the gradient of a batch over micro-batches whose masks differ, with `GradScaler`, in half precision
with ``--amp``. The scene and the renderer are splatdsl's own, for small scenes on any machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

import splatdsl
from splatdsl.runtime import SyntheticDataProvider, make_renderer

PROGRAM = """
term photometric = 0.8 * l1(masked) + 0.2 * ssim_loss(masked)
term opaque      = 0.05 * mean(1 - alpha, masked)
term few         = ramp(step, 20) * 0.002 * reg(state)
"""
NAMES = {
    "rendered": "rgb",
    "alpha": "accumulation",
    "target": "photo",
    "mask": "valid",
    "state.means": "_xyz",
    "state.scales": "_scaling",
    "state.quats": "_rotation",
    "state.opacities": "_opacity",
}


class Gaussians(torch.nn.Module):
    """Raw parameters under the names of the original 3DGS code, and a colour correction."""

    def __init__(self, raw: dict[str, Tensor]) -> None:
        super().__init__()
        names = {"means": "_xyz", "scales": "_scaling", "quats": "_rotation", "sh0": "_features_dc"}
        for name, own in {**names, "shN": "_features_rest"}.items():
            setattr(self, own, torch.nn.Parameter(raw[name].clone()))
        self._opacity = torch.nn.Parameter(raw["opacities"].clone()[:, None])  # [N, 1] there
        self.colour = torch.nn.Linear(3, 3, bias=False)
        torch.nn.init.eye_(self.colour.weight)

    def render(self, renderer, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draw the views of a batch."""
        height, width = batch["photo"].shape[1:3]
        state = {
            "means": self._xyz,
            "scales": self._scaling,
            "quats": self._rotation,
            "opacities": self._opacity[:, 0],
            "sh0": self._features_dc,
            "shN": self._features_rest,
        }
        image, payload = renderer.render(state, batch["pose"], batch["K"], width, height)
        return {"rgb": self.colour(image), "accumulation": payload.alphas}


def batches(data: SyntheticDataProvider, step: int, count: int) -> list[dict[str, Tensor]]:
    """The micro-batches of a step, one view each."""
    items = [data.next_train_data(step * count + i) for i in range(count)]
    return [{"photo": x.image, "valid": x.mask, "pose": x.cam_to_world, "K": x.K} for x in items]


def main(arguments: Sequence[str] | None = None) -> list[float]:
    """Train; the losses of the steps."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--loss", help="a .loss file, or zoo:NAME")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--accumulate", type=int, default=2)
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--backend", default="inductor", help='"eager" compiles nothing')
    cfg = parser.parse_args(arguments)

    torch.manual_seed(0)
    data = SyntheticDataProvider(width=64, height=48, views=12, points=500, masks=True)
    data.load_data()
    model = Gaussians(data.init_splat_model(sh_degree=0).parameters())
    renderer = make_renderer("auto", "cpu")
    options = {"bind": NAMES, "backend": cfg.backend}
    loss_fn = splatdsl.load(cfg.loss, **options) if cfg.loss else splatdsl.compile(PROGRAM, **options)
    optimizer, scaler = torch.optim.Adam(model.parameters(), lr=5e-3), torch.amp.GradScaler("cpu", enabled=cfg.amp)

    losses = []
    for step in range(cfg.steps):
        several, total, terms = batches(data, step, cfg.accumulate), 0.0, {}
        parts = loss_fn.micro_batches(item=several, step=step, max_steps=cfg.steps)
        for batch, part in zip(several, parts):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cfg.amp):
                loss = part(render=model.render(renderer, batch), state=model) / len(parts)
            scaler.scale(loss).backward()
            total += loss.item()
            terms = {name: terms.get(name, 0.0) + value.item() / len(parts) for name, value in loss_fn.terms.items()}
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        losses.append(total)
        if step % 5 == 0 or step == cfg.steps - 1:
            print(f"step {step:3d}  loss {total:.4f}  " + "  ".join(f"{n} {v:.4f}" for n, v in terms.items()))
    return losses


if __name__ == "__main__":
    main()
