"""Losses and functions of classes."""

from __future__ import annotations

from .shapes import Args, wrong
from .spec import Builtin, Problem


def _check_softmax(args: Args) -> Problem | None:
    x = args["x"][0]
    if x.type.kind.components != 1:
        return None
    return wrong(
        x, "the softmax of one component is 1 everywhere", "use `sigmoid` for one class against the rest", "TYP004"
    )


def _check_cross_entropy(args: Args) -> Problem | None:
    a, b = args["a"][0], args["b"][0]
    classes, given = a.type.kind.components, b.type.kind.components
    if classes == 1:
        help_ = "give one component for each class, or use `bce` for one class against the rest"
        return wrong(a, "`cross_entropy` needs the scores of two or more classes", help_, "TYP004")
    if a.type.kind.space != b.type.kind.space:
        message = f"`b` is {b.type.kind.describe()}, but the scores are {a.type.kind.describe()}"
        return wrong(b, message, "give a class for each place that has scores", "TYP003")
    if isinstance(given, int) and given not in (1, classes):
        help_ = "give the number of the class, one component, or a probability for each class"
        return wrong(b, f"`b` has {given} components for {classes} classes", help_, "TYP004")
    return None


SOFTMAX = Builtin(
    "softmax",
    "(x: tensor) -> like x in (0, 1)",
    "Probabilities from scores: exp of each component over the sum of all.",
    good="input scores: [B H W 16]\nterm sure = mean(component_max(softmax(scores)))",
    bad="term sure = mean(softmax(alpha))",
    bad_code="TYP004",
    kernel="vectors:softmax",
    check=_check_softmax,
)

CROSS_ENTROPY = Builtin(
    "cross_entropy",
    "(a: tensor, b: tensor, r: region = everywhere) -> number >= 0",
    "Mean over `r` of minus the logarithm of the probability of the right class. `a` holds scores, one component for "
    "each class, before the softmax; `b` the number of the right class, from 0, or a probability for each class. The "
    "number of no class inside `r` gives NaN.",
    good="input scores: [B H W 16]\ninput labels: [B H W] in [0, 15]\n"
    "term classes = cross_entropy(scores, labels, masked)",
    bad="input labels: [B H W] in [0, 15]\nterm classes = cross_entropy(alpha, labels)",
    bad_code="TYP004",
    kernel="classification:cross_entropy",
    check=_check_cross_entropy,
    reduces=True,
)

BUILTINS: tuple[Builtin, ...] = (SOFTMAX, CROSS_ENTROPY)
