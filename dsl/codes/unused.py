"""USE: declarations that nothing reads."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        "USE001",
        "unused-param",
        "A parameter is declared, but nothing reads it.",
        "Whoever sets it in a config changes nothing, and will not notice.",
        bad="param weight = 0.2 in [0, 1]\nterm colour = l1(masked)",
        good="param weight = 0.2 in [0, 1]\nterm colour = weight * l1(masked)",
        group="style",
        fix="Use it, or remove it.",
    ),
    Code(
        "USE002",
        "unused-input",
        "An input is declared, but nothing reads it.",
        "The host loads and passes it for nothing; often the term that was to use it was forgotten.",
        bad="input mono: depth[relative]\nterm colour = l1(masked)",
        good="input mono: depth[relative]\nterm colour = l1(masked)\nterm depth = pearson_loss(depth, mono, masked)",
        group="style",
        fix="Use it, or remove it.",
    ),
    Code(
        "USE003",
        "unused-let",
        "A value has a name, but nothing reads it.",
        "It has no effect on the loss; often the term that was to use it has another name in it.",
        bad="let error = abs(rendered - target)\nterm colour = l1(masked)",
        good="let error = abs(rendered - target)\nterm colour = mean(error, masked)",
        group="style",
        fix="Use it, or remove it.",
    ),
    Code(
        "USE004",
        "unused-memory",
        "A memory is renewed at each step, but nothing reads it.",
        "It costs time and a place in every checkpoint.",
        bad="memory level = 0 then 0.9 * level + 0.1 * l1(masked)\nterm colour = l1(masked)",
        good="memory level = 1 then 0.9 * level + 0.1 * l1(masked)\nterm colour = l1(masked) / max(level, 0.01)",
        group="style",
        fix="Use it, or remove it.",
    ),
)
