"""Functions of each value on its own.

Operands are tensors or plain numbers; a constant stays a number so that the compiler can fold it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Operand = Tensor | float


def tensor_like(x: Operand, other: Operand) -> Tensor:
    """``x`` as a tensor of the other operand's dtype and device; one of the two is a tensor."""
    if isinstance(x, Tensor):
        return x
    assert isinstance(other, Tensor)
    return torch.full((), float(x), dtype=other.dtype, device=other.device)


def filled(value: Operand, like: Tensor, components: int) -> Tensor:
    """A value repeated over the pixels or gaussians of ``like``."""
    return tensor_like(value, like).expand(*like.shape[:-1], components)


def abs(x: Tensor) -> Tensor:
    """|x|; gradient 0 at 0."""
    return x.abs()


def sq(x: Tensor) -> Tensor:
    """x * x."""
    return x * x


def sqrt(x: Tensor) -> Tensor:
    """Square root."""
    return x.sqrt()


def exp(x: Tensor) -> Tensor:
    """e to the x."""
    return x.exp()


def log(x: Tensor) -> Tensor:
    """Natural logarithm."""
    return x.log()


def log1p(x: Tensor) -> Tensor:
    """log(1 + x)."""
    return x.log1p()


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return x.tanh()


def sin(x: Tensor) -> Tensor:
    """Sine."""
    return x.sin()


def cos(x: Tensor) -> Tensor:
    """Cosine."""
    return x.cos()


def acos(x: Tensor) -> Tensor:
    """The angle with this cosine."""
    return x.acos()


def floor(x: Tensor) -> Tensor:
    """The largest whole number that is at most x; no gradient."""
    return x.detach().floor()


def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1; NaN stays NaN; no gradient."""
    x = x.detach()
    return torch.where(x.isnan(), x, x.sign())


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return x.sigmoid()


def relu(x: Tensor) -> Tensor:
    """max(x, 0); gradient 0 at 0."""
    return x.relu()


def clamp(x: Operand, lo: Operand, hi: Operand) -> Tensor:
    """x, but at least lo and at most hi."""
    return minimum(maximum(x, lo), hi)


def minimum(*x: Operand) -> Tensor:
    """The smallest operand, element by element; at a tie each side gets half of the gradient."""
    return _fold(torch.minimum, x)


def maximum(*x: Operand) -> Tensor:
    """The largest operand, element by element; at a tie each side gets half of the gradient."""
    return _fold(torch.maximum, x)


def _fold(f: object, x: Sequence[Operand]) -> Tensor:
    reference = next(v for v in x if isinstance(v, Tensor))
    result = tensor_like(x[0], reference)
    for other in x[1:]:
        result = f(result, tensor_like(other, reference))  # type: ignore[operator]
    return result


def is_true(c: Operand) -> Tensor | bool:
    """A region or condition as truth: what is at least half inside is inside."""
    return c > 0.5


def where(c: Operand, a: Operand, b: Operand) -> Tensor:
    """a where the condition holds, else b."""
    reference = next(v for v in (a, b, c) if isinstance(v, Tensor))
    condition = is_true(c)
    if not isinstance(condition, Tensor):
        condition = torch.full((), bool(condition), device=reference.device)
    return torch.where(condition, tensor_like(a, reference), tensor_like(b, reference))


def detach(x: Tensor) -> Tensor:
    """x without its gradient."""
    return x.detach()


def raw(x: Tensor) -> Tensor:
    """x itself."""
    return x


def finite(x: Tensor) -> Tensor:
    """1 where x is neither NaN nor infinite, else 0."""
    return x.detach().isfinite().to(x.dtype)


def valid(x: Tensor) -> Tensor:
    """1 where x is finite and above 0, else 0."""
    x = x.detach()
    return (x.isfinite() & (x > 0)).to(x.dtype)


def without_holes(x: Tensor) -> Tensor:
    """x where it is finite, else 0: a hole like those that are 0, but one that cannot reach a gradient."""
    return torch.where(x.isfinite(), x, torch.zeros((), dtype=x.dtype, device=x.device))


def finite_or(x: Operand, other: Operand) -> Tensor:
    """x where it is finite, else ``other``."""
    reference = x if isinstance(x, Tensor) else other
    value = tensor_like(x, reference)
    return torch.where(value.isfinite(), value, tensor_like(other, reference))


def piecewise(x: Tensor, points: Sequence[tuple[Operand, Operand]], interp: str = "linear") -> Tensor:
    """The value at x of the curve through ``points``, constant outside them."""
    result = tensor_like(points[0][1], x)  # a number until x widens it: Inductor folds constants of any number of rows
    for i, (at, value) in enumerate(points):
        here = tensor_like(value, x)
        if i + 1 < len(points) and interp != "step":
            here = _segment(x, (at, value), points[i + 1], interp)
        result = torch.where(x >= at, here, result)
    return result


def _segment(x: Tensor, left: tuple[Operand, Operand], right: tuple[Operand, Operand], interp: str) -> Tensor:
    (x0, y0), (x1, y1) = left, right
    t = ((x - x0) / (x1 - x0)).clamp(0, 1)
    a, b = tensor_like(y0, x), tensor_like(y1, x)
    if interp != "log":
        return a + t * (b - a)
    positive = (a > 0) & (b > 0)  # an end at 0 has no logarithm: the segment is a step
    one = torch.ones_like(a)
    safe_a, safe_b = torch.where(positive, a, one), torch.where(positive, b, one)
    return torch.where(positive, torch.exp((1 - t) * safe_a.log() + t * safe_b.log()), a)
