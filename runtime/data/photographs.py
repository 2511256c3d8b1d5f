"""Views whose pixels are in files: images, masks and the files of declared inputs, read when first asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...dsl.config_schema import InputConfig
from ...dsl.typed import InputInfo
from .base import SplatDataItem, ViewListProvider, pixels_inside
from .images import Size, image_header, read_image, read_mask, same_shape
from .inputs import Frame, InputFile, InputFiles, input_files
from .normalize import Array, normalizing_transform, transform_points, transform_poses
from .problems import data_error, listing
from .transfer import on_device

MASK_MODES = ("auto", "required", "none")
ALPHA_MODES = ("mask", "composite")
KEPT_BYTES = 4 << 30
"""How much of the files of inputs is kept in memory; what is beyond that is read anew each time."""


@dataclass(frozen=True)
class View:
    """One image with its camera.

    Attributes:
        name: the image's name, unique among the views.
        path: the image.
        mask_path: its mask, if it has one in a file of its own.
        has_alpha: whether the image has an alpha channel.
        full: size of the file.
        size: size after resizing.
        K: `[3, 3]`, after resizing.
        seen: rows of the sparse points that this view sees.
        files: the files of inputs, by the input's name.
    """

    name: str
    path: Path
    mask_path: Path | None
    has_alpha: bool
    full: Size
    size: Size
    K: Array
    seen: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    files: Mapping[str, InputFile] = field(default_factory=dict)


class PhotographProvider(ViewListProvider):
    """A provider whose views are files: a subclass says which, and where their cameras are.

    Images are kept as 8-bit arrays once they have been read, the files of inputs as 32-bit floats up to `KEPT_BYTES`.

    Attributes:
        transform: `[4, 4]` float64, from the world of the scene's files to this one, after `load_data`.
        declared: the files of inputs, by the input's name.
    """

    def __init__(
        self,
        root: Path,
        *,
        width: int | None,
        downscale: float | None,
        test_every: int,
        masks: str,
        normalize: bool,
        seed: int,
        device: torch.device | str,
        background: tuple[float, float, float] | None,
        alpha: str,
        inputs: Mapping[str, InputInfo] | None,
        input_options: Mapping[str, InputConfig] | None,
    ) -> None:
        super().__init__(test_every, seed, device)
        problem = None
        if width is not None and downscale is not None:
            problem = "width and downscale are both given; use one"
        elif width is not None and width < 1:
            problem = f"width is {width}, not at least 1 pixel"
        elif downscale is not None and not downscale >= 1:
            problem = f"downscale is {downscale}, not at least 1"
        elif masks not in MASK_MODES:
            problem = f"masks is {masks!r}, not one of {', '.join(MASK_MODES)}"
        elif alpha not in ALPHA_MODES:
            problem = f"alpha is {alpha!r}, not one of {', '.join(ALPHA_MODES)}"
        if problem:
            raise data_error("DAT015", problem, f"<{self.module_name}>")
        self.root = root
        self.width, self.downscale, self.masks, self.normalize = width, downscale, masks, normalize
        self.background, self.alpha = background, alpha
        self.transform: Array = np.eye(4)
        self._options = dict(input_options or {})
        self.declared: dict[str, InputFiles] = input_files(inputs or {}, self._options, root)
        self._frame = Frame()
        self._views: list[View] = []
        self._points: Array = np.zeros((0, 3))
        self._colors: Array = np.zeros((0, 3))
        self._pictures: dict[int, tuple[Tensor, Tensor | None]] = {}
        self._extras: dict[int, dict[str, Tensor]] = {}
        self._kept_bytes = 0
        self._geometry: dict[int, tuple[Tensor, Tensor, Tensor | None, Tensor | None]] = {}

    # What there is

    @property
    def fields(self) -> frozenset[str]:
        """See `SplatDataProvider.fields`."""
        return frozenset({"target"} | {name for name, has in self._has().items() if has and all(has)})

    @property
    def fields_some(self) -> frozenset[str]:
        """See `SplatDataProvider.fields_some`."""
        return frozenset(name for name, has in self._has().items() if any(has) and not all(has))

    @property
    def fields_none(self) -> frozenset[str]:
        """See `SplatDataProvider.fields_none`."""
        return frozenset(name for name in self.declared if not any(self._has()[name]))

    def where_looked(self, field: str) -> str:
        """See `SplatDataProvider.where_looked`."""
        return self.declared[field].where() if field in self.declared else ""

    def train_views_without(self, field: str) -> list[str]:
        """See `ViewListProvider.train_views_without`; opens no file."""
        has = self._has().get(field)
        if has is None:
            return super().train_views_without(field)
        return [self._views[index].name for index in self._train if not has[index]]

    @property
    def points(self) -> Tensor:
        """Sparse points `[N, 3]` in scene units, float64 on the CPU."""
        self.load_data()
        return torch.from_numpy(self._points.copy())

    def _has(self) -> dict[str, list[bool]]:
        self.load_data()
        names = dict.fromkeys([*self.declared, *(name for view in self._views for name in view.files)])
        return {
            "mask": [self.masks != "none" and self._is_masked(view) for view in self._views],
            "points": [len(view.seen) > 0 for view in self._views],
            **{name: [name in view.files for view in self._views] for name in names},
        }

    def declare(self, inputs: Mapping[str, InputInfo]) -> None:
        """Look for the files of these inputs instead of those that were declared before.

        Raises:
            LossError: DAT015, see `input_files`.
        """
        self.declared = input_files(inputs, self._options, self.root)
        self._views = [replace(view, files=self._find_inputs(view.name)) for view in self._views]
        self._extras, self._kept_bytes = {}, 0

    def _is_masked(self, view: View) -> bool:
        return view.mask_path is not None or (view.has_alpha and self.alpha == "mask")

    # Reading

    @abstractmethod
    def _read_views(self) -> Array:
        """Fill `_views`, `_points` and `_colors`, in their final order; returns poses `[V, 4, 4]` as in the files."""

    def _load(self) -> Array:
        poses = self._read_views()
        bare = [view.name for view in self._views if not self._is_masked(view)]
        if self.masks == "required" and bare:
            folder = self.root / "masks"
            raise data_error(
                "DAT010",
                f"{len(bare)} of {len(self._views)} images have no mask in {folder}",
                folder,
                notes=(f"without a mask: {listing(bare)}",),
                help=(f"the mask of {bare[0]} is called {bare[0]}.png",),
            )
        if self.normalize:
            moved = normalizing_transform(poses, self._points)
            poses = transform_poses(moved, poses)
            self._points = transform_points(moved, self._points)
            self._frame = Frame.of(moved)
            self.transform = moved @ self.transform
        return poses

    def _find_mask(self, name: str) -> Path | None:
        if self.masks == "none":
            return None
        candidates = (self.root / "masks" / f"{name}.png", (self.root / "masks" / name).with_suffix(".png"))
        return next((path for path in candidates if path.is_file()), None)

    def _find_inputs(self, name: str) -> dict[str, InputFile]:
        """The files of declared inputs for an image."""
        found = {key: files.find(name) for key, files in self.declared.items()}
        return {key: file for key, file in found.items() if file is not None}

    def _view(
        self,
        name: str,
        path: Path,
        mask: Path | None,
        camera: tuple[Array, Size | None],
        seen: NDArray[np.int64] | None = None,
        files: Mapping[str, InputFile] | None = None,
    ) -> View:
        """Everything about a view but its pixels.

        Args:
            name, path, mask: of the image.
            camera: intrinsics `[3, 3]` and the size (width, height) that they are for; None: the file's.
            seen, files: see `View`.

        Raises:
            LossError: image or mask has another shape than the camera.
        """
        full, has_alpha = image_header(path)
        K, (width, height) = camera[0].copy(), camera[1] or full
        if not same_shape(full, (width, height)):
            raise data_error(
                "DAT009",
                f"{name} is {full[0]}x{full[1]}, its camera {width}x{height}: not the same shape",
                path,
                help=("use the images that the cameras were found with, or copies that are scaled as a whole",),
            )
        if mask is not None:
            mask_size, _ = image_header(mask)
            if not same_shape(full, mask_size):
                raise data_error(
                    "DAT011",
                    f"the mask of {name} is {mask_size[0]}x{mask_size[1]}, the image {full[0]}x{full[1]}",
                    mask,
                    help=("masks may be smaller or larger than their images, but of the same shape",),
                )
        size = self._target_size(full)
        # Both sides are rounded to whole pixels, so they scale by slightly different factors.
        K[0] *= size[0] / width
        K[1] *= size[1] / height
        rows = np.zeros(0, dtype=np.int64) if seen is None else seen
        return View(name, path, mask, has_alpha, full, size, K, rows, dict(files or {}))

    def _target_size(self, full: Size) -> Size:
        factor = self.downscale or (max(1.0, full[0] / self.width) if self.width else 1.0)
        return max(1, round(full[0] / factor)), max(1, round(full[1] / factor))

    def _picture(self, index: int) -> tuple[Tensor, Tensor | None]:
        """Image `[H, W, 3]` uint8 and mask `[H, W]` of a view, on the CPU."""
        if index not in self._pictures:
            view = self._views[index]
            over = self.background if view.has_alpha and self.alpha == "composite" else None
            image, mask = read_image(view.path, view.size, over)
            if self.masks == "none" or self.alpha == "composite":
                mask = None
            if view.mask_path is not None and self.masks != "none":
                mask = read_mask(view.mask_path, view.size)
            if mask is not None and self.background is not None and self.alpha == "mask":
                image[~mask] = np.rint(255 * np.asarray(self.background)).clip(0, 255).astype(np.uint8)
            self._pictures[index] = (torch.from_numpy(image), None if mask is None else torch.from_numpy(mask.copy()))
        return self._pictures[index]

    def _inputs(self, index: int) -> dict[str, Tensor]:
        """The inputs of a view with a leading 1, on the CPU."""
        if index not in self._extras:
            view = self._views[index]
            made = {name: file.read(view.full, view.size, self._frame) for name, file in view.files.items()}
            size = sum(value.numel() * value.element_size() for value in made.values())
            if self._kept_bytes + size > KEPT_BYTES:
                return made
            self._kept_bytes += size
            self._extras[index] = made
        return self._extras[index]

    def _place(self, index: int) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """K, pose, pixels and depths of a view, with a leading 1, on the device."""
        if index not in self._geometry:
            view = self._views[index]
            pixels, depths = pixels_inside(self._points[view.seen], view.K, self._poses[index], view.size)
            arrays = (view.K, self._poses[index], pixels, depths)
            K, pose, at, depth = (torch.from_numpy(a).float()[None] for a in arrays)
            K, pose, at, depth = (on_device(t, self.device) for t in (K, pose, at, depth))
            self._geometry[index] = (K, pose, at, depth) if len(view.seen) else (K, pose, None, None)
        return self._geometry[index]

    def _item(self, index: int) -> SplatDataItem:
        image, mask = self._picture(index)
        K, pose, points, depths = self._place(index)
        extras = {name: on_device(value, self.device) for name, value in self._inputs(index).items()}
        return SplatDataItem(
            id=index,
            image_name=self._views[index].name,
            K=K,
            cam_to_world=pose,
            # Moved as bytes: a quarter of the traffic.
            image=on_device(image, self.device)[None].float() / 255.0,
            mask=None if mask is None else on_device(mask, self.device)[None],
            points=extras.pop("points", points),
            depths=extras.pop("depths", depths),
            depth_map=extras.pop("depth_map", None),
            extras=extras,
        )
