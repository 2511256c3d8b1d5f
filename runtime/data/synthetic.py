"""A scene that needs no download: ray cast, with exact masks, depth and poses."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..extras import require
from .base import SplatDataItem, ViewListProvider, pixels_inside, pixels_of
from .problems import data_error
from .raycast import Array, cast, shade, sky
from .tabletop import tabletop

_FIELD_OF_VIEW = np.deg2rad(50.0)  # horizontal
_TARGET = np.array([0.0, 0.0, 0.30])
_DISTANCE = 4.7
_ELEVATIONS = np.deg2rad([16.0, 34.0, 24.0, 46.0])
_POINT_NOISE = 0.004  # standard deviation in scene units, about what a good COLMAP model of such a scene has
_SAMPLES = 3  # samples per pixel along each axis; odd, so that one is at the pixel's centre
_BAND = 65536  # rays at a time


@dataclass(frozen=True)
class _Points:
    """Sparse points: exact and noisy positions `[N, 3]`, colours 0..255 `[N, 3]`, who sees them `[V, N]`."""

    exact: Array
    noisy: Array
    colors: NDArray[np.uint8]
    visible: NDArray[np.bool_]


class SyntheticDataProvider(ViewListProvider):
    """Views of a table with textured spheres, boxes and cylinders on it, from a circle of cameras.

    Images are ray cast with 9 samples a pixel. A mask is True where all samples of a pixel hit the scene, so the sky
    and the silhouettes against it are left out. ``depth_map`` is exact for the pixel's centre and 0 in the sky.
    Sparse points lie on surfaces with noise of 0.004 units, and are known only to views that really see them.
    Everything is a pure function of the arguments; views are made when first asked for, and kept.
    """

    def __init__(
        self,
        width: int = 96,
        height: int = 72,
        views: int = 24,
        test_every: int = 8,
        seed: int = 0,
        points: int = 2000,
        masks: bool = True,
        depth_maps: bool = True,
        background: tuple[float, float, float] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Describe the scene; nothing is computed yet.

        Args:
            width: of the images, pixels.
            height: of the images, pixels; pixels are square and the horizontal field of view is 50 degrees.
            views: how many cameras.
            test_every: see `ViewListProvider`.
            seed: of the order of training views, of the sparse points and of small changes of the camera positions.
            points: how many sparse points to aim at.
            masks: whether items have masks.
            depth_maps: whether items have ``depth_map``.
            background: colour of the sky, 0..1; None gives a sky with a gradient.
            device: where items live.

        Raises:
            LossError: an argument is out of its range.
        """
        super().__init__(test_every, seed, device)
        if min(width, height, views, points) < 1:
            raise data_error(
                "DAT015",
                f"width={width}, height={height}, views={views} and points={points} must all be at least 1",
                f"<{self.module_name}>",
            )
        self.width, self.height, self.views, self.num_points = width, height, views, points
        self.masks, self.depth_maps, self.background = masks, depth_maps, background
        self._solids = tabletop()
        focal = 0.5 * width / np.tan(0.5 * _FIELD_OF_VIEW)
        self._K = np.array([[focal, 0.0, 0.5 * width], [0.0, focal, 0.5 * height], [0.0, 0.0, 1.0]])
        self._pictures: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self._sparse: _Points | None = None

    @property
    def fields(self) -> frozenset[str]:
        """See `SplatDataProvider.fields`."""
        self.load_data()
        wanted = {"target": True, "mask": self.masks, "depth_map": self.depth_maps, "points": self._seen_by_all}
        return frozenset(name for name, present in wanted.items() if present)

    @property
    def fields_some(self) -> frozenset[str]:
        """See `SplatDataProvider.fields_some`."""
        self.load_data()
        some = bool(self._points().visible.any()) and not self._seen_by_all
        return frozenset({"points"} if some else ())

    @property
    def _seen_by_all(self) -> bool:
        return bool(self._points().visible.any(axis=1).all())

    def _load(self) -> Array:
        rng = np.random.default_rng([self.seed, 1])
        turn = 2 * np.pi * (np.arange(self.views) + rng.uniform(-0.15, 0.15, self.views)) / self.views
        rise = _ELEVATIONS[np.arange(self.views) % len(_ELEVATIONS)] + rng.uniform(-0.03, 0.03, self.views)
        away = _DISTANCE * rng.uniform(0.95, 1.05, self.views)
        around = np.stack([np.cos(turn) * np.cos(rise), np.sin(turn) * np.cos(rise), np.sin(rise)], axis=1)
        return np.stack([_look_at(_TARGET + r * d, _TARGET) for r, d in zip(away, around)])

    def _rays(self, index: int, pixels: Array) -> tuple[Array, Array]:
        """Origin `[1, 3]` and directions `[M, 3]` through pixels `[M, 2]`; the parameter along them is the depth."""
        pose = self._poses[index]
        ahead = np.column_stack([pixels, np.ones(len(pixels))]) @ np.linalg.inv(self._K).T
        return pose[None, :3, 3], ahead @ pose[:3, :3].T

    def _picture(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Image `[H, W, 3]` uint8, mask `[H, W]` and depth `[H, W, 1]` float32 of a view."""
        if index not in self._pictures:
            # Bands of rows bound the memory of a large picture, and are faster than all of it at once.
            rows = max(1, _BAND // (self.width * _SAMPLES**2))
            bands = [self._band(index, y, min(y + rows, self.height)) for y in range(0, self.height, rows)]
            image, mask, depth = (np.concatenate(parts) for parts in zip(*bands))
            # 8 bits, as from a file, so that a scene on disk and this one are the same.
            self._pictures[index] = (
                torch.from_numpy(np.rint(255 * image).clip(0, 255).astype(np.uint8)),
                torch.from_numpy(mask),
                torch.from_numpy(depth[..., None].astype(np.float32)),
            )
        return self._pictures[index]

    def _band(self, index: int, first: int, end: int) -> tuple[Array, NDArray[np.bool_], Array]:
        """Rows ``first`` to ``end - 1``: colours `[h, W, 3]`, whether all samples hit `[h, W]`, depth `[h, W]`."""
        h, w, s = end - first, self.width, _SAMPLES
        x, y = (np.arange(w * s) + 0.5) / s, first + (np.arange(h * s) + 0.5) / s
        origin, directions = self._rays(index, np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
        hits = cast(self._solids, origin, directions)
        found = hits.found
        colors = sky(directions) if self.background is None else np.tile(self.background, (len(directions), 1))
        where = origin + hits.t[found, None] * directions[found]
        colors[found] = shade(self._solids, where, hits.solid[found])
        image: Array = colors.reshape(h, s, w, s, 3).mean(axis=(1, 3))
        mask: NDArray[np.bool_] = np.all(found.reshape(h, s, w, s), axis=(1, 3))
        depth: Array = np.where(found, hits.t, 0.0).reshape(h, s, w, s)[:, s // 2, :, s // 2]
        return image, mask, depth

    def _points(self) -> _Points:
        if self._sparse is None:
            rng = np.random.default_rng([self.seed, 2])
            each = -(-2 * self.num_points // self.views)
            where, which = [], []
            for index in range(self.views):
                pixels = rng.uniform((0, 0), (self.width, self.height), (each, 2))
                origins, directions = self._rays(index, pixels)
                hits = cast(self._solids, origins, directions)
                where.append((origins + np.where(hits.found, hits.t, 0)[:, None] * directions)[hits.found])
                which.append(hits.solid[hits.found])
            exact, solid = np.concatenate(where), np.concatenate(which)
            visible = np.stack([self._sees(index, exact) for index in range(self.views)])
            # Triangulation takes two views; a scene with one camera keeps what it has.
            keep = np.flatnonzero(visible.sum(axis=0) >= min(2, self.views))
            keep = np.sort(rng.permutation(keep)[: self.num_points])
            exact, solid, visible = exact[keep], solid[keep], visible[:, keep]
            colors = np.rint(255 * shade(self._solids, exact, solid)).astype(np.uint8)
            noisy = exact + _POINT_NOISE * rng.standard_normal(exact.shape)
            self._sparse = _Points(exact, noisy, colors, visible)
        return self._sparse

    def _sees(self, index: int, points: Array) -> NDArray[np.bool_]:
        """`[M]`: which surface points are inside view ``index`` and not hidden."""
        pixels, depth = pixels_of(points, self._K, self._poses[index])
        inside = (depth > 0) & (pixels > 0).all(axis=1) & (pixels < (self.width, self.height)).all(axis=1)
        start = self._poses[index][None, :3, 3]
        first = cast(self._solids, start, points - start).t
        return inside & (first > 1 - 1e-6)

    def _sparse_points(self) -> tuple[Array, Array]:
        sparse = self._points()
        return sparse.noisy, sparse.colors / 255.0

    def _item(self, index: int) -> SplatDataItem:
        image, mask, depth = self._picture(index)
        sparse = self._points()
        seen = sparse.visible[index]
        size = (self.width, self.height)
        pixels, depths = pixels_inside(sparse.noisy[seen], self._K, self._poses[index], size)
        return SplatDataItem(
            id=index,
            image_name=self.image_name(index),
            K=torch.from_numpy(self._K).float()[None],
            cam_to_world=torch.from_numpy(self._poses[index]).float()[None],
            image=image.float()[None] / 255.0,
            mask=mask[None] if self.masks else None,
            points=torch.from_numpy(pixels).float()[None] if seen.any() else None,
            depths=torch.from_numpy(depths).float()[None] if seen.any() else None,
            depth_map=depth[None] if self.depth_maps else None,
        ).to(self.device)

    def image_name(self, index: int) -> str:
        """File name of a view."""
        return f"view_{index:03d}.png"

    def write_colmap(self, folder: str | Path) -> Path:
        """Write the scene as COLMAP and photographs would leave it: `images/`, `masks/`, `sparse/0/`.

        Images are PNG and lossless; masks are written when the scene has them, 255 = keep. Observations in the
        sparse model are where the exact surface points are seen, a fraction of a pixel off the noisy points.

        Args:
            folder: made if it does not exist; files of the same names are overwritten.

        Returns:
            The folder.

        Raises:
            LossError: pycolmap or pillow is not installed.
        """
        pil_image, pycolmap = require("PIL.Image"), require("pycolmap")
        self.load_data()
        folder = Path(folder)
        for name in ("images", "sparse/0", *(["masks"] if self.masks else [])):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(self.views):
            image, mask, _ = self._picture(index)
            pil_image.fromarray(image.numpy()).save(folder / "images" / self.image_name(index))
            if self.masks:
                kept = pil_image.fromarray(mask.numpy().astype(np.uint8) * 255)
                kept.save(folder / "masks" / f"{self.image_name(index)}.png")
        # COLMAP's text format has outlived several versions of the Python interface; it reads it and writes its own.
        with tempfile.TemporaryDirectory() as text:
            self._write_text_model(Path(text))
            model = pycolmap.Reconstruction()
            model.read_text(text)
            model.write_binary(str(folder / "sparse" / "0"))
        return folder

    def _write_text_model(self, folder: Path) -> None:
        """The sparse model in COLMAP's text format (https://colmap.github.io/format.html)."""
        sparse = self._points()
        fx, cx, cy = self._K[0, 0], self._K[0, 2], self._K[1, 2]
        camera = f"1 PINHOLE {self.width} {self.height} {_numbers(fx, fx, cx, cy)}\n"
        (folder / "cameras.txt").write_text(camera, encoding="utf-8")
        tracks: list[list[str]] = [[] for _ in range(len(sparse.exact))]
        lines = []
        for index in range(self.views):
            seen = np.flatnonzero(sparse.visible[index])
            pixels, _ = pixels_of(sparse.exact[seen], self._K, self._poses[index])
            for place, point in enumerate(seen):
                tracks[point].append(f"{index + 1} {place}")
            view = np.linalg.inv(self._poses[index])
            lines.append(f"{index + 1} {_numbers(*_quaternion(view[:3, :3]), *view[:3, 3])} 1 {self.image_name(index)}")
            lines.append(" ".join(f"{_numbers(*pixel)} {point + 1}" for pixel, point in zip(pixels, seen)))
        (folder / "images.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        rows = [
            f"{i + 1} {_numbers(*xyz)} {r} {g} {b} 0 {' '.join(track)}"
            for i, (xyz, (r, g, b), track) in enumerate(zip(sparse.noisy, sparse.colors, tracks))
        ]
        (folder / "points3D.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _numbers(*values: float) -> str:
    return " ".join(repr(float(value)) for value in values)


def _look_at(eye: Array, target: Array) -> Array:
    """Camera to world `[4, 4]` of an OpenCV camera at ``eye`` whose picture is upright for z up."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :4] = np.stack([right, np.cross(forward, right), forward, eye], axis=1)
    return pose


def _quaternion(rotation: Array) -> Array:
    """w, x, y, z of a rotation matrix: the dominant eigenvector of Bar-Itzhack's symmetric 4x4 matrix (2000)."""
    r = rotation
    k = np.array(
        [
            [r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1]],
        ]
    )
    return np.linalg.eigh(k)[1][:, -1]
