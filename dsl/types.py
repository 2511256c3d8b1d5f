"""What a value is: when it is known (stage), what it looks like (kind) and what it can be (range)."""

from __future__ import annotations

from .interval import REALS, Interval
from .source import Source, Span

# Stages, in the order in which values become known.
CONSTANT, PARAMETER, STEP, TENSOR = range(4)
STAGE_NAMES = ("constant", "parameter", "step", "tensor")

VARIES = -1
"""Component count of a value whose number of components depends on the model (the higher SH coefficients)."""


class Kind:
    """The shape family of a value. Kinds are compared by identity of meaning: name, space and components.

    Attributes:
        name: the word that messages use.
        space: "pixels" for `[B H W k]`, "gaussians" for `[N k]`, "any" for a region that covers everything,
            "" for host values and records.
        components: k, or `VARIES`.
    """

    __slots__ = ("components", "name", "space")

    def __init__(self, name: str, space: str = "", components: int = 1) -> None:
        self.name, self.space, self.components = name, space, components

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kind) and (self.name, self.space, self.components) == (
            other.name,
            other.space,
            other.components,
        )

    def __hash__(self) -> int:
        return hash((self.name, self.space, self.components))

    def __repr__(self) -> str:
        return self.name

    @property
    def is_tensor(self) -> bool:
        """Whether values of this kind have pixels or gaussians."""
        return bool(self.space)

    @property
    def dims(self) -> str:
        """The dimension list, such as ``[B H W 3]``."""
        if self.space == "pixels":
            return f"[B H W {self.components}]"
        if self.space == "gaussians":
            return "[N]" if self.components == 1 else "[N k]" if self.components == VARIES else f"[N {self.components}]"
        return ""

    def describe(self) -> str:
        """With article and dimensions: ``an image [B H W 3]``."""
        phrase = _PHRASES.get(self.name, f"a {self.name}")
        return f"{phrase} {self.dims}" if self.dims else phrase


_PHRASES = {
    "image": "an image",
    "gaussians": "a value per gaussian",
    "state": "the state record",
    "tuple": "a tuple",
}

NUMBER = Kind("number")
FLAG = Kind("flag")
STRING = Kind("string")
TUPLE = Kind("tuple")
STATE = Kind("state")
ERROR = Kind("error")
IMAGE = Kind("image", "pixels", 3)
MAP = Kind("map", "pixels", 1)
DEPTH = Kind("depth", "pixels", 1)
REGION = Kind("region", "pixels", 1)
EVERYWHERE = Kind("region", "any", 1)
GAUSSIAN_REGION = Kind("region", "gaussians", 1)


def gaussians(components: int) -> Kind:
    """The kind of ``[N components]``."""
    return Kind("gaussians", "gaussians", components)


def arithmetic_kind(space: str, components: int) -> Kind:
    """The kind that arithmetic gives: an operation drops what a depth or a region meant."""
    if not space or space == "any":
        return NUMBER
    if space == "pixels":
        return IMAGE if components == 3 else MAP if components == 1 else Kind("map", "pixels", components)
    return gaussians(components)


class Origin:
    """A place that a fact about a value comes from."""

    __slots__ = ("source", "span")

    def __init__(self, source: Source, span: Span) -> None:
        self.source, self.span = source, span

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin) and self.source is other.source and self.span == other.span

    def __hash__(self) -> int:
        return hash((id(self.source), self.span))


class Type:
    """Stage, kind, range and facts of one value.

    Attributes:
        similarity: places where a measure that is better when larger enters with a positive sign; minimising such a
            value is almost always a missing ``1 -``. ``dissimilarity``: the same with a negative sign.
    """

    __slots__ = ("dissimilarity", "kind", "range", "similarity", "stage")

    def __init__(
        self,
        stage: int,
        kind: Kind,
        range: Interval = REALS,
        similarity: tuple[Origin, ...] = (),
        dissimilarity: tuple[Origin, ...] = (),
    ) -> None:
        self.stage, self.kind, self.range = stage, kind, range
        self.similarity, self.dissimilarity = similarity, dissimilarity

    def __repr__(self) -> str:
        return f"{STAGE_NAMES[self.stage]} {self.kind.name}{self.kind.dims} in {self.range}"

    @property
    def is_host(self) -> bool:
        """Whether the value is a plain number or flag that the host computes."""
        return self.stage < TENSOR and self.kind in (NUMBER, FLAG)
