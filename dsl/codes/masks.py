"""MSK: which pixels count, what stands in for the others, and what image is behind the render."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        "MSK001",
        "masked-out-in-the-mean",
        "An average over everything is taken of a value that is 0 outside a region.",
        "The zeros stay in the denominator: with a mask that keeps a tenth of the pixels the term is ten times smaller "
        "than beside a full one.",
        bad="term colour = mean(abs(rendered - target) * masked)",
        good="term colour = mean(abs(rendered - target), masked)",
        group="suspicious",
        fix="Give the region to the reduction, or write `everywhere` if all pixels are meant to be averaged over.",
    ),
    Code(
        "MSK003",
        "floor-in-a-mean",
        "A mean over a region is written out with a floor of 1 or more under the sum of its weights.",
        "The floor counts as much as a whole pixel: soft weights that sum to less than it give too small a mean.",
        bad="term spread = sum(masked * abs(gray(rendered) - gray(target))) / max(sum(masked), 1)",
        good="term spread = mean(abs(gray(rendered) - gray(target)), masked)\nterm empty = background_alpha()",
        group="pedantic",
        fix="Write `mean(x, r)`: it divides by what counts, and an empty region gives 0.",
        wrong_if="The weights are whole pixels, and empty regions should give 0.",
    ),
    Code(
        "MSK004",
        "windows-see-zeroed-pixels",
        "SSIM or LPIPS gets two images that are both zeroed outside a region.",
        "What is black in both counts as equal, and windows across the border see it: with nine tenths masked, 1 - "
        "SSIM of one pair fell from 0.64 to 0.04.",
        bad="term structure = ssim_loss(rendered * masked, target * masked)\nterm colour = l1(masked)",
        good="term structure = ssim_loss(rendered, target, masked)\nterm colour = l1(masked)",
        group="suspicious",
        fix="Give the region as the third operand, or write `everywhere` if all pixels are meant to be averaged over.",
    ),
    Code(
        "MSK006",
        "coverage-as-region",
        "A photometric loss counts pixels by how opaque the render is.",
        "Where the render lacks something, nothing counts: training can lower the loss by making "
        "gaussians transparent.",
        bad="term colour = l1(region(alpha))",
        good="term colour = l1(alpha > 0.5)",
        group="pedantic",
        fix="Use the mask, `masked`, for which pixels count; compare, as in `alpha > 0.5`, for what is drawn.",
        wrong_if="Only what is drawn should be compared.",
    ),
    Code(
        "MSK008",
        "backgrounds-differ",
        "The render and the photograph are compared on different backgrounds.",
        "Where the scene is transparent, two backgrounds are compared: the loss fills the scene to hide its own.",
        bad="input random_colour: [B 3] in [0, 1]\nterm colour = l1(rendered + (1 - alpha) * random_colour, target)",
        good="input random_colour: [B 3] in [0, 1]\ninput target_alpha: map[coverage] in [0, 1]\n"
        "term colour = l1(rendered + (1 - alpha) * random_colour, target + (1 - target_alpha) * random_colour)",
        group="suspicious",
        fix="Lay the photograph over what the render is on, with its own opacity.",
    ),
    Code(
        "MSK009",
        "ignored-pixels-count",
        "A loss compares just the pixels that should not count.",
        "In some data 255 means that a pixel counts, in other data that it is ignored. Here 1 always means that it "
        "counts.",
        bad="input ignore: region\nterm colour = l1(ignore)",
        good="input ignore: region\nterm colour = l1(not ignore)",
        group="suspicious",
        fix="Write `not` before it, or turn the masks over in the data set.",
    ),
    Code(
        "MSK011",
        "resized-region",
        "A region is resized by interpolation.",
        "Pixels on its border get weights between 0 and 1, so that pixels outside it count in part.",
        bad="input part: region\nlet small = resize(part, scale=0.5)\n"
        "term colour = l1(resize(rendered, scale=0.5), resize(target, scale=0.5), small)",
        good='input part: region\nlet small = resize(part, scale=0.5, mode="nearest")\n'
        "term colour = l1(resize(rendered, scale=0.5), resize(target, scale=0.5), small)",
        group="pedantic",
        fix='Use `mode="nearest"`, or compare the result.',
        wrong_if="Pixels on the border should count in part.",
    ),
    Code(
        "MSK013",
        "nothing-acts-behind-the-mask",
        "A mask keeps pixels out of the loss, and no term acts on what is rendered there.",
        "Gaussians in front of the masked part get no gradient and stay: a mask hides, it does not remove.",
        bad="term colour = l1(masked)\nterm solid = 0.01 * mean(1 - alpha, masked)",
        good="term colour = l1(masked)\nterm solid = 0.01 * mean(1 - alpha, masked)\n"
        "term empty = 0.1 * background_alpha()",
        group="pedantic",
        fix="Add a term such as `background_alpha()`.",
        wrong_if="The mask hides something in front of a scene that goes on behind it. Programs that read neither "
        "coverage nor the background are left out.",
    ),
    Code(
        "MSK014",
        "composited-twice",
        "A render that is composited already is composited again.",
        "Its colours are weighted by alpha already: a half covered pixel would show a quarter of its colour, or twice "
        "its background.",
        bad="term colour = l1(rendered * alpha + (1 - alpha) * background, target)",
        good="term colour = l1(rendered, target)",
        group="suspicious",
        fix="Use `rendered` as it is.",
    ),
    Code(
        "MSK020",
        "mask-in-one-comparison-only",
        "One comparison of render and photograph uses the mask, and another takes all pixels.",
        "What the mask leaves out, such as people passing by, is still fitted by the other one.",
        bad="term colour = l1(masked)\nterm structure = 0.2 * ssim_loss()",
        good="term colour = l1(masked)\nterm structure = 0.2 * ssim_loss(masked)",
        group="suspicious",
        fix="Give both the region, or write `everywhere` for the one that is meant to see all pixels.",
    ),
)
