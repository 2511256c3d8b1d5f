"""Arrays from files: NumPy's `.npy`, PNG of 8 and 16 bits, OpenEXR."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..extras import require
from .images import open_image, reason_of
from .problems import data_error

SUFFIXES = (".npy", ".exr", ".png")
"""What the files of inputs end in; where several are there, the first of these is read."""

_ONE = ("Z", "Y", "R", "V")
_THREE = (("R", "G", "B"), ("X", "Y", "Z"))


class Pixels(NamedTuple):
    """What a file holds.

    Attributes:
        values: numbers or flags, `[H, W, C]` from pictures, of any shape from `.npy`.
        top: the largest value that a pixel of a PNG can have, 255 or 65535; 0 for other formats.
    """

    values: np.ndarray
    top: int


def read_pixels(path: Path, components: int, indexed: bool) -> Pixels:
    """The contents of a file.

    Args:
        path: ends in one of `SUFFIXES`.
        components: how many are wanted for each pixel; decides which channels of an EXR file are read. -1: all.
        indexed: whether a PNG with a palette stands for the numbers of its colours, not for the colours.

    Raises:
        LossError: DAT020, it cannot be read; DAT001, a package for it is missing.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return Pixels(_npy(path), 0)
    return Pixels(_exr(path, components), 0) if suffix == ".exr" else _png(path, indexed)


def unreadable(path: Path, reason: str, help: str = "") -> Exception:
    """DAT020 about a file."""
    return data_error("DAT020", f"{path} {reason}", path, help=(help,) if help else ())


def _npy(path: Path) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise unreadable(path, f"is not a readable NumPy file: {reason_of(error)}") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        what = f"of {values.dtype}" if isinstance(values, np.ndarray) else "several arrays"
        raise unreadable(path, f"holds no numbers, but is {what}", "save one array of floats or whole numbers")
    return values


def _png(path: Path, indexed: bool) -> Pixels:
    with open_image(path) as image:
        try:
            image.load()
            if image.mode.startswith("I"):  # 16 bits, which older versions of pillow widen to 32
                return Pixels(np.asarray(image).astype(np.uint16)[..., None], 65535)
            if not (image.mode == "P" and indexed) and image.mode not in ("L", "RGB"):
                image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
            values = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise unreadable(path, f"cannot be decoded: {reason_of(error)}") from error
    return Pixels(values if values.ndim == 3 else values[..., None], 255)


def _exr(path: Path, components: int) -> np.ndarray:
    openexr = require("OpenEXR", "exr")
    try:
        with openexr.File(str(path), separate_channels=True) as file:
            channels: dict[str, Any] = {name: channel.pixels for name, channel in file.channels().items()}
    except (RuntimeError, ValueError, OSError) as error:
        raise unreadable(path, f"is not a readable OpenEXR file: {reason_of(error)}") from error
    names = _chosen(sorted(channels), components)
    if not names:
        there = ", ".join(f"`{name}`" for name in sorted(channels))
        wanted = "one of `Z`, `Y`, `R`, `V`" if components == 1 else "`R`, `G`, `B` or `X`, `Y`, `Z`"
        raise unreadable(path, f"has the channels {there}, where {wanted} is expected")
    planes = [np.asarray(channels[name], dtype=np.float32) for name in names]
    if len({plane.shape for plane in planes}) > 1:
        raise unreadable(path, "has channels of different sizes")
    return np.stack(planes, axis=-1)


def _chosen(names: list[str], components: int) -> tuple[str, ...]:
    """The channels to read; their names may have a layer in front, as in ``ViewLayer.Depth.Z``."""
    short = {name.rpartition(".")[2].upper(): name for name in names}
    if components == -1 or len(names) == components == 1:
        return tuple(names)
    if components == 1:
        return tuple(short[letter] for letter in _ONE if letter in short)[:1]
    if components == 3:
        return next((tuple(short[c] for c in three) for three in _THREE if set(three) <= set(short)), ())
    return tuple(names) if len(names) == components else ()
