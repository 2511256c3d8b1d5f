"""The guard of a step, read when the device has come that far: the step itself does not wait for it.

An optimiser that can leave out an update by a number on the device does so where the loss or a gradient is not finite.
Parameters then stay what they were, so whoever looks one step later finds what the guard would have found at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import ParameterDict


class DeferredCheck:
    """One number of the device on its way to the host.

    Args:
        finite: 0-d bool on any device.
        explain: called where it is False; raises what is wrong.
    """

    def __init__(self, finite: Tensor, explain: Callable[[], None]) -> None:
        self._explain = explain
        self._event: torch.cuda.Event | None = None
        self._host = finite
        if finite.is_cuda:
            self._host = torch.empty((), dtype=torch.bool, pin_memory=True)
            self._host.copy_(finite, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def settle(self) -> None:
        """Wait for the number, and for nothing that the device was told after it.

        Raises:
            LossError: what ``explain`` raises.
        """
        if self._event is not None:
            self._event.synchronize()
        if not bool(self._host):
            self._explain()


def held_gradients(params: Mapping[str, Tensor] | ParameterDict) -> dict[str, Any]:
    """The gradients of parameters, kept beyond `zero_grad`; each is the ``grad`` of an object, as of a parameter."""
    return {name: SimpleNamespace(grad=param.grad) for name, param in params.items()}
