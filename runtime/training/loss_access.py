"""What the trainer asks of a loss function, be it compiled or written in Python."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...dsl.diagnostics import Diagnostic, LossError
from ...dsl.live import Zeros, where_read
from ...dsl.source import Source, Span
from ...dsl.typed import TypedProgram
from ...dsl.types import TENSOR
from ..data.base import SplatDataItem, SplatDataProvider, ViewListProvider
from ..data.problems import listing
from ..loss_fn import SplatLossFn
from .checkpoint import check_savable
from .config import describe_object, training_error

# Names among `requires()` that a renderer makes; the others come from the item, the state or the host.
BUFFERS = frozenset(
    {
        *("rendered", "alpha", "depth", "depth.accumulated", "depth.median", "depth.inverse"),
        *("normals", "normals_from_depth", "distortion", "visible", "radii"),
    }
)
ALWAYS = frozenset({"rendered", "alpha"})
_FIELDS = {"depths": "points"}  # the depths of sparse points are there where their pixels are


class LossAccess:
    """A loss function with its optional abilities: terms, weights, requirements, state.

    Args:
        loss_fn: the loss function.
        max_steps: length of the run.
        host: numbers of the run by name, see `manifest.RUN_VALUES`.

    Attributes:
        host: those of them that the program declares; all of them for a loss that is no program.
    """

    def __init__(self, loss_fn: SplatLossFn[Any], max_steps: int, host: Mapping[str, float] | None = None) -> None:
        self.fn: Any = loss_fn
        self.max_steps = max_steps
        program = getattr(loss_fn, "program", None)
        declared = program.inputs if isinstance(program, TypedProgram) else None
        self.host = {n: v for n, v in (host or {}).items() if declared is None or n in declared}
        self._told = {} if declared is None else self.host
        parameters = inspect.signature(loss_fn.compute_loss).parameters.values()
        self._named = frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        self._open = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self._keeps, self._listed = bool(getattr(loss_fn, "view_cache", False)), False

    def compute(self, protocol: Mapping[str, Any], extras: Mapping[str, Any]) -> Tensor:
        """Call ``compute_loss``.

        Args:
            protocol: the keyword arguments of `SplatLossFn`; those that the signature leaves out are not passed.
            extras: further ones, passed if the signature names them.

        Raises:
            LossError: RUN016, the result is not a scalar tensor.
        """
        arguments = {name: value for name, value in protocol.items() if self._open or name in self._named}
        extras = {**extras, "host": self.host}
        if self._keeps:
            extras["view"] = self._view(protocol, extras.get("item"))
        arguments.update((name, value) for name, value in extras.items() if name in self._named)
        loss = self.fn.compute_loss(**arguments)
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
            got = f"a tensor {list(loss.shape)} of {loss.dtype}" if isinstance(loss, Tensor) else type(loss).__name__
            raise training_error(
                "RUN016",
                f"`{type(self.fn).__name__}.compute_loss` returned {got}, not a scalar",
                help=("reduce it to one number, for instance with `.mean()`",) if isinstance(loss, Tensor) else (),
            )
        return loss

    def _view(self, protocol: Mapping[str, Any], item: Any) -> Hashable:
        """The name of the view, for what the loss keeps of it; None unless its data is the same each time.

        It is that of one view of a fixed list. A provider that chooses its items in a way of its own may augment them,
        and so may a module that changes images in place; batches are drawn anew.
        """
        if not self._listed or not isinstance(item, SplatDataItem) or len(item.image) != 1:
            return None
        if protocol.get("target_frames") is not item.image or protocol.get("masks") is not item.mask:
            return None
        images = [v for v in (item.image, item.mask, item.depth_map, *item.extras.values()) if v is not None]
        changed = any(v.is_inference() or v._version > 0 for v in images)
        return None if changed else (item.id, item.image_name)

    def buffers(self, step: int, available: frozenset[str]) -> frozenset[str]:
        """What the renderer has to make at a step; everything that it can if the loss does not say."""
        requires = getattr(self.fn, "requires", None)
        if not callable(requires):
            return available
        return (frozenset(requires(step, self.max_steps, **self._told)) & BUFFERS) | ALWAYS

    def check_buffers(self, available: frozenset[str], renderer: str) -> None:
        """Refuse a loss that reads at some step what the renderer cannot make.

        Raises:
            LossError: RUN008, with the first step at which it is read.
        """
        if not callable(getattr(self.fn, "requires", None)):
            return
        for step in range(self.max_steps):
            missing = sorted(self.buffers(step, available) - available)
            if missing:
                names = ", ".join(f"`{name}`" for name in missing)
                raise training_error(
                    "RUN008",
                    f"the loss reads {names} from step {step} on, which the renderer `{renderer}` does not make",
                    notes=("it makes " + ", ".join(sorted(available)),),
                    help=("choose a renderer that makes it, or leave out the terms that read it",),
                )

    def check_data(self, provider: SplatDataProvider) -> None:
        """Refuse a loss that reads `mask`, or an input that it requires, where a training view has none.

        The provider learns first what the program declares. One that does not say which fields its items have is taken
        at its word only while it trains.

        Raises:
            LossError: BUF002, at the places where the program reads them.
        """
        program = getattr(self.fn, "program", None)
        declare = getattr(provider, "declare", None)
        if isinstance(program, TypedProgram) and callable(declare):
            declare(program.inputs)
        # Its items are a function of the index of a view.
        standard = isinstance(provider, ViewListProvider)
        self._listed = standard and type(provider).next_train_data is ViewListProvider.next_train_data
        silent = getattr(type(provider), "fields", SplatDataProvider.fields) is SplatDataProvider.fields
        if silent:
            return
        found: list[Diagnostic] = []
        if getattr(self.fn, "needs_mask", False) and "mask" not in provider.fields:
            help_text = "`masked` also works on data without masks: it is everywhere then"
            found += self._lacking(provider, "mask", "mask", help_text)
        known = provider.fields_some | getattr(provider, "fields_none", frozenset())
        for name in self._required():
            field = _FIELDS.get(name, name)
            if field in known:
                help_text = f"add what is missing, or declare it optional with `?` and write `when has({name})`"
                found += self._lacking(provider, name, field, help_text)
        if found:
            raise LossError(found)

    def _lacking(self, provider: SplatDataProvider, name: str, field: str, help_text: str) -> list[Diagnostic]:
        """The finding that training views lack a field; none if only held-out views do, which the loss never sees."""
        size = provider.get_train_data_size()
        message, notes = f"the loss reads `{name}`, but none of the {size} training views has one", list[str]()
        if field in provider.fields_some:
            message = f"the loss reads `{name}`, but some of the training views have none"
            if isinstance(provider, ViewListProvider):
                bare = provider.train_views_without(field)
                if not bare:
                    return []
                message = f"the loss reads `{name}`, but {len(bare)} of the {size} training views have none"
                notes.append(f"without a mask: {listing(bare)}" if name == "mask" else f"without it: {listing(bare)}")
        look = getattr(provider, "where_looked", None)
        where = look(field) if callable(look) else ""
        notes += [f"looked in {where}"] if where else []
        source, span = self._reading(name)
        return [Diagnostic("BUF002", message, source, span, notes=notes, help=(help_text,))]

    def _required(self) -> list[str]:
        """Inputs of the item that terms read and that the program does not declare optional."""
        program = getattr(self.fn, "program", None)
        if not isinstance(program, TypedProgram):
            return []
        params = getattr(self.fn, "params", {})
        zeros = Zeros({name: params[name] for name in params})
        live = [t for t in program.terms if t.when is None or zeros.decide(t.when) is not False]
        read = {name for term in live for name in zeros.inputs(term.value)}
        return [n for n, i in program.inputs.items() if n in read and i.stage == TENSOR and not i.optional]

    def _reading(self, name: str) -> tuple[Source, Span | None]:
        """Where the program reads an input: there, or the term that does so by a definition from elsewhere."""
        program = getattr(self.fn, "program", None)
        if not isinstance(program, TypedProgram):
            return Source("", f"<{type(self.fn).__name__}>"), None
        return where_read(program, name)

    def numbers(self, step: int, loss: Tensor) -> dict[str, Any]:
        """What a row of the metrics says of the loss: total, raw terms and weights."""
        terms = getattr(self.fn, "terms", None)
        named = {k: v for k, v in terms.items() if isinstance(v, Tensor)} if isinstance(terms, Mapping) else {}
        empty = getattr(self.fn, "empty_regions", None)
        scalars = [loss, *named.values(), *([empty] if isinstance(empty, Tensor) else [])]
        # Together, so that a GPU is waited for once.
        values = torch.stack([v.detach().reshape(()).to(torch.float64) for v in scalars]).tolist()
        row: dict[str, Any] = {"loss": values[0]}
        row.update((f"terms/{name}", value) for name, value in zip(named, values[1:]))
        weights = getattr(self.fn, "weights", None)
        if callable(weights):
            row.update((f"weights/{k}", float(v)) for k, v in weights(step, self.max_steps, **self._told).items())
        if isinstance(empty, Tensor):
            row["empty_regions"] = int(values[-1])
        return row

    def identity(self) -> dict[str, Any]:
        """What must be the same when a run is resumed."""
        identity: dict[str, Any] = {"type": type(self.fn).__qualname__}
        fingerprint = getattr(self.fn, "fingerprint", None)
        if isinstance(fingerprint, str):
            params = getattr(self.fn, "params", {})
            return {
                **identity,
                "fingerprint": fingerprint,
                "program": getattr(self.fn, "source_text", ""),
                "params": {name: params[name] for name in params},
            }
        try:
            source = inspect.getsource(type(self.fn))
        except (OSError, TypeError):  # typed into a prompt
            source = ""
        identity["fingerprint"] = hashlib.sha256(source.encode()).hexdigest()
        attributes = describe_object(self.fn) if hasattr(self.fn, "__dict__") else {}
        return {**identity, "attributes": {k: v for k, v in attributes.items() if k != "type"}}

    def describe(self) -> dict[str, Any]:
        """What ``run.json`` says of the loss: everything that is needed to know what was optimised."""
        described = self.identity()
        describe = getattr(self.fn, "describe", None)
        if callable(describe):
            described["objective"] = describe()
        if "program" not in described:
            try:
                described["source"] = inspect.getsource(type(self.fn))
            except (OSError, TypeError):
                described["source"] = None
        return described


def saved_state(owner: Any) -> Any:
    """``owner.state_dict()`` for a checkpoint; None if it has none.

    Raises:
        LossError: RUN015, it holds something that a checkpoint cannot.
    """
    state_dict = getattr(owner, "state_dict", None)
    if not callable(state_dict):
        return None
    saved = state_dict()
    check_savable(type(owner).__name__, saved)
    return dict(saved) if isinstance(saved, dict) else saved


def restore_state(owner: Any, saved: Any) -> None:
    """Give a saved state back to its owner."""
    load = getattr(owner, "load_state_dict", None)
    if saved is not None and callable(load):
        load(saved)
