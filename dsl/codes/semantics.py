"""SSM, BUF and SYN05x: losses that say the opposite of what they mean, or cannot be supplied."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        "SSM001",
        "similarity-minimised",
        "A term makes a similarity small that is better when large.",
        "SSIM of equal images is 1: minimising it pushes the render away from the photograph. A trainer whose fallback "
        "forgot the `1 -` shipped that way.",
        bad="term structure = 0.2 * ssim(masked)",
        good="term structure = 0.2 * (1 - ssim(masked))",
    ),
    Code(
        "BUF001",
        "renderer-lacks-buffer",
        "A term reads a buffer that the chosen renderer does not make.",
        "The term would be skipped or crash at its first step, which may be hours into the run.",
    ),
    Code(
        "BUF002",
        "data-lacks-field",
        "A term reads a field that the data has not for every view.",
        "The term would be skipped or crash at the first view without it.",
    ),
    Code(
        "BUF003",
        "term-without-data",
        "A term exists only with an input that no item of the data has.",
        "Nothing is wrong with the loss, but this run trains without the term.",
        group="suspicious",
        fix="Add the input to the data, or remove the term.",
    ),
    Code(
        "SYN050",
        "not-computable-yet",
        "The program says something that this version can check but not compute.",
        "It is refused when the program is compiled, so that it is never ignored.",
    ),
    Code(
        "SYN051",
        "no-term",
        "The program has no term.",
        "Nothing would be trained.",
        bad="param w = 0.2",
        good="param w = 0.2\nterm colour = w * l1(masked)",
    ),
    Code(
        "SYN052",
        "lone-expression-beside-terms",
        "An expression on its own stands beside a term or a second expression.",
        "The loss is either one expression or the sum of named terms.",
        bad="term colour = l1(masked)\n0.01 * reg(state)",
        good="term colour = l1(masked)\nterm sparse = 0.01 * reg(state)",
    ),
    Code(
        "SYN054",
        "mixed-groups",
        "Some terms are in groups and some are not.",
        "A trainer that steps one group after another would never step the others.",
        bad="term tracking.colour = l1(masked)\nterm size = scale_reg(state)",
        good="term tracking.colour = l1(masked)\nterm mapping.size = scale_reg(state)",
        fix="Give every term a group, or none.",
    ),
    Code(
        "SYN053",
        "unreadable-file",
        "A loss file is missing, too large, or not UTF-8 text.",
        "There is nothing to check or to train with.",
    ),
    Code(
        "SSM002",
        "half-of-dssim",
        "A term halves 1 - SSIM.",
        "Some libraries define DSSIM as (1 - SSIM) / 2, 3DGS without the half: the same weight then counts half.",
        bad="term structure = 0.2 * (1 - ssim()) / 2\nterm colour = l1()",
        good="term structure = 0.2 * ssim_loss()\nterm colour = l1()",
        group="pedantic",
        fix="Write `ssim_loss`, and put the half into the weight.",
        wrong_if="The weight was chosen for the half, as in Monodepth.",
    ),
    Code(
        "SSM006",
        "ssim-alone",
        "The photograph is compared by SSIM alone.",
        "SSIM normalises each window by its contrast: on even surfaces it hardly sees the colour.",
        bad="term structure = ssim_loss()",
        good="term structure = 0.2 * ssim_loss()\nterm colour = 0.8 * l1()",
        group="pedantic",
        fix="Add an L1 term.",
        wrong_if="Something else holds the colours.",
    ),
)
