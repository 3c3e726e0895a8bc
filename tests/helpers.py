"""What tests of several folders use."""

from nnlite.devices.cpu.device import NumbaDevice
from nnlite.devices.cpu.limits import CpuLimits


def on_threads(**limits):
    """A numba device that uses as many threads as a net asks for, however little there is to do."""
    return NumbaDevice(CpuLimits(worth_threads=0, **limits))
