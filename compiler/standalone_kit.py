"""What a file written by `splatdsl build` needs beside kernels: inputs in their layout, checked numbers, the sum.

These functions are copied into the file, as far as it uses them. Mistakes of a call are ValueErrors, or TypeErrors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


class Inputs(dict[str, Any]):
    """What a call was given, by name, without what is None: tensors of one dtype, records, and numbers.

    Args:
        given: tensors in their layout, and what is handed on as it is.
        step: counted from 0.
        max_steps: length of the run.
    """

    def __init__(self, given: Mapping[str, Any], step: int, max_steps: int) -> None:
        for name, value, least in (("step", step, 0), ("max_steps", max_steps, 1)):
            if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
                raise ValueError(f"`{name}` must be a whole number of at least {least}, but is {value!r}")
        super().__init__({name: value for name, value in given.items() if value is not None})
        self.step, self.max_steps, self.progress = float(step), float(max_steps), step / max_steps
        tensors = {n: t for n, t in self.items() if isinstance(t, Tensor)}
        devices = {str(t.device) for t in tensors.values()}
        if len(devices) > 1:
            raise ValueError(f"the inputs are on several devices: {', '.join(sorted(devices))}")
        exact = any(t.dtype == torch.float64 for t in tensors.values())
        for name, t in tensors.items():
            if t.is_floating_point():
                t = t.to(torch.float64 if exact else torch.float32)
            self[name] = t.contiguous()

    def __missing__(self, name: str) -> Any:
        raise ValueError(f"this loss reads `{name}`, but the call gave none")

    def agree(self, count: int, names: Iterable[str]) -> None:
        """Check that inputs have the same first dimensions, so many of them."""
        sizes = {name: tuple(self[name].shape[:count]) for name in names if name in self}
        for name, size in sizes.items():
            first = next(iter(sizes))
            if size != sizes[first]:
                raise ValueError(f"`{first}` and `{name}` differ in size: {list(sizes[first])} and {list(size)}")

    def several(self, name: str, count: int) -> None:
        """Check that a list has as many items as the loss goes through."""
        if name in self and len(self[name]) != count:
            raise ValueError(f"`{name}` must have {count} items, as this file was written for, not {len(self[name])}")

    def alone(self, function: str, names: Iterable[str]) -> None:
        """Check that there is one image, as a function is given the points of one."""
        if any(name in self and len(self[name]) > 1 for name in names):
            raise ValueError(f"`{function}` is given the points of one image, but there are several")

    def measure(self, letter: str, places: Iterable[tuple[str, int]], otherwise: float | None = None) -> None:
        """Note the size of a dimension: that of the first of several inputs that is there."""
        found = next((float(self[name].shape[place]) for name, place in places if name in self), otherwise)
        if found is not None:
            self.setdefault(letter, found)

    @property
    def like(self) -> Tensor:
        """A tensor with the dtype and device of the inputs."""
        floating = (t for t in self.values() if isinstance(t, Tensor) and t.is_floating_point())
        return next(floating, torch.zeros(()))


class Memory:
    """A value that lasts from step to step, detached; it gets one new value a step.

    Attributes:
        value: what it is now; None before its first use.
        previous: what it was before it got a new value.
        step: when it got one last.
    """

    def __init__(self) -> None:
        self.value: Tensor | None = None
        self.previous: Tensor | None = None
        self.step: int | None = None

    def before(self, x: Inputs, start: Callable[[Inputs], Tensor], shape: tuple[int, ...]) -> Tensor:
        """What it was before this step; at its first use, what it starts as."""
        last = self.previous if self.step == int(x.step) else self.value
        if last is None:
            with torch.no_grad():
                last = start(x).to(x.like.dtype).expand(shape).clone()
            self.value = last
        return last.to(x.like).contiguous()

    def renew(self, x: Inputs, last: Tensor, new: Callable[[Inputs], Tensor]) -> Tensor:
        """Its new value; kept where gradients are made, and once a step."""
        with torch.no_grad():
            value = new(x)
        if torch.is_grad_enabled() and self.step != int(x.step):
            self.previous, self.value = self.value, value.to(last).expand(last.shape).clone()
            self.step = int(x.step)
        return value

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"value": self.value, "before": self.previous, "step": self.step}

    def load(self, state: Mapping[str, Any]) -> None:
        """What `state` gave."""
        self.value, self.previous, self.step = state["value"], state["before"], state["step"]

    def take(self, rows: Tensor) -> None:
        """Follow the gaussians: the row that each of them had before."""
        if self.value is not None:
            self.value = self.value[rows.to(self.value.device)]
        if self.previous is not None:
            self.previous = self.previous[rows.to(self.previous.device)]


def same_rows(name: str, value: Tensor, means: Tensor) -> None:
    """Refuse a memory that did not follow its gaussians."""
    if len(value) != len(means):
        raise ValueError(
            f"the memory `{name}` has {len(value)} gaussians, but the state has {len(means)}: after adding or "
            f"removing gaussians call `on_densification(rows)`, with each one's old row"
        )


def as_tensor(name: str, value: Any) -> Tensor:
    """An input, which must be a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"`{name}` must be a torch tensor, not {type(value).__name__}")
    return value


def as_pixels(name: str, value: Any, components: int, plain: bool = False, counts: bool = False) -> Tensor | None:
    """`[B, H, W, k]` from that, from `[H, W, k]`, or from `[B, H, W]` and `[H, W]` where ``plain``; -1: any k.

    Whole numbers are only taken where the values count something.
    """
    if value is None:
        return None
    x = as_tensor(name, value)
    if plain and x.dim() in (2, 3) and not (x.dim() == 3 and x.shape[-1] == 1 and x.shape[0] != 1):
        x = x.unsqueeze(-1)
    if x.dim() == 3:
        x = x.unsqueeze(0)
    if x.dim() != 4 or (components > 0 and x.shape[-1] != components):
        wanted = "[B, H, W]" if plain else f"[B, H, W, {components if components > 0 else 'k'}]"
        raise ValueError(f"`{name}` must have shape {wanted}, but has {list(value.shape)}")
    if not x.is_floating_point() and x.dtype != torch.bool and not counts:
        raise TypeError(f"`{name}` must be floating point in 0..1, but is {x.dtype}")
    return x if x.is_floating_point() else x.to(torch.float32)


def as_rows(name: str, value: Any, components: int) -> Tensor | None:
    """`[N, k]` from values of gaussians, k of them each in any shape; -1: any k."""
    if value is None:
        return None
    x = as_tensor(name, value)
    flat = x
    if x.dim():
        flat = x.reshape(x.shape[0], -1) if x.shape[0] else x.reshape(0, max(components, 1))
    if x.dim() == 0 or (components > 0 and flat.shape[1] != components):
        raise ValueError(f"`{name}` must have shape [N, {components}], but has {list(x.shape)}")
    return flat if flat.is_floating_point() else flat.to(torch.float32)


def as_array(name: str, value: Any, rank: int, components: int, per_image: bool = False) -> Tensor | None:
    """So many dimensions and k components behind them, which may be left out where k is 1; -1: any k."""
    if value is None:
        return None
    x = as_tensor(name, value)
    if per_image and x.dim() < 2 and not (x.dim() == 1 and components == 1):
        x = x.unsqueeze(0) if x.dim() else x.reshape(1)
    if components == 1 and x.dim() == rank:
        x = x.unsqueeze(-1)
    if x.dim() != rank + 1 or (components > 0 and x.shape[-1] != components):
        raise ValueError(f"`{name}` must have {rank} dimensions and {components} components, not {list(value.shape)}")
    return x if x.is_floating_point() else x.to(torch.float32)


def as_index(name: str, value: Any, rank: int) -> Tensor | None:
    """Rows of gaussians: whole numbers."""
    if value is None:
        return None
    x = as_tensor(name, value)
    if x.is_floating_point() or x.dtype == torch.bool or x.dim() != rank:
        raise ValueError(f"`{name}` must hold whole numbers in {rank} dimensions, not {x.dtype} {list(x.shape)}")
    return x.long()


def as_scalar(name: str, value: Any) -> Tensor | None:
    """A number that is a tensor."""
    if value is None:
        return None
    x = as_tensor(name, value).reshape(())
    return x if x.is_floating_point() else x.to(torch.float32)


def field_of(record: Any, *names: str) -> Any:
    """The first of several fields that a mapping or an object has; None without one."""
    for name in names if record is not None else ():
        value = record.get(name) if isinstance(record, Mapping) else getattr(record, name, None)
        if value is not None:
            return value
    return None


def parameter_of(state: Any, name: str) -> Any:
    """A raw parameter of the gaussians, from a mapping or from an object whose ``params`` is one."""
    params = getattr(state, "params", state)
    try:
        return None if params is None else params[name]
    except (KeyError, TypeError, IndexError):
        return None


def item_of(values: Any, place: int) -> Any:
    """An item of a list; None without one."""
    return values[place] if values is not None and place < len(values) else None


def matrix_of(camera: Any, *names: str) -> Any:
    """A matrix of each camera, `[B, n, n]`."""
    found = field_of(camera, *names)
    return found.unsqueeze(0) if isinstance(found, Tensor) and found.dim() == 2 else found


def lens_of(camera: Any, name: str, row: int, column: int) -> Any:
    """A number of the lens of each camera: as it is given, or an entry of the intrinsic matrix."""
    found, intrinsics = field_of(camera, name), matrix_of(camera, "intrinsics", "Ks", "K")
    return found if found is not None or intrinsics is None else intrinsics[:, row, column]


def position_of(camera: Any) -> Any:
    """The centre of each camera in the world, from its world-to-camera matrix if it is not given."""
    found, view = field_of(camera, "position"), matrix_of(camera, "extrinsics", "viewmats", "world_to_camera")
    if found is not None or view is None:
        return found
    wide = view if view.dtype == torch.float64 else view.float()
    return -(wide[:, :3, :3] * wide[:, :3, 3:]).sum(1)


def as_background(value: Any) -> Tensor | None:
    """A background: `[B, 3]`, or `[B, H, W, 3]` where it is given for each pixel."""
    image = isinstance(value, Tensor) and value.dim() > 2
    return as_pixels("background", value, 3) if image else as_array("background", value, 1, 3, per_image=True)


def as_plain(name: str, value: Any, flag: bool) -> float | bool | None:
    """A number or a flag of the host."""
    if value is None:
        return None
    found = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    if isinstance(found, bool) != flag or not isinstance(found, (bool, int, float)):
        raise TypeError(f"`{name}` must be {'true or false' if flag else 'a number'}, not {value!r}")
    return found if flag else float(found)


def number(value: float, like: Tensor) -> Tensor:
    """A number as a tensor beside others."""
    if math.isnan(value):
        raise ValueError("a number of the schedule is NaN at this step")
    return torch.tensor(float(value), dtype=like.dtype, device=like.device)


def is_whole(value: float) -> bool:
    """Whether a number counts something; infinity does."""
    return math.isinf(value) or value == math.floor(value)


def checked(name: str, value: Any, limits: str, fits: Callable[[float], bool]) -> float:
    """A value for a parameter, which must be a number in its range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"`{name}` must be a number, not {value!r}")
    if not fits(value):
        raise ValueError(f"`{name}` must be in {limits}, but is {value}")
    return float(value)


def registered(names: Iterable[str], functions: Mapping[str, Any] | None) -> dict[str, Any]:
    """The functions of the host by name; each must be there."""
    found = dict(functions or {})
    for name in names:
        if name not in found:
            raise ValueError(f"no function is given for `{name}`: pass register={{{name!r}: function}}")
        if not callable(found[name]):
            raise TypeError(f"what is given for `{name}` cannot be called: {found[name]!r}")
    for name in found:
        if name not in names:
            raise ValueError(f"this loss calls no function `{name}`")
    return found


def results_of(name: str, made: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    """What a function gave: the values of a mapping or a tuple by these names, or the one value."""
    if names == ("",):
        return (made,)
    if isinstance(made, Mapping):
        made = tuple(made.get(field) for field in names)
    if not isinstance(made, (tuple, list)) or len(made) != len(names):
        raise ValueError(f"`{name}` must give {', '.join(names)}")
    return tuple(made)


def beside(x: Tensor | None, like: Tensor) -> Tensor:
    """A result of a function in the dtype of the inputs."""
    assert x is not None
    return (x.to(like.dtype) if x.is_floating_point() else x).contiguous()


def all_finite(weights: dict[str, float], step: float) -> dict[str, float]:
    """Weights, which must be finite."""
    for name, weight in weights.items():
        if not math.isfinite(weight):
            raise ValueError(f"the weight of `{name}` is {weight} at step {int(step)}")
    return {name: float(weight) for name, weight in weights.items()}


def weighted_sum(weights: Mapping[str, float], values: Mapping[str, Tensor]) -> Tensor:
    """The sum of weights times values, ready for ``backward()`` also where nothing carries a gradient."""
    total: Tensor | None = None
    for name, value in values.items():
        part = weights[name] * value
        total = part if total is None else total + part
    if total is None:
        total = torch.zeros(())
    if torch.is_grad_enabled() and not total.requires_grad:
        total = total.detach().requires_grad_()
    return total


def without_autocast(like: Tensor) -> torch.autocast:
    """Without autocast, as a context: losses are sums of many small numbers."""
    return torch.autocast(like.device.type, enabled=False)
