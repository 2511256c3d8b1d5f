"""What a value is: when it is known (stage), what it looks like (kind) and what it can be (range)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .interval import REALS, Interval
from .source import Source, Span

# Stages, in the order in which values become known.
CONSTANT, PARAMETER, STEP, TENSOR = range(4)
STAGE_NAMES = ("constant", "parameter", "step", "tensor")

VARIES = -1
"""Component count of a value whose number of components depends on the model (the higher SH coefficients)."""


class Kind:
    """The shape family of a value. Kinds are compared by meaning: all attributes.

    Attributes:
        name: the word that messages use.
        space: what the value has one of each: "pixels" for `[B H W k]`, "gaussians" for `[N k]`, "images" for
            `[B k]`, "any" for a region that covers everything, "" for host values and records, and other dimensions
            by their letters, such as "N K" or "M". Values of a second render have its name in front:
            "near:pixels".
        components: k; `VARIES` where it depends on the model; a letter where a tensor binds it.
        element: of a list, the kind of its items.
        fields: of a record that a function gives, its fields.
    """

    __slots__ = ("components", "element", "fields", "name", "space")

    def __init__(
        self,
        name: str,
        space: str = "",
        components: int | str = 1,
        element: Kind | None = None,
        fields: tuple[tuple[str, Type], ...] = (),
    ) -> None:
        self.name, self.space, self.components = name, space, components
        self.element, self.fields = element, fields

    def _key(self) -> tuple[object, ...]:
        return self.name, self.space, self.components, self.element, tuple((n, t.kind) for n, t in self.fields)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Kind) or self.name != other.name or self.space != other.space:
            return False
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.name, self.space, self.components))

    def __repr__(self) -> str:
        return self.name

    @property
    def is_tensor(self) -> bool:
        """Whether values of this kind have pixels, gaussians or other dimensions."""
        return bool(self.space)

    @property
    def layout(self) -> str:
        """The space without the view that it belongs to."""
        return self.space.rpartition(":")[2]

    @property
    def view(self) -> str:
        """The second render that the value belongs to, or ""."""
        return self.space.rpartition(":")[0]

    @property
    def dims(self) -> str:
        """The dimension list, such as ``[B H W 3]``."""
        letters = LETTERS.get(self.layout, self.layout)
        if not letters or self.layout == "any":
            return ""
        if self.layout == "pixels" or self.components != 1:
            return f"[{letters} {'k' if self.components == VARIES else self.components}]"
        return f"[{letters}]"

    def describe(self) -> str:
        """With article and dimensions: ``an image [B H W 3]``."""
        phrase = _PHRASES.get(self.name, f"a {self.name}")
        if self.name == "list" and self.element is not None:
            phrase = f"a list of {self.element.name} {self.element.dims}".rstrip()
        of = f" of `{self.view}`" if self.view else ""
        return f"{phrase} {self.dims}{of}" if self.dims else phrase + of


LETTERS = {"pixels": "B H W", "gaussians": "N", "images": "B", "any": "", "": ""}
"""The dimensions of the spaces that have names."""

_PHRASES = {
    "image": "an image",
    "normals": "normals",
    "gaussians": "a value per gaussian",
    "images": "a value per image",
    "tensor": "a tensor",
    "index": "an index of gaussians",
    "state": "the state record",
    "camera": "the camera record",
    "pixel": "the pixel record",
    "view": "a view, the record of a second render",
    "tuple": "a tuple",
    "mode": "a mode",
    "string": "a text",
}

NUMBER = Kind("number")
FLAG = Kind("flag")
STRING = Kind("string")
MODE = Kind("mode")
TUPLE = Kind("tuple")
STATE = Kind("state")
CAMERA = Kind("camera")
PIXEL = Kind("pixel")
VIEW = Kind("view")
ERROR = Kind("error")
IMAGE = Kind("image", "pixels", 3)
MAP = Kind("map", "pixels", 1)
DEPTH = Kind("depth", "pixels", 1)
NORMALS = Kind("normals", "pixels", 3)
REGION = Kind("region", "pixels", 1)
EVERYWHERE = Kind("region", "any", 1)
GAUSSIAN_REGION = Kind("region", "gaussians", 1)


def gaussians(components: int | str) -> Kind:
    """The kind of ``[N components]``."""
    return Kind("gaussians", "gaussians", components)


def per_image(components: int | str = 1) -> Kind:
    """The kind of ``[B]`` and ``[B components]``: one value, or one row, per image of the batch."""
    return Kind("images", "images", components)


def in_view(kind: Kind, view: str) -> Kind:
    """The same kind, of a second render."""
    if not view or not kind.is_tensor or kind.space == "any" or kind.view:
        return kind
    return Kind(kind.name, f"{view}:{kind.space}", kind.components, kind.element, kind.fields)


def arithmetic_kind(space: str, components: int | str) -> Kind:
    """The kind that arithmetic gives: an operation drops what a depth or a region meant."""
    layout = space.rpartition(":")[2]
    if not layout or layout == "any":
        return NUMBER
    if layout == "pixels":
        return Kind("image" if components == 3 else "map", space, components)
    if layout in ("gaussians", "images"):
        return Kind(layout, space, components)
    return Kind("tensor", space, components)


def join_spaces(left: str, right: str) -> str | None:
    """The space of two values together, or None if they do not go together.

    A value per image goes with that image's pixels, a value per gaussian with its neighbours, and any value with one
    that has another dimension behind the same ones.
    """
    if left == right or right in ("", "any"):
        return left
    if left in ("", "any"):
        return right
    (a_view, _, a), (b_view, _, b) = left.rpartition(":"), right.rpartition(":")
    if a_view == b_view:
        for inner, outer in ((a, b), (b, a)):
            if inner == "images" and outer == "pixels":
                return left if a == outer else right
            letters = LETTERS.get(inner, inner)
            if letters and outer not in LETTERS and outer.rpartition(" ")[0] == letters:
                return left if a == outer else right
    return None


def with_components(kind: Kind, components: int | str) -> Kind:
    """The kind of as many pixels, gaussians, ... with another number of components."""
    return arithmetic_kind(kind.space, components)


class Origin:
    """A place that a fact about a value comes from."""

    __slots__ = ("source", "span")

    def __init__(self, source: Source, span: Span) -> None:
        self.source, self.span = source, span

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin) and self.source is other.source and self.span == other.span

    def __hash__(self) -> int:
        return hash((id(self.source), self.span))


class Fact(NamedTuple):
    """One thing that is known of a value, and the place that says so (None: the language itself)."""

    value: str
    origin: Origin | None = None


Facts = Mapping[str, Fact]
NO_FACTS: Facts = {}


class Type:
    """Stage, kind, range and facts of one value.

    Attributes:
        similarity: places where a measure that is better when larger enters with a positive sign; minimising such a
            value is almost always a missing ``1 -``. ``dissimilarity``: the same with a negative sign.
        facts: what the value means beyond its kind; see `facts.py`.
    """

    __slots__ = ("dissimilarity", "facts", "kind", "range", "similarity", "stage")

    def __init__(
        self,
        stage: int,
        kind: Kind,
        range: Interval = REALS,
        similarity: tuple[Origin, ...] = (),
        dissimilarity: tuple[Origin, ...] = (),
        facts: Facts = NO_FACTS,
    ) -> None:
        self.stage, self.kind, self.range, self.facts = stage, kind, range, facts
        self.similarity, self.dissimilarity = similarity, dissimilarity

    def __repr__(self) -> str:
        return f"{STAGE_NAMES[self.stage]} {self.kind.name}{self.kind.dims} in {self.range}"

    @property
    def is_host(self) -> bool:
        """Whether the value is a plain number or flag that the host computes."""
        return self.stage < TENSOR and self.kind in (NUMBER, FLAG)
