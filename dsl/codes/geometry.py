"""DEP and NRM: depths and normals that do not mean the same."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        "DEP001",
        "accumulated-depth",
        "Accumulated depth meets expected or median depth.",
        "Accumulated depth is weighted by opacity: a surface at 4 m that is half transparent reads 2 m. It is no "
        "distance until it is divided by coverage.",
        bad="input lidar: depth[metric]\nterm depth = l1(depth.accumulated, lidar, masked)",
        good="input lidar: depth[metric]\nterm depth = l1(depth, lidar, masked)",
        fix="Read `depth`, or divide by `max(alpha, 1e-6)`.",
    ),
    Code(
        "DEP003",
        "direct-with-inverse-depth",
        "Direct depth meets inverse depth.",
        "One grows where the other falls: their correlation is negative, and a least-squares fit between them takes a "
        "negative scale without a word.",
        bad="input mono: depth[inverse, metric]\nterm depth = l1(depth, mono, masked)",
        good="input mono: depth[inverse, metric]\nterm depth = l1(1 / max(depth, 1e-3), mono, masked)",
        fix="Turn one of them over: `1 / max(x, 1e-3)`.",
    ),
    Code(
        "DEP004",
        "depth-unit-not-stated",
        "An input of depth does not say whether it is metric or relative.",
        "Depth from a sensor or from matching is in units of the scene; depth from a network mostly is not, and then "
        "no plain difference with the render means anything.",
        bad="input mono: depth[inverse]\nterm colour = l1(masked) + mean(mono)",
        good="input mono: depth[inverse, relative]\nterm colour = l1(masked)\n"
        "term depth = pearson_loss(1 / max(depth, 1e-3), mono, masked)",
        fix="Write `depth[metric]` or `depth[relative]`.",
    ),
    Code(
        "DEP005",
        "relative-depth",
        "Metric depth meets depth that is known only up to a scale and a shift.",
        "The unknown scale, another one for each image, becomes an error of the scene that training then bends the "
        "geometry to remove.",
        bad="input mono: depth[relative]\nterm depth = l1(depth, mono, masked)",
        good="input mono: depth[relative]\nterm depth = pearson_loss(depth, mono, masked)",
        fix="Compare by `pearson_loss` or `depth_rank`, or bring it to scale with `align(x, to=y)`.",
    ),
    Code(
        "DEP006",
        "z-with-ray-depth",
        "Depth along the optical axis meets depth along the ray.",
        "They differ by the cosine of the pixel's angle: nothing in the centre, much at the borders.",
        bad="input lidar: depth[metric, ray]\nterm depth = l1(depth, lidar, masked)",
        good="input lidar: depth[metric, z]\nterm depth = l1(depth, lidar, masked)",
        fix="Convert the data to z depth.",
    ),
    Code(
        "DEP007",
        "weight-with-a-unit",
        "A term in units of length has a large weight beside terms without a unit.",
        "In a scene twice as large the term weighs twice as much; weights of distortion and depth do not carry over "
        "from scene to scene.",
        bad="term colour = l1()\nterm flat = 100 * mean(distortion)",
        good="input scene_scale: number in (0, inf)\nterm colour = l1()\n"
        "term flat = 100 * mean(distortion) / scene_scale",
        group="pedantic",
        fix="Divide by the scene's size, or by the depth.",
        wrong_if="All scenes are brought to the same size first. Weights below 10 are not looked at, and values whose "
        "unit the checker cannot follow are left out.",
    ),
    Code(
        "DEP020",
        "holes-counted",
        "Depth with holes is reduced over pixels where it has no value.",
        "A missing reading is stored as 0: training pulls the surface to the camera wherever the sensor saw nothing.",
        bad="input lidar: depth[metric, sparse]\nterm depth = l1(depth, lidar, masked)",
        good="input lidar: depth[metric, sparse]\nterm depth = l1(depth, lidar, masked and valid(lidar))",
        fix="Reduce over `valid(x)`.",
    ),
    Code(
        "NRM001",
        "frames-differ",
        "Normals in the camera's frame meet normals in the world's.",
        "The loss rewards surfaces that turn with the camera.",
        bad="input prior: normals[world]\nterm normals = l1(normals, prior, masked)",
        good="input prior: normals[camera]\nterm normals = l1(normals, prior, masked)",
        fix="Rotate one of them into the other's frame, or convert the data.",
    ),
    Code(
        "NRM002",
        "unit-with-weighted",
        "Unit normals meet normals that are weighted by coverage.",
        "Where the render is half transparent the weighted normal has length 0.5: the two differ although they point "
        "the same way, and making the render opaque lowers the loss.",
        bad="input prior: normals[camera, unit]\nterm normals = l1(normals, prior)",
        good="input prior: normals[camera, unit]\nterm normals = l1(normalize(normals), prior)",
        group="pedantic",
        fix="`normalize` the weighted ones, or multiply the others by `detach(alpha)`.",
        wrong_if="The render is opaque wherever they are compared, or the error is meant to count coverage.",
    ),
    Code(
        "NRM003",
        "signed-errors",
        "The mean of a signed value is made small: of a cosine, or of a difference.",
        "Errors of opposite sign cancel, and a cosine is smallest where the directions are opposite.",
        bad="input flow: [N 3]\nterm colour = l1()\nterm drift = 0.1 * mean(dot(state.means, flow))",
        good="input flow: [N 3]\nterm colour = l1()\nterm drift = 0.1 * mean(abs(dot(state.means, flow)))",
        group="pedantic",
        fix="Write `1 - dot(a, b)`, or take `abs` before the mean.",
        wrong_if="The value itself is to become small, not its distance from a target.",
    ),
    Code(
        "NRM020",
        "encoded-normals",
        "Normals stored in 0..1, as in a picture of them, are compared with directions.",
        "Half of all directions cannot be reached, and the others are bent towards one corner of the colours.",
        bad="input prior: normals in [0, 1]\nterm colour = l1()\nterm bend = 0.05 * normal_cosine(normals, prior)",
        good="input prior: normals in [0, 1]\nterm colour = l1()\n"
        "term bend = 0.05 * normal_cosine(normals, prior * 2 - 1)",
        group="suspicious",
        fix="Decode them: `x * 2 - 1`.",
    ),
    Code(
        "NRM021",
        "agreement-minimised",
        "The cosine between two normals is made small.",
        "It is 1 where they agree and -1 where they are opposite: training turns the surfaces away from the prior.",
        bad="input prior: normals[camera]\nterm colour = l1()\nterm bend = 0.05 * mean(dot(normals, prior))",
        good="input prior: normals[camera]\nterm colour = l1()\nterm bend = 0.05 * mean(1 - dot(normals, prior))",
        group="suspicious",
        fix="Write `1 - dot(a, b)`, or its `abs` to make them orthogonal.",
    ),
    Code(
        "DEP021",
        "different-quantities",
        "Values of different sorts are compared: depth with colour, directions with coverage.",
        "Their difference means nothing, whatever it is weighed by; mostly an operand is missing, or in another place.",
        bad="term colour = l1()\nterm depth = 0.1 * l1(depth, masked)",
        good="input lidar: depth[metric]\nterm colour = l1()\nterm depth = 0.1 * l1(depth, lidar, masked)",
        group="suspicious",
        fix="Compare values of one sort.",
    ),
)
