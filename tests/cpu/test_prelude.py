"""Every definition of the prelude against its formula in float64, in value and gradient."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import splatdsl
from splatdsl.dsl.check.functions import prelude

Data = dict[str, Tensor]
B, H, W, N = 2, 16, 14, 6


def rand(g: torch.Generator, *shape: int, lo: float = 0.0, hi: float = 1.0) -> Tensor:
    return lo + (hi - lo) * torch.rand(*shape, generator=g, dtype=torch.float64)


def data(region: str) -> Data:
    g = torch.Generator().manual_seed(5)
    found = {
        "rendered": rand(g, B, H, W, 3),
        "target": rand(g, B, H, W, 3),
        "alpha": rand(g, B, H, W, 1, lo=0.05, hi=0.95),
        "depth": rand(g, B, H, W, 1, lo=1, hi=3),
        "depth.median": rand(g, B, H, W, 1, lo=1, hi=3),
        "normals": torch.nn.functional.normalize(rand(g, B, H, W, 3, lo=-1), dim=-1),
        "normals_from_depth": torch.nn.functional.normalize(rand(g, B, H, W, 3, lo=-1), dim=-1),
        "means": rand(g, N, 3),
        "scales": rand(g, N, 3, lo=-3, hi=-1),
        "opacities": rand(g, N, lo=-2, hi=2),
        "quats": rand(g, N, 4),
        "mask": (rand(g, B, H, W, 1) > 0.4).double(),
        "visible": (rand(g, N) > 0.3).double(),
    }
    found["depth.median"][:, 3:5, 2:6] = 0  # nothing is drawn there
    if region == "empty":
        found["mask"], found["visible"] = torch.zeros_like(found["mask"]), torch.zeros_like(found["visible"])
    if region == "everywhere":
        found["mask"], found["visible"] = torch.ones_like(found["mask"]), torch.ones_like(found["visible"])
    return found


def mean(x: Tensor, r: Tensor) -> Tensor:
    weight = r.expand(*x.shape[:-1], r.shape[-1])
    count = weight.sum() * (x.shape[-1] if r.shape[-1] == 1 else 1)
    return (x * weight).sum() / count if count > 0 else (x * 0).sum()


def error(d: Data) -> Tensor:
    return d["rendered"] - d["target"]


def ssim(d: Data, r: Tensor) -> Tensor:
    """Wang et al., IEEE TIP 2004: 11 x 11 gaussian window, sigma 1.5, zeros around the image, one 2-D convolution."""
    line = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    window = (line[:, None] * line / line.sum() ** 2).expand(3, 1, 11, 11)

    def blurred(x: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(x, window, padding=5, groups=3)

    a, b = ((d[name] * r).permute(0, 3, 1, 2) for name in ("rendered", "target"))
    ma, mb = blurred(a), blurred(b)
    va, vb, vab = blurred(a * a) - ma * ma, blurred(b * b) - mb * mb, blurred(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    map_ = (2 * ma * mb + c1) * (2 * vab + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return mean(1 - map_.permute(0, 2, 3, 1), r)


def smoothness(d: Data, r: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for dim in (1, 2):
        x, guide = d["depth"].diff(dim=dim).abs(), d["target"].diff(dim=dim).abs().mean(-1, keepdim=True)
        total = total + mean(x * torch.exp(-2 * guide), r.narrow(dim, 0, r.shape[dim] - 1))
    return total


def scales(d: Data) -> Tensor:
    return d["scales"].exp()


def opacities(d: Data) -> Tensor:
    return d["opacities"].sigmoid()[:, None]


def shannon(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-10).log())


def rank(d: Data) -> Tensor:
    share = scales(d) ** 2 / (scales(d) ** 2).sum(-1, keepdim=True)
    return shannon(share).sum(-1, keepdim=True).exp()


Reference = Callable[[Data, Tensor, Tensor], Tensor]
"""The value, from the inputs, the region of pixels and that of gaussians."""

TABLE: dict[str, tuple[str, Reference]] = {
    "l1": ("l1(masked)", lambda d, r, v: mean(error(d).abs(), r)),
    "l2": ("l2(masked)", lambda d, r, v: mean(error(d) ** 2, r)),
    "huber": (
        "huber(masked, delta=0.3)",
        lambda d, r, v: mean(
            torch.nn.functional.huber_loss(d["rendered"], d["target"], reduction="none", delta=0.3), r
        ),
    ),
    "charbonnier": ("charbonnier(masked)", lambda d, r, v: mean((error(d) ** 2 + 1e-6).sqrt(), r)),
    "log_l1": ("log_l1(masked)", lambda d, r, v: mean((1 + error(d).abs()).log(), r)),
    "ssim_loss": ("ssim_loss(masked)", lambda d, r, v: ssim(d, r)),
    "photometric": (
        "photometric(masked, ssim_weight=0.3)",
        lambda d, r, v: 0.7 * mean(error(d).abs(), r) + 0.3 * ssim(d, r),
    ),
    "mix": (
        "mean(mix(rendered, target, 0.3), masked)",
        lambda d, r, v: mean(0.7 * d["rendered"] + 0.3 * d["target"], r),
    ),
    "straight_through": (
        "mean(straight_through(alpha > 0.5, sq(alpha)), masked)",
        lambda d, r, v: mean((d["alpha"] > 0.5) + d["alpha"] ** 2 - d["alpha"].detach() ** 2, r),
    ),
    "gray": (
        "mean(gray(rendered), masked)",
        lambda d, r, v: mean(d["rendered"] @ torch.tensor([[0.299], [0.587], [0.114]], dtype=torch.float64), r),
    ),
    "depth_l1": (
        "depth_l1(depth, depth.median, masked)",
        lambda d, r, v: mean((d["depth"] - d["depth.median"]).abs(), r),
    ),
    "disparity_l1": (
        "disparity_l1(depth, depth.median, masked)",
        lambda d, r, v: mean(
            (1 / d["depth"] - 1 / d["depth.median"].clamp_min(0.5)).abs(), r * (d["depth.median"] > 0)
        ),
    ),
    "normal_cosine": (
        "normal_cosine(masked)",
        lambda d, r, v: mean(1 - (d["normals"] * d["normals_from_depth"]).sum(-1, keepdim=True), r),
    ),
    "normal_consistency": (
        "normal_consistency(masked)",
        lambda d, r, v: mean(
            1 - (d["normals"] * d["normals_from_depth"] * d["alpha"].detach()).sum(-1, keepdim=True), r
        ),
    ),
    "edge_aware_smoothness": ("edge_aware_smoothness(depth, masked, sharpness=2)", lambda d, r, v: smoothness(d, r)),
    "bce": (
        "bce(alpha, depth / 4, masked)",
        lambda d, r, v: mean(torch.nn.functional.binary_cross_entropy(d["alpha"], d["depth"] / 4, reduction="none"), r),
    ),
    "entropy": ("mean(entropy(alpha), masked)", lambda d, r, v: mean(shannon(d["alpha"]), r)),
    "binary_entropy": (
        "mean(binary_entropy(alpha), masked)",
        lambda d, r, v: mean(torch.distributions.Bernoulli(d["alpha"]).entropy(), r),
    ),
    "opacity_reg": ("opacity_reg(state, visible)", lambda d, r, v: mean(opacities(d), v)),
    "scale_reg": ("scale_reg(state, visible)", lambda d, r, v: mean(scales(d), v)),
    "opacity_entropy": (
        "opacity_entropy(state, visible)",
        lambda d, r, v: mean(torch.distributions.Bernoulli(opacities(d)).entropy(), v),
    ),
    "anisotropy": (
        "mean(anisotropy(state), visible)",
        lambda d, r, v: mean(torch.exp(d["scales"].amax(-1, keepdim=True) - d["scales"].amin(-1, keepdim=True)), v),
    ),
    "effective_rank": ("mean(effective_rank(state), visible)", lambda d, r, v: mean(rank(d), v)),
    "flatten": ("flatten(state, visible)", lambda d, r, v: mean(scales(d).amin(-1, keepdim=True), v)),
    "reg": ("reg(state, visible)", lambda d, r, v: mean(opacities(d), v) + mean(scales(d), v)),
    "background_alpha": (
        "background_alpha()",
        lambda d, r, v: mean(d["alpha"], 1 - r) if bool((1 - r).any()) else (d["alpha"] * 0).sum(),
    ),
}

LEAVES = ("rendered", "alpha", "depth", "normals", "normals_from_depth", "scales", "opacities")


def test_every_definition_has_a_reference() -> None:
    assert set(TABLE) >= set(prelude()[1])


@pytest.mark.filterwarnings("ignore::splatdsl.LossWarning")
@pytest.mark.parametrize("region", ["everywhere", "part", "empty"])
@pytest.mark.parametrize("name", TABLE)
def test_a_definition_is_its_formula(name: str, region: str) -> None:
    text, reference = TABLE[name]
    ours, theirs = data(region), data(region)
    for d in (ours, theirs):
        for leaf in LEAVES:
            d[leaf].requires_grad_()
    state = {n: ours[n] for n in ("means", "scales", "opacities", "quats")}
    given = {n: x for n, x in ours.items() if n not in (*state, "mask")}
    total = splatdsl.compile(f"term x = {text}", backend="eager")(state=state, mask=ours["mask"][..., 0], **given)
    expected = reference(theirs, theirs["mask"], theirs["visible"][:, None])
    assert math.isfinite(float(total.detach()))
    assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=1e-9, abs=1e-12)
    for leaf, a, b in zip(
        LEAVES,
        torch.autograd.grad(total, [ours[n] for n in LEAVES], allow_unused=True),
        torch.autograd.grad(expected, [theirs[n] for n in LEAVES], allow_unused=True),
    ):
        a, b = (torch.zeros_like(ours[leaf]) if g is None else g for g in (a, b))
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12), f"the gradient of {leaf}"
