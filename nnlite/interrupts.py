"""Interrupts that wait: a fit hears Ctrl-C and SIGTERM only where all its numbers belong to the same step.

It can then go on from there. Compiled code does not hear them either; a step in Python would, between any two kernels.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
WAITING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))


class Held:
    """In this block, a signal that a function of Python's handles waits for `check`. A second one does not wait.

    Python calls such functions in the main thread only, so in other threads there is nothing to hold.
    """

    def __enter__(self) -> Held:
        self.before: dict[int, Any] = {}
        self.came: tuple[int, FrameType | None] | None = None
        self.opened = False
        if threading.current_thread() is threading.main_thread():
            for number in WAITING:
                if callable(handler := signal.getsignal(number)):
                    self.before[number] = handler
                    signal.signal(number, self._hold)
        return self

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self.came or self.opened:
            self.before[number](number, frame)
        else:
            self.came = number, frame

    def check(self) -> None:
        """Handle the signal that waits."""
        came, self.came = self.came, None
        if came:
            self.before[came[0]](*came)

    def __exit__(self, *error: Any) -> None:
        for number, handler in self.before.items():
            if signal.getsignal(number) == self._hold:  # or else somebody has set another one meanwhile
                signal.signal(number, handler)
        if not error[0]:
            self.check()

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Let signals through while somebody else's code runs in this block, or what may take long."""
        self.check()
        self.opened = True
        try:
            yield
        finally:
            self.opened = False

    def between(self, items: Iterable[T]) -> Iterator[T]:
        """The same items; signals are let through while the next one is made."""
        iterator, end = iter(items), object()
        while True:
            with self.open():
                item: Any = next(iterator, end)
            if item is end:
                return
            yield item
