"""The device as a class: it keeps arrays, calls kernels on them, and replays tapes. Subclasses: numpy, numba, cupy."""

from __future__ import annotations

import contextlib
import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from .common.arena import DATA, Arena
from .common.kernel import Kernels
from .common.recording import Tape


class DeviceError(RuntimeError):
    """This device cannot be used on this machine; the message gives the reason and a remedy."""


class OutOfGPUMemoryError(MemoryError):
    """The GPU's memory is too small; the message tells how much was needed and what to try."""


NO_HISTORY = np.zeros((0, 0))  # for a run in which no epoch ends
NOTHING_TO_EXPLAIN = contextlib.nullcontext()


class Replay(ABC):
    """Tapes in the form in which a device runs them, and the arena on which they work."""

    arena: Arena
    whole = True  # False after an error in the middle of a step: its arrays then belong to no step
    plan: str  # how the device runs them, and the reason, as a sentence for the user

    @property
    def current(self) -> np.ndarray:
        """The sums (S,) of the epoch that is under way. A fit that was stopped sets them, on the device, to go on."""
        return np.array(self.arena.device.to_numpy(self.arena.segments["sums"]))

    @current.setter
    def current(self, sums: Any) -> None:
        self.arena.segments["sums"][...] = sums

    @abstractmethod
    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        """Run the steps first … last − 1; every `per_epoch` steps are an epoch.

        At the end of an epoch, its sums (S,) go to its row of history (epochs, S) and begin again at 0. The last step
        of an epoch is made by the short tape, if there is one. Returns `last`, or the number of the step in which the
        first of the sums became a number that is not finite; steps after it do not count.
        """

    def sweep(
        self, data: Mapping[str, Any], position: int, times: int, taken: np.ndarray | None = None, thread: int = 0
    ) -> bool:
        """Run `times` steps from row `position` on, with sums that begin at 0. Whether sums[0] stayed finite.

        If several threads divide these steps, each with a replay of its own, `taken` (3,) counts those that they have
        taken: all, from the front, and from the back, as threads with an odd number do. Only devices that run on
        threads can do that.
        """
        assert taken is None
        self.point(data)
        self.arena.segments["position"][0] = position
        self.arena.segments["sums"][...] = 0
        try:
            return self.run(0, times, times + 1, NO_HISTORY) == times
        finally:
            self.release()

    def up_to_date(self) -> bool:
        """Whether what kernels of the user's own take from outside is what it was when they were compiled."""
        return True

    def point(self, data: Mapping[str, Any]) -> None:
        """Use these data from now on, segment -> array, with the dtype and columns of those before, and any rows."""
        self.arena.segments.update(data)

    def release(self) -> None:
        """Drop the references to the data, which may be large. `point` must be called again before the next run."""
        for name in DATA:
            self.arena.segments.pop(name, None)


class StepwiseReplay(Replay):
    """A replay that makes one step after the other in Python. A subclass writes only `stepping`."""

    step: Callable[[bool], None] | None = None  # what `stepping` has returned for the present data

    @abstractmethod
    def stepping(self) -> Callable[[bool], None]:
        """A function that makes a step on the present data; its argument is whether the step is its epoch's last."""

    def point(self, data: Mapping[str, Any]) -> None:
        super().point(data)
        self.step = None

    def release(self) -> None:
        super().release()
        self.step = None

    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        make = self.step = self.step or self.stepping()
        sums = self.arena.segments["sums"]  # (S,)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # sums[0] shows what is not finite
            for step in range(first, last):
                ends_epoch = (step + 1) % per_epoch == 0
                self.whole = False
                make(ends_epoch)
                self.whole = True
                if not math.isfinite(sums[0]):
                    return step
                if ends_epoch:
                    history[step // per_epoch] = self.arena.device.to_numpy(sums)
                    sums[...] = 0
        return last


class Device(ABC):
    """Keeps arrays, calls kernels on them, and makes replays of tapes."""

    name: str
    precision = "float32"  # of the products of float32 numbers: "float32" or "tf32"
    limits: object = None  # sizes that decide how it replays: its own frozen dataclass, or None
    ops: Kernels  # `ops.linear(x, W, b)` computes at once
    in_main_memory = True  # whether its arrays are NumPy arrays
    runs_on_threads = False  # whether programs can run side by side on threads of one process
    sweeps_by = "auto"  # the kind of replay for evaluations and predictions
    rows_at_once = 4096  # the most rows in one batch of an evaluation or a prediction, a power of two
    chooses = False  # whether `for_work` may return another device

    @property
    def wait_awake(self) -> Callable[[np.ndarray], None] | None:
        """How a thread waits for others: see `together`."""
        return None

    @abstractmethod
    def asarray(self, array: Any, dtype: npt.DTypeLike | None = None) -> Any:
        """The array on this device, C-contiguous. It is not copied if it is so already."""

    @abstractmethod
    def zeros(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        """An array of zeros on this device, which begins at a cache line."""

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        """An array on this device with arbitrary contents."""

    @abstractmethod
    def address(self, array: Any) -> int:
        """The address in the device's memory at which an array begins."""

    @abstractmethod
    def to_numpy(self, array: Any) -> np.ndarray:
        """The array as a NumPy array in main memory."""

    @abstractmethod
    def replay(self, full: Tape, short: Tape | None, arena: Arena, threads: int = 1, how: str = "auto") -> Replay:
        """A replay of these tapes on this arena, on so many threads if the device can; `how` names a kind of replay."""

    def solver(self, A: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """A function b (P,) -> x (P,) with A x = b, for a symmetric, positive definite A (P, P), all in main memory.

        It keeps A, and may change it. LinAlgError now or then, if A is found to be not definite or singular.
        """
        return partial(np.linalg.solve, A)

    def for_work(self, seconds: float) -> Device:
        """The device that should do work which would take NumPy about so many seconds."""
        return self

    def refuse(self, how: str) -> None:
        """ValueError for a kind of replay that this device does not have."""
        if how != "auto":
            raise ValueError(f'replay="{how}" is a way of device "cupy"; device {self.name!r} has "auto" and "eager"')

    def owns(self, array: Any) -> bool:
        """Whether the array lies in this device's own memory, which NumPy cannot read."""
        return False

    def borrowed(self, array: Any) -> Any:
        """Another library's array as one of this device, if it lies in this device's memory; or else unchanged."""
        return array

    def room(self) -> int | None:
        """The number of free bytes of its memory; None if the operating system manages that."""
        return None

    def meeting(self, count: int) -> Callable[[], contextlib.AbstractContextManager[None]]:
        """A function that makes a context for each of so many threads that train at the same time, so that the device
        may do their work together. Until a thread leaves its context, the others' work may wait for its own.
        """
        return contextlib.nullcontext

    def explained(self) -> contextlib.AbstractContextManager[None]:
        """A context in which the device's own errors are turned into errors that tell the user what to do."""
        return NOTHING_TO_EXPLAIN

    def __deepcopy__(self, memo: object) -> Device:
        return self  # a copy of a network is on the same device

    def __reduce__(self) -> tuple[Any, ...]:
        return same_device, (self.name, self.precision, self.limits)

    def __repr__(self) -> str:
        return f"<nnlite device {self.name!r}>"


def same_device(name: str, precision: str, limits: object) -> Device:
    """The equal device in another process. The folder makes it, since it knows the names."""
    folder: Any = importlib.import_module(__package__ or "")
    return folder.made(name, precision, limits)
