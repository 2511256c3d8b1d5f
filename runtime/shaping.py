"""Tensors as they are given to tensors as graphs read them: components last, one dimension for each letter."""

from __future__ import annotations

import torch
from torch import Tensor

from ..dsl.builtins.shapes import letters
from ..dsl.typed import InputInfo
from ..dsl.types import NUMBER, Kind

_CHANNELS_FIRST = 'use x.permute(0, 2, 3, 1), or give the loss layout="BCHW"'


class Misfit(Exception):
    """A tensor that is not what an input is declared as."""

    def __init__(self, code: str, message: str, help: str = "") -> None:
        super().__init__(message)
        self.code, self.help = code, help


def shaped(name: str, kind: Kind, x: Tensor, info: InputInfo | None) -> Tensor:
    """The tensor in the layout of its kind.

    Raises:
        Misfit: its shape or dtype is another.
    """
    if kind == NUMBER:
        if x.numel() != 1:
            raise Misfit("BND002", f"`{name}` must be a single number, but has {described(x)}")
        return _floating(x.reshape(()))
    if kind.name == "index":
        return _index(name, kind, x)
    if kind.layout == "gaussians":
        return _rows(name, kind, x)
    if kind.layout != "pixels":
        return _other(name, kind, x)
    components = int(kind.components) if isinstance(kind.components, int) else -1
    plain = name.rpartition(".")[2] == "mask" or (info is not None and components == 1)
    if plain and x.dim() in (2, 3) and not (x.dim() == 3 and x.shape[-1] == 1 and x.shape[0] != 1):
        x = x.unsqueeze(-1)
    if x.dim() == 3:
        x = x.unsqueeze(0)
    if components > 0 and x.dim() == 4 and x.shape[1] == components and x.shape[-1] != components:
        message = f"`{name}` must have shape [B, H, W, {components}], but has {described(x)}"
        raise Misfit("BND002", message, f"it looks like [B, {components}, H, W]: {_CHANNELS_FIRST}")
    if x.dim() != 4 or (components > 0 and x.shape[-1] != components):
        wanted = "[B, H, W]" if plain else f"[B, H, W, {kind.components}]"
        raise Misfit("BND002", f"`{name}` must have shape {wanted}, but has {described(x)}")
    if x.shape[-1] == 0:
        raise Misfit("BND002", f"`{name}` has no components: its shape is {described(x)}")
    if not x.is_floating_point():
        counts = info is not None and (info.range.hi > 1 or x.dtype == torch.bool)
        if counts or (kind.name == "region" and x.dtype == torch.bool):
            return x.to(torch.float32)
        dtype = str(x.dtype).removeprefix("torch.")
        raise Misfit("BND003", f"`{name}` must be floating point in 0..1, but is {dtype}", _convert(name, x))
    return x


def components_last(kind: Kind, x: Tensor) -> Tensor:
    """Pixels with components last, of pixels that were given with components first: `[B, C, H, W]` or `[C, H, W]`.

    What has one component may be `[B, H, W]`, or `[H, W]`, and stays so.
    """
    if kind.layout != "pixels" or x.dim() not in (3, 4):
        return x
    if x.dim() == 3 and kind.components == 1 and x.shape[0] != 1:
        return x
    return x.movedim(-3, -1)


def _rows(name: str, kind: Kind, x: Tensor) -> Tensor:
    components = int(kind.components) if isinstance(kind.components, int) else -1
    flat = x  # rows of nothing have no width that could be asked for
    if x.dim():
        flat = x.reshape(x.shape[0], -1) if x.shape[0] else x.reshape(0, max(components, 1))
    if x.dim() == 0 or (components > 0 and flat.shape[1] != components):
        wanted = "[N]" if components == 1 else f"[N, {components}]"
        raise Misfit("BND002", f"`{name}` must have shape {wanted}, but has {described(x)}")
    return _floating(flat)


def _other(name: str, kind: Kind, x: Tensor) -> Tensor:
    """One dimension for each letter, and the components, which may be left out where there is one."""
    rank = len(letters(kind))
    components = kind.components
    if kind.layout == "images" and x.dim() < 2 and not (x.dim() == 1 and components == 1):
        x = x.unsqueeze(0) if x.dim() else x.reshape(1)
    if components == 1 and x.dim() == rank:
        x = x.unsqueeze(-1)
    odd = any(word.isdigit() and int(word) != size for word, size in zip(letters(kind), x.shape))
    if odd or x.dim() != rank + 1 or (isinstance(components, int) and components > 0 and x.shape[-1] != components):
        wanted = ", ".join([*letters(kind), *([] if components == 1 else [str(components)])])
        raise Misfit("BND002", f"`{name}` must have shape [{wanted}], but has {described(x)}")
    return _floating(x)


def _index(name: str, kind: Kind, x: Tensor) -> Tensor:
    rank = len(letters(kind)) + (kind.components != 1)
    if x.is_floating_point() or x.dtype == torch.bool:
        raise Misfit("BND003", f"`{name}` must hold whole numbers, the rows of gaussians", "convert it: x.long()")
    if x.dim() != rank:
        raise Misfit("BND002", f"`{name}` must have shape {kind.dims}, but has {described(x)}")
    return x.long()


def dimensions(name: str, kind: Kind, x: Tensor) -> list[tuple[str, int]]:
    """The sizes of a tensor in its layout by letter; those of views and of items of lists under their own names."""
    if kind == NUMBER:
        return []
    words = letters(kind)
    owner = name if "[" in name and kind.layout not in ("pixels", "gaussians", "images") else ""
    known: dict[str, int] = dict(zip(words, x.shape))
    if isinstance(kind.components, str):
        known[kind.components] = x.shape[-1]
    view = f"{kind.view}:" if kind.view else ""
    found = []
    for letter, size in known.items():
        own = view if letter in ("B", "H", "W", "N") else owner
        found.append((f"{own}{letter}", int(size)))
    return found


def described(x: Tensor) -> str:
    """The shape, for messages."""
    return "[" + ", ".join(str(s) for s in x.shape) + "]"


def _floating(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.to(torch.float32)


def _convert(name: str, x: Tensor) -> str:
    if name.rpartition(".")[2] == "mask":
        return "convert it: mask.bool()"
    return "convert it: x.float() / 255" if x.dtype == torch.uint8 else ""
