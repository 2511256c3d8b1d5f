"""Held-out numbers, and the SSIM that users' Python losses import."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime import metrics, ssim_package
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.renderers.base import make_renderer
from splatdsl.runtime.splat.state import SplatTrainingState
from splatdsl.runtime.ssim_package import fused_ssim
from splatdsl.runtime.training.evaluate import Evaluator


def pair(height: int = 20, width: int = 24, channels: int = 3, dtype: Any = torch.float64) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(3)
    a = torch.rand(2, channels, height, width, generator=generator, dtype=dtype)
    return a, (a + 0.2 * torch.rand(a.shape, generator=generator, dtype=dtype)).clamp(0, 1)


def ssim_by_loops(a: np.ndarray, b: np.ndarray, padding: str) -> float:
    """SSIM pixel by pixel: an 11 x 11 Gaussian window, zeros or reflections outside of the image."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    total, count = 0.0, 0
    for x, y in zip(a.reshape(-1, *a.shape[2:]), b.reshape(-1, *b.shape[2:])):
        height, width = x.shape
        big_x, big_y = np.pad(x, 5), np.pad(y, 5)
        inner = 5 if padding == "valid" else 0
        if padding == "reflect":
            big_x, big_y = np.pad(x, 5, mode="reflect"), np.pad(y, 5, mode="reflect")
        for i in range(inner, height - inner):
            for j in range(inner, width - inner):
                p, q = big_x[i : i + 11, j : j + 11], big_y[i : i + 11, j : j + 11]
                mp, mq = (window * p).sum(), (window * q).sum()
                vp, vq = (window * p * p).sum() - mp * mp, (window * q * q).sum() - mq * mq
                cov = (window * p * q).sum() - mp * mq
                c1, c2 = 0.01**2, 0.03**2
                total += (2 * mp * mq + c1) * (2 * cov + c2) / ((mp * mp + mq * mq + c1) * (vp + vq + c2))
                count += 1
    return total / count


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_fused_ssim_is_ssim(padding: str) -> None:
    a, b = pair()
    expected = ssim_by_loops(a.numpy(), b.numpy(), padding)
    assert float(fused_ssim(a, b, padding=padding)) == pytest.approx(expected, abs=1e-12)
    single = fused_ssim(a.float(), b.float(), padding=padding)
    assert single.dtype == torch.float32
    assert float(single) == pytest.approx(expected, abs=1e-5)


def test_fused_ssim_of_an_image_with_itself_is_one() -> None:
    a, _ = pair()
    assert float(fused_ssim(a, a)) == pytest.approx(1.0, abs=1e-12)


def test_fused_ssim_has_a_gradient_for_its_first_image_only() -> None:
    a, b = pair(13, 12, 1)
    a.requires_grad_()
    b.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: fused_ssim(x, b.detach()), (a,))
    fused_ssim(a, b).backward()
    assert a.grad is not None
    assert b.grad is None
    assert not fused_ssim(a, b, train=False).requires_grad


@pytest.mark.parametrize(
    ("shape_a", "shape_b", "padding"),
    [
        ((1, 3, 20, 20), (1, 3, 20, 21), "same"),
        ((3, 20, 20), (3, 20, 20), "same"),
        ((1, 3, 20, 20), (1, 3, 20, 20), "reflect"),
        ((1, 3, 10, 20), (1, 3, 10, 20), "valid"),
    ],
)
def test_fused_ssim_explains_what_it_cannot_compare(shape_a: Any, shape_b: Any, padding: str) -> None:
    with pytest.raises(LossError) as caught:
        fused_ssim(torch.rand(shape_a), torch.rand(shape_b), padding=padding)
    assert [d.code for d in caught.value.diagnostics] == ["RUN012"]


def test_small_images_are_fine_with_zero_padding() -> None:
    a, b = pair(6, 7)
    assert float(fused_ssim(a, b)) == pytest.approx(ssim_by_loops(a.numpy(), b.numpy(), "same"), abs=1e-12)


class OnCuda(torch.Tensor):
    """Says that it is on CUDA, so that a package's function is asked; that function is replaced in these tests."""

    is_cuda = True


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs functions as the packages `fused_ssim` and `fussim`; the others are absent."""

    def install(**functions: Any) -> None:
        for name in ("fused_ssim", "fussim"):
            module = types.SimpleNamespace(fused_ssim=functions[name]) if name in functions else None
            monkeypatch.setitem(sys.modules, name, module)
        ssim_package._kernels.cache_clear()

    yield install
    ssim_package._kernels.cache_clear()


def recorder(calls: list[Any], value: float) -> Any:
    def kernel(img1, img2, padding="same", train=True):  # the signature that both packages have
        calls.append((img1, img2, padding, train, torch.is_grad_enabled()))
        return img1.mean() * 0 + value

    return kernel


def test_fussim_is_used_for_cuda_tensors(packages: Callable[..., None]) -> None:
    calls: list[Any] = []
    packages(fussim=recorder(calls, 0.25))
    a, b = (x.permute(0, 1, 3, 2).as_subclass(OnCuda) for x in pair(dtype=torch.float32))
    assert not a.is_contiguous()
    assert float(fused_ssim(a, b, padding="valid", train=False)) == 0.25
    assert float(fused_ssim(a, b)) == 0.25
    first, second = calls
    assert first[2:] == ("valid", False, False)
    assert second[2:] == ("same", True, True)
    for img1, img2, *_ in calls:
        assert img1.is_contiguous()
        assert img2.is_contiguous()
        assert torch.equal(img1, a)
        assert torch.equal(img2, b)


def test_the_original_package_comes_first(packages: Callable[..., None]) -> None:
    calls: list[Any] = []
    packages(fussim=recorder(calls, 0.25), fused_ssim=recorder([], 0.75))
    a, b = (x.as_subclass(OnCuda) for x in pair(dtype=torch.float32))
    assert float(fused_ssim(a, b)) == 0.75
    assert calls == []


def test_a_package_without_its_cuda_part_is_left_out_with_one_warning(packages: Callable[..., None]) -> None:
    asked: list[int] = []

    def kernel(img1, img2, padding, train):
        asked.append(1)
        raise ImportError("No compatible fussim CUDA extension found.\n\nEnvironment: ...")

    packages(fussim=kernel)
    plain = pair(dtype=torch.float32)
    a, b = (x.as_subclass(OnCuda) for x in plain)
    with pytest.warns(UserWarning, match="^`fussim` is not used: No compatible fussim CUDA extension found.$"):
        first = fused_ssim(a, b)
    assert float(first) == float(fused_ssim(a, b)) == float(fused_ssim(*plain))
    assert asked == [1]


@pytest.mark.parametrize("on_cuda", [True, False])
def test_tensors_that_the_kernels_do_not_take_stay_in_torch(packages: Callable[..., None], on_cuda: bool) -> None:
    calls: list[Any] = []
    packages(fussim=recorder(calls, 0.25), fused_ssim=recorder(calls, 0.75))
    a, b = pair(dtype=torch.float64 if on_cuda else torch.float32)
    kind = OnCuda if on_cuda else torch.Tensor
    expected = ssim_by_loops(a.numpy(), b.numpy(), "same")
    assert float(fused_ssim(a.as_subclass(kind), b.as_subclass(kind))) == pytest.approx(expected, abs=1e-5)
    assert calls == []


def test_psnr_is_ten_times_the_logarithm_of_the_mean_square() -> None:
    target = torch.full((1, 4, 4, 3), 0.5)
    assert float(metrics.psnr(target + 0.1, target)) == pytest.approx(20.0, abs=1e-4)
    assert float(metrics.psnr(target + 9, target)) == pytest.approx(-10 * math.log10(0.25), abs=1e-4), "clamped to 1"


def test_masked_psnr_looks_inside_of_the_mask_only() -> None:
    target = torch.full((1, 4, 4, 3), 0.5)
    rendered = target.clone()
    rendered[:, :2] += 0.1
    rendered[:, 2:] += 0.4
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[:, :2] = True
    inside = metrics.masked_psnr(rendered, target, mask)
    assert inside is not None
    assert float(inside) == pytest.approx(20.0, abs=1e-4)
    fractional = metrics.masked_psnr(rendered, target, torch.where(mask, 0.5, 0.0))
    assert float(fractional) == pytest.approx(20.0, abs=1e-4)  # type: ignore[arg-type]
    assert metrics.masked_psnr(rendered, target, mask & ~mask) is None


def test_ssim_is_that_of_published_tables() -> None:
    a, b = pair(30, 30)
    first, second = a.movedim(1, -1).float(), b.movedim(1, -1).float()
    value = metrics.ssim(first, second)
    assert value is not None
    assert float(value) == pytest.approx(ssim_by_loops(a.numpy(), b.numpy(), "reflect"), abs=1e-4)
    inside = torch.zeros(2, 30, 30)
    inside[:, 5:-5, 5:-5] = 1
    expected = ssim_by_loops(a.numpy(), b.numpy(), "valid")
    assert float(metrics.ssim(first, second, inside)) == pytest.approx(expected, abs=1e-4)  # type: ignore[arg-type]
    assert metrics.ssim(first[:, :10], second[:, :10]) is None
    assert metrics.ssim(first, second, torch.zeros(2, 30, 30)) is None


def evaluator(notes: list[str], images: int = 0, **options: Any) -> tuple[Evaluator, SplatTrainingState]:
    data = SyntheticDataProvider(**{"width": 32, "height": 24, "views": 6, "test_every": 2, "points": 50, **options})
    scale = data.load_data()
    state = SplatTrainingState.from_splat_model(data.init_splat_model(sh_degree=1), scene_scale=scale)
    made = Evaluator(data, make_renderer("reference", "cpu"), torch.zeros(1, 3), images, notes.append)
    return made, state


def test_means_are_over_all_views() -> None:
    notes: list[str] = []
    evaluate, state = evaluator(notes)
    data = SyntheticDataProvider(width=32, height=24, views=6, test_every=2, points=50)
    single = []
    for i in range(3):
        item = data.test_item(i)
        rendered, _ = make_renderer("reference", "cpu").render(state, item.cam_to_world, item.K, 32, 24)
        single.append(float(metrics.psnr(rendered.detach(), item.image)))
    values = evaluate(state, None)
    assert values["eval/psnr"] == pytest.approx(sum(single) / 3, abs=1e-4)
    assert values["eval/views"] == 3
    assert all(not value.requires_grad or value.grad is None for value in state.params.values())


def test_no_mask_no_masked_numbers() -> None:
    evaluate, state = evaluator([], masks=False)
    assert set(evaluate(state, None)) == {"eval/psnr", "eval/ssim", "eval/views"}


def test_what_is_left_out_is_said_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    notes: list[str] = []
    evaluate, state = evaluator(notes, width=10, height=8)
    assert "eval/ssim" not in evaluate(state, None)
    evaluate(state, None)
    assert len([note for note in notes if "SSIM" in note]) == 1
    assert len([note for note in notes if "LPIPS" in note]) == 1


def test_pictures_are_of_the_same_views_every_time(tmp_path: Path) -> None:
    evaluate, state = evaluator([], images=2)
    evaluate(state, tmp_path / "a")
    evaluate(state, tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(names) == 2
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
