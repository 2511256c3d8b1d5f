"""The examples run; those of the zoo, the library and `examples/train` have tests of their own."""

from pathlib import Path

import pytest
import torch

import splatdsl
from splatdsl.cli.main import main
from splatdsl.dsl.config import check_config
from splatdsl.dsl.suppress import apply

EXAMPLES = Path(__file__).parents[2] / "examples"
LOSSES = sorted((EXAMPLES / "losses").glob("*.loss"))
CONFIGS = sorted(EXAMPLES.glob("*.yaml"))


def test_there_are_examples():
    assert LOSSES
    assert CONFIGS


@pytest.mark.parametrize("path", LOSSES, ids=lambda p: p.stem)
def test_losses_are_clean_and_give_finite_gradients(path):
    assert splatdsl.check(path) == []
    loss_fn = splatdsl.load(path, backend="eager")
    g = torch.Generator().manual_seed(0)
    rendered = torch.rand(1, 24, 20, 3, generator=g).requires_grad_()
    state = {
        "scales": torch.randn(9, 3, generator=g).requires_grad_(),
        "opacities": torch.randn(9, generator=g).requires_grad_(),
    }
    buffers = {"alpha": torch.rand(1, 24, 20, 1, generator=g), "depth": torch.rand(1, 24, 20, 1, generator=g)}
    for step in (0, 150, 20_000):
        total = loss_fn(
            rendered=rendered, target=torch.rand(1, 24, 20, 3, generator=g), state=state, step=step, **buffers
        )
        assert total.isfinite()
        total.backward()
        assert rendered.grad.isfinite().all()
        assert rendered.grad.abs().sum() > 0


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_configs_are_clean(path):
    assert apply(check_config(str(path))) == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_configs_train(path, tmp_path):
    settings = ["train.max_steps=3", "train.backend=eager", "train.eval_every=0", "data.width=32", "data.height=24"]
    sets = [argument for setting in settings for argument in ("--set", setting)]
    assert main(["train", str(path), "--output", str(tmp_path / "run"), *sets]) == 0
    assert (tmp_path / "run" / "point_cloud.ply").stat().st_size > 1000
