"""The real CuPy on a GPU that is not there.

The imitation stands at a border that NVIDIA owns: functions of the CUDA runtime, of the driver, of NVRTC and of cuBLAS
are Python functions here. What CuPy and nnlite do above that border is what they do on a card.
"""

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator

from . import blas, driver, libraries, runtime
from .card import Card, Memory

CARD = Card()


def _driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


DRIVER_FOUND = _driver()


def why_not() -> str:
    """The reason why there is no rig here; "" if there is one."""
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed: pip install 'nnlite[rig]' runs it on a GPU that is not there"
    return "this machine has a driver of its own" if DRIVER_FOUND else libraries.missing()


def _built_for() -> int:
    """The version of CUDA for which the installed CuPy is built: 12090 or 13000."""
    names = {each.metadata["Name"] for each in importlib.metadata.distributions()}
    return 12090 if "cupy-cuda12x" in names else 13000


def install() -> None:
    """Put the libraries in the place of NVIDIA's. This must come before the first import of CuPy."""
    os.environ["CUPY_CACHE_IN_MEMORY"] = "1"  # what the rig makes of sources is of no use to anybody else
    os.environ["CUPY_ACCELERATORS"] = ""  # no kernels of CUB, whose sources are not NumPy by another name
    version = _built_for()
    CARD.memory = Memory()
    refuse = CARD.refuse
    libraries.load("libcuda.so.1", driver.driver(CARD), refuse)
    libraries.load(f"libnvrtc.so.{version // 1000}", driver.nvrtc(CARD, version), refuse)
    libraries.load(f"libcublas.so.{version // 1000}", blas.functions(CARD), refuse)
    from cupy_backends.cuda.api import runtime as cupys_runtime

    libraries.patch(cupys_runtime.__file__, runtime.functions(CARD, version), refuse)


@contextlib.contextmanager
def plugged_in() -> Iterator[Card]:
    """With this, CuPy finds a card. What it refused must be what the test expected: it takes it from `card.refused`."""
    import cupy

    CARD.plug_in()
    CARD.become()
    cupy.get_default_memory_pool().free_all_blocks()  # no test gets another's memory
    try:
        yield CARD
        for place in CARD.memory.sizes:
            CARD.memory.check(place)
        assert not CARD.refused, CARD.refused
    finally:
        CARD.plugged_in = False
