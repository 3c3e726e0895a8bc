"""What a device can do: keep arrays, call kernels on them, and run a tape. numpy, numba and cupy are three of them."""

from __future__ import annotations

import contextlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .common.arena import DATA, Arena
from .common.kernel import Kernels
from .common.recording import Tape


class DeviceError(RuntimeError):
    """The device asked for cannot be used on this machine; the message says why and what to do."""


class OutOfGPUMemoryError(MemoryError):
    """The GPU's memory does not suffice; the message says how much was wanted and what to try."""


NO_HISTORY = np.zeros((0, 0))  # of a run in which no epoch ends


class Replay(ABC):
    """Tapes in the form in which a device runs them, and the arena on which they work."""

    arena: Arena
    plan: str  # how the device runs them, and why so: a sentence for the user

    @abstractmethod
    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        """Run the steps first … last − 1, of which each `per_epoch` make an epoch.

        At the end of an epoch its sums go to the next row of history (epochs, S), and start again at 0. The last step
        of an epoch is that of the short tape, where there is one. Returns the step before which it stopped: `last`, or
        one that has made the first of the sums something that is not finite.
        """

    def sweep(self, data: Mapping[str, Any], position: int, times: int) -> bool:
        """So many steps over these data from a row on, with sums that begin at 0; whether the first stayed finite."""
        self.point(data)
        self.arena.segments["position"][0] = position
        self.arena.segments["sums"][...] = 0
        try:
            with np.errstate(
                over="ignore", invalid="ignore", divide="ignore"
            ):  # what is not finite is seen in the sums
                return self.run(0, times, times + 1, NO_HISTORY) == times
        finally:
            self.release()

    def point(self, data: Mapping[str, Any]) -> None:
        """Work on these arrays from now on, segment -> array: of the dtype and columns of those before, of any rows."""
        self.arena.segments.update(data)

    def release(self) -> None:
        """Forget the data, which may be large; they have to be pointed to before the next run."""
        for name in DATA:
            self.arena.segments.pop(name, None)


class Device(ABC):
    """Where arrays live, and which kernels work on them."""

    name: str
    precision = "float32"  # in which products of float32 are made: "float32" or "tf32"
    limits: object = None  # what is worth how much: a frozen dataclass of this device's own, where it has a choice
    ops: Kernels  # `ops.linear(x, W, b)` computes at once
    in_main_memory = True  # whether NumPy arrays are its own
    runs_on_threads = False  # whether programs can run side by side on threads of one process
    sweeps_by = "auto"  # the way in which it replays evaluations and predictions
    rows_at_once = 4096  # at most, in a step of an evaluation or a prediction

    @abstractmethod
    def asarray(self, array: Any, dtype: npt.DTypeLike | None = None) -> Any:
        """The array on this device, C-contiguous; not copied if it is already so."""

    @abstractmethod
    def zeros(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        """Zeros on this device; they begin at a cache line."""

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        """An array on this device in which anything may stand."""

    @abstractmethod
    def address(self, array: Any) -> int:
        """Where in the device's memory the array begins."""

    @abstractmethod
    def to_numpy(self, array: Any) -> np.ndarray:
        """The array in main memory."""

    @abstractmethod
    def replay(self, full: Tape, short: Tape | None, arena: Arena, threads: int = 1, how: str = "auto") -> Replay:
        """Something that runs these tapes on this memory, on so many threads if it can; `how`: in one of its ways."""

    def refuse(self, how: str) -> None:
        """ValueError for a way to replay that this device does not have."""
        if how != "auto":
            raise ValueError(f'replay="{how}" is a way of device "cupy"; device {self.name!r} has "auto" and "eager"')

    def owns(self, array: Any) -> bool:
        """Whether the array lies in this device's own memory, where NumPy cannot read it."""
        return False

    def borrowed(self, array: Any) -> Any:
        """An array of another library as this device's own, if it lies in its memory; else as it is."""
        return array

    def room(self) -> int | None:
        """How many bytes of its memory are free; None where that is the operating system's care."""
        return None

    def explained(self) -> contextlib.AbstractContextManager[None]:
        """With this, an error of the device's own that a user may meet says what to do."""
        return contextlib.nullcontext()

    def __deepcopy__(self, memo: object) -> Device:
        return self  # a copy of a network is on the same device

    def __reduce__(self) -> tuple[Any, ...]:
        return same_device, (self.name, self.precision, self.limits)

    def __repr__(self) -> str:
        return f"<nnlite device {self.name!r}>"


def same_device(name: str, precision: str, limits: object) -> Device:
    """Such a device in another process, by the folder, which knows the names and imports this file."""
    folder: Any = importlib.import_module(__package__ or "")
    return folder.made(name, precision, limits)
