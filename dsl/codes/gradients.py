"""GRD: terms whose gradient goes nowhere, or where it should not."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        "GRD001",
        "no-gradient",
        "A term reaches nothing that is trained.",
        "It is computed at every step and logged, and training never acts on it.",
        bad="term colour = l1(masked)\nterm odd = l1(detach(rendered), target, masked)",
        good="term colour = l1(masked)\nterm even = l1(rendered, detach(target), masked)",
        group="suspicious",
        fix="Read what the gaussians make, without `detach` on the way.",
    ),
    Code(
        "GRD004",
        "compared-with-itself",
        "A value is compared with itself.",
        "The difference is 0 whatever is trained. A cross-entropy of a value with itself is an entropy, and with its "
        "detached self it is nothing; readers cannot tell which was meant.",
        bad="term sparse = 0.01 * bce(state.opacities, state.opacities)",
        good="term sparse = 0.01 * mean(binary_entropy(state.opacities))",
        group="suspicious",
        fix="Name the other value, or write the entropy.",
    ),
    Code(
        "GRD005",
        "prior-aligned-to-prediction",
        "A prior is scaled to the prediction that it should supervise.",
        "A flat prediction pulls the prior flat with it: the loss falls while the geometry collapses.",
        bad="input mono: depth[relative]\nterm depth = l1(align(mono, to=depth), depth, masked)",
        good="input mono: depth[relative]\nterm depth = l1(align(depth, to=mono), mono, masked)",
        group="suspicious",
        fix="Align the prediction to the prior, or detach what it is aligned to.",
    ),
    Code(
        "GRD006",
        "only-regularisers",
        "In this run no term compares the render with data.",
        "Parameters that only regularisers pull at drift to the regularisers' optimum.",
        group="suspicious",
        fix="Add a term that reads the render.",
    ),
    Code(
        "GRD020",
        "transparency-instead",
        "An error is multiplied by coverage that carries a gradient.",
        "The term falls when the surface becomes transparent, which is easier than to move it.",
        bad="input lidar: depth[metric]\nterm colour = l1()\nterm depth = mean(alpha * abs(depth - lidar))",
        good="input lidar: depth[metric]\nterm colour = l1()\nterm depth = mean(detach(alpha) * abs(depth - lidar))",
        group="pedantic",
        fix="Weigh by `detach(alpha)`.",
        wrong_if="Another term holds the coverage up. Coverage that the checker cannot see as a factor is left out.",
    ),
    Code(
        "GRD021",
        "prediction-and-target-swapped",
        "The first operand of a cross-entropy carries no gradient, and the second one does.",
        "The logarithm is taken of the first: here of a constant. In what is trained the loss is then a straight line, "
        "steepest where the two agree.",
        bad="term colour = l1()\nterm cover = 0.1 * bce(masked, alpha)",
        good="term colour = l1()\nterm cover = 0.1 * bce(alpha, masked)",
        group="suspicious",
        fix="Give the prediction first.",
    ),
)
