"""A small analytic ray caster: textured spheres, boxes and cylinders under one sun, in numpy float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Columns = tuple[Array, ...]
Texture = Callable[[Array, Array], Array]  # points and normals in the solid's own frame, `[M, 3]` -> colours `[M, 3]`

_SUN = np.array([0.48, -0.36, 0.80]) / np.linalg.norm([0.48, -0.36, 0.80])
_SUN_COLOR = np.array([0.80, 0.76, 0.68])
_SKY_LIGHT = np.array([0.40, 0.43, 0.50])
_BOUNCE_LIGHT = np.array([0.26, 0.24, 0.22])
_SKY_HORIZON = np.array([0.86, 0.90, 0.93])
_SKY_ZENITH = np.array([0.36, 0.56, 0.84])
_LIFT = 1e-5  # shadow rays start this far off the surface, in scene units


# Arrays are `[M, 3]` in Fortran order wherever speed matters: their columns are contiguous. Origins or directions
# that all rays share have one row and broadcast.


@dataclass(frozen=True)
class Solid:
    """A textured body at ``center``, turned by ``yaw`` about the vertical axis. Its own frame has the center at 0."""

    center: tuple[float, float, float]
    texture: Texture
    yaw: float = 0.0

    def turned(self, vectors: Array, sign: float = -1.0) -> Array:
        """World directions `[M, 3]` in the solid's frame (``sign=1``: the other way)."""
        if self.yaw == 0.0:
            return vectors
        c, s = np.cos(self.yaw), sign * np.sin(self.yaw)
        result = np.empty(vectors.shape, order="F")
        result[:, 0] = c * vectors[:, 0] - s * vectors[:, 1]
        result[:, 1] = s * vectors[:, 0] + c * vectors[:, 1]
        result[:, 2] = vectors[:, 2]
        return result

    def local(self, points: Array) -> Array:
        """World points `[M, 3]` in the solid's frame."""
        return self.turned(points - np.asarray(self.center))

    def first_hit(self, origins: Array, directions: Array) -> Array:
        """Ray parameter `[R]` of the first intersection in front of world rays, inf where there is none."""
        origin, direction = self.local(origins), self.turned(directions)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            near, far = self._interval(tuple(origin.T), tuple(direction.T))
            return np.where((near < far) & (near > 0), near, np.inf)

    def _interval(self, origin: Columns, direction: Columns) -> tuple[Array, Array]:
        """Where rays of the solid's frame enter and leave it; a comparison with NaN counts as a miss."""
        raise NotImplementedError

    def normal(self, points: Array) -> Array:
        """Outward unit normals at points of the surface, both `[M, 3]` in the solid's frame."""
        raise NotImplementedError


@dataclass(frozen=True)
class Sphere(Solid):
    """A sphere."""

    radius: float = 1.0

    def _interval(self, origin: Columns, direction: Columns) -> tuple[Array, Array]:
        (ox, oy, oz), (dx, dy, dz) = origin, direction
        a = dx * dx + dy * dy + dz * dz
        b = ox * dx + oy * dy + oz * dz
        root = np.sqrt(b * b - a * (ox * ox + oy * oy + oz * oz - self.radius**2))
        return (-b - root) / a, (-b + root) / a

    def normal(self, points: Array) -> Array:
        """See `Solid.normal`."""
        return points / self.radius


@dataclass(frozen=True)
class Box(Solid):
    """A box by its half extents."""

    half: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def _interval(self, origin: Columns, direction: Columns) -> tuple[Array, Array]:
        near, far = np.asarray(-np.inf), np.asarray(np.inf)
        for o, d, h in zip(origin, direction, self.half):
            low, high = (-h - o) / d, (h - o) / d
            near = np.maximum(near, np.minimum(low, high))
            far = np.minimum(far, np.maximum(low, high))
        return near, far

    def normal(self, points: Array) -> Array:
        """See `Solid.normal`."""
        scaled = points / np.asarray(self.half)
        axis = np.abs(scaled).argmax(axis=1)
        rows = np.arange(len(points))
        normals = np.zeros_like(points)
        normals[rows, axis] = np.sign(scaled[rows, axis])
        return normals


@dataclass(frozen=True)
class Cylinder(Solid):
    """An upright cylinder with caps."""

    radius: float = 1.0
    half_height: float = 1.0

    def _interval(self, origin: Columns, direction: Columns) -> tuple[Array, Array]:
        (ox, oy, oz), (dx, dy, dz) = origin, direction
        a, b = dx * dx + dy * dy, ox * dx + oy * dy
        outside = ox * ox + oy * oy - self.radius**2
        root = np.sqrt(b * b - a * outside)
        # An upright ray is inside the side's whole length or misses it.
        enter = np.where(a > 0, (-b - root) / a, np.where(outside < 0, -np.inf, np.inf))
        leave = np.where(a > 0, (-b + root) / a, np.inf)
        low, high = (-self.half_height - oz) / dz, (self.half_height - oz) / dz
        return np.maximum(enter, np.minimum(low, high)), np.minimum(leave, np.maximum(low, high))

    def normal(self, points: Array) -> Array:
        """See `Solid.normal`."""
        rim = np.hypot(points[:, 0], points[:, 1]) / self.radius
        cap = np.abs(points[:, 2]) / self.half_height > rim
        side = points * np.array([1.0, 1.0, 0.0]) / self.radius
        return np.where(cap[:, None], np.array([0.0, 0.0, 1.0]) * np.sign(points[:, 2:]), side)


@dataclass(frozen=True)
class Hits:
    """First hits of R rays: ``t`` `[R]` ray parameters (inf: none), ``solid`` `[R]` which one, -1: none."""

    t: Array
    solid: NDArray[np.int64]

    @property
    def found(self) -> NDArray[np.bool_]:
        """`[R]`, whether anything was hit."""
        return self.solid >= 0


def cast(solids: Sequence[Solid], origins: Array, directions: Array) -> Hits:
    """First hits along rays.

    Args:
        solids: the scene.
        origins: `[R, 3]`, or `[1, 3]` when all rays start at one point.
        directions: `[R, 3]`, of any length: a hit lies at ``origin + t * direction``.
    """
    directions = np.asfortranarray(directions)
    t = np.full(len(directions), np.inf)
    which = np.full(len(directions), -1, dtype=np.int64)
    for i, solid in enumerate(solids):
        found = solid.first_hit(origins, directions)
        closer = found < t
        t[closer], which[closer] = found[closer], i
    return Hits(t, which)


def shade(solids: Sequence[Solid], points: Array, which: NDArray[np.int64]) -> Array:
    """Colours of surface points: Lambert's law under a sun that casts shadows, a sky, and light from the ground.

    Args:
        solids: the scene.
        points: `[M, 3]`, on surfaces.
        which: `[M]`, the solid that each lies on.

    Returns:
        `[M, 3]`, 0..1. They do not depend on the viewing direction.
    """
    normals, colors = np.empty(points.shape, order="F"), np.empty(points.shape, order="F")
    for i in np.unique(which):
        rows, solid = np.flatnonzero(which == i), solids[i]
        local = solid.local(points[rows])
        own = solid.normal(local)
        normals[rows] = solid.turned(own, sign=1.0)
        colors[rows] = solid.texture(local, own)
    facing = np.clip(normals @ _SUN, 0.0, None)
    lit = np.flatnonzero(facing > 0)
    start = np.asfortranarray(points[lit] + _LIFT * normals[lit])
    for solid in solids:
        open_sky = np.isinf(solid.first_hit(start, _SUN[None]))
        facing[lit[~open_sky]] = 0.0
        lit, start = lit[open_sky], np.asfortranarray(start[open_sky])
    up = 0.5 + 0.5 * normals[:, 2:]
    light = up * _SKY_LIGHT + (1 - up) * _BOUNCE_LIGHT + facing[:, None] * _SUN_COLOR
    lit_colors: Array = np.clip(colors * light, 0.0, 1.0)
    return lit_colors


def sky(directions: Array) -> Array:
    """Colours of the sky, `[R, 3]`, by the elevation of the direction alone."""
    height = np.clip(directions[:, 2] / np.linalg.norm(directions, axis=1) * 1.6 + 0.25, 0.0, 1.0)[:, None]
    colors: Array = _SKY_HORIZON * (1 - height) + _SKY_ZENITH * height
    return colors


def value_noise(points: Array, frequency: float, salt: int = 0) -> Array:
    """Smooth noise in 0..1 at `[M, 3]` points: random values at lattice points, blended by smoothstep."""
    weights, keys = [], []
    for axis, factor in enumerate((0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)):
        scaled = points[:, axis] * frequency
        cell = np.floor(scaled)
        part = scaled - cell
        part = part * part * (3 - 2 * part)
        key = cell.astype(np.int64).astype(np.uint32) * np.uint32(factor)
        weights.append((1 - part, part))
        keys.append((key, key + np.uint32(factor)))
    total = np.zeros(len(points))
    for i in (0, 1):
        for j in (0, 1):
            weight, key = weights[0][i] * weights[1][j], keys[0][i] + keys[1][j] + np.uint32(salt * 0x27D4EB2F % 2**32)
            for k in (0, 1):
                total += weight * weights[2][k] * _hashed(key + keys[2][k])
    return total


def _hashed(keys: NDArray[np.uint32]) -> Array:
    """A value in 0..1 per key: the finaliser of MurmurHash3."""
    h = keys.copy()
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h ^= h >> np.uint32(shift)
        h *= np.uint32(factor)
    h ^= h >> np.uint32(16)
    return h.astype(np.float64) * (1.0 / 0xFFFFFFFF)
