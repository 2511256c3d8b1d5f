"""Photographs with cameras and sparse points from COLMAP."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..extras import require
from .base import SplatDataItem, ViewListProvider, pixels_inside
from .images import Size, image_header, read_image, read_mask, same_shape
from .normalize import Array, normalizing_transform, transform_points, transform_poses
from .problems import data_error, listing

_MODEL_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", ".")
_MODEL_FILES = ("cameras", "images", "points3D")
_PINHOLES = ("SIMPLE_PINHOLE", "PINHOLE")
_MASK_MODES = ("auto", "required", "none")


@dataclass(frozen=True)
class _View:
    """One registered image; ``K`` `[3, 3]` and ``size`` are those after resizing, ``seen`` are rows of the points."""

    name: str
    path: Path
    mask_path: Path | None
    has_alpha: bool
    size: Size
    K: Array
    seen: NDArray[np.int64]


class ColmapDataProvider(ViewListProvider):
    """A COLMAP scene: `images/`, a sparse model, and `masks/` if there are any.

    Views are sorted by name. The model is looked for in `sparse/0`, `sparse`, `colmap/sparse/0` and the folder itself.
    A mask is `masks/NAME.png` where NAME is the image's name with or without its suffix, 255 = keep, 0 = leave out; an
    image with an alpha channel and no mask file uses that as its mask. Cameras must be SIMPLE_PINHOLE or PINHOLE.
    Images are read when first asked for, and kept as 8-bit arrays.

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

        Raises:
            LossError: an option is out of its range, or two contradict each other.
        """
        super().__init__(test_every, seed, device)
        problem = None
        if width is not None and downscale is not None:
            problem = "width and downscale are both given; use one"
        elif width is not None and width < 1:
            problem = f"width is {width}, not at least 1 pixel"
        elif downscale is not None and not downscale >= 1:
            problem = f"downscale is {downscale}, not at least 1"
        elif masks not in _MASK_MODES:
            problem = f"masks is {masks!r}, not one of {', '.join(_MASK_MODES)}"
        if problem:
            raise data_error("DAT015", problem, f"<{self.module_name}>")
        self.path = Path(path)
        self.width, self.downscale, self.masks, self.normalize = width, downscale, masks, normalize
        self.background = background
        self.transform: Array = np.eye(4)
        self._views: list[_View] = []
        self._points: Array = np.zeros((0, 3))
        self._colors: Array = np.zeros((0, 3))
        self._pictures: dict[int, tuple[Tensor, Tensor | None]] = {}
        self._geometry: dict[int, tuple[Tensor, Tensor, Tensor | None, Tensor | None]] = {}

    @property
    def fields(self) -> frozenset[str]:
        """See `SplatDataProvider.fields`."""
        return frozenset({"target"} | {name for name, has in self._has().items() if all(has)})

    @property
    def fields_some(self) -> frozenset[str]:
        """See `SplatDataProvider.fields_some`."""
        return frozenset(name for name, has in self._has().items() if any(has) and not all(has))

    @property
    def points(self) -> Tensor:
        """Sparse points `[N, 3]` in scene units, float64 on the CPU."""
        self.load_data()
        return torch.from_numpy(self._points.copy())

    def _has(self) -> dict[str, list[bool]]:
        self.load_data()
        return {
            "mask": [self.masks != "none" and (v.mask_path is not None or v.has_alpha) for v in self._views],
            "points": [len(v.seen) > 0 for v in self._views],
        }

    def _load(self) -> Array:
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
        masks = {image.name: self._find_mask(image.name) for image in images}
        points = dict(sorted(model.points3D.items()))
        seen: dict[int, set[int]] = {image.image_id: set() for image in images}
        for row, point in enumerate(points.values()):
            for element in point.track.elements:
                if element.image_id in seen:
                    seen[element.image_id].add(row)
        self._points = np.array([point.xyz for point in points.values()], dtype=np.float64).reshape(-1, 3)
        self._colors = np.array([point.color for point in points.values()], dtype=np.float64).reshape(-1, 3) / 255.0
        if not self._colors.any():
            self._colors[:] = 0.5  # a model whose colours were never extracted; black would be a poor guess
        self._views = [
            self._view(
                image, model.cameras[image.camera_id], folder / image.name, masks[image.name], seen[image.image_id]
            )
            for image in images
        ]
        bare = [v.name for v in self._views if v.mask_path is None and not v.has_alpha]
        if self.masks == "required" and bare:
            raise data_error(
                "DAT010",
                f"{len(bare)} of {len(images)} images have no mask in {self.path / 'masks'}",
                self.path / "masks",
                notes=(f"without a mask: {listing(bare)}",),
                help=(f"the mask of {bare[0]} is called {bare[0]}.png",),
            )
        poses = np.stack([_pose(image) for image in images])
        if self.normalize:
            self.transform = normalizing_transform(poses, self._points)
            poses = transform_poses(self.transform, poses)
            self._points = transform_points(self.transform, self._points)
        return poses

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

    def _find_mask(self, name: str) -> Path | None:
        if self.masks == "none":
            return None
        candidates = (self.path / "masks" / f"{name}.png", (self.path / "masks" / name).with_suffix(".png"))
        return next((path for path in candidates if path.is_file()), None)

    def _view(self, image: Any, camera: Any, path: Path, mask: Path | None, seen: set[int]) -> _View:
        """Everything about a view but its pixels."""
        full, has_alpha = image_header(path)
        if not same_shape(full, (camera.width, camera.height)):
            raise data_error(
                "DAT009",
                f"{image.name} is {full[0]}x{full[1]}, its camera {camera.width}x{camera.height}: not the same shape",
                path,
                help=("use the images that COLMAP was run on, or copies that are scaled as a whole",),
            )
        if mask is not None:
            mask_size, _ = image_header(mask)
            if not same_shape(full, mask_size):
                raise data_error(
                    "DAT011",
                    f"the mask of {image.name} is {mask_size[0]}x{mask_size[1]}, the image {full[0]}x{full[1]}",
                    mask,
                    help=("masks may be smaller or larger than their images, but of the same shape",),
                )
        size = self._target_size(full)
        K = np.array(camera.calibration_matrix(), dtype=np.float64)
        # Both sides are rounded to whole pixels, so they scale by slightly different factors.
        K[0] *= size[0] / camera.width
        K[1] *= size[1] / camera.height
        return _View(image.name, path, mask, has_alpha, size, K, np.array(sorted(seen), dtype=np.int64))

    def _target_size(self, full: Size) -> Size:
        factor = self.downscale or (max(1.0, full[0] / self.width) if self.width else 1.0)
        return max(1, round(full[0] / factor)), max(1, round(full[1] / factor))

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

    def _picture(self, index: int) -> tuple[Tensor, Tensor | None]:
        """Image `[H, W, 3]` uint8 and mask `[H, W]` of a view, on the CPU."""
        if index not in self._pictures:
            view = self._views[index]
            image, mask = read_image(view.path, view.size)
            if self.masks == "none":
                mask = None
            elif view.mask_path is not None:
                mask = read_mask(view.mask_path, view.size)
            if mask is not None and self.background is not None:
                image[~mask] = np.rint(255 * np.asarray(self.background)).clip(0, 255).astype(np.uint8)
            self._pictures[index] = (torch.from_numpy(image), None if mask is None else torch.from_numpy(mask.copy()))
        return self._pictures[index]

    def _place(self, index: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """K, pose, pixels and depths of a view, with a leading 1, on the device."""
        if index not in self._geometry:
            view = self._views[index]
            pixels, depths = pixels_inside(self._points[view.seen], view.K, self._poses[index], view.size)
            arrays = (view.K, self._poses[index], pixels, depths)
            K, pose, at, depth = (torch.from_numpy(a).float()[None].to(self.device) for a in arrays)
            self._geometry[index] = (K, pose, at, depth) if len(view.seen) else (K, pose, None, None)
        return self._geometry[index]

    def _item(self, index: int) -> SplatDataItem:
        image, mask = self._picture(index)
        K, pose, points, depths = self._place(index)
        return SplatDataItem(
            id=index,
            image_name=self._views[index].name,
            K=K,
            cam_to_world=pose,
            # Moved as bytes: a quarter of the traffic.
            image=image.to(self.device)[None].float() / 255.0,
            mask=None if mask is None else mask.to(self.device)[None],
            points=points,
            depths=depths,
        )


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
