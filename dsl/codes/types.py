"""TYP: values of the wrong kind, shape or stage, and calls that do not fit."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        "TYP001",
        "wrong-kind",
        "A value is of another kind than its place needs.",
        "For instance the whole `state` where one of its fields is meant, or text where a number is.",
        bad="term sparse = mean(state)",
        good="term sparse = mean(state.opacities)",
    ),
    Code(
        "TYP002",
        "term-not-a-number",
        "A term is not a single number.",
        "A map is never reduced silently: whether it is a mean or a sum, and over which pixels, changes the loss.",
        bad="term colour = abs(rendered - target)",
        good="term colour = mean(abs(rendered - target), masked)",
    ),
    Code(
        "TYP003",
        "pixels-with-gaussians",
        "An operation mixes values per pixel with values per gaussian.",
        "The two have no common index; broadcasting them would be an accident of equal sizes.",
        bad="term odd = mean(alpha * state.opacities)",
        good="term even = mean(alpha) * mean(state.opacities)",
    ),
    Code(
        "TYP004",
        "components-differ",
        "Operands have different numbers of components.",
        "An image against a map would compare each colour with the same value.",
        bad="term odd = l1(rendered, alpha)",
        good="term even = l1(rendered, target)",
    ),
    Code(
        "TYP005",
        "not-known-before-the-step",
        "A schedule or condition needs a number that the host knows, but got a value of the render.",
        "Schedules choose what is computed, so they cannot depend on what is computed.",
        bad="term colour = ramp(mean(alpha), 100) * l1(masked)",
        good="term colour = ramp(step, 100) * l1(masked)",
    ),
    Code(
        "TYP006",
        "argument-count",
        "A call has too few or too many arguments.",
        "The help shows how the function is called.",
        bad="term colour = mix(l1(masked), ssim_loss(masked))",
        good="term colour = mix(l1(masked), ssim_loss(masked), 0.2)",
    ),
    Code(
        "TYP007",
        "recursion",
        "A definition or a `let` is made of itself.",
        "Definitions are expanded in place; a recursive one has no end.",
        bad="def f(x) = 1 + f(x)\nterm odd = f(l1(masked))",
        good="def f(x) = 1 + x\nterm even = f(l1(masked))",
    ),
    Code(
        "TYP008",
        "program-too-large",
        "Definitions expand to too many values.",
        "Each call is expanded in place; a chain of definitions that each call the next one twice doubles every time.",
    ),
    Code(
        "TYP009",
        "if-on-a-tensor",
        "The condition of `if` depends on the render.",
        "`if` chooses what is computed; to choose per pixel or gaussian write `where(condition, a, b)`.",
        bad="term odd = mean(rendered if alpha > 0.5 else target)",
        good="term even = mean(where(alpha > 0.5, rendered, target))",
    ),
    Code(
        "TYP010",
        "lone-operand",
        "A comparing loss got one argument that is not a region.",
        "`l1(x)` could mean x against the target or x as a region; only the region is accepted.",
        bad="term colour = l1(rendered)",
        good="term colour = l1(rendered, target)",
    ),
    Code(
        "TYP011",
        "views-mixed",
        "An operation mixes the pixels of two views.",
        "A second render has its own camera: the same pixel is another place, and the images may differ in size.",
        bad="input near: view\nterm odd = l1(rendered, near.rendered)",
        good="input near: view\nterm even = l1(near.rendered, near.target)",
        fix="Bring one view into the other on the host, and declare the result as an `input`.",
    ),
    Code(
        "TYP012",
        "dimensions-differ",
        "Operands have dimensions that do not go together.",
        "Broadcasting them would be an accident of equal sizes.",
        bad="input points: [M 3]\nterm odd = mean(points - state.means)",
        good="input points: [M 3]\nterm even = mean(points) - mean(state.means)",
    ),
)
