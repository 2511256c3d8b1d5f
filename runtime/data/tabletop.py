"""The scene of `SyntheticDataProvider`: a round table with things on it."""

from __future__ import annotations

import numpy as np

from .raycast import Array, Box, Cylinder, Solid, Sphere, Texture, value_noise

Color = tuple[float, float, float]


def _blend(weight: Array, a: Color, b: Color) -> Array:
    """``a`` where the weight is 0, ``b`` where it is 1."""
    colors: Array = np.asarray(a) + weight[:, None] * (np.asarray(b) - np.asarray(a))
    return colors


def _grain(points: Array, salt: int, amount: float = 0.22, frequency: float = 9.0) -> Array:
    """A factor around 1 that gives plain colours something to match, `[M, 1]`."""
    fine = 0.6 * value_noise(points, frequency, salt) + 0.4 * value_noise(points, 2.3 * frequency, salt + 1)
    return (1 + amount * (2 * fine - 1))[:, None]


def checker(a: Color, b: Color, size: float, salt: int) -> Texture:
    """Cubes in alternating colours, with grain. A face at a multiple of ``size`` would be speckled by rounding."""

    def texture(points: Array, normals: Array) -> Array:
        odd = np.floor(points / size).sum(axis=1) % 2
        return _blend(odd, a, b) * _grain(points, salt)

    return texture


def table(a: Color, b: Color, rim: Color, size: float, radius: float, salt: int) -> Texture:
    """A checkered top inside a plain ring, and a striped side."""
    top = checker(a, b, size, salt)

    def texture(points: Array, normals: Array) -> Array:
        angle = np.arctan2(points[:, 1], points[:, 0])
        dashes = _blend((np.floor(angle * 36 / (2 * np.pi)) % 2 == 0).astype(float), rim, b)
        side = np.where(np.abs(normals[:, 2:]) > 0.5, np.asarray(rim), dashes) * _grain(points, salt + 5, 0.3)
        inside = np.hypot(points[:, 0], points[:, 1]) < radius
        return np.where((inside & (normals[:, 2] > 0.5))[:, None], top(points, normals), side)

    return texture


def stripes(a: Color, b: Color, tilt: tuple[float, float, float], width: float, salt: int) -> Texture:
    """Parallel bands across the direction ``tilt``, with grain."""

    def texture(points: Array, normals: Array) -> Array:
        odd = np.floor(points @ np.asarray(tilt) / width) % 2
        return _blend(odd, a, b) * _grain(points, salt)

    return texture


def spiral(a: Color, b: Color, rise: float, salt: int) -> Texture:
    """Bands that wind up around the vertical axis, with grain."""

    def texture(points: Array, normals: Array) -> Array:
        turn = np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi)
        odd = (np.floor(2 * (points[:, 2] / rise + turn)) % 2).astype(float)
        return _blend(odd, a, b) * _grain(points, salt)

    return texture


def marble(a: Color, b: Color, frequency: float, salt: int) -> Texture:
    """Noise with soft veins."""

    def texture(points: Array, normals: Array) -> Array:
        noise = value_noise(points, frequency, salt) + 0.5 * value_noise(points, 2 * frequency, salt + 1)
        vein = 0.5 + 0.5 * np.sin(9 * noise + 3 * points[:, 2] * frequency)
        return _blend(vein, a, b) * _grain(points, salt + 2, 0.12)

    return texture


def bricks(a: Color, mortar: Color, length: float, height: float, salt: int) -> Texture:
    """Brickwork around the sides, squares on top."""

    def texture(points: Array, normals: Array) -> Array:
        along = np.where(np.abs(normals[:, 0]) > 0.5, points[:, 1], points[:, 0])
        level = np.where(np.abs(normals[:, 2]) > 0.5, points[:, 1], points[:, 2])
        row = np.floor(level / height)
        u, v = along / length + 0.5 * (row % 2), level / height
        joint = (u - np.floor(u) < 0.09) | (v - row < 0.16)
        cells = np.stack([np.floor(u), row, np.zeros_like(u)], axis=1) + 0.5
        tone = 0.75 + 0.5 * value_noise(cells, 1.37, salt)
        return np.where(joint[:, None], np.asarray(mortar), np.asarray(a) * tone[:, None]) * _grain(points, salt + 3)

    return texture


def tabletop() -> tuple[Solid, ...]:
    """The solids, z up, about 4.4 units wide, the table's surface at z = 0."""
    return (
        Cylinder(
            (0.0, 0.0, -0.14),
            table((0.93, 0.88, 0.78), (0.45, 0.53, 0.60), (0.50, 0.33, 0.22), 0.36, 2.0, 1),
            radius=2.2,
            half_height=0.14,
        ),
        Sphere(
            (-0.70, 0.55, 0.62), stripes((0.95, 0.55, 0.15), (0.98, 0.93, 0.82), (0.2, 0.3, 0.93), 0.17, 11), 0.0, 0.62
        ),
        Box(
            (0.85, 0.55, 0.42), bricks((0.82, 0.36, 0.27), (0.90, 0.86, 0.80), 0.30, 0.14, 21), 0.45, (0.42, 0.36, 0.42)
        ),
        Sphere((0.85, 0.55, 1.10), marble((0.15, 0.42, 0.40), (0.75, 0.92, 0.84), 4.0, 31), 0.0, 0.26),
        Cylinder((-0.45, -0.85, 0.55), spiral((0.22, 0.30, 0.66), (0.95, 0.95, 0.97), 0.55, 41), 0.0, 0.19, 0.55),
        Sphere((0.55, -0.70, 0.34), marble((0.55, 0.16, 0.40), (0.98, 0.80, 0.86), 3.0, 51), 0.0, 0.34),
        Box((1.35, -0.55, 0.20), checker((0.25, 0.55, 0.30), (0.88, 0.90, 0.45), 0.12, 61), 0.9, (0.26, 0.20, 0.20)),
        Box(
            (-1.40, -0.45, 0.30),
            stripes((0.92, 0.78, 0.25), (0.30, 0.22, 0.20), (0.6, 0.5, 0.62), 0.11, 71),
            0.3,
            (0.2, 0.2, 0.3),
        ),
        Cylinder((0.05, 1.45, 0.13), checker((0.85, 0.30, 0.30), (0.96, 0.93, 0.90), 0.15, 81), 0.2, 0.34, 0.13),
        Sphere(
            (0.10, 0.05, 0.20), stripes((0.20, 0.60, 0.75), (0.95, 0.98, 0.98), (0.7, -0.7, 0.14), 0.09, 91), 0.0, 0.20
        ),
    )
