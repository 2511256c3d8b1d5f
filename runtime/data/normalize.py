"""A canonical frame for scenes whose origin, axes and scale are arbitrary."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def normalizing_transform(cam_to_world: Array, points: Array) -> Array:
    """The similarity that puts a scene into a canonical frame.

    The cameras' mean goes to the origin; their mean up direction becomes +z; +x is the direction in which the points
    spread most, horizontally; the camera farthest from the origin is 1 away. Where all cameras stand at one place, the
    median point is 1 away instead.

    gsplat's example parser has the same aim by other means (it centres on the cameras' focus, then on the median point,
    and takes all three axes from the points' principal ones).

    Args:
        cam_to_world: `[V, 4, 4]`, OpenCV axes.
        points: `[N, 3]`, N may be 0.

    Returns:
        `[4, 4]`, old world to new world: rotation, uniform scale and translation.
    """
    centres = cam_to_world[:, :3, 3]
    centre = centres.mean(axis=0)
    rotation = _axes(-cam_to_world[:, :3, 1].mean(axis=0), cam_to_world[:, :3, 0].mean(axis=0), points)
    reach = np.linalg.norm(centres - centre, axis=1).max()
    away = np.linalg.norm(points - centre, axis=1) if len(points) else np.ones(1)
    # Rounding alone spreads identical centres, so "one place" is relative to what they look at.
    unit = reach if reach > 1e-6 * np.median(away) else np.median(away)
    scale = 1.0 / unit if unit > 0 else 1.0
    transform = np.eye(4)
    transform[:3, :3] = scale * rotation
    transform[:3, 3] = -scale * rotation @ centre
    return transform


def _axes(up: Array, right: Array, points: Array) -> Array:
    """Rotation `[3, 3]` whose rows are the new axes."""
    z = _unit(up, np.array([0.0, -1.0, 0.0]))  # cameras that look all ways up have no mean; keep COLMAP's usual one
    flat = points - np.outer(points @ z, z)
    x = right
    if len(points) >= 3:
        values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))
        if values[2] > 1.0001 * values[1]:
            # An eigenvector has no sign; the cameras' mean right side gives it one.
            x = vectors[:, 2] if vectors[:, 2] @ right >= 0 else -vectors[:, 2]
    x = _unit(x - (x @ z) * z, np.roll(z, 1) - (np.roll(z, 1) @ z) * z)
    return np.stack([x, np.cross(z, x), z])


def _unit(vector: Array, fallback: Array) -> Array:
    length = np.linalg.norm(vector)
    return vector / length if length > 1e-6 else fallback / np.linalg.norm(fallback)


def transform_poses(transform: Array, cam_to_world: Array) -> Array:
    """Poses `[V, 4, 4]` in the frame that a similarity `[4, 4]` leads to; their rotations stay rotations."""
    scale = np.cbrt(np.linalg.det(transform[:3, :3]))
    moved = transform @ cam_to_world
    moved[:, :3, :3] /= scale
    return moved


def transform_points(transform: Array, points: Array) -> Array:
    """Points `[N, 3]` in the frame that a similarity `[4, 4]` leads to."""
    return points @ transform[:3, :3].T + transform[:3, 3]
