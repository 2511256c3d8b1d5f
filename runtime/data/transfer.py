"""Tensors on their way to a device."""

from __future__ import annotations

import torch
from torch import Tensor


def on_device(value: Tensor, device: torch.device | str) -> Tensor:
    """``value`` on a device; from the CPU to CUDA through pinned memory, so that the host does not wait for the copy.

    What comes after it on the stream that is current here finds it complete; another stream has to wait for this one.
    """
    if torch.device(device).type == "cuda" and value.device.type == "cpu":
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)
