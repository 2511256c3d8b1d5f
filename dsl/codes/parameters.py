"""ACT: raw and activated parameters of the gaussians."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        "ACT002",
        "raw-with-activated",
        "A raw parameter meets an activated one.",
        "Log-scales and scales, or logits and opacities, are different numbers for the same gaussian.",
        bad="term odd = l1(state.log_scales, state.scales)",
        good="term even = l1(exp(state.log_scales), state.scales)",
        fix="Use the activated parameter on both sides, or the raw one.",
    ),
)
