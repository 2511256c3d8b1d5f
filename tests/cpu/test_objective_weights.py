"""What `explain` and `plot` say a term weighs is what the compiled loss weighs it by."""

from __future__ import annotations

import pytest

import splatdsl
from splatdsl.dsl.api import analyse
from splatdsl.dsl.objective import objective
from splatdsl.dsl.source import Source

PROGRAM = """
param w = 0.3
param zero = 0
def twice(r) = 2 * l1(r)
let scaled = 0.25 * l1(masked)
term plain = l1()
term named = w * twice(masked) / 4
term shared = scaled
term risen = ramp(step, 20, 40) * -w * (-l1())
term gated = 5 * 0.02 * reg(state) when between(step, 10, 50) and every(step, 5, offset=2)
term faded = loglinear(step, 1.0, 0.01, over=max_steps) * opacity_reg(state) when progress >= 0.5
term half = photometric(masked, ssim_weight=0)
term gone = zero * l1()
"""
STEPS = 80


def test_weights_agree_with_the_compiled_loss_at_every_step() -> None:
    loss = splatdsl.compile(PROGRAM, backend="eager")
    program, _ = analyse(Source(PROGRAM), None, STEPS)
    assert program is not None
    terms = objective(program, STEPS).terms
    for step in range(STEPS):
        weights = loss.weights(step, STEPS)
        for term in terms:
            exists = not term.off and term.exists.holds(step)
            expected = term.parts[0].weight.curve.at(step) if exists else 0.0
            assert weights.get(term.name, 0.0) == pytest.approx(expected, rel=1e-9), (term.name, step)
