"""What both replays on a GPU share: addresses of the data are written into them, so other places need other ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..common.arena import DATA
from ..device import Replay
from .machine import Machine

Places = dict[str, tuple[int, tuple[int, ...]]]


class CudaReplay(Replay):
    """A replay that `_make` prepares for the places where the data are at the moment."""

    machine: Machine
    places: Places | None = None  # for which it has been prepared: segment -> address and shape

    def _make(self) -> None:
        raise NotImplementedError

    def point(self, data: Mapping[str, Any]) -> None:
        super().point(data)
        if self.places != self._places():
            self.places = None

    def prepare(self) -> None:
        """Prepare it, if the data are not where they were before. CuPy's pool often gives the same memory again."""
        if self.places is None:
            self._make()
            self.places = self._places()

    def _places(self) -> Places:
        segments = self.arena.segments
        return {name: (self.machine.address(segments[name]), segments[name].shape) for name in DATA if name in segments}
