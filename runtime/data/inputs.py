"""Inputs that a program declares, from files beside the images: found by name, read by kind, fitted to the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...dsl.config_schema import InputConfig
from ...dsl.interval import Interval
from ...dsl.source import Source, Span
from ...dsl.typed import InputInfo
from ...dsl.types import DEPTH, TENSOR, Fact
from .arrays import SUFFIXES, Pixels, read_pixels, unreadable
from .base import SplatDataItem
from .images import Size, same_shape
from .normalize import Array
from .problems import data_error

METRIC_SCALE = 0.001
"""What 1 stands for in a PNG of metric depth if nothing else is said: a millimetre in a scene measured in metres."""

_SHORT = 0.5  # 8 bits cannot say 0: a normal of a PNG that is no longer than this stands for none
_OWN = frozenset(field.name for field in fields(SplatDataItem)) | frozenset(vars(SplatDataItem))
_FILLED = frozenset({"depth_map", "points", "depths"})
"""Fields of an item that files may fill, too."""


@dataclass(frozen=True)
class Frame:
    """How the scene was moved from the world of its files: what metric depths and world normals follow.

    Attributes:
        scale: new length of what was 1 long.
        rotation: `[3, 3]`.
    """

    scale: float = 1.0
    rotation: Array | None = None

    @classmethod
    def of(cls, transform: Array) -> Frame:
        """Of a similarity `[4, 4]`."""
        scale = float(np.cbrt(np.linalg.det(transform[:3, :3])))
        return cls(scale, transform[:3, :3] / scale)


class InputFiles:
    """The files of one declared input.

    Args:
        info: the declaration; its kind, range and facts say how files are read.
        options: where they are and what their numbers mean.
        root: the scene's folder.
    """

    def __init__(self, info: InputInfo, options: InputConfig, root: Path) -> None:
        self.name, self.info, self.options = info.name, info, options
        self.folder = root / (options.folder or info.name)
        self.is_pixels = info.kind.layout == "pixels"
        self.components = int(info.kind.components) if isinstance(info.kind.components, int) else -1
        self.fact = {name: fact.value for name, fact in info.facts.items()}
        # A range from 0 to beyond 1 is what numbers of classes are declared with.
        self.labels = info.kind.name == "map" and info.range.lo >= 0 and info.range.hi > 1

    def where(self) -> str:
        """Where files are looked for, in words."""
        kinds = ", ".join(SUFFIXES) if self.is_pixels else ".npy"
        return f"`{self.folder}`, under the name of the image and {kinds}"

    def find(self, name: str) -> InputFile | None:
        """The file of an image, by its name with or without its suffix."""
        for stem in (Path(name).with_suffix(""), Path(name)):
            for suffix in SUFFIXES if self.is_pixels else (".npy",):
                path = self.folder / stem.parent / f"{stem.name}{suffix}"
                if path.is_file():
                    return InputFile(self, path)
        return None


@dataclass(frozen=True)
class InputFile:
    """One file of an input; ``scale`` is the factor on its numbers where the data say it, else None."""

    files: InputFiles
    path: Path
    scale: float | None = None

    def read(self, full: Size, size: Size, frame: Frame) -> Tensor:
        """The values as a program reads them, float32 with a leading 1.

        Args:
            full: size of the image file.
            size: size that is trained at.
            frame: how the scene was moved.

        Raises:
            LossError: DAT020, the file cannot be read or is of another shape; DAT021, a value is outside of the
                range that the program declares.
        """
        files = self.files
        pixels = read_pixels(self.path, files.components, files.labels)
        if not files.is_pixels:
            whole_file = torch.from_numpy(np.asarray(pixels.values, dtype=np.float32)) * (files.options.scale or 1.0)
            self._check_range(whole_file)
            return whole_file[None]
        values = self._shaped(pixels.values, full)
        whole = pixels.top > 0 or values.dtype.kind in "iu"
        x = torch.from_numpy(values.astype(np.float32)) * self._scale(pixels)
        kind = files.info.kind.name
        if kind == "depth":
            x = _resized(_moved_depth(x, files.fact, frame), size, nearest=True)
        elif kind == "normals":
            x = _normals(x, pixels.top > 0, files.options.axes == "opengl", size)
            if files.fact.get("frame") == "world" and frame.rotation is not None:
                x = x @ torch.from_numpy(frame.rotation).float().T
        else:
            x = _resized(x, size, nearest=files.labels and whole)
        self._check_range(x)
        return x[None]

    def _shaped(self, values: np.ndarray, full: Size) -> np.ndarray:
        """`[H, W, k]`, whatever H and W."""
        k, name = self.files.components, self.files.name
        if values.ndim == 2:
            values = values[..., None]
        if values.ndim != 3 or 0 in values.shape:
            shape = ", ".join(map(str, values.shape))
            raise unreadable(self.path, f"has shape [{shape}], but `{name}` has pixels", "save [H, W] or [H, W, k]")
        channels = values.shape[2]
        if k == 1 and channels == 3 and (values == values[..., :1]).all():
            values = values[..., :1]  # grey, saved in colour
        elif k == 3 and channels == 1 and self.files.info.kind.name == "image":
            values = np.repeat(values, 3, axis=2)
        elif k not in (-1, channels):
            raise unreadable(self.path, f"has {channels} channels, but `{name}` has {k}")
        height, width = values.shape[:2]
        if not same_shape((width, height), full):
            raise unreadable(
                self.path,
                f"is {width}x{height}, its image {full[0]}x{full[1]}: not the same shape",
                "it may be smaller or larger than the image, but of the same shape",
            )
        return values

    def _scale(self, pixels: Pixels) -> float:
        """The factor on a file's numbers."""
        files = self.files
        given = self.scale if self.scale is not None else files.options.scale
        if given is not None:
            return given
        if not pixels.top or files.labels:
            return 1.0
        metric = files.info.kind.name == "depth" and files.fact.get("unit") != "relative"
        return METRIC_SCALE if metric else 1.0 / pixels.top

    def _check_range(self, x: Tensor) -> None:
        """Whether values are what the program says: a wrong scale is found here and not by a strange result."""
        seen, kind, name = x[x.isfinite()], self.files.info.kind.name, self.files.name
        declared = self.files.info.range
        if kind == "normals":
            return
        if seen.numel() < x.numel() and self.files.fact.get("density") != "sparse":
            raise data_error(
                "DAT021",
                f"{self.path} has values that are not finite, but `{name}` is declared without holes",
                self.path,
                help=(f"declare it with `sparse`, as in `input {name}: depth[metric, sparse]`",)
                if kind == "depth"
                else ("fill them, and leave the pixels out with a region of their own",),
            )
        if not seen.numel():
            return
        low, high = float(seen.min()), float(seen.max())
        if low < declared.lo - _slack(declared.lo) or high > declared.hi + _slack(declared.hi):
            raise data_error(
                "DAT021",
                f"{self.path} has values from {low:.4g} to {high:.4g}, but `{name}` is declared in {declared}",
                self.path,
                help=(f"set `scale` in `data.inputs.{name}`, or declare another range",),
            )


def _slack(limit: float) -> float:
    """How far a value may be beyond a limit: rounding, and not another unit."""
    return 1e-3 * max(1.0, abs(limit)) if np.isfinite(limit) else 0.0


def input_files(
    inputs: Mapping[str, InputInfo], options: Mapping[str, InputConfig], root: Path
) -> dict[str, InputFiles]:
    """What of a program's inputs can come from files, one for each view: tensors whose first dimension is B.

    What items have of their own, such as `points` and `depths`, comes from files only where ``options`` says so.

    Raises:
        LossError: DAT015, a name that items have for something else, or an option that does not fit the kind.
    """
    found = {}
    for name, info in inputs.items():
        kind = info.kind
        letters = "B" if kind.layout in ("pixels", "images") else kind.layout
        tensor = info.stage == TENSOR and kind.element is None and not kind.view and kind.name != "index"
        if not tensor or letters.split()[:1] != ["B"]:
            continue
        if name in _OWN - {"depth_map"} and name not in options:
            continue
        if name in _OWN - _FILLED:
            message = f"the input `{name}` cannot come from files: a training item has a `{name}` of its own"
            raise data_error("DAT015", message, f"<{name}>", help=("give the input another name",))
        given = options.get(name, InputConfig())
        if given.axes != "opencv" and (kind.name != "normals" or info.facts["frame"].value == "world"):
            message = f"`data.inputs.{name}.axes` turns normals of the camera, and `{name}` is {kind.describe()}"
            raise data_error("DAT015", message, f"<{name}>", help=("leave it out",))
        found[name] = InputFiles(info, given, root)
    return found


def depth_map_files(root: Path) -> InputFiles:
    """The `depth_map` of a data set for a program that is not known: direct, metric, with holes, along z."""
    words = {"form": "direct", "unit": "metric", "density": "sparse", "along": "z"}
    facts = {name: Fact(word) for name, word in words.items()}
    nowhere = Source("", "<depth_map>")
    info = InputInfo("depth_map", DEPTH, Interval(0, np.inf), TENSOR, facts, True, False, Span(0, 0), nowhere)
    return InputFiles(info, InputConfig(), root)


def _moved_depth(x: Tensor, fact: Mapping[str, str], frame: Frame) -> Tensor:
    """Metric depth in units of the scene as it was moved; relative depth has no unit."""
    if fact.get("unit") == "relative":
        return x
    return x / frame.scale if fact.get("form") == "inverse" else x * frame.scale


def _normals(x: Tensor, coded: bool, opengl: bool, size: Size) -> Tensor:
    """Unit normals, 0 where there are none.

    Args:
        x: `[H, W, 3]`, -1..1; 0..1 where ``coded`` as a PNG has them.
        coded: whether values are ``(n + 1) / 2``.
        opengl: whether y is up and z backward.
        size: of the result.
    """
    if coded:
        none = (x == 0).all(dim=-1, keepdim=True)
        x = 2 * x - 1
        x = torch.where(none | (x.norm(dim=-1, keepdim=True) < _SHORT), 0.0, x)
    x = F.normalize(torch.where(x.isfinite().all(dim=-1, keepdim=True), x, 0.0), dim=-1)
    if opengl:
        x = x * torch.tensor([1.0, -1.0, -1.0])
    # The mean of what is there: holes add nothing to a sum of directions.
    return F.normalize(_resized(x, size, nearest=False), dim=-1)


def _resized(x: Tensor, size: Size, nearest: bool) -> Tensor:
    """`[H, W, k]` at another size: the nearest pixel, the mean of an area, or between pixels where it grows."""
    width, height = size
    if x.shape[:2] == (height, width):
        return x
    planes = x.permute(2, 0, 1)[None]
    if nearest:
        planes = F.interpolate(planes, (height, width), mode="nearest-exact")
    elif height <= x.shape[0] and width <= x.shape[1]:
        planes = F.interpolate(planes, (height, width), mode="area")
    else:
        planes = F.interpolate(planes, (height, width), mode="bilinear", align_corners=False)
    return planes[0].permute(1, 2, 0).contiguous()
