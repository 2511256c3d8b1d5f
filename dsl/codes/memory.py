"""MEM: memories that mix what does not belong together, grow without end, or average with the wrong weights."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        "MEM001",
        "memory-of-pixels",
        "A memory has one value for each pixel.",
        "Training looks through another camera at each step: the same pixel shows another place, and the memory mixes "
        "images that have nothing to do with each other.",
        bad="memory slow = 0 then 0.9 * slow + 0.1 * abs(rendered - target)\n"
        "term colour = l1(component_max(slow) < 0.5)",
        good="memory slow = 0 then 0.9 * slow + 0.1 * mean(abs(rendered - target))\n"
        "term colour = l1(component_max(abs(rendered - target)) < 2 * slow)",
        group="suspicious",
        fix="Remember a number, a histogram, or a value per gaussian.",
    ),
    Code(
        "MEM002",
        "memory-grows",
        "A memory adds to itself at every step and forgets nothing.",
        "It grows for as long as the run lasts, and whatever it weighs grows or vanishes with it.",
        bad="memory level = 1 then level + l1()\nterm colour = l1() / max(level, 1)",
        good="memory level = 1 then 0.9 * level + 0.1 * l1()\nterm colour = l1() / max(level, 0.01)",
        group="pedantic",
        fix="Average: `0.9 * level + 0.1 * value`.",
        wrong_if="A total over the run is meant.",
    ),
    Code(
        "MEM003",
        "memory-weights",
        "The weights of old and new value in a memory do not sum to 1.",
        "A moving average with other weights settles at a multiple of what it follows.",
        bad="memory level = 1 then 0.9 * level + 0.2 * l1()\nterm colour = l1() / max(level, 0.01)",
        good="memory level = 1 then 0.9 * level + 0.1 * l1()\nterm colour = l1() / max(level, 0.01)",
        group="pedantic",
        fix="Write the memory as `mix(old, new, 0.1)`.",
        wrong_if="A decaying sum is meant, or the new value has a unit of its own.",
    ),
)
