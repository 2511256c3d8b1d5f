"""Splatfacto with a compiled loss on CUDA: gsplat's kernels, the loss compiled by inductor. Needs nerfstudio."""

from __future__ import annotations

import argparse
import functools
import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(importlib.util.find_spec("nerfstudio") is None, reason="needs nerfstudio")


@pytest.fixture(scope="module")
def example() -> Any:
    path = ROOT / "examples/embedding/nerfstudio_splatfacto.py"
    spec = importlib.util.spec_from_file_location("nerfstudio_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_trains_on_cuda(example: Any) -> None:
    with example.stand_ins("cuda"):
        rows = example.train(argparse.Namespace(loss="zoo:splatfacto", steps=60, device="cuda"))
    first, last = (sum(row["photometric"] for row in part) / 8 for part in (rows[:8], rows[-8:]))
    assert last < first


def test_the_released_loss_gives_the_numbers_of_splatfacto(example: Any) -> None:
    import torch
    from nerfstudio.data.scene_box import SceneBox
    from nerfstudio.models.splatfacto import SplatfactoModel

    from splatdsl.runtime import SyntheticDataProvider
    from splatdsl.runtime.adapters.nerfstudio import SplatDslSplatfactoModelConfig

    torch.manual_seed(0)
    scene = SyntheticDataProvider(width=64, height=48, views=8, points=300)
    scene.load_data()
    item = scene.next_train_data(0)
    config = SplatDslSplatfactoModelConfig(loss_params={"use_scale_reg": "true", "max_gauss_ratio": "1.0"})
    with example.stand_ins("cuda"):
        model = config.setup(
            scene_box=SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3])),
            num_train_data=1,
            metadata={},
            device="cuda",
            grad_scaler=None,
            seed_points=(scene.init_splat_model().means, torch.full((300, 3), 128.0)),
        ).to("cuda")
        model.optimizers, model.step = {}, 6000  # full resolution
        model.train()
        outputs = model(example.cameras_of([item]).to("cuda"))
        batch = {"image": item.image[0], "mask": item.mask[0].unsqueeze(-1)}
        ours = model.get_loss_dict(outputs, batch)
        model.config.use_scale_regularization, model.config.max_gauss_ratio = True, 1.0
        theirs = SplatfactoModel.get_loss_dict(model, outputs, batch)
    torch.testing.assert_close(ours["photometric"].float(), theirs["main_loss"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours["scale"].float(), theirs["scale_reg"], rtol=1e-4, atol=1e-6)
    leaves = [model.gauss_params[name] for name in ("means", "scales", "opacities", "features_dc")]
    sums = [functools.reduce(torch.add, losses.values()) for losses in (ours, theirs)]
    mine, other = (torch.autograd.grad(total, leaves, retain_graph=True) for total in sums)
    for got, wanted in zip(mine, other):
        assert float((got - wanted).norm()) <= 1e-3 * float(wanted.norm())
