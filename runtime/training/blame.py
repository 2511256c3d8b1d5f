"""Which term of a compiled loss has a gradient that is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...dsl.typed import TypedProgram, TypedTerm


class Culprit(NamedTuple):
    """A term, and the inputs with respect to which its slope is not finite at some pixels or gaussians."""

    term: TypedTerm
    inputs: dict[str, tuple[int, int]]  # input -> (how many, of how many)

    def describe(self) -> str:
        """In words: ``the slope of term `g` is not finite with respect to `alpha` at 12 of 768 pixels``."""
        places = []
        for name, (count, total) in self.inputs.items():
            raw = name.startswith("state.")
            shown = f"the raw `{name.partition('.')[2]}`" if raw else f"`{name}`"
            places.append(f"{shown} at {count} of {total} {'gaussians' if raw else 'pixels'}")
        return f"the slope of term `{self.term.name}` is not finite with respect to {', '.join(places)}"


def culprits(loss_fn: Any, arguments: Mapping[str, Any]) -> list[Culprit] | None:
    """The terms whose own gradient, times their weight, is not finite, in the program's order.

    Every term is computed alone on detached copies of what the loss was given, so that neither the renderer nor
    another term has a part in it. That costs one evaluation a term: it is meant for the step that ends a run.

    Args:
        loss_fn: the loss function.
        arguments: the keyword arguments of its ``compute_loss``.

    Returns:
        The terms; None if the loss is no compiled one, or if there is not enough memory to find out.
    """
    from ..compiled import CompiledLossFn

    if not isinstance(loss_fn, CompiledLossFn):
        return None
    given = {
        "rendered": arguments["rendered_frames"],
        "target": arguments["target_frames"],
        "mask": arguments["masks"],
        "state": arguments["training_state"],
        "render": arguments["rend_out"],
        "background": arguments.get("background"),
        **(arguments.get("host") or {}),
    }
    given = loss_fn.parts.complete(given, arguments.get("item"))
    try:
        with torch.enable_grad():
            slopes = [
                (term, _slopes(loss_fn, term, given, arguments["step"], arguments["max_steps"]))
                for term in loss_fn.program.terms
            ]
    except torch.OutOfMemoryError:
        return None
    found = [(term, {name: _bad(slope) for name, slope in by_input.items()}) for term, by_input in slopes]
    counted = [Culprit(term, {name: bad for name, bad in by.items() if bad[0]}) for term, by in found]
    return [culprit for culprit in counted if culprit.inputs]


def _slopes(loss_fn: Any, term: TypedTerm, given: Mapping[str, Any], step: int, max_steps: int) -> dict[str, Tensor]:
    """The gradient of a term by each input that training reaches; nothing if the term does not exist now."""
    from ...compiler.compiled import CompiledProgram
    from ..evaluation import Evaluation

    whole: TypedProgram = loss_fn.program
    alone = TypedProgram(
        whole.source,
        whole.docstring,
        whole.params,
        (term,),
        whole.inputs,
        whole.lets,
        whole.memories,
        whole.externs,
        whole.sources,
    )
    compiled = CompiledProgram(alone, "eager")
    parts = loss_fn.parts
    env = compiled.schedule.environment(step, max_steps, parts.present(given), parts.binder.host_values(given))
    facts = compiled.schedule.facts(env, given["mask"] is not None, None, parts.lengths(given))
    if not facts.terms:
        return {}
    steps = Evaluation(compiled, parts.binder, parts.memories, parts.externs)
    bound = parts.binder.bind(compiled.part(facts).names, given, steps.known(facts, given, env, step))
    leaves = {name: tensor.detach().requires_grad_(tensor.requires_grad) for name, tensor in bound.items()}
    wanted = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    if not wanted:
        return {}
    total = compiled(facts, leaves, env).total
    if not total.requires_grad:
        return {}
    gradients = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(wanted, gradients) if gradient is not None}


def _bad(slope: Tensor) -> tuple[int, int]:
    """How many pixels of `[B, H, W, k]`, or gaussians of `[N, k]`, are not finite, and how many there are."""
    wrong = (~torch.isfinite(slope)).any(dim=-1)
    return int(wrong.sum()), wrong.numel()
