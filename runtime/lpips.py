"""The network behind `lpips(a, b)`: the package of that name, with the weights that are on this machine.

LPIPS: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018, eq. 1. Nothing
is downloaded here: a training run on a cluster would fail, or wait, at its first step.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dsl.diagnostics import Diagnostic, LossError
from ..dsl.source import Source
from .extras import require

Perceptual = Callable[[Tensor, Tensor], Tensor]

_WEIGHTS = {"alex": "AlexNet_Weights", "vgg": "VGG16_Weights"}
"""What torchvision calls the weights of each network."""

_EPS = 1e-10
"""What the package adds to the length of a feature before it divides by it."""


def perceptual(net: str, device: torch.device | str) -> Perceptual:
    """The distance of two images `[B, H, W, 3]` in 0..1 around each pixel, `[B, H, W, 1]`.

    Gradients flow to both images; the network is frozen, in evaluation mode and float32. It is loaded once for each
    device.

    Args:
        net: ``"alex"`` or ``"vgg"``.
        device: where the images will be.

    Raises:
        LossError: DAT001, the package `lpips` or what it needs is not installed, or the weights are not on this
            machine or cannot be read.
    """
    network = _network(net, str(torch.device(device)))
    return lambda a, b: distance_map(network, a, b)


def distance_map(network: Any, a: Tensor, b: Tensor) -> Tensor:
    """The `spatial` result of an `lpips.LPIPS`: the sum over its layers of the weighted squared distances.

    The package's own computation divides 0 by 0 in the gradient where all features of a layer are 0, as in black
    parts of an image; here that gradient is 0.

    Args:
        network: an `lpips.LPIPS` with linear layers.
        a: `[B, H, W, 3]`, 0..1.
        b: as a.

    Returns:
        `[B, H, W, 1]` in the dtype of a.
    """
    height, width = a.shape[1], a.shape[2]
    first, second = (network.net(network.scaling_layer(2 * x.to(torch.float32).movedim(-1, 1) - 1)) for x in (a, b))
    total = torch.zeros(1, dtype=torch.float32, device=a.device)
    for linear, x, y in zip(network.lins, first, second, strict=True):
        difference = _unit(x) - _unit(y)
        layer = linear(difference * difference)
        total = total + F.interpolate(layer, size=(height, width), mode="bilinear", align_corners=False)
    return total.movedim(1, -1).to(a.dtype)


def _unit(x: Tensor) -> Tensor:
    squares = (x * x).sum(1, keepdim=True)
    some = squares > 0
    length = torch.where(some, squares, torch.ones_like(squares)).sqrt()
    return x / (torch.where(some, length, torch.zeros_like(length)) + _EPS)


@cache
def _network(net: str, device: str) -> Any:
    """The frozen network on a device. A failure is not kept: the next call looks again."""
    try:
        package = require("lpips", "lpips")
        models = require("torchvision", "lpips").models
    except (RuntimeError, OSError) as error:  # a torchvision that was built for another torch
        raise _failed(
            f"`lpips` cannot be imported: {_line(error)}", "install a torchvision made for this torch"
        ) from error
    name = Path(getattr(models, _WEIGHTS[net]).IMAGENET1K_V1.url).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        raise _failed(
            f'`lpips(net="{net}")` needs the weights `{name}`, which are not on this machine',
            f"""download them with: python -c "import lpips; lpips.LPIPS(net='{net}')\"""",
            f"or put the file at {path}",
        )
    try:
        with warnings.catch_warnings():  # the package calls torchvision in a way that is deprecated
            warnings.simplefilter("ignore")
            network = package.LPIPS(net=net, spatial=True, verbose=False)
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise _failed(
            f'the weights of `lpips(net="{net}")` cannot be read: {_line(error)}', f"delete {path} and get it again"
        ) from error
    return network.requires_grad_(False).eval().to(device)


def _line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _failed(message: str, *help_: str) -> LossError:
    return LossError([Diagnostic("DAT001", message, Source("", "<lpips>"), None, help=help_)])
