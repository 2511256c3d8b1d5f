"""Losses from files and texts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..compiler.windows.routes import AUTO, ROUTES
from ..dsl.api import analyse
from ..dsl.check_files import read_source
from ..dsl.diagnostics import LossError, LossWarning
from ..dsl.source import Source
from ..dsl.suggest import did_you_mean
from ..dsl.suppress import apply
from .compiled import CompiledLossFn
from .knowing import argument
from .names import LAYOUTS, check_layout
from .ranks import Ranks
from .view_cache import budget_of

__all__ = ["compile", "load"]


def load(
    path: str | Path,
    params: Mapping[str, Any] | None = None,
    backend: str = "inductor",
    device: str | torch.device | None = None,
    register: Mapping[str, Callable[..., Any]] | None = None,
    kernels: str = AUTO,
    view_cache: int | str | None = None,
    bind: Mapping[str, Any] | None = None,
    layout: str = LAYOUTS[0],
    ranks: Ranks | str | None = "auto",
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
        bind: the caller's names by ours, ``{"rendered": "rgb", "alpha": "accumulation", "state.means": "xyz"}``: of
            fields in ``render``, ``item`` and ``state``, and of keyword arguments of the call. A function in place of
            a name makes the value of the record that holds it: ``{"rendered": lambda out: out["rgb"].clamp(0, 1)}``.
        layout: how pixels are given: "BHWC", or "BCHW" where components come first; masks are `[B, H, W]` in both.
        ranks: which processes hold the parts of a batch: "auto" the ranks of `torch.distributed`, where it is
            initialised with more than one, each with all gaussians; `Ranks` says otherwise; None: this one alone.

    Raises:
        LossError: the file cannot be read, or has an error; the text is what the linter prints.
    """
    return _make(read_source(str(path)), params, backend, device, register, kernels, view_cache, bind, layout, ranks)


def compile(
    text: str,
    params: Mapping[str, Any] | None = None,
    backend: str = "inductor",
    device: str | torch.device | None = None,
    register: Mapping[str, Callable[..., Any]] | None = None,
    name: str = "<loss>",
    kernels: str = AUTO,
    view_cache: int | str | None = None,
    bind: Mapping[str, Any] | None = None,
    layout: str = LAYOUTS[0],
    ranks: Ranks | str | None = "auto",
) -> CompiledLossFn:
    """A loss from text; see `load`. ``name`` is what messages call it."""
    return _make(Source(text, name), params, backend, device, register, kernels, view_cache, bind, layout, ranks)


def _make(
    source: Source,
    params: Mapping[str, Any] | None,
    backend: str,
    device: str | torch.device | None,
    register: Mapping[str, Callable[..., Any]] | None,
    kernels: str,
    view_cache: int | str | None,
    bind: Mapping[str, Any] | None,
    layout: str,
    ranks: Ranks | str | None,
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
    return CompiledLossFn(program, backend, place, register, kernels, budget, bind, check_layout(layout), ranks)
