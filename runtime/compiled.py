"""Compiled losses: what `splatdsl.load` and `splatdsl.compile` return."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..compiler.compiled import CompiledProgram
from ..compiler.variants import Stats
from ..compiler.windows.routes import AUTO
from ..dsl.inputs import PAYLOAD_FIELDS
from ..dsl.suggest import did_you_mean
from ..dsl.typed import TypedProgram
from .adapters.splatkit import SplatkitHooks, both_forms, join
from .binding import Binder
from .blocks import Blocks
from .evaluation import Evaluation, Parts
from .exporting import export
from .externs import Externs
from .knowing import check_step
from .lookup import EXTRA
from .memories import Memories
from .micro_batches import Accumulating, MicroBatches
from .names import LAYOUTS, Names
from .params import Params
from .portable import Portable
from .ranks import Ranks, joined, ranks_of
from .view_cache import Named, ViewCache, named
from .warmup import Warmed, Warmup

__all__ = ["CompiledLossFn"]


class CompiledLossFn(SplatkitHooks, Portable):
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
        bind: Mapping[str, Any] | None = None,
        layout: str = LAYOUTS[0],
        ranks: Ranks | str | None = "auto",
    ) -> None:
        self.program = program
        self.device = None if device is None else torch.device(device)
        self.params = Params(program)
        self.terms: dict[str, Tensor] = {}
        self._host_values: dict[str, float | bool] = {}
        self.empty_regions: Tensor = torch.zeros((), dtype=torch.int32)
        self._compiled = CompiledProgram(program, backend, kernels)
        self.names = Names(program, bind)
        binder = Binder(program, self.device, layout, self.names)
        self.parts = Parts(program, binder, Memories(program), Externs(program, register))
        self._blocks, self._read = Blocks(program, self._compiled.schedule), {}
        self.view_cache = ViewCache(view_cache)
        parts = self.parts
        self._steps = Evaluation(self._compiled, parts.binder, parts.memories, parts.externs, self.view_cache)
        self.ranks = ranks_of(ranks)
        self._among: dict[Ranks | None, Evaluation] = {None: self._steps}
        self._accumulating: Any = None
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
        given, numbers = self._joined(self._complete(given, buffers, item), step, max_steps, group)
        return self._step(self._steps, given, step, max_steps, group, named(view, buffers), numbers)

    def _step(
        self,
        steps: Evaluation,
        given: Mapping[str, Any],
        step: int,
        max_steps: int,
        group: str | None,
        view: Named | None = None,
        numbers: Mapping[str, float] | None = None,
    ) -> Tensor:
        """Evaluate a step of complete arguments, see the call; ``numbers`` are added to its host values."""
        rendered = given["rendered"]
        present = self.parts.present(given)
        schedule = self._compiled.schedule
        host = self.parts.binder.host_values(given)
        env = schedule.environment(step, max_steps, present, host)
        env.update(numbers or {})
        self._host_values = host
        facts = schedule.facts(env, given["mask"] is not None, self._group(group), self.parts.lengths(given))
        blocks = self._blocks.of(facts, max_steps, group)
        if not facts.terms and not facts.updates:
            self.terms, self.empty_regions = {}, torch.zeros((), dtype=torch.int32)
            return _zero(rendered)
        if torch.is_inference_mode_enabled():  # what is compiled for `no_grad` serves it too
            with torch.inference_mode(False), torch.no_grad():
                result, device = steps(facts, given, env, step, blocks, view)
        else:
            result, device = steps(facts, given, env, step, blocks, view)
        self.terms = dict(zip(result.names, result.values.unbind()))
        self.empty_regions = result.empty_regions
        total = result.total if device is not None else _zero(rendered) + result.total.to(_zero(rendered).device)
        if torch.is_grad_enabled() and not total.requires_grad:
            total = total.detach().requires_grad_()  # nothing to train, but backward() must not fail for that
        return total

    def _complete(self, given: Mapping[str, Any], buffers: Mapping[str, Any], item: Any) -> dict[str, Any]:
        """The arguments of a call by name, single buffers and what an item has among them."""
        declared = self.program.inputs
        if self.names:
            given, buffers = self.names.keywords(given, buffers)
            item = buffers.pop("item", item)
        unknown = [name for name in buffers if name not in PAYLOAD_FIELDS and name not in (*declared, *EXTRA, "view")]
        if unknown:
            near = did_you_mean(unknown[0], [*declared, *PAYLOAD_FIELDS, *self.names.theirs])
            hint = f"; {near}" if near else ""
            raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {unknown[0]!r}{hint}")
        found = self.parts.complete({**given, **buffers}, self.names.item(item))
        return self.names.records(found, item) if self.names else found

    def micro_batches(
        self, step: int = 0, max_steps: int = 30_000, group: str | None = None, **given: Sequence[Any]
    ) -> MicroBatches:
        """The parts of one batch, for gradient accumulation: the mean of their calls is the loss of the whole batch.

        A mean over masked pixels is a sum over their number in the whole batch, so a mean of means would be another
        loss. Each part therefore counts as much as it has of the pixels that count; its terms are scaled so, too.

        Args:
            step, max_steps, group: see the call.
            **given: arguments of the call, each a list with an item for each part, None where it has none: ``target``,
                ``mask``, ``item``, and whatever regions are made of.

        Returns:
            A sequence of parts, each to be called once with the other arguments: ``part(rendered=...) / len(parts)``.

        Raises:
            LossError: BND009, the lists differ in length; BND014, the batch is not known, or the loss of a batch is not
                the mean of such parts: when they are called.
        """
        if self._accumulating is None or self._accumulating.program.whole is not self._compiled:
            self._accumulating = Accumulating(self)
        return MicroBatches(self, step, max_steps, self._group(group), given)

    def export(
        self,
        step: int = 0,
        max_steps: int = 30_000,
        group: str | None = None,
        dynamic: Sequence[str] = ("N",),
        item: Any = None,
        **given: Any,
    ) -> torch.export.ExportedProgram:
        """The loss of one phase as a program of torch's own, which `torch.export.save` writes to a file.

        It takes the tensors of a call by input name, and the step: ``program.module()({"rendered": r, "target": t,
        "state.scales": s}, torch.tensor(step))`` gives the total and the terms, and gradients where they are asked
        for. Weights and schedules follow the step; steps at which other terms exist give NaN. Parameters, numbers of
        the host and sizes are those of now; inputs are not checked.

        Args:
            step: one of the phase's.
            max_steps: length of the run.
            group: the term group; None: all of them.
            dynamic: dimensions that stay open, of "N", "B", "H" and "W"; the others are those of the example.
            item, **given: an example of a call's arguments, of which only sizes, dtypes and devices count.

        Raises:
            LossError: BND013, the phase has memories or calls functions, or torch cannot export it.
        """
        arguments: dict[str, Any] = dict.fromkeys(("rendered", "target", "mask", "state", "render"))
        arguments.update({name: given.pop(name) for name in tuple(arguments) if name in given})
        return export(self, self._complete(arguments, given, item), step, max_steps, self._group(group), dynamic)

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
        given, _ = self._joined(self._complete(given, buffers, item), 0, max_steps, group)
        return Warmup(self, max_steps, self._group(group)).run(given, masks, evaluation)

    # Ranks

    def _joined(
        self, given: dict[str, Any], step: int, max_steps: int, group: str | None
    ) -> tuple[dict[str, Any], dict[str, float] | None]:
        """The arguments of a call among those of other ranks, if there are any, and sizes of the whole batch."""
        ranks = self.ranks if self.ranks is not None and self.ranks.active else None
        if ranks is not self._steps.ranks:
            self._use(ranks)
        return (given, None) if ranks is None else joined(ranks, self.parts, given, step, max_steps, group)

    def _use(self, ranks: Ranks | None) -> None:
        """Evaluate from now on among these ranks; None: this process alone."""
        if ranks not in self._among:
            first, parts = self._compiled, self.parts
            layout = None if ranks is None else ranks.layout
            program = CompiledProgram(self.program, first.backend, first.kernels, layout)
            program.stats = first.stats
            cache = self.view_cache if ranks is None else None  # a view that one rank knows, another may not
            self._among[ranks] = Evaluation(program, parts.binder, parts.memories, parts.externs, cache, ranks)
        self._steps = self._among[ranks]
        self._compiled = self._steps.compiled

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While this lasts, the loss is one of this process alone, whatever other ranks there are."""
        ranks, self.ranks = self.ranks, None
        try:
            yield
        finally:
            self.ranks = ranks

    @both_forms
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
        splatkit's form, ``(logger, renders, targets, training_state, rend_out, masks)``, is taken too: the step is
        then what the hooks told, which count from 1 there.
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


join(CompiledLossFn)


def _zero(like: Tensor | None) -> Tensor:
    device = like.device if isinstance(like, Tensor) else None
    return torch.zeros((), device=device, requires_grad=torch.is_grad_enabled())
