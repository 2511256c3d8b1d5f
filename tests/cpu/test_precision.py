"""What precision, scaling, threads and repetition make of a loss: nothing, on every route."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import splatdsl
from splatdsl.compiler.windows import cpp

TEXT = "photometric(masked) + 0.1 * l2(unmasked)"
ROUTES = [
    ("eager", "torch"),
    ("eager", "portable"),
    pytest.param("eager", "cpp", marks=pytest.mark.skipif(cpp.missing() != "", reason=cpp.missing())),
    ("aot_eager", "torch"),
]
on_every_route = pytest.mark.parametrize(("backend", "kernels"), ROUTES)
without_a_graph = pytest.mark.parametrize(("backend", "kernels"), ROUTES[:3])


@pytest.fixture(scope="module", autouse=True)
def kernels_of_this_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPLATDSL_CACHE_DIR", str(tmp_path_factory.mktemp("kernels")))
        yield


def tensors(dtype: torch.dtype = torch.float32, size: tuple[int, int] = (24, 20)) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(3)
    made = {n: torch.rand(1, *size, 3, generator=g).to(dtype) for n in ("rendered", "target")}
    made["rendered"].requires_grad_()
    return {**made, "mask": torch.rand(1, *size, generator=g) > 0.4}


@cache
def loss(backend: str, kernels: str, text: str = TEXT) -> Any:
    """Kept, as compiling takes longer than all tests."""
    return splatdsl.compile(text, backend=backend, kernels=kernels)


def gradient(total: Tensor, given: dict[str, Tensor], **options: Any) -> Tensor:
    return torch.autograd.grad(total, given["rendered"], **options)[0]


def exact(given: dict[str, Tensor], text: str = TEXT) -> tuple[Tensor, Tensor]:
    """The total and the gradient in float64."""
    wide = {n: t.detach().double() if t.is_floating_point() else t for n, t in given.items()}
    wide["rendered"].requires_grad_()
    total = loss("eager", "torch", text)(**wide)
    return total.detach(), gradient(total, wide)


# Half precision


@on_every_route
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_renders_of_half_precision_are_accepted(backend: str, kernels: str, dtype: torch.dtype) -> None:
    """What is computed is computed in float32; the gradient has the dtype of the render."""
    given = tensors(dtype)
    expected, wanted = exact(given)
    total = loss(backend, kernels)(**given)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-7)
    got = gradient(total, given)
    assert got.dtype == dtype
    step = torch.finfo(dtype).eps * wanted.abs().max().item()
    torch.testing.assert_close(got.double(), wanted, rtol=2 * torch.finfo(dtype).eps, atol=step)


@without_a_graph
def test_sums_are_those_of_float32(backend: str, kernels: str) -> None:
    """float16 ends at 65504, and 2048 + 1 is 2048 in it."""
    text = "0.01 * sum(rendered, masked) + ssim_loss(masked)  # splat: ignore[RED001]"
    given = tensors(torch.float16, (300, 300)) | {"mask": torch.ones(1, 300, 300, dtype=torch.bool)}
    expected = given["rendered"].detach().double().sum()
    assert expected > 2 * torch.finfo(torch.float16).max
    found, _ = exact(given, text)
    torch.testing.assert_close(loss(backend, kernels, text)(**given).double(), found, rtol=1e-5, atol=0)


@on_every_route
@pytest.mark.parametrize("first", [True, False])
def test_autocast_changes_nothing(backend: str, kernels: str, first: bool) -> None:
    """Around the loss, whether it is compiled under it or before, and around backward."""
    given = tensors()
    plain = loss(backend, kernels)(**given)
    wanted = gradient(plain, given)
    loss_fn = splatdsl.compile(TEXT, backend=backend, kernels=kernels) if first else loss(backend, kernels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = loss_fn(**given)
        got = gradient(total, given, retain_graph=True)
    assert total.dtype == got.dtype == torch.float32
    assert torch.equal(total, plain)
    assert torch.equal(got, wanted)
    assert torch.equal(gradient(total, given), wanted)
    assert loss_fn.stats.recompiles == 0


# Repetition


@on_every_route
def test_repeated_calls_are_equal_bit_by_bit(backend: str, kernels: str) -> None:
    given, loss_fn = tensors(size=(70, 64)), loss(backend, kernels)
    threads, found = torch.get_num_threads(), []
    torch.use_deterministic_algorithms(True)
    try:
        for count in (threads, threads, 1, 2) if kernels == "cpp" else (threads, threads):
            torch.set_num_threads(count)
            total = loss_fn(**given)
            found.append((total.detach(), gradient(total, given), loss_fn.terms["loss"]))
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other))


# What autograd may do with the total


@on_every_route
def test_a_scaled_loss_has_scaled_gradients(backend: str, kernels: str) -> None:
    """As a scaler of gradients does it; powers of two scale without rounding."""
    given, loss_fn = tensors(), loss(backend, kernels)
    loss_fn(**given).backward()
    wanted = given["rendered"].grad
    assert wanted is not None
    for factor in (1024.0, -0.5, torch.tensor(8.0)):
        given["rendered"].grad = None
        (loss_fn(**given) * factor).backward()
        torch.testing.assert_close(given["rendered"].grad, wanted * factor, rtol=1e-6, atol=0)
    given["rendered"].grad = None
    (loss_fn(**given) + 2 * loss_fn(**given)).backward()
    torch.testing.assert_close(given["rendered"].grad, 3 * wanted, rtol=1e-5, atol=1e-9)


@on_every_route
def test_gradients_accumulate(backend: str, kernels: str) -> None:
    """What is handed out is not handed out twice: `.grad` may be changed in place."""
    given, loss_fn = tensors(), loss(backend, kernels)
    loss_fn(**given).backward()
    grad = given["rendered"].grad
    assert grad is not None
    wanted = grad.clone()
    loss_fn(**given).backward()
    torch.testing.assert_close(given["rendered"].grad, 2 * wanted)
    given["rendered"].grad = None
    total = loss_fn(**given)
    total.backward(retain_graph=True)
    given["rendered"].grad.zero_()
    total.backward()
    torch.testing.assert_close(given["rendered"].grad, wanted)


@on_every_route
def test_the_graph_may_be_kept(backend: str, kernels: str) -> None:
    given = tensors()
    total = loss(backend, kernels)(**given)
    first = gradient(total, given, retain_graph=True).clone()
    assert torch.equal(gradient(total, given, retain_graph=True), first)
    assert torch.equal(gradient(total, given), first)
    with pytest.raises(RuntimeError, match="second time"):
        gradient(total, given)


def changed(backend: str, kernels: str) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """A total whose input was changed in place after one backward pass, and the gradient from before."""
    given = tensors()
    total = loss(backend, kernels)(**given)
    wanted = gradient(total, given, retain_graph=True).clone()
    with torch.no_grad():
        given["rendered"].mul_(0.5)
    return total, given, wanted


@pytest.mark.parametrize(("backend", "kernels"), ROUTES[1:])
def test_changed_inputs_are_noticed(backend: str, kernels: str) -> None:
    """Where gradients are made anew from the inputs."""
    total, given, _ = changed(backend, kernels)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        gradient(total, given)


def test_changed_inputs_do_not_matter_where_nothing_reads_them() -> None:
    """Ordinary autograd keeps the masked images."""
    total, given, wanted = changed("eager", "torch")
    assert torch.equal(gradient(total, given), wanted)


@on_every_route
def test_hooks_and_non_leaves(backend: str, kernels: str) -> None:
    given, loss_fn = tensors(), loss(backend, kernels)
    wanted = gradient(loss_fn(**given), given)
    shown = given["rendered"] * 2
    seen: list[Tensor] = []
    shown.register_hook(seen.append)
    got = gradient(loss_fn(**{**given, "rendered": shown / 2}), given)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(seen[0], wanted / 2)


@on_every_route
def test_without_gradients(backend: str, kernels: str) -> None:
    given, loss_fn = tensors(), loss(backend, kernels)
    expected = loss_fn(**given).detach()
    with torch.no_grad():
        total = loss_fn(**given)
    assert not total.requires_grad
    torch.testing.assert_close(total, expected)
    with torch.inference_mode():
        torch.testing.assert_close(loss_fn(**given), expected)
