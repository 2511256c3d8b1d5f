"""Measures that compare two images."""

from __future__ import annotations

from .spec import Builtin

WINDOW = 11
"""Side of the SSIM window in pixels."""

_WINDOW = (
    "Wang, Bovik, Sheikh and Simoncelli, Image Quality Assessment: From Error Visibility to Structural Similarity, "
    "IEEE TIP 2004, eq. 13, with an 11-pixel gaussian window of sigma 1.5, C1 = 0.01^2, C2 = 0.03^2"
)

SSIM = Builtin(
    "ssim",
    '(a: visual = rendered, b: visual = target, r: region = everywhere; padding: {"same", "valid"} = "same", '
    "window_mask: flag = false) -> number in [-1, 1]",
    "Structural similarity, 1 for equal images: both are zeroed outside `r`, and the map is averaged over `r` alone; "
    'an empty region gives 1, as nothing differs there. Zero padding `"same"`, or `"valid"`, which drops a border '
    "of 5 pixels. With `window_mask`, the statistics of each window are of the pixels inside `r` alone.",
    good="term structure = 0.2 * (1 - ssim(masked))\nterm colour = l1(masked)",
    bad="term structure = 0.2 * ssim(masked)",
    bad_code="SSM001",
    kernel="photometric:ssim",
    instead="write `1 - {call}`, or `ssim_loss{arguments}`",
    window=WINDOW,
    source=_WINDOW,
    similarity=True,
    reduces=True,
    empty=1.0,
)

SSIM_MAP = Builtin(
    "ssim_map",
    "(a: visual = rendered, b: visual = target) -> like a in [-1, 1]",
    "Structural similarity around each pixel, same size as the images, zero padding.",
    good="term structure = mean(1 - ssim_map(rendered, target), masked)",
    bad="term structure = 1 - ssim_map(rendered, target)",
    bad_code="TYP002",
    kernel="photometric:ssim_map",
    instead="write `1 - {call}`",
    window=WINDOW,
    source=_WINDOW,
    similarity=True,
)

PSNR = Builtin(
    "psnr",
    "(a: visual = rendered, b: visual = target, r: region = everywhere) -> number in (-inf, 100]",
    "Peak signal-to-noise ratio in decibels for a peak of 1: -10 log10 of the mean squared difference over `r`. The "
    "mean is floored at 1e-10, so equal images give 100.",
    good="term quality = -0.01 * psnr(masked)",
    bad="term quality = psnr(masked)",
    bad_code="SSM001",
    kernel="photometric:psnr",
    instead="write `-{call}` with a small weight",
    source="ITU-T J.340, PSNR with a peak value of 1",
    similarity=True,
    reduces=True,
    empty=100.0,
)

GRADIENT_L1 = Builtin(
    "gradient_l1",
    "(a: visual = rendered, b: visual = target, r: region = everywhere; scales: whole >= 1 = 1) -> number >= 0",
    "Mean absolute difference of the forward differences in x and in y, summed over both, over the pixels of `r` where "
    "they exist, as in `tv`. With more scales, also of every second pixel, every fourth, and so on, summed.",
    good="term edges = 0.1 * gradient_l1(masked)",
    bad="term edges = 0.1 * gradient_l1(masked, scales=0)",
    bad_code="RNG003",
    kernel="stencils:gradient_l1",
    window=2,
    source="Li and Snavely, MegaDepth, CVPR 2018: the multi-scale gradient matching term",
    reduces=True,
)

BUILTINS: tuple[Builtin, ...] = (SSIM, SSIM_MAP, PSNR, GRADIENT_L1)
