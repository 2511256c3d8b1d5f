"""What each renderer can supply, known without importing any of them."""

from __future__ import annotations

RENDERERS: dict[str, frozenset[str]] = {
    "gsplat": frozenset({"rendered", "alpha", "depth", "depth.accumulated", "visible", "radii"}),
    "reference": frozenset({"rendered", "alpha", "depth", "depth.accumulated", "visible", "radii"}),
}
