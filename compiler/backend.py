"""What `torch.compile` needs on a machine, and what to say where it is missing."""

from __future__ import annotations

import shutil
import warnings
from functools import cache

import torch


def graph_breaks() -> int:
    """Places where torch had to leave a graph, in this process so far."""
    return sum(torch._dynamo.utils.counters["graph_break"].values())


@cache
def warn_once(message: str) -> None:
    """Warn of something that holds for the whole process."""
    warnings.warn(message, stacklevel=5)


@cache
def missing_compiler(device: str) -> str:
    """What `torch.compile` would need on this machine, in words; "" when nothing is missing."""
    if device == "cuda":
        from torch.utils._triton import has_triton

        return "" if has_triton() else "Triton is not installed (`pip install triton`)"
    from torch._inductor import cpp_builder, exc

    try:
        compiler = cpp_builder.get_cpp_compiler()
    except (exc.InvalidCxxCompiler, RuntimeError, OSError):
        return "no C++ compiler was found (install g++, or set CXX)"
    found = shutil.which(str(compiler))
    return "" if found else f"the C++ compiler `{compiler}` was not found (install g++, or set CXX)"
