"""Items of a step: stacked into a batch, and loaded ahead of the step that needs them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..data.base import SplatDataItem, SplatDataProvider
from .config import training_error
from .prefetch import Carrier, Sent

# What fills up items with fewer points than others of the batch: outside of every image, and no valid depth.
PADDING = {"points": -1e6, "depths": 0.0}


def stack_items(items: list[SplatDataItem]) -> SplatDataItem:
    """One item of several.

    Tensors are joined along their first dimension. A missing mask keeps every pixel; lists of points are filled up
    with points outside of the image and depths of 0, whole lists of them for an item that has none; any other field or
    extra that an item lacks is missing in the batch.

    Raises:
        LossError: RUN009, the images, or an extra, differ in size.
    """
    if len(items) == 1:
        return items[0]
    joined: dict[str, Any] = {"image_name": "+".join(item.image_name for item in items)}
    joined["ids"] = tuple(view for item in items for view in item.ids or (item.id,) * len(item.image))
    for field in fields(items[0]):
        values = [getattr(item, field.name) for item in items]
        present = [value for value in values if isinstance(value, Tensor)]
        if not present:
            continue
        if len(present) < len(values):
            if field.name == "mask":
                whole = [torch.ones(item.image.shape[:3], dtype=present[0].dtype) for item in items]
                values = [w.to(present[0].device) if m is None else m for w, m in zip(whole, values)]
            elif field.name in PADDING:
                none = [present[0].new_empty((len(item.image), 0, *present[0].shape[2:])) for item in items]
                values = [n if value is None else value for n, value in zip(none, values)]
            else:
                joined[field.name] = None
                continue
        if field.name in PADDING:
            values = _pad(values, PADDING[field.name])
        sizes = {tuple(value.shape[1:]) for value in values}
        if len(sizes) > 1:
            names = ", ".join(f"{item.image_name} {tuple(item.image.shape[1:3])}" for item in items)
            raise training_error(
                "RUN009",
                f"images of different sizes cannot share a batch: {names} (height, width)",
                help=("set `batch_size: 1`, or give the images one size",),
            )
        joined[field.name] = torch.cat(values)
    shared = [name for name in items[0].extras if all(name in item.extras for item in items)]
    joined["extras"] = {name: _join_extra(name, items) for name in shared}
    return replace(items[0], **joined)


def _join_extra(name: str, items: list[SplatDataItem]) -> Tensor:
    values = [item.extras[name] for item in items]
    if len({tuple(value.shape[1:]) for value in values}) > 1:
        shapes = ", ".join(f"{item.image_name} {list(value.shape[1:])}" for item, value in zip(items, values))
        raise training_error(
            "RUN009",
            f"`{name}` of different sizes cannot share a batch: {shapes}",
            help=("set `batch_size: 1`, or give the files one size",),
        )
    return torch.cat(values)


def _pad(values: list[Tensor], fill: float) -> list[Tensor]:
    longest = max(value.shape[1] for value in values)
    padded = []
    for value in values:
        full = value.new_full((value.shape[0], longest, *value.shape[2:]), fill)
        full[:, : value.shape[1]] = value
        padded.append(full)
    return padded


class ItemLoader:
    """Supplies the batch of each step, loaded ahead in a thread if ``workers`` is above 0.

    Which items belong to a step is a pure function of the step, so loading ahead changes nothing but the waiting.
    One thread, however many items it is ahead: a provider need not be made for several at once.

    Of several ranks each loads its part of the batch that one process would have: ``batch_size`` counts per rank.
    """

    def __init__(
        self, provider: SplatDataProvider, batch_size: int, max_steps: int, workers: int, rank: int = 0, world: int = 1
    ) -> None:
        self._provider = provider
        self._batch_size = batch_size
        self._rank, self._world = rank, world
        self._max_steps = max_steps
        self._workers = workers
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: dict[int, Future[Sent]] = {}
        self._carrier: Carrier | None = None

    def _load(self, step: int) -> SplatDataItem:
        first = (step * self._world + self._rank) * self._batch_size
        return stack_items([self._provider.next_train_data(first + i) for i in range(self._batch_size)])

    def get(self, step: int, device: torch.device) -> SplatDataItem:
        """The batch of a step, on a device; it is brought there ahead, too."""
        if self._pool is None:
            return self._load(step).to(device)
        if self._carrier is None:
            self._carrier = Carrier(device)
        for ahead in range(step, min(step + self._workers + 1, self._max_steps)):
            if ahead not in self._ahead:
                self._ahead[ahead] = self._pool.submit(self._carrier.send, partial(self._load, ahead))
        return self._carrier.receive(self._ahead.pop(step).result())

    @contextmanager
    def running(self) -> Iterator[ItemLoader]:
        """Holds the thread while a run lasts."""
        if self._workers == 0:
            yield self
            return
        with ThreadPoolExecutor(1, thread_name_prefix="splatdsl-items") as pool:
            self._pool = pool
            try:
                yield self
            finally:
                for future in self._ahead.values():
                    future.cancel()
                self._ahead.clear()
                self._pool = None
