"""The inputs of a file: the arguments of its call, and how each becomes what a graph reads."""

from __future__ import annotations

from collections.abc import Iterable

from ..dsl.builtins.shapes import letters
from ..dsl.inputs import BY_NAME, CAMERA_FIELDS, HOST_SIZES, LENS, PAYLOAD_FIELDS, RENDERED
from ..dsl.typed import InputInfo, TypedProgram
from ..dsl.types import FLAG, NUMBER, STEP, VIEW, Kind
from .call import base_name
from .specialise import BACKGROUND_IMAGE
from .standalone_sources import Sources

FIRST = ("rendered", "target", "mask", "state")
"""The arguments that every call has, in their order."""
_KIT = f"{__package__}.standalone_kit"


class InputText:
    """Prints what makes the inputs of a program of the arguments of a call.

    Args:
        program: the checked program.
        sources: takes the functions that are called.
        arguments: the name of the argument that an input comes by.
    """

    def __init__(self, program: TypedProgram, sources: Sources, arguments: dict[str, str]) -> None:
        self.program, self.sources, self._arguments = program, sources, arguments
        self.used: dict[str, str] = {}
        """Arguments that were asked for, by the name of their input."""

    def argument(self, name: str) -> str:
        """The argument that an input comes by."""
        if name not in FIRST:
            self.used[name] = self._arguments.get(name, name.replace(".", "_"))
        return self.used.get(name, name)

    def kit(self, name: str) -> str:
        """The name of one of the functions that are copied along."""
        return self.sources.use(_KIT, name)

    def declared(self, name: str) -> InputInfo | None:
        """The declaration of an input, of an item of a list, or of a field of a view."""
        return self.program.inputs.get(base_name(name)[1].partition("[")[0])

    def kind(self, name: str) -> Kind:
        """What an input looks like."""
        base, info = base_name(name)[1], self.declared(name)
        if info is not None:
            return info.kind.element if "[" in base and info.kind.element is not None else info.kind
        if base.startswith("state."):
            return next((s.kind for s in BY_NAME.values() if f"state.{s.raw[0]}" == base), NUMBER)
        return BY_NAME[base].kind

    def text(self, name: str) -> str:
        """The expression that makes an input of the arguments; it is None where it was not given."""
        if name == BACKGROUND_IMAGE:
            argument = self.argument("background")
            return f'getattr({argument}, "ndim", 0) > 2 or None'
        base, info = base_name(name)[1], self.declared(name)
        if info is not None and info.stage == STEP:
            return f'{self.kit("as_plain")}("{name}", {self.argument(name)}, {info.kind == FLAG})'
        if name == "background":
            return f"{self.kit('as_background')}({self.argument(name)})"
        value, kind = self._value(name), self.kind(name)
        if kind.name in ("state", "camera", "list") or kind == VIEW:
            return value
        components = int(kind.components) if isinstance(kind.components, int) else -1
        if kind == NUMBER:
            return f'{self.kit("as_scalar")}("{name}", {value})'
        if kind.name == "index":
            return f'{self.kit("as_index")}("{name}", {value}, {len(letters(kind)) + (kind.components != 1)})'
        if kind.layout == "gaussians":
            return f'{self.kit("as_rows")}("{name}", {value}, {components})'
        if kind.layout == "pixels":
            counts = ", counts=True" if info is not None and info.range.hi > 1 else ""
            plain = base == "mask" or (info is not None and components == 1)
            return f'{self.kit("as_pixels")}("{name}", {value}, {components}{", plain=True" if plain else ""}{counts})'
        image = ", per_image=True" if kind.layout == "images" else ""
        return f'{self.kit("as_array")}("{name}", {value}, {len(letters(kind))}, {components}{image})'

    def _value(self, name: str) -> str:
        view, base = base_name(name)
        record = self._record(view.rstrip(".")) if view else ""
        if base.startswith("state."):
            state = f'{self.kit("field_of")}({record}, "state")' if view else self.argument("state")
            return f'{self.kit("parameter_of")}({state}, "{base.partition(".")[2]}")'
        if base.startswith("camera."):
            return self._camera(
                f'{self.kit("field_of")}({record}, "camera")' if view else self.argument("camera"), base
            )
        if view:
            names = ", ".join(f'"{n}"' for n in (RENDERED if base == "rendered" else PAYLOAD_FIELDS.get(base, (base,))))
            return f"{self.kit('field_of')}({record}, {names})"
        return self._record(base)

    def _record(self, name: str) -> str:
        root, _, index = name.partition("[")
        argument = self.argument(root)
        return f"{self.kit('item_of')}({argument}, {index.rstrip(']')})" if index else argument

    def _camera(self, record: str, base: str) -> str:
        field = base.partition(".")[2]
        if field in CAMERA_FIELDS:
            return f"{self.kit('matrix_of')}({record}, {', '.join(repr(n) for n in CAMERA_FIELDS[field])})".replace(
                "'", '"'
            )
        if field in LENS:
            row, column = LENS[field]
            return f'{self.kit("lens_of")}({record}, "{field}", {row}, {column})'
        return (
            f"{self.kit('position_of')}({record})"
            if field == "position"
            else f'{self.kit("field_of")}({record}, "{field}")'
        )

    def alike(self, names: Iterable[str]) -> list[tuple[int, list[str]]]:
        """Inputs that have the same pixels or gaussians, each group with how many dimensions they share."""
        groups: dict[tuple[str, str], list[str]] = {}
        for name in names:
            info = self.declared(name)
            if name == BACKGROUND_IMAGE or (info is not None and info.stage == STEP):
                continue
            kind = self.kind(name)
            if kind.layout in ("pixels", "gaussians") and kind.element is None:
                groups.setdefault((base_name(name)[0], kind.layout), []).append(name)
        return [(3 if layout == "pixels" else 1, g) for (_, layout), g in groups.items() if len(g) > 1]

    def is_image(self, name: str) -> bool:
        """Whether an input is an image or map of the render itself."""
        info = self.declared(name)
        plain = (
            name == BACKGROUND_IMAGE or "." in name.replace("depth.", "") or (info is not None and info.stage == STEP)
        )
        return not plain and self.kind(name).layout == "pixels" and self.kind(name).element is None

    def places(self, letter: str) -> list[tuple[str, int]]:
        """The inputs whose size a letter is, each with its dimension."""
        if letter == "N":
            first = [("state.means", 0)]
        else:
            first = [(n, "BHW".index(letter)) for n in ("rendered", "target", "mask") if letter in HOST_SIZES]
        for name in self.program.inputs:
            kind = self.kind(name)
            if kind.element is None and kind.is_tensor and kind != VIEW and not kind.view:
                words = [*letters(kind), *([kind.components] if isinstance(kind.components, str) else [])]
                if letter in words:
                    first.append((name, words.index(letter)))
        return first

    def otherwise(self, letter: str) -> bool:
        """Whether a size may be missing, as it is one of optional inputs alone."""
        owners = [info for info in self.program.inputs.values() if letter in info.kind.dims]
        return bool(owners) and all(info.optional for info in owners)


def in_order(names: Iterable[str]) -> list[str]:
    """Inputs as a reader expects them: what every loss has first."""
    order = {name: i for i, name in enumerate((*FIRST, *BY_NAME))}
    return sorted(set(names), key=lambda n: (order.get(n.partition("state.")[0] + n, order.get(n, 1000)), n))
