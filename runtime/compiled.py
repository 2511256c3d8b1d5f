"""Compiled losses: what `splatdsl.load` and `splatdsl.compile` return."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..compiler.compiled import CompiledProgram
from ..compiler.variants import Stats
from ..compiler.windows.routes import AUTO, ROUTES
from ..dsl.api import analyse
from ..dsl.check_files import read_source
from ..dsl.diagnostics import LossError, LossWarning
from ..dsl.source import Source
from ..dsl.suggest import did_you_mean
from ..dsl.suppress import apply
from ..dsl.typed import TypedProgram
from .binding import Binder
from .blocks import Blocks
from .evaluation import Evaluation, Parts
from .externs import Externs
from .knowing import Knowing, argument, check_step
from .lookup import EXTRA, PAYLOAD_FIELDS
from .memories import Memories
from .params import Params
from .view_cache import ViewCache, budget_of, named
from .warmup import Warmed, Warmup

__all__ = ["CompiledLossFn", "compile", "load"]


class CompiledLossFn(Knowing):
    """A loss of the language, ready to call.

    Attributes:
        params: the parameters; assign to change one while training.
        stats: graphs compiled, predicted and broken, and the seconds they took.
        terms: after a call, the raw value of each term that existed, 0-d and detached. Reading them does not wait for
            the device.
        empty_regions: after a call, how many of the regions that the loss reduced over were empty (0-d int tensor);
            where a program has more than 16 phases, once for each condition whose terms do.
        parts: what a call is made of, for tools that take it apart.
        memories: what each `memory` of the program is now, detached; part of `state_dict`. Where one has a row for
            each gaussian there is also ``on_densification(rows)``, to be called with each gaussian's row before
            gaussians were added, removed or reordered.
        view_cache: what is kept of views, and how often that was of use; ``clear()`` forgets it.
    """

    def __init__(
        self,
        program: TypedProgram,
        backend: str = "inductor",
        device: str | torch.device | None = None,
        register: Mapping[str, Callable[..., Any]] | None = None,
        kernels: str = AUTO,
        view_cache: int = 0,
    ) -> None:
        self.program = program
        self.device = None if device is None else torch.device(device)
        self.params = Params(program)
        self.terms: dict[str, Tensor] = {}
        self._host_values: dict[str, float | bool] = {}
        self.empty_regions: Tensor = torch.zeros((), dtype=torch.int32)
        self._compiled = CompiledProgram(program, backend, kernels)
        self.parts = Parts(program, Binder(program, self.device), Memories(program), Externs(program, register))
        self._blocks, self._read = Blocks(program, self._compiled.schedule), {}
        self.view_cache = ViewCache(view_cache)
        parts = self.parts
        self._steps = Evaluation(self._compiled, parts.binder, parts.memories, parts.externs, self.view_cache)
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
        view: Hashable = None,
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
            view: the name of the view, any hashable: a promise that ``target``, ``mask`` and ``item`` are what they
                were under this name before. Without it the tensors themselves count, as do those in ``buffers`` with
                it, which may be rendered. Only what is kept of views asks for it, see `load`.
            **buffers: single buffers instead of ``render``, such as alpha, depth `[B, H, W, 1]`, normals
                `[B, H, W, 3]`, visible `[N]`, radii; ``background`` `[B, 3]`; ``camera``, a record with intrinsics
                `[B, 3, 3]` and extrinsics `[B, 4, 4]`; and the inputs that the program declares: tensors, a mapping
                or object with the fields of a second render, a list of either.

        Returns:
            A scalar tensor, ready for ``backward()``.

        Raises:
            LossError: an input is missing or does not fit; a schedule gives a value that is not finite.
        """
        check_step(step, max_steps)
        if "view" in self.program.inputs:  # a program's own input of that name comes first
            buffers, view = {**buffers, "view": view}, None
        given = {"rendered": rendered, "target": target, "mask": mask, "state": state, "render": render}
        given = self._complete(given, buffers, item)
        present = self.parts.present(given)
        schedule = self._compiled.schedule
        host = self.parts.binder.host_values(given)
        env = schedule.environment(step, max_steps, present, host)
        self._host_values = host
        facts = schedule.facts(env, given["mask"] is not None, self._group(group), self.parts.lengths(given))
        blocks = self._blocks.of(facts, max_steps, group)
        if not facts.terms and not facts.updates:
            self.terms, self.empty_regions = {}, torch.zeros((), dtype=torch.int32)
            return _zero(rendered)
        result, device = self._steps(facts, given, env, step, blocks, named(view, buffers))
        self.terms = dict(zip(result.names, result.values.unbind()))
        self.empty_regions = result.empty_regions
        total = result.total if device is not None else _zero(rendered) + result.total.to(_zero(rendered).device)
        if torch.is_grad_enabled() and not total.requires_grad:
            total = total.detach().requires_grad_()  # nothing to train, but backward() must not fail for that
        return total

    def _complete(self, given: Mapping[str, Any], buffers: Mapping[str, Any], item: Any) -> dict[str, Any]:
        """The arguments of a call by name, single buffers and what an item has among them."""
        declared = self.program.inputs
        unknown = [name for name in buffers if name not in PAYLOAD_FIELDS and name not in (*declared, *EXTRA, "view")]
        if unknown:
            near = did_you_mean(unknown[0], [*declared, *PAYLOAD_FIELDS])
            hint = f"; {near}" if near else ""
            raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {unknown[0]!r}{hint}")
        return self.parts.complete({**given, **buffers}, item)

    def warmup(
        self,
        rendered: Tensor | None = None,
        target: Tensor | None = None,
        mask: Tensor | None = None,
        state: Any = None,
        render: Any = None,
        max_steps: int = 30_000,
        item: Any = None,
        group: str | None = None,
        masks: str = "as given",
        evaluation: bool = False,
        **buffers: Any,
    ) -> tuple[Warmed, ...]:
        """Compile ahead what the steps of a run will need, so that none of them waits for the compiler.

        The arguments are those of a call, without ``step``: tensors of the sizes, dtypes and devices of the run, which
        require gradients where those of the run do. Every phase (see `phases`) is evaluated once on copies of them.
        Nothing that can be seen from outside changes: terms, memories, gradients, random numbers and the buffers of
        registered modules are as before, also if it fails. Functions that are registered for an `extern` are called.

        Args:
            rendered, target, mask, state, render, max_steps, item, group, **buffers: see the call.
            masks: "as given", or "both": also with a mask if none is given, and without the one that is.
            evaluation: whether to compile also what a call under ``torch.no_grad()`` needs.

        Returns:
            What was evaluated, in order, with the number of graphs that were compiled for it and the seconds it took.

        Raises:
            LossError: a phase reads what is not given; nothing was compiled then.
        """
        check_step(0, max_steps)
        given = {"rendered": rendered, "target": target, "mask": mask, "state": state, "render": render}
        return Warmup(self, max_steps, self._group(group)).run(self._complete(given, buffers, item), masks, evaluation)

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
        view: Hashable = None,
    ) -> Tensor:
        """The loss of one step, in the protocol of trainers; see `SplatLossFn.compute_loss`.

        ``item`` is where the program's own inputs and the camera are looked up; ``background`` is `[B, 3]`; ``host``
        holds numbers of the run by name, of which those count that the program declares; ``view`` names the view.
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
            view=view,
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
    kernels: str = AUTO,
    view_cache: int | str | None = None,
) -> CompiledLossFn:
    """A loss from a `.loss` file.

    Args:
        path: the file, or ``zoo:NAME`` for the loss of a published system.
        params: values for its parameters, in place of the defaults.
        backend: "inductor", "eager" (no compilation), or any backend of `torch.compile`.
        device: where it will run. Given, inputs on another device are refused; None follows the inputs.
        register: Python functions or torch modules for the program's `extern` declarations, by name; see `register`.
        kernels: what computes SSIM windows and the means beside them: "auto" takes the fastest that runs here, "torch"
            the graph alone, "cpp" generated C++ on the CPU, "triton" generated Triton on CUDA. The numbers are the
            same within the rounding of float32.
        view_cache: memory for what the loss makes of a view's own data alone, such as the edges of the target, until
            the view comes up again: a number of bytes, or text such as "256 MB". None: it is made at each step.

    Raises:
        LossError: the file cannot be read, or has an error; the text is what the linter prints.
    """
    return _make(read_source(str(path)), params, backend, device, register, kernels, view_cache)


def compile(
    text: str,
    params: Mapping[str, Any] | None = None,
    backend: str = "inductor",
    device: str | torch.device | None = None,
    register: Mapping[str, Callable[..., Any]] | None = None,
    name: str = "<loss>",
    kernels: str = AUTO,
    view_cache: int | str | None = None,
) -> CompiledLossFn:
    """A loss from text; see `load`. ``name`` is what messages call it."""
    return _make(Source(text, name), params, backend, device, register, kernels, view_cache)


def _make(
    source: Source,
    params: Mapping[str, Any] | None,
    backend: str,
    device: str | torch.device | None,
    register: Mapping[str, Callable[..., Any]] | None,
    kernels: str,
    view_cache: int | str | None,
) -> CompiledLossFn:
    known = ["eager", *torch._dynamo.list_backends()]
    if backend not in ("eager", *torch._dynamo.list_backends(exclude_tags=())):
        near = did_you_mean(backend, known) or f"the backends here are {', '.join(known)}"
        raise LossError([argument("backend", backend, f"there is no backend `{backend}`", near)])
    if kernels not in ROUTES:
        near = did_you_mean(kernels, ROUTES) or f"the kernels are {', '.join(ROUTES)}"
        raise LossError([argument("kernels", kernels, f"there are no kernels `{kernels}`", near)])
    budget = budget_of(view_cache)
    if budget is None:
        help_ = 'it is a number of bytes, or a text with a unit, such as "256 MB" or "1.5 GiB"'
        raise LossError([argument("view_cache", view_cache, "`view_cache` is no amount of memory", help_)])
    try:
        place = None if device is None else torch.device(device)
    except RuntimeError:
        help_ = 'devices are called "cpu", "cuda", "cuda:1"'
        raise LossError([argument("device", device, f"there is no device `{device}`", help_)]) from None
    program, diagnostics = analyse(source, params)
    if program is None:
        raise LossError(diagnostics)
    for diagnostic in apply(diagnostics):  # they must reach whoever never runs the linter
        warnings.warn(f"\n{diagnostic}", LossWarning, stacklevel=3)
    return CompiledLossFn(program, backend, place, register, kernels, budget)


def _zero(like: Tensor | None) -> Tensor:
    device = like.device if isinstance(like, Tensor) else None
    return torch.zeros((), device=device, requires_grad=torch.is_grad_enabled())
