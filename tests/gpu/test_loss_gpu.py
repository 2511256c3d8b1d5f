"""A loss means the same on a GPU as on the CPU, compiled as eager."""

from pathlib import Path

import pytest
import torch

import splatdsl

LOSSES = sorted((Path(__file__).parents[2] / "examples" / "losses").glob("*.loss"))


def tensors(device, gaussians=1000):
    g = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(*shape, generator=g).to(device)

    return {
        "rendered": rand(1, 40, 56, 3).requires_grad_(),
        "target": rand(1, 40, 56, 3),
        "mask": rand(1, 40, 56) > 0.3,
        "alpha": rand(1, 40, 56, 1),
        "depth": rand(1, 40, 56, 1),
        "state": {"scales": rand(gaussians, 3).requires_grad_(), "opacities": rand(gaussians).requires_grad_()},
    }


@pytest.mark.parametrize("path", LOSSES, ids=lambda p: p.stem)
def test_the_same_numbers_as_on_the_cpu(path):
    there = tensors("cuda")
    here = tensors("cpu")
    compiled = splatdsl.load(path)
    reference = splatdsl.load(path, backend="eager")
    for step in (0, 150, 20_000):
        a, b = compiled(**there, step=step), reference(**here, step=step)
        a.backward()
        b.backward()
        torch.testing.assert_close(a.cpu(), b, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(there["rendered"].grad.cpu(), here["rendered"].grad, rtol=1e-4, atol=1e-8)
    assert compiled.stats.recompiles == 0
