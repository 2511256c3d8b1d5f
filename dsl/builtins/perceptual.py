"""Measures of images over several scales, and with networks."""

from __future__ import annotations

from .photometric import WINDOW
from .spec import Builtin

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales of MS-SSIM, the finest first."""

MS_SSIM = Builtin(
    "ms_ssim",
    '(a: visual = rendered, b: visual = target, r: region = everywhere; padding: {"same", "valid"} = "same")'
    " -> number in [0, 1]",
    "Structural similarity over five scales, each half the size of the one before; 1 for equal images. Contrast and "
    "structure count at every scale, luminance at the coarsest; negative factors count as 0. Both are zeroed outside "
    "`r`, the maps are averaged over `r` at each scale, and the product, of each image and component, over the images "
    "in which `r` is not empty; an empty region gives 1.",
    good="term structure = 0.2 * (1 - ms_ssim(masked))",
    bad="term structure = 0.2 * ms_ssim(masked)",
    bad_code="SSM001",
    kernel="multiscale:ms_ssim",
    instead="write `1 - {call}`",
    window=(WINDOW - 1) * 2 ** (len(SCALES) - 1) + 1,
    source="Wang, Simoncelli and Bovik, Multi-scale Structural Similarity for Image Quality Assessment, Asilomar 2003, "
    "eq. 7",
    similarity=True,
    reduces=True,
    empty=1.0,
)

LPIPS = Builtin(
    "lpips",
    '(a: image = rendered, b: image = target, r: region = everywhere; net: {"alex", "vgg"} = "alex") -> number >= 0',
    "Learned perceptual distance, 0 for equal images: the weighted squared distance of the features of a fixed "
    "network. It takes images in 0..1 and converts them to what the network expects; over `r`, the map of distances is "
    "averaged there.",
    good="term looks = 0.1 * lpips(masked)",
    bad="term looks = 0.1 * lpips(alpha, mask)",
    bad_code="TYP001",
    window=32,
    source="Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018, eq. 1, "
    "weights 0.1",
    reduces=True,
    needs=("network",),
)

BUILTINS: tuple[Builtin, ...] = (MS_SSIM, LPIPS)
