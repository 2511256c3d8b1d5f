"""Photographs with cameras from `transforms.json`: nerfstudio's scenes, and the Blender scenes of NeRF."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ...dsl.config_schema import InputConfig
from ...dsl.typed import InputInfo
from ..extras import require
from .images import reason_of
from .inputs import InputFile, InputFiles, depth_map_files, input_files
from .normalize import Array
from .photographs import PhotographProvider, View
from .problems import data_error, listing
from .transforms_file import Shot, TransformsFile

SINGLE = "transforms.json"
TRAIN = "transforms_train.json"
TESTS = ("transforms_test.json", "transforms_val.json")
DEPTH_UNIT = 0.001
"""nerfstudio's default of `depth_unit_scale_factor`: depth files hold millimetres of a scene in metres."""

RANDOM_POINTS = 50_000
"""What nerfstudio's splatfacto starts from without sparse points."""

_FAR = 5.0  # splatfacto's random cube reaches 5 times as far as the cameras, which it brings within 1 of their mean
_PARALLEL = 1e-3  # least eigenvalue, of at most 2/3, with which the cameras' axes still meet somewhere


class TransformsDataProvider(PhotographProvider):
    """A scene whose cameras are in `transforms.json`, or in `transforms_train.json` and `transforms_test.json`.

    One file: views are sorted by name; every ``test_every``-th is held out, or those that the file lists in
    `test_filenames` or, failing that, `val_filenames`. Two files, as the Blender scenes have: the views of the second
    (`transforms_test.json`, failing that `transforms_val.json`) are held out, none with ``test_every=0``.

    Masks are those of `mask_path` or, failing that, `masks/NAME.png` as for COLMAP scenes. `depth_file_path` becomes
    ``depth_map``: a number of such a file, whatever its format, times `depth_unit_scale_factor` (0.001 if not given)
    is a depth along the camera's z axis in units before `applied_scale`. Poses have OpenGL's axes in the file, and
    OpenCV's in items. Lenses must not distort.
    """

    def __init__(
        self,
        path: str | Path,
        width: int | None = None,
        downscale: float | None = None,
        test_every: int = 8,
        masks: str = "auto",
        normalize: bool = True,
        seed: int = 0,
        device: torch.device | str = "cpu",
        background: tuple[float, float, float] | None = (1.0, 1.0, 1.0),
        alpha: str = "composite",
        random_points: int = RANDOM_POINTS,
        inputs: Mapping[str, InputInfo] | None = None,
        input_options: Mapping[str, InputConfig] | None = None,
    ) -> None:
        """Describe the scene; nothing is read yet.

        Args:
            path: the scene's folder, or the file.
            width, downscale, masks, normalize, device: as for `ColmapDataProvider`.
            test_every: see above.
            seed: of the order of training views and of random points.
            background: colour, 0..1, that transparent images are laid over; give it to the renderer, too. None: it
                is not known, and images may not be transparent. With ``alpha="mask"`` it is what replaces masked
                pixels, None for nothing.
            alpha: "composite" lays images over the background, "mask" leaves out what is transparent.
            random_points: how many gaussians a model starts from where the file names no sparse points.
            inputs, input_options: as for `ColmapDataProvider`. ``depth_map`` is read if ``inputs`` is None or has it.

        Raises:
            LossError: an option is out of its range, or two contradict each other.
        """
        self.path = Path(path)
        is_file = self.path.suffix == ".json"
        super().__init__(
            self.path.parent if is_file else self.path,
            width=width, downscale=downscale, test_every=test_every, masks=masks, normalize=normalize,
            seed=seed, device=device, background=background, alpha=alpha, inputs=inputs, input_options=input_options,
        )  # fmt: skip
        if random_points < 4:
            raise data_error("DAT015", f"random_points is {random_points}, not at least 4", f"<{self.module_name}>")
        self.random_points = random_points
        self._depths: InputFiles | None = (
            depth_map_files(self.root) if inputs is None else self.declared.get("depth_map")
        )
        self._depth_files: dict[str, tuple[Path, float | None]] = {}
        self._applied_scale = 1.0
        self._held: list[bool] | None = None

    def declare(self, inputs: Mapping[str, InputInfo]) -> None:
        """See `PhotographProvider.declare`."""
        self._depths = input_files(inputs, self._options, self.root).get("depth_map")
        super().declare(inputs)

    def _files(self) -> tuple[Path, Path | None]:
        """The file of training views, and that of test views."""
        if self.path.suffix == ".json":
            first = self.path
        elif not self.path.is_dir():
            raise data_error("DAT002", f"the scene folder {self.path} does not exist", self.path)
        else:
            first = self.path / SINGLE if (self.path / SINGLE).is_file() else self.path / TRAIN
            if not first.is_file():
                raise data_error(
                    "DAT002",
                    f"{self.path} has neither {SINGLE} nor {TRAIN}",
                    self.path,
                    help=("give the folder, or the file itself",),
                )
        second = None
        if first.name == TRAIN and self.test_every:
            second = next((p for p in (first.with_name(name) for name in TESTS) if p.is_file()), None)
        return first, second

    def _read_views(self) -> Array:
        first, second = self._files()
        file = TransformsFile(first)
        shots, self._held = file.shots, None
        if second is not None:
            test = TransformsFile(second)
            self._held = [False] * len(shots) + [True] * len(test.shots)
            shots = [*shots, *test.shots]
        elif file.parts:
            shots = self._parted(file)
        if file.points is not None:
            self._points, self._colors = read_points(file.points, first)
            self._points *= file.applied_scale
        if self.masks != "none":
            _check_files(first, [(f"{shot.key}.mask_path", shot.mask) for shot in shots])
        if self._depths is not None:
            _check_files(first, [(f"{shot.key}.depth_file_path", shot.depth) for shot in shots])
        self._applied_scale = file.applied_scale
        self._depth_files = {s.name: (s.depth, s.depth_scale) for s in shots if s.depth is not None}
        self._views = [self._shot_view(shot) for shot in shots]
        transparent = [view.name for view in self._views if view.has_alpha]
        if transparent and self.alpha == "composite" and self.background is None:
            raise data_error(
                "DAT015",
                f"{len(transparent)} of {len(shots)} images are transparent, and there is no colour to lay them over",
                self.path,
                notes=("renders are composited on another colour in every step",),
                help=("render on one colour (`train.background: white`), or set `data.alpha: mask`",),
            )
        self.transform = np.diag([file.applied_scale] * 3 + [1.0]) @ file.applied
        return np.stack([shot.pose for shot in shots])

    def _parted(self, file: TransformsFile) -> list[Shot]:
        """The shots that the file's own lists use, with `_held` set."""
        test = set(file.parts.get("test") or file.parts.get("val") or ())
        listed = {name for names in file.parts.values() for name in names}
        train = set(file.parts.get("train") or {shot.name for shot in file.shots} - listed)
        if not test:
            return [shot for shot in file.shots if shot.name in train]
        if not self.test_every:
            test = set()
        shots = [shot for shot in file.shots if shot.name in train | test]
        self._held = [shot.name in test for shot in shots]
        return shots

    def _split(self, views: int) -> tuple[list[int], list[int]]:
        if self._held is None:
            return super()._split(views)
        return [i for i in range(views) if not self._held[i]], [i for i in range(views) if self._held[i]]

    def _shot_view(self, shot: Shot) -> View:
        mask = None if self.masks == "none" else shot.mask or self._find_mask(shot.name)
        return self._view(shot.name, shot.path, mask, (shot.K, shot.size), files=self._find_inputs(shot.name))

    def _find_inputs(self, name: str) -> dict[str, InputFile]:
        """The files of declared inputs for an image, with the depth that the file of cameras names."""
        files = super()._find_inputs(name)
        if name in self._depth_files and self._depths is not None and not self._depths.options.folder:
            path, said = self._depth_files[name]
            unit = next(u for u in (self._depths.options.scale, said, DEPTH_UNIT) if u is not None)
            files["depth_map"] = InputFile(self._depths, path, unit * self._applied_scale)
        return files

    # What a model starts from

    def _sparse_points(self) -> tuple[Array, Array]:
        if len(self._points):
            if len(self._points) < 4:
                message = f"the sparse points of {self.path} are {len(self._points)}; gaussians start from them"
                raise data_error("DAT012", message, self.path, help=("remove `ply_file_path` for random ones",))
            return self._points, self._colors
        centre, half = self._box_of_cameras()
        rng = np.random.default_rng([self.seed, 3])
        points = centre + rng.uniform(-half, half, (self.random_points, 3))
        return points, np.full((self.random_points, 3), 0.5)

    def _box_of_cameras(self) -> tuple[Array, float]:
        """Centre `[3]` and half the side of a cube that holds what the cameras look at.

        The centre is the point nearest to their optical axes, by least squares; the cube is as large as what they see
        of the plane through it, the median of all cameras. Where the axes do not meet (cameras that look outward, or
        all one way), the cube is around the cameras and reaches 5 times as far.
        """
        eyes, ahead = self._poses[:, :3, 3], self._poses[:, :3, 2]
        across = np.eye(3) - ahead[:, :, None] * ahead[:, None, :]
        if np.linalg.eigvalsh(across.mean(axis=0))[0] > _PARALLEL:
            centre = np.linalg.solve(across.sum(axis=0), (across @ eyes[:, :, None]).sum(axis=0))[:, 0]
            away = ((centre - eyes) * ahead).sum(axis=1)
            if np.median(away) > 0:
                seen = [max(v.size[0] / v.K[0, 0], v.size[1] / v.K[1, 1]) / 2 for v in self._views]
                return centre, float(np.median(away.clip(0) * np.array(seen)))
        centre = eyes.mean(axis=0)
        reach = float(np.linalg.norm(eyes - centre, axis=1).max())
        return centre, _FAR * reach if reach > 1e-6 else 1.0

    def _scene_depth(self) -> float:
        return super()._scene_depth() if len(self._points) >= 4 else 1.0


def _check_files(place: Path, named: list[tuple[str, Path | None]]) -> None:
    missing = [(key, path) for key, path in named if path is not None and not path.is_file()]
    if missing:
        key, path = missing[0]
        raise data_error(
            "DAT019",
            f"`{key}` in {place} names {path}, which is no file",
            place,
            notes=(f"files that are missing: {listing([str(p) for _, p in missing])}",) if len(missing) > 1 else (),
        )


def read_points(path: Path, named_in: Path) -> tuple[Array, Array]:
    """Points `[N, 3]` and their colours `[N, 3]`, 0..1, grey where there are none, of a PLY file.

    Args:
        path: the file.
        named_in: the file whose `ply_file_path` it is, for messages.

    Raises:
        LossError: DAT019, it does not exist or holds no points; DAT001, plyfile is not installed.
    """
    if not path.is_file():
        raise data_error("DAT019", f"`ply_file_path` in {named_in} names {path}, which is no file", named_in)
    plyfile = require("plyfile")
    try:
        vertex = plyfile.PlyData.read(str(path))["vertex"].data
        xyz = np.stack([vertex[axis] for axis in "xyz"], axis=-1).astype(np.float64)
        names = vertex.dtype.names or ()
        rgb = np.full(xyz.shape, 0.5)
        if {"red", "green", "blue"} <= set(names):
            rgb = np.stack([vertex[c] for c in ("red", "green", "blue")], axis=-1)
            rgb = rgb / (255.0 if rgb.dtype.kind in "iu" else 1.0)
    except (plyfile.PlyParseError, KeyError, ValueError, OSError) as error:
        raise data_error("DAT019", f"{path} is no PLY file of points: {reason_of(error)}", path) from error
    if not np.isfinite(xyz).all():
        raise data_error("DAT019", f"{path} has a point whose position is not finite", path)
    return xyz, np.asarray(rgb, dtype=np.float64)
