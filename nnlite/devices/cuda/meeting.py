"""Launches that wait for each other: networks that train side by side, each in a thread, share one launch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol


class Launcher(Protocol):
    """A replay whose launches can be shared by all that have the same source."""

    source: str

    def launch(self, arguments: Sequence[Sequence[int]]) -> None: ...


class Meeting:
    """So many threads. When all that have not left want to launch, one of them launches for all."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.waiting: list[tuple[Launcher, Sequence[int]]] = []
        self.launches = 0
        self.errors: dict[int, BaseException] = {}  # number of a launch -> what it has raised
        self.changed = threading.Condition()

    def launch(self, replay: Launcher, arguments: Sequence[int]) -> None:
        """Launch, together with the others. Every thread gets the error that a launch has raised."""
        with self.changed:
            mine = self.launches
            self.waiting.append((replay, arguments))
            self._launch_if_all_wait()
            while self.launches == mine:
                self.changed.wait()
            if mine in self.errors:
                raise self.errors[mine]

    def leave(self) -> None:
        """Wait for this thread no longer."""
        with self.changed:
            self.count -= 1
            self._launch_if_all_wait()

    def _launch_if_all_wait(self) -> None:
        if not self.waiting or len(self.waiting) < self.count:
            return
        alike: dict[str, list[tuple[Launcher, Sequence[int]]]] = {}
        for each in self.waiting:
            alike.setdefault(each[0].source, []).append(each)
        try:
            for group in alike.values():
                group[0][0].launch([arguments for _, arguments in group])
        except BaseException as error:  # also an interrupt: nobody may wait for ever
            self.errors[self.launches] = error
        self.waiting.clear()
        self.launches += 1
        self.changed.notify_all()
