"""Files `transforms.json`: cameras of nerfstudio and instant-ngp, and of the Blender scenes of NeRF."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from .images import Size, image_header
from .normalize import Array
from .problems import data_error, listing

PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE", "OPENCV", "RADIAL", "SIMPLE_RADIAL")
"""Camera models that are pinholes where every coefficient of distortion is 0."""

DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
SUFFIXES = (".png", ".jpg", ".jpeg", ".JPG", ".JPEG", ".PNG", ".webp")
"""What is tried where `file_path` has no suffix, as in the Blender scenes."""

_RIGID = 1e-2  # how far a rotation may be from one: files with few digits are that far off


@dataclass(frozen=True)
class Shot:
    """One frame of the file.

    Attributes:
        key: where it stands, for messages: ``frames[3]``.
        name: `file_path` with its suffix, without a leading `images/`.
        path: the image.
        K: `[3, 3]`, for ``size``, which is that of the image where the file does not say.
        pose: `[4, 4]`, camera to world, OpenCV axes.
        mask, depth: files, as the frame names them.
        depth_scale: `depth_unit_scale_factor` of the frame or the file.
    """

    key: str
    name: str
    path: Path
    K: Array
    size: Size
    pose: Array
    mask: Path | None
    depth: Path | None
    depth_scale: float | None


class TransformsFile:
    """What a file says; the images that it names are looked for, and their sizes read where it does not say them.

    Attributes:
        path: the file.
        shots: its frames, sorted by name.
        points: the file of sparse points, if it names one.
        applied: `[4, 4]`, from the world of the reconstruction to that of the file (`applied_transform`).
        applied_scale: the factor between the two (`applied_scale`); depth files and sparse points are in units before
            it, as nerfstudio has it.
        parts: `train_filenames`, `val_filenames` and `test_filenames` as names of shots, by the word before `_`.
    """

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            LossError: DAT019, it is no such file, with the key; DAT005, a camera is no pinhole; DAT006, images are
                missing; DAT007, it has no frame.
        """
        self.path = path
        self.folder = path.parent
        self._top = self._read()
        frames = self._top.get("frames")
        if not isinstance(frames, list):
            raise self._wrong("frames", "is missing" if frames is None else "is not a list")
        if not frames:
            raise data_error("DAT007", f"{path} has no frame: `frames` is empty", path)
        self._check_camera({}, "")
        paths = [self._image(frame, i) for i, frame in enumerate(frames)]
        missing = [str(frames[i]["file_path"]) for i, found in enumerate(paths) if found is None]
        if missing:
            raise data_error(
                "DAT006",
                f"{len(missing)} of {len(frames)} images that {path} names do not exist",
                path,
                notes=(f"`file_path` of the missing ones: {listing(missing)}",),
                help=(f"paths are relative to {self.folder}",),
            )
        shots = [self._shot(frame, i, found) for i, (frame, found) in enumerate(zip(frames, paths)) if found]
        self.shots = sorted(shots, key=lambda shot: shot.name)
        for a, b in zip(self.shots, self.shots[1:]):
            if a.name == b.name:
                raise self._wrong(f"{b.key}.file_path", f"names `{b.name}`, as `{a.key}` does")
        self.points = self._file(self._top, "", "ply_file_path")
        self.applied = np.eye(4)
        if "applied_transform" in self._top:
            self.applied = self._matrix(self._top["applied_transform"], "applied_transform")
        self.applied_scale = self._number(self._top, "", "applied_scale", 1.0)
        self.parts = {
            word: self._names(f"{word}_filenames")
            for word in ("train", "val", "test")
            if f"{word}_filenames" in self._top
        }

    def _read(self) -> dict[str, Any]:
        try:
            top = json.loads(self.path.read_text(encoding="utf-8"))
        except OSError as error:
            raise data_error("DAT002", f"{self.path} cannot be read: {error.strerror or error}", self.path) from error
        except (ValueError, RecursionError) as error:
            reason = str(error) or type(error).__name__
            raise data_error("DAT019", f"{self.path} is not JSON: {reason}", self.path) from error
        if not isinstance(top, dict):
            raise data_error("DAT019", f"{self.path} holds no object with the key `frames`", self.path)
        return top

    def _wrong(self, key: str, what: str, help: str = "") -> Exception:
        return data_error("DAT019", f"`{key}` in {self.path} {what}", self.path, help=(help,) if help else ())

    def _image(self, frame: Any, i: int) -> Path | None:
        key = f"frames[{i}]"
        if not isinstance(frame, dict):
            raise self._wrong(key, "is not an object")
        name = frame.get("file_path")
        if not isinstance(name, str) or not name:
            raise self._wrong(f"{key}.file_path", "is missing" if name is None else "is not the path of an image")
        path = self.folder / name
        candidates = (path, *(path.with_name(path.name + suffix) for suffix in SUFFIXES))
        return next((p for p in candidates if p.is_file()), None)

    def _shot(self, frame: dict[str, Any], i: int, path: Path) -> Shot:
        key = f"frames[{i}]"
        self._check_camera(frame, f"{key}.")
        if "transform_matrix" not in frame:
            raise self._wrong(f"{key}.transform_matrix", "is missing")
        pose = self._matrix(frame["transform_matrix"], f"{key}.transform_matrix")
        turn = pose[:3, :3]
        if np.abs(turn.T @ turn - np.eye(3)).max() > _RIGID or np.linalg.det(turn) < 0:
            raise self._wrong(f"{key}.transform_matrix", "is no rotation and shift of a camera")
        pose = pose * np.array([1.0, -1.0, -1.0, 1.0])  # OpenGL's axes (x right, y up, z backward) to OpenCV's
        K, size = self._intrinsics(frame, key, path)
        scale = self._either(frame, key, "depth_unit_scale_factor")
        mask, depth = self._file(frame, f"{key}.", "mask_path"), self._file(frame, f"{key}.", "depth_file_path")
        return Shot(key, image_name(frame["file_path"], path), path, K, size, pose, mask, depth, scale)

    def _intrinsics(self, frame: dict[str, Any], key: str, path: Path) -> tuple[Array, Size]:
        w, h = self._either(frame, key, "w"), self._either(frame, key, "h")
        full = image_header(path)[0] if w is None or h is None else (0, 0)
        width, height = w or full[0], h or full[1]
        fx, fy = self._either(frame, key, "fl_x"), self._either(frame, key, "fl_y")
        if fx is None:
            fx = self._from_angle(frame, key, "camera_angle_x", width)
            if fx is None:
                raise self._wrong("fl_x", "is missing, and `camera_angle_x` too", "one of them gives the focal length")
        if fy is None:
            fy = self._from_angle(frame, key, "camera_angle_y", height) or fx
        for name, value in (("fl_x", fx), ("fl_y", fy), ("w", width), ("h", height)):
            if not value > 0:
                raise self._wrong(name, f"is {value:g}, not above 0")
        cx, cy = self._either(frame, key, "cx"), self._either(frame, key, "cy")
        K = np.array([[fx, 0, width / 2 if cx is None else cx], [0, fy, height / 2 if cy is None else cy], [0, 0, 1.0]])
        return K, (round(width), round(height))

    def _from_angle(self, frame: dict[str, Any], key: str, name: str, pixels: float) -> float | None:
        angle = self._either(frame, key, name)
        if angle is not None and not 0 < angle < math.pi:
            raise self._wrong(name, f"is {angle:g}: a field of view is between 0 and pi radians")
        return None if angle is None else 0.5 * pixels / math.tan(0.5 * angle)

    def _check_camera(self, frame: dict[str, Any], prefix: str) -> None:
        owner = frame if prefix else self._top
        model = owner.get("camera_model", "PINHOLE")
        bent = [name for name in DISTORTION if self._number(owner, prefix, name, 0.0) != 0]
        if str(model).upper() in PINHOLES and not bent and not owner.get("is_fisheye"):
            return
        what = f"`{prefix}camera_model` is {model}" if str(model).upper() not in PINHOLES else "the lens is a fisheye"
        if bent:
            what = f"`{prefix}{bent[0]}` is {owner[bent[0]]}: the lens distorts"
        raise data_error(
            "DAT005",
            f"{what}, in {self.path}",
            self.path,
            notes=("only pinholes can be rendered: all of " + ", ".join(DISTORTION) + " must be 0",),
            help=(
                "undistort what COLMAP made of the scene: colmap image_undistorter --image_path IMAGES "
                "--input_path colmap/sparse/0 --output_path UNDISTORTED, then train on UNDISTORTED with `kind: colmap`",
            ),
        )

    def _file(self, owner: Mapping[str, Any], prefix: str, name: str) -> Path | None:
        """A file that a key names; whether it exists is for the one who reads it to say."""
        value = owner.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise self._wrong(f"{prefix}{name}", "is not the path of a file")
        return self.folder / value

    def _names(self, key: str) -> list[str]:
        given = self._top[key]
        if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
            raise self._wrong(key, "is not a list of paths")
        known = {shot.path: shot.name for shot in self.shots}
        names = []
        for i, name in enumerate(given):
            found = self._image({"file_path": name}, i)
            if found is None or found not in known:
                raise self._wrong(f"{key}[{i}]", f"is `{name}`, which no frame has as its `file_path`")
            names.append(known[found])
        return names

    def _either(self, frame: dict[str, Any], key: str, name: str) -> float | None:
        """A number of the frame or, failing that, of the file."""
        owner, prefix = (frame, f"{key}.") if name in frame else (self._top, "")
        return None if owner.get(name) is None else self._number(owner, prefix, name, 0.0)

    def _number(self, owner: Mapping[str, Any], prefix: str, name: str, default: float) -> float:
        value = owner.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self._wrong(f"{prefix}{name}", f"is {json.dumps(value)[:40]}, not a number")
        return float(value)

    def _matrix(self, value: Any, key: str) -> Array:
        """A rigid motion `[4, 4]` from 3 or 4 rows of 4 numbers."""
        rows = value if isinstance(value, list) else []
        if len(rows) not in (3, 4) or not all(_is_row(row) for row in rows):
            raise self._wrong(key, "is not a matrix of 4x4, or 3x4, numbers")
        matrix = np.eye(4)
        matrix[: len(rows)] = np.array(rows, dtype=np.float64)
        if not np.isfinite(matrix).all():
            raise self._wrong(key, "has a number that is not finite")
        return matrix


def _is_row(row: Any) -> bool:
    return isinstance(row, Sequence) and len(row) == 4 and all(type(x) in (int, float) for x in row)


def image_name(file_path: str, path: Path) -> str:
    """A view's name: `file_path` with the image's suffix and without `./` and `images/` in front."""
    parts = [part for part in PurePosixPath(file_path.replace("\\", "/")).parts if part != "."]
    if ".." in parts or PurePosixPath(file_path).is_absolute() or not parts:
        parts = [path.name]
    if len(parts) > 1 and parts[0] == "images":
        parts = parts[1:]
    return "/".join([*parts[:-1], path.name])
