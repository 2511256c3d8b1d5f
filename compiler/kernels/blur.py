"""The gaussian window of SSIM over images `[B, H, W, K]`, and what lets Inductor make good loops of it on CPUs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...dsl.builtins.photometric import WINDOW

SIGMA = 1.5
BORDER = WINDOW // 2


def window() -> list[float]:
    """The taps of the separable gaussian window; they sum to 1."""
    taps = [math.exp(-((i - BORDER) ** 2) / (2 * SIGMA**2)) for i in range(WINDOW)]
    total = math.fsum(taps)
    return [t / total for t in taps]


def blur(*maps: Tensor) -> tuple[Tensor, ...]:
    """Gaussian blur of each of several maps `[B, H, W, K]` with zero padding.

    It can be differentiated any number of times: the window is symmetric and the padding is zero, so the adjoint of
    the blur is the blur.
    """
    return _each(_differentiable, maps)


def blur_plain(*maps: Tensor) -> tuple[Tensor, ...]:
    """The same without a gradient, for functions that bring a backward of their own."""
    return _each(_blurred, maps)


def statistics(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """What SSIM is made of, without gradients: the blurs of a, b, a*a + b*b and a*b."""
    if not in_loops(a):
        return blur_plain(a, b, a * a + b * b, a * b)
    step = a.shape[-1]
    a_rows, b_rows = _widened(a), _widened(b)
    # Products of what has its zeros already are made while they are summed, and not written.
    maps = (a_rows, b_rows, a_rows * a_rows + b_rows * b_rows, a_rows * b_rows)
    return tuple(_summed(rows, step).reshape(a.shape) for rows in maps)


def _each(function: Callable[[Tensor], Tensor], maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if in_loops(maps[0]):
        return tuple(function(x) for x in maps)
    return torch.split(function(torch.cat(maps, -1)), [x.shape[-1] for x in maps], -1)


def _blurred(x: Tensor) -> Tensor:
    return _shifted(x) if in_loops(x) else _convolved(x)


def _differentiable(x: Tensor) -> Tensor:
    result: Tensor = _Blur.apply(traceable(x))  # type: ignore[no-untyped-call]
    return result


def traceable(x: Tensor) -> Tensor:
    """The same tensor, to be handed to an `autograd.Function` with a backward of its own.

    Within `torch.func.grad`, Dynamo does not see that the arguments of the function that is differentiated carry a
    gradient. It would look through an `autograd.Function` that is called with one, and differentiate its forward. It
    does see it of everything that is computed from them.
    """
    return x.view_as(x) if torch.compiler.is_compiling() else x


def in_loops(x: Tensor) -> bool:
    """Whether what is made of x becomes C++ loops of Inductor's, which convolutions cannot be a part of."""
    return torch.compiler.is_compiling() and x.device.type == "cpu"


def spread(r: Tensor, x: Tensor) -> Tensor:
    """A region `[B, H, W, 1]` as it is used with an image x `[B, H, W, k]`: with k components where that is faster.

    Loops over an image and a region with one component are not vectorised. Concatenation is what makes Inductor write
    the wide region to memory, once for all that read it.
    """
    components = x.shape[-1]
    if r.dim() != 4 or r.shape[-1] != 1 or components == 1 or not in_loops(x):
        return r
    return torch.cat([r.view_as(r) for _ in range(components)], -1)  # a concatenation of one tensor is not kept


class _Blur(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _blurred(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _differentiable(grads[0])


def weights_like(values: list[float], x: Tensor) -> Tensor:
    """Numbers of the host with the dtype and device of a tensor, `[n]`, without waiting for the device."""
    made = torch.tensor(values, dtype=x.dtype)
    return made if x.device.type == "cpu" else made.pin_memory().to(x.device, non_blocking=True)


@torch.library.custom_op("splatdsl::blur", mutates_args=(), schema="(Tensor x) -> Tensor")
def _convolved(x: Tensor) -> Tensor:
    """The blur as two depth-wise convolutions.

    On all components at once and in the memory order of the images: several times faster on CPUs than one plane after
    the other. An operator of its own, because Inductor ties convolutions in this order to one image size.
    """
    channels = x.shape[-1]
    taps = weights_like(window(), x)
    planes = x.permute(0, 3, 1, 2)
    row, column = taps.reshape(1, 1, 1, WINDOW), taps.reshape(1, 1, WINDOW, 1)
    with torch.autocast(x.device.type, enabled=False):  # it reaches here from a `backward()` inside of it
        planes = F.conv2d(planes, row.expand(channels, 1, 1, WINDOW), padding=(0, BORDER), groups=channels)
        planes = F.conv2d(planes, column.expand(channels, 1, WINDOW, 1), padding=(BORDER, 0), groups=channels)
    return planes.permute(0, 2, 3, 1).contiguous()


@_convolved.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _shifted(x: Tensor) -> Tensor:
    """The blur as sums of shifted rows: first along the width, where a pixel to the right is K numbers further.

    The zeros around are concatenated, which Inductor does in memory. It would work out any other padding again at each
    of the 11 taps. Sums over the width go to memory too, because the sums over the height read each of them 11 times.
    """
    return _summed(_widened(x), x.shape[-1]).reshape(x.shape)


def _widened(x: Tensor) -> Tensor:
    """The rows of `[B, H, W, K]` one after the other, with zeros at both ends: `[B, H, (W + 10) * K]`."""
    batch, height, width, components = x.shape
    side = x.new_zeros(batch, height, BORDER * components)
    return torch.cat([side, x.reshape(batch, height, width * components), side], 2)


def _summed(rows: Tensor, step: int) -> Tensor:
    """The blur `[B, H, W * K]` of rows with zeros at both ends, where the next pixel is ``step`` numbers further."""
    sums = _weighted(rows, 2, step)
    edge = sums.new_zeros(sums.shape[0], BORDER, sums.shape[2])
    return _weighted(torch.cat([edge, sums, edge], 1), 1, 1)


def _weighted(rows: Tensor, dim: int, step: int) -> Tensor:
    """Sum of the taps of the window times the rows, each tap ``step`` numbers further along a dimension."""
    length = rows.shape[dim] - (WINDOW - 1) * step
    first, *others = window()
    total = first * rows.narrow(dim, 0, length)
    for i, tap in enumerate(others, 1):
        total = total + tap * rows.narrow(dim, i * step, length)
    return total
