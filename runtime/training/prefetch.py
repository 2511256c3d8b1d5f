"""Items that a thread brings to CUDA on a stream of its own while a step runs on another."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from typing import NamedTuple

import torch
from torch import Tensor

from ..data.base import SplatDataItem


class Sent(NamedTuple):
    """An item on its device, and when it is complete there; None: it is."""

    item: SplatDataItem
    ready: torch.cuda.Event | None


class Carrier:
    """Brings items to a device.

    Args:
        device: on CUDA, copies and whatever a provider computes for an item run on a stream of the carrier's own.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def send(self, load: Callable[[], SplatDataItem]) -> Sent:
        """Load an item and start to bring it; called in the loading thread."""
        with self._on_stream():
            item = load().to(self.device)
            return Sent(item, None if self._stream is None else self._stream.record_event())

    def receive(self, sent: Sent) -> SplatDataItem:
        """The item, for the stream that is current here; called in the thread that trains, which does not wait."""
        if sent.ready is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(sent.ready)
            for tensor in tensors_of(sent.item):
                # Otherwise its memory would be given to the next item while a step may still read it.
                tensor.record_stream(stream)
        return sent.item

    def _on_stream(self) -> AbstractContextManager[object]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)


def tensors_of(item: SplatDataItem) -> list[Tensor]:
    """All tensors of an item."""
    values = [getattr(item, field.name) for field in fields(item)]
    return [value for value in (*values, *item.extras.values()) if isinstance(value, Tensor)]
