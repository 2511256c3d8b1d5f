"""What the references share, in plain torch: written from the formulas, by the most direct route, not the fastest.

Layouts: pixels ``[B, H, W, k]``, regions ``[B, H, W]`` or ``[B, H, W, 1]``, gaussians ``[N, k]``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Random inputs


def rand(g: torch.Generator, *shape: int, lo: float = 0.0, hi: float = 1.0) -> Tensor:
    """Uniform float64 numbers in lo..hi."""
    return lo + (hi - lo) * torch.rand(*shape, generator=g, dtype=torch.float64)


def randn(g: torch.Generator, *shape: int) -> Tensor:
    """Normal float64 numbers."""
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def images(g: torch.Generator, masked: bool, b: int = 2, h: int = 24, w: int = 20) -> dict[str, Tensor]:
    """``rendered`` and ``target``, ``[B, H, W, 3]``, and where asked for a ``mask`` of zeros and ones, ``[B, H, W]``.

    The render is within 0.45 of the target, so that SSIM is far from 0 everywhere.
    """
    target = rand(g, b, h, w, 3, lo=0.05, hi=0.95)
    rendered = 0.55 * target + 0.45 * rand(g, b, h, w, 3)
    made = {"rendered": rendered, "target": target}
    if masked:
        made["mask"] = (rand(g, b, h, w) > 0.3).double()
    return made


def gaussians(g: torch.Generator, n: int = 7, sh: int = 15) -> dict[str, Tensor]:
    """Raw parameters of n gaussians: log-scales, opacity logits, quaternions not normalised."""
    return {
        "means": randn(g, n, 3),
        "scales": rand(g, n, 3, lo=-3.0, hi=0.5),
        "quats": randn(g, n, 4),
        "opacities": 1.5 * randn(g, n),
        "sh0": 0.3 * randn(g, n, 1, 3),
        "shN": 0.1 * randn(g, n, sh, 3),
    }


# Activated parameters


def opacities(state: Mapping[str, Tensor]) -> Tensor:
    """o = sigmoid(logit), ``[N]``."""
    return 1 / (1 + torch.exp(-state["opacities"].reshape(-1)))


def scales(state: Mapping[str, Tensor]) -> Tensor:
    """s = exp(log-scale), ``[N, 3]``."""
    return torch.exp(state["scales"])


def quats(state: Mapping[str, Tensor]) -> Tensor:
    """Unit quaternions, ``[N, 4]``."""
    q = state["quats"]
    return q / torch.sqrt((q * q).sum(-1, keepdim=True))


# Masks


def as_map(m: Tensor) -> Tensor:
    """A region ``[B, H, W]`` as ``[B, H, W, 1]``."""
    return m.unsqueeze(-1) if m.dim() == 3 else m


def mask_of(x: Mapping[str, Any]) -> Tensor:
    """The mask of a call as ``[B, H, W, 1]``: ones where there is none."""
    return as_map(x["mask"]) if "mask" in x else torch.ones_like(x["rendered"][..., :1])


def masked_mean(x: Tensor, m: Tensor) -> Tensor:
    """sum(x m) / (k sum(m)), k the components of x; 0 for an empty region."""
    m = as_map(m) if x.dim() == 4 else m
    count = m.expand(x.shape).sum()
    return (x * m).sum() / count if float(count) > 0 else (x * 0).sum()


def dilate(m: Tensor, px: int) -> Tensor:
    """Largest value of the square of side 2 px + 1 about each pixel of ``[B, H, W, 1]``; nothing outside the image."""
    windows = functional.unfold(
        functional.pad(m.permute(0, 3, 1, 2), (px, px, px, px), value=0.0), kernel_size=2 * px + 1
    )
    return windows.amax(1).reshape(m.shape)


def erode(m: Tensor, px: int) -> Tensor:
    """Smallest value of the square of side 2 px + 1 about each pixel; outside the image nothing is missing."""
    return 1 - dilate(1 - m, px)


# Photometric


def l1(a: Tensor, b: Tensor) -> Tensor:
    """mean |a - b| over every element."""
    return (a - b).abs().mean()


def ssim(a: Tensor, b: Tensor, padding: str = "same") -> tuple[Tensor, Tensor]:
    """The SSIM map of two images ``[B, H, W, k]`` and its mean.

    A full 11 x 11 gaussian window, sigma 1.5, that sums to 1, over each channel alone; C1 = 0.01^2, C2 = 0.03^2;
    variances as E[x^2] - E[x]^2. "same": outside the image is zero, and the map has the size of the image; "valid":
    only windows that lie inside, so the map is smaller by 10. Wang et al., TIP 2004.
    """
    taps = torch.tensor([math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)], dtype=a.dtype)
    window = torch.outer(taps, taps) / torch.outer(taps, taps).sum()
    kernel = window.expand(a.shape[-1], 1, 11, 11)
    pad = 5 if padding == "same" else 0

    def local(x: Tensor) -> Tensor:
        return functional.conv2d(x.permute(0, 3, 1, 2), kernel, padding=pad, groups=x.shape[-1])

    mean_a, mean_b = local(a), local(b)
    var_a = local(a * a) - mean_a**2
    var_b = local(b * b) - mean_b**2
    cov = local(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    values = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return values.permute(0, 2, 3, 1), values.mean()


def photometric(a: Tensor, b: Tensor, weight: float = 0.2, padding: str = "same") -> Tensor:
    """P(a, b; w) = (1 - w) mean|a - b| + w (1 - S(a, b)), over all pixels."""
    return (1 - weight) * l1(a, b) + weight * (1 - ssim(a, b, padding)[1])


# Statistics


def pearson(a: Tensor, b: Tensor, m: Tensor | None = None) -> Tensor:
    """Correlation of two maps ``[B, H, W, 1]`` over the pixels where m is 1: one value per image, ``[B]``."""
    values = []
    for i in range(a.shape[0]):
        keep = torch.ones_like(a[i], dtype=torch.bool) if m is None else as_map(m)[i] > 0.5
        values.append(torch.corrcoef(torch.stack([a[i][keep], b[i][keep]]))[0, 1])
    return torch.stack(values)


def total_variation(x: Tensor, dims: tuple[int, ...], power: int = 1) -> Tensor:
    """Over the dimensions given: mean of |difference of neighbours|^power where it exists, summed over them."""
    total = x.new_zeros(())
    for d in dims:
        n = x.shape[d]
        difference = x.narrow(d, 1, n - 1) - x.narrow(d, 0, n - 1)
        total = total + (difference.abs() ** power).mean()
    return total


def binary_entropy(p: Tensor) -> Tensor:
    """H(p) = -p ln p - (1 - p) ln(1 - p), for p inside (0, 1)."""
    return -(p * torch.log(p) + (1 - p) * torch.log(1 - p))


# Schedules: plain numbers


def log_linear(t: float, v0: float, v1: float, over: float) -> float:
    """exp of the line from ln v0 at 0 to ln v1 at `over`, constant after."""
    u = min(max(t / over, 0.0), 1.0)
    return math.exp((1 - u) * math.log(v0) + u * math.log(v1))


# Random numbers of the language: a function of the step and of the place in the program


def uniform(step: float, seed: int = 0) -> float:
    """The host's number in [0, 1) for the step and the place: the 53 high bits of mixed(mixed(step) ^ mixed(seed+1)).

    The step enters as the 64 bits of its double; `mixed` is one step of SplitMix64 (Steele et al., OOPSLA 2014).
    """

    def mixed(bits: int) -> int:
        z = (bits + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        return z ^ (z >> 31)

    (bits,) = struct.unpack("<Q", struct.pack("<d", float(step)))
    return (mixed(mixed(bits) ^ mixed(seed + 1)) >> 11) * 2.0**-53


def chance(step: float, p: float, seed: int = 0) -> bool:
    """True with probability p."""
    return uniform(step, seed) < p


def tensor_uniform(shape: tuple[int, ...], step: float, seed: int = 0) -> Tensor:
    """Numbers in [0, 1) for every element, in the order of the flattened tensor, float64.

    key = floor(2^24 uniform(step, seed)); the i-th number is (mix(mix(i) + 256 key) >> 8) / 2^24, in 32-bit unsigned
    arithmetic.
    """

    def mix(x: int) -> int:
        x ^= x >> 16
        x = x * 0x21F0AAAD % 2**32
        x ^= x >> 15
        x = x * 0x735A2D97 % 2**32
        return x ^ (x >> 15)

    key = math.floor(uniform(step, seed) * 2**24)
    numbers = [(mix((mix(i) + 256 * key) % 2**32) >> 8) / 2**24 for i in range(math.prod(shape))]
    return torch.tensor(numbers, dtype=torch.float64).reshape(shape)


def bernoulli(p: Tensor | float, shape: tuple[int, ...], step: float, seed: int = 0) -> Tensor:
    """1 with probability p for each element, else 0."""
    return (tensor_uniform(shape, step, seed) < p).double()


# Geometry


def directions(g: torch.Generator, *shape: int) -> Tensor:
    """Random unit vectors, ``[.., 3]``."""
    v = randn(g, *shape, 3)
    return v / torch.sqrt((v * v).sum(-1, keepdim=True))


def cameras(g: torch.Generator, b: int = 2, h: int = 24, w: int = 20) -> dict[str, Tensor]:
    """``intrinsics`` ``[B, 3, 3]`` in pixels and world-to-camera ``extrinsics`` ``[B, 4, 4]``, 4 from the origin."""
    intrinsics = torch.eye(3, dtype=torch.float64).repeat(b, 1, 1)
    intrinsics[:, 0, 0] = w * rand(g, b, lo=1.0, hi=1.3)
    intrinsics[:, 1, 1] = w * rand(g, b, lo=1.0, hi=1.3)
    intrinsics[:, 0, 2] = w / 2 + rand(g, b, lo=-1, hi=1)
    intrinsics[:, 1, 2] = h / 2 + rand(g, b, lo=-1, hi=1)
    extrinsics = torch.eye(4, dtype=torch.float64).repeat(b, 1, 1)
    for i in range(b):
        extrinsics[i, :3, :3] = rotation(0.3 * randn(g, 4) + torch.tensor([1.0, 0, 0, 0], dtype=torch.float64))
        extrinsics[i, :3, 3] = torch.tensor([0, 0, 4.0], dtype=torch.float64) + 0.2 * randn(g, 3)
    return {"intrinsics": intrinsics, "extrinsics": extrinsics}


def rotation(q: Tensor) -> Tensor:
    """The matrices ``[.., 3, 3]`` of quaternions wxyz ``[.., 4]``, normalised first."""
    w, x, y, z = (q / torch.sqrt((q * q).sum(-1, keepdim=True))).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def normals_of_depth(d: Tensor, intrinsics: Tensor) -> Tensor:
    """Unit normals of a depth ``[B, H, W, 1]`` in the camera's frame, towards the camera; 0 at a border of one pixel.

    With P(x, y) = d K^-1 (x + 1/2, y + 1/2, 1), the direction of (P(x, y+1) - P(x, y-1)) x (P(x+1, y) - P(x-1, y)).
    """
    _, h, w, _ = d.shape
    y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], -1).to(d.dtype)
    rays = torch.einsum("bij,hwj->bhwi", torch.linalg.inv(intrinsics), pixels)
    p = d * rays
    n = torch.linalg.cross(p[:, 2:, 1:-1] - p[:, :-2, 1:-1], p[:, 1:-1, 2:] - p[:, 1:-1, :-2])
    n = n / torch.sqrt((n * n).sum(-1, keepdim=True))
    return functional.pad(n, (0, 0, 1, 1, 1, 1))


def unit(v: Tensor) -> Tensor:
    """Vectors over their lengths; none may be 0."""
    return v / torch.sqrt((v * v).sum(-1, keepdim=True))


def sobel_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """The Sobel derivatives, kernels over 8, of ``[B, H, W, 1]`` where all neighbours are: ``[B, H-2, W-2]`` twice."""
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=x.dtype) / 8
    planes = x.permute(0, 3, 1, 2)
    found = functional.conv2d(planes, torch.stack([kernel, kernel.T])[:, None])
    return found[:, 0], found[:, 1]


def shortest_axes(state: Mapping[str, Tensor]) -> Tensor:
    """The direction of each gaussian's smallest scale: that column of its rotation, ``[N, 3]``."""
    matrices, which = rotation(state["quats"]), state["scales"].argmin(-1)
    return torch.stack([matrices[i, :, int(k)] for i, k in enumerate(which)])


def photometric_of_large(a: Tensor, b: Tensor, weight: float = 0.2) -> Tensor:
    """P(a, b; w) as above, the window as a sum of 121 shifted images, which is fast for large ones."""
    taps = torch.tensor([math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)], dtype=a.dtype)
    window = torch.outer(taps, taps) / torch.outer(taps, taps).sum()
    h, w = a.shape[1:3]

    def local(x: Tensor) -> Tensor:
        wide, total = functional.pad(x, (0, 0, 5, 5, 5, 5)), torch.zeros_like(x)
        for i in range(11):
            for j in range(11):
                total = total + window[i, j] * wide[:, i : i + h, j : j + w]
        return total

    mean_a, mean_b = local(a), local(b)
    var_a, var_b, cov = local(a * a) - mean_a**2, local(b * b) - mean_b**2, local(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    values = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return (1 - weight) * l1(a, b) + weight * (1 - values.mean())
