"""RNG and SCH: values outside their range, schedules that cannot do what they say."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        "RNG001",
        "default-out-of-range",
        "A parameter's default is outside its own range.",
        "One of the two is a slip.",
        bad="param ssim_weight = 2.0 in [0, 1]\nterm structure = ssim_weight * ssim_loss(masked)",
        good="param ssim_weight = 0.2 in [0, 1]\nterm structure = ssim_weight * ssim_loss(masked)",
    ),
    Code(
        "RNG002",
        "parameter-out-of-range",
        "A value given for a parameter is outside its range, or is not a number.",
        "The author of the loss declared which values make sense.",
    ),
    Code(
        "RNG003",
        "outside-domain",
        "A function gets values for which it is not defined, at every step.",
        "The result would be NaN or infinite from the first step on.",
        bad="term odd = mean(log(alpha - 2))",
        good="term even = mean(log(alpha + 1))",
    ),
    Code(
        "RNG004",
        "empty-range",
        "A range holds no number.",
        "No value of the parameter would be legal.",
        bad="param w = 0.5 in [1, 0]\nterm colour = w * l1(masked)",
        good="param w = 0.5 in [0, 1]\nterm colour = w * l1(masked)",
    ),
    Code(
        "SCH001",
        "ramp-without-length",
        "A ramp begins and ends at the same step.",
        "It jumps; `after` says so to the reader.",
        bad="term size = ramp(step, 500, 500) * reg(state)",
        good="term size = reg(state) when after(step, 500)",
    ),
    Code(
        "SCH002",
        "never-active",
        "The condition after `when` is never true.",
        "The term would be in the file but never in the training.",
        bad="term size = reg(state) when between(step, 900, 500)\nterm colour = l1(masked)",
        good="term size = reg(state) when between(step, 500, 900)\nterm colour = l1(masked)",
    ),
    Code(
        "SCH003",
        "reversed-schedule",
        "The steps of a schedule are not in order.",
        "A ramp that ends before it begins has no meaning.",
        bad="term size = ramp(step, 900, 500) * reg(state)",
        good="term size = ramp(step, 500, 900) * reg(state)",
    ),
    Code(
        "SCH004",
        "schedule-never-moves",
        "A schedule is written out but gives the same number at every step.",
        "The weight that was meant to change would not.",
        bad="term size = linear(step, 0.1, 0.1, over=1000) * reg(state)",
        good="term size = linear(step, 0.1, 0.01, over=1000) * reg(state)",
    ),
)
