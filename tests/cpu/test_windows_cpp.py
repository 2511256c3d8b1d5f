"""Window kernels in C++: the same numbers as the plan run with torch, from any shape, threads and machine."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
import torch

from splatdsl.compiler.windows import cpp, native
from splatdsl.compiler.windows.build import Pair, Wanted, build, inside, ssim_of
from splatdsl.compiler.windows.cpp_source import cpp_source
from splatdsl.compiler.windows.lanes import BINARY, UNARY, Lanes
from splatdsl.compiler.windows.plan import WindowPlan
from splatdsl.compiler.windows.portable import run_portable

pytestmark = pytest.mark.skipif(cpp.missing() != "", reason=cpp.missing())

TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6}
SMALL_SOURCE = 'extern "C" int answer() { return 42; }\n'


@pytest.fixture(scope="module", autouse=True)
def kernels(tmp_path_factory):
    """Kernels of this module are kept for its tests alone."""
    before = os.environ.get("SPLATDSL_CACHE_DIR")
    os.environ["SPLATDSL_CACHE_DIR"] = str(tmp_path_factory.mktemp("kernels"))
    yield
    if before is None:
        del os.environ["SPLATDSL_CACHE_DIR"]
    else:
        os.environ["SPLATDSL_CACHE_DIR"] = before


@pytest.fixture
def threads():
    """Puts the number of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@cache
def photometric(masked: bool, border: int = 0, differentiable: tuple[int, ...] = (0,)) -> WindowPlan:
    """0.8 L1 and 0.2 (1 - SSIM) of inputs 0 and 1; with a mask it is input 2."""
    lanes = Lanes()
    x, y = lanes.add("input", attr=0), lanes.add("input", attr=1)
    region = lanes.add("input", attr=2) if masked else None
    a, b = (x, y) if region is None else (inside(lanes, x, region), inside(lanes, y, region))
    ssim = ssim_of(lanes, 0)
    wanted = [
        Wanted(lanes.add("sub", lanes.const(1.0), ssim), region, border),
        Wanted(lanes.add("abs", lanes.add("sub", x, y)), region),
    ]
    return build(lanes, 3, [3, 3, 1] if masked else [3, 3], differentiable, 0, [Pair(a, b, ssim)], wanted)[0]


@cache
def two_windows() -> WindowPlan:
    """Two channels; an exposure map with one component and a host's number carry gradients; two regions, one per lane.

    The first window's gradient goes to both of its images, the second's to one.
    """
    lanes = Lanes()
    x, y, exposure, mask, weight = (lanes.add("input", attr=k) for k in range(5))
    host = lanes.add("host", attr=0)
    shown = lanes.add("add", lanes.add("mul", x, exposure), host)
    region = lanes.add("where", lanes.add("gt", mask, host), lanes.const(1.0), lanes.const(0.0))
    first, second = ssim_of(lanes, 0), ssim_of(lanes, 1)
    images = lanes.add("mul", x, weight), lanes.add("mul", y, weight)
    difference = lanes.add("sub", shown, y)
    wanted = [
        Wanted(lanes.add("mul", first, second), region, 2),
        Wanted(lanes.add("mul", difference, difference), weight),
        Wanted(second, None, 5),
        Wanted(lanes.add("max", difference, lanes.const(0.1)), None, mean=False),
    ]
    pairs = [Pair(shown, y, first), Pair(*images, second)]
    return build(lanes, 2, [2, 2, 1, 1, 2], [0, 1, 2], 1, pairs, wanted)[0]


@cache
def every_operation() -> WindowPlan:
    """Every operation of lanes on two inputs, each in a reduction of its own, beside a window that none reads."""
    lanes = Lanes()
    x, y = lanes.add("input", attr=0), lanes.add("input", attr=1)
    made = [lanes.add(op, x, y) for op in sorted(BINARY)] + [lanes.add(op, x) for op in sorted(UNARY)]
    made.append(lanes.add("where", lanes.add("add", x, y), x, y))
    values = [lanes.add("mul", value, y) for value in made]
    pairs = [Pair(x, y, ssim_of(lanes, 0))]
    return build(lanes, 1, [1, 1], [0, 1], 0, pairs, [Wanted(value, None) for value in values])[0]


def images(plan: WindowPlan, shape: tuple[int, int, int], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """Inputs of a plan; those beyond the second have zeros in them."""
    generator = torch.Generator().manual_seed(7)
    made = [torch.rand(*shape, k, generator=generator, dtype=dtype) for k in plan.inputs]
    return made[:2] + [(x - 0.3).clamp(min=0) for x in made[2:]]


def numbers(plan: WindowPlan) -> tuple[list[float], list[float]]:
    """Cotangents and host's numbers."""
    return [0.3 + 0.2 * i for i in range(len(plan.reductions))], [0.2] * plan.hosts


def compare(plan: WindowPlan, inputs: list[torch.Tensor]) -> None:
    """The kernel against the plan in double precision, with and without gradients."""
    cotangents, hosts = numbers(plan)
    for gradient in (True, False):
        got = cpp.run_cpp(plan, inputs, cotangents, hosts, gradient)
        want = run_portable(plan, [x.double() for x in inputs], cotangents, hosts, gradient)
        assert [g.shape for g in got] == [w.shape for w in want]
        for g, w in zip(got, want):
            assert g.dtype == inputs[0].dtype
            scale = float(w.abs().max()) if w.numel() else 1.0
            assert float((g.double() - w).abs().max() if w.numel() else 0.0) <= TOLERANCE[g.dtype] * scale


SHAPES = [(2, 17, 21), (1, 1, 30), (1, 30, 1), (1, 3, 4), (1, 9, 700), (1, 43, 5)]
"""Batches, single rows and columns, less than a window, and several tiles."""


@pytest.mark.parametrize("plan", [photometric(False), photometric(True, 5, (0, 1)), two_windows()])
def test_the_numbers_of_the_plan_at_any_size(plan):
    for shape in SHAPES:
        compare(plan, images(plan, shape))


@pytest.mark.parametrize("plan", [photometric(True), photometric(True, 5, ())])
def test_single_precision(plan):
    for shape in SHAPES[:3]:
        compare(plan, images(plan, shape, torch.float32))


def test_every_operation_also_of_what_is_not_a_number():
    plan = every_operation()
    odd = [float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 0.25, -0.25, 0.75, 1e-310, 1e100]
    grid = torch.meshgrid(*[torch.tensor(odd, dtype=torch.float64)] * 2, indexing="ij")
    x, y = (v.reshape(1, 10, 10, 1).contiguous() for v in grid)
    cotangents, hosts = numbers(plan)
    # One pixel at a time, so that each has a sum of its own.
    for i in range(10):
        for j in range(10):
            pixel = [v[:, i : i + 1, j : j + 1] for v in (x, y)]
            got = cpp.run_cpp(plan, pixel, cotangents, hosts, True)
            want = run_portable(plan, pixel, cotangents, hosts, True)
            for g, w in zip(got, want):
                torch.testing.assert_close(g, w, rtol=1e-12, atol=0, equal_nan=True)
    # All at once, in vectors, the gradients of each pixel stay its own.
    got = cpp.run_cpp(plan, [x, y], cotangents, hosts, True)
    want = run_portable(plan, [x, y], cotangents, hosts, True)
    for g, w in zip(got[1:], want[1:]):
        torch.testing.assert_close(g, w, rtol=1e-12, atol=0, equal_nan=True)


def test_the_gradient_is_that_of_the_values():
    plan = two_windows()
    inputs = images(plan, (1, 14, 13))
    cotangents, hosts = numbers(plan)
    gradients = cpp.run_cpp(plan, inputs, cotangents, hosts, True)[1:]
    generator = torch.Generator().manual_seed(1)
    for place, gradient in zip(plan.differentiable, gradients):
        direction = torch.randn(inputs[place].shape, generator=generator, dtype=torch.float64)
        values = []
        for step in (1e-5, -1e-5):
            moved = [x + step * direction if i == place else x for i, x in enumerate(inputs)]
            values.append(float(cpp.run_cpp(plan, moved, cotangents, hosts, False)[0][0]))
        slope = (values[0] - values[1]) / 2e-5
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-6)


def test_what_is_outside_of_the_region_does_not_matter():
    plan = photometric(True, 5, (0, 1))
    x, y, mask = images(plan, (1, 20, 24))
    cotangents, hosts = numbers(plan)
    want = cpp.run_cpp(plan, [x, y, mask], cotangents, hosts, True)
    outside = (mask <= 0).expand_as(x)
    assert outside.any()
    broken = [torch.where(outside, float("nan"), x), torch.where(outside, float("-inf"), y), mask]
    got = cpp.run_cpp(plan, broken, cotangents, hosts, True)
    assert torch.equal(got[0], want[0])
    for g, w in zip(got[1:], want[1:]):
        assert torch.equal(g.nan_to_num(), w)
        assert not g[~outside].isnan().any()
    compare(plan, [x, y, torch.zeros_like(mask)])
    empty = cpp.run_cpp(plan, [broken[0], broken[1], torch.zeros_like(mask)], cotangents, hosts, False)[0]
    assert empty.tolist() == [0.0] * plan.outputs


@pytest.mark.parametrize("shape", [(1, 0, 5), (1, 5, 0), (0, 4, 4)])
def test_images_without_pixels(shape):
    plan = photometric(True, 5, (0, 1))
    numbers_of_it, *gradients = cpp.run_cpp(plan, images(plan, shape), *numbers(plan), True)
    assert numbers_of_it.tolist() == [0.0] * plan.outputs
    assert [g.shape for g in gradients] == [(*shape, 3), (*shape, 3)]


def test_inputs_that_lie_otherwise_in_memory():
    plan = photometric(False)
    x, y = images(plan, (2, 9, 12))
    cotangents, hosts = numbers(plan)
    want = cpp.run_cpp(plan, [x, y], cotangents, hosts, True)
    turned = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert not turned.is_contiguous()
    for g, w in zip(cpp.run_cpp(plan, [turned, y], cotangents, hosts, True), want):
        assert torch.equal(g, w)
    with pytest.raises(TypeError, match="float32"):
        cpp.run_cpp(plan, [x, y.float()], cotangents, hosts, True)


def test_threads_change_nothing(threads):
    plan = photometric(True)
    inputs = images(plan, (2, 61, 400), torch.float32)
    cotangents, hosts = numbers(plan)
    made = []
    for count in (1, 2, 3, 7):
        torch.set_num_threads(count)
        made += [cpp.run_cpp(plan, inputs, cotangents, hosts, True) for _ in range(2)]
    for other in made[1:]:
        assert all(torch.equal(a, b) for a, b in zip(made[0], other))


def test_several_callers_at_once(threads):
    plan = photometric(False)
    torch.set_num_threads(2)
    cotangents, hosts = numbers(plan)
    inputs = [images(plan, (1, 60 + i, 120)) for i in range(4)]
    want = [cpp.run_cpp(plan, x, cotangents, hosts, True) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            got = pool.map(lambda x: cpp.run_cpp(plan, x, cotangents, hosts, True), inputs)
            for made, w in zip(got, want):
                assert all(torch.equal(a, b) for a, b in zip(made, w))


def test_the_source_is_made_of_the_plan_alone():
    photometric.cache_clear()
    first = cpp_source(photometric(True), "float32")
    photometric.cache_clear()
    assert cpp_source(photometric(True), "float32") == first
    assert cpp_source(photometric(True), "float64") != first
    assert cpp_source(photometric(False), "float32") != first


def test_a_kernel_that_cannot_be_made_says_why(monkeypatch):
    from torch._inductor import cpp_builder

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", lambda: "/bin/false")
    with pytest.raises(native.KernelUnavailable, match=r"`/bin/false` failed: exit status 1, and no message"):
        cpp.kernel(photometric(False, 3), torch.float32)
    with pytest.raises(native.KernelUnavailable, match="float16"):
        cpp.kernel(photometric(False), torch.float16)


def test_compilers_that_do_not_work(tmp_path):
    with pytest.raises(native.KernelUnavailable, match=r"`no-such-compiler` was not found"):
        native.load(SMALL_SOURCE, "no-such-compiler", "answer")
    with pytest.raises(native.KernelUnavailable, match=r"failed: kernel\.cpp:1:\d+: error: .*nonsense"):
        native.load("nonsense", "c++", "answer")
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nsleep 30\n")
    slow.chmod(0o755)
    with pytest.raises(native.KernelUnavailable, match=r"took longer than 0\.1 s"):
        native.load(SMALL_SOURCE, str(slow), "answer", timeout=0.1)
    liar = tmp_path / "liar"
    liar.write_text('#!/bin/sh\nfor last; do :; done\necho text > "$last"\n')
    liar.chmod(0o755)
    with pytest.raises(native.KernelUnavailable, match="made cannot be loaded"):
        native.load(SMALL_SOURCE, str(liar), "answer")


def test_the_cache(tmp_path, monkeypatch):
    def fresh(where: Path) -> int:
        """As a new process would load it."""
        monkeypatch.setenv("SPLATDSL_CACHE_DIR", str(where))
        monkeypatch.setattr(native, "_known", {})
        return native.load(SMALL_SOURCE, "c++", "answer").answer()

    where = tmp_path / "cache"
    assert fresh(where) == 42
    (kept,) = (where / "kernels").iterdir()
    library = kept / "kernel.so"
    assert (kept / "kernel.cpp").read_text() == SMALL_SOURCE
    made = library.stat().st_mtime_ns
    assert fresh(where) == 42
    assert library.stat().st_mtime_ns == made  # it was not compiled again

    library.unlink()
    library.write_bytes(b"\x7fELF, but not much of it")
    assert fresh(where) == 42
    assert library.stat().st_size > 1000
    assert list((where / "kernels").iterdir()) == [kept]  # nothing is left behind

    file = tmp_path / "file"
    file.write_text("")
    assert fresh(file) == 42  # no folder can be made there
    assert file.read_text() == ""


def test_several_builders_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATDSL_CACHE_DIR", str(tmp_path))
    place = tmp_path / "kernels" / "one"
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: native._build(place, SMALL_SOURCE, "c++", native.TIMEOUT), range(2)))
    library = native._open(place, "answer")
    assert library is not None
    assert library.answer() == 42
    assert native._open(place, "question") is None
    assert list(place.parent.iterdir()) == [place]
