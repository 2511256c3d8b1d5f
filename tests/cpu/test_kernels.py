"""Every builtin and every prelude function against its formula, written anew in float64 with plain torch and loops."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import splatdsl
from splatdsl.compiler.kernels import photometric, pointwise, reductions, regions, vectors
from splatdsl.dsl.builtins import table
from splatdsl.dsl.check.functions import prelude

B, H, W, N = 2, 14, 13, 9


class Data:
    """Inputs in float64 with gradients, and a mask with zeros, ones and fractions."""

    def __init__(self, seed: int = 0, n: int = N, batch: int = B) -> None:
        g = torch.Generator().manual_seed(seed)

        def rand(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=g, dtype=torch.float64)

        self.rendered, self.target = rand(batch, H, W, 3), rand(batch, H, W, 3)
        self.alpha, self.depth = rand(batch, H, W, 1), 3 * rand(batch, H, W, 1) + 0.1
        mask = rand(batch, H, W)
        self.mask = torch.where(mask < 0.4, 0.0, torch.where(mask > 0.7, 1.0, mask))
        self.state = {"means": rand(n, 3), "scales": rand(n, 3) - 2, "opacities": rand(n) - 0.5}
        self.visible = (rand(n) > 0.3).double()
        self.state["quats"] = rand(n, 4) - 0.5
        self.leaves = [self.rendered, self.alpha, self.depth, *self.state.values()]
        for x in self.leaves:
            x.requires_grad_(True)

    @property
    def m(self) -> Tensor:
        return self.mask[..., None]

    @property
    def scales(self) -> Tensor:
        return self.state["scales"].exp()

    @property
    def opacities(self) -> Tensor:
        return 1 / (1 + (-self.state["opacities"]).exp())[:, None]

    def loss(self, text: str, **options: Any) -> Tensor:
        fn = splatdsl.compile(text, backend="eager")
        given = {
            "rendered": self.rendered,
            "target": self.target,
            "mask": self.mask,
            "state": self.state,
            "alpha": self.alpha,
            "depth": self.depth,
            "visible": self.visible,
        }
        return fn(**{**given, **options})


def masked_mean(x: Tensor, r: Tensor) -> Tensor:
    total = r.sum() * x.shape[-1]
    return (x * r).sum() / total if total > 0 else (x * 0).sum()


def ssim_by_windows(a: Tensor, b: Tensor) -> Tensor:
    """SSIM of `[B, H, W, C]` with an explicit 11x11 window, pixel by pixel, zeros outside the image."""
    offsets = torch.arange(11, dtype=torch.float64) - 5
    taps = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = taps[:, None] * taps[None, :]
    window = (window / window.sum())[None, :, :, None]

    a, b = framed(a), framed(b)
    rows = []
    for y in range(a.shape[1] - 10):
        row = []
        for x in range(a.shape[2] - 10):
            pa, pb = a[:, y : y + 11, x : x + 11], b[:, y : y + 11, x : x + 11]
            ma, mb = (window * pa).sum((1, 2)), (window * pb).sum((1, 2))
            va = (window * pa * pa).sum((1, 2)) - ma**2
            vb = (window * pb * pb).sum((1, 2)) - mb**2
            cov = (window * pa * pb).sum((1, 2)) - ma * mb
            c1, c2 = 0.01**2, 0.03**2
            row.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
        rows.append(torch.stack(row, 1))
    return torch.stack(rows, 1)


def framed(x: Tensor) -> Tensor:
    """The image with 5 zeros on each side."""
    column = torch.zeros(x.shape[0], x.shape[1], 5, x.shape[3], dtype=x.dtype)
    wide = torch.cat([column, x, column], 2)
    row = torch.zeros(x.shape[0], 5, wide.shape[2], x.shape[3], dtype=x.dtype)
    return torch.cat([row, wide, row], 1)


def huber(d: Tensor, delta: float) -> Tensor:
    small = d.abs() <= delta
    return torch.where(small, 0.5 * d * d, delta * (d.abs() - 0.5 * delta))


def log_curve(x: Tensor) -> Tensor:
    t = ((x - 0.2) / 0.6).clamp(0, 1)
    return torch.exp((1 - t) * math.log(0.1) + t * math.log(2.0))


def trimmed(x: Tensor, fraction: float, largest: bool) -> Tensor:
    return x.topk(max(int(x.numel() * fraction), 1), largest=largest).values.mean()


def hamilton(a: Tensor, b: Tensor) -> Tensor:
    """The product by its rules: i*i = j*j = k*k = -1, i*j = k, j*k = i, k*i = j."""
    table = [
        [(1, 0), (1, 1), (1, 2), (1, 3)],
        [(1, 1), (-1, 0), (1, 3), (-1, 2)],
        [(1, 2), (-1, 3), (-1, 0), (1, 1)],
        [(1, 3), (1, 2), (-1, 1), (-1, 0)],
    ]
    parts = [torch.zeros_like(a[:, 0]) for _ in range(4)]
    for i, row in enumerate(table):
        for j, (factor, k) in enumerate(row):
            parts[k] = parts[k] + factor * a[:, i] * b[:, j]
    return torch.stack(parts, -1)


def matrices(q: Tensor) -> Tensor:
    """Rotation matrices of quaternions wxyz."""
    w, x, y, z = (q / (q**2).sum(-1, True).sqrt()).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def entropy(p: Tensor) -> Tensor:
    return -p * torch.log(p)


References = dict[str, tuple[str, Callable[[Data], Tensor]]]

PRIMITIVES: References = {
    "ssim": ("-ssim()", lambda d: -ssim_by_windows(d.rendered, d.target).mean()),
    "ssim_map": (
        "mean(1 - ssim_map(rendered, target), masked)",
        lambda d: masked_mean(1 - ssim_by_windows(d.rendered, d.target), d.m),
    ),
    "psnr": ("-psnr(masked)", lambda d: 10 * torch.log10(masked_mean((d.rendered - d.target) ** 2, d.m))),
    "mean": ("mean(rendered, masked)", lambda d: (d.rendered * d.m).sum() / (3 * d.m.sum())),
    "sum": ("sum(rendered, masked)", lambda d: (d.rendered * d.m).sum()),
    "max_over": ("max_over(state.scales, visible)", lambda d: d.scales[d.visible > 0].max()),
    "min_over": ("min_over(depth, masked)", lambda d: d.depth[d.m > 0].min()),
    "component_max": ("mean(component_max(state.scales))", lambda d: d.scales.max(-1).values.mean()),
    "component_min": ("mean(component_min(rendered), masked)", lambda d: masked_mean(d.rendered.amin(-1, True), d.m)),
    "abs": ("mean(abs(rendered - 0.5))", lambda d: torch.sqrt((d.rendered - 0.5) ** 2).mean()),
    "sq": ("mean(sq(depth))", lambda d: (d.depth**2).mean()),
    "sqrt": ("mean(sqrt(depth))", lambda d: (d.depth**0.5).mean()),
    "exp": ("mean(exp(-depth))", lambda d: (math.e ** (-d.depth)).mean()),
    "log": ("mean(log(depth))", lambda d: torch.log(d.depth).mean()),
    "sigmoid": ("mean(sigmoid(depth))", lambda d: (1 / (1 + torch.exp(-d.depth))).mean()),
    "relu": ("mean(relu(depth - 1))", lambda d: ((d.depth - 1) * (d.depth > 1)).mean()),
    "clamp": (
        "mean(clamp(depth, 0.5, 2))",
        lambda d: torch.where(d.depth < 0.5, 0.5, torch.where(d.depth > 2, 2.0, d.depth)).mean(),
    ),
    "where": (
        "mean(where(alpha > 0.5, rendered, 2 * depth))",
        lambda d: torch.where(d.alpha > 0.5, d.rendered, 2 * d.depth).mean(),
    ),
    "detach": ("mean(detach(alpha) * alpha)", lambda d: (d.alpha.detach() * d.alpha).mean()),
    "min": (
        "mean(min(alpha, depth, 0.7))",
        lambda d: torch.stack([d.alpha, d.depth, 0.7 + 0 * d.alpha]).amin(0).mean(),
    ),
    "max": (
        "mean(max(rendered, depth, 0.7))",
        lambda d: torch.stack([d.rendered, d.depth.expand(-1, -1, -1, 3), 0.7 + 0 * d.rendered]).amax(0).mean(),
    ),
    "log1p": ("mean(log1p(depth))", lambda d: torch.log(1 + d.depth).mean()),
    "tanh": ("mean(tanh(depth))", lambda d: (1 - 2 / (torch.exp(2 * d.depth) + 1)).mean()),
    "sin": ("mean(sin(depth))", lambda d: torch.cos(d.depth - math.pi / 2).mean()),
    "cos": ("mean(cos(depth))", lambda d: torch.sin(d.depth + math.pi / 2).mean()),
    "acos": (
        "mean(acos(0.9 * alpha))",
        lambda d: (math.pi / 2 - torch.atan2(0.9 * d.alpha, torch.sqrt(1 - (0.9 * d.alpha) ** 2))).mean(),
    ),
    "floor": (
        "mean(floor(4 * depth) * depth)",
        lambda d: (torch.div(4 * d.depth.detach(), 1, rounding_mode="floor") * d.depth).mean(),
    ),
    "sign": (
        "mean(sign(state.means - 0.5) * state.means)",
        lambda d: (d.state["means"] * torch.where(d.state["means"].detach() > 0.5, 1.0, -1.0)).mean(),
    ),
    "raw": ("mean(raw(depth) * 2)", lambda d: 2 * d.depth.mean()),
    "finite": (
        "mean(where(finite(log(depth - 1)), depth, 0))",
        lambda d: torch.where(d.depth > 1, d.depth, 0.0).mean(),
    ),
    "valid": ("mean(depth, valid(log(depth)))", lambda d: d.depth[d.depth > 1].mean()),
    "region": ("mean(depth, region(alpha))", lambda d: (d.depth * d.alpha).sum() / d.alpha.sum()),
    "softmax": (
        "mean(softmax(3 * rendered) * target)",
        lambda d: ((3 * d.rendered).exp() / (3 * d.rendered).exp().sum(-1, True) * d.target).mean(),
    ),
    "finite_or": (
        "mean(finite_or(depth, 0) * finite_or(1 / detach(relu(depth - 1)), 2))",
        lambda d: (d.depth * torch.where(d.depth > 1, 1 / (d.depth - 1).detach(), 2.0)).mean(),
    ),
    "component_mean": (
        "mean(sq(component_mean(rendered)))",
        lambda d: ((d.rendered[..., 0] + d.rendered[..., 1] + d.rendered[..., 2]) ** 2 / 9).mean(),
    ),
    "component_sum": (
        "mean(sq(component_sum(state.scales)))",
        lambda d: ((d.scales[:, 0] + d.scales[:, 1] + d.scales[:, 2]) ** 2).mean(),
    ),
    "component_product": (
        "mean(component_product(state.scales))",
        lambda d: (d.scales[:, 0] * d.scales[:, 1] * d.scales[:, 2]).mean(),
    ),
    "smallest_mean": (
        "smallest_mean(rendered, 0.25, masked)",
        lambda d: trimmed(d.rendered[d.m.expand_as(d.rendered) > 0], 0.25, largest=False),
    ),
    "largest_mean": (
        "largest_mean(state.scales, 0.4)",
        lambda d: trimmed(d.scales.reshape(-1), 0.4, largest=True),
    ),
    "norm": (
        "mean(norm(state.means, eps=0.5))",
        lambda d: torch.sqrt((d.state["means"] ** 2).sum(-1) + 0.25).mean(),
    ),
    "normalize": (
        "mean(normalize(state.means) * state.scales)",
        lambda d: (d.state["means"] / (d.state["means"] ** 2).sum(-1, True).sqrt() * d.scales).mean(),
    ),
    "dot": (
        "mean(dot(rendered, target), masked)",
        lambda d: masked_mean(torch.einsum("bhwc,bhwc->bhw", d.rendered, d.target)[..., None], d.m),
    ),
    "cross": (
        "mean(cross(rendered, target) * depth, masked)",
        lambda d: masked_mean(torch.linalg.cross(d.rendered, d.target, dim=-1) * d.depth, d.m),
    ),
    "quat_mul": (
        "mean(sq(quat_mul(state.quats, 2 * state.quats + 1)))",
        lambda d: (hamilton(d.state["quats"], 2 * d.state["quats"] + 1) ** 2).mean(),
    ),
    "quat_inverse": (
        "mean(quat_mul(state.quats, quat_inverse(2 * state.quats)) * state.quats)",
        lambda d: (torch.tensor([0.5, 0, 0, 0], dtype=torch.float64) * d.state["quats"]).mean(),
    ),
    "quat_rotate": (
        "mean(quat_rotate(state.quats, state.means) * state.scales)",
        lambda d: (torch.einsum("nij,nj->ni", matrices(d.state["quats"]), d.state["means"]) * d.scales).mean(),
    ),
    "identity_like": (
        "mean(norm(state.quats - identity_like(state.quats, rows=2)) * state.scales)",
        lambda d: (
            ((d.state["quats"] - torch.tensor([1.0, 0, 0, 1]).double()) ** 2).sum(-1, True).sqrt() * d.scales
        ).mean(),
    ),
    "piecewise": ('mean(piecewise(alpha, (0.2, 0.1), (0.8, 2), interp="log"))', lambda d: log_curve(d.alpha).mean()),
}

PRELUDE: References = {
    "l1": ("l1(masked)", lambda d: masked_mean((d.rendered - d.target).abs(), d.m)),
    "l2": ("l2(rendered, target, masked)", lambda d: masked_mean((d.rendered - d.target) ** 2, d.m)),
    "huber": ("huber(masked, delta=0.3)", lambda d: masked_mean(huber(d.rendered - d.target, 0.3), d.m)),
    "charbonnier": (
        "charbonnier(masked, eps=0.1)",
        lambda d: masked_mean(torch.sqrt((d.rendered - d.target) ** 2 + 0.01), d.m),
    ),
    "ssim_loss": (
        "ssim_loss(masked)",
        lambda d: 1 - masked_mean(ssim_by_windows(d.rendered * d.m, d.target * d.m), d.m),
    ),
    "photometric": (
        'photometric(ssim_weight=0.3, padding="valid")',
        lambda d: (
            0.7 * (d.rendered - d.target).abs().mean()
            + 0.3 * (1 - ssim_by_windows(d.rendered, d.target)[:, 5:-5, 5:-5].mean())
        ),
    ),
    "log_l1": ("log_l1(masked)", lambda d: masked_mean(torch.log(1 + (d.rendered - d.target).abs()), d.m)),
    "gray": (
        "mean(sq(gray(rendered)), masked)",
        lambda d: masked_mean((d.rendered @ torch.tensor([[0.299], [0.587], [0.114]], dtype=torch.float64)) ** 2, d.m),
    ),
    "depth_l1": (
        "depth_l1(depth, 2 * depth - 1, masked)",
        lambda d: masked_mean((1 - d.depth).abs(), d.m),
    ),
    "bce": (
        "bce(0.1 + 0.8 * alpha, masked)",
        lambda d: torch.nn.functional.binary_cross_entropy(0.1 + 0.8 * d.alpha, d.m),
    ),
    "entropy": ("mean(entropy(alpha), masked)", lambda d: masked_mean(entropy(d.alpha), d.m)),
    "binary_entropy": (
        "mean(binary_entropy(alpha), masked)",
        lambda d: masked_mean(entropy(d.alpha) + entropy(1 - d.alpha), d.m),
    ),
    "opacity_entropy": (
        "opacity_entropy(state)",
        lambda d: (entropy(d.opacities) + entropy(1 - d.opacities)).mean(),
    ),
    "anisotropy": ("mean(anisotropy(state))", lambda d: (d.scales.amax(-1) / d.scales.amin(-1)).mean()),
    "effective_rank": (
        "mean(effective_rank(state))",
        lambda d: entropy(d.scales**2 / (d.scales**2).sum(-1, True)).sum(-1).exp().mean(),
    ),
    "flatten": ("flatten(state)", lambda d: d.scales.amin(-1).mean()),
    "mix": ("mix(mean(alpha), mean(depth), 0.25)", lambda d: 0.75 * d.alpha.mean() + 0.25 * d.depth.mean()),
    "opacity_reg": ("opacity_reg(state)", lambda d: d.opacities.mean()),
    "scale_reg": ("scale_reg(state, visible)", lambda d: d.scales[d.visible > 0].mean()),
    "reg": ("reg(state)", lambda d: d.opacities.mean() + d.scales.mean()),
    "background_alpha": ("background_alpha()", lambda d: (d.alpha * (1 - d.m)).sum() / (1 - d.m).sum()),
}


def gradients(value: Tensor, d: Data) -> list[Tensor]:
    found = torch.autograd.grad(value, d.leaves, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(d.leaves, found)]


@pytest.mark.parametrize("name", [*PRIMITIVES, *PRELUDE])
def test_value_and_gradient(name: str) -> None:
    text, reference = {**PRIMITIVES, **PRELUDE}[name]
    d = Data(3)
    found, expected = d.loss(text), reference(d)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    for g, e in zip(gradients(found, d), gradients(expected, d)):
        torch.testing.assert_close(g, e, rtol=1e-8, atol=1e-12)


def test_everything_that_has_a_kernel_has_a_reference() -> None:
    """Here, or in the files beside this one, where the kernel is called on its own."""
    others = [p.read_text(encoding="utf-8") for p in Path(__file__).parent.glob("test_kernels_*.py")]
    for name, record in table().items():
        function = record.kernel.partition(":")[2]
        called = any(re.search(rf"\b{function}\b", text) for text in others)
        assert not record.kernel or name in PRIMITIVES or called, name
    assert set(PRELUDE) <= set(prelude()[1])  # all of them: test_prelude.py
    for name, (text, _) in {**PRIMITIVES, **PRELUDE}.items():
        assert f"{name}(" in text


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("region", [None, "mask"])
def test_ssim_in_all_its_forms(padding: str, region: str | None) -> None:
    d = Data(5)
    r = d.m if region else torch.ones_like(d.m)
    values = ssim_by_windows(d.rendered * r, d.target * r)
    if padding == "valid":
        values, r = values[:, 5:-5, 5:-5], r[:, 5:-5, 5:-5]
    expected = (values * r).sum() / (3 * r.sum())
    found = -d.loss(f'-ssim({"masked, " if region else ""}padding="{padding}")')
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    for g, e in zip(gradients(found, d), gradients(expected, d)):
        torch.testing.assert_close(g, e, rtol=1e-7, atol=1e-12)


def test_ssim_of_what_is_inside_the_windows_alone() -> None:
    """Each window with its own weights: what is outside the region, or outside the image, has none."""
    d = Data(6)
    taps = torch.tensor(photometric.window(), dtype=torch.float64)
    weights = framed(d.m)
    a, b = framed(d.rendered), framed(d.target)
    window = (taps[:, None] * taps[None, :])[None, :, :, None]
    rows = []
    for y in range(H):
        row = []
        for x in range(W):
            w = window * weights[:, y : y + 11, x : x + 11]
            w = w / w.sum((1, 2), keepdim=True)
            pa, pb = a[:, y : y + 11, x : x + 11], b[:, y : y + 11, x : x + 11]
            ma, mb = (w * pa).sum((1, 2), keepdim=True), (w * pb).sum((1, 2), keepdim=True)
            va, vb = (w * (pa - ma) ** 2).sum((1, 2)), (w * (pb - mb) ** 2).sum((1, 2))
            cov = (w * (pa - ma) * (pb - mb)).sum((1, 2))
            ma, mb = ma[:, 0, 0], mb[:, 0, 0]
            row.append(((2 * ma * mb + 1e-4) * (2 * cov + 9e-4)) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
        rows.append(torch.stack(row, 1))
    expected = masked_mean(torch.stack(rows, 1), d.m)
    found = -d.loss("-ssim(masked, window_mask=true)")
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    for g, e in zip(gradients(found, d), gradients(expected, d)):
        torch.testing.assert_close(g, e, rtol=1e-6, atol=1e-11)


def test_the_border_does_not_enter_windows_that_are_masked() -> None:
    d = Data()
    flat, half = torch.ones_like(d.rendered), torch.full_like(d.rendered, 0.5)
    inside = -d.loss("-ssim(window_mask=true)", rendered=flat, target=half)
    assert inside.item() == pytest.approx((2 * 0.5 + 1e-4) / (1 + 0.25 + 1e-4)), "flat images differ in luminance alone"
    assert -d.loss("-ssim()", rendered=flat, target=half).item() != pytest.approx(inside.item(), rel=1e-3)


def test_the_window_of_ssim() -> None:
    taps = photometric.window()
    assert math.fsum(taps) == pytest.approx(1, abs=1e-15)
    assert taps == taps[::-1]
    assert taps[5] / taps[4] == pytest.approx(math.exp(1 / 4.5))


@pytest.mark.parametrize("interp", ["linear", "log", "step"])
def test_curves_of_tensors_equal_those_of_the_host(interp: str) -> None:
    points = ((0.0, 0.5), (1.0, 2.0), (3.0, 0.0), (4.0, 1.5))
    x = torch.tensor([-1.0, 0.0, 0.25, 1.0, 1.5, 2.999, 3.0, 3.5, 4.0, 9.0], dtype=torch.float64)
    host = table()["piecewise"].host
    assert host is not None
    expected = [host(x=float(v), points=points, interp=interp) for v in x]
    torch.testing.assert_close(pointwise.piecewise(x, points, interp).tolist(), expected, rtol=1e-12, atol=1e-14)


ON_NUMBERS = [
    n
    for n, b in table().items()
    if b.host
    and b.kernel.startswith("pointwise:")
    and [(p.name, p.variadic) for p in b.parsed.params] == [("x", False)]
]


@pytest.mark.parametrize("name", ON_NUMBERS)
def test_functions_of_tensors_equal_those_of_the_host(name: str) -> None:
    host = table()[name].host
    assert host is not None
    for x in (-2.0, -0.5, 0.0, 0.3, 1.0, 50.0, -800.0, 800.0):
        found = getattr(pointwise, name)(torch.tensor(x, dtype=torch.float64)).item()
        assert found == pytest.approx(float(host(x=x)), rel=1e-12, nan_ok=True)


# Edges: every builtin stays finite, value and gradient, and says what its documentation says

REGIONAL = [n for n in PRIMITIVES if table()[n].reduces and "r" in [p.name for p in table()[n].parsed.params]]


@pytest.mark.parametrize("name", REGIONAL)
def test_an_empty_region(name: str) -> None:
    d = Data()
    d.mask = torch.zeros_like(d.mask)
    comparing = table()[name].parsed.comparing
    fraction = "0.5, " if "fraction" in [p.name for p in table()[name].parsed.params] else ""
    text = f"-{name}(masked)" if comparing else f"-{name}(rendered, {fraction}masked)"
    found = d.loss(text)
    assert found.item() == pytest.approx(-table()[name].empty, rel=1e-12)
    assert all((g == 0).all() for g in gradients(found, d)), "an empty region has no gradient"


OF_THE_STATE = ("opacity_reg", "scale_reg", "reg", "opacity_entropy", "anisotropy", "effective_rank", "flatten")
NOT_COMPARING = (*OF_THE_STATE, "mix", "gray", "depth_l1", "bce", "entropy", "binary_entropy")


@pytest.mark.parametrize("name", [n for n in PRELUDE if n not in NOT_COMPARING])
def test_an_empty_region_of_a_prelude_function(name: str) -> None:
    d = Data()
    d.mask = torch.ones_like(d.mask) if name == "background_alpha" else torch.zeros_like(d.mask)
    found = d.loss(f"{name}()" if name == "background_alpha" else f"{name}(masked)")
    assert found.item() == 0
    assert all((g == 0).all() for g in gradients(found, d))


def test_no_mask_is_everywhere_and_its_complement_nowhere() -> None:
    d = Data()
    torch.testing.assert_close(d.loss("l1(masked)", mask=None), d.loss("l1()"), rtol=0, atol=0)
    assert d.loss("mean(alpha, unmasked) + background_alpha()", mask=None).item() == 0
    assert d.loss("mean(masked)", mask=None).item() == 1
    assert d.loss("sum(masked)", mask=None).item() == B * H * W
    assert d.loss("sum(unmasked)", mask=None).item() == 0


@pytest.mark.parametrize(
    "text", ["l1()", "l2()", "huber()", "ssim_loss()", "photometric()", 'ssim_loss(padding="valid")']
)
def test_equal_images_lose_nothing(text: str) -> None:
    d = Data()
    d.target = d.rendered.detach().clone()
    found = d.loss(text)
    assert found.item() == pytest.approx(0, abs=1e-12)
    assert all(g.isfinite().all() for g in gradients(found, d))


def test_psnr_of_equal_images_is_100() -> None:
    d = Data()
    found = d.loss("-psnr()", target=d.rendered.detach().clone())
    assert found.item() == pytest.approx(-100)
    assert all(g.isfinite().all() for g in gradients(found, d))


@pytest.mark.parametrize("fill", [0.0, 1.0, 0.5])
def test_flat_images(fill: float) -> None:
    """Variances are 0 up to rounding; in float32 they would be negative without their floor."""
    d = Data()
    flat = torch.full((B, H, W, 3), fill, dtype=torch.float32, requires_grad=True)
    for other in (flat.detach().clone(), torch.rand(B, H, W, 3, generator=torch.Generator().manual_seed(1))):
        found = d.loss("photometric()", rendered=flat, target=other)
        assert found.isfinite()
        (g,) = torch.autograd.grad(found, [flat])
        assert g.isfinite().all()
        assert -1e-6 <= found.item() <= 2


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize(
    "text",
    [
        "reg(state)",
        "reg(state, visible)",
        "max_over(state.scales)",
        "min_over(state.opacities, visible)",
        "sum(component_max(state.scales))",
        "mean(where(state.opacities > 0.5, 1 / state.scales, 0), state.scales.x > 0.1)",
        "mean(state.means * state.opacities)",
    ],
)
def test_one_gaussian_and_none(text: str, n: int) -> None:
    d = Data(n=n)
    found = d.loss(text)
    assert found.isfinite()
    if n == 0:
        assert found.item() == 0
    assert all(g.isfinite().all() for g in gradients(found, d))


def test_an_alpha_of_zero() -> None:
    d = Data()
    d.alpha = torch.zeros_like(d.alpha).requires_grad_(True)
    d.leaves[1] = d.alpha
    for text in ("mean(where(alpha > 0, 1 / alpha, 0))", "mean(where(alpha > 0, depth / alpha, depth))"):
        found = d.loss(text)
        assert found.isfinite()
        assert all(g.isfinite().all() for g in gradients(found, d)), text


@pytest.mark.parametrize("junk", [math.nan, math.inf])
@pytest.mark.parametrize(
    "text",
    [
        "l1(masked)",
        "-psnr(masked)",
        "photometric(masked)",
        "mean(rendered, masked)",
        "-max_over(rendered, masked)",
        "sum(rendered, masked)",
        "huber(masked)",
    ],
)
def test_what_lies_outside_the_region_does_not_matter(text: str, junk: float) -> None:
    d = Data()
    dirty = torch.where(d.m > 0, d.rendered, torch.full_like(d.rendered, junk))
    torch.testing.assert_close(d.loss(text, rendered=dirty), d.loss(text), rtol=1e-13, atol=0)


def test_what_is_wrong_inside_the_region_is_not_hidden() -> None:
    d = Data()
    dirty = d.rendered.detach().clone()
    dirty[0, 3, 4, 1] = math.nan
    for text in (
        "l1()",
        "photometric()",
        "max_over(rendered)",
        "min_over(rendered, everywhere)",
        "max(mean(alpha), mean(rendered))",
    ):
        assert d.loss(text, rendered=dirty).isnan(), text


def test_fractional_regions() -> None:
    d = Data()
    a, m = (d.alpha > 0.5).double(), d.m
    expected = {
        "masked and alpha > 0.5": m * a,
        "masked or alpha > 0.5": 1 - (1 - m) * (1 - a),
        "not masked": 1 - m,
        "unmasked": 1 - m,
        "not (masked and not (alpha > 0.5))": 1 - m * (1 - a),
        "masked and everywhere": m,
        "masked or everywhere": torch.ones_like(m),
    }
    for region, weight in expected.items():
        torch.testing.assert_close(d.loss(f"mean(depth, {region})"), (d.depth * weight).sum() / weight.sum())
        torch.testing.assert_close(d.loss(f"sum({region})"), weight.sum())


# `where` and `if`: the branch that is not taken never poisons the gradient, and guarding it changes no value

SINGULAR = [
    "mean(where(unmasked, sqrt(alpha), 0))",
    "mean(where(after(step, 5), sqrt(alpha), depth))",
    "mean(sqrt(alpha)) if after(step, 5) else mean(depth)",
    "mean(where(alpha > 0.5, log(alpha), alpha))",
    "mean(where(alpha > 0.5, 1 / alpha, alpha))",
    "mean(where(alpha > 0.5, alpha ^ 0.5, alpha))",
    "mean(where(alpha > 0.5, where(depth > 1, 1 / alpha, log(alpha)), alpha))",
    "mean(where(alpha > 0.5, rendered / alpha, rendered))",
    "mean(where(not (alpha > 0.5), rendered, rendered / alpha))",
    "mean(depth) / (step - 0) if step > 0 else mean(depth)",
    "mean(depth) * log(step) if step > 0 else mean(depth)",
    "1 / (mean(alpha) - mean(alpha)) if after(step, 5) else mean(depth)",
]


@pytest.mark.parametrize("text", SINGULAR)
@pytest.mark.parametrize("masked", [True, False])
def test_the_other_branch_does_not_poison_the_gradient(text: str, masked: bool) -> None:
    d = Data()
    d.mask = torch.ones_like(d.mask)
    d.alpha = torch.where(d.alpha > 0.5, d.alpha, 0).detach().requires_grad_(True)
    d.leaves[1] = d.alpha
    found = d.loss(text, **({} if masked else {"mask": None}))
    assert found.isfinite()
    assert all(g.isfinite().all() for g in gradients(found, d))


def test_guards_change_no_value() -> None:
    d = Data()
    r, a, m, s = d.rendered, d.alpha, d.m, ssim_by_windows
    cases = {
        "sum(where(rendered > 0.5, component_min(1 / alpha), 0))": ((r > 0.5) * (1 / a)).sum(),
        "sum(where(rendered > 0.5, (1 / rendered).r, 0))": ((r > 0.5) * (1 / r[..., :1])).sum(),
        "sum(where(alpha > 0.5, 1 - ssim_map(rendered / depth, target), 0))": (
            (a > 0.5) * (1 - s(r / d.depth, d.target))
        ).sum(),
        "sum(where(masked, where(masked, 1 / depth, 0), 0))": ((m > 0.5) / d.depth).sum(),
        "sum(where(alpha > 0.5, 1 / mean(depth), 0))": ((a > 0.5) / d.depth.mean()).sum(),
    }
    for text, expected in cases.items():
        torch.testing.assert_close(d.loss(text), expected, rtol=1e-10, atol=0, msg=text)


# Kernels on their own


@pytest.mark.parametrize("over", [-1, -2, -3])
def test_reductions_over_one_dimension(over: int) -> None:
    g = torch.Generator().manual_seed(2)
    x = torch.rand(4, 3, 2, generator=g, dtype=torch.float64)
    r = (torch.rand(4, 3, 1, generator=g) > 0.5).double()
    r[1] = 0
    kept = over == -1
    torch.testing.assert_close(reductions.sum(x, None, over), x.sum(over, keepdim=kept))
    torch.testing.assert_close(reductions.mean(x, None, over), x.mean(over, keepdim=kept))
    weights = r.expand_as(x)
    total, count = (x * weights).sum(over, keepdim=kept), weights.sum(over, keepdim=kept)
    torch.testing.assert_close(reductions.sum(x, r, over), total)
    torch.testing.assert_close(reductions.mean(x, r, over), torch.where(count > 0, total / count.clamp(min=1e-9), 0.0))
    assert reductions.mean(torch.zeros(4, 0, 2), None, -2).tolist() == [[0.0, 0.0]] * 4


def test_trimmed_means_round_down_and_keep_one() -> None:
    x = torch.tensor([[4.0], [1.0], [3.0], [2.0]])
    assert reductions.smallest_mean(x, 0.74).item() == 1.5
    assert reductions.smallest_mean(x, 0.01).item() == 1
    assert reductions.largest_mean(x, 1.0).item() == 2.5
    assert reductions.largest_mean(x, 0.5, torch.tensor([[0.0], [1.0], [1.0], [1.0]])).item() == 3
    assert reductions.smallest_mean(torch.tensor([[1.0], [math.nan]]), 0.5).isnan(), "NaN is not trimmed away"
    assert reductions.smallest_mean(torch.zeros(0, 3), 0.5).item() == 0


def test_vectors_of_zero_have_gradients() -> None:
    x = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]], requires_grad=True)
    assert vectors.norm(x).flatten().tolist() == [0, 5]
    (g,) = torch.autograd.grad(vectors.norm(x).sum(), [x])
    torch.testing.assert_close(g, torch.tensor([[0.0, 0.0, 0.0], [0.6, 0.0, 0.8]]))
    assert vectors.normalize(x)[0].tolist() == [0, 0, 0]
    (g,) = torch.autograd.grad(vectors.normalize(x).sum(), [x])
    assert g[0].tolist() == [0, 0, 0]
    q = torch.zeros(1, 4, requires_grad=True)
    for value in (vectors.quat_inverse(q).sum(), vectors.quat_rotate(q, x[1:].detach()).sum()):
        (g,) = torch.autograd.grad(value, [q])
        assert g.isfinite().all()
    assert vectors.quat_rotate(q, x[1:]).tolist() == [[3, 0, 4]]


def test_comparisons_and_selection() -> None:
    x = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    assert regions.compare(x, 0.5, "gt").tolist() == [0, 0, 1]
    assert regions.compare(x, 0.5, "le").tolist() == [1, 1, 0]
    assert regions.compare(x, x, "eq").dtype == torch.float64
    assert regions.select(torch.tensor(1.0), x, 2.0).tolist() == x.tolist()
    assert regions.select(0.0, x, 2.0).tolist() == [2, 2, 2]
    assert regions.select(0.0, 1.0, 2.0) == 2.0
    assert regions.guard(x, 0.0).tolist() == [1, 1, 1]


def test_means_keep_the_dtype_and_do_not_divide_by_the_count_of_nothing() -> None:
    none = torch.zeros(0, 3, dtype=torch.float32, requires_grad=True)
    assert reductions.mean(none).item() == 0
    assert reductions.mean(none, torch.zeros(0, 1)).item() == 0
    assert reductions.max_over(none).item() == 0
    assert reductions.mean(none).dtype == torch.float32
    x = torch.full((1, 2, 2, 3), -3.0)
    assert reductions.max_over(x).item() == -3, "the largest of negative values is negative"
    assert reductions.min_over(-x).item() == 3


def test_the_gradient_of_a_tie_is_shared() -> None:
    x = torch.tensor([[0.5], [0.5]], requires_grad=True)
    (g,) = torch.autograd.grad(pointwise.maximum(x, 0.5).sum(), [x])
    assert g.flatten().tolist() == [0.5, 0.5]
    (g,) = torch.autograd.grad(reductions.max_over(x), [x])
    assert g.flatten().tolist() == [0.5, 0.5]
