"""The optimisers of gaussians: one Adam a parameter, in torch, fused, or gsplat's selective one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter, ParameterDict
from torch.optim import Adam

from ...dsl.diagnostics import Diagnostic, LossError
from ...dsl.source import Source
from ..extras import require

OPTIMIZERS = ("auto", "adam", "fused", "selective")
EPS = 1e-15
BETAS = (0.9, 0.999)


def resolve_optimizer(kind: str, device: torch.device) -> str:
    """What ``"auto"`` means on a device: ``"fused"`` on CUDA, ``"adam"`` elsewhere.

    Raises:
        LossError: RUN007, ``"selective"`` off CUDA: gsplat has it as a CUDA kernel only.
    """
    if kind == "selective" and device.type != "cuda":
        raise LossError(
            [
                Diagnostic(
                    "RUN007",
                    f"the optimiser `selective` needs a CUDA device, and this run is on `{device.type}`",
                    Source("", "<training>"),
                    None,
                    notes=("gsplat's SelectiveAdam is a CUDA kernel",),
                    help=("use `optimizer: auto` or `adam` here",),
                )
            ]
        )
    if kind == "auto":
        return "fused" if device.type == "cuda" else "adam"
    return kind


def make_optimizers(
    params: ParameterDict, rates: Mapping[str, float], kind: str, device: torch.device
) -> dict[str, Adam]:
    """One optimiser for each parameter, with one parameter group each, as gsplat's strategies expect them.

    Args:
        params: the gaussians, by name.
        rates: learning rates, by the same names.
        kind: one of `OPTIMIZERS`.
        device: where the parameters are.

    Raises:
        LossError: see `resolve_optimizer`; DAT001, gsplat is not installed.
    """
    kind = resolve_optimizer(kind, device)

    def made(name: str) -> Adam:
        groups = [{"params": [params[name]], "lr": rates[name], "name": name}]
        if kind == "selective":
            selective: Adam = _selective()(groups, eps=EPS, betas=BETAS)
            return selective
        return Adam(groups, lr=rates[name], eps=EPS, betas=BETAS, fused=kind == "fused")

    return {name: made(name) for name in rates}


def _selective() -> type[Adam]:
    """gsplat's `SelectiveAdam`, counting its steps.

    Its kernel does not correct the averages for their start at 0 and needs no counter. Without one, a run that goes on
    with `torch.optim.Adam` would correct averages of a thousand steps as if they were of one.
    """
    base = require("gsplat.optimizers").SelectiveAdam

    class SelectiveAdam(base):  # type: ignore[misc, valid-type]
        @torch.no_grad()
        def step(self, visibility: Tensor) -> None:
            for group in self.param_groups:
                for parameter in group["params"]:
                    if not parameter.numel():  # spherical harmonics of degree 0 have no other coefficients
                        parameter.grad = None
                    elif parameter.grad is not None and not parameter.grad.is_contiguous():
                        parameter.grad = parameter.grad.contiguous()  # the kernel reads memory in order
            super().step(visibility)
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self.state[parameter]["step"] += 1

    return SelectiveAdam


def is_selective(optimizer: Adam) -> bool:
    """Whether an optimiser moves only gaussians that are visible."""
    return type(optimizer).__name__ == "SelectiveAdam"


def can_skip(optimizers: Mapping[str, Adam]) -> bool:
    """Whether an update can be left out by a number on the device, without asking for its value."""
    return all(is_selective(o) or bool(o.param_groups[0].get("fused")) for o in optimizers.values())


def step_all(optimizers: Mapping[str, Adam], visible: Tensor | None = None, finite: Tensor | None = None) -> None:
    """One step of every optimiser.

    Args:
        optimizers: by parameter.
        visible: `[N]` bool, the gaussians that a selective optimiser moves; None: all.
        finite: 0-d bool: where it is False nothing changes, neither parameters nor averages. Only for optimisers of
            which `can_skip` is true.
    """
    found_inf = None if finite is None else (~finite).float()
    for optimizer in optimizers.values():
        if is_selective(optimizer):
            n = len(optimizer.param_groups[0]["params"][0])
            like = optimizer.param_groups[0]["params"][0]
            moved = torch.ones(n, dtype=torch.bool, device=like.device) if visible is None else visible
            optimizer.step(moved if finite is None else moved & finite)
            continue
        if found_inf is None:
            optimizer.step()
            continue
        # What torch.amp.GradScaler gives its optimisers: the fused kernel looks at it itself.
        optimizer.found_inf = found_inf  # type: ignore[attr-defined]
        try:
            optimizer.step()
        finally:
            del optimizer.found_inf  # type: ignore[attr-defined]


def visible_gaussians(radii: Tensor) -> Tensor:
    """`[N]` bool: the gaussians that any of the views shows, as gsplat's trainer tells it.

    Args:
        radii: `[B, N, 2]`, screen radii in pixels, 0 where a gaussian is not drawn.
    """
    return (radii > 0).all(dim=-1).any(dim=0)


def restore_optimizer(optimizer: Adam, parameter: Parameter, saved: dict[str, Any]) -> None:
    """Give an optimiser a state that one of any kind on any device has saved.

    Args:
        optimizer: stays the same object, of its kind.
        parameter: its only parameter from now on.
        saved: from ``state_dict()``; belongs to the optimiser afterwards.
    """
    group = optimizer.param_groups[0]
    own = {name: group.get(name) for name in ("fused", "foreach", "capturable", "differentiable")}
    optimizer.state.clear()
    group["params"] = [parameter]
    for entry in saved["param_groups"]:
        entry.update(own)  # they belong to the kind and device, and decide where the step counter is put
    if not own["fused"]:
        for entry in saved["state"].values():
            if isinstance(entry.get("step"), Tensor):
                entry["step"] = entry["step"].cpu()
    optimizer.load_state_dict(saved)
