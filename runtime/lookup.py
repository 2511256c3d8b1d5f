"""Where a call has the tensors that a graph reads: arguments, the render's payload, the state, views and lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..compiler.call import base_name
from ..dsl.inputs import BY_NAME, CAMERA_FIELDS, LENS, PAYLOAD_FIELDS, RENDERED
from ..dsl.typed import InputInfo, TypedProgram
from ..dsl.types import NUMBER, Kind, in_view
from .shaping import Misfit, shaped

EXTRA = ("background", "camera")
"""Fixed inputs that come by name alone."""


class Lookup:
    """Finds values by the names of graph inputs, and says what each of them looks like."""

    def __init__(self, program: TypedProgram) -> None:
        self.program = program
        self._kinds: dict[str, Kind] = {}

    def declared(self, name: str) -> InputInfo | None:
        """The declaration of an input, of an item of a list, or of a field of a view."""
        return self.program.inputs.get(base_name(name)[1].partition("[")[0])

    def is_record(self, name: str) -> bool:
        """Whether a declared input is no tensor: a view, a list or a number of the host."""
        info = self.program.inputs.get(name)
        return info is not None and (
            info.kind.name == "view" or info.kind.element is not None or not info.kind.is_tensor
        )

    def kind(self, name: str) -> Kind:
        """What a graph input looks like."""
        found = self._kinds.get(name)
        if found is None:
            found = self._kinds[name] = self._kind(name)
        return found

    def _kind(self, name: str) -> Kind:
        if name.startswith("memory:"):
            return self.program.memories[name.partition(":")[2]].type.kind
        view, base = base_name(name)
        info = self.declared(name)
        if info is not None:
            kind = info.kind.element if "[" in base and info.kind.element is not None else info.kind
        elif base.startswith("state."):
            kind = next((s.kind for s in BY_NAME.values() if f"state.{s.raw[0]}" == base), NUMBER)
        else:
            kind = BY_NAME[base].kind
        owner = self.program.inputs.get(view.rstrip(".").partition("[")[0])
        shares = owner is not None and owner.same
        return in_view(kind, "" if shares and kind.layout != "gaussians" else view.rstrip("."))

    def find(self, name: str, given: Mapping[str, Any]) -> Any:
        """The value of a graph input; None where the call has none."""
        view, base = base_name(name)
        if view:
            record = _item(view.rstrip("."), given)
            return None if record is None else self.find(base, ViewFields(record))
        if "[" in name:
            return _item(name, given)
        if name in ("rendered", "target", "mask"):
            return given.get(name)
        render = given.get("render")
        if name.startswith("state."):
            return _of_state(given.get("state"), name.partition(".")[2])
        if name.startswith("camera."):
            return _of_camera(given, name.partition(".")[2])
        if given.get(name) is not None:
            return given[name]
        if name in self.program.inputs or name in EXTRA:
            return None
        if name == "radii":
            radii = _read(render, "radii")
            return radii if not isinstance(radii, Tensor) else _largest(radii)
        if name == "visible" and _read(render, "visible") is None:
            radii = given.get("radii")
            return _visible(radii if radii is not None else _read(render, "radii"))
        for field in PAYLOAD_FIELDS[name]:
            value = _read(render, field)
            if value is not None and not (field == "depths" and _of_gaussians(value, render)):
                return value
        if name == "depth":
            accumulated, alpha = _read(render, "depths_accumulated"), self.find("alpha", given)
            if accumulated is not None and alpha is not None:
                return _over(accumulated, alpha)
        return None


class ViewFields(Mapping[str, Any]):
    """A second render as it was given, a mapping or an object, read like the arguments of a call."""

    def __init__(self, record: Any) -> None:
        self.record = record

    def __getitem__(self, key: str) -> Any:
        if key == "render":
            return self.record
        fields = RENDERED if key == "rendered" else (key,)
        return next((v for f in fields if (v := _read(self.record, f)) is not None), None)

    def __iter__(self) -> Iterator[str]:
        return iter(self.record if isinstance(self.record, Mapping) else vars(self.record))

    def __len__(self) -> int:
        return len(list(iter(self)))


def _item(name: str, given: Mapping[str, Any]) -> Any:
    """A view, or an item of a list such as ``planes[2]``."""
    root, _, index = name.partition("[")
    value = given.get(root)
    if value is None or not index:
        return value
    return value[int(index.rstrip("]"))]


def _of_state(state: Any, field: str) -> Any:
    if state is None:
        return None
    params = getattr(state, "params", state)
    try:
        return params[field]
    except (KeyError, TypeError, IndexError):
        return None


def _of_camera(given: Mapping[str, Any], field: str) -> Any:
    """A field of the camera: from the camera that was given, or the render, and what follows from the matrices."""
    camera = given.get("camera")
    sources = [camera, given.get("render")]
    for source in sources:
        for name in CAMERA_FIELDS.get(field, (field,)):
            value = _read(source, name)
            if value is not None:
                return _batched(value, field)
    if field in LENS:
        matrix = _matrix(given, "intrinsics")
        row, column = LENS[field]
        return None if matrix is None else matrix[:, row, column]
    if field == "position":
        matrix = _matrix(given, "extrinsics")
        if matrix is None:
            return None
        # The transpose times the shift: sums over rows, which stay in full precision on every device.
        return -(_wide(matrix[:, :3, :3]) * _wide(matrix[:, :3, 3:])).sum(1)
    return None


def _matrix(given: Mapping[str, Any], field: str) -> Any:
    """A matrix of the camera that something is read from.

    Raises:
        Misfit: it is no matrix, or one of another size.
    """
    found = _of_camera(given, field)
    name = f"camera.{field}"
    if found is not None and not isinstance(found, Tensor):
        raise Misfit("BND002", f"`{name}` must be a torch tensor, not {type(found).__name__}")
    return None if found is None else shaped(name, BY_NAME[name].kind, found, None)


def _batched(value: Any, field: str) -> Any:
    if isinstance(value, Tensor) and field in CAMERA_FIELDS and value.dim() == 2:
        return value.unsqueeze(0)
    return value


def _read(record: Any, field: str) -> Any:
    if record is None:
        return None
    if isinstance(record, Mapping):
        return record.get(field)
    return getattr(record, field, None)


def _of_gaussians(depths: Any, render: Any) -> bool:
    """Whether ``depths`` are those of gaussians, one for each projected centre, as in gsplat's `meta` and splatkit."""
    centres = _read(render, "means2d")
    return isinstance(depths, Tensor) and isinstance(centres, Tensor) and depths.shape == centres.shape[:-1]


def _wide(x: Tensor) -> Tensor:
    """At least float32, in which everything is computed."""
    return x if x.dtype == torch.float64 else x.float()


def _over(accumulated: Tensor, alpha: Tensor) -> Tensor:
    """Expected depth from accumulated depth and coverage; 0, with zero gradient, where nothing is drawn."""
    accumulated, alpha = _wide(accumulated), _wide(alpha)
    drawn = alpha > 0
    return torch.where(drawn, accumulated, 0.0) / torch.where(drawn, alpha, 1.0).clamp(min=1e-10)


def _largest(radii: Tensor) -> Tensor:
    """`[N]` from radii `[B, N, 2]`, `[B, N]` or `[N]`: the largest in any view."""
    largest = radii.amax(dim=-1) if radii.dim() == 3 else radii
    return (largest.amax(dim=0) if largest.dim() == 2 else largest).to(torch.float32)


def _visible(radii: Any) -> Any:
    """`[N]` from radii `[B, N, 2]`, `[B, N]` or `[N]`: 1 where a gaussian is drawn in any view."""
    if not isinstance(radii, Tensor):
        return None
    drawn = radii > 0
    if drawn.dim() == 3:
        drawn = drawn.all(dim=-1)
    return (drawn.any(dim=0) if drawn.dim() == 2 else drawn).to(torch.float32)


def item_field(item: Any, names: tuple[str, ...]) -> Any:
    """The first of several fields that an item has, by key or by attribute."""
    for name in names:
        value = item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)
        if value is not None:
            return value
    return None
