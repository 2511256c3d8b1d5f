"""Which implementation runs a plan, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...dsl.diagnostics import Diagnostic, LossError
from ...dsl.source import Source, Span
from ..backend import warn_once
from ..ir import FUSED, MEASURED, Graph
from ..passes import tidy
from .direct import is_direct
from .fuse import PLANS, SSIM, fuse
from .plan import WindowPlan
from .portable import run_portable

AUTO, TORCH, CPP, TRITON, PORTABLE = "auto", "torch", "cpp", "triton", "portable"
PACKAGES = ("fused_ssim", "fussim")
ROUTES = (AUTO, TORCH, CPP, TRITON, *PACKAGES, PORTABLE)
"""``torch`` leaves windows to the graph; the packages compute SSIM for it on CUDA; ``portable`` runs plans with torch
operations, to compare with."""

Runner = Callable[[WindowPlan, Sequence[Tensor], Sequence[float], Sequence[float], bool], list[Tensor]]


class Choice(NamedTuple):
    """A route, why it was taken, and whether it was asked for."""

    route: str
    reason: str
    forced: bool = False


def choose(kernels: str, backend: str, device: torch.device, dtype: torch.dtype) -> Choice:
    """The route for a device and dtype.

    On processors the compiled kernel is the fastest by far at every size; on CUDA it is Triton's, for float32.

    Raises:
        LossError: RUN017, the route that was asked for cannot run here.
    """
    if kernels == TORCH:
        return Choice(TORCH, "asked for", True)
    if kernels != AUTO:
        reason = missing(kernels, device, dtype)
        if reason:
            raise unavailable(kernels, reason)
        return Choice(kernels, "asked for", True)
    if backend != "inductor":
        return Choice(TORCH, f"the backend is `{backend}`")
    reasons: list[str] = []
    for route in (CPP,) if device.type == "cpu" else (TRITON, *PACKAGES):
        reason = missing(route, device, dtype)
        if not reason:
            return Choice(route, f"the fastest on {device.type}" if not reasons else reasons[0])
        reasons.append(reason)
    return Choice(TORCH, reasons[0])


def missing(route: str, device: torch.device, dtype: torch.dtype) -> str:
    """Why a route cannot run on a device with a dtype, in words; "" if it can."""
    if route == CPP:
        from . import cpp

        return cpp.missing() if device.type == "cpu" else "generated C++ runs on the CPU alone"
    if route == TRITON:
        from . import triton

        if dtype != torch.float32 and device.type != "cpu":
            return f"Triton kernels are for float32, not {str(dtype).removeprefix('torch.')}"
        return triton.missing(str(device))
    if route in PACKAGES:
        from ..kernels import ssim_packages

        return ssim_packages.missing(route, device, dtype)
    return ""


def unavailable(kernels: str, reason: str) -> LossError:
    """The error that a route which was asked for cannot run."""
    help_ = [f'leave out `kernels`, or write `kernels="{TORCH}"`: only the speed is another']
    source = Source(f'kernels="{kernels}"', "<argument kernels>")
    message = f"the kernels `{kernels}` cannot run here: {reason}"
    return LossError([Diagnostic("RUN017", message, source, Span(9, 9 + len(kernels)), help=help_)])


def with_kernels(graph: Graph, gradients: frozenset[str], choice: Choice, dtype: torch.dtype) -> Graph:
    """The graph with window kernels where there are any; the same graph if not, or if they cannot be built.

    Raises:
        LossError: RUN017, kernels that were asked for cannot be built.
    """
    if choice.route == TORCH:
        return graph
    if choice.route in PACKAGES:
        return with_package(graph, choice.route)
    fused = fuse(graph, gradients, choice.route, is_flat(graph, gradients, choice.route))
    if fused is graph:
        return graph
    if choice.route == CPP:
        from .cpp import KernelUnavailable, kernel

        try:
            for plan in plans_of(fused):
                kernel(plan, dtype)
        except KernelUnavailable as error:
            if choice.forced:
                raise unavailable(CPP, error.reason) from None
            warn_once(f"the loss runs without its own kernels, several times slower: {error.reason}")
            return graph
    return tidy(fused)


def is_flat(graph: Graph, gradients: frozenset[str], route: str) -> bool:
    """Whether sums and means that read no window become kernels as well.

    They do on processors where nothing is left for a graph: it costs more per call than all such sums of a usual
    scene. Beside other values a graph fuses them as well as a kernel does.
    """
    if route not in (CPP, PORTABLE):
        return False
    fused = fuse(graph, gradients, route, flat=True)
    return fused is not graph and is_direct(tidy(fused))


def with_package(graph: Graph, package: str) -> Graph:
    """The graph with SSIM by a package."""
    made = Graph()
    for node in graph.nodes:
        if node.op == "kernel" and node.attr.kernel == SSIM:
            node = node._replace(attr=node.attr._replace(kernel=f"ssim_packages:{package}"))
        made.nodes.append(node)
    made.like(graph, range(len(graph.nodes)))
    return made


def plans_of(graph: Graph) -> list[WindowPlan]:
    """The plans of a fused graph, each once."""
    keys = (n.attr.args[0] for n in graph.nodes if n.op == "kernel" and n.attr.kernel in (FUSED, MEASURED))
    return [PLANS[key] for key in dict.fromkeys(keys)]


def route_of(graph: Graph) -> str:
    """The route that the kernels of a fused graph were made for."""
    return next(str(n.attr.args[1]) for n in graph.nodes if n.op == "kernel" and n.attr.kernel == FUSED)


def runner(route: str) -> Runner:
    """What runs plans with factors and numbers of the host that are Python's."""
    if route == CPP:
        from .cpp import run_cpp

        return run_cpp
    return run_portable


def run(plan: WindowPlan, route: str, scalars: Tensor, inputs: list[Tensor], gradient: bool) -> list[Tensor]:
    """The numbers of a plan, and with ``gradient`` the gradients of its differentiable inputs."""
    count = len(plan.reductions)
    if route == TRITON:
        from .triton import run_triton

        return run_triton(plan, inputs, scalars, gradient)
    numbers = scalars.tolist()
    return runner(route)(plan, inputs, numbers[:count], numbers[count:], gradient)
