"""What a value means beyond its kind: how a depth is measured, which frame normals are in, whether a parameter is raw.

A fact stays with its value through scaling, clamping, choosing and filtering. Two values that meet in a sum, a
comparison or a loss must agree in every fact that both have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .types import NO_FACTS, Fact, Facts


class FactSpec(NamedTuple):
    """One kind of fact.

    Attributes:
        name: its key in `Type.facts`.
        words: the values, as written in the brackets of an `input`; the first one is the default.
        kinds: the kinds that have it.
        code: the finding where two values disagree; "" where they may.
        doc: one sentence.
        alike: values that agree although they differ.
        convert: how to get from one value to another, by the value that is wanted.
        stated: whether an `input` must state it.
        short: what a word means in a few words; no entry where the word says it.
    """

    name: str
    words: tuple[str, ...]
    kinds: tuple[str, ...]
    code: str
    doc: str
    alike: tuple[str, ...] = ()
    convert: Mapping[str, str] = {}
    stated: bool = False
    short: Mapping[str, str] = {}

    def words_of(self, word: str, thing: str) -> str:
        """A word in a message: ``accumulated depth (too small where the render is not opaque)``."""
        return f"{word} {thing}" + (f" ({self.short[word]})" if word in self.short else "")


FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        "measure",
        ("expected", "accumulated", "median"),
        ("depth",),
        "DEP001",
        "Expected depth is the mean along the ray; accumulated depth is the sum weighted by opacity, too small where "
        "the render is not opaque; median depth is where half of the light is absorbed.",
        alike=("expected", "median"),
        convert={
            "expected": "divide accumulated depth by coverage, as in `depth.accumulated / max(alpha, 1e-6)`, or read "
            "`depth`",
            "accumulated": "read `depth.accumulated`, or multiply expected depth by `alpha`",
            "median": "divide accumulated depth by coverage, as in `depth.accumulated / max(alpha, 1e-6)`, or read "
            "`depth.median`",
        },
        short={"accumulated": "too small where the render is not opaque"},
    ),
    FactSpec(
        "form",
        ("direct", "inverse"),
        ("depth",),
        "DEP003",
        "Direct depth grows with distance; inverse depth (disparity) falls with it.",
        convert={
            "direct": "turn the inverse depth over, as in `1 / max(x, 1e-3)`",
            "inverse": "turn the direct depth over, as in `1 / max(x, 1e-3)`, or read `depth.inverse`",
        },
        short={"direct": "grows with distance", "inverse": "falls with it"},
    ),
    FactSpec(
        "unit",
        ("metric", "relative"),
        ("depth",),
        "DEP005",
        "Metric depth is in units of the scene; relative depth is known up to a scale and a shift only.",
        convert={
            "metric": "bring it to the other's scale first, as in `align(x, to=y)`, or compare by `pearson_loss` or "
            "`depth_rank`",
            "relative": "compare by `pearson_loss` or `depth_rank`, or bring the relative one to scale with "
            "`align(x, to=y)`",
        },
        stated=True,
        short={"metric": "in units of the scene", "relative": "up to a scale and a shift"},
    ),
    FactSpec(
        "along",
        ("z", "ray"),
        ("depth",),
        "DEP006",
        "Depth along the optical axis (z), or along the pixel's ray.",
        convert={
            "z": "convert the data: z depth is ray depth times the cosine of the ray's angle",
            "ray": "convert the data: ray depth is z depth over the cosine of the ray's angle",
        },
        short={"z": "along the optical axis", "ray": "along the pixel's ray"},
    ),
    FactSpec(
        "density",
        ("dense", "sparse"),
        ("depth", "normals"),
        "",
        "A sparse value has holes; `valid(x)` is the region where it is finite and above 0.",
    ),
    FactSpec(
        "frame",
        ("camera", "world"),
        ("normals",),
        "NRM001",
        "The frame that directions are in: the camera's (OpenCV: x right, y down, z forward) or the world's.",
        convert={
            "camera": "rotate one of them, or use `depth_normals(d)`, which is in the camera's frame",
            "world": 'rotate one of them, or use `depth_normals(d, frame="world")`',
        },
        short={"camera": "they turn with the view"},
    ),
    FactSpec(
        "length",
        ("unit", "weighted"),
        ("normals",),
        "",
        "Unit normals have length 1; weighted ones are unit normals times coverage.",
        convert={"unit": "write `normalize(x)`", "weighted": "multiply by `alpha`"},
    ),
    FactSpec(
        "parameter",
        ("activated", "log", "logit"),
        (),
        "ACT002",
        "Whether a parameter of the gaussians is what the renderer uses, or the raw number that is optimised: "
        "log-scales, opacity logits.",
        convert={
            "activated": "use the activated parameter, such as `state.scales` or `state.opacities`",
            "log": "use `state.log_scales`, or take the `log`",
            "logit": "use `state.opacity_logits`",
        },
        short={"activated": "what the renderer uses", "log": "raw", "logit": "raw"},
    ),
    FactSpec(
        "encoding",
        ("srgb", "linear"),
        ("image",),
        "RNG010",
        "sRGB values follow the display curve, as photographs do; linear values are proportional to light.",
        convert={
            "srgb": "encode the linear one: write the sRGB curve as a `def`, or convert the data",
            "linear": "decode the sRGB one: write the curve as a `def`, or convert the data",
        },
        short={"srgb": "as photographs are", "linear": "proportional to light"},
    ),
    FactSpec(
        "role",
        ("validity", "coverage"),
        ("region", "map"),
        "",
        "Validity says which pixels count; coverage says how opaque a pixel is.",
    ),
)

BY_NAME: dict[str, FactSpec] = {spec.name: spec for spec in FACTS}
WORDS: dict[str, FactSpec] = {word: spec for spec in FACTS for word in spec.words}


def words_for(kind: str) -> list[str]:
    """The words that may stand in the brackets of an input of this kind."""
    return [word for spec in FACTS if kind in spec.kinds for word in spec.words]


def facts(**values: str) -> Facts:
    """Facts that the language itself states: ``facts(measure="expected")``."""
    return {name: Fact(value) for name, value in values.items()}


def disagreements(left: Facts, right: Facts, ignored: Sequence[str] = ()) -> list[tuple[FactSpec, Fact, Fact]]:
    """The facts that both values have, that differ, and that must not."""
    found = []
    for name, fact in left.items():
        other, spec = right.get(name), BY_NAME[name]
        if other is None or other.value == fact.value or not spec.code or name in ignored:
            continue
        if not (fact.value in spec.alike and other.value in spec.alike):
            found.append((spec, fact, other))
    return found


def common(*several: Facts) -> Facts:
    """The facts that all of the values have in the same way."""
    if not several or not all(several):
        return NO_FACTS
    first, *rest = several
    return {
        name: fact
        for name, fact in first.items()
        if all((other := r.get(name)) is not None and other.value == fact.value for r in rest)
    }


def merged(left: Facts, right: Facts) -> Facts:
    """The facts of either value; where both have one and differ, neither's."""
    if not left or not right:
        return left or right
    made = {**right, **left}
    for name, fact in left.items():
        if name in right and right[name].value != fact.value:
            del made[name]
    return made


def without(of: Facts, *names: str) -> Facts:
    """The facts less some."""
    return {name: fact for name, fact in of.items() if name not in names} if of else of


def changed(of: Facts, name: str, **values: str) -> Facts:
    """The facts with one replaced: ``changed(f, "form", direct="inverse", inverse="direct")``."""
    fact = of.get(name)
    if fact is None or fact.value not in values:
        return of
    return {**of, name: Fact(values[fact.value], fact.origin)}


def at(of: Facts, origin: object) -> Facts:
    """The facts, said by a place in a program."""
    return {name: Fact(fact.value, origin) for name, fact in of.items()} if of else of  # type: ignore[arg-type]
