"""What a window kernel computes, without how: small lane programs around one separable window.

A kernel goes over the images `[B, H, W, C]` row by row, in stages:

0. ``regions``: at each lane the weight of each region. Their sums are the normalisers of the reductions.
1. ``before``: at each lane the two images a, b of each window. Blurred are a, b, a*a + b*b and a*b.
2. ``centre``: from the blurred statistics, the integrands of reductions that read them, and what the gradient of each
   window spreads: the cotangents of the statistics. Blurred again, with the same window.
3. ``after``: the integrands of the other reductions, and the gradient of each input that carries one.

The window has 11 taps, is symmetric, and images are 0 outside: the adjoint of the blur is the blur.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import NamedTuple

from .lanes import Stage

STATISTICS = 4
"""Blurred for each window: a, b, a*a + b*b, a*b."""


class Normaliser(NamedTuple):
    """The sum over all lanes of a region's weight, leaving out a border of so many pixels.

    ``region`` is a result of the stage ``regions``, or -1: every lane counts 1.
    """

    region: int
    border: int


class Reduction(NamedTuple):
    """A number made of all lanes: the sum of integrands over its normaliser, 0 where that is 0 or less.

    The integrand is in the stage "centre" or "after", and has its region's weight and border in it.
    ``normaliser`` is -1 for a plain sum.
    """

    stage: str
    normaliser: int


class Window(NamedTuple):
    """Two images that are compared: how many of their cotangents are spread: 0, 3 or 4.

    3 are those of the mean of a, of the squares and of the product; 4 have that of the mean of b behind that of a.
    """

    spreads: int


class PlanFields(NamedTuple):
    """The fields of a plan."""

    channels: int
    inputs: tuple[int, ...]
    differentiable: tuple[int, ...]
    hosts: int
    windows: tuple[Window, ...]
    normalisers: tuple[Normaliser, ...]
    reductions: tuple[Reduction, ...]
    regions: Stage
    before: Stage
    centre: Stage
    after: Stage


class WindowPlan(PlanFields):
    """One kernel.

    Attributes:
        channels: lanes per pixel, C.
        inputs: components of each input `[B, H, W, k]`: 1, which all lanes of a pixel share, or C.
        differentiable: the inputs that get a gradient, of their own shape.
        hosts: how many numbers of the host the programs read.
        windows: the pairs of images that are compared.
        normalisers: what reductions are divided by.
        reductions: the numbers that come out. Those whose integrand is in "centre" come first.
        regions: a result for each region.
        before: results a, b of the first window, of the second, ...
        centre: leaf ``stat`` 4*w + k is the k-th statistic of window w. Results: the integrands of reductions of this
            stage, in their order, then the cotangents that are spread, window by window: of the mean of a, (of the
            mean of b,) of the squares, of the product.
        after: leaf ``spread`` i is the i-th of these, blurred. Results: the integrands of its reductions, then the
            gradient of each differentiable input at the lane. A gradient of an input with one component is the sum
            over the lanes of the pixel.
    """

    @cached_property
    def key(self) -> str:
        """A name for the plan: equal plans have equal names."""
        return hashlib.sha256(repr(tuple(self)).encode()).hexdigest()[:16]

    @cached_property
    def flat(self) -> bool:
        """Whether each lane is on its own: no window and no border, so rows can be in any form, `[..., k]`."""
        return not self.windows and not any(n.border for n in self.normalisers)

    @property
    def spreads(self) -> int:
        """How many cotangents are blurred."""
        return sum(w.spreads for w in self.windows)

    @property
    def has_gradient(self) -> bool:
        """Whether any input gets a gradient."""
        return bool(self.differentiable)

    @property
    def outputs(self) -> int:
        """Numbers that come out: the weighted sum of the reductions, each reduction, each normaliser."""
        return 1 + len(self.reductions) + len(self.normalisers)

    def centre_reductions(self) -> tuple[int, ...]:
        """The reductions whose integrand is in the stage "centre"."""
        return tuple(i for i, r in enumerate(self.reductions) if r.stage == "centre")

    def after_reductions(self) -> tuple[int, ...]:
        """The reductions whose integrand is in the stage "after"."""
        return tuple(i for i, r in enumerate(self.reductions) if r.stage == "after")
