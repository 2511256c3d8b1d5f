"""What each renderer can supply, known without importing any of them."""

from __future__ import annotations

RENDERERS: dict[str, frozenset[str]] = {
    "gsplat": frozenset({"rendered", "alpha", "depth", "depth.accumulated", "visible", "radii"}),
    "reference": frozenset({"rendered", "alpha", "depth", "depth.accumulated", "visible", "radii"}),
}

RUN_VALUES: dict[str, str] = {
    "scene_scale": "1.1 times the largest distance of a camera from the cameras' mean, in scene units.",
}
"""Numbers that every run gives to a program that declares them, as ``input scene_scale: number``."""
