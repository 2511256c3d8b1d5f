"""NAM: names that do not exist, exist twice, or are taken."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        "NAM001",
        "unknown-name",
        "A value is read that nothing declares.",
        "A misspelt mask or weight would silently change what is trained if it were ignored.",
        bad="term colour = l1(maskd)",
        good="term colour = l1(masked)",
    ),
    Code(
        "NAM002",
        "unknown-function",
        "A function is called that is neither a builtin nor defined in the program.",
        "Nothing can be computed in its place.",
        bad="term structure = dssim(masked)",
        good="term structure = ssim_loss(masked)",
    ),
    Code(
        "NAM003",
        "unknown-field",
        "A record or value has no field or component of that name.",
        "Gaussians have the fields `means scales opacities quats sh0 shN`, images the components `r g b`.",
        bad="term sparse = mean(state.opacity)",
        good="term sparse = mean(state.opacities)",
    ),
    Code(
        "NAM004",
        "duplicate-name",
        "Two declarations have the same name.",
        "One would hide the other, and which one depends on the reader.",
        bad="let w = 0.2\nlet w = 0.3\nterm colour = w * l1(masked)",
        good="let w = 0.2\nterm colour = w * l1(masked)",
    ),
    Code(
        "NAM005",
        "fixed-input-name",
        "A declaration takes the name of a fixed input or region.",
        "`mask` must mean the same in every program.",
        bad="let alpha = 0.5\nterm colour = l1(masked)",
        good="let threshold = 0.5\nterm colour = l1(alpha > threshold)",
    ),
    Code(
        "NAM006",
        "unknown-argument",
        "A call names an argument that the function has not, or names one twice.",
        "An ignored argument would leave the default in force.",
        bad='term structure = ssim_loss(masked, pading="valid")',
        good='term structure = ssim_loss(masked, padding="valid")',
    ),
    Code(
        "NAM007",
        "builtin-redefined",
        "A `def` has the name of a builtin.",
        "`l1` must mean the same in every program.",
        bad="def l1(x) = mean(abs(x))\nterm colour = l1(rendered - target)",
        good="def my_l1(x) = mean(abs(x))\nterm colour = my_l1(rendered - target)",
    ),
    Code(
        "NAM008",
        "unknown-unit",
        "A parameter is declared in a unit that does not exist.",
        "The units are `steps`, `number` and `flag`.",
        bad="param start: step = 500\nterm size = reg(state) when after(step, start)",
        good="param start: steps = 500\nterm size = reg(state) when after(step, start)",
    ),
    Code(
        "NAM009",
        "unknown-parameter",
        "A value is given for a parameter that the loss has not.",
        "A misspelt key would leave the default in force, and nobody would notice for a night.",
    ),
)
