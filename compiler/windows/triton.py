"""Plans run by Triton: on CUDA devices, and under Triton's interpreter (``TRITON_INTERPRET=1``) on the CPU."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import cache, lru_cache
from hashlib import sha256
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...dsl.result_cache import folder
from .plan import WindowPlan
from .triton_source import columns, triton_source

OLDEST = (3, 2)
"""The version of Triton that came with the oldest torch that is supported, 2.6."""


class Blocks(NamedTuple):
    """Sizes of the pieces of work. Found without timing anything, so that no call waits for measurements.

    Attributes:
        width: lanes of a block, a power of 2.
        warps: of a program.
        regions: programs that sum up the weights of regions, a power of 2.
        rows: of a band; 0: chosen by `band`.
    """

    width: int = 128
    warps: int = 4
    regions: int = 256
    rows: int = 0


BLOCKS = Blocks()


@cache
def missing(device: str, dtype: torch.dtype = torch.float32) -> str:
    """Why plans cannot be run on a device ("cuda", "cuda:1", "cpu") for images of a dtype, in words; "" if they can.

    Images of less precision than float32 are widened before.
    """
    try:
        import triton
    except ImportError:
        return "Triton is not installed (`pip install triton`)"
    version = tuple(int(part) for part in triton.__version__.split(".")[:2] if part.isdigit())
    if version < OLDEST:
        return f"Triton {triton.__version__} is older than {OLDEST[0]}.{OLDEST[1]}"
    if dtype == torch.float64 and not _interpreted():
        return "Triton's kernels compute in float32"
    place = torch.device(device)
    if place.type == "cpu":
        return "" if _interpreted() else "Triton has no CPU backend"
    if place.type != "cuda":
        return f"there is no Triton kernel for {place.type}"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    if _interpreted():
        return "TRITON_INTERPRET is set"
    if torch.version.hip is None and torch.cuda.get_device_capability(place) < (7, 0):
        return "Triton needs a GPU of compute capability 7.0 or newer"
    if not (os.environ.get("CC") or any(shutil.which(name) for name in ("cc", "gcc", "clang"))):
        return "Triton needs a C compiler, and none was found (install gcc, or set CC)"
    return ""


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "on", "true", "y", "yes")


def run_triton(
    plan: WindowPlan, inputs: Sequence[Tensor], scalars: Tensor, gradient: bool, blocks: Blocks = BLOCKS
) -> list[Tensor]:
    """The numbers of a plan `[plan.outputs]`, and with ``gradient`` the gradient of each differentiable input.

    Nothing is copied to the host, and nothing waits for the device.

    Args:
        plan: what to compute.
        inputs: `[B, H, W, k]`, float32, all on one device. Under the interpreter float64 will do too.
        scalars: `[reductions + hosts]`, of that dtype and on that device: the factor of each reduction in the weighted
            sum, then the numbers of the host.
        gradient: whether gradients of the weighted sum are wanted.
        blocks: sizes of the pieces of work.
    """
    module = _module(plan)
    inputs = [x.contiguous() for x in inputs]
    first = inputs[0]
    batch, height, width = (int(n) for n in first.shape[:3])
    lanes = width * plan.channels
    gradients = [first.new_empty((*first.shape[:3], plan.channels)) for _ in plan.differentiable] if gradient else []
    out = first.new_empty(plan.outputs)
    if not batch * height * width:
        return [out.zero_(), *(first.new_zeros(inputs[i].shape) for i in plan.differentiable[: len(gradients)])]
    across = columns(plan, width, blocks.width)
    rows = blocks.rows or band(height, across * batch, _processors(first.device))
    grid = (across, -(-height // rows), batch)
    slots = grid[0] * grid[1] * grid[2]
    partial = first.new_empty((max(len(plan.reductions), 1), slots))
    sums = first.new_empty((len(plan.normalisers), blocks.regions)) if plan.regions.results else out
    spread = [first.new_empty((batch, plan.spreads, height, lanes))] if gradient and plan.spreads else []
    sizes = (batch, height, width)
    constants: dict[str, Any] = {"BX": blocks.width, "P": blocks.regions, "F": _float(first.dtype)}
    constants |= {"num_warps": blocks.warps, "enable_fp_fusion": True}
    with torch.cuda.device(first.device) if first.is_cuda else nullcontext():
        if plan.regions.results:
            module.regions[(blocks.regions,)](*inputs, sums, scalars, *sizes, **constants)
        rest = (partial, sums, scalars, *sizes, slots, rows)
        if not gradient:
            module.values[grid](*inputs, *rest, **constants)
        elif not plan.spreads:
            module.centre[grid](*inputs, *gradients, *rest, **constants)
        else:
            module.centre[grid](*inputs, *spread, *rest, **constants)
            module.after[grid](*inputs, *spread, *gradients, *rest, **constants)
        module.finish[(1,)](partial, sums, scalars, out, *sizes, slots, **{**constants, "BX": 1024})
    shared = [plan.inputs[i] < plan.channels for i in plan.differentiable]
    return [out, *(g.sum(-1, keepdim=True) if s else g for g, s in zip(gradients, shared))]


@lru_cache(maxsize=1024)
def band(height: int, columns: int, processors: int) -> int:
    """How many rows a program goes down: few programs repeat fewer rows at their ends, many are shared out better.

    The time is that of all rows over all processors, and of the last program, which runs with few others beside it: it
    counts 2.5 times.

    Args:
        height: of the images.
        columns: blocks of columns in all images.
        processors: multiprocessors of the device.
    """
    best, least = 8, float("inf")
    for rows in (8, 16, 24, 32, 48, 64, 96, 128):
        walked = min(rows, height) + 10
        time = (columns * -(-height // rows) / processors + 2.5) * walked
        if time < least:
            best, least = rows, time
    return best


@cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


@cache
def _float(dtype: torch.dtype) -> Any:
    import triton.language as tl

    return {torch.float32: tl.float32, torch.float64: tl.float64}[dtype]


_MODULES: dict[str, ModuleType] = {}


def _module(plan: WindowPlan) -> ModuleType:
    """The kernels of a plan, imported from a file, since Triton reads their text; made once in a process."""
    module = _MODULES.get(plan.key)
    if module is None:
        module = _MODULES[plan.key] = _imported(triton_source(plan))
    return module


def _imported(source: str) -> ModuleType:
    name = f"splatdsl_window_{sha256(source.encode()).hexdigest()[:24]}"
    known = sys.modules.get(name)
    if known is not None:
        return known
    spec = importlib.util.spec_from_file_location(name, _written(name, source))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _written(name: str, source: str) -> str:
    """The file that holds the source: in the user's cache folder, or where that cannot be in one of this process."""
    for place in (os.path.join(folder(), "triton"), None):
        with suppress(OSError, UnicodeDecodeError):
            where = _private() if place is None else place
            path = os.path.join(where, f"{name}.py")
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    if file.read() == source:
                        return path
            os.makedirs(where, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=where, suffix=".tmp")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(source)
            os.replace(temporary, path)
            return path
    raise OSError("no folder can be written to for generated kernels (set SPLATDSL_CACHE_DIR)")


@cache
def _private() -> str:
    return tempfile.mkdtemp(prefix="splatdsl-triton-")
