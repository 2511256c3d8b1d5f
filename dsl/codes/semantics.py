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
        "SYN050",
        "not-in-this-version",
        "A statement is part of the language but not of this version of it.",
        "It is refused, so that it is never ignored.",
        bad="input mono: depth?\nterm colour = l1(masked)",
        good="term colour = l1(masked)",
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
        "SYN053",
        "unreadable-file",
        "A loss file is missing, too large, or not UTF-8 text.",
        "There is nothing to check or to train with.",
    ),
)
