"""Kernels on processors: those without windows are loops over rows of any form, the others are those of `cpp`."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from . import cpp, native
from .cpp import KernelUnavailable
from .flat_source import flat_source
from .plan import WindowPlan

__all__ = ["FlatKernel", "KernelUnavailable", "kernel", "run_processor"]

_DTYPES = {torch.float32: "float32", torch.float64: "float64"}


class FlatKernel:
    """A compiled plan without windows for one dtype.

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
        self._run.argtypes = [self._pointers, self._numbers, ctypes.c_void_p, ctypes.c_long, *[ctypes.c_int] * 2]
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
                g = torch.empty_like(kept[i])
                made.append(g)
                places.append(g.data_ptr())
        failed = self._run(
            self._pointers(*places),
            self._numbers(*cotangents, *hosts),
            made[0].data_ptr(),
            lead.numel(),
            torch.get_num_threads(),
            gradient,
        )
        if failed:
            raise MemoryError("a kernel had no memory for its sums")
        return made


_lock = threading.Lock()
_kernels: dict[tuple[str, torch.dtype], FlatKernel | cpp.Kernel] = {}


def kernel(plan: WindowPlan, dtype: torch.dtype) -> FlatKernel | cpp.Kernel:
    """The kernel of any plan, compiled at the first call or taken from the cache.

    Raises:
        KernelUnavailable: with the reason, where it cannot be had.
    """
    name = (plan.key, dtype)
    found = _kernels.get(name)
    if found is not None:
        return found
    made = _made(plan, dtype) if plan.flat else cpp.kernel(plan, dtype)
    with _lock:
        return _kernels.setdefault(name, made)


def _made(plan: WindowPlan, dtype: torch.dtype) -> FlatKernel:
    if dtype not in _DTYPES:
        raise KernelUnavailable(f"there are no C++ kernels for {dtype}")
    reason = cpp.missing()
    if reason:
        raise KernelUnavailable(reason)
    from torch._inductor import cpp_builder

    return FlatKernel(
        plan, dtype, native.load(flat_source(plan, _DTYPES[dtype]), str(cpp_builder.get_cpp_compiler()), "run")
    )


def run_processor(
    plan: WindowPlan, inputs: Sequence[Tensor], cotangents: Sequence[float], hosts: Sequence[float], gradient: bool
) -> list[Tensor]:
    """The numbers of any plan `[plan.outputs]`, and with ``gradient`` the gradient of each differentiable input.

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
