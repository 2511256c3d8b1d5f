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
        "Depth from a sensor or from matching is in units of the scene; depth from a network mostly is not, and then no "
        "plain difference with the render means anything.",
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
        "NRM001",
        "frames-differ",
        "Normals in the camera's frame meet normals in the world's.",
        "The loss rewards surfaces that turn with the camera.",
        bad="input prior: normals[world]\nterm normals = l1(normals, prior, masked)",
        good="input prior: normals[camera]\nterm normals = l1(normals, prior, masked)",
        fix="Rotate one of them into the other's frame, or convert the data.",
    ),
)
