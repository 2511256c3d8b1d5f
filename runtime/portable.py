"""A loss that goes elsewhere: to a worker process, into a file, or to a copy of itself.

What goes along is the text with what was set: parameters, memories, names, and the functions that are registered.
Graphs, kernels and what is kept of views stay, and are made anew where they are needed.
"""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..dsl.api import analyse
from ..dsl.builtins.shapes import letters
from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.files import kept, located
from ..dsl.source import Source, Span
from .knowing import Knowing, argument
from .memories import Memories
from .names import Names

if TYPE_CHECKING:
    import torch

    from .ranks import Ranks
    from .view_cache import ViewCache


SETTINGS = ("backend", "device", "register", "kernels", "view_cache", "bind", "layout", "ranks")
"""What a loss is made with beside its program."""


class Portable(Knowing):
    """The part of a compiled loss that takes it elsewhere."""

    device: torch.device | None
    names: Names
    ranks: Ranks | None
    view_cache: ViewCache

    @property
    def memories(self) -> Memories:
        """What each memory is now."""
        return self.parts.memories

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold: the parameters, and the memories where the program has any.

        Registered modules are not part of it: whoever trains them saves them.
        """
        state: dict[str, Any] = {"params": dict(self.params)}
        if self.program.memories:
            state["memories"] = self.memories.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave; nothing changes if it cannot be restored.

        Parameters that it lacks stay as they are, and a memory that the program no longer has is left out.

        Raises:
            LossError: it is no state of a loss; a parameter does not exist or is out of its range; a memory has
                another form.
        """
        params = state.get("params") if isinstance(state, Mapping) else None
        memories = state.get("memories", {}) if isinstance(state, Mapping) else None
        if not isinstance(params, Mapping) or not isinstance(memories, Mapping):
            found = ", ".join(map(str, list(state)[:5])) if isinstance(state, Mapping) else type(state).__name__
            message = "this is not what `state_dict` of a loss gives: it has no `params`"
            raise LossError([argument("state", found, message, "save loss_fn.state_dict()")])
        self._check_memories(memories)
        before = dict(self.params)
        try:
            for name, value in params.items():
                self.params[name] = value
        except LossError:
            for name, value in before.items():
                self.params[name] = value
            raise
        self.memories.load_state_dict(memories)

    def _check_memories(self, saved: Mapping[str, Any]) -> None:
        for name, entry in saved.items():
            info = self.program.memories.get(name)
            value = entry.get("value") if isinstance(entry, Mapping) else None
            if info is None:
                continue
            kind = info.type.kind
            rank = len(letters(kind)) + 1 if kind.is_tensor else 0
            if not isinstance(value, Tensor) or value.dim() != rank:
                shown = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
                message = f"the memory `{name}` is {kind.describe()}, but what was saved is {shown}"
                help_ = ["load the state into the program that it was saved from"]
                raise LossError([Diagnostic("BND002", message, info.source, info.span, help=help_)])

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        made = self._made_of()
        for kind, functions in (("extern", made["register"]), ("bind", made["bind"])):
            for name, function in functions.items():
                _check_function(kind, name, function)
        return rebuilt, (type(self), made)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return rebuilt(type(self), {name: copy.deepcopy(v, memo) for name, v in self._made_of().items()})

    def __copy__(self) -> Any:
        return copy.deepcopy(self)

    def _made_of(self) -> dict[str, Any]:
        """Everything that `rebuilt` needs."""
        program, externs = self.program, self.parts.externs
        first, *others = program.sources
        return {
            "text": first.text,
            "name": first.name,
            "folder": os.path.dirname(os.path.realpath(located(first.name))),
            "others": {os.path.realpath(located(source.name)): source.text for source in others},
            "backend": self._compiled.backend,
            "kernels": self._compiled.kernels,
            "device": self.device,
            "view_cache": self.view_cache.budget,
            "register": externs.registered(),
            "bind": self.names.bind,
            "layout": self.parts.binder.layout,
            "ranks": self.ranks,
            "host": dict(self._host_values),
            "state": self.state_dict(),
        }


def rebuilt(kind: type, made: Mapping[str, Any]) -> Any:
    """The loss that `Portable` took apart.

    Raises:
        LossError: the program is not right in this version of the package.
    """
    source = Source(made["text"], made["name"])
    with kept(made["others"]):
        program, problems = analyse(source, made["state"]["params"], folder=made["folder"])
        if program is None:
            program, problems = analyse(source, folder=made["folder"])
    if program is None:
        raise LossError(problems)
    loss_fn = kind(program, **{name: made[name] for name in SETTINGS})
    loss_fn.load_state_dict(made["state"])
    loss_fn._host_values = dict(made["host"])
    return loss_fn


class _Nowhere:
    """A file that forgets what is written."""

    def write(self, data: Any) -> int:
        return len(data)


def _check_function(kind: str, name: str, function: Any) -> None:
    """Refuse a function that cannot go along.

    Raises:
        LossError: BND013.
    """
    try:
        pickle.Pickler(_Nowhere()).dump(function)
    except Exception as problem:  # whatever the reducers of the caller's objects raise
        whose = f"registered for the extern `{name}`" if kind == "extern" else f"that `bind` has for `{name}`"
        shown = f"register={{{name!r}: ...}}" if kind == "extern" else f"bind={{{name!r}: ...}}"
        source = Source(shown, "<call>")
        message = f"this loss cannot be pickled, because the function {whose} cannot be: {problem}"
        help_ = "write it as a function of a module, with `def`; or load the loss in the process that uses it"
        raise LossError([Diagnostic("BND013", message, source, Span(0, len(shown)), help=[help_])]) from None
