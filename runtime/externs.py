"""Functions of the host that programs declare with `extern`: which ones there are, and how they are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..compiler.resolve import ExternCall
from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.source import Source, Span
from ..dsl.suggest import did_you_mean
from ..dsl.typed import TypedProgram
from ..dsl.types import FLAG, NUMBER, Kind
from .shaping import Misfit, shaped

_REGISTERED: dict[str, Callable[..., Any]] = {}


def register(name: str, function: Callable[..., Any]) -> None:
    """Make a Python function, or a `torch.nn.Module`, known to every loss that declares it with `extern`.

    Args:
        name: as in the declaration.
        function: called with one argument for each parameter of the declaration, in its order. Pixels come as
            `[B, H, W, k]`, gaussians as `[N, k]`, other tensors as they are declared; a view, the state or the camera
            as the caller gave it. It returns a tensor, or a tuple or mapping of several results.

    Raises:
        TypeError: it cannot be called.
    """
    if not callable(function):
        raise TypeError(f"`{name}` must be a function or a module, not {type(function).__name__}")
    _REGISTERED[name] = function


class Externs:
    """The functions of one loss: its own, and those that are registered for all."""

    def __init__(self, program: TypedProgram, own: Mapping[str, Callable[..., Any]] | None = None) -> None:
        self.program = program
        self._own: dict[str, Callable[..., Any]] = {}
        walked = (e for root in program.values() for e in root.walk() if e.op == "call")
        networks = {e.builtin.name for e in walked if "network" in e.builtin.needs}
        for name, function in (own or {}).items():
            if name not in program.externs and name not in networks:
                declared = list(program.externs)
                listed = f"it declares {', '.join(declared)}" if declared else "it declares none"
                help_ = did_you_mean(name, declared) or listed
                raise LossError([_argument(name, f"this loss declares no extern function `{name}`", help_)])
            if not callable(function):
                kind = type(function).__name__
                message = f"the function of `{name}` is a {kind}, which cannot be called"
                raise LossError([_argument(name, message, "give a Python function or a torch module")])
            self._own[name] = function

    def __getitem__(self, name: str) -> Callable[..., Any] | None:
        found = self._own.get(name) or _REGISTERED.get(name)
        return _lpips if found is None and name == "lpips" and name not in self.program.externs else found

    def registered(self) -> dict[str, Callable[..., Any]]:
        """The functions by name, those that are registered for all losses among them where the program calls them."""
        named = {name: self[name] for name in self.program.externs}
        return {**self._own, **{name: function for name, function in named.items() if function is not None}}

    def modules(self) -> Iterator[tuple[str, torch.nn.Module]]:
        """The torch modules among the functions, by the name of their declaration."""
        for name in self.program.externs:
            function = self[name]
            if isinstance(function, torch.nn.Module):
                yield name, function

    def call(self, call: ExternCall, arguments: list[Any]) -> dict[str, Tensor]:
        """The results of one call, by the names of the inputs that they become.

        Raises:
            LossError: BND010, no function is registered; BND011, it gives what it does not declare.
        """
        name = call.info.name
        function = self[name]
        if function is None:
            message = f"no function is registered for the extern `{name}`"
            help_ = [f'pass register={{"{name}": function}} to `load` or `compile`']
            raise LossError([Diagnostic("BND010", message, call.at.source, call.at.span, help=help_)])
        try:
            made = function(*arguments)
        except Exception as problem:
            at = f"{call.at.source.name}:{call.at.source.position(call.at.span.start)[0]}"
            problem.add_note(f"in the function that is registered for the extern `{name}`, called at {at}")
            raise
        names = [field for field, _ in call.results]
        if names == [""]:
            results = {"": made}
        elif isinstance(made, Mapping):
            results = dict(made)
        else:
            results = dict(zip(names, made)) if isinstance(made, (tuple, list)) and len(made) == len(names) else {}
        found: dict[str, Tensor] = {}
        for field, t in call.results:
            value = results.get(field)
            if not isinstance(value, Tensor):
                got = type(made).__name__ if field == "" or not results else type(value).__name__
                wanted = t.kind.describe() if field == "" else f"{t.kind.describe()} as `{field}`"
                raise LossError([_gave(call, f"must give {wanted}, but gave {got}")])
            try:
                tensor = shaped(f"{name}(...)", t.kind, _full(t.kind, value), None)
            except Misfit as misfit:
                raise LossError([_gave(call, str(misfit).partition(" ")[2])]) from None
            found[f"{call.name}.{field}" if field else call.name] = tensor
        return found


def passed(kind: Kind, x: Tensor) -> Tensor:
    """An argument as the function sees it: without the dimension of a single component, where none is declared."""
    if kind.layout in ("pixels", "gaussians") or kind in (NUMBER, FLAG):
        return x
    return x.squeeze(-1) if kind.components == 1 and x.dim() > 1 else x


def _full(kind: Kind, x: Tensor) -> Tensor:
    """A map or region that came without its last dimension."""
    if kind.layout == "pixels" and kind.components == 1 and (x.dim() == 2 or (x.dim() == 3 and x.shape[-1] != 1)):
        x = x.unsqueeze(-1)
    return x.float() if x.dtype == torch.bool else x


def _gave(call: ExternCall, what: str) -> Diagnostic:
    message = f"the function registered for `{call.info.name}` {what}"
    return Diagnostic("BND011", message, call.at.source, call.at.span)


def _argument(name: str, message: str, help_: str) -> Diagnostic:
    source = Source(f"register={{{name!r}: ...}}", "<call>")
    return Diagnostic("BND009", message, source, Span(0, len(source.text)), help=[help_])


def _lpips(a: Tensor, b: Tensor, net: str) -> Tensor:
    from .lpips import perceptual

    made: Tensor = perceptual(net, a.device)(a, b)
    return made
