"""Which sizes of tensors a graph is made for, and which it leaves open.

The number of gaussians, and of points, is never part of a graph. The size of the images is: the first one of each
render gets a graph of its own, and all others share one for each batch size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._dynamo.decorators import mark_unbacked

INDUCTOR_SPLIT = 4096
"""Number of values above which Inductor splits a reduction; a guard of graphs with dynamic sizes."""

TINY = 16
"""Up to this side an image has a graph of its own: a filter can leave it with one pixel, which is never open."""

ROWS, OF_IMAGES, MANY, IMAGE = (-1,), (-2,), (0,), (1, 2)
"""Dimensions that are left open: any number of gaussians or points, 0 and 1 among them; that of points of each image;
more gaussians than `INDUCTOR_SPLIT`, for which the code is faster; and the size of images that do not have the first
one's."""


class Frames:
    """The first image size of each render."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[int, ...]] = {}
        self._known: dict[tuple[Any, ...], tuple[tuple[Any, ...], tuple[tuple[int, ...], ...]]] = {}

    def classes(
        self, names: tuple[str, ...], spaces: tuple[str, ...], bound: list[Tensor]
    ) -> tuple[tuple[Any, ...], tuple[tuple[int, ...], ...]]:
        """What of the sizes decides the graph, and which dimensions of each tensor are left open."""
        key = (names, spaces, tuple(t.shape for t in bound))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._classes(names, spaces, bound)
        return found

    def _classes(
        self, names: tuple[str, ...], spaces: tuple[str, ...], bound: list[Tensor]
    ) -> tuple[tuple[Any, ...], tuple[tuple[int, ...], ...]]:
        sizes: dict[str, tuple[int, ...]] = {}
        fixed: list[tuple[str, tuple[int, ...]]] = []
        for name, space, t in zip(names, spaces, bound):
            view, _, layout = space.rpartition(":")
            if layout == "pixels":
                sizes.setdefault(view, tuple(t.shape[:3]))
            elif _is_of_images(layout, name):
                fixed.append((name, t.shape[0], *t.shape[2:], t.shape[1] > 0))
            elif not _is_rows(layout, name):
                fixed.append((name, tuple(t.shape)))
            elif t.dim() > 2:
                fixed.append((name, tuple(t.shape[1:])))
        found = {view: self._class(view, size, sizes) for view, size in sizes.items()}
        rows = self._rows(names, spaces, bound)
        if rows == MANY:
            fixed.append(("rows", MANY))
        dynamic: list[tuple[int, ...]] = []
        for name, space, t in zip(names, spaces, bound):
            view, _, layout = space.rpartition(":")
            if layout == "pixels":
                dynamic.append(IMAGE if isinstance(found[view][-1], str) else ())
            elif _is_of_images(layout, name):
                dynamic.append(OF_IMAGES if t.shape[1] else ())  # torch thinks of 0 points as another number
            else:
                dynamic.append(rows if _is_rows(layout, name) else ())
        return (*sorted(found.items()), *fixed), tuple(dynamic)

    def _rows(self, names: tuple[str, ...], spaces: tuple[str, ...], bound: list[Tensor]) -> tuple[int, ...]:
        """How the numbers of gaussians and points are left open."""
        layouts = [space.rpartition(":")[2] for space in spaces]
        counted = [_is_rows(layout, name) for layout, name in zip(layouts, names)]
        others = {n for t, rows in zip(bound, counted) for n in t.shape[1 if rows else 0 :]}
        counts = {t.shape[0] for t, rows in zip(bound, counted) if rows}
        kinds = {space for space, rows in zip(spaces, counted) if rows}
        # Of several that are equal by chance torch would think that they always are. Gaussians alone are nothing but
        # summed; what else has rows may be gathered or sorted, which ties its size to others.
        if len(kinds) == 1 and kinds <= {"gaussians"} and min(counts) > INDUCTOR_SPLIT and not counts & others:
            return MANY
        return ROWS

    def _class(self, view: str, size: tuple[int, ...], sizes: dict[str, tuple[int, ...]]) -> tuple[Any, ...]:
        first = self._first.setdefault(view, size)
        if size == first or min(size[1:]) <= TINY:
            return size
        # torch would tie equal height and width together, and Inductor reduces up to 4096 values in another way than
        # more.
        pixels = size[1] * size[2]
        small = (pixels <= INDUCTOR_SPLIT) + (3 * pixels <= INDUCTOR_SPLIT)
        alike = sorted(other for other, s in sizes.items() if other < view and set(s[1:]) & set(size[1:]))
        return size[0], small, *alike, "square" if size[1] == size[2] else "any"

    def describe(self, size: tuple[Any, ...]) -> str:
        """The size of the images, in words."""
        found = dict(item for item in size if item[0] == "" and item[1])
        if not found:
            return ""
        return ", any image size" if isinstance(found[""][-1], str) else f", {found[''][2]}x{found[''][1]} pixels"


def _is_rows(layout: str, name: str) -> bool:
    """Whether the first dimension is a number of gaussians, or of points, that changes from step to step."""
    words = layout.split()
    if not words or "[" in name:
        return False
    return layout == "gaussians" or words[0] == "N" or (len(words) == 1 and words[0] not in ("images", "B", "pixels"))


def _is_of_images(layout: str, name: str) -> bool:
    """Whether the second dimension is a number of points that each image has, and changes from step to step."""
    return len(layout.split()) == 2 and layout.split()[0] == "B" and "[" not in name


def prepare(t: Tensor, dynamic: tuple[int, ...]) -> Tensor:
    """An input in the form that never recompiles: any number of rows, and any image size if asked for."""
    # A view is no leaf: torch fixes the shape of parameters, but not of what is made from them.
    return mark(t.view_as(t), dynamic) if dynamic else t


def mark(t: Tensor, dynamic: tuple[int, ...]) -> Tensor:
    """The tensor itself, with its open dimensions marked for the compiler."""
    if dynamic in (ROWS, OF_IMAGES):
        mark_unbacked(t, -1 - dynamic[0])
    elif dynamic:
        torch._dynamo.mark_dynamic(t, dynamic)
    return t
