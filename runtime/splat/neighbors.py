"""Distances to nearest neighbours, exact, on any device and without further packages."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAF = 512
_EXACT = "donot_use_mm_for_euclid_dist"  # the matrix-product form cancels for close points


def nearest_distances(points: Tensor, k: int = 3) -> Tensor:
    """Distances from every point to its ``k`` nearest other points.

    Points are split at medians into boxes. The neighbours inside a box bound the search radius, so that only boxes
    closer than that are looked at; memory stays at a few boxes times one.

    Args:
        points: `[N, 3]`.
        k: how many neighbours; fewer are returned when there are fewer other points.

    Returns:
        `[N, min(k, N - 1)]`, ascending, in the units of ``points``. Duplicates have distance 0.
    """
    n = points.shape[0]
    k = min(k, max(n - 1, 0))
    result = points.new_zeros((n, k))
    if k == 0:
        return result
    leaves = _leaves(points, max(_LEAF, 2 * (k + 1)))
    low = torch.stack([points[rows].amin(dim=0) for rows in leaves])
    high = torch.stack([points[rows].amax(dim=0) for rows in leaves])
    for i, rows in enumerate(leaves):
        own = points[rows]
        radius = _smallest(own, own, k)[:, -1].amax()
        gap = torch.clamp(torch.maximum(low - high[i], low[i] - high), min=0)
        # Rounding of the gap must not drop a box that touches the radius.
        near = torch.nonzero(gap.norm(dim=1) <= radius * (1 + 1e-5)).flatten().tolist()
        result[rows] = _smallest(own, points[torch.cat([leaves[j] for j in near])], k)
    return result


def _smallest(queries: Tensor, candidates: Tensor, k: int) -> Tensor:
    """`[Q, k]`, ascending; every query is itself among the candidates and is not counted."""
    chunk = max(1, 8_000_000 // max(candidates.shape[0], 1))
    parts = [
        torch.cdist(part, candidates, compute_mode=_EXACT).topk(k + 1, dim=1, largest=False).values[:, 1:]
        for part in torch.split(queries, chunk)
    ]
    return torch.cat(parts)


def _leaves(points: Tensor, size: int) -> list[Tensor]:
    """Row numbers of boxes with at most ``size`` points, but more than half of that."""
    done: list[Tensor] = []
    todo = [torch.arange(points.shape[0], device=points.device)]
    while todo:
        rows = todo.pop()
        if rows.shape[0] <= size:
            done.append(rows)
            continue
        own = points[rows]
        axis = int((own.amax(dim=0) - own.amin(dim=0)).argmax())
        order = own[:, axis].argsort(stable=True)
        half = rows.shape[0] // 2
        todo += [rows[order[half:]], rows[order[:half]]]
    return done
