"""A loss as a `torch.export.ExportedProgram`: one set of terms, without this package."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..compiler.compiled import CompiledProgram
from ..compiler.emit import emit
from ..compiler.specialise import Facts
from ..compiler.variants import Part
from ..compiler.windows.routes import TORCH
from ..dsl.builtins.shapes import letters
from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.typed import TypedProgram
from .binding import Binder
from .knowing import argument, check_step

if TYPE_CHECKING:
    from .compiled import CompiledLossFn

DYNAMIC = ("N", "B", "H", "W")
"""Dimensions that an exported loss can leave open."""


class ExportedLoss(torch.nn.Module):
    """What is exported: from tensors as a call takes them, by the names of the graph's inputs, and the step.

    It returns the total and the raw value of each term. Steps at which other terms exist give NaN.
    """

    table: Tensor

    def __init__(self, part: Part, binder: Binder, terms: tuple[str, ...], rows: list[list[float]]) -> None:
        super().__init__()
        self.names, self.terms, self._binder = part.names, terms, binder
        self.graph = emit(part.graph, part.names)
        self.register_buffer("table", torch.tensor(rows, dtype=torch.float64))

    def forward(self, inputs: dict[str, Tensor], step: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The total (0-d) and the terms by name.

        Args:
            inputs: pixels `[B, H, W, k]`, masks `[B, H, W]`, gaussians `[N, k]`, as in a call, by input name.
            step: whole number, 0-d, counted from 0.
        """
        found = [self._binder._shape(name, inputs[name]) for name in self.names]
        exact = any(x.dtype == torch.float64 for x in found)
        dtype = torch.float64 if exact else torch.float32
        bound = [x.to(dtype) if x.is_floating_point() else x for x in found]
        last = self.table.shape[0] - 1
        row = step.reshape(())
        if last:  # what comes before the first step or after the last is the row of NaN
            row = torch.where((row >= 0) & (row < last), row, torch.full_like(row, last))
        # By selection: an index that is a tensor would be a number that the graph depends on.
        numbers = self.table.index_select(0, row.reshape(1).to(torch.int64))[0] if last else self.table[0]
        total, values, *_ = self.graph(*bound, numbers[1:].to(dtype))
        return total * numbers[0].to(dtype), dict(zip(self.terms, values.unbind()))


def export(
    loss_fn: CompiledLossFn,
    given: Mapping[str, Any],
    step: int,
    max_steps: int,
    group: str | None,
    dynamic: Sequence[str],
) -> torch.export.ExportedProgram:
    """See `CompiledLossFn.export`; ``given`` are complete arguments."""
    check_step(step, max_steps)
    for letter in dynamic:
        if letter not in DYNAMIC:
            message = f"there is no dimension `{letter}` that can stay open"
            raise LossError([argument("dynamic", tuple(dynamic), message, f"there are {', '.join(DYNAMIC)}")])
    program, parts = loss_fn.program, loss_fn.parts
    compiled = CompiledProgram(program, "eager", TORCH)
    schedule, host = compiled.schedule, parts.binder.host_values(given)
    present, lengths = parts.present(given), parts.lengths(given)

    def variant(at: int) -> tuple[Facts, Any]:
        env = schedule.environment(at, max_steps, present, host)
        return schedule.facts(env, given["mask"] is not None, group, lengths), env

    facts, env = variant(step)
    _refuse(program, compiled, facts, step)
    _refuse_sizes(program, dynamic)
    part = compiled.part(facts)
    rows = []
    for at in range(max_steps):
        other, env = variant(at)
        rows.append([1.0, *part.numbers(env)] if other == facts else [math.nan] * (1 + len(part.slots)))
    rows = rows[:1] if all(row == rows[0] for row in rows) else [*rows, [math.nan] * (1 + len(part.slots))]

    parts.binder.bind(part.names, given)  # checks them
    parts.binder.forget()
    tensors = {name: parts.binder._given(name, given) for name in part.names}
    sizes = {letter: torch.export.Dim(letter, min=2 if letter == "N" else 1) for letter in dynamic}
    shapes = {name: _open(parts.binder, name, x, sizes) for name, x in tensors.items()}
    examples = {name: torch.zeros_like(x) for name, x in tensors.items()}  # a file with them would hold pictures
    device = next((x.device for x in tensors.values()), None)
    module = ExportedLoss(part, parts.binder, facts.terms, rows).to(device)
    when = torch.tensor(step, device=device)
    try:
        with torch.enable_grad():
            made = torch.export.export(module, (examples, when), dynamic_shapes=(shapes, None), strict=False)
        return _plain(made)
    except Exception as problem:  # whatever torch raises where it cannot trace or keep a dimension open
        first = next(iter(str(problem).strip().splitlines()), type(problem).__name__)
        help_ = "leave dimensions out of `dynamic=`, whose sizes are then those of the example"
        help_ = help_ if dynamic else "load the program where it is used"
        message = f"torch cannot export this loss: {first}"
        raise LossError([argument("export", "...", message, help_, "BND013")]) from problem


def _refuse(program: TypedProgram, compiled: CompiledProgram, facts: Facts, step: int) -> None:
    """Refuse what cannot be one graph of the inputs.

    Raises:
        LossError: BND013.
    """
    resolved = compiled.resolved(facts)
    for memory in resolved.memories:
        info = memory.info
        message = f"this loss cannot be exported, because the memory `{info.name}` is state between calls"
        raise LossError([Diagnostic("BND013", message, info.source, info.span)])
    for call in resolved.externs:
        message = f"this loss cannot be exported, because `{call.info.name}` is a function of the host"
        raise LossError([Diagnostic("BND013", message, call.at.source, call.at.span)])
    if not facts.terms:
        message = f"no term exists at step {step}, so there is nothing to export"
        raise LossError([argument("step", step, message, "choose another step: see loss_fn.phases()", "BND013")])


def _refuse_sizes(program: TypedProgram, dynamic: Sequence[str]) -> None:
    for e in (e for root in (*program.values(), *program.conditions()) for e in root.walk()):
        if e.op == "size" and e.value in dynamic:
            message = f"this loss reads the size `{e.value}` as a number, so it cannot stay open"
            help_ = [f"leave `{e.value}` out of `dynamic=`: it is then that of the example"]
            raise LossError([Diagnostic("BND013", message, e.source, e.span, help=help_)])


def _open(binder: Binder, name: str, x: Tensor, sizes: Mapping[str, Any]) -> dict[int, Any] | None:
    """The open dimensions of a tensor as it is given; those of a second render stay as they are."""
    kind = binder.lookup.kind(name)
    if kind.view or not kind.is_tensor:
        return None
    words = letters(kind)
    full = len(words) + (x.dim() > len(words)) if kind.layout != "pixels" else 4
    if kind.layout == "pixels" and x.dim() == 3 and kind.components == 1:
        full = 3
    if x.dim() < full:  # without the dimension of the images
        words = words[1:]
    if kind.layout == "pixels" and binder.layout != "BHWC" and x.dim() == len(words) + 1:
        words = [*words[:-2], "", *words[-2:]]
    return {i: sizes[word] for i, word in enumerate(words) if word in sizes} or None


def _plain(made: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with operators of torch alone: those of this package are taken apart."""
    from ..compiler.kernels import blur, filters

    ops = torch.ops.splatdsl
    table = {
        ops.blur.default: lambda x: _filtered(x, blur.window()),
        ops.filter.default: _filtered,
        ops.spectrum.default: filters._spectrum._init_fn,
    }
    if not any(node.target in table for node in made.graph.nodes):
        return made
    plain: torch.export.ExportedProgram = made.run_decompositions(table)
    return plain


def _filtered(x: Tensor, taps: Sequence[float]) -> Tensor:
    """A separable filter of `[B, H, W, k]` with symmetric taps and zero padding, as `filters.blur`."""
    channels, border = x.shape[-1], len(taps) // 2
    weights = torch.stack([torch.full((), tap, dtype=x.dtype, device=x.device) for tap in taps])
    planes = x.permute(0, 3, 1, 2)
    row, column = weights.reshape(1, 1, 1, -1), weights.reshape(1, 1, -1, 1)
    planes = F.conv2d(planes, row.expand(channels, -1, -1, -1), padding=(0, border), groups=channels)
    planes = F.conv2d(planes, column.expand(channels, -1, -1, -1), padding=(border, 0), groups=channels)
    return planes.permute(0, 2, 3, 1).contiguous()
