"""splatkit 0.1.0: a compiled loss in the place of its `loss_fn`.

Facts of splatkit 0.1.0 (`trainer/trainer.py`, `modules/base.py`, `loss_fn/base.py`): its trainer counts steps from 1 to
``max_steps``; it calls the hooks of the loss, ``on_setup`` once, then ``pre_step`` and ``pre_compute_loss`` with
``step`` and ``max_steps`` at each step, and ``compute_loss(logger=, renders=, targets=, training_state=, rend_out=,
masks=)``, which is told no step. It asks nobody for `isinstance`; programs around it may.
"""

from __future__ import annotations

import importlib.util
import sys
from abc import ABCMeta
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from torch import Tensor

from ...dsl.diagnostics import Diagnostic, LossError
from ...dsl.live import where_read
from ...dsl.source import Source, Span
from ...dsl.typed import Expr, TypedProgram
from ..modules import SplatBaseModule
from ..payload import SplatRenderPayload

__all__ = ["SplatkitHooks", "both_forms", "join"]

HOME = "splatkit.loss_fn"
BASE = "SplatLossFn"
"""The module that has the base class of splatkit's losses, and its name there."""

_OURS = frozenset({"rendered_frames", "target_frames"})
_THEIRS = frozenset({"logger", "renders", "targets"})
_CLOCK = ("step", "max_steps", "progress")
_FROM_ONE = "splatkit counts steps from 1; trainers that count from 0 pass step=... to `compute_loss` itself"


class SplatkitHooks(SplatBaseModule[Any]):
    """The hooks by which a loss learns which step it is, for the form of `compute_loss` that does not say."""

    program: TypedProgram
    _told: tuple[int, int] | None = None
    _clocked: bool | None = None

    @property
    def render_payload_T(self) -> type:
        """The payload that it works with: the base of splatkit's where splatkit is imported, else our own."""
        known = getattr(sys.modules.get("splatkit.modules"), "SplatRenderPayload", None)
        return known if isinstance(known, type) else SplatRenderPayload

    def on_setup(self, *args: Any, **kwargs: Any) -> None:
        """A run begins: what an earlier one told does not count any more."""
        self._told = None

    def pre_step(self, logger: Any = None, step: int = 0, max_steps: int = 0, *args: Any, **kwargs: Any) -> None:
        """Learn the step; see `SplatBaseModule.pre_step`."""
        self._told = (step, max_steps)

    def pre_compute_loss(
        self, logger: Any = None, step: int = 0, max_steps: int = 0, *args: Any, **kwargs: Any
    ) -> None:
        """Learn the step; see `SplatBaseModule.pre_compute_loss`."""
        self._told = (step, max_steps)

    def on_cleanup(self, *args: Any, **kwargs: Any) -> None:
        """The run has ended."""
        self._told = None

    def _step_now(self) -> dict[str, int]:
        """``step``, counted from 0, and ``max_steps`` as the hooks told them; nothing for a loss that needs neither.

        Raises:
            LossError: BND001, no hook was called and the loss depends on the step; BND007, it was no step of a run.
        """
        if self._told is None:
            if self._clocked is None:
                self._clocked = _reads_clock(self.program) is not None
            if not self._clocked:
                return {}
            source, span = _reads_clock(self.program) or (Source("", "<call>"), None)
            message = "this loss depends on the step, but `compute_loss` was not told it, and no hook was called before"
            help_ = [
                "call pre_step(logger, step, max_steps, ...) first, as splatkit's trainer does; it counts from 1",
                "or pass step=..., max_steps=..., counted from 0",
            ]
            raise LossError([Diagnostic("BND001", message, source, span, help=help_)])
        step, max_steps = self._told
        for name, value in (("step", step), ("max_steps", max_steps)):
            if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
                source = Source(f"{name}={value!r}", "<hook>")
                message = f"`{name}` must be a whole number of at least 1 in splatkit's hooks, but is {value!r}"
                raise LossError([Diagnostic("BND007", message, source, Span(0, len(source.text)), help=[_FROM_ONE])])
        return {"step": step - 1, "max_steps": max_steps}


def both_forms(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a `compute_loss` of our protocol be called in splatkit's form too, by position or by keyword.

    The form is splatkit's if an argument has a name that only splatkit's has, or if the first argument is no tensor
    and the second is. What our form has beyond splatkit's (``step``, ``item``, ``view`` and so on) may be passed by
    keyword in either; ``step`` then counts from 0. The signature that can be inspected stays that of our protocol.
    """

    @wraps(method)
    def compute_loss(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        if not _is_splatkits(args, kwargs):
            return method(self, *args, **kwargs)
        arguments = _named(*args, **kwargs)
        if "step" not in arguments:
            arguments = {**self._step_now(), **arguments}
        return method(self, **arguments)

    return compute_loss


def _is_splatkits(args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    if kwargs:
        if not _OURS.isdisjoint(kwargs):
            return False
        if not _THEIRS.isdisjoint(kwargs):
            return True
    return len(args) > 1 and isinstance(args[1], Tensor) and not isinstance(args[0], Tensor)


def _named(
    logger: Any,
    renders: Tensor,
    targets: Tensor,
    training_state: Any,
    rend_out: Any,
    masks: Tensor | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The arguments of splatkit's form by the names of ours. The logger has no use here."""
    frames = {"rendered_frames": renders, "target_frames": targets}
    return {**frames, "training_state": training_state, "rend_out": rend_out, "masks": masks, **more}


_named.__qualname__ = "compute_loss"  # what Python's messages about missing arguments call it


def _reads_clock(program: TypedProgram) -> tuple[Source, Span | None] | None:
    """Where a program first depends on the step or the length of the run; None where it does not.

    Random draws are made anew at each step, and a memory is renewed once a step.
    """
    for root in (*program.conditions(), *program.values()):
        found = next((e for e in root.walk() if _is_clock(e)), None)
        if found is not None:
            if found.source is program.source:
                return found.source, found.span
            return where_read(program, str(found.value))
    return (program.source, None) if program.memories else None


def _is_clock(e: Expr) -> bool:
    return (e.op == "input" and e.value in _CLOCK) or (e.op == "call" and "key" in e.builtin.needs)


# splatkit's base class


def join(loss_class: type) -> None:
    """Make a class a virtual subclass of `splatkit.loss_fn.SplatLossFn`, now or when splatkit is imported.

    splatkit is not imported for it, which takes seconds. Where it is installed, and not imported yet, an import hook
    waits for that one module. Nothing is done where splatkit is not installed.
    """
    if _register(sys.modules.get(HOME), loss_class):
        return
    try:
        installed = "splatkit" in sys.modules or importlib.util.find_spec("splatkit") is not None
    except (ImportError, ValueError):  # something that only looks like a package
        return
    if installed:
        sys.meta_path.insert(0, _Watch(loss_class))


def _register(module: ModuleType | None, loss_class: type) -> bool:
    base = getattr(module, BASE, None)
    if isinstance(base, ABCMeta):
        base.register(loss_class)
        return True
    return False


class _Watch(MetaPathFinder):
    """Finds `HOME` as the others do, and has `loss_class` registered once it was executed."""

    def __init__(self, loss_class: type) -> None:
        self.loss_class = loss_class

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of `HOME` with a loader that registers; None for every other module."""
        if fullname != HOME:
            return None
        for finder in sys.meta_path:
            find = None if isinstance(finder, _Watch) else getattr(finder, "find_spec", None)
            spec = None if find is None else find(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Registering(spec.loader, self.loss_class)
                return spec  # type: ignore[no-any-return]
        return None


class _Registering(Loader):
    """Loads a module with the loader that it stands for, which is the one that can be seen afterwards."""

    def __init__(self, inner: Any, loss_class: type) -> None:
        self.inner, self.loss_class = inner, loss_class

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """See `importlib.abc.Loader`."""
        return self.inner.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        """See `importlib.abc.Loader`."""
        module.__loader__ = self.inner
        if module.__spec__ is not None:
            module.__spec__.loader = self.inner
        self.inner.exec_module(module)
        _register(module, self.loss_class)
