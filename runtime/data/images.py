"""Image and mask files: their sizes without decoding, and their pixels at a wanted size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..extras import require
from .problems import data_error

Size = tuple[int, int]  # width, height


def open_image(path: Path) -> Any:
    """An image file, opened by pillow.

    Raises:
        LossError: it is not an image.
    """
    image_module = require("PIL.Image")
    try:
        return image_module.open(path)
    except (OSError, SyntaxError, ValueError, image_module.DecompressionBombError) as error:
        raise data_error("DAT008", f"{path} is not a readable image: {reason_of(error)}", path) from error


def reason_of(error: Exception) -> str:
    """The first line of an exception's message, or its type."""
    return (str(error) or type(error).__name__).splitlines()[0]


def image_header(path: Path) -> tuple[Size, bool]:
    """Size of an image file, and whether it has an alpha channel, from its header alone.

    Raises:
        LossError: it is not an image.
    """
    with open_image(path) as image:
        return image.size, "A" in image.getbands() or "transparency" in image.info


def read_image(
    path: Path, size: Size, over: tuple[float, float, float] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Pixels of an image at ``size``, and the region that its alpha channel keeps.

    Colours are taken as not premultiplied with alpha. ``over``, 0..1, is the colour that a transparent image is laid
    over, before it is reduced; None ignores transparency.

    Reduction by whole factors averages blocks; other factors use Lanczos' kernel, widened by the factor.
    16-bit images keep their upper 8 bits. The EXIF orientation is ignored, as COLMAP ignores it.

    Returns:
        `[H, W, 3]`, and `[H, W]` (True where alpha is at least one half, nearest neighbour) or None without alpha.

    Raises:
        LossError: it cannot be decoded.
    """
    module = require("PIL.Image")
    with open_image(path) as image:
        try:
            image.load()
            if image.mode.startswith("I;16") or image.mode == "I":
                image = module.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
            alpha = None
            if "A" in image.getbands() or "transparency" in image.info:
                image = image.convert("RGBA")
                alpha = np.asarray(image.getchannel("A").resize(size, module.Resampling.NEAREST)) >= 128
            whole = image.width % size[0] == 0 and image.height % size[1] == 0
            kernel = module.Resampling.BOX if whole else module.Resampling.LANCZOS
            rgb = image.convert("RGB")
            if alpha is not None and over is not None:
                rgb = module.fromarray(_laid_over(image, over))
            return np.array(rgb if rgb.size == size else rgb.resize(size, kernel)), alpha
        except (OSError, SyntaxError, ValueError) as error:
            raise data_error("DAT008", f"{path} cannot be decoded: {reason_of(error)}", path) from error


def _laid_over(image: Any, colour: tuple[float, float, float]) -> NDArray[np.uint8]:
    """An RGBA image over a colour, `[H, W, 3]`."""
    pixels = np.asarray(image, dtype=np.float32) / 255
    alpha = pixels[..., 3:]
    mixed = pixels[..., :3] * alpha + np.asarray(colour, dtype=np.float32) * (1 - alpha)
    return np.asarray(np.rint(255 * mixed).clip(0, 255), dtype=np.uint8)


def read_mask(path: Path, size: Size) -> NDArray[np.bool_]:
    """A mask file at ``size``, `[H, W]`: True where it is at least 128 of 255; nearest neighbour.

    Raises:
        LossError: it cannot be decoded.
    """
    module = require("PIL.Image")
    with open_image(path) as image:
        try:
            # A palette or 1-bit image is about its colours, not its indices.
            grey = image.convert("L")
            return np.asarray(grey if grey.size == size else grey.resize(size, module.Resampling.NEAREST)) >= 128
        except (OSError, SyntaxError, ValueError) as error:
            raise data_error("DAT008", f"{path} cannot be decoded: {reason_of(error)}", path) from error


def same_shape(a: Size, b: Size) -> bool:
    """Whether two sizes are scaled copies of each other, up to rounding to whole pixels."""
    (aw, ah), (bw, bh) = (a, b) if a[0] >= b[0] else (b, a)
    # The smaller one's height is the larger one's, scaled and rounded; some tools round down.
    return abs(ah * bw / aw - bh) <= 1.0
