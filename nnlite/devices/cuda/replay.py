"""What both replays on a GPU share: they contain addresses of the data, so they are made anew for other addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..common.arena import DATA
from ..device import Replay
from .machine import Machine

Places = dict[str, tuple[int, tuple[int, ...]]]


class CudaReplay(Replay):
    """A replay that `_make` prepares for the present addresses of the data."""

    machine: Machine
    places: Places | None = None  # for which it is prepared: segment -> address and shape

    def _make(self) -> None:
        raise NotImplementedError

    def point(self, data: Mapping[str, Any]) -> None:
        super().point(data)
        if self.places != self._places():
            self.places = None

    def prepare(self) -> None:
        """Prepare the replay if the data have moved. CuPy's memory pool often gives the same address again."""
        if self.places is None:
            self._make()
            self.places = self._places()

    def _places(self) -> Places:
        segments = self.arena.segments
        return {name: (self.machine.address(segments[name]), segments[name].shape) for name in DATA if name in segments}
