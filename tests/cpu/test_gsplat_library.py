"""Each function of gsplat's loss library beside its twin in the language: values and gradients, in float64.

The references are written from the formulas, with torch alone. Where a twin differs on purpose (a mean where gsplat
returns a map, another subgradient at a bound) the comment above its definition says so, and the reference follows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import splatdsl

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "examples" / "library"
B, H, W, N, R = 2, 5, 6, 9, 24

FUNCTIONS = [
    "l1_loss",
    "mse_loss",
    "huber_loss",
    "smooth_l1_loss",
    "bce_loss",
    "bce_with_logits_loss",
    "bce_clipped",
    "cross_entropy_loss",
    "log_l1",
    "depth_inverse_mse",
    "normal_cosine_loss",
    "relu_sum",
    "weights_reg",
    "identity_distance",
    "bilateral_grid_drift_loss",
    "total_variation_loss",
    "total_variation_temporal",
    "opacity_reg_loss",
    "scale_reg_loss",
    "depth_l1_loss",
    "binocular_disparity_l1",
    "pearson_depth_loss",
    "masked_l1",
    "masked_ssim",
    "lidar_distance_loss",
    "lidar_intensity_loss",
    "lidar_raydrop_loss",
    "lidar_background_loss",
    "gaussian_scale_reg",
    "gaussian_density_reg",
    "gaussian_z_scale_reg",
    "out_of_bound_loss",
    "reduce_mean",
    "reduce_quantile",
    "reduce_sum",
    "linear_lambda_scheduler",
]
"""gsplat's functions, and its schedule."""

HELPERS = {"clipped"}
"""Other definitions of the library's files."""

OWN = {"log_l1"}
"""Functions that the language has under the same name, which a program cannot define again."""

Inputs = dict[str, Any]
Make = Callable[..., Inputs]


def rand(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def exact(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def among(values: Sequence[float], *shape: int, seed: int = 0) -> Tensor:
    """Values drawn from a list."""
    index = (rand(*shape, seed=seed) * len(values)).long()
    return exact(values)[index]


def every_pair(first: Sequence[float], second: Sequence[float], *shape: int) -> tuple[Tensor, Tensor]:
    """Two tensors in which each value of one list meets each of the other."""
    pairs = torch.cartesian_prod(exact(first), exact(second))
    count = int(torch.tensor(shape).prod())
    assert len(pairs) <= count, "there is no room for all pairs"
    filled = pairs.repeat(-(-count // len(pairs)), 1)[:count]
    return filled[:, 0].reshape(shape).clone(), filled[:, 1].reshape(shape).clone()


# Parts of the references


def mean_in(x: Tensor, r: Tensor) -> Tensor:
    """Mean of x weighted by r, over all components; 0 where r is empty."""
    weights = r.expand_as(x)
    total = weights.sum()
    return (x * weights).sum() / total if total > 0 else (x * 0).sum()


def huber(d: Tensor, delta: float) -> Tensor:
    return torch.where(d.abs() < delta, d**2 / 2, delta * d.abs() - delta**2 / 2)


def bce(x: Tensor, y: Tensor, floor: float = 1e-6) -> Tensor:
    return -y * x.clamp(min=floor).log() - (1 - y) * (1 - x).clamp(min=floor).log()


def bce_of_logits(x: Tensor, y: Tensor) -> Tensor:
    zero = torch.zeros_like(x)
    return y * torch.logaddexp(zero, -x) + (1 - y) * torch.logaddexp(zero, x)


def clipped(x: Tensor) -> Tensor:
    return x.clamp(1e-3, 1 - 1e-3)


def disparity(d: Tensor) -> Tensor:
    there = d > 0
    return torch.where(there, 1 / torch.where(there, d, torch.ones_like(d)), torch.zeros_like(d))


def binocular(a: Tensor, b: Tensor, r: Tensor) -> Tensor:
    both = ((a > 1e-7) & (b > 1e-7)).double()
    ones = torch.ones_like(a)
    difference = 1 / torch.where(both > 0, a, ones) - 1 / torch.where(both > 0, b, ones)
    return mean_in(difference.abs(), both * r)


def pearson(a: Tensor, b: Tensor, r: Tensor) -> Tensor:
    """1 - correlation of each image, averaged over those with two pixels or more in r."""
    found = []
    for x, y, w in zip(a, b, r.expand_as(a)):
        if int((w > 0).sum()) < 2:
            continue
        x, y = x - mean_in(x, w), y - mean_in(y, w)
        spread = (w * x * x).sum() * (w * y * y).sum()
        found.append(1 - (w * x * y).sum() / spread.sqrt() if spread > 1e-20 else 1 + 0 * x.sum())
    return torch.stack(found).mean() if found else 0 * a.sum()


def ssim(a: Tensor, b: Tensor, padding: int) -> Tensor:
    """Mean SSIM of `[B, H, W, C]`, with an 11-pixel gaussian window of sigma 1.5."""
    offsets = torch.arange(11).double() - 5
    taps = torch.exp(-(offsets**2) / (2 * 1.5**2))
    taps = taps / taps.sum()
    window = torch.outer(taps, taps)[None, None]

    def local(x: Tensor) -> Tensor:
        planes = x.permute(0, 3, 1, 2).reshape(-1, 1, *x.shape[1:3])
        return F.conv2d(planes, window, padding=padding)

    m, n = local(a), local(b)
    var_a, var_b, cov = local(a * a) - m * m, local(b * b) - n * n, local(a * b) - m * n
    return ((2 * m * n + 1e-4) * (2 * cov + 9e-4) / ((m * m + n * n + 1e-4) * (var_a + var_b + 9e-4))).mean()


def total_variation(x: Tensor, dimensions: Sequence[int]) -> Tensor:
    total = 0 * x.sum()
    for dimension in dimensions:
        steps = x.diff(dim=dimension)
        total = total + (steps**2).sum() / max(steps.numel(), 1)
    return total


def from_identity(x: Tensor) -> Tensor:
    """Frobenius distance of 3x4 matrices, the last dimension of x, from [I | 0]; its gradient at 0 is 0."""
    return torch.linalg.vector_norm(x.unflatten(-1, (3, 4)) - torch.eye(3, 4).double(), dim=(-2, -1))


def trimmed(x: Tensor, share: float, r: Tensor) -> Tensor:
    values = x[r.expand_as(x) > 0].sort().values
    return values[: max(int(len(values) * share), 1)].mean() if len(values) else 0 * x.sum()


def mean_or_0(x: Tensor) -> Tensor:
    return x.mean() if x.numel() else x.sum()


# Inputs


def images(case: str, size: tuple[int, int] = (H, W)) -> Inputs:
    """Differences of 0, 0.25 (where the huber losses bend), 0.5, 0.75 and 1 at the boundary."""
    shape = (B, *size, 3)
    if case == "random":
        return {"rendered": rand(*shape), "target": rand(*shape, seed=1)}
    steps = [0, 0.25, 0.5, 0.75, 1]
    rendered, target = every_pair(steps, steps, *shape)
    return {"rendered": rendered, "target": target}


def large_images(case: str) -> Inputs:
    """Equal ones, black ones and white ones at the boundary."""
    found = images("random", (13, 14))
    if case == "boundary":
        found["rendered"][0] = found["target"][0]
        found["rendered"][1, :, :7] = 0
        found["target"][1, :, 7:] = 1
    return found


def maps(first: Sequence[float], second: Sequence[float], low: float = 0.02, high: float = 0.98) -> Make:
    """A function from the case to two maps: in a range, or in which each value of a list meets each of another."""

    def make(case: str, shape: tuple[int, ...] = (B, H, W, 1)) -> Inputs:
        if case == "random":
            return {"a": low + (high - low) * rand(*shape), "b": low + (high - low) * rand(*shape, seed=1)}
        a, b = every_pair(first, second, *shape)
        return {"a": a, "b": b}

    return make


def on_rays(make: Make) -> Make:
    return lambda case: make(case, (R, 1))


def labelled(case: str, shape: tuple[int, ...] = (B, H, W, 1)) -> Inputs:
    """Logits, and labels or shares in 0..1."""
    found: Inputs = maps([0, 1e-9, -1e-9, 800, -800, 30], [0, 0.5, 1], -3, 3)(case, shape)
    return {"a": found["a"], "b": found["b"].clamp(0, 1)}


def classes(case: str) -> Inputs:
    scores = 3 * rand(B, H, W, 4) if case == "random" else among([0.0, 500, -500, 1e-9], B, H, W, 4)
    return {"a": scores, "b": (4 * rand(B, H, W, 1, seed=1)).floor()}


def correlated(case: str) -> Inputs:
    a, b = 1 + rand(B, H, W, 1), 1 + rand(B, H, W, 1, seed=1)
    if case == "random":
        return {"a": a, "b": b}
    if case == "boundary":  # a rising linear function; a falling one
        return {"a": a, "b": torch.stack([2 * a[0] + 1, 7 - 2 * a[1]])}
    a[0], b[1] = 2, 3  # no variation on one side
    return {"a": a, "b": b}


def directions(case: str) -> Inputs:
    a, b = (F.normalize(rand(B, H, W, 3, seed=seed) - 0.5, dim=-1) for seed in (0, 1))
    if case == "boundary":  # the same, the opposite, at a right angle, none
        b[0], b[1, :2] = a[0], -a[1, :2]
        a[1, 2], b[1, 2] = exact([1.0, 0, 0]), exact([0, 1.0, 0])
        b[1, 3:] = 0
    return {"a": a, "b": b}


def gaussians(logits: Sequence[float], logs: Sequence[float]) -> Make:
    def make(case: str) -> Inputs:
        n = 0 if case == "nothing" else N
        state = {"means": rand(n, 3), "quats": rand(n, 4), "opacities": rand(n) - 0.5, "scales": rand(n, 3) - 2}
        if case == "boundary":
            state["opacities"], state["scales"] = among(logits, n), among(logs, n, 3)
        return {f"state.{name}": x for name, x in state.items()}

    return make


def values(bounds: Sequence[float], *shape: int) -> Make:
    """A tensor whose first size is 0 where there is nothing."""

    def make(case: str) -> Inputs:
        if case == "nothing":
            return {"x": torch.zeros(0, *shape[1:]).double()}
        return {"x": 2 * rand(*shape) if case == "random" else among(bounds, *shape)}

    return make


def cuboids(case: str) -> Inputs:
    n = 0 if case == "nothing" else N
    sides = 1 + rand(n, 3, seed=1) if case == "random" else among([0.5, 1, 2], n, 3, seed=1)
    faces = exact([-1, 0, 1, 1 + 1e-9, -3])[(5 * rand(n, 3)).long()]
    return {"x": 6 * (rand(n, 3) - 0.5) if case == "random" else faces * sides / 2, "sides": sides}


def grid(case: str) -> Inputs:
    if case == "random":
        return {"x": rand(2, 3, 4, 5, 6)}
    if case == "boundary":  # no variation, in the second; a dimension without neighbours
        x = rand(2, 3, 1, 5, 6)
        x[1] = 0.5
        return {"x": x}
    return {"x": rand(2, 3, 1, 1, 1)}


def frames(case: str) -> Inputs:
    x = rand(5, 3, 2, 4, 3)
    if case == "boundary":
        x[2] = x[1]  # a pair that agrees
    weights = {"none": exact([0, 0, 0, 0]), "binary": exact([1, 0, 1, 0])}.get(case, rand(4, seed=1))
    return {"later": x[1:].clone(), "earlier": x[:-1].clone(), "keep": weights}


IDENTITY = [1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]


def cells(case: str) -> Inputs:
    x = rand(R, 12)
    if case == "boundary":
        x[::3], x[1::3] = exact(IDENTITY), 0
    return {"x": x, "w": rand(R, 1, seed=1)}


def grids(case: str) -> Inputs:
    if case == "nothing":
        return {"xs": []}
    found = [rand(2, 3, 4, 12), rand(1, 2, 2, 12, seed=1), rand(1, 1, 1, 12, seed=2)]
    if case == "boundary":
        found[0][0] = exact(IDENTITY)
        found[2] = exact(IDENTITY).expand(1, 1, 1, 12).clone()
    return {"xs": found}


def layers(case: str) -> Inputs:
    if case == "nothing":
        return {"xs": []}
    if case == "boundary":
        return {"xs": [torch.zeros(3, 4).double(), among([-1, 0, 1], 1, 7), rand(5, 1)]}
    return {"xs": [rand(3, 4) - 0.5, rand(2, 3, seed=1) - 0.5]}


def temporal(i: Inputs) -> Tensor:
    return (((i["later"] - i["earlier"]) ** 2).mean((1, 2, 3, 4)) * i["keep"]).mean()


def drift(i: Inputs) -> Tensor:
    found = [from_identity(x).reshape(-1) for x in i["xs"]]
    return torch.cat(found).mean() if found else torch.zeros(()).double()


def squares(i: Inputs) -> Tensor:
    found = [(x**2).sum(1) for x in i["xs"]]
    return torch.cat(found).mean() if found else torch.zeros(()).double()


class Twin(NamedTuple):
    """A function of the library and what it must give.

    Attributes:
        file: where it is defined.
        program: what it is called in; `R` stands for the region.
        inputs: from the case to its inputs; dots for fields of the state.
        reference: from the inputs and the region's weights to the value.
        cases: kinds of inputs.
        region: what `R` is: "masked" (pixels), "region(keep)" (rays), "visible" (gaussians), or "" if it takes none.
    """

    file: str
    program: str
    inputs: Make
    reference: Callable[[Inputs, Tensor], Tensor]
    cases: tuple[str, ...] = ("random", "boundary")
    region: str = ""


MAPS = "input a: map in [0, 1]\ninput b: map in [0, 1]\n"
DEPTHS = "input a: depth[metric]\ninput b: depth[metric]\n"
RAYS = "input a: [R 1]\ninput b: [R 1] in [0, inf)\ninput keep: [R 1] in [0, 1]\n"
SHARES = "input a: [R 1] in [0, 1]\ninput b: [R 1] in [0, 1]\ninput keep: [R 1] in [0, 1]\n"
PROBABILITIES = maps([0, 1e-9, 0.5, 1 - 1e-9, 1], [0, 0.5, 1])
DISTANCES = maps([0, 1, 80, 1e4], [0, 1, 80, 1e4], 1, 50)
DEPTH_PAIRS = maps([0, 1e-8, 1, 1e6], [0, 1e-8, 1, 1e6], 0.5, 9)
NOTHING = ("random", "boundary", "nothing")
STATE = gaussians([0, 40, -40, 800, -800], [-50, 0, 3])


def error(f: Callable[[Tensor], Tensor]) -> Callable[[Inputs, Tensor], Tensor]:
    """The mean of a function of the error of the render."""
    return lambda i, r: mean_in(f(i["rendered"] - i["target"]), r)


def pairs(f: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Inputs, Tensor], Tensor]:
    """The mean of a function of two operands."""
    return lambda i, r: mean_in(f(i["a"], i["b"]), r)


TWINS: dict[str, Twin] = {
    "l1_loss": Twin("photometric", "l1_loss(R)", images, error(torch.abs), region="masked"),
    "mse_loss": Twin("photometric", "mse_loss(R)", images, error(lambda d: d * d), region="masked"),
    "huber_loss": Twin(
        "photometric", "huber_loss(R, delta=0.25)", images, error(lambda d: huber(d, 0.25)), region="masked"
    ),
    "huber_loss:default": Twin("photometric", "huber_loss(R)", images, error(lambda d: huber(d, 1)), region="masked"),
    "smooth_l1_loss": Twin(
        "photometric", "smooth_l1_loss(R, beta=0.25)", images, error(lambda d: huber(d, 0.25) / 0.25), region="masked"
    ),
    "log_l1": Twin("photometric", "log_l1(R)", images, error(lambda d: torch.log(1 + d.abs())), region="masked"),
    "bce_loss": Twin("labels", MAPS + "term t = bce_loss(a, b, R)", PROBABILITIES, pairs(bce), region="masked"),
    "bce_with_logits_loss": Twin(
        "labels",
        "input a: map\ninput b: map in [0, 1]\nterm t = bce_with_logits_loss(a, b, R)",
        labelled,
        pairs(bce_of_logits),
        region="masked",
    ),
    "bce_clipped": Twin(
        "labels",
        MAPS + "term t = bce_clipped(a, b, R)",
        PROBABILITIES,
        pairs(lambda a, b: bce(clipped(a), b)),
        region="masked",
    ),
    "cross_entropy_loss": Twin(
        "labels",
        "input a: [B H W 4]\ninput b: [B H W 1] in [0, 3]\nterm t = cross_entropy_loss(a, b, R)",
        classes,
        pairs(lambda a, b: a.logsumexp(-1, True) - a.gather(-1, b.long())),
        region="masked",
    ),
    "depth_l1_loss": Twin(
        "depth",
        "input a: [P 1] in [0, inf)\ninput b: [P 1] in [0, inf)\nterm t = depth_l1_loss(a, b, scene_scale=2.5)",
        on_rays(maps([0, 1e-6, 1, 1e6], [0, 1e-6, 1, 1e6], 0.5, 9)),
        lambda i, r: 2.5 * (disparity(i["a"]) - disparity(i["b"])).abs().mean(),
    ),
    "depth_inverse_mse": Twin(
        "depth",
        DEPTHS + "term t = depth_inverse_mse(a, b, R)",
        DEPTH_PAIRS,
        pairs(lambda a, b: (1 / a.clamp(min=1e-6) - 1 / b.clamp(min=1e-6)) ** 2),
        region="masked",
    ),
    "binocular_disparity_l1": Twin(
        "depth",
        DEPTHS + "term t = binocular_disparity_l1(a, b, R)",
        maps([0, 1e-8, 1e-7, 1, 1e6], [0, 1e-8, 1e-7, 1, 1e6], 0.5, 9),
        lambda i, r: binocular(i["a"], i["b"], r),
        region="masked",
    ),
    "pearson_depth_loss": Twin(
        "depth",
        DEPTHS + "term t = pearson_depth_loss(a, b, R)",
        correlated,
        lambda i, r: pearson(i["a"], i["b"], r),
        ("random", "boundary", "constant"),
        "masked",
    ),
    "normal_cosine_loss": Twin(
        "depth",
        "input a: normals\ninput b: normals\nterm t = normal_cosine_loss(a, b, R)",
        directions,
        pairs(lambda a, b: 1 - (a * b).sum(-1, True)),
        region="masked",
    ),
    "masked_l1": Twin("masked", "masked_l1(rendered, target, R)", images, error(torch.abs), region="masked"),
    "masked_ssim": Twin(
        "masked",
        "masked_ssim(rendered, target, R)",
        large_images,
        lambda i, r: 1 - ssim(i["rendered"] * r, i["target"] * r, 5),
        region="masked",
    ),
    "masked_ssim:valid": Twin(
        "masked",
        'masked_ssim(rendered, target, R, padding="valid")',
        large_images,
        lambda i, r: 1 - ssim(i["rendered"] * r, i["target"] * r, 0),
        region="masked",
    ),
    "lidar_distance_loss": Twin(
        "lidar",
        RAYS + "term t = lidar_distance_loss(a, b, R)",
        on_rays(DISTANCES),
        pairs(lambda a, b: (a - b).abs()),
        region="region(keep)",
    ),
    "lidar_intensity_loss": Twin(
        "lidar",
        RAYS + "term t = lidar_intensity_loss(a, b, R)",
        on_rays(PROBABILITIES),
        pairs(lambda a, b: (a - b).abs()),
        region="region(keep)",
    ),
    "lidar_raydrop_loss": Twin(
        "lidar",
        RAYS + "term t = lidar_raydrop_loss(a, b, R)",
        on_rays(labelled),
        pairs(bce_of_logits),
        region="region(keep)",
    ),
    "lidar_background_loss": Twin(
        "lidar",
        SHARES + "term t = lidar_background_loss(a, b, R)",
        on_rays(PROBABILITIES),
        pairs(lambda a, b: bce(a, 1 - b)),
        region="region(keep)",
    ),
    "opacity_reg_loss": Twin(
        "gaussians", "opacity_reg_loss()", STATE, lambda i, r: mean_or_0(i["state.opacities"].sigmoid()), NOTHING
    ),
    "scale_reg_loss": Twin(
        "gaussians", "scale_reg_loss()", STATE, lambda i, r: mean_or_0(i["state.scales"].exp()), NOTHING
    ),
    "gaussian_scale_reg": Twin(
        "gaussians",
        "gaussian_scale_reg(state.scales, R)",
        STATE,
        lambda i, r: mean_or_0(i["state.scales"].exp().abs() * r),
        NOTHING,
        "visible",
    ),
    "gaussian_density_reg": Twin(
        "gaussians",
        "gaussian_density_reg(state.opacities, R)",
        STATE,
        lambda i, r: mean_or_0(i["state.opacities"].sigmoid().abs() * r[:, 0]),
        NOTHING,
        "visible",
    ),
    "gaussian_z_scale_reg": Twin(
        "gaussians",
        "input x: [N] in [0, inf)\nterm t = gaussian_z_scale_reg(x, threshold=0.5)",
        values([0, 0.5, 0.5 + 1e-9, 0.5 - 1e-9, 3], N),
        lambda i, r: mean_or_0((i["x"] - 0.5).relu()),
        NOTHING,
    ),
    "gaussian_z_scale_reg:state": Twin(
        "gaussians",
        "gaussian_z_scale_reg(threshold=0.15)",
        STATE,
        lambda i, r: mean_or_0((i["state.scales"][:, 2].exp() - 0.15).relu()),
        NOTHING,
    ),
    "out_of_bound_loss": Twin(
        "gaussians",
        "input x: [N 3]\ninput sides: [N 3] in (0, inf)\nterm t = out_of_bound_loss(x, sides)",
        cuboids,
        lambda i, r: mean_or_0((i["x"].abs() - i["sides"] / 2).relu()),
        NOTHING,
    ),
    "total_variation_loss": Twin(
        "grids",
        'input x: [G C Z Y X]\nterm t = total_variation_loss(x, axes="zyx")',
        grid,
        lambda i, r: total_variation(i["x"], (2, 3, 4)),
        NOTHING,
    ),
    "total_variation_loss:images": Twin(
        "grids", "total_variation_loss(rendered)", images, lambda i, r: total_variation(i["rendered"], (1, 2))
    ),
    "total_variation_temporal": Twin(
        "grids",
        "input later: [F C Z Y X]\ninput earlier: [F C Z Y X]\ninput keep: [F] in [0, 1]\n"
        "term t = total_variation_temporal(later, earlier, keep)",
        frames,
        lambda i, r: temporal(i),
        ("random", "boundary", "binary", "none"),
    ),
    "identity_distance": Twin(
        "grids",
        "input x: [G 12]\ninput w: [G 1]\nterm t = mean(w * identity_distance(x))",
        cells,
        lambda i, r: (i["w"] * from_identity(i["x"])[:, None]).mean(),
    ),
    "bilateral_grid_drift_loss": Twin(
        "grids",
        "input xs: list of [Z Y X 12]\nterm t = bilateral_grid_drift_loss(xs)",
        grids,
        lambda i, r: drift(i),
        NOTHING,
    ),
    "weights_reg": Twin(
        "grids", "input xs: list of [O I]\nterm t = weights_reg(xs)", layers, lambda i, r: squares(i), NOTHING
    ),
    "relu_sum": Twin(
        "reductions",
        "input x: [M 3]\nterm t = relu_sum(x, 0.5)",
        values([0, 0.5, 0.5 + 1e-9, 0.5 - 1e-9, -2, 3], R, 3),
        lambda i, r: (i["x"] - 0.5).relu().sum(),
        NOTHING,
    ),
    "reduce_mean": Twin(
        "reductions",
        "reduce_mean(sq(rendered), R)",
        images,
        lambda i, r: mean_in(i["rendered"] ** 2, r),
        region="masked",
    ),
    "reduce_quantile": Twin(
        "reductions",
        "reduce_quantile(rendered, 0.3, R)",
        lambda case: images("random"),
        lambda i, r: trimmed(i["rendered"], 0.3, r),
        ("random",),
        "masked",
    ),
    "reduce_quantile:all": Twin(
        "reductions",
        "reduce_quantile(sq(rendered), 1)",
        images,
        lambda i, r: (i["rendered"] ** 2).mean(),
    ),
    "reduce_quantile:one": Twin(
        "reductions",
        "reduce_quantile(rendered, 1e-4)",
        lambda case: images("random"),
        lambda i, r: i["rendered"].min(),
        ("random",),
    ),
    "reduce_sum": Twin(
        "reductions",
        "reduce_sum(sq(rendered), R)",
        images,
        lambda i, r: (i["rendered"] ** 2 * r).sum(),
        region="masked",
    ),
}
"""By gsplat's name; what follows a colon tells further calls of the same function apart."""

SIZES = {"masked": (B, H, W, 1), "region(keep)": (R, 1), "visible": (N, 1)}


def weights(kind: str, shape: tuple[int, ...]) -> Tensor:
    """What a region weighs each value by."""
    if kind == "empty":
        return torch.zeros(shape).double()
    if kind == "everywhere":
        return torch.ones(shape).double()
    x = rand(*shape, seed=7)
    binary = (x > 0.4).double()
    if kind == "one":  # a single value in each image
        return (torch.arange(x[0].numel()) == 2).double().reshape(x[0].shape).expand(shape).clone()
    return binary if kind == "binary" else binary * x


def calls() -> list[tuple[str, str, str]]:
    """Every function with every case of its inputs, under every kind of region that it takes."""
    found = []
    for name, twin in TWINS.items():
        kinds = ("everywhere", "binary", "fraction", "empty") if twin.region else ("everywhere",)
        if name == "pearson_depth_loss":
            kinds += ("one",)
        found += [(name, case, kind) for case in twin.cases for kind in kinds]
    return found


def tensors_of(given: Inputs) -> list[Tensor]:
    return [x for value in given.values() for x in (value if isinstance(value, list) else [value])]


@pytest.mark.parametrize(("name", "case", "kind"), calls())
def test_a_twin_computes_the_formula(name: str, case: str, kind: str) -> None:
    twin, function = TWINS[name], name.partition(":")[0]
    given: Inputs = twin.inputs(case)
    size = SIZES.get(twin.region, ())
    if twin.region == "masked":
        size = (*next(x for x in tensors_of(given)).shape[:3], 1)
    if twin.region == "visible" and case == "nothing":
        size = (0, 1)
    region = weights(kind, size)
    held = twin.region if kind != "everywhere" else "everywhere"
    program = twin.program if "term " in twin.program else f"term t = {twin.program}"
    if held == "everywhere":
        program = program.replace("input keep: [R 1] in [0, 1]\n", "")
    program = re.sub(r"\bR\)", f"{held})", program)
    program = re.sub(r"\bR, ", f"{held}, ", program)
    use = "" if function in OWN else f'use "library/gsplat-{twin.file}.loss" ({function})\n'

    constants = {"target", "keep"} | ({"b"} if function == "cross_entropy_loss" else set())
    trained = {n: x for n, x in given.items() if n not in constants}
    leaves = [x.requires_grad_(True) for x in tensors_of(trained)]
    call: Inputs = {n: x for n, x in given.items() if not n.startswith("state.")}
    if state := {n.partition(".")[2]: x for n, x in given.items() if n.startswith("state.")}:
        call["state"] = state
    if held == "region(keep)":
        call["keep"] = region
    elif held != "everywhere":
        call["mask" if held == "masked" else "visible"] = region[..., 0]

    loss = splatdsl.compile(use + program, backend="eager", name=str(ROOT / "examples" / "own.loss"))
    found = loss(**call)
    expected = twin.reference(given, region)
    assert found.isfinite()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, check_dtype=bool(leaves))
    if kind == "empty" and function not in ("masked_ssim",):
        assert found == 0
    if not leaves:
        return
    for a, b in zip(gradients(found, leaves), gradients(expected, leaves)):
        assert a.isfinite().all()
        largest = float(b.abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * largest + 1e-14)


def gradients(value: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    if not value.requires_grad:
        return [torch.zeros_like(x) for x in leaves]
    return list(torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True))


def test_every_function_has_a_twin() -> None:
    assert len(FUNCTIONS) == len(set(FUNCTIONS)) == 36
    assert {name.partition(":")[0] for name in TWINS} | {"linear_lambda_scheduler"} == set(FUNCTIONS)
    defined = {
        name
        for path in LIBRARY.glob("gsplat-*.loss")
        for name in re.findall(r"^def (\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert defined == set(FUNCTIONS) - OWN | HELPERS


def test_the_page_lists_every_function() -> None:
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    listed = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert listed >= {f for f in FUNCTIONS if f != "linear_lambda_scheduler"} | {"LinearLambdaScheduler"}
    for name in {path.name for path in LIBRARY.glob("gsplat-*.loss")}:
        assert name in page


def whole_files() -> Inputs:
    """What the programs of the library read."""
    maps_ = (1, 14, 15, 1)
    depth, unit = 1 + rand(*maps_), F.normalize(rand(1, 14, 15, 3) - 0.5, dim=-1)
    state = {"means": 6 * rand(N, 3) - 3, "quats": rand(N, 4), "opacities": rand(N) - 0.5, "scales": rand(N, 3) - 1}
    stack = rand(4, 3, 2, 4, 3)
    rays = {n: rand(R, 1, seed=i) for i, n in enumerate(("distance", "intensity", "drop_logit", "coverage"))}
    return {
        **{n: rand(1, 14, 15, 3, seed=i) for i, n in enumerate(("rendered", "target", "toned"))},
        **{"mask": (rand(1, 14, 15) > 0.3).double(), "alpha": rand(*maps_), "silhouette": rand(*maps_, seed=1)},
        **{"scores": rand(1, 14, 15, 20), "labels": (20 * rand(*maps_)).floor(), "labelled": rand(*maps_, seed=2)},
        **{"depth": depth, "stereo": 1 + rand(*maps_, seed=1), "mono": rand(*maps_, seed=2), "scene_scale": 2.0},
        **{"points": 13 * rand(7, 2), "point_depth": 1 + rand(7, 1)},
        **{"normals_from_depth": unit, "mono_normals": unit.roll(1, 1)},
        **{n: x.requires_grad_(True) for n, x in rays.items()},
        **{"distance_target": rand(R, 1, seed=5), "intensity_target": rand(R, 1, seed=6)},
        **{"dropped": (rand(R, 1, seed=7) > 0.7).double(), "open_ray": (rand(R, 1, seed=8) > 0.7).double()},
        **{"state": state, "visible": (rand(N) > 0.4).double(), "cuboid": 1 + rand(N, 3)},
        **{"grids": [rand(2, 3, 4, 12), rand(1, 2, 2, 12)], "layers": [rand(3, 4), rand(1, 3)]},
        **{"later": stack[1:].clone(), "earlier": stack[:-1].clone(), "still": rand(3)},
    }


@pytest.mark.parametrize("path", sorted(LIBRARY.glob("*.loss")), ids=lambda path: path.stem)
def test_a_file_is_a_program_that_runs(path: Path) -> None:
    given = whole_files()
    leaves = [x.requires_grad_(True) for n in ("rendered", "toned", "alpha", "depth") for x in (given[n],)]
    leaves += [x.requires_grad_(True) for x in given["state"].values()]
    loss = splatdsl.load(path, backend="eager")
    program = path.read_text(encoding="utf-8")
    declared = {n for n in given if re.search(rf"^input {n}:", program, re.MULTILINE)}
    fixed = {"rendered", "target", "mask", "alpha", "depth", "normals_from_depth", "state", "visible"}
    total = loss(**{n: x for n, x in given.items() if n in declared | fixed}, step=5_000, max_steps=30_000)
    assert total.isfinite()
    assert total > 0
    assert all(x > 0 for x in loss.terms.values()), dict(loss.terms)
    assert all(g.isfinite().all() for g in gradients(total, leaves))


def test_at_the_clip_the_whole_gradient_passes() -> None:
    a = exact([9e-4, 1e-3, 0.5, 1 - 1e-3, 0.9999]).reshape(1, 1, 5, 1).requires_grad_(True)
    text = 'use "library/gsplat-labels.loss" (bce_clipped)\n' + MAPS + "term t = 5 * bce_clipped(a, b)"
    loss = splatdsl.compile(text, backend="eager", name=str(ROOT / "examples" / "own.loss"))
    (found,) = torch.autograd.grad(loss(a=a, b=torch.ones_like(a).detach()), [a])
    torch.testing.assert_close(found.flatten(), exact([0, -1000, -2, -1 / 0.999, 0]), rtol=1e-9, atol=0)


def staged(x: int, start: int, end: int, first: float, last: float, every: int) -> float:
    """The schedule in whole numbers: stages of so many steps, each with one value."""
    stages = (end - start) // every
    share = min(max((x - start) // every / stages, 0.0), 1.0)
    return first + share * (last - first)


@pytest.mark.parametrize(
    ("start", "end", "first", "last", "every"),
    [(10, 45, 0.5, 0.1, 1), (10, 45, 0.5, 0.1, 10), (0, 60, 0.2, 3.0, 7), (5, 6, 1.0, 0.0, 1), (0, 9, 0.0, 1.0, 3)],
)
@pytest.mark.parametrize("counter", ["step", "epoch"])
def test_the_schedule(counter: str, start: int, end: int, first: float, last: float, every: int) -> None:
    text = (
        'use "library/gsplat-reductions.loss" (linear_lambda_scheduler)\n'
        + ("input epoch: steps\n" if counter == "epoch" else "")
        + f"term t = linear_lambda_scheduler({counter}, {start}, {end}, {first}, lambda_end={last}, "
        + f"update_frequency={every}) * l1()"
    )
    loss = splatdsl.compile(text, backend="eager", name=str(ROOT / "examples" / "own.loss"))
    ones = torch.ones(1, 2, 2, 3).double()
    for x in range(70):
        given = {"step": x} if counter == "step" else {"step": 7, "epoch": x}
        found = float(loss(rendered=ones, target=0 * ones, max_steps=100, **given))
        assert found == pytest.approx(staged(x, start, end, first, last, every), rel=1e-12, abs=1e-15), x


def test_the_last_weight_of_the_schedule_is_0_by_itself() -> None:
    text = 'use "library/gsplat-reductions.loss" (linear_lambda_scheduler)\n'
    loss = splatdsl.compile(
        text + "term t = linear_lambda_scheduler(step, 10, 20, 0.5) * l1()",
        backend="eager",
        name=str(ROOT / "examples" / "own.loss"),
    )
    ones = torch.ones(1, 2, 2, 3).double()
    found = [float(loss(rendered=ones, target=0 * ones, step=step, max_steps=30)) for step in (0, 10, 15, 20, 29)]
    assert found == pytest.approx([0.5, 0.5, 0.25, 0, 0])
