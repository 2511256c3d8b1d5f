"""The forms in which SSIM runs: loops and convolutions, in value-and-gradient graphs, and the kernels of packages."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from splatdsl.compiler.emit import kernel
from splatdsl.compiler.kernels import blur, multiscale, photometric, ssim_packages
from splatdsl.dsl.diagnostics import LossError

SIZES = [(2, 14, 13), (2, 33, 20), (2, 12, 24)]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def data(batch: int, height: int, width: int, components: int = 3, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Two images and a region with zeros, ones and fractions."""
    g = torch.Generator().manual_seed(height)
    a, b = (torch.rand(batch, height, width, components, generator=g, dtype=dtype) for _ in range(2))
    r = torch.rand(batch, height, width, 1, generator=g, dtype=dtype)
    return [a, b, torch.where(r < 0.4, 0.0, torch.where(r > 0.7, 1.0, r))]


def value_and_gradients(loss: Loss, wanted: tuple[int, ...]) -> Callable[..., tuple[Tensor, tuple[Tensor, ...]]]:
    """One function that makes the loss and its gradients, as compiled losses are made."""

    def run(*args: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        def of(*leaves: Tensor) -> tuple[Tensor, Tensor]:
            full = list(args)
            for i, leaf in zip(wanted, leaves):
                full[i] = leaf
            total = loss(*full)
            return total, total

        gradients, total = torch.func.grad(of, tuple(range(len(wanted))), has_aux=True)(*(args[i] for i in wanted))
        return total, gradients

    return run


def by_autograd(loss: Loss, args: list[Tensor], wanted: tuple[int, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    leaves = [x.clone().requires_grad_(i in wanted) for i, x in enumerate(args)]
    total = loss(*leaves)
    return total.detach(), torch.autograd.grad(total, [leaves[i] for i in wanted])


def agree_in_one_graph(loss: Loss, wanted: tuple[int, ...], dtype: torch.dtype = torch.float64, **limits: Any) -> None:
    """The compiled value and gradients are those of eager autograd, in one graph for all sizes."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(value_and_gradients(loss, wanted), fullgraph=True, backend=counter)
    for size in SIZES:
        args = data(*size, dtype=dtype)
        for x in args:
            torch._dynamo.mark_dynamic(x, (1, 2))
        found, expected = compiled(*args), by_autograd(loss, args, wanted)
        torch.testing.assert_close(found, expected, **{"rtol": 1e-9, "atol": 1e-13, **limits})
    assert counter.frame_count == 1


FORMS: dict[str, tuple[Loss, tuple[int, ...]]] = {
    "whole": (lambda a, b, r: photometric.ssim(a, b), (0, 1)),
    "region": (lambda a, b, r: photometric.ssim(a, b, r, "valid"), (0, 2)),
    "windows": (lambda a, b, r: photometric.ssim(a, b, r, "same", True), (0, 1, 2)),
    "map": (lambda a, b, r: (photometric.ssim_map(a, b) * r).sum(), (0,)),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_graph_of_value_and_gradients(form: str) -> None:
    agree_in_one_graph(*FORMS[form])


@pytest.mark.parametrize("form", ["region", "windows"])
def test_convolutions_in_graphs_of_value_and_gradients(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs where loops are not the best form."""
    monkeypatch.setattr(blur, "in_loops", lambda x: False)
    agree_in_one_graph(*FORMS[form])


@pytest.mark.parametrize("components", [1, 3])
def test_loops_and_convolutions_blur_alike(components: int) -> None:
    torch._dynamo.reset()

    def both(a: Tensor, b: Tensor) -> list[Tensor]:
        return [*blur.blur_plain(b), *blur.statistics(a, b)]

    compiled = torch.compile(both, backend="eager", dynamic=True)
    for height, width in ((23, 4), (5, 30), (1, 1)):
        a, b, _ = data(2, height, width, components)
        torch.testing.assert_close(compiled(a, b), both(a, b))


def test_the_blur_is_its_own_adjoint() -> None:
    x, y, _ = data(2, 9, 14)
    (once,) = blur.blur(x)
    (other,) = blur.blur(y)
    torch.testing.assert_close((once * y).sum(), (x * other).sum())
    x.requires_grad_()
    (blurred,) = blur.blur(x)
    (gradient,) = torch.autograd.grad((blurred * y).sum(), x)
    torch.testing.assert_close(gradient, other)
    assert torch.autograd.gradgradcheck(lambda z: blur.blur(z)[0] ** 2, (x[:1, :3, :4, :1],))


class _Sevenfold(torch.autograd.Function):
    """The identity with a gradient that differentiating its forward would not give."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return 7 * grads[0]


def test_a_backward_of_its_own_is_seen_through_traceable() -> None:
    torch._dynamo.reset()

    def gradient(x: Tensor) -> Tensor:
        return torch.func.grad(lambda y: _Sevenfold.apply(blur.traceable(y)).sum())(x)

    found = torch.compile(gradient, fullgraph=True, backend="eager")(torch.zeros(3))
    assert found.tolist() == [7, 7, 7]


def test_regions_become_as_wide_as_the_image_where_loops_read_them() -> None:
    torch._dynamo.reset()
    a, _, r = data(1, 4, 5)
    assert blur.spread(r, a) is r
    wide = torch.compile(blur.spread, backend="eager")
    assert torch.equal(wide(r, a), r.expand(a.shape))
    assert wide(a, a).shape == a.shape
    assert wide(r, r).shape == r.shape


def test_ms_ssim_in_a_graph_of_value_and_gradients() -> None:
    torch._dynamo.reset()
    loss: Loss = lambda a, b, r: multiscale.ms_ssim(a, b, r)  # noqa: E731
    args = data(1, 162, 163, 1)
    found = torch.compile(value_and_gradients(loss, (0,)), fullgraph=True, backend="eager")(*args)
    torch.testing.assert_close(found, by_autograd(loss, args, (0,)), rtol=1e-8, atol=1e-14)


# Packages: one is stood in for by the formula with full 11x11 windows, in the packages' layout and split


def stand_in(calls: list[dict[str, Any]]) -> Any:
    line = torch.exp(-((torch.arange(11, dtype=torch.float32) - 5) ** 2) / 4.5)
    window = (line[:, None] * line) / line.sum() ** 2

    def windows(x: Tensor) -> Tensor:
        return F.conv2d(x, window.expand(x.shape[1], 1, 11, 11), padding=5, groups=x.shape[1])

    class FusedSSIMMap:
        @staticmethod
        def forward(ctx: Any, c1: float, c2: float, img1: Tensor, img2: Tensor, padding: str, train: bool) -> Tensor:
            calls.append({"constants": (c1, c2), "images": (img1, img2), "padding": padding, "train": train})
            m1, m2 = windows(img1), windows(img2)
            s1, s2 = windows(img1**2) - m1**2, windows(img2**2) - m2**2
            a, b = m1**2 + m2**2 + c1, s1 + s2 + c2
            c, d = 2 * m1 * m2 + c1, 2 * (windows(img1 * img2) - m1 * m2) + c2
            to_mean = 2 * (m2 * d - m2 * c - m1 * c * d / a + m1 * c * d / b) / (a * b)
            ctx.save_for_backward(img1, img2, to_mean, -c * d / (a * b * b), 2 * c / (a * b))
            ctx.padding = padding
            found = c * d / (a * b)
            return found[:, :, 5:-5, 5:-5] if padding == "valid" else found

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
            assert g.is_contiguous()
            img1, img2, *partials = ctx.saved_tensors
            if ctx.padding == "valid":
                g = F.pad(g, (5, 5, 5, 5))
            first, second, third = (windows(g * p) for p in partials)
            return None, None, first + 2 * img1 * second + img2 * third, None, None, None

    return types.SimpleNamespace(fused_ssim=lambda *_, **__: pytest.fail("not the map"), FusedSSIMMap=FusedSSIMMap)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What the stand-in for `fussim` was called with; `fused_ssim` is not installed, and CPUs count as its devices."""
    made: list[dict[str, Any]] = []
    monkeypatch.setitem(sys.modules, "fused_ssim", None)
    monkeypatch.setitem(sys.modules, "fussim", stand_in(made))
    monkeypatch.setattr(ssim_packages, "DEVICES", ("cpu",))
    ssim_packages.packages.cache_clear()
    yield made
    ssim_packages.packages.cache_clear()


PACKAGED: dict[str, Callable[..., Any]] = {
    "whole": lambda ssim: lambda a, b, r: ssim(a, b),
    "valid": lambda ssim: lambda a, b, r: ssim(a, b, padding="valid"),
    "region": lambda ssim: lambda a, b, r: ssim(a, b, r),
    "region-valid": lambda ssim: lambda a, b, r: ssim(a, b, r, "valid"),
    "wide-region": lambda ssim: lambda a, b, r: ssim(a, b, r * a.detach().round()),
}


@pytest.mark.parametrize("form", PACKAGED)
def test_a_package_gives_what_our_own_gives(form: str, calls: list[dict[str, Any]]) -> None:
    args = data(2, 17, 23, dtype=torch.float32)
    wanted = (0, 1, 2) if "region" in form else (0, 1)
    found = by_autograd(PACKAGED[form](ssim_packages.fussim), args, wanted)
    expected = by_autograd(PACKAGED[form](photometric.ssim), args, wanted)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    assert len(calls) == 2, "once for each image with a gradient"
    first, second = calls
    for x, y in zip(first["images"], reversed(second["images"])):
        assert x.is_contiguous()
        assert x.shape == (2, 3, 17, 23)
        assert x.dtype == torch.float32
        assert torch.equal(x, y)
    if form in ("whole", "valid"):
        assert torch.equal(first["images"][0], args[0].permute(0, 3, 1, 2))
    assert first["constants"] == (0.01**2, 0.03**2)
    assert first["padding"] == ("valid" if form == "valid" else "same")


def test_a_package_in_one_graph(calls: list[dict[str, Any]]) -> None:
    agree_in_one_graph(PACKAGED["region-valid"](ssim_packages.fussim), (0, 2), torch.float32, rtol=1e-5, atol=1e-8)
    assert all(call["train"] for call in calls)


def test_no_gradient_is_made_that_nobody_wants(calls: list[dict[str, Any]]) -> None:
    a, b, r = data(1, 14, 13, dtype=torch.float32)
    value = ssim_packages.fussim(a, b, r)
    torch.testing.assert_close(value, photometric.ssim(a, b, r))
    assert [call["train"] for call in calls] == [False]


def test_what_is_outside_a_region_does_not_reach_a_package(calls: list[dict[str, Any]]) -> None:
    a, b, r = data(1, 14, 13, dtype=torch.float32)
    hidden = torch.where(r > 0, a, torch.nan).requires_grad_()
    value = ssim_packages.fussim(hidden, b, r)
    torch.testing.assert_close(value, photometric.ssim(a, b, r))
    (gradient,) = torch.autograd.grad(value, hidden)
    assert gradient.isfinite().all()
    empty = ssim_packages.fussim(hidden, b, torch.zeros_like(r))
    assert empty.item() == 1
    assert torch.autograd.grad(empty, hidden)[0].count_nonzero() == 0


def test_windows_that_leave_pixels_out_stay_ours(calls: list[dict[str, Any]]) -> None:
    a, b, r = data(1, 14, 13, dtype=torch.float32)
    torch.testing.assert_close(ssim_packages.fussim(a, b, r, "same", True), photometric.ssim(a, b, r, "same", True))
    assert calls == []


def test_kernels_of_packages_are_named_as_kernels_of_a_graph_are() -> None:
    for name in ssim_packages.PACKAGES:
        assert kernel(f"ssim_packages:{name}") is getattr(ssim_packages, name)


def test_what_a_package_cannot_do_is_said(calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, single = torch.device("cpu"), torch.float32
    assert ssim_packages.missing("fussim", cpu, single) == ""
    assert ssim_packages.missing("fussim", cpu, torch.float64) == "`fussim` is for float32, not float64"
    assert ssim_packages.missing("fused_ssim", cpu, single) == "`fused_ssim` is not installed"
    monkeypatch.setattr(ssim_packages, "DEVICES", ("cuda",))
    assert ssim_packages.missing("fussim", cpu, single) == "`fussim` runs on CUDA alone"
    a, b, _ = data(1, 14, 13, dtype=single)
    with pytest.raises(LossError) as caught:
        ssim_packages.fussim(a, b)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "RUN017"
    assert diagnostic.message == "the kernels of `fussim` cannot run here: `fussim` runs on CUDA alone"


def test_a_package_without_its_cuda_part_is_said(calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*_: Any) -> Tensor:
        raise ImportError("No compatible extension.\n\nEnvironment: ...")

    monkeypatch.setattr(sys.modules["fussim"].FusedSSIMMap, "forward", staticmethod(forward))
    a, b, _ = data(1, 14, 13, dtype=torch.float32)
    warned = pytest.warns(UserWarning, match="^`fussim` is not used: No compatible extension.$")
    with warned, pytest.raises(LossError, match="cannot load its CUDA part"):
        ssim_packages.fussim(a, b)
