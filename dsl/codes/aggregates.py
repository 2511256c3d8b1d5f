"""RED and REG."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        "RED001",
        "sum-not-divided",
        "A term is a sum over pixels or gaussians, and nothing divides it.",
        "It grows with the resolution or with the number of gaussians, which densification changes during training: "
        "the weight means something else in each scene and at each step.",
        bad="term sparse = 0.01 * sum(state.opacities)",
        good="term sparse = 0.01 * sum(state.opacities) / N",
        group="suspicious",
        fix="Take the mean, or divide by a size or by another sum; where the sum is meant, say so with the comment "
        "`# splat: ignore[RED001]`.",
    ),
    Code(
        "RED002",
        "mean-over-all-gaussians",
        "The mean of the scales over all gaussians may not bound the largest.",
        "One gaussian of size 100 among 100,000 of size 0.01 moves the mean from 0.01 to 0.011, and its own gradient "
        "is one 100,000th; with more gaussians it becomes weaker still.",
        bad="term colour = l1()\nterm small = 0.01 * scale_reg(state)",
        good="term colour = l1()\nterm small = 0.01 * mean(relu(state.scales - 0.1))",
        group="pedantic",
        fix="Hinge it with `relu`, or take the mean over `visible`.",
        wrong_if="No gaussian is much larger than the others, or pruning removes those that are; the checker sees "
        "neither the scene nor the trainer.",
    ),
    Code(
        "RED004",
        "mean-of-means",
        "A mean over views is taken of means over the pixels that count in each.",
        "A view with 10 valid pixels weighs as much as one with 90; whoever splits the batch another way gets another "
        "loss.",
        bad="input window: list of view\nterm colour = mean(l1(v.rendered, v.target, v.masked) for v in window)",
        good="input window: list of view\nterm colour = sum(sum(abs(v.rendered - v.target), v.masked) for v in window) "
        "/ max(sum(sum(1 * v.masked) for v in window), 1)",
        group="pedantic",
        fix="Divide the sum of all errors by the number of all pixels that count.",
        wrong_if="Each view is meant to weigh the same, however few of its pixels count.",
    ),
    Code(
        "RED005",
        "photometric-weight",
        "The photometric terms weigh far more or far less than 1 in total.",
        "Densification compares gradients with a fixed threshold, and gradients grow with the loss: twice the weight "
        "splits more gaussians.",
        bad="term colour = 80 * l1()\nterm structure = 20 * ssim_loss()",
        good="term colour = 0.8 * l1()\nterm structure = 0.2 * ssim_loss()",
        group="pedantic",
        fix="Let the photometric weights add up to 1.",
        wrong_if="The threshold was chosen for this loss, or nothing is densified by gradients. Weights that are known "
        "only in the run, and terms with `when`, are left out of the total.",
    ),
    Code(
        "RED006",
        "whole-table-every-step",
        "A term reads the whole of a large table at every step.",
        "The grids of all images cost as much at each step as rendering; only the current image's part has changed.",
        bad='input grids: [G C Z Y X]\nterm colour = l1()\nterm smooth = tv(grids, power=2, axes="zyx")',
        good="input grids: [G C Z Y X]\nterm colour = l1()\n"
        'term smooth = 10 * tv(grids, power=2, axes="zyx") when every(step, 10)',
        group="pedantic",
        fix="Read the current image's part, or act at every k-th step.",
        wrong_if="The table is small, or the host passes the current image's part alone; its size is not known here.",
    ),
    Code(
        "RED020",
        "weight-applied-twice",
        "A parameter multiplies a value that it has multiplied already, in another statement.",
        "The weight acts squared: set to 0.1, the term weighs 0.01.",
        bad="param w = 0.1 >= 0\nlet small = w * scale_reg(state)\nterm colour = l1(masked)\nterm small = w * small",
        good="param w = 0.1 >= 0\nlet small = scale_reg(state)\nterm colour = l1(masked)\nterm small = w * small",
        group="suspicious",
        fix="Multiply once.",
    ),
    Code(
        "RED021",
        "same-term-twice",
        "Two terms are the same formula at the same steps.",
        "It counts twice; mostly one of them was to become something else.",
        bad="term colour = l1(masked)\nterm structure = l1(masked)",
        good="term colour = l1(masked)\nterm structure = ssim_loss(masked)",
        group="suspicious",
        fix="Remove one, or multiply the other by 2.",
    ),
    Code(
        "RED022",
        "extreme-weight",
        "A weight is above 10,000 or below 1e-7.",
        "Such numbers mostly undo a unit, a sum or a slip elsewhere, and the next change there goes unnoticed.",
        bad="term colour = l1()\nterm light = 1e6 * mean(relu(norm(state.sh0) - 2))",
        good="term colour = l1()\nterm light = 100 * mean(relu(norm(state.sh0) - 2))",
        group="pedantic",
        fix="Measure the value in a unit near 1.",
        wrong_if="The value that it weighs is as small or as large, such as a product of three scales. Only weights "
        "that are known before the run are looked at.",
    ),
    Code(
        "RED023",
        "branch-on-number",
        "A choice between two formulas depends on how large a numeric parameter is.",
        "A search over the parameter crosses a jump that it cannot see.",
        bad="param w = 0.2 in [0, 1]\nterm colour = l1() if w > 0.5 else photometric(ssim_weight=w)",
        good="param plain: flag = false\nparam w = 0.2 in [0, 1]\n"
        "term colour = l1() if plain else photometric(ssim_weight=w)",
        group="pedantic",
        fix="Declare a flag or a mode for the choice.",
        wrong_if="Both branches agree at that value, or the parameter is never tuned.",
    ),
    Code(
        "RED024",
        "shared-weight",
        "One parameter weighs two terms.",
        "Tuning it for one changes the other.",
        bad="param w = 0.01 >= 0\nterm colour = l1()\nterm size = w * scale_reg(state, visible)\n"
        "term sparse = w * opacity_reg(state)",
        good="param w = 0.01 >= 0\nparam u = 0.01 >= 0\nterm colour = l1()\n"
        "term size = w * scale_reg(state, visible)\nterm sparse = u * opacity_reg(state)",
        group="pedantic",
        fix="Give each term its own parameter.",
        wrong_if="The terms belong together. Terms that all have `when` may take turns and are left out.",
    ),
    Code(
        "RED025",
        "several-regularisers",
        "Two terms act on the same parameter of the gaussians and on nothing else.",
        "They may pull against each other, and neither weight says how strongly the parameter is held.",
        bad="term colour = l1()\nterm small = scale_reg(state, visible)\nterm flat = flatten(state, visible)",
        good="term colour = l1()\nterm small = scale_reg(state, visible)",
        group="pedantic",
        fix="Check that they agree, or make one term of them.",
        wrong_if="They bound different things, such as size and shape. Terms with `when` are left out.",
    ),
    Code(
        "RED026",
        "opacities-lowered-alone",
        "A term lowers opacities, and no term holds the scales.",
        "Fewer opaque gaussians are made up for by larger ones: the scene turns to fog.",
        bad="term colour = l1()\nterm sparse = 0.01 * opacity_reg(state)",
        good="term colour = l1()\nterm sparse = 0.01 * opacity_reg(state)\n"
        "term small = 0.01 * scale_reg(state, visible)",
        group="pedantic",
        fix="Add a term on the scales.",
        wrong_if="Pruning or the photographs bound the scales; the checker sees neither.",
    ),
    Code(
        "RED027",
        "components-not-counted",
        "A sum over pixels and their components is divided by the number of pixels.",
        "With three colours it is three times the mean: moved from a loss that takes the mean, every weight counts "
        "three times.",
        bad="term colour = sum(abs(rendered - target) * masked) / max(sum(masked), 1e-6)",
        good="term colour = mean(abs(rendered - target), masked)",
        group="suspicious",
        fix="Write `mean(x, r)`, or divide by the components too: `3 * sum(r)`.",
    ),
)
