"""Device "auto": NumPy's formulas for little work, compiled loops for much.

To compile takes seconds, and to load compiled code some tenths of a second, which little work never earns back.
"""

from __future__ import annotations

from collections.abc import Callable

from .device import Device
from .numpy.device import NumpyDevice

WORTH = 1.0  # seconds: work that would take NumPy longer is compiled


class AutoDevice(NumpyDevice):
    """Arrays in main memory. It is itself the device for little work; `compiled` returns the one for more."""

    name = "auto"
    chooses = True
    why = f'device "auto" compiles only what takes NumPy longer than about {WORTH:.0f} s'

    def __init__(self, compiled: Callable[[], Device]) -> None:
        super().__init__()
        self.compiled = compiled

    def for_work(self, seconds: float) -> Device:
        return self if seconds <= WORTH else self.compiled()
