"""What tests of several folders use."""

from pathlib import Path


def to_numpy(array):
    """The array in main memory, wherever it lies."""
    return array.get() if hasattr(array, "get") else array


def write(name: str, text: str | bytes) -> str:
    """Write a file; its name."""
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    return name


def on_threads(**limits):
    """A numba device that uses as many threads as a net asks for, however little there is to do."""
    from nnlite.devices.cpu.device import NumbaDevice
    from nnlite.devices.cpu.limits import CpuLimits

    return NumbaDevice(CpuLimits(worth_threads=0, **limits))
