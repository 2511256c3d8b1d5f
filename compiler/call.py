"""How a kernel is called: its arguments as a template, with operands of the graph and constants in their places."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..dsl.builtins.shapes import axis, dimensions
from ..dsl.builtins.spec import Builtin
from ..dsl.inputs import BY_NAME
from ..dsl.types import Kind
from .ir import SCALAR, Shape

REGION_ARGUMENT = "r"
AXES = ("over", "axis", "axes")
"""Arguments that name dimensions by their letters; a kernel gets them as negative indices."""


class Ref(NamedTuple):
    """Stands for an operand of a kernel in the template of its arguments.

    ``shape`` is given where the kernel needs pixels or gaussians and cannot do with a plain number.
    """

    position: int
    shape: Shape | None = None

    def __str__(self) -> str:
        return f"<{self.position}>"


class Call(NamedTuple):
    """The attribute of a kernel node: what to call, and how its operands are passed."""

    kernel: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    empty: float

    def __str__(self) -> str:
        shown = [_show(a) for a in self.args] + [f"{k}={_show(v)}" for k, v in self.kwargs]
        return f"{self.kernel}({', '.join(shown)})"


def _show(item: Any) -> str:
    if isinstance(item, tuple) and not isinstance(item, Ref):
        return f"({', '.join(_show(i) for i in item)})"
    return repr(item) if isinstance(item, str) else str(item)


def needs_shape(record: Builtin, name: str) -> bool:
    """Whether a kernel needs the pixels or gaussians of this argument: all but regions and conditions do."""
    kind = next(p.kind for p in record.parsed.params if p.name == name)
    return kind not in ("region", "condition") and not (kind == "value" and len(record.parsed.params) > 1)


def axes_of(kind: Kind, letters: str, several: bool) -> int | tuple[int, ...]:
    """The dimensions that letters name, counted from the end of a tensor of this kind: ``"yx"`` is (-3, -2)."""
    if several:
        return tuple(axis(kind, letter.upper()) for letter in letters)
    return axis(kind, letters if letters in dimensions(kind) else letters.upper())


def shape_of(kind: Kind) -> Shape:
    """The shape of values of a kind."""
    if not kind.is_tensor or kind.space == "any" or kind.element is not None or kind.fields:
        return SCALAR
    return Shape(kind.space, kind.components if isinstance(kind.components, int) else -1)


def base_name(name: str) -> tuple[str, str]:
    """An input's name as the view that it is read from, with its dot, and what is read: ``near.`` and ``depth``."""
    if name in BY_NAME or ":" in name:
        return "", name
    view, _, field = name.partition(".")
    return (f"{view}.", field) if field else ("", name)


__all__ = ["AXES", "REGION_ARGUMENT", "Call", "Ref", "axes_of", "base_name", "needs_shape", "shape_of"]
