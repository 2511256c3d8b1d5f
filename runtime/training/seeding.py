"""Random numbers that are a function of seed and step, so that a resumed run draws what an unbroken one would."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ..data.transfer import on_device


def derive(seed: int, step: int, purpose: str) -> int:
    """A 63-bit seed for one purpose at one step."""
    digest = hashlib.blake2b(f"{seed}/{step}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_global(seed: int, step: int, purpose: str) -> None:
    """Seed the global generators of torch, numpy and Python.

    gsplat's strategies, and loss functions written by users, draw from them.
    """
    value = derive(seed, step, purpose)
    torch.manual_seed(value)
    np.random.seed(value & 0xFFFFFFFF)
    random.seed(value)


@contextmanager
def borrowed_generators() -> Iterator[None]:
    """Give the global generators back in the state in which they were."""
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    cuda_state = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        if cuda_state is not None:
            torch.cuda.set_rng_state_all(cuda_state)


def background_colors(kind: str, batch: int, seed: int, step: int, device: torch.device) -> Tensor:
    """`[B, 3]`, 0..1: what the renders of a training step are composited on."""
    if kind == "random":
        generator = torch.Generator().manual_seed(derive(seed, step, "background"))
        return on_device(torch.rand(batch, 3, generator=generator), device)
    return torch.full((batch, 3), 1.0 if kind == "white" else 0.0, device=device)
