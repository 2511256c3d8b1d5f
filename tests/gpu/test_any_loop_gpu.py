"""Loops on CUDA: half-precision renders with `GradScaler`, accumulation over masks of different sizes, evaluation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import splatdsl

H, W = 48, 64
DEVICE = "cuda"


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def test_accumulation_in_half_precision_gives_the_gradient_of_the_batch() -> None:
    loss_fn = splatdsl.compile("0.8*l1(masked) + 0.2*ssim_loss(masked)")
    target, masks = rand(3, H, W, 3, seed=1), [rand(1, H, W, seed=i) > 0.2 + 0.3 * i for i in range(3)]
    whole, apart = rand(3, H, W, 3).requires_grad_(), rand(3, H, W, 3).requires_grad_()
    layer, scaler = torch.eye(3, device=DEVICE), torch.amp.GradScaler(DEVICE, init_scale=1024.0)
    with torch.autocast(DEVICE, dtype=torch.float16):
        total = loss_fn(whole @ layer, target, torch.cat(masks))
    scaler.scale(total).backward()
    targets = list(target.split(1))
    accumulated = 0.0
    parts = loss_fn.micro_batches(target=targets, mask=masks)
    for rendered, part in zip(apart.split(1), parts):
        with torch.autocast(DEVICE, dtype=torch.float16):
            loss = part(rendered @ layer) / len(parts)
        scaler.scale(loss).backward()
        accumulated += float(loss.detach())
    assert accumulated == pytest.approx(float(total.detach()), rel=1e-5)
    assert torch.allclose(apart.grad, whole.grad, rtol=2e-2, atol=1e-4)
    assert loss_fn.stats.recompiles == 0
    with torch.no_grad():
        quiet = loss_fn(whole, target, torch.cat(masks))
    with torch.inference_mode():
        assert float(loss_fn(whole, target, torch.cat(masks))) == float(quiet)
    assert loss_fn.stats.recompiles == 0


def test_an_exported_loss_on_cuda() -> None:
    loss_fn = splatdsl.compile("0.8*l1(masked) + 0.2*ssim_loss(masked)", kernels="torch", backend="eager")
    given = {"rendered": rand(1, H, W, 3), "target": rand(1, H, W, 3, seed=1), "mask": rand(1, H, W, seed=2)}
    total, _ = loss_fn.export(**given, max_steps=2).module()(given, torch.tensor(0, device=DEVICE))
    assert float(total) == pytest.approx(float(loss_fn(**given).detach()), rel=1e-5)
