"""Random choices: seeded, so that a run can be repeated, and independent for each place in a program."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..interval import REALS, UNIT, ZERO, Interval, point
from ..types import EVERYWHERE, Kind
from .shapes import Args, check_components, wrong
from .spec import Builtin, Problem, Ranges

if TYPE_CHECKING:
    from ..typed import Expr


def uniform(step: float, seed: int = 0) -> float:
    """A number in 0..1, 1 excluded, that depends on the step and the seed alone."""
    bits = int.from_bytes(struct.pack("<d", step), "little")
    return (_mixed(_mixed(bits) ^ _mixed(seed + 1)) >> 11) / 2**53


def _mixed(bits: int) -> int:
    """SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): each bit of the result depends on all bits."""
    z = (bits + 0x9E3779B97F4A7C15) % 2**64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


def chance(x: float, p: float, seed: int = 0) -> bool:
    """True with probability p at each step; ``seed`` tells places apart."""
    return uniform(float(x), seed) < p


def key(x: float, seed: int = 0) -> float:
    """What the random numbers of a place in the program are made from at a step: a whole number below 2^24.

    A float of any precision holds it exactly, so that all devices and precisions draw the same.
    """
    return float(int(uniform(float(x), seed) * 2**24))


KEY = Builtin(
    "key",
    "(x: host) -> host in [0, 16777216)",
    "The random key of this place and step; written by the compiler only.",
    good="",
    bad="",
    bad_code="",
    host=key,
    needs=("key",),
)


def _chance_range(r: Ranges) -> Interval:
    p = r.get("p") or REALS
    return ZERO if p.hi <= 0 else point(1.0) if p.lo >= 1 else UNIT


def _drawn(args: Mapping[str, Expr]) -> Kind:
    kind = args["like"].type.kind if "like" in args else args["p"].type.kind
    return Kind("region", kind.space, 1) if kind.is_tensor else EVERYWHERE


def _check_like(args: Args) -> Problem | None:
    p = args["p"][0]
    if p.type.kind.is_tensor:
        if "like" in args and args["like"][0].type.kind.space != p.type.kind.space:
            at = args["like"][0]
            return wrong(at, f"`like` is {at.type.kind.describe()}, but `p` is {p.type.kind.describe()}", "", "TYP003")
        return check_components(p=1)(args)
    if "like" in args:
        return None
    help_ = "say of what, as in `bernoulli(0.5, like=rendered)`; for one choice a step write `chance(step, 0.5)`"
    return wrong(p, "`bernoulli` of a number does not say which pixels or gaussians it draws", help_)


RANDOM_BOXES = Builtin(
    "random_boxes",
    "(; size: whole >= 1, count: whole >= 1) -> list of region",
    "So many squares with sides of `size` pixels, at random places in the image, the same in all images of a batch, "
    "drawn anew at each step. Where the image is smaller, a square has its whole side.",
    good="input mono: depth[relative]\n"
    "term depth = mean(pearson_loss(depth, mono, box and masked) for box in random_boxes(size=128, count=4))",
    bad="term colour = mean(l1(box) for box in random_boxes(size=128))",
    bad_code="TYP006",
    kernel="chances:random_box",
    needs=("key", "pixels"),
    source="Xiong et al., SparseGS, 3DV 2025: correlation of depth in random patches",
    stops=True,
)

BERNOULLI = Builtin(
    "bernoulli",
    "(p: value in [0, 1]; like: tensor = none) -> region p",
    "A random region, drawn anew at each step: each pixel or gaussian is in it with probability `p`. With a number, "
    "`like` says of what.",
    good="term sparse = mean(state.opacities, bernoulli(0.05, like=state.opacities))",
    bad="term sparse = mean(state.opacities, bernoulli(0.05))",
    bad_code="TYP001",
    kernel="chances:bernoulli",
    needs=("key",),
    kind=_drawn,
    check=_check_like,
    stops=True,
)

CHANCE = Builtin(
    "chance",
    "(x: host, p: host in [0, 1]) -> flag",
    "True with probability `p`, decided anew at each step. Divide the term by p yourself to keep its average.",
    good="term size = 0.01 / 0.4 * scale_reg(state) when chance(step, 0.4)",
    bad="term size = 0.01 * scale_reg(state) when chance(step, 40)",
    bad_code="RNG003",
    host=chance,
    range=_chance_range,
    stops=True,
    needs=("key",),
)

BUILTINS: tuple[Builtin, ...] = (RANDOM_BOXES, BERNOULLI, CHANCE)
