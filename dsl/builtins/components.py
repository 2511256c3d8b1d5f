"""What makes one component of several."""

from __future__ import annotations

from . import bounds
from .spec import Builtin

COMPONENT_MAX = Builtin(
    "component_max",
    "(x: tensor) -> component x",
    "The largest component of each pixel or gaussian; keeps a trailing 1.",
    good="term flat = mean(component_max(state.scales))",
    bad="term flat = component_max(state.scales)",
    bad_code="TYP002",
    kernel="reductions:component_max",
    range=bounds.x,
    keeps=("x",),
    facts=("x",),
    drops=("length",),
)

COMPONENT_MIN = Builtin(
    "component_min",
    "(x: tensor) -> component x",
    "The smallest component of each pixel or gaussian; keeps a trailing 1.",
    good="term flat = mean(component_min(state.scales))",
    bad="term flat = mean(component_min(2.0))",
    bad_code="TYP001",
    kernel="reductions:component_min",
    range=bounds.x,
    keeps=("x",),
    facts=("x",),
    drops=("length",),
)

COMPONENT_MEAN = Builtin(
    "component_mean",
    "(x: tensor) -> component x",
    "The mean of the components of each pixel or gaussian; keeps a trailing 1.",
    good="term error = mean(abs(component_mean(rendered - target)), masked)",
    bad="term error = component_mean(rendered - target)",
    bad_code="TYP002",
    kernel="reductions:component_mean",
    range=bounds.x,
    keeps=("x",),
    facts=("x",),
    drops=("length", "parameter"),
)

COMPONENT_SUM = Builtin(
    "component_sum",
    "(x: tensor) -> component x",
    "The sum of the components of each pixel or gaussian; keeps a trailing 1.",
    good="term size = 0.01 * mean(component_sum(state.scales))",
    bad="term size = 0.01 * mean(component_sum(state))",
    bad_code="TYP001",
    kernel="reductions:component_sum",
    range=lambda r: bounds.summed(bounds.x(r), bounds.count(r, "x")),
    keeps=("x",),
)

COMPONENT_PRODUCT = Builtin(
    "component_product",
    "(x: tensor) -> component x",
    "The product of the components of each pixel or gaussian; keeps a trailing 1. Of scales, it is proportional to the "
    "volume.",
    good="term volume = 0.01 * mean(component_product(state.scales))",
    bad="term volume = 0.01 * mean(component_product(step))",
    bad_code="TYP001",
    kernel="reductions:component_product",
    range=lambda r: bounds.product(bounds.x(r), bounds.count(r, "x")),
    source="Lu et al., Scaffold-GS, CVPR 2024: the volume of the gaussians as a regulariser",
)

BUILTINS: tuple[Builtin, ...] = (
    COMPONENT_MAX,
    COMPONENT_MIN,
    COMPONENT_MEAN,
    COMPONENT_SUM,
    COMPONENT_PRODUCT,
)
