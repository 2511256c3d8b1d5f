"""ACT: raw and activated parameters of the gaussians."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        "ACT001",
        "raw-parameter-regularised",
        "A regulariser acts on a raw parameter: log-scales, or opacity logits.",
        "Raw parameters have no end: their mean can fall for ever, pulling gaussians that are gone already as hard as "
        "the others. Their 0 means nothing: an opacity of 0.5, a scale of 1 scene unit.",
        bad="term sparse = 0.01 * mean(state.opacity_logits)",
        good="term sparse = 0.01 * mean(state.opacities)",
        group="suspicious",
        fix="Use the activated parameter: `state.scales`, `state.opacities`; or bound the raw one with `relu`.",
    ),
    Code(
        "ACT002",
        "raw-with-activated",
        "A raw parameter meets an activated one.",
        "Log-scales and scales, or logits and opacities, are different numbers for the same gaussian.",
        bad="term odd = l1(state.log_scales, state.scales)",
        good="term even = l1(exp(state.log_scales), state.scales)",
        fix="Use the activated parameter on both sides, or the raw one.",
    ),
    Code(
        "ACT004",
        "ratio-of-logarithms",
        "Log-scales are divided by each other, or a difference of scales is taken for a ratio.",
        "The quotient of two logarithms depends on the unit of length and is infinite where a scale is 1. A difference "
        "of scales is a length, so a limit such as 10 is never reached.",
        bad="term round = mean(relu(component_max(state.log_scales) / component_min(state.log_scales) - 10))",
        good="term round = mean(relu(anisotropy(state) - 10))",
        group="suspicious",
        fix="Use `anisotropy(state)`, or the difference of log-scales, which is the logarithm of the ratio.",
    ),
    Code(
        "ACT020",
        "wrong-activation",
        "An activation is applied to what is activated already, or to the wrong parameter.",
        "Scales are the `exp` of log-scales, opacities the `sigmoid` of logits. Twice, or the other one, gives numbers "
        "that no gaussian has: `exp` of scales is never below 1.",
        bad="term colour = l1()\nterm size = 0.01 * mean(exp(state.scales))",
        good="term colour = l1()\nterm size = 0.01 * mean(state.scales)",
        group="suspicious",
        fix="Use `state.scales` and `state.opacities` as they are.",
    ),
)
