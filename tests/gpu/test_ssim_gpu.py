"""SSIM on CUDA: ours and that of each installed package against each other, value and gradients."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from splatdsl.compiler.kernels import photometric, ssim_packages

ROUTES = {"ours": photometric.ssim, **{name: getattr(ssim_packages, name) for name in ssim_packages.PACKAGES}}
FORMS = {
    "whole": lambda ssim, a, b, r: ssim(a, b),
    "valid": lambda ssim, a, b, r: ssim(a, b, padding="valid"),
    "region": lambda ssim, a, b, r: ssim(a, b, r),
    "region-valid": lambda ssim, a, b, r: ssim(a, b, r, "valid"),
}


def images(height, width):
    g = torch.Generator().manual_seed(height)
    a, b = (torch.rand(2, height, width, 3, generator=g).cuda().requires_grad_() for _ in range(2))
    r = (torch.rand(2, height, width, 1, generator=g) > 0.3).float().cuda()
    return a, b, r


@pytest.mark.parametrize(("first", "second"), list(combinations(ROUTES, 2)))
@pytest.mark.parametrize("form", FORMS)
def test_pairs_of_routes(first, second, form):
    for name in (first, second):
        reason = name in ssim_packages.PACKAGES and ssim_packages.missing(name, torch.device("cuda"), torch.float32)
        if reason:
            pytest.skip(reason)
    for size in ((40, 56), (61, 33)):
        a, b, r = images(*size)
        found = []
        for name in (first, second):
            value = FORMS[form](ROUTES[name], a, b, r)
            found.append((value, *torch.autograd.grad(value, (a, b))))
        torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-6)
        for x, y in zip(found[0][1:], found[1][1:]):
            torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", ssim_packages.PACKAGES)
def test_a_package_in_a_compiled_graph(name):
    reason = ssim_packages.missing(name, torch.device("cuda"), torch.float32)
    if reason:
        pytest.skip(reason)
    torch._dynamo.reset()

    def value_and_gradient(a, b, r):
        return torch.func.grad_and_value(lambda x: ROUTES[name](x, b, r, "valid"))(a)

    compiled = torch.compile(value_and_gradient, fullgraph=True)
    for size in ((40, 56), (61, 33), (48, 90)):
        a, b, r = (x.detach() for x in images(*size))
        gradient, value = compiled(a, b, r)
        a.requires_grad_()
        expected = photometric.ssim(a, b, r, "valid")
        torch.testing.assert_close(value, expected.detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient, *torch.autograd.grad(expected, a), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("form", FORMS)
def test_cuda_and_cpu(form):
    a, b, r = images(40, 56)
    there = FORMS[form](photometric.ssim, a, b, r)
    here = [x.detach().cpu().requires_grad_() for x in (a, b)]
    expected = FORMS[form](photometric.ssim, *here, r.cpu())
    torch.testing.assert_close(there.cpu(), expected, rtol=1e-5, atol=1e-6)
    for x, y in zip(torch.autograd.grad(there, (a, b)), torch.autograd.grad(expected, here)):
        torch.testing.assert_close(x.cpu(), y, rtol=1e-3, atol=1e-7)
