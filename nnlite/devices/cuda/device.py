"""The cupy device: the reference's kernels in CUDA, on arrays in the memory of an NVIDIA GPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..common.arena import Arena
from ..common.kernel import Kernel, Kernels
from ..common.lines import is_array
from ..common.recording import Call, Tape
from ..common.reference import KERNELS
from ..device import Device, DeviceError, OutOfGPUMemoryError, Replay
from .limits import CudaLimits
from .machine import Machine
from .meeting import Meeting

ON_GPU = 2  # DLPack's number for a GPU's memory
ON_CUDA = (ON_GPU, 13)  # and the one for memory that the GPUs share with the CPU
FORKED = (
    "CUDA does not work in a process that was forked after it was used: start processes by 'spawn' "
    "(multiprocessing.set_start_method), or use the GPU only in the children"
)


def why_not() -> str:
    """The reason why no GPU can be used here, and a remedy; "" if one can be used."""
    try:
        import cupy
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            return "CuPy is not installed: pip install 'nnlite[gpu]' (CUDA 12) or 'nnlite[gpu13]' (CUDA 13)"
        return f"CuPy is installed but cannot be imported ({error}): reinstall it for this machine's CUDA version"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if "InsufficientDriver" in str(error):
            return "no NVIDIA driver, or one too old for this CuPy: install or update it (nvidia-smi shows it)"
        if "InitializationError" in str(error):
            return FORKED
        return f"CUDA finds no GPU ({error}): check nvidia-smi and CUDA_VISIBLE_DEVICES"
    if not count:
        return "CUDA finds no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES"
    try:
        from cupy.cuda import nvrtc

        nvrtc.getVersion()
    except Exception as error:  # a missing library may raise anything
        return f"CUDA's compiler NVRTC cannot be loaded ({error}): pip install 'nnlite[gpu]', which brings it"
    try:
        cupy.ones(1)  # CuPy keeps what it compiles for this
    except Exception as error:  # the compiler finds no headers, or does not know this GPU
        told = next((line for line in str(error).splitlines() if "error" in line), str(error))
        return (
            f"CuPy cannot compile for this GPU ({told}): pip install 'nnlite[gpu]', which brings compiler and headers"
        )
    return ""


class Eager:
    """A CUDA kernel that is called like the reference's: it reserves the results, is launched, and returns them."""

    def __init__(self, device: CupyDevice, kernel: Kernel) -> None:
        self.device, self.kernel = device, kernel

    def __call__(self, *operands: Any) -> Any:
        signature, name = self.kernel.signature, self.kernel.name
        sizes = signature.sizes(operands, name)
        arrays = [operand for operand in operands if is_array(operand)]
        shapes = (tuple(sizes[letter] for letter in signature.results[result]) for result in signature.fresh)
        results = tuple(self.device.cupy.empty(shape, arrays[0].dtype) for shape in shapes)
        self.device.machine.run(Call(name, self.kernel, operands, results))
        return results[0] if len(results) == 1 else results or None


class CupyDevice(Device):
    """Arrays in the GPU's memory, and CUDA kernels on them.

    With precision "tf32", tensor cores make the products of float32 numbers, and round the factors to 10 bits.
    """

    name = "cupy"
    in_main_memory = False
    sweeps_by = "sweep"  # a graph: a persistent kernel would have to be compiled for each network

    def __init__(self, precision: str = "float32", limits: CudaLimits | None = None) -> None:
        import cupy

        self.cupy = cupy
        self.precision, self.process = precision, os.getpid()
        self.limits: CudaLimits = limits or CudaLimits()
        self._machines: dict[int, Machine] = {}
        self.ops = Kernels({name: Eager(self, kernel) for name, kernel in KERNELS.items()})

    @property
    def machine(self) -> Machine:
        """The GPU that is CuPy's current one."""
        number = self.cupy.cuda.runtime.getDevice()
        if number not in self._machines:
            self._machines[number] = Machine(self.cupy, self.precision)
        return self._machines[number]

    def asarray(self, array: Any, dtype: npt.DTypeLike | None = None) -> Any:
        return self.cupy.asarray(array, dtype, order="C")

    def zeros(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        with self.explained():
            return self.cupy.zeros(shape, dtype)

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        with self.explained():
            return self.cupy.empty(shape, dtype)

    def owns(self, array: Any) -> bool:
        return isinstance(array, self.cupy.ndarray)

    def borrowed(self, array: Any) -> Any:
        kind, number = array.__dlpack_device__() if hasattr(array, "__dlpack_device__") else (0, 0)
        if kind not in ON_CUDA:
            return array
        here = self.cupy.cuda.runtime.getDevice()
        if kind == ON_GPU and number != here:
            raise ValueError(f"an array lies on GPU {number}, but CuPy works on GPU {here}: copy the array there first")
        return (
            array if self.owns(array) else self.cupy.from_dlpack(array.detach() if hasattr(array, "detach") else array)
        )

    def room(self) -> int | None:
        free, _ = self.cupy.cuda.runtime.memGetInfo()
        pool = self.cupy.get_default_memory_pool()
        return int(free) + int(pool.free_bytes())

    def address(self, array: Any) -> int:
        return self.machine.address(array)

    def to_numpy(self, array: Any) -> np.ndarray:
        return self.cupy.asnumpy(array)

    def replay(self, full: Tape, short: Tape | None, arena: Arena, threads: int = 1, how: str = "auto") -> Replay:
        from .choice import choose

        return choose(self.machine, [tape for tape in (full, short) if tape], arena, how, self.limits)

    def meeting(self, count: int) -> Callable[[], contextlib.AbstractContextManager[None]]:
        return partial(self.machine.taking_part, Meeting(count), self.cupy.cuda.get_current_stream())

    def refuse(self, how: str) -> None:
        """Refuse nothing: this device has all ways to replay."""

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        if os.getpid() != self.process:
            raise DeviceError(f"device 'cupy' cannot be used: {FORKED}")
        try:
            yield
        except self.cupy.cuda.memory.OutOfMemoryError as error:
            self.cupy.get_default_memory_pool().free_all_blocks()
            raise OutOfGPUMemoryError(
                f"the GPU's memory does not suffice: {error}. Try a smaller batch_size=, or data in chunks (a "
                f"numpy.memmap or a generator); other programs may hold memory too (nvidia-smi shows them)"
            ) from error
