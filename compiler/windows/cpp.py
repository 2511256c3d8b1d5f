"""Kernels on processors: the plan as C++, compiled on this machine, called on the memory of tensors."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from ..backend import missing_compiler
from . import native
from .cpp_source import cpp_source
from .flat_source import flat_source
from .native import KernelUnavailable
from .plan import WindowPlan

__all__ = ["Kernel", "KernelUnavailable", "kernel", "missing", "run_cpp", "source"]

_DTYPES = {torch.float32: "float32", torch.float64: "float64"}


def missing() -> str:
    """Why C++ kernels cannot be used on this machine, in words; "" if they can."""
    if sys.platform == "win32":
        return "generated C++ kernels do not exist on Windows; the same losses run there as a torch graph"
    return missing_compiler("cpu")


class Kernel:
    """A compiled plan for one dtype.

    Any number of threads may call it at once. It runs on as many threads as torch does.
    """

    __slots__ = ("_dtype", "_numbers", "_outputs", "_pointers", "_run", "plan")

    def __init__(self, plan: WindowPlan, dtype: torch.dtype, library: ctypes.CDLL) -> None:
        self.plan = plan
        self._dtype = dtype
        self._numbers = ctypes.c_double * (len(plan.reductions) + plan.hosts)
        self._pointers = ctypes.c_void_p * (len(plan.inputs) + len(plan.differentiable))
        self._outputs = plan.outputs
        self._run = library.run
        sizes = [ctypes.c_long] * (1 if plan.flat else 3)
        # Plain integers as they come: ctypes converts what has a type here faster than instances of its classes.
        self._run.argtypes = [self._pointers, self._numbers, ctypes.c_void_p, *sizes, *[ctypes.c_int] * 2]
        self._run.restype = ctypes.c_int

    def __call__(
        self, inputs: Sequence[Tensor], cotangents: Sequence[float], hosts: Sequence[float], gradient: bool
    ) -> list[Tensor]:
        """The numbers of the plan, and with ``gradient`` the gradients. As `portable.run_portable`, on CPU tensors."""
        plan, dtype = self.plan, self._dtype
        lead = inputs[0].shape[:-1]
        places: list[int] = []
        kept = []  # copies live as long as the call
        for x, components in zip(inputs, plan.inputs):
            if x.dtype != dtype or not x.is_cpu:
                raise TypeError(f"a kernel for {dtype} on the CPU got {x.dtype} on {x.device}")
            if x.shape != (*lead, components):
                x = x.expand(*lead, components)
            if not x.is_contiguous():
                x = x.contiguous()
                kept.append(x)
            places.append(x.data_ptr())
        made = [torch.empty(self._outputs, dtype=dtype)]
        if gradient:
            for i in plan.differentiable:
                g = torch.empty((*lead, plan.inputs[i]), dtype=dtype)
                made.append(g)
                places.append(g.data_ptr())
        failed = self._run(
            self._pointers(*places),
            self._numbers(*cotangents, *hosts),
            made[0].data_ptr(),
            *((lead.numel(),) if plan.flat else lead),
            torch.get_num_threads(),
            gradient,
        )
        if failed:
            raise MemoryError("a kernel had no memory for its scratch")
        return made


def source(plan: WindowPlan, dtype: str) -> str:
    """The C++ of a plan for "float32" or "float64"."""
    return flat_source(plan, dtype) if plan.flat else cpp_source(plan, dtype)


_lock = threading.Lock()
_kernels: dict[tuple[str, torch.dtype], Kernel] = {}


def kernel(plan: WindowPlan, dtype: torch.dtype) -> Kernel:
    """The kernel of a plan, compiled at the first call or taken from the cache.

    Raises:
        KernelUnavailable: with the reason, where it cannot be had.
    """
    name = (plan.key, dtype)
    found = _kernels.get(name)
    if found is not None:
        return found
    if dtype not in _DTYPES:
        raise KernelUnavailable(f"there are no C++ kernels for {dtype}")
    reason = missing()
    if reason:
        raise KernelUnavailable(reason)
    from torch._inductor import cpp_builder

    library = native.load(source(plan, _DTYPES[dtype]), str(cpp_builder.get_cpp_compiler()), "run")
    with _lock:
        return _kernels.setdefault(name, Kernel(plan, dtype, library))


def run_cpp(
    plan: WindowPlan, inputs: Sequence[Tensor], cotangents: Sequence[float], hosts: Sequence[float], gradient: bool
) -> list[Tensor]:
    """The numbers of a plan `[plan.outputs]`, and with ``gradient`` the gradient of each differentiable input.

    Args:
        plan: what to compute.
        inputs: on the CPU, all float32 or all float64; `[B, H, W, k]`, or for a flat plan `[..., k]`.
        cotangents: the factor of each reduction in the weighted sum.
        hosts: the numbers of the host.
        gradient: whether gradients of the weighted sum are wanted.

    Raises:
        KernelUnavailable: there is no kernel for this on this machine.
    """
    return kernel(plan, inputs[0].dtype)(inputs, cotangents, hosts, gradient)
