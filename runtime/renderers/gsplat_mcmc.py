"""gsplat's MCMC strategy on devices without CUDA: its two CUDA operations in torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..extras import require


def mcmc_strategy(device: torch.device | str, **settings: Any) -> Any:
    """gsplat's ``MCMCStrategy``, which on other devices than CUDA does its relocation and noise in torch.

    Args:
        device: where the gaussians live.
        **settings: those of ``gsplat.MCMCStrategy``.

    Raises:
        LossError: DAT001, gsplat is not installed.
    """
    base = require("gsplat.strategy").MCMCStrategy
    if torch.device(device).type == "cuda":
        return base(**settings)

    class MCMCStrategy(base):  # type: ignore[misc, valid-type]
        """gsplat's strategy, with torch in place of CUDA while a step runs."""

        def step_post_backward(self, *args: Any, **kwargs: Any) -> None:
            """See gsplat's."""
            with _in_torch():
                super().step_post_backward(*args, **kwargs)

    return MCMCStrategy(**settings)


@contextmanager
def _in_torch() -> Iterator[None]:
    """gsplat's module of operations on gaussians, with two functions replaced for as long as this lasts."""
    operations = require("gsplat.strategy.ops")
    covariances = require("gsplat.cuda._torch_impl")._quat_scale_to_covar_preci
    kept = operations.quat_scale_to_covar_preci, operations.compute_relocation
    operations.quat_scale_to_covar_preci, operations.compute_relocation = covariances, compute_relocation
    try:
        yield
    finally:
        operations.quat_scale_to_covar_preci, operations.compute_relocation = kept


def compute_relocation(opacities: Tensor, scales: Tensor, ratios: Tensor, binoms: Tensor) -> tuple[Tensor, Tensor]:
    """Opacity and scale of n gaussians that together draw what one did (Kheradmand et al., arXiv:2404.09591, eq. 9).

    o' = 1 - (1 - o)^(1/n) and s' = s o / Σ_{i=1..n} Σ_{k<i} C(i-1, k) (-1)^k o'^(k+1) / sqrt(k+1).

    Args:
        opacities: `[M]`, 0..1.
        scales: `[M, 3]`.
        ratios: `[M]`, n, clamped to 1..n_max.
        binoms: `[n_max, n_max]`, binomial coefficients.

    Returns:
        New opacities `[M]` and scales `[M, 3]`.
    """
    most = binoms.shape[0]
    n = ratios.clamp(1, most).long()
    o = opacities.double()  # alternating sums of large terms
    shared = 1.0 - (1.0 - o).pow(1.0 / n)
    k = torch.arange(most, device=o.device)
    coefficients = binoms.double().cumsum(0).index_select(0, n - 1)  # 0 from k = n on
    series = coefficients * (1.0 - 2.0 * (k % 2)) / (k + 1.0).sqrt() * shared[:, None].pow(k + 1)
    factor = (o / series.sum(-1))[:, None]
    return shared.to(opacities.dtype), (scales.double() * factor).to(scales.dtype)
