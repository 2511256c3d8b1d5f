"""Sparse points of several views as the two tensors of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .gsplat_buffers import gsplat_error

_OUTSIDE = -64.0  # pixels; no image has a point there
_FEWEST = 64


def stack_points(points: Sequence[Tensor | None], depths: Sequence[Tensor | None]) -> dict[str, Tensor]:
    """Points and depths of views that see different numbers of them, for losses that sample a depth at points.

    The number is rounded up to a power of two, so that a run compiles its loss for a few numbers of points and not for
    that of every view. What is added lies outside of the image, where ``sample_at`` says that a point does not count:
    means over it are those of the points that there are. A loss that reads ``points`` or ``depths`` without
    ``sample_at`` must be given them as they are.

    Args:
        points: of each view `[P, 2]` or `[1, P, 2]`, pixels; None: none.
        depths: of each view `[P]`, `[1, P]` or with a last dimension of 1, scene units.

    Returns:
        ``points`` `[B, Q, 2]` and ``depths`` `[B, Q, 1]`, for ``item=`` or by name; {} if no view has points.

    Raises:
        LossError: RUN020, the numbers differ.
    """
    pairs = []
    for index, (p, d) in enumerate(zip(points, depths, strict=True)):
        count = 0 if p is None else p.numel() // 2
        if count != (0 if d is None else d.numel()):
            found = 0 if d is None else d.numel()
            message = f"view {index} of the batch has {count} points and {found} depths"
            raise gsplat_error("RUN020", message, "give each point one depth")
        pairs.append((count, p, d))
    most = max((count for count, _, _ in pairs), default=0)
    if not most:
        return {}
    like = next(p for _, p, _ in pairs if p is not None)
    size = max(_FEWEST, 1 << (most - 1).bit_length())
    places = like.new_full((len(pairs), size, 2), _OUTSIDE)
    values = torch.ones_like(places[..., :1])
    for row, (count, p, d) in enumerate(pairs):
        if p is not None and d is not None:
            places[row, :count] = p.reshape(count, 2)
            values[row, :count] = d.reshape(count, 1)
    return {"points": places, "depths": values}
