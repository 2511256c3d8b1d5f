"""Kinds as they are written in `input` and `extern`: names with facts, dimension lists, lists, host values."""

from __future__ import annotations

import re
from typing import NamedTuple

from .. import ast
from ..facts import BY_NAME, WORDS, FactSpec, words_for
from ..interval import NONNEGATIVE, REALS, UNIT, Interval, inf
from ..source import Source
from ..suggest import closest
from ..types import (
    CAMERA,
    DEPTH,
    FLAG,
    IMAGE,
    MAP,
    NORMALS,
    NUMBER,
    REGION,
    STATE,
    STEP,
    TENSOR,
    VIEW,
    Fact,
    Facts,
    Kind,
    Origin,
    gaussians,
    per_image,
)
from . import hints
from .report import Reporter

NAMED: dict[str, tuple[Kind, Interval]] = {
    "scalar": (NUMBER, REALS),
    "image": (IMAGE, REALS),
    "map": (MAP, REALS),
    "depth": (DEPTH, NONNEGATIVE),
    "normals": (NORMALS, Interval(-1, 1)),
    "region": (REGION, UNIT),
    "view": (VIEW, REALS),
}
HOST: dict[str, tuple[Kind, Interval]] = {
    "steps": (NUMBER, Interval(0, inf)),
    "number": (NUMBER, REALS),
    "flag": (FLAG, UNIT),
}
EXTERN_ONLY: dict[str, Kind] = {"state": STATE, "camera": CAMERA}
DIMENSION = re.compile(r"[A-Z][A-Z0-9]*$")


class Declared(NamedTuple):
    """What a kind expression says."""

    kind: Kind
    range: Interval
    stage: int
    facts: Facts
    same: bool = False


class KindReader:
    """Reads kinds; mistakes are reported and give None."""

    def __init__(self, report: Reporter, source: Source) -> None:
        self.report, self.source = report, source

    def read(self, node: ast.KindExpr, *, input_name: str = "", range_: Interval | None = None) -> Declared | None:
        """A kind. ``input_name`` is set for inputs, which must say everything; externs may leave facts open."""
        if node.element is not None:
            return self._list(node, input_name, range_)
        if node.name is None:
            return self._dimensions(node, range_)
        name = node.name.text
        if name in HOST or (name in EXTERN_ONLY and not input_name):
            if node.attributes:
                self._odd_word(node, name, ())
                return None
            if name in EXTERN_ONLY:
                return Declared(EXTERN_ONLY[name], REALS, TENSOR, {})
            kind, full = HOST[name]
            return Declared(kind, range_ or full, STEP, {})
        if name == "index":
            return self._index(node)
        if name not in NAMED:
            self._unknown(node.name, not input_name)
            return None
        kind, full = NAMED[name]
        if kind == VIEW:
            return self._view(node)
        facts = self._facts(node, name, input_name)
        return None if facts is None else Declared(kind, range_ or full, TENSOR, facts)

    def _list(self, node: ast.KindExpr, input_name: str, range_: Interval | None) -> Declared | None:
        assert node.element is not None
        assert node.name is not None
        if node.name.text != "list":
            help_ = ["several tensors are a `list of` their kind"]
            self.report.emit(
                "NAM014", f"there is no kind `{node.name.text} of`", self.source, node.name.span, help=help_
            )
            return None
        element = self.read(node.element, input_name=input_name, range_=range_)
        if element is None:
            return None
        if element.kind.name == "list" or element.stage != TENSOR:
            message = "a list holds tensors or views, not lists or numbers"
            self.report.emit("NAM014", message, self.source, node.element.span)
            return None
        return Declared(Kind("list", element=element.kind), element.range, TENSOR, element.facts, element.same)

    def _dimensions(self, node: ast.KindExpr, range_: Interval | None) -> Declared | None:
        words = [w.text for w in node.attributes]
        for word in node.attributes:
            text = word.text
            if not (DIMENSION.match(text) or (text.isdigit() and 0 < int(text) < 1 << 20)):
                help_ = ["dimensions are capital letters such as B H W N K, or whole numbers such as 3"]
                self.report.emit("NAM014", f"`{text}` is not a dimension", self.source, word.span, help=help_)
                return None
        kind = kind_of_dimensions(words)
        if kind is None:
            message = f"`[{' '.join(words)}]` has a number before a letter"
            help_ = ["sizes that are fixed stand last, as in `[N 3]`"]
            self.report.emit("NAM014", message, self.source, node.span, help=help_)
            return None
        return Declared(kind, range_ or REALS, TENSOR, {})

    def _index(self, node: ast.KindExpr) -> Declared | None:
        words = [w.text for w in node.attributes]
        if len(words) not in (1, 2) or not all(DIMENSION.match(w) for w in words):
            help_ = ["write `index [N K]`: for each gaussian the rows of K others"]
            message = "an index has one or two dimensions, of which each is a letter"
            self.report.emit("NAM014", message, self.source, node.span, help=help_)
            return None
        space = "gaussians" if words == ["N"] else " ".join(words)
        return Declared(Kind("index", space), NONNEGATIVE, TENSOR, {})

    def _view(self, node: ast.KindExpr) -> Declared | None:
        words = [w.text for w in node.attributes]
        if words not in ([], ["same"]):
            self._odd_word(node, "view", ("same",))
            return None
        return Declared(VIEW, REALS, TENSOR, {}, same=bool(words))

    def _facts(self, node: ast.KindExpr, name: str, input_name: str) -> Facts | None:
        found: dict[str, Fact] = {}
        for word in node.attributes:
            spec = WORDS.get(word.text)
            if spec is None or name not in spec.kinds:
                self._odd_word(node, name, tuple(words_for(name)), word)
                return None
            if spec.name in found:
                message = f"`{word.text}` and `{found[spec.name].value}` exclude each other"
                self.report.emit("NAM014", message, self.source, word.span, help=["keep one of the two"])
                return None
            found[spec.name] = Fact(word.text, Origin(self.source, word.span))
        if not input_name:
            return found
        origin = Origin(self.source, node.span)
        for spec in BY_NAME.values():
            unknown = spec.name == "measure" and found.get("unit", Fact("")).value == "relative"
            if name in spec.kinds and spec.name not in found and spec.name != "role" and not unknown:
                if spec.stated:
                    self._must_state(node, spec, input_name)
                    return None
                found[spec.name] = Fact(spec.words[0], origin)
        if name == "region":
            found["role"] = Fact("validity", origin)
        return found

    def _must_state(self, node: ast.KindExpr, spec: FactSpec, input_name: str) -> None:
        words = " or ".join(f"`{w}`" for w in spec.words)
        written = ", ".join([*(w.text for w in node.attributes), spec.words[0]])
        self.report.emit(
            "DEP004",
            f"`{input_name}` must say whether it is {words}",
            self.source,
            node.span,
            notes=[spec.doc],
            help=[f"write `{node.name.text if node.name else ''}[{written}]` or the other"],
        )

    def _odd_word(self, node: ast.KindExpr, name: str, words: tuple[str, ...], at: ast.Ident | None = None) -> None:
        at = at or node.attributes[0]
        near = closest(at.text, list(words))
        help_ = f"did you mean `{near[0]}`?" if near else f"its words are {', '.join(f'`{w}`' for w in words)}"
        help_ = hints.fact(at.text, name) or help_
        about = {"normals": "normals", "depth": "depth", "image": "an image"}.get(name, f"a {name}")
        message = f"`{at.text}` says nothing about {about}" if words else f"`{name}` takes no words in brackets"
        self.report.emit("NAM014", message, self.source, at.span, help=[help_] if words else ())

    def _unknown(self, name: ast.Ident, extern: bool) -> None:
        names = [*NAMED, *HOST, "index", "list of", *(EXTERN_ONLY if extern else ())]
        near = closest(name.text, names)
        help_ = f"did you mean `{near[0]}`?" if near else f"the kinds are {', '.join(names)}, and lists of dimensions"
        help_ = hints.kind(name.text) or help_
        self.report.emit("NAM014", f"there is no kind `{name.text}`", self.source, name.span, help=[help_])


def kind_of_dimensions(words: list[str]) -> Kind | None:
    """The kind of a dimension list such as ``[B H W 16]``; None if a fixed size stands before a letter."""
    letters = [w for w in words if not w.isdigit()]
    if words[: len(letters)] != letters or len(words) - len(letters) > 1:
        return kind_of_fixed(words)
    components: int | str = int(words[-1]) if len(letters) < len(words) else 1
    if letters[:3] == ["B", "H", "W"] and len(letters) <= 4:
        if len(letters) == 4:
            components = letters[3] if components == 1 else components
        return Kind("image" if components == 3 else "map", "pixels", components)
    if letters == ["N"]:
        return gaussians(components)
    if letters == ["B"]:
        return per_image(components)
    return Kind("tensor", " ".join(letters), components)


def kind_of_fixed(words: list[str]) -> Kind | None:
    """Dimension lists with several fixed sizes, such as ``[B 3 4]``: only the last is components."""
    fixed = [w.isdigit() for w in words]
    if len(words) < 2 or not fixed[-1] or fixed != sorted(fixed):
        return None
    return Kind("tensor", " ".join(words[:-1]), int(words[-1]))
