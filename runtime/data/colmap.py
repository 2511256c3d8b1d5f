"""Photographs with cameras and sparse points from COLMAP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...dsl.config_schema import InputConfig, PointsConfig
from ...dsl.typed import InputInfo
from ..extras import require
from .normalize import Array
from .photographs import PhotographProvider
from .problems import data_error, listing

_MODEL_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", ".")
_MODEL_FILES = ("cameras", "images", "points3D")
_PINHOLES = ("SIMPLE_PINHOLE", "PINHOLE")


class ColmapDataProvider(PhotographProvider):
    """A COLMAP scene: `images/`, a sparse model, and `masks/` if there are any.

    Views are sorted by name. The model is looked for in `sparse/0`, `sparse`, `colmap/sparse/0` and the folder itself.
    A mask is `masks/NAME.png` where NAME is the image's name with or without its suffix, 255 = keep, 0 = leave out; an
    image with an alpha channel and no mask file uses that as its mask. Cameras must be SIMPLE_PINHOLE or PINHOLE.
    Files of declared inputs are looked for in `NAME/` beside `images/`. Images are read when first asked for, and kept
    as 8-bit arrays.

    Attributes:
        transform: `[4, 4]` float64, from COLMAP's world to this one, after `load_data`.
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
        background: tuple[float, float, float] | None = None,
        points: PointsConfig | None = None,
        inputs: Mapping[str, InputInfo] | None = None,
        input_options: Mapping[str, InputConfig] | None = None,
    ) -> None:
        """Describe the scene; nothing is read yet.

        Args:
            path: the scene's folder.
            width: reduce images to this many pixels; narrower ones stay as they are.
            downscale: reduce both sides by this factor, at least 1. Give this or ``width`` or neither.
            test_every: see `ViewListProvider`.
            masks: "auto" uses the masks that exist, "required" insists on one for every image, "none" ignores them.
            normalize: whether to move the scene into the frame of `normalizing_transform`.
            seed: of the order of training views.
            device: where items live.
            background: colour, 0..1, that replaces what a mask leaves out; None leaves the images alone.
            points: which sparse points views see; the first gaussians start from all of them whatever this says.
            inputs: what the program declares, `loss_fn.program.inputs`; those of them that have files are loaded.
            input_options: how files of inputs are read, by the input's name.

        Raises:
            LossError: an option is out of its range, or two contradict each other.
        """
        self.path = Path(path)
        super().__init__(
            self.path, width=width, downscale=downscale, test_every=test_every, masks=masks, normalize=normalize,
            seed=seed, device=device, background=background, alpha="mask", inputs=inputs, input_options=input_options,
        )  # fmt: skip
        self._filter = points or PointsConfig()

    def _read_views(self) -> Array:
        model_folder, model = self._read_model()
        images = sorted((image for image in model.images.values() if image.has_pose), key=lambda image: image.name)
        if not images:
            raise data_error("DAT007", f"the COLMAP model {model_folder} has no image with a pose", model_folder)
        self._check_cameras(model, images, model_folder)
        folder = self.path / "images"
        if not folder.is_dir():
            raise data_error(
                "DAT002",
                f"{self.path} has no folder `images`",
                self.path,
                help=("put the images that COLMAP was run on there, under their names in the model",),
            )
        missing = [image.name for image in images if not (folder / image.name).is_file()]
        if missing:
            raise data_error(
                "DAT006",
                f"{len(missing)} of {len(images)} images of the COLMAP model are not in {folder}",
                folder,
                notes=(f"missing: {listing(missing)}",),
                help=("names must match the model's, with their suffix and subfolder",),
            )
        points = dict(sorted(model.points3D.items()))
        seen: dict[int, set[int]] = {image.image_id: set() for image in images}
        for row, point in enumerate(points.values()):
            if not self._is_good(point):
                continue
            for element in point.track.elements:
                if element.image_id in seen:
                    seen[element.image_id].add(row)
        self._points = np.array([point.xyz for point in points.values()], dtype=np.float64).reshape(-1, 3)
        self._colors = np.array([point.color for point in points.values()], dtype=np.float64).reshape(-1, 3) / 255.0
        if not self._colors.any():
            self._colors[:] = 0.5  # a model whose colours were never extracted; black would be a poor guess
        for image in images:
            camera = model.cameras[image.camera_id]
            self._views.append(
                self._view(
                    image.name,
                    folder / image.name,
                    self._find_mask(image.name),
                    (np.array(camera.calibration_matrix(), dtype=np.float64), (camera.width, camera.height)),
                    np.array(sorted(seen[image.image_id]), dtype=np.int64),
                    self._find_inputs(image.name),
                )
            )
        return np.stack([_pose(image) for image in images])

    def _is_good(self, point: Any) -> bool:
        """Whether views see a point: by its mean reprojection error, -1 where it was never computed, and its track."""
        limit = self._filter.max_error
        views = {element.image_id for element in point.track.elements}  # an image can be there twice
        return (limit is None or point.error <= limit) and len(views) >= self._filter.min_views

    def _read_model(self) -> tuple[Path, Any]:
        if not self.path.is_dir():
            raise data_error("DAT002", f"the scene folder {self.path} does not exist", self.path)
        found = [self.path / name for name in _MODEL_FOLDERS if _is_model(self.path / name)]
        if not found:
            raise data_error(
                "DAT003",
                f"{self.path} holds no COLMAP model",
                self.path,
                notes=(f"looked in: {', '.join(_MODEL_FOLDERS)}, for {', '.join(_MODEL_FILES)} as .bin or .txt",),
                help=("run COLMAP's mapper, or give the folder that contains `sparse`",),
            )
        pycolmap = require("pycolmap")
        empty = [path.name for path in sorted(found[0].glob("*.bin")) if path.stat().st_size == 0]
        if empty:  # pycolmap would read counts from nowhere
            raise data_error("DAT004", f"the COLMAP model {found[0]} is damaged: {listing(empty)} is empty", found[0])
        try:
            return found[0], pycolmap.Reconstruction(str(found[0]))
        # pycolmap passes C++ exceptions on as whatever Python type they map to, index errors among them.
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise data_error("DAT004", f"the COLMAP model {found[0]} cannot be read: {reason}", found[0]) from error

    def _check_cameras(self, model: Any, images: list[Any], folder: Path) -> None:
        used = sorted({image.camera_id for image in images})
        models = {number: _camera_model(model.cameras[number]) for number in used}
        bad = {number: name for number, name in models.items() if name not in _PINHOLES}
        if bad:
            raise data_error(
                "DAT005",
                f"camera {listing([f'{number} ({name})' for number, name in bad.items()])} is not a pinhole",
                folder,
                notes=(f"only {' and '.join(_PINHOLES)} can be rendered",),
                help=(
                    f"undistort: colmap image_undistorter --image_path {self.path / 'images'} --input_path {folder} "
                    "--output_path UNDISTORTED, then train on UNDISTORTED",
                ),
            )

    def _sparse_points(self) -> tuple[Array, Array]:
        if len(self._points) < 4:
            raise data_error(
                "DAT012",
                f"the COLMAP model of {self.path} has {len(self._points)} sparse points; gaussians start from them",
                self.path,
                help=("keep points3D in the model; `colmap point_triangulator` makes them for known poses",),
            )
        return self._points, self._colors

    def _scene_depth(self) -> float:
        return super()._scene_depth() if len(self._points) >= 4 else 1.0


def _is_model(folder: Path) -> bool:
    return any(all((folder / f"{name}{end}").is_file() for name in _MODEL_FILES) for end in (".bin", ".txt"))


def _camera_model(camera: Any) -> str:
    """Name of a camera's model; the type that holds it differs between versions of pycolmap."""
    return str(getattr(camera.model, "name", camera.model)).rpartition(".")[2]


def _pose(image: Any) -> Array:
    """Camera to world `[4, 4]`."""
    rigid = image.cam_from_world
    rigid = rigid() if callable(rigid) else rigid  # a method since pycolmap 3.12, a property before
    view = np.eye(4)
    view[:3] = rigid.matrix()
    return np.asarray(np.linalg.inv(view), dtype=np.float64)
