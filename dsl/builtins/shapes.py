"""Kinds that the notation of signatures cannot say: dimensions that go, other sizes, names of dimensions in texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..facts import BY_NAME
from ..types import LETTERS, NUMBER, Kind, arithmetic_kind
from .spec import Problem

if TYPE_CHECKING:
    from ..typed import Expr

Args = Mapping[str, Sequence["Expr"]]
Check = Callable[[Args], "Problem | None"]


def letters(kind: Kind) -> list[str]:
    """The dimensions of a kind but for its components: ``["B", "H", "W"]``; [] for numbers."""
    found: list[str] = []
    for word in kind.layout.split():
        found += LETTERS.get(word, word).split()
    return found


def dimensions(kind: Kind) -> list[str]:
    """All dimensions of a kind that have a letter, components included."""
    return letters(kind) + ([kind.components] if isinstance(kind.components, str) else [])


def axis(kind: Kind, letter: str) -> int:
    """Where a dimension is in a tensor of this kind, counted from the end; the components are last, at -1.

    Of pixels, X is W and Y is H.
    """
    if kind.layout == "pixels":
        letter = {"X": "W", "Y": "H"}.get(letter, letter)
    return -1 if letter == kind.components else letters(kind).index(letter) - len(letters(kind)) - 1


def _space(of: Sequence[str], view: str) -> str:
    named = {"B H W": "pixels", "N": "gaussians", "B": "images"}
    text = " ".join(of)
    text = named.get(text, text)
    return f"{view}:{text}" if view and text in named.values() else text


def without_dimension(kind: Kind, letter: str) -> Kind:
    """The kind that is left when a dimension is reduced."""
    if letter == kind.components:
        return arithmetic_kind(kind.space, 1)
    left = [word for word in letters(kind) if word != letter]
    if not left:
        return NUMBER if kind.components == 1 else Kind("tensor", str(kind.components), 1)
    return arithmetic_kind(_space(left, kind.view), kind.components)


def reduced(args: Mapping[str, Expr]) -> Kind:
    """A number, or what is left without the dimension of ``over``."""
    over = args.get("over")
    return NUMBER if over is None else without_dimension(args["x"].type.kind, str(over.value))


def statistic(args: Mapping[str, Expr]) -> Kind:
    """One value per image of pixels, a number of anything else, or what is left without the dimension of ``over``."""
    kind = args["x"].type.kind
    if "over" in args:
        return reduced(args)
    return Kind("images", _space(["B"], kind.view), 1) if kind.layout == "pixels" else NUMBER


def written(e: Expr) -> str:
    """A number by which a kind is told from others: its value, or its text where it can change."""
    at = e.type.range
    return f"{at.lo:g}" if at.is_point else "".join(e.source.slice(e.span).split())


def at_scale(space: str, factor: str) -> str:
    """The space of as many images at another size: `pixels` of a render that is ``factor`` times as large."""
    view, _, layout = space.rpartition(":")
    view, _, before = view.rpartition("scale ") if "scale " in view else (view, "", "1")
    view, factor = view.strip(), _times(before, factor)
    if factor != "1":
        view = f"{view} scale {factor}".strip()
    return f"{view}:{layout}" if view else layout


def _times(a: str, b: str) -> str:
    """The product of two factors: the numbers as one, then the texts in order."""
    number, texts = 1.0, []
    for part in (*a.split("*"), *b.split("*")):
        try:
            number *= float(part)
        except ValueError:
            texts.append(part)
    return "*".join([*([f"{number:g}"] if number != 1 or not texts else []), *sorted(texts)])


def rescaled(kind: Kind, factor: str) -> Kind:
    """The kind of an image at another size."""
    return Kind(kind.name, at_scale(kind.space, factor), kind.components)


# Checks of arguments that the notation cannot express


def wrong(at: Expr, message: str, help_: str, code: str = "TYP001") -> Problem:
    """A finding about one argument."""
    return Problem(code, message, at, help_)


def check_over(args: Args) -> Problem | None:
    """``over`` names a dimension of ``x``."""
    if "over" not in args:
        return None
    over, kind = args["over"][0], args["x"][0].type.kind
    known = dimensions(kind)
    if over.value in known:
        return None
    listed = ", ".join(f'"{letter}"' for letter in known) or "none"
    return wrong(over, f"{kind.describe()} has no dimension `{over.value}`", f"its dimensions are: {listed}")


def check_axes(args: Args) -> Problem | None:
    """``axes`` or ``axis`` names dimensions along which ``x`` has neighbours."""
    kind = args["x"][0].type.kind
    axes = next((args[name][0] for name in ("axes", "axis") if name in args), None)
    wanted = mode(axes, "yx").upper()
    return _neighbours(args["x"][0], kind, wanted)


def check_axis(letter: str) -> Check:
    """A check that ``x`` has neighbours along one dimension."""

    def check(args: Args) -> Problem | None:
        return _neighbours(args["x"][0], args["x"][0].type.kind, letter)

    return check


def _neighbours(at: Expr, kind: Kind, wanted: str) -> Problem | None:
    known = ["Y", "X"] if kind.layout == "pixels" else letters(kind)
    missing = [letter for letter in wanted if letter not in known]
    if not missing:
        return None
    help_ = "differences between neighbours are of images and maps, or of grids declared with X, Y, Z or T"
    return wrong(at, f"{kind.describe()} has no neighbours along {missing[0].lower()}", help_)


def check_components(**wanted: int) -> Check:
    """A check that arguments have so many components."""

    def check(args: Args) -> Problem | None:
        for name, number in wanted.items():
            at = args[name][0]
            found = at.type.kind.components
            if isinstance(found, int) and found != number:
                what = "one component" if number == 1 else f"{number} components"
                help_ = "take one component, as in `x.r`, or `gray(x)` of an image" if number == 1 else f"give {what}"
                return wrong(at, f"`{name}` needs {what}, but this has {found}", help_, "TYP004")
        return None

    return check


def written_out(*names: str, decides: str = "which pixels have a value") -> Check:
    """A check that arguments are numbers in the text, because they decide what a value looks like."""

    def check(args: Args) -> Problem | None:
        for name in names:
            if name in args and not args[name][0].type.range.is_point:
                message = f"`{name}` decides {decides}, so it must be written out"
                return wrong(args[name][0], message, "write a number")
        return None

    return check


def pixels_only(*names: str) -> Check:
    """A check that regions are of pixels, where the signature only asks for a region."""

    def check(args: Args) -> Problem | None:
        for name in names:
            if name in args and args[name][0].type.kind.layout not in ("pixels", "any"):
                at = args[name][0]
                return wrong(
                    at, f"`{name}` must be a region of pixels, which have neighbours", "give a region of pixels"
                )
        return None

    return check


def wants(name: str, **facts: tuple[str, ...]) -> Check:
    """A check that an argument, where it says what it means, means one of these."""

    def check(args: Args) -> Problem | None:
        at = args[name][0]
        for fact, accepted in facts.items():
            found = at.type.facts.get(fact)
            if found is not None and found.value not in accepted:
                spec = BY_NAME[fact]
                message = f"this needs {accepted[0]} depth, but `{name}` is {found.value}"
                return wrong(at, message, spec.convert.get(accepted[0], ""), spec.code)
        return None

    return check


def all_of(*checks: Check) -> Check:
    """Several checks; the first finding counts."""

    def check(args: Args) -> Problem | None:
        return next((found for c in checks if (found := c(args)) is not None), None)

    return check


def mode(e: Expr | None, otherwise: str) -> str:
    """The text of a mode argument; ``otherwise`` where a parameter of the program chooses it."""
    return e.value if e is not None and e.op == "const" and isinstance(e.value, str) else otherwise


def whole(e: Expr | None, otherwise: int = 0) -> int:
    """The value of a size argument."""
    return otherwise if e is None or not e.type.range.is_point else int(e.type.range.lo)
