"""The names that a caller has for what a loss reads: `bind=` of `load`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.inputs import BY_NAME, PAYLOAD_FIELDS, RENDERED
from ..dsl.source import Source, Span
from ..dsl.suggest import did_you_mean
from ..dsl.typed import TypedProgram

LAYOUTS = ("BHWC", "BCHW")
"""How pixels are given: components last, or first."""

WHOLE = ("state", "render", "item")
"""Arguments of a call that hold others."""
STATE = tuple(dict.fromkeys(f"state.{spec.raw[0]}" for spec in BY_NAME.values() if spec.raw[0]))
CAMERA = tuple(name for name in BY_NAME if name.startswith("camera."))
OF_ITEM = ("target", "mask", "background", "camera")

Source_ = str | Callable[[Any], Any]
"""The name of a field or argument, or what makes the value of the record that the caller gives."""


class Renamed(Mapping[str, Any]):
    """A record whose fields are read under other names; those that are not renamed are read as they are.

    Args:
        record: a mapping or an object.
        fields: for names as the loss reads them what there is instead: a name, or a function of the record.
    """

    def __init__(self, record: Any, fields: Mapping[str, Source_]) -> None:
        self.record, self.fields = record, fields

    def __getitem__(self, name: str) -> Any:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """The value under a name of the loss; the default where there is none."""
        source = self.fields.get(name, name)
        value = source(self.record) if callable(source) else _read(self.record, source)
        return default if value is None else value

    def __iter__(self) -> Iterator[str]:
        keys = getattr(self.record, "keys", None)  # `torch.nn.ParameterDict` is no mapping, but has them
        own = list(keys() if callable(keys) else vars(self.record))
        taken = {source for source in self.fields.values() if isinstance(source, str)}
        named = [name for name in self.fields if self.get(name) is not None]
        return iter([*named, *(name for name in own if name not in taken and name not in self.fields)])

    def __len__(self) -> int:
        return len(list(iter(self)))


class Names:
    """What the caller's names are, for one program.

    Args:
        program: the checked program.
        bind: by our name the caller's: a name, or a function of the record that the caller gives.

    Raises:
        LossError: BND009, a name that the language does not have, or no name at all.
    """

    def __init__(self, program: TypedProgram, bind: Mapping[str, Source_] | None = None) -> None:
        self.bind = dict(bind or {})
        self.program = program
        buffers = [*WHOLE, "rendered", *OF_ITEM, *CAMERA, *STATE, *PAYLOAD_FIELDS]
        known = list(dict.fromkeys([*program.inputs, *buffers]))
        for name, source in self.bind.items():
            if name not in known:
                raise LossError([_problem(name, source, f"there is no input `{name}`", _near(name, known))])
            if not (isinstance(source, str) and source) and not callable(source):
                kind = type(source).__name__
                message = f"`{name}` must be bound to a name or a function, not to a value of type {kind}"
                raise LossError([_problem(name, source, message, f'write bind={{"{name}": "their_name"}}')])
            if name in WHOLE and callable(source):
                inner = {"state": "state.means", "render": "rendered", "item": "target"}[name]
                help_ = f'bind what is in it, such as bind={{"{inner}": function}}'
                raise LossError([_problem(name, source, f"`{name}` can only have another name", help_)])
        self._render = {PAYLOAD_FIELDS[n][0]: s for n, s in self.bind.items() if n in PAYLOAD_FIELDS}
        self._item = {n: s for n, s in self.bind.items() if n in OF_ITEM or n in program.inputs}
        self._state = {n.partition(".")[2]: s for n, s in self.bind.items() if n in STATE}
        self._camera = {n.partition(".")[2]: s for n, s in self.bind.items() if n in CAMERA}
        self._ours = {s: n for n, s in self.bind.items() if isinstance(s, str)}
        view = {**self._render, **self._item}
        if "rendered" in self.bind:
            view[RENDERED[0]] = self.bind["rendered"]
        self._view = view

    def __bool__(self) -> bool:
        return bool(self.bind)

    @property
    def theirs(self) -> tuple[str, ...]:
        """The caller's names."""
        return tuple(self._ours)

    def keywords(self, given: Mapping[str, Any], buffers: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments of a call, and its other keyword arguments, by our names.

        Raises:
            LossError: BND009, a value was given under both names.
        """
        given, left = dict(given), dict[str, Any]()
        parts: dict[str, dict[str, Any]] = {"state": {}, "camera": {}}
        renamed = {name for name in buffers if name in self._ours and name not in self.program.inputs}
        left.update((name, value) for name, value in buffers.items() if name not in renamed)
        # Whole records first: fields of one that was given are given twice.
        for name in sorted(renamed, key=lambda name: ("." in self._ours[name], name)):
            ours, value = self._ours[name], buffers[name]
            record, _, field = ours.partition(".")
            inside = bool(field) and record in parts
            place = given if ours in given else left
            if (given if record in given else left).get(record if inside else ours) is not None:
                message = f"`{ours}` was given twice, also as `{name}`"
                raise LossError([_problem(ours, name, message, "give it once, under either name")])
            if inside:
                parts[record][name] = value
            else:
                place[ours] = value
        given.update({"state": parts["state"]} if parts["state"] else {})
        left.update({"camera": parts["camera"]} if parts["camera"] else {})
        return given, left

    def records(self, given: Mapping[str, Any], item: Any = None) -> dict[str, Any]:
        """The arguments of a call whose records are read under our names, with the rendered image among them.

        Where fields of the camera have names and no camera was given, they are looked up in ``item`` itself.
        """
        found = dict(given)
        if self._camera and found.get("camera") is None:
            found["camera"] = item
        render = found.get("render")
        if render is not None:
            if found.get("rendered") is None and "rendered" in self.bind:
                found["rendered"] = Renamed(render, self._view).get(RENDERED[0])
            found["render"] = Renamed(render, {**self._render, **self._camera})
        for name, fields in (("state", self._state), ("camera", self._camera)):
            if fields and found.get(name) is not None:
                inner = found[name]
                if name == "state" and not isinstance(inner, Mapping):
                    inner = getattr(inner, "params", inner)
                found[name] = Renamed(inner, fields)
        for name, info in self.program.inputs.items():
            kind, value = info.kind, found.get(name)
            if kind.name == "view" and value is not None:
                found[name] = Renamed(value, self._view)
            elif kind.element is not None and kind.element.name == "view" and isinstance(value, (list, tuple)):
                found[name] = [Renamed(v, self._view) for v in value]
        return found

    def item(self, item: Any) -> Any:
        """A training item, read under our names."""
        return item if item is None or not self._item else Renamed(item, self._item)

    def hint(self, name: str) -> str:
        """What an input is bound to, as a help where it is missing; "" if it is not bound."""
        source = self.bind.get(name)
        if source is None:
            return ""
        if callable(source):
            return f"`bind` makes `{name}` with a function, which was not called or gave None"
        return f"`{name}` is bound to `{source}`, which is neither among the arguments nor in what they hold"


def as_given(record: Any) -> Any:
    """A record as the caller gave it, for functions of the caller."""
    return record.record if isinstance(record, Renamed) else record


def check_layout(layout: str) -> str:
    """The layout, if there is such a one.

    Raises:
        LossError: BND009.
    """
    if layout not in LAYOUTS:
        help_ = did_you_mean(str(layout), LAYOUTS) or f"the layouts are {' and '.join(LAYOUTS)}"
        source = Source(f"layout={layout!r}", "<call>")
        message = f"there is no layout `{layout}`"
        raise LossError([Diagnostic("BND009", message, source, Span(0, len(source.text)), help=[help_])])
    return layout


def _near(name: str, known: list[str]) -> str:
    return did_you_mean(name, known) or f"the names are {', '.join(known)}"


def _problem(name: str, source: object, message: str, help_: str) -> Diagnostic:
    shown = getattr(source, "__name__", None) if callable(source) else repr(source)
    text = Source(f"bind={{{name!r}: {shown}}}", "<call>")
    return Diagnostic("BND009", message, text, Span(0, len(text.text)), help=[help_])


def _read(record: Any, name: str) -> Any:
    if record is None:
        return None
    if isinstance(record, Mapping):
        return record.get(name)
    found = getattr(record, name, None)
    if found is None and hasattr(record, "__getitem__"):  # such as `torch.nn.ParameterDict`
        try:
            found = record[name]
        except (KeyError, TypeError, IndexError):
            return None
    return found
