"""Inverse poses without a wait for the device."""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_pose(pose: Tensor) -> Tensor:
    """The inverse of `[..., 4, 4]` matrices.

    `torch.linalg.inv` looks on the host whether a matrix was singular, for which a GPU has to be waited for.
    `torch.linalg.inv_ex` gives the same numbers and does not look; of a singular pose nothing sensible comes on CUDA.

    Raises:
        torch.linalg.LinAlgError: off CUDA, a pose is singular.
    """
    if not pose.is_cuda:
        found: Tensor = torch.linalg.inv(pose)
    else:
        found = torch.linalg.inv_ex(pose).inverse
    return found
