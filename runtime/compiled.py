"""Compiled losses: what `splatdsl.load` and `splatdsl.compile` return."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..compiler.compiled import CompiledProgram, Stats
from ..compiler.specialise import split_weight, weight
from ..dsl.api import analyse
from ..dsl.check_files import read_source
from ..dsl.diagnostics import Diagnostic, LossError, LossWarning
from ..dsl.interval import show
from ..dsl.live import buffers
from ..dsl.source import Source, Span
from ..dsl.suggest import did_you_mean
from ..dsl.suppress import apply
from ..dsl.typed import TypedProgram
from .binding import Binder
from .evaluation import Evaluation, Parts
from .externs import Externs
from .lookup import EXTRA, PAYLOAD_FIELDS
from .loss_fn import SplatLossFn
from .memories import Memories
from .params import Params

__all__ = ["CompiledLossFn", "compile", "load"]


class CompiledLossFn(SplatLossFn[Any]):
    """A loss of the language, ready to call.

    Attributes:
        params: the parameters; assign to change one while training.
        stats: graphs compiled, predicted and broken, and the seconds they took.
        terms: after a call, the raw value of each term that existed, 0-d and detached. Reading them does not wait for
            the device.
        empty_regions: after a call, how many of the regions that the loss reduced over were empty (0-d int tensor).
        parts: what a call is made of, for tools that take it apart.
        memories: what each `memory` of the program is now, detached; part of `state_dict`. Where one has a row for
            each gaussian there is also ``on_densification(rows)``, to be called with each gaussian's row before
            gaussians were added, removed or reordered.
    """

    def __init__(
        self,
        program: TypedProgram,
        backend: str = "inductor",
        device: str | torch.device | None = None,
        register: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        self.program = program
        self.device = None if device is None else torch.device(device)
        self.params = Params(program)
        self.terms: dict[str, Tensor] = {}
        self._host_values: dict[str, float | bool] = {}
        self.empty_regions: Tensor = torch.zeros((), dtype=torch.int32)
        self._compiled = CompiledProgram(program, backend)
        self.parts = Parts(program, Binder(program, self.device), Memories(program), Externs(program, register))
        self._steps = Evaluation(self._compiled, self.parts.binder, self.parts.memories, self.parts.externs)
        if self.memories.per_gaussian():
            self.on_densification = self.memories.take  # trainers look for it, and track rows only where it is

    def __repr__(self) -> str:
        return f"CompiledLossFn({self.program.source.name!r}, terms={[t.name for t in self.program.terms]})"

    @property
    def module_name(self) -> str:
        """The program's name, for logs."""
        return self.program.source.name

    @property
    def stats(self) -> Stats:
        """What was compiled so far."""
        return self._compiled.stats

    @property
    def memories(self) -> Memories:
        """What each memory is now."""
        return self.parts.memories

    # Calling

    def __call__(
        self,
        rendered: Tensor | None = None,
        target: Tensor | None = None,
        mask: Tensor | None = None,
        state: Any = None,
        render: Any = None,
        step: int = 0,
        max_steps: int = 30_000,
        item: Any = None,
        group: str | None = None,
        **buffers: Any,
    ) -> Tensor:
        """The loss of one step.

        Args:
            rendered: `[B, H, W, 3]` or `[H, W, 3]`.
            target: the same shape, 0..1.
            mask: `[B, H, W]` bool or float, 1 = this pixel counts; None = every pixel does.
            state: raw gaussian parameters by gsplat's names, or an object whose ``params`` holds them.
            render: the renderer's payload or a mapping; alpha, depth and radii are found there.
            step: counted from 0.
            max_steps: length of the run.
            item: a training item or a mapping, where target, mask and the program's own inputs are looked up if they
                are not passed themselves.
            group: the term group to evaluate; None: all of them.
            **buffers: single buffers instead of ``render``, such as alpha, depth `[B, H, W, 1]`, normals
                `[B, H, W, 3]`, visible `[N]`, radii; ``background`` `[B, 3]`; ``camera``, a record with intrinsics
                `[B, 3, 3]` and extrinsics `[B, 4, 4]`; and the inputs that the program declares: tensors, a mapping
                or object with the fields of a second render, a list of either.

        Returns:
            A scalar tensor, ready for ``backward()``.

        Raises:
            LossError: an input is missing or does not fit; a schedule gives a value that is not finite.
        """
        _check_step(step, max_steps)
        declared = self.program.inputs
        unknown = [name for name in buffers if name not in PAYLOAD_FIELDS and name not in (*declared, *EXTRA)]
        if unknown:
            near = did_you_mean(unknown[0], [*declared, *PAYLOAD_FIELDS])
            hint = f"; {near}" if near else ""
            raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {unknown[0]!r}{hint}")
        given = {"rendered": rendered, "target": target, "mask": mask, "state": state, "render": render, **buffers}
        given = self.parts.complete(given, item)
        present = self.parts.present(given)
        schedule = self._compiled.schedule
        host = self.parts.binder.host_values(given)
        env = schedule.environment(step, max_steps, present, host)
        self._host_values = host
        facts = schedule.facts(env, given["mask"] is not None, self._group(group), self.parts.lengths(given))
        if not facts.terms and not facts.updates:
            self.terms, self.empty_regions = {}, torch.zeros((), dtype=torch.int32)
            return _zero(rendered)
        result, device = self._steps(facts, given, env, step)
        self.terms = dict(zip(result.names, result.values.unbind()))
        self.empty_regions = result.empty_regions
        total = result.total if device is not None else _zero(rendered) + result.total.to(_zero(rendered).device)
        if torch.is_grad_enabled() and not total.requires_grad:
            total = total.detach().requires_grad_()  # nothing to train, but backward() must not fail for that
        return total

    def compute_loss(
        self,
        rendered_frames: Tensor,
        target_frames: Tensor,
        training_state: Any,
        rend_out: Any,
        masks: Tensor | None = None,
        step: int = 0,
        max_steps: int = 30_000,
        item: Any = None,
        background: Tensor | None = None,
        host: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """The loss of one step, in the protocol of trainers; see `SplatLossFn.compute_loss`.

        ``item`` is where the program's own inputs and the camera are looked up; ``background`` is `[B, 3]`; ``host``
        holds numbers of the run by name, of which those count that the program declares.
        """
        numbers = {name: value for name, value in (host or {}).items() if name in self.program.inputs}
        return self(
            rendered=rendered_frames,
            target=target_frames,
            mask=masks,
            state=training_state,
            render=rend_out,
            step=step,
            max_steps=max_steps,
            item=item,
            background=background,
            **numbers,
        )

    # Networks

    def parameters(self, recurse: bool = True) -> Iterator[torch.nn.Parameter]:
        """The parameters of the registered modules that are not declared ``frozen``, for an optimiser."""
        return (p for _, p in self.named_parameters())

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """The same with names, such as ``appearance.conv.weight``."""
        for name, module in self.parts.externs.modules():
            if not self.program.externs[name].frozen:
                yield from ((f"{name}.{inner}", p) for inner, p in module.named_parameters())

    # Knowing beforehand

    def weights(
        self, step: int, max_steps: int = 30_000, missing: Collection[str] = (), **host: Any
    ) -> dict[str, float]:
        """The weight of every term at a step; 0 where the term does not exist.

        Optional inputs count as there, but for those that are named in ``missing``. Numbers and flags that the program
        takes from the host, and sizes that a weight depends on, are given by name; those that are not are those of the
        last call.
        """
        _check_step(step, max_steps)
        schedule = self._compiled.schedule
        there = frozenset(n for n in schedule.askable if not {n, n.partition(".")[0]} & set(missing))
        env = schedule.environment(step, max_steps, there, self._host(host))
        active = {t.name for t in self._compiled.schedule.active(env)}
        zeros = self._compiled.schedule.zeros()
        weights: dict[str, float] = {}
        for t in self.program.terms:
            weights[t.name] = weight(split_weight(t.value, zeros)[0], env) if t.name in active else 0.0
        return weights

    def requires(self, step: int, max_steps: int = 30_000, group: str | None = None, **host: Any) -> frozenset[str]:
        """Render buffers and item fields that the loss reads at a step, such as "depth" and "mask".

        Optional inputs count as there. Numbers and flags that the program takes from the host are given by name.
        """
        _check_step(step, max_steps)
        return self._compiled.requires(step, max_steps, self._group(group), self._host(host))

    @property
    def groups(self) -> tuple[str, ...]:
        """The term groups; () if the program has none."""
        return self.program.groups

    def _host(self, given: Mapping[str, Any]) -> dict[str, float | bool]:
        """Host values without a call: sizes that a condition or weight depends on are given by their letter."""
        given = {**self._host_values, **given}
        values = {**given, **self.parts.binder.host_values(given, sizes=False)}
        for t in self.program.terms:
            for root in (t.when, *(f for _, f in split_weight(t.value, self._compiled.schedule.zeros())[0])):
                for e in root.walk() if root is not None else ():
                    if e.op == "size" and e.value not in values:
                        message = f"term `{t.name}` depends on the size `{e.value}`, which is known only in a call"
                        raise LossError([_argument(e.value, None, message, f"pass {e.value}=...", "BND001")])
        return values

    def _group(self, group: str | None) -> str | None:
        if group is not None and group not in self.program.groups:
            names = self.program.groups
            help_ = did_you_mean(group, names) or (
                f"its groups are {', '.join(names)}" if names else "it has no groups"
            )
            raise LossError([_argument("group", group, f"this loss has no term group `{group}`", help_)])
        return group

    @property
    def needs_mask(self) -> bool:
        """Whether the program reads `mask` itself, and so cannot do without one (`masked` can)."""
        zeros = self._compiled.schedule.zeros()
        return any("mask" in zeros.inputs(t.value) for t in self.program.terms)

    # What it is

    @property
    def source_text(self) -> str:
        """The program."""
        return self.program.source.text

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the program and its parameters: two runs with the same one trained on the same loss."""
        texts = [source.text for source in self.program.sources]
        payload = json.dumps([texts[0] if len(texts) == 1 else texts, dict(self.params)], sort_keys=True)
        return hashlib.sha256(payload.encode()).hexdigest()

    def describe(self) -> str:
        """The resolved objective: each term as written, when it exists, what it reads, and the parameters in force."""
        lines = [f"loss: {self.program.source.name}"]
        if self.program.docstring:
            lines.append(f"  {' '.join(self.program.docstring.split())}")
        zeros = self._compiled.schedule.zeros()
        for t in self.program.terms:
            text = " ".join(t.value.source.slice(t.value.span).split())
            when = "" if t.when is None else f" when {' '.join(t.when.source.slice(t.when.span).split())}"
            reads = ", ".join(sorted(buffers(zeros.inputs(t.value)))) or "nothing"
            state = "  [not computed: a parameter is 0]" if zeros.is_zero(t.value) else ""
            lines.append(f"  term {t.name} = {text}{when}")
            lines.append(f"    reads {reads}{state}")
        for name, info in self.program.params.items():
            default = "" if info.value == info.default else f" (default {_shown(info.default)})"
            limits = ", ".join(f'"{c}"' for c in info.choices) if info.choices else str(info.range)
            lines.append(f"  param {name} = {_shown(info.value)}{default} in {limits}")
        return "\n".join(lines)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold: the parameters, and the memories where the program has any.

        Registered modules are not part of it: whoever trains them saves them.
        """
        state: dict[str, Any] = {"params": dict(self.params)}
        if self.program.memories:
            state["memories"] = self.memories.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            LossError: a parameter does not exist or is out of its range.
        """
        for name, value in state["params"].items():
            self.params[name] = value
        self.memories.load_state_dict(state.get("memories", {}))


def load(
    path: str | Path,
    params: Mapping[str, Any] | None = None,
    backend: str = "inductor",
    device: str | torch.device | None = None,
    register: Mapping[str, Callable[..., Any]] | None = None,
) -> CompiledLossFn:
    """A loss from a `.loss` file.

    Args:
        path: the file, or ``zoo:NAME`` for the loss of a published system.
        params: values for its parameters, in place of the defaults.
        backend: "inductor", "eager" (no compilation), or any backend of `torch.compile`.
        device: where it will run. Given, inputs on another device are refused; None follows the inputs.
        register: Python functions or torch modules for the program's `extern` declarations, by name; see `register`.

    Raises:
        LossError: the file cannot be read, or has an error; the text is what the linter prints.
    """
    return _make(read_source(str(path)), params, backend, device, register)


def compile(
    text: str,
    params: Mapping[str, Any] | None = None,
    backend: str = "inductor",
    device: str | torch.device | None = None,
    register: Mapping[str, Callable[..., Any]] | None = None,
    name: str = "<loss>",
) -> CompiledLossFn:
    """A loss from text; see `load`. ``name`` is what messages call it."""
    return _make(Source(text, name), params, backend, device, register)


def _shown(value: float | bool | str) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower() if isinstance(value, bool) else show(float(value))


def _make(
    source: Source,
    params: Mapping[str, Any] | None,
    backend: str,
    device: str | torch.device | None,
    register: Mapping[str, Callable[..., Any]] | None,
) -> CompiledLossFn:
    known = ["eager", *torch._dynamo.list_backends()]
    if backend not in ("eager", *torch._dynamo.list_backends(exclude_tags=())):
        near = did_you_mean(backend, known) or f"the backends here are {', '.join(known)}"
        raise LossError([_argument("backend", backend, f"there is no backend `{backend}`", near)])
    try:
        place = None if device is None else torch.device(device)
    except RuntimeError:
        help_ = 'devices are called "cpu", "cuda", "cuda:1"'
        raise LossError([_argument("device", device, f"there is no device `{device}`", help_)]) from None
    program, diagnostics = analyse(source, params)
    if program is None:
        raise LossError(diagnostics)
    for diagnostic in apply(diagnostics):  # they must reach whoever never runs the linter
        warnings.warn(f"\n{diagnostic}", LossWarning, stacklevel=3)
    return CompiledLossFn(program, backend, place, register)


def _argument(name: str, value: object, message: str, help: str, code: str = "BND009") -> Diagnostic:
    source = Source(f"{name}={value!r}", "<call>")
    return Diagnostic(code, message, source, Span(0, len(source.text)), help=[help])


def _zero(like: Tensor | None) -> Tensor:
    device = like.device if isinstance(like, Tensor) else None
    return torch.zeros((), device=device, requires_grad=torch.is_grad_enabled())


def _check_step(step: int, max_steps: int) -> None:
    for name, value, least in (("step", step, 0), ("max_steps", max_steps, 1)):
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
            source = Source(f"{name}={value!r}", "<call>")
            message = f"`{name}` must be a whole number of at least {least}, but is {value!r}"
            help_ = ["steps count from 0; trainers that count from 1 pass step - 1"] if name == "step" else []
            raise LossError([Diagnostic("BND007", message, source, Span(0, len(source.text)), help=help_)])
