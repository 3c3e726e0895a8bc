"""Devices keep arrays and run kernels on them. Only this file knows the names of the devices.

The rest of nnlite imports only from this file, and not from the folders below.
"""

from __future__ import annotations

import functools
import importlib.util
import mmap
import os
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from .auto import AutoDevice
from .common.arena import Arena as Arena
from .common.kernel import Kernel as Kernel
from .common.kernel import kernel as kernel
from .common.kernel import kernel_of as kernel_of
from .common.ops import Array as Array
from .common.ops import Ops as Ops
from .common.planning import work as work
from .common.recording import CALL_KERNELS as CALL_KERNELS
from .common.recording import NotRecordableError as NotRecordableError
from .common.recording import Recorder as Recorder
from .common.recording import Symbol as Symbol
from .common.recording import Tape as Tape
from .common.recording import view as view
from .common.threads import together as together
from .device import Device as Device
from .device import DeviceError as DeviceError
from .device import OutOfGPUMemoryError as OutOfGPUMemoryError
from .device import Replay as Replay
from .device import StepwiseReplay as StepwiseReplay
from .numpy.device import NumpyDevice
from .numpy.replay import called as called

if TYPE_CHECKING:  # Numba and CuPy are imported only when they are used
    from .cpu.limits import CpuLimits
    from .cuda.limits import CudaLimits

ALIASES = {"cpu": "numba", "gpu": "cupy", "cuda": "cupy"}


class Availability(NamedTuple):
    """Whether a device can be used here, with a description, or with the reason why not."""

    available: bool
    detail: str


def devices() -> dict[str, Availability]:
    """The devices on this machine: name -> (available, detail). For a missing device, the detail names the remedy.

    >>> nl.devices()["numpy"].available
    True
    """
    return {name: _availability(name) for name in _DEVICES}


def get_device(name: str | Device, precision: str = "float32") -> Device:
    """The device of this name; a device itself is returned unchanged.

    The names are "numpy", "numba" and "cupy"; "cpu" is numba, and "gpu" and "cuda" are cupy. "auto" is numba, but for
    work of less than about a second, and where Numba is not installed, it is numpy: to compile would take longer. How
    long work takes is estimated from its sizes, so that equal calls are made in the same way. On cupy,
    precision="tf32" lets tensor cores make the products of float32 numbers, many times faster; they round the factors
    to 10 bits. ValueError for an unknown name or precision, DeviceError for a device that is missing here. A network
    takes a device in place of a name: device=nl.get_device("cupy", precision="tf32").
    """
    if isinstance(name, Device):
        return name
    if precision not in ("float32", "tf32"):
        raise ValueError(f'precision={precision!r} is not known; choose "float32" or "tf32"')
    if not isinstance(name, str) or name not in (*_DEVICES, *ALIASES, "auto"):
        known = ", ".join(repr(n) for n in (*_DEVICES, *ALIASES, "auto"))
        raise ValueError(f"device={name!r} is not known; choose one of {known}")
    name = ALIASES.get(name, name)
    if precision == "tf32" and name != "cupy":
        raise ValueError(f'precision="tf32" is something that GPUs have: device "cupy", not {name!r}')
    return _make(name, precision)


def functions_compiled() -> int:
    """The number of functions that this process has begun to compile for the CPU."""
    kept = sys.modules.get(f"{__name__}.cpu.kept")  # no function, as long as nothing has imported this
    return kept.Kept.begun if kept else 0


def kept_machine_code() -> str:
    """Where compiled functions are kept on disk, and how much there is, in words."""
    reason = _no_numba()
    if reason:
        return f"none: {reason}"
    from .cpu.kept import summary

    return summary()


def made(name: str, precision: str, limits: object) -> Device:
    """The device with this name, precision and limits; DeviceError if it cannot be used here.

    If the device of `get_device` has the same limits, it is that object.
    """
    device = _make(name, precision)
    return device if device.limits == limits else _DEVICES[name][1](precision, limits)


@functools.cache
def _make(name: str, precision: str) -> Device:
    if name == "auto":
        compiled = partial(_make, "numba", precision)
        return AutoDevice(compiled) if _availability("numba").available else _make("numpy", precision)
    found = _availability(name)
    if not found.available:
        raise DeviceError(f"device {name!r} cannot be used: {found.detail}")
    return _DEVICES[name][1](precision, None)


def _availability(name: str) -> Availability:
    reason = _DEVICES[name][0]()
    return Availability(not reason, reason or _DESCRIPTIONS[name])


def _no_numba() -> str:
    if not importlib.util.find_spec("numba"):
        return "Numba is not installed: pip install numba, or take device 'numpy'"
    if os.environ.get("NUMBA_DISABLE_JIT", "").strip() not in ("", "0"):
        return "it needs Numba's compiler, which NUMBA_DISABLE_JIT switches off: unset that, or take device 'numpy'"
    if not _may_make_code():
        return "this system does not let the process make machine code (MemoryDenyWriteExecute): take device 'numpy'"
    return ""


@functools.cache
def _may_make_code() -> bool:
    """Whether a process gets memory that it may write to and execute; where Linux forbids that, LLVM gets none."""
    if sys.platform != "linux":
        return True
    try:
        with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC):
            return True
    except OSError:
        return False


def _no_cupy() -> str:
    from .cuda.device import why_not

    return why_not()


def _make_numpy(precision: str, limits: None) -> Device:
    return NumpyDevice()


def _make_numba(precision: str, limits: CpuLimits | None) -> Device:
    from .cpu.device import NumbaDevice

    return NumbaDevice(limits)


def _make_cupy(precision: str, limits: CudaLimits | None) -> Device:
    from .cuda.device import CupyDevice

    return CupyDevice(precision, limits)


# name -> (reason why not, function that makes it); Numba and CuPy are imported only when they are used
_DEVICES: dict[str, tuple[Callable[[], str], Callable[[str, Any], Device]]] = {
    "numpy": (lambda: "", _make_numpy),
    "numba": (_no_numba, _make_numba),
    "cupy": (_no_cupy, _make_cupy),
}
_DESCRIPTIONS = {
    "numpy": "the reference formulas in NumPy",
    "numba": "fused loops compiled for this CPU by Numba",
    "cupy": "CUDA kernels on an NVIDIA GPU by CuPy",
}


class _Callable(ModuleType):
    """This module's class, so that `nl.devices()` can be called and `nnlite.devices.cpu` is still found."""

    def __call__(self) -> dict[str, Availability]:
        return devices()


sys.modules[__name__].__class__ = _Callable
