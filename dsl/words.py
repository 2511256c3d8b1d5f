"""A sentence for each word of the language: what hovering over it shows, and what completion says beside it."""

from __future__ import annotations

KEYWORDS: dict[str, str] = {
    "param": "A number or flag with a default and legal limits: `param w = 0.2 in [0, 1]`. A run config may set it.",
    "input": "A value that comes with each training item: `input mono: depth[inverse, relative]?`; `?` = may be "
    "missing.",
    "let": "Names a value, so that it can be read several times: `let err = abs(rendered - target)`.",
    "def": "Defines a function, expanded where it is called: `def disparity(d) = 1 / max(d, 1e-3)`.",
    "use": 'Brings terms or definitions of another file: `use "common/3dgs.loss" (photometric)`.',
    "extern": "Declares a Python function that the host registers: `extern score(image, image) -> [B]`.",
    "memory": "State across steps: `memory mean_err = 0 then 0.9*mean_err + 0.1*l1(masked)`.",
    "term": "A named part of the loss, which is the sum of its terms: `term colour = l1(masked)`.",
    "when": "Where the condition after it is false the term does not exist: `term x = ... when after(step, 500)`.",
    "then": "Stands between the first value of a memory and its update.",
    "of": "Stands in the kind of a list: `input grids: list of [C Y X]`.",
    "for": "Unrolls over a list inside `sum` or `mean`: `mean(f(p) for p in views)`.",
    "in": "Gives the legal range of a parameter, `in [0, 1]`, or the list after `for`.",
    "if": "`a if c else b` chooses by a condition that is known before the step; per value write `where(c, a, b)`.",
    "else": "The other branch of `a if c else b`.",
    "and": "Both conditions; of regions, the product.",
    "or": "Either condition; of regions, 1 - (1 - a)*(1 - b).",
    "not": "The opposite of a condition; of a region, its complement.",
    "inf": "Infinity: the end of a range that is open on that side.",
    "pi": "3.14159...",
    "true": "The flag that is on.",
    "false": "The flag that is off.",
}

UNITS: dict[str, str] = {
    "steps": "A whole number of training steps, from 0 on.",
    "number": "Any number; what a parameter is if it says nothing.",
    "flag": "`true` or `false`.",
}

KIND_WORDS: dict[str, str] = {
    "image": "Three components per pixel, `[B H W 3]`.",
    "map": "One value per pixel, `[B H W 1]`.",
    "depth": "A depth per pixel; say `metric` or `relative`, as in `depth[inverse, relative]`.",
    "normals": "A direction per pixel.",
    "region": "Which pixels count, 0..1.",
    "view": "The record of a second render; `view[same]` shares this camera's.",
    "index": "Rows of the gaussians: `index [N K]`.",
    "list": "Several values of one kind: `list of [C Y X]`.",
    "steps": "A number of steps, given by the host.",
    "number": "A number, given by the host.",
    "flag": "A flag, given by the host.",
}

HAS = (
    "Whether optional inputs are there: `has(mono)`, or several; also `mask`, `target`, a view, or a field such as "
    "`near.target`. Known before training starts."
)
"""What `has` does, which is a rule of the checker and no builtin with a record."""

STATEMENTS = ("term", "param", "let", "def", "input", "use", "memory", "extern")
"""The keywords that begin a statement, the common ones first."""

STAGES = {
    "constant": "known from the text",
    "parameter": "known when parameters are set",
    "step": "known before each step",
    "tensor": "computed from the render",
}
