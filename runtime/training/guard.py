"""Stops a run before an update that would destroy it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import ParameterDict

from ...dsl.diagnostics import Diagnostic, LossError
from ...dsl.source import Source, Span
from .blame import Culprit, culprits

Parameters = Mapping[str, Tensor] | ParameterDict


def is_finite(loss: Tensor, params: Parameters) -> bool:
    """Whether the loss and every gradient are finite; costs one device synchronisation."""
    return bool(finite(loss, params))


def finite(loss: Tensor, params: Parameters) -> Tensor:
    """Whether the loss and every gradient are finite: 0-d bool on their device, which is not waited for."""
    worst = [loss.detach().float().reshape(())]
    for param in params.values():
        if param.grad is not None and param.grad.numel():
            # The largest magnitude: a sum could overflow although every number is finite.
            worst.append(torch.linalg.vector_norm(param.grad, ord=torch.inf).float())
    return torch.isfinite(torch.stack(worst)).all()


def bad_gradients(params: Parameters) -> dict[str, int]:
    """The parameters whose gradient is not finite, with the number of gaussians concerned."""
    found = {}
    for name, param in params.items():
        if param.grad is not None and param.grad.numel():
            rows = ~torch.isfinite(param.grad).reshape(len(param.grad), -1).all(dim=1)
            count = int(rows.sum())
            if count:
                found[name] = count
    return found


def term_values(loss_fn: Any) -> dict[str, float]:
    """The raw values of the loss function's terms, if it tells them."""
    terms = getattr(loss_fn, "terms", None)
    if not isinstance(terms, Mapping):
        return {}
    return {name: float(value) for name, value in terms.items()}


def _place(loss_fn: Any, terms: list[str]) -> tuple[Source, Span | None]:
    """Where the program defines the first of these terms; the whole program, or nothing, if there is none."""
    program = getattr(loss_fn, "program", None)
    if program is None:
        return Source("", f"<{type(loss_fn).__name__}>"), None
    for term in program.terms:
        if term.name in terms:
            return term.source, term.span
    return program.source, None


def _finite(value: float) -> bool:
    return value - value == 0


def raise_non_finite(
    loss: Tensor, params: Parameters, loss_fn: Any, arguments: Mapping[str, Any], image: str, recovery: str
) -> None:
    """Raise the finding that fits; returns only if everything is finite after all.

    Args:
        loss: the scalar loss.
        params: raw gaussian parameters with their gradients.
        loss_fn: its ``terms`` and ``program``, if it has them, make the message precise. The terms of a compiled loss
            are computed once more, each alone, if the loss is finite and its gradient is not.
        arguments: what ``compute_loss`` was given; ``step`` counts from 0.
        image: name of the training image.
        recovery: what there is to go back to.

    Raises:
        LossError: RUN001 or RUN002.
    """
    step = arguments["step"]
    values = term_values(loss_fn)
    shown = tuple(f"term {name} = {value:g}" for name, value in values.items())
    if not bool(torch.isfinite(loss.detach()).all()):
        bad = [name for name, value in values.items() if not _finite(value)]
        source, span = _place(loss_fn, bad)
        if bad:
            names = ", ".join(f"`{name}`" for name in bad)
            which = f"term {names} is" if len(bad) == 1 else f"terms {names} are"
            message = f"{which} not finite at step {step}"
        else:
            message = f"the loss is {float(loss.detach()):g} at step {step}"
        help_text = "look for a division by, or a logarithm or root of, a value that can reach 0"
        notes = (f"image {image}", *shown, recovery)
        raise LossError([Diagnostic("RUN001", message, source, span, notes=notes, help=(help_text,))])
    gradients = bad_gradients(params)
    if gradients:
        notes = (f"image {image}, loss {float(loss.detach()):g}", *shown, recovery)
        raise LossError([_bad_gradient(gradients, culprits(loss_fn, arguments), loss_fn, step, notes)])


def _bad_gradient(
    gradients: Mapping[str, int], found: list[Culprit] | None, loss_fn: Any, step: int, notes: tuple[str, ...]
) -> Diagnostic:
    """RUN002: names the terms that made it, or the parameters where no term can be told."""
    rows = dict.fromkeys(("exposure", "bilateral_grid"), "views")
    groups = ", ".join(f"`{name}` ({count} {rows.get(name, 'gaussians')})" for name, count in gradients.items())
    slope = (
        "the slope of a root, norm or logarithm is infinite at 0: keep its argument away from 0, or guard it with "
        "`where`, whose untaken branch has no gradient"
    )
    if found:
        names = ", ".join(f"`{culprit.term.name}`" for culprit in found)
        which = f"the gradient of term {names} is" if len(found) == 1 else f"the gradients of terms {names} are"
        first = found[0].term
        reached = (*(culprit.describe() for culprit in found), f"it reaches {groups}")
        message = f"{which} not finite at step {step}, although the loss is"
        return Diagnostic("RUN002", message, first.source, first.span, notes=(*reached, *notes), help=(slope,))
    source, span = _place(loss_fn, [])
    message = f"the gradient of {groups} is not finite at step {step}, although the loss is"
    if found is None:
        return Diagnostic("RUN002", message, source, span, notes=notes, help=(slope,))
    innocent = "the gradient of each term by what it reads is finite: the renderer's backward pass made this one"
    advice = "look for gaussians that are degenerate, such as of a scale near 0 or infinity, and lower `train.lr`"
    return Diagnostic("RUN002", message, source, span, notes=(innocent, *notes), help=(advice,))
