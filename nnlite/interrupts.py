"""Interrupts that wait: Ctrl-C and SIGTERM between two steps, where all numbers belong to the same step.

Compiled code is not interrupted by Python's signal handlers. A step in Python is, between any two of its kernels.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

WAITING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))


class Held:
    """In this block, a signal that a function of Python's handles waits until the end. A second one does not wait.

    Python calls such functions in the main thread only, so in other threads there is nothing to hold.
    """

    def __enter__(self) -> None:
        self.before: dict[int, Any] = {}
        self.came: tuple[int, FrameType | None] | None = None
        if threading.current_thread() is threading.main_thread():
            for number in WAITING:
                if callable(handler := signal.getsignal(number)):
                    self.before[number] = handler
                    signal.signal(number, self._hold)

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            self.before[number](number, frame)
        self.came = number, frame

    def __exit__(self, *error: Any) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if self.came and error[0] is None:
            self.before[self.came[0]](*self.came)
