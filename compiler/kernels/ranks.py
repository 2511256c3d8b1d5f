"""Values that all ranks make together: sums over them, and functions of all their images or gaussians.

Gradients follow one rule: what all ranks have computed together carries its whole gradient on each of them; what a rank
was given carries what this rank contributes, and the sum over ranks is the gradient of one process that holds all.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..call import Call
from ..channels import CHANNELS
from ..ir import VALUES
from . import chances, reductions
from .blur import BORDER, spread
from .pointwise import Operand, tensor_like


class Together(NamedTuple):
    """A function of the images or gaussians of all ranks: its call, and which operands of the exchange are its own."""

    call: Call
    operands: tuple[int, ...]


class Exchange(NamedTuple):
    """What ranks tell each other at once: this many tensors that are summed, then operands of functions, each with
    whether ranks have parts of it, and the functions."""

    sums: int
    divided: tuple[bool, ...] = ()
    functions: tuple[Together, ...] = ()


EXCHANGES: dict[str, Exchange] = {}
"""Exchanges by their key: graphs name them."""


@torch.library.custom_op(
    "splatdsl::exchange",
    mutates_args=(),
    schema="(str key, int channel, Tensor[] sums, Tensor[] operands, bool gradient) -> Tensor[]",
)
def _exchange(
    key: str, channel: int, sums: Sequence[Tensor], operands: Sequence[Tensor], gradient: bool
) -> list[Tensor]:
    ranks = CHANNELS[channel]
    made: list[Tensor] = []
    if sums:
        total = ranks.total(torch.cat([x.reshape(-1) for x in sums]))
        parts = torch.split(total, [x.numel() for x in sums])
        made += [t.view(x.shape).clone() for x, t in zip(sums, parts)]
    _, divided, functions = EXCHANGES[key]
    if not functions:
        return made
    whole = iter(ranks.gathered([x for x, d in zip(operands, divided) if d]))
    # What ranks do not divide is the same on all of them.
    full = [next(whole) if d else (x, 0) for x, d in zip(operands, divided)]
    values, slopes = [], []
    for f in functions:
        value, every = _differentiated(f.call, [full[i][0] for i in f.operands], gradient)
        values.append(value)
        for i, slope in zip(f.operands, every):
            x, start = operands[i], full[i][1]
            if slope is None:
                slopes.append(torch.zeros_like(x))
            else:
                slopes.append(slope[start : start + len(x)].clone() if divided[i] else slope.clone())
    return [*made, *values, *(slopes if gradient else [])]


def _differentiated(call: Call, operands: list[Tensor], gradient: bool) -> tuple[Tensor, Sequence[Tensor | None]]:
    """The value of a kernel and its gradient by each operand, None where there is none."""
    from ..emit import fill, kernel  # which imports the kernels

    stream = torch.cuda.current_stream() if operands[0].is_cuda else None

    def run() -> tuple[Tensor, Sequence[Tensor | None]]:
        with torch.set_grad_enabled(gradient), torch.cuda.stream(stream):
            leaves = tuple(x.requires_grad_(gradient and x.is_floating_point()) for x in operands)
            keywords = {k: fill(v, leaves) for k, v in call.kwargs}
            value: Tensor = kernel(call.kernel)(*(fill(a, leaves) for a in call.args), **keywords)
            wanted = [x for x in leaves if x.requires_grad]
            made = torch.autograd.grad(value, wanted, allow_unused=True) if value.requires_grad else ()
            slopes = iter(made)
            every = [next(slopes, None) if x.requires_grad else None for x in leaves]
            return value.detach().clone(), every

    # Inside an operator autograd records nothing; a thread of its own is outside.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


@_exchange.register_fake
def _(key: str, channel: int, sums: Sequence[Tensor], operands: Sequence[Tensor], gradient: bool) -> list[Tensor]:
    made = [x.new_empty(x.shape) for x in sums]
    functions = EXCHANGES[key].functions
    values = [operands[f.operands[0]].new_empty(()) for f in functions]
    slopes = [operands[i].new_empty(operands[i].shape) for f in functions for i in f.operands] if gradient else []
    return [*made, *values, *slopes]


class _Exchanged(torch.autograd.Function):
    """Sums carry their gradient to each part of them as it is; functions carry what they made along."""

    @staticmethod
    def forward(
        ctx: Any, key: str, channel: int, sums: int, places: tuple[tuple[int, ...], ...], *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        made: list[Tensor] = _exchange(key, channel, tensors[:sums], tensors[sums:], True)
        results = sums + len(places)
        ctx.sums, ctx.places, ctx.operands = sums, places, len(tensors) - sums
        ctx.save_for_backward(*made[results:])
        return tuple(made[:results])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        found: list[Tensor | None] = [None] * ctx.operands
        slopes = iter(ctx.saved_tensors)
        for operands, grad in zip(ctx.places, grads[ctx.sums :]):
            for i in operands:
                own = grad * next(slopes)
                known = found[i]
                found[i] = own if known is None else known + own
        return None, None, None, None, *grads[: ctx.sums], *found


def exchange(
    key: str,
    channel: int,
    sums: int,
    places: tuple[tuple[int, ...], ...],
    tensors: Sequence[Operand],
    mode: str = VALUES,
) -> tuple[Tensor, ...]:
    """What all ranks make of what each of them has: sums of the same shapes, and a number for each function.

    Args:
        key: of `EXCHANGES`.
        channel: of `CHANNELS`.
        sums: how many tensors are summed.
        places: which of the operands each function has.
        tensors: what is summed, then the operands of the functions.
        mode: what becomes of it: its values alone, or also gradients.
    """
    like = next(t for t in tensors if isinstance(t, Tensor) and t.is_floating_point())
    given = [t if isinstance(t, Tensor) else tensor_like(t, like) for t in tensors]
    if mode == VALUES:
        made: list[Tensor] = _exchange(key, channel, given[:sums], given[sums:], False)
        return tuple(made)
    result: tuple[Tensor, ...] = _Exchanged.apply(key, channel, sums, places, *given)  # type: ignore[no-untyped-call]
    return result


class _Spread(torch.autograd.Function):
    """Numbers of all ranks that each of them uses with its own part: their gradient is the sum over ranks."""

    @staticmethod
    def forward(ctx: Any, key: str, channel: int, *values: Tensor) -> tuple[Tensor, ...]:
        ctx.key, ctx.channel = key, channel
        return tuple(v.clone() for v in values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        made: list[Tensor] = _exchange(ctx.key, ctx.channel, list(grads), [], False)
        return None, None, *made


def spread_out(key: str, channel: int, values: Sequence[Tensor], mode: str = VALUES) -> tuple[Tensor, ...]:
    """The values, to be used with what is divided among ranks; ``key`` is of the exchange of their gradients."""
    if mode == VALUES:
        return tuple(values)
    result: tuple[Tensor, ...] = _Spread.apply(key, channel, *values)  # type: ignore[no-untyped-call]
    return result


class _Shared(torch.autograd.Function):
    """What every rank has alike, where all of them use it alike: each contributes its share of the gradient."""

    @staticmethod
    def forward(ctx: Any, share: float, x: Tensor) -> Tensor:
        ctx.share = share
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, grads[0] * ctx.share


def shared(x: Tensor, size: int, mode: str = VALUES) -> Tensor:
    """The value, of whose gradient this rank contributes one part in ``size``."""
    if mode == VALUES:
        return x
    result: Tensor = _Shared.apply(1 / size, x)  # type: ignore[no-untyped-call]
    return result


def mean_parts(x: Tensor, r: Tensor | None = None, over: int | None = None) -> Tensor:
    """The sum of a mean and what it is divided by, `[2, ...]`; see `reductions.mean`."""
    if over is not None:
        counted = reductions.sum(x, r, over)
        weight = torch.ones_like(x) if r is None else r.expand(x.shape)
        return torch.stack([counted, reductions.sum(weight, None, over)])
    if r is None:
        return torch.stack([x.sum(), tensor_like(x.numel(), x)])
    components = x.shape[-1] if r.shape[-1] == 1 else 1
    return torch.stack([reductions.inside(x, r).sum(), r.sum() * components])


def ssim_parts(value: Tensor, a: Tensor, r: Tensor | None = None, padding: str = "same") -> Tensor:
    """The sum of 1 - SSIM and the number of values that it goes over, `[2]`, from a mean SSIM of images like ``a``."""
    cut = slice(BORDER, -BORDER) if padding == "valid" else slice(None)
    if r is None:
        weight = tensor_like(a[:, cut, cut].numel(), a)
    else:
        weight = reductions.inside(torch.ones_like(a), spread(r, a))[:, cut, cut].sum()
    return torch.stack([(1 - value) * weight, weight])


def number_parts(x: Tensor, images: Tensor) -> Tensor:
    """A number that a rank has of its own images, as a part of its mean over all images, `[2, ...]`."""
    return torch.stack([x * images.shape[0], torch.full_like(x, images.shape[0])])


def ratio(parts: Tensor) -> Tensor:
    """A mean from its parts; 0 with zero gradient where it goes over nothing."""
    total, weight = parts.unbind(0)
    empty = weight <= 0
    safe = torch.where(empty, torch.ones_like(weight), weight)
    return torch.where(empty, torch.zeros_like(total), total / safe)


@torch.library.custom_op(
    "splatdsl::rank_start", mutates_args=(), schema="(Tensor like, int channel, str layout) -> Tensor"
)
def _start(like: Tensor, channel: int, layout: str) -> Tensor:
    return torch.tensor(CHANNELS[channel].start(layout), dtype=torch.int64, device=like.device)


@_start.register_fake
def _(like: Tensor, channel: int, layout: str) -> Tensor:
    return like.new_empty((), dtype=torch.int64)


def bernoulli(
    channel: int, layout: str, p: float | Tensor, like: Tensor | None = None, *, key: float | Tensor
) -> Tensor:
    """`chances.bernoulli`, counted from where this rank's images or gaussians begin among those of all ranks."""
    of = p if isinstance(p, Tensor) and p.dim() > 0 else like
    assert of is not None, "the checker asks for `like` where p is a number"
    row = of[:1, ..., :1].numel() if of.dim() > 2 else 1
    return chances.bernoulli(p, like, key=key, first=_start(of.detach(), channel, layout) * row)
