"""Devices: where arrays live and which kernels work on them. The only place that knows the devices' names."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import NamedTuple

from .on_numpy import NumpyDevice

ALIASES = {"cpu": "numba", "gpu": "cupy", "cuda": "cupy"}


class DeviceError(RuntimeError):
    """The device asked for cannot be used on this machine; the message says why and what to do."""


class Availability(NamedTuple):
    """Whether a device can be used here, and what it is or why not."""

    available: bool
    detail: str


def devices() -> dict[str, Availability]:
    """What this machine has: device name -> (available, detail); the detail names the remedy where there is none.

    >>> nl.devices()["numpy"].available
    True
    """
    return {name: _availability(name) for name in _DEVICES}


def get_device(name: str) -> NumpyDevice:
    """The device of this name.

    "numpy", "numba", "cupy"; "cpu" is numba, "gpu" and "cuda" are cupy, "auto" is the fastest for small nets on this
    machine: numba where it is installed, else numpy. ValueError for other names, DeviceError for one missing here.
    """
    if not isinstance(name, str) or name not in (*_DEVICES, *ALIASES, "auto"):
        known = ", ".join(repr(n) for n in (*_DEVICES, *ALIASES, "auto"))
        raise ValueError(f"device={name!r} is not known; choose one of {known}")
    if name == "auto":
        name = "numba" if _availability("numba").available else "numpy"
    return _make(ALIASES.get(name, name))


@functools.cache
def _make(name: str) -> NumpyDevice:
    found = _availability(name)
    if not found.available:
        raise DeviceError(f"device {name!r} cannot be used: {found.detail}")
    return _DEVICES[name][1]()


def _availability(name: str) -> Availability:
    reason = _DEVICES[name][0]()
    return Availability(not reason, reason or _DESCRIPTIONS[name])


def _no_numba() -> str:
    return "" if importlib.util.find_spec("numba") else "Numba is not installed: pip install numba"


def _no_cupy() -> str:
    from .on_cupy import why_not

    return why_not()


def _make_numba() -> NumpyDevice:
    from .on_numba import NumbaDevice

    return NumbaDevice()


def _make_cupy() -> NumpyDevice:
    from .on_cupy import CupyDevice

    return CupyDevice()


# name -> (why not, make it); Numba and CuPy are imported only when they are asked for
_DEVICES: dict[str, tuple[Callable[[], str], Callable[[], NumpyDevice]]] = {
    "numpy": (lambda: "", NumpyDevice),
    "numba": (_no_numba, _make_numba),
    "cupy": (_no_cupy, _make_cupy),
}
_DESCRIPTIONS = {
    "numpy": "the reference formulas in NumPy",
    "numba": "fused loops compiled for this CPU by Numba",
    "cupy": "the reference formulas on an NVIDIA GPU by CuPy",
}
