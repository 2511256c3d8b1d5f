"""Mean SSIM by the CUDA kernels of other packages, `fused_ssim` and `fussim`, as operations of a graph.

Both hold a class ``FusedSSIMMap`` whose forward makes the map and three maps of partial derivatives of images
`[B, C, H, W]`, and whose backward makes the gradient of the first image of them. The window, its zero padding and the
constants are those of `photometric.ssim`. What differs, as their sources are at the commits named:

* They compute in float32 alone, and other dtypes or devices are not given to them.
* `fused_ssim` (rahul-goel/fused-ssim, 0f89827) raises each of the two variances to 0 and keeps the map in [-1, 1], with
  gradient 0 where it had to be kept; `fussim` (OpsiClear/fussim, 452d45e) does neither; `photometric.ssim` raises the
  sum of the variances to 0. All of that is about rounding: without it variances are not negative, and SSIM is in
  [-1, 1] by its formula.
* They give the second image no gradient. Here it gets one, from a second call with the images exchanged.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ...dsl.diagnostics import Diagnostic, LossError
from ...dsl.source import Source, Span
from . import photometric, reductions
from .blur import BORDER, traceable

PACKAGES = ("fused_ssim", "fussim")
"""The packages, the original first."""
DEVICES = ("cuda",)
"""Kinds of devices that their kernels are for."""


class Unusable(Exception):
    """A package is installed, but not for this torch or CUDA."""


class Package:
    """One of the packages; one that cannot load its CUDA part is not tried again."""

    def __init__(self, name: str, module: Any) -> None:
        self.name = name
        self._function: Callable[..., Any] = module.fused_ssim
        self.map: Any = getattr(module, "FusedSSIMMap", None)
        self._broken = False

    def __call__(self, img1: Tensor, img2: Tensor, padding: str, train: bool) -> Tensor:
        """Its mean SSIM of images `[B, C, H, W]`, 0-d."""
        return cast(Tensor, self.call(partial(self._function, img1, img2, padding=padding, train=train)))

    def call(self, function: Callable[[], Any]) -> Any:
        """What a function of the package returns.

        Raises:
            Unusable: the package cannot load its CUDA part; said in one warning.
        """
        if self._broken:
            raise Unusable
        try:
            return function()
        except ImportError as error:  # fussim looks for its CUDA part in the first call
            self._broken = True
            reason = (str(error) or type(error).__name__).splitlines()[0]
            warnings.warn(f"`{self.name}` is not used: {reason}", stacklevel=4)
            raise Unusable from error


@cache
def packages() -> tuple[Package, ...]:
    """What is installed, the original first."""
    found = []
    for name in PACKAGES:
        with contextlib.suppress(ImportError, AttributeError):
            found.append(Package(name, importlib.import_module(name)))
    return tuple(found)


def missing(package: str, device: torch.device, dtype: torch.dtype) -> str:
    """Why a package cannot be used for images on a device with a dtype, in words; "" if it can."""
    if device.type not in DEVICES:
        return f"`{package}` runs on {' and '.join(d.upper() for d in DEVICES)} alone"
    if dtype != torch.float32:
        return f"`{package}` is for float32, not {str(dtype).removeprefix('torch.')}"
    found = next((p for p in packages() if p.name == package), None)
    if found is None:
        return f"`{package}` is not installed"
    return "" if found.map is not None else f"this version of `{package}` has no `FusedSSIMMap`"


def fused_ssim(
    a: Tensor, b: Tensor, r: Tensor | None = None, padding: str = "same", window_mask: bool | float = False
) -> Tensor:
    """`photometric.ssim` by the kernels of the package `fused_ssim`."""
    return _ssim("fused_ssim", a, b, r, padding, window_mask)


def fussim(
    a: Tensor, b: Tensor, r: Tensor | None = None, padding: str = "same", window_mask: bool | float = False
) -> Tensor:
    """`photometric.ssim` by the kernels of the package `fussim`."""
    return _ssim("fussim", a, b, r, padding, window_mask)


def _ssim(package: str, a: Tensor, b: Tensor, r: Tensor | None, padding: str, window_mask: bool | float) -> Tensor:
    if window_mask:  # the packages have no windows that leave pixels out
        return photometric.ssim(a, b, r, padding, window_mask)
    weights = None
    if r is not None:
        a, b = reductions.inside(a, r), reductions.inside(b, r)
        weights = _normalised(r, a.shape[-1], padding)
    difference: Tensor = _Difference.apply(  # type: ignore[no-untyped-call]
        traceable(a), traceable(b), weights, package, padding
    )
    return 1 - difference


def _normalised(r: Tensor, components: int, padding: str) -> Tensor:
    """The region divided by what it counts in a mean over images of so many components; 0 in a border left out."""
    if padding == "valid":
        inner = r[:, BORDER:-BORDER, BORDER:-BORDER]
        r = F.pad(inner, (0, 0, BORDER, BORDER, BORDER, BORDER))
    count = r.sum() * (components if r.shape[-1] == 1 else 1)
    return r / torch.where(count <= 0, torch.ones_like(count), count)


class _Difference(torch.autograd.Function):
    """The weighted sum of 1 - SSIM, 0-d, whose gradients are made along with it."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, weights: Tensor | None, package: str, padding: str) -> Tensor:
        first, second, third = ctx.needs_input_grad[:3]
        value: Tensor
        value, gradient, differences = _difference(a, b, weights, package, padding, first)
        other = _difference(b, a, weights, package, padding, True)[1] if second else gradient
        ctx.save_for_backward(gradient, other, differences)
        ctx.single = third and weights is not None and weights.shape[-1] == 1
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = grads
        gradient, other, differences = ctx.saved_tensors
        first, second, third = ctx.needs_input_grad[:3]
        to_weights = None
        if third:
            to_weights = g * (differences.sum(-1, keepdim=True) if ctx.single else differences)
        return g * gradient if first else None, g * other if second else None, to_weights, None, None


@torch.library.custom_op(
    "splatdsl::ssim_package",
    mutates_args=(),
    schema="(Tensor a, Tensor b, Tensor? weights, str package, str padding, bool train) -> (Tensor, Tensor, Tensor)",
)
def _difference(
    a: Tensor, b: Tensor, weights: Tensor | None, package: str, padding: str, train: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The weighted sum of 1 - SSIM, its gradient by the first image, and with weights 1 - SSIM `[B, H, W, C]`,
    0 where the weight is 0.

    Without weights the sum is a mean over the pixels that the padding leaves; with them the padding is in the weights.
    What is not asked for is empty.
    """
    reason = missing(package, a.device, a.dtype)
    found = None if reason else next(p for p in packages() if p.name == package)
    if found is None:
        raise _unavailable(package, reason)
    images = _planes(a), _planes(b)
    context = _Context()
    padding = padding if weights is None else "same"
    constants = photometric.C1, photometric.C2
    with torch.autocast(a.device.type, enabled=False):  # fussim would compute in half precision
        try:
            similarity = found.call(lambda: found.map.forward(context, *constants, *images, padding, train))
        except Unusable as error:
            raise _unavailable(package, f"`{package}` cannot load its CUDA part") from error
        if weights is None:
            factors = similarity.new_full(similarity.shape, 1 / max(similarity.numel(), 1))
        else:
            factors = _planes(weights.expand(a.shape))
        # What has no weight is left out even where it is not finite, as in other means over a region.
        differences = torch.where(factors > 0, 1 - similarity, torch.zeros_like(similarity))
        value = (factors * differences).sum()
        gradient = a.new_empty(0)
        if train:
            found_gradients = found.map.backward(context, factors)
            gradient = -next(g for g in found_gradients if g is not None).permute(0, 2, 3, 1).contiguous()
    kept = a.new_empty(0) if weights is None else differences.permute(0, 2, 3, 1).contiguous()
    return value, gradient, kept


@_difference.register_fake
def _(
    a: Tensor, b: Tensor, weights: Tensor | None, package: str, padding: str, train: bool
) -> tuple[Tensor, Tensor, Tensor]:
    gradient = a.new_empty(a.shape) if train else a.new_empty(0)
    return a.new_empty(()), gradient, a.new_empty(0) if weights is None else a.new_empty(a.shape)


class _Context:
    """What ``FusedSSIMMap`` keeps between its forward and its backward, outside of autograd."""

    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None:
        self.saved_tensors = tensors


def _planes(x: Tensor) -> Tensor:
    return x.detach().permute(0, 3, 1, 2).contiguous()


def _unavailable(package: str, reason: str) -> LossError:
    source = Source(f'kernels="{package}"', "<argument kernels>")
    message = f"the kernels of `{package}` cannot run here: {reason}"
    help_ = ["without them the language's own SSIM gives the same numbers"]
    return LossError([Diagnostic("RUN017", message, source, Span(9, len(source.text)), help=help_)])
