"""Window kernels on a GPU against the same plans run with torch operations."""

import importlib.util
from pathlib import Path

import pytest
import torch

from splatdsl.compiler.windows.portable import run_portable
from splatdsl.compiler.windows.triton import BLOCKS, Blocks, missing, run_triton


def _cases():
    path = Path(__file__).parents[1] / "cpu" / "test_windows_triton.py"
    spec = importlib.util.spec_from_file_location("windows_triton_cases", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CASES = _cases()
reason = missing("cuda")
pytestmark = pytest.mark.skipif(bool(reason), reason=reason)


@pytest.mark.parametrize("name", sorted(CASES.CASES))
def test_the_same_numbers_and_gradients(name):
    assert CASES.difference(name, "cuda", torch.float32, BLOCKS) == ""


def test_no_pixels():
    assert CASES.no_pixels("cuda") == ""


def images(masked, batch=1, height=270, width=481):
    generator = torch.Generator().manual_seed(0)
    made = [torch.rand(batch, height, width, k, generator=generator) for k in (3, 3, 1)]
    made[2] = torch.where(made[2] > 0.3, made[2], 0.0)
    return [x.cuda() for x in made[: 3 if masked else 2]]


@pytest.mark.parametrize("blocks", [BLOCKS, BLOCKS._replace(rows=24), Blocks(256, 8, 64, 40)])
@pytest.mark.parametrize("masked", [False, True])
def test_pictures_of_many_blocks(masked, blocks):
    plan = CASES.photometric(masked, 5, (0, 1))
    given = images(masked, batch=2)
    scalars = torch.tensor([0.8, 0.2])
    got = run_triton(plan, given, scalars.cuda(), True, blocks)
    expected = run_portable(plan, [x.double() for x in given], scalars.double().tolist(), [], True)
    torch.testing.assert_close(got[0].double(), expected[0], rtol=1e-5, atol=1e-7)
    for a, b in zip(got[1:], expected[1:]):
        torch.testing.assert_close(a.double(), b, rtol=0, atol=2e-5 * float(b.abs().max()))


def test_the_same_bits_every_time():
    plan, given, scalars = CASES.photometric(True), images(True), torch.tensor([0.8, 0.2]).cuda()
    first = run_triton(plan, given, scalars, True)
    for _ in range(3):
        for a, b in zip(run_triton(plan, given, scalars, True), first):
            assert torch.equal(a, b)


def test_nothing_waits_for_the_device():
    plan, given, scalars = CASES.photometric(True), images(True), torch.tensor([0.8, 0.2]).cuda()
    run_triton(plan, given, scalars, True)
    torch.cuda.set_sync_debug_mode("error")
    try:
        run_triton(plan, given, scalars, True)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_other_sizes_and_memory_compile_nothing_again():
    from splatdsl.compiler.windows.triton import _module

    plan, scalars = CASES.photometric(True), torch.tensor([0.8, 0.2, 0.0]).cuda()
    run_triton(plan, images(True), scalars[:2], True)
    kernels = [getattr(_module(plan), name) for name in ("regions", "centre", "after", "finish")]
    if not hasattr(kernels[0], "device_caches"):
        pytest.skip("this Triton does not say what it has compiled")

    def compiled():
        return [sum(len(cache[0]) for cache in kernel.device_caches.values()) for kernel in kernels]

    before = compiled()
    for height, width in ((1, 1), (16, 16), (33, 47)):
        larger = images(True, batch=3, height=height, width=width)
        run_triton(plan, [x[1:2] for x in larger], scalars[1:], True)
    assert compiled() == before
